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
#include <syslog.h>
#include <unistd.h>

#include "cli/log.h"
#include "cli/printable.h"
#include "cli/service.h"

#define MESSAGE_MAX 4096 /* bytes that a pipe takes whole, or not at all */
/* The bytes that a descriptor that poll(2) calls writable takes without blocking. */
#define CHUNK	512
#define LAST_MS 200
/* In the journal, which knows whose messages these are. */
#define OWN_NAME "catnap run: "

/*
 * Opens a description of our own where it can be had, since others share the given one, and not to
 * block is a property of the description. It has none of a file: where a file is written to is a
 * property of the description, too.
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
	int journal = fd == STDERR_FILENO ? service_open_journal() : -1;
	int own = journal >= 0 ? journal : own_description(fd);

	*l = (struct log){.fd = own >= 0 ? own : fd,
			  .own = own >= 0,
			  .journal = journal >= 0,
			  .level = level};
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

/* Puts a text out. Returns how much of it is taken now. The lock is held. */
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

/* Puts a message out, with what the journal wants to know of it. Returns whether all of it is
 * taken; *part says whether it was torn. The lock is held. */
static bool put_message(struct log *l, int priority, const char *text, bool *part)
{
	const size_t own = sizeof(OWN_NAME) - 1;
	char entry[MESSAGE_MAX + 128];
	size_t len = strlen(text), n;

	if (l->journal) {
		if (strncmp(text, OWN_NAME, own) == 0)
			text += own;
		len = service_entry(entry, sizeof(entry), priority, text);
		text = entry;
	}
	n = put(l, text, len);
	*part = n && n < len;
	return n == len;
}

/* Says what was lost before, so that it is seen where. Returns false if it cannot be said yet. The
 * lock is held. */
static bool put_loss(struct log *l)
{
	char text[160];
	bool part;

	if (!l->lost)
		return true;
	snprintf(text, sizeof(text), "%s" OWN_NAME "%" PRIu64 " messages were lost: %s\n",
		 l->torn ? "\n" : "", l->lost, l->error ? strerror(l->error) : "nobody read them");
	if (!put_message(l, LOG_WARNING, text, &part))
		return false;
	l->lost = 0;
	l->error = 0;
	l->torn = false;
	return true;
}

static void give(struct log *l, int priority, const char *text)
{
	char clean[MESSAGE_MAX];
	bool part = false;

	printable(text, true, clean, sizeof(clean));
	pthread_mutex_lock(&l->lock);
	if (!put_loss(l) || !put_message(l, priority, clean, &part))
		l->lost++;
	if (part)
		l->torn = true;
	pthread_mutex_unlock(&l->lock);
}

void log_message(void *ctx, enum catnap_log_level level, const char *message)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	struct log *l = ctx;
	char text[MESSAGE_MAX], line[MESSAGE_MAX - 64];

	if (level > l->level)
		return;
	snprintf(text, sizeof(text), OWN_NAME "%s: %s\n", names[level],
		 printable(message, false, line, sizeof(line)));
	give(l, priorities[level], text);
}

void log_say(struct log *l, const char *format, ...)
{
	char text[MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	give(l, LOG_NOTICE, text);
}

void log_last(struct log *l, const char *format, ...)
{
	char text[MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	writable(l->fd, LAST_MS);
	give(l, LOG_WARNING, text);
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
