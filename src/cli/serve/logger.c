/* SPDX-License-Identifier: Apache-2.0 */
/* See logger.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/printable.h"
#include "cli/serve/logger.h"

#define LINE_MAX_ 4096 /* bytes that a pipe takes whole, or not at all */
#define CHUNK	  512  /* bytes that poll(2) promises to be taken */

void logger_init(struct logger *l, const char *id)
{
	*l = (struct logger){
		.id = id, .fd = STDOUT_FILENO, .level = FC_INFO, .main = pthread_self()};
	pthread_mutex_init(&l->lock, NULL);
	/* Where the time zone is read, before files cannot be opened any more. */
	tzset();
}

void logger_free(struct logger *l)
{
	if (l->own)
		close(l->fd);
	free(l->module);
	pthread_mutex_destroy(&l->lock);
}

int logger_set(struct logger *l, const struct fc_logger_change *c)
{
	char *module = c->module ? strdup(c->module) : NULL;
	int fd = -1;

	if (c->module && !module)
		return -ENOMEM;
	if (c->path) {
		/* As Firecracker: a FIFO needs no reader yet, and a file is made, and added to. */
		fd = open(c->path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
			  0600);
		if (fd < 0) {
			free(module);
			return -errno;
		}
	}
	pthread_mutex_lock(&l->lock);
	if (fd >= 0) {
		if (l->own)
			close(l->fd);
		l->fd = fd;
		l->own = true;
	}
	if (c->level >= 0)
		l->level = c->level;
	if (c->show_level >= 0)
		l->show_level = c->show_level;
	if (c->show_origin >= 0)
		l->show_origin = c->show_origin;
	if (module) {
		free(l->module);
		l->module = module;
	}
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* Writes a text. The lock is held. */
static void put(struct logger *l, const char *text, size_t len)
{
	while (len) {
		struct pollfd p = {.fd = l->fd, .events = POLLOUT};
		size_t most = l->own || len < CHUNK ? len : CHUNK;
		ssize_t n;

		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
			break;
		n = write(l->fd, text, most);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		text += n;
		len -= (size_t)n;
	}
	if (len)
		atomic_fetch_add(&l->lost, 1);
}

static void time_text(char *buf, size_t size)
{
	struct timespec now;
	struct tm tm;
	char day[32];

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf, size, "%s.%09ld", day, now.tv_nsec);
}

/* Writes a text. The lock is held. @level 0: without one. */
static void line(struct logger *l, int level, const struct place *place, const char *text)
{
	static const char *const names[] = {"", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"};
	char clean[LINE_MAX_ - 256], time[64], origin[96] = "", out[LINE_MAX_];
	const char *thread = pthread_equal(pthread_self(), l->main) ? "main" : "vmm";
	bool with_level = l->show_level && level;
	int n;

	if (l->show_origin)
		snprintf(origin, sizeof(origin), ":%s:%u", place_file(place), place->line);
	time_text(time, sizeof(time));
	n = snprintf(out, sizeof(out), "%s [%s:%s%s%s%s] %s\n", time, l->id, thread,
		     with_level ? ":" : "", with_level ? names[level] : "", origin,
		     printable(text, false, clean, sizeof(clean)));
	put(l, out, n < (int)sizeof(out) ? (size_t)n : sizeof(out) - 1);
}

static bool of_module(const struct logger *l, const struct place *place)
{
	return !l->module || strncmp(place_file(place), l->module, strlen(l->module)) == 0;
}

void logger_line_at(struct logger *l, int level, struct place place, const char *text)
{
	pthread_mutex_lock(&l->lock);
	if (level <= l->level && of_module(l, &place))
		line(l, level, &place, text);
	pthread_mutex_unlock(&l->lock);
}

void logger_message(void *ctx, enum catnap_log_level level, const char *message)
{
	static const int levels[] = {FC_ERROR, FC_WARN, FC_INFO, FC_DEBUG};

	logger_line_at(ctx, levels[level], (struct place){"libcatnap", 0}, message);
}

void logger_always_at(struct logger *l, struct place place, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	pthread_mutex_lock(&l->lock);
	if (l->level != FC_OFF)
		line(l, FC_INFO, &place, text);
	pthread_mutex_unlock(&l->lock);
}
