/* SPDX-License-Identifier: Apache-2.0 */
/* See serial.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/now.h"
#include "cli/serve/serial.h"

#define NS_PER_MS UINT64_C(1000000)
#define CHUNK	  512 /* bytes that poll(2) promises to be taken */
/* A reader that is only late has so long for each write of the guest's. */
#define PATIENCE_MS 20
#define RETRY_MS    5 /* the guest is asked again to take input */

void serve_serial_init(struct serve_serial *s)
{
	*s = (struct serve_serial){.out = STDOUT_FILENO, .in = STDIN_FILENO};
}

int serve_serial_open(struct serve_serial *s, const struct fc_serial *cfg)
{
	s->limit = cfg->limit;
	s->tokens = (double)cfg->limit.size;
	s->burst = (double)cfg->limit.one_time_burst;
	s->filled_ns = now_ns();
	if (!cfg->path)
		return 0;
	s->out = open(cfg->path, O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
	if (s->out < 0) {
		int err = errno;

		s->out = STDOUT_FILENO;
		return -err;
	}
	s->own = true;
	s->in = -1;
	return 0;
}

void serve_serial_begin(struct serve_serial *s)
{
	struct termios raw;

	if (s->in < 0 || tcgetattr(s->in, &s->modes) < 0 || tcgetpgrp(s->in) != getpgrp())
		return;
	raw = s->modes;
	cfmakeraw(&raw);
	raw.c_oflag = s->modes.c_oflag;
	s->raw = tcsetattr(s->in, TCSANOW, &raw) == 0;
}

void serve_serial_close(struct serve_serial *s)
{
	if (s->raw)
		tcsetattr(s->in, TCSANOW, &s->modes);
	if (s->own)
		close(s->out);
	s->raw = s->own = false;
	s->out = s->in = -1;
}

/* Returns how many of @len bytes may go now. */
static size_t allowed(struct serve_serial *s, size_t len)
{
	uint64_t now = now_ns();
	double n = (double)len, from_burst;

	if (!s->limit.on)
		return len;
	s->tokens += (double)(now - s->filled_ns) * (double)s->limit.size /
		     ((double)s->limit.refill_ms * (double)NS_PER_MS);
	s->filled_ns = now;
	if (s->tokens > (double)s->limit.size)
		s->tokens = (double)s->limit.size;
	if (n > s->burst + s->tokens)
		n = s->burst + s->tokens;
	n = (double)(size_t)n;
	from_burst = n < s->burst ? n : s->burst;
	s->burst -= from_burst;
	s->tokens -= n - from_burst;
	return (size_t)n;
}

void serve_serial_output(void *ctx, const void *data, size_t len)
{
	struct serve_serial *s = ctx;
	const char *bytes = data;
	size_t n = allowed(s, len);

	atomic_fetch_add(&s->dropped, len - n);
	while (n) {
		struct pollfd p = {.fd = s->out, .events = POLLOUT};
		ssize_t done;

		if (poll(&p, 1, PATIENCE_MS) != 1 || !(p.revents & POLLOUT))
			break;
		done = write(s->out, bytes, n < CHUNK ? n : CHUNK);
		if (done < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (done <= 0)
			break;
		bytes += done;
		n -= (size_t)done;
	}
	atomic_fetch_add(&s->lost, n);
}

void serve_serial_prepare(const struct serve_serial *s, struct pollfd *p)
{
	*p = (struct pollfd){.fd = s->given < s->used ? -1 : s->in, .events = POLLIN};
}

int serve_serial_timeout(const struct serve_serial *s)
{
	return s->given < s->used ? RETRY_MS : -1;
}

void serve_serial_dispatch(struct serve_serial *s, const struct pollfd *p, struct catnap_vm *vm)
{
	ssize_t n;

	if (s->given == s->used && p->revents) {
		n = read(s->in, s->data, sizeof(s->data));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			s->in = -1;
		s->given = 0;
		s->used = n > 0 ? (size_t)n : 0;
	}
	if (vm && s->given < s->used)
		s->given += catnap_vm_serial_input(vm, s->data + s->given, s->used - s->given);
}
