/* SPDX-License-Identifier: Apache-2.0 */
/* See log.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/log.h"
#include "cli/printable.h"

#define MESSAGE_MAX 4096 /* what a pipe takes whole, or not at all */
/* What a descriptor that poll(2) calls writable takes without blocking. */
#define CHUNK	512
#define LAST_MS 200

/*
 * Not to block is a property of the open description, which others share: so one of our own, where
 * it can be had. Not of a file: where it is written to is a property of the description, too.
 */
static int own_description(int fd)
{
	char path[32];
	struct stat st;

	if (fstat(fd, &st) < 0 || (!S_ISFIFO(st.st_mode) && !isatty(fd)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_open(struct log *l, int fd, enum catnap_log_level level)
{
	int own = own_description(fd);

	*l = (struct log){.fd = own >= 0 ? own : fd, .own = own >= 0, .level = level};
	pthread_mutex_init(&l->lock, NULL);
}

static bool writable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n == 1 && p.revents & POLLOUT;
}

/* Lock held. How much of it is taken now. */
static size_t put(struct log *l, const char *text, size_t len)
{
	size_t done = 0;

	while (done < len && writable(l->fd, 0)) {
		size_t most = l->own ? len - done : CHUNK;
		ssize_t n = write(l->fd, text + done, len - done < most ? len - done : most);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			l->error = n < 0 && errno != EAGAIN ? errno : 0;
			break;
		}
		done += (size_t)n;
	}
	return done;
}

/* Lock held. What was lost before, so that it is seen where. False: it cannot be said yet. */
static bool put_loss(struct log *l)
{
	char text[160];
	size_t n;

	if (!l->lost)
		return true;
	n = (size_t)snprintf(text, sizeof(text),
			     "%scatnap run: %" PRIu64 " messages were lost: %s\n",
			     l->torn ? "\n" : "", l->lost,
			     l->error ? strerror(l->error) : "nobody read them");
	if (put(l, text, n) < n)
		return false;
	l->lost = 0;
	l->error = 0;
	l->torn = false;
	return true;
}

static void give(struct log *l, const char *text)
{
	char clean[MESSAGE_MAX];
	size_t len = strlen(printable(text, true, clean, sizeof(clean))), n = 0;

	pthread_mutex_lock(&l->lock);
	if (put_loss(l))
		n = put(l, clean, len);
	if (n < len)
		l->lost++;
	if (n && n < len)
		l->torn = true;
	pthread_mutex_unlock(&l->lock);
}

void log_message(void *ctx, enum catnap_log_level level, const char *message)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	struct log *l = ctx;
	char text[MESSAGE_MAX], line[MESSAGE_MAX - 64];

	if (level > l->level)
		return;
	snprintf(text, sizeof(text), "catnap run: %s: %s\n", names[level],
		 printable(message, false, line, sizeof(line)));
	give(l, text);
}

void log_say(struct log *l, const char *format, ...)
{
	char text[MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	give(l, text);
}

void log_last(struct log *l, const char *format, ...)
{
	char text[MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	writable(l->fd, LAST_MS);
	give(l, text);
}

void log_close(struct log *l)
{
	pthread_mutex_lock(&l->lock);
	put_loss(l);
	pthread_mutex_unlock(&l->lock);
	if (l->own)
		close(l->fd);
	l->fd = -1;
}
