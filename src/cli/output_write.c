/* SPDX-License-Identifier: Apache-2.0 */
/* See output.h: writing, with a way out. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/now.h"
#include "cli/output.h"

/* What a descriptor that blocks takes without, once poll(2) calls it writable; at most PIPE_BUF. */
#define CHUNK 512

const char *output_error(int err)
{
	if (err == -ETIMEDOUT || err == -EINTR)
		return "nobody reads it";
	return strerror(-err);
}

/* Until when, in ns. */
static uint64_t give_up_at(const struct way_out *w)
{
	uint64_t now = now_ns();
	uint64_t at = w->patience_ns > UINT64_MAX - now ? UINT64_MAX : now + w->patience_ns;

	return w->deadline < at ? w->deadline : at;
}

static int timeout_ms(uint64_t at)
{
	uint64_t now = now_ns();

	if (at == UINT64_MAX)
		return -1;
	if (at <= now)
		return 0;
	return at - now > UINT64_C(1000000000000) ? 1000000 : (int)((at - now + 999999) / 1000000);
}

/* A signal that came; one that changes nothing, as a window's size, does not count. */
static bool ended(struct way_out *w)
{
	struct signalfd_siginfo si;

	while (read(w->signals, &si, sizeof(si)) == sizeof(si))
		if (si.ssi_signo != SIGWINCH && si.ssi_signo != SIGTSTP && si.ssi_signo != SIGCONT)
			w->signal = (int)si.ssi_signo;
	return w->signal != 0;
}

static int wait_for(int fd, short events, struct way_out *w)
{
	uint64_t at = give_up_at(w);

	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = events},
				      {.fd = w->signals, .events = POLLIN}};
		int n = poll(p, 2, timeout_ms(at));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[0].revents)
			return 0; /* or an error, which writing or reading tells */
		if (n > 0 && p[1].revents && ended(w))
			return -EINTR;
		if (now_ns() >= at)
			return -ETIMEDOUT;
	}
}

int output_wait(int fd, struct way_out *w)
{
	return wait_for(fd, POLLOUT, w);
}

int output_await(int fd, struct way_out *w)
{
	return wait_for(fd, POLLIN, w);
}

int output_send(int fd, const void *data, size_t len, struct way_out *w)
{
	const char *p = data;

	while (len) {
		int ret = output_wait(fd, w);
		ssize_t n;

		if (ret < 0)
			return ret;
		n = write(fd, p, len < CHUNK ? len : CHUNK);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* To a regular file, which takes what there is room for. */
static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Where it is: what was there is lost, even if this fails. */
static int write_over(int fd, const void *text, size_t len)
{
	if (ftruncate(fd, 0) < 0)
		return -errno;
	return write_all(fd, text, len);
}

static int give_name(struct output *o, struct way_out *w)
{
	if (o->renamer)
		return renamer_rename(&o->renamer, w);
	return rename(o->beside, o->real) < 0 ? -errno : 0;
}

int output_write(struct output *o, const void *text, size_t len, struct way_out *w)
{
	int ret;

	if (!o->regular)
		return output_send(o->fd, text, len, w);
	if (o->position)
		return write_all(o->fd, text, len);
	ret = write_over(o->fd, text, len);
	if (ret < 0 || !o->beside)
		return ret;
	ret = give_name(o, w);
	/* A file that something is mounted on keeps its place. */
	return ret < 0 && ret != -EINPROGRESS && o->old >= 0 ? write_over(o->old, text, len) : ret;
}
