/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the halt trace. The owner never waits: what the reader of a pipe has no room for is kept
 * until the buffer is full, and lost then, line by line, until there is room again. A failing write
 * switches the trace off. The VM goes on either way, and what is lost is counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "poll/stats.h"
#include "poll/trace.h"

#define TRACE_BUFFER 16384
#define TRACE_LINE   64 /* twice 20 digits, two flags, commas, newline */

/* The bytes by which a pipe's reader may lag behind. */
#define TRACE_PIPE_BUFFER (256 << 10)

struct halt_trace {
	int fd;
	int error; /* -errno of the write that failed: nothing is written after it */
	bool pipe;
	size_t used, room;
	size_t next; /* so much is gathered before it is tried again */
	uint64_t lost;
	char buffer[];
};

void halt_trace_begin(int fd)
{
	static const char header[] = "halt_ns,valid,allowed,gave_way_ns\n";
	ssize_t n = write(fd, header, sizeof(header) - 1);

	(void)n; /* a file that cannot be written shows when the halts are */
}

int halt_trace_own(int fd)
{
	char path[32];
	struct stat st;

	if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

struct halt_trace *halt_trace_create(int fd)
{
	struct stat st;
	bool pipe = fstat(fd, &st) == 0 && !S_ISREG(st.st_mode);
	size_t room = pipe ? TRACE_PIPE_BUFFER : TRACE_BUFFER;
	struct halt_trace *t = malloc(sizeof(*t) + room);

	if (t)
		*t = (struct halt_trace){
			.fd = fd, .pipe = pipe, .room = room, .next = TRACE_BUFFER};
	return t;
}

static uint64_t lines(const char *text, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n;
}

/* Returns how much the next write is to take. Others write to the same pipe, and only PIPE_BUF
 * bytes are never torn apart there. */
static size_t piece(const struct halt_trace *t, size_t from)
{
	size_t len = t->used - from;

	if (!t->pipe || len <= PIPE_BUF)
		return len;
	for (len = PIPE_BUF; t->buffer[from + len - 1] != '\n'; len--)
		;
	return len;
}

/* Returns whether a write would not wait. A descriptor that could not be opened anew blocks. */
static bool has_room(const struct halt_trace *t)
{
	struct pollfd p = {.fd = t->fd, .events = POLLOUT};

	return !t->pipe || poll(&p, 1, 0) != 0;
}

int halt_trace_flush(struct halt_trace *t)
{
	size_t done = 0;
	int ret = t->error;

	while (ret == 0 && done < t->used) {
		ssize_t n;

		if (!has_room(t)) {
			ret = -EAGAIN;
			break;
		}
		n = write(t->fd, t->buffer + done, piece(t, done));
		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EINTR)
			continue;
		else
			ret = n < 0 && errno == EAGAIN ? -EAGAIN : n < 0 ? -errno : -EIO;
	}
	if (ret < 0 && ret != -EAGAIN) {
		t->error = ret;
		t->lost += lines(t->buffer + done, t->used - done);
		done = t->used;
	}
	/* While a reader stands still each line that is lost comes here. */
	if (done)
		memmove(t->buffer, t->buffer + done, t->used - done);
	t->used -= done;
	t->next = t->used + TRACE_BUFFER < t->room ? t->used + TRACE_BUFFER : t->room;
	return ret;
}

uint64_t halt_trace_lost(const struct halt_trace *t)
{
	return t->lost + lines(t->buffer, t->used);
}

/* Makes room for another line. Returns false if there is none: the line is lost. */
static bool make_room(struct halt_trace *t)
{
	if (t->used + TRACE_LINE > t->next)
		halt_trace_flush(t);
	if (!t->error && t->used + TRACE_LINE <= t->room)
		return true;
	t->lost++;
	return false;
}

void halt_trace_drop(struct halt_trace **t)
{
	free(*t);
	*t = NULL;
}

void halt_trace_destroy(struct halt_trace **t)
{
	if (!*t)
		return;
	halt_trace_flush(*t);
	halt_trace_drop(t);
}

static void put_number(struct halt_trace *t, uint64_t value)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n)
		t->buffer[t->used++] = digits[--n];
}

void halt_trace_add(struct halt_trace *t, uint64_t halt_ns, bool valid, bool allowed,
		    uint64_t gave_way_ns)
{
	if (!make_room(t))
		return;
	put_number(t, halt_ns);
	t->buffer[t->used++] = ',';
	t->buffer[t->used++] = valid ? '1' : '0';
	t->buffer[t->used++] = ',';
	t->buffer[t->used++] = allowed ? '1' : '0';
	t->buffer[t->used++] = ',';
	if (gave_way_ns != HALT_KEPT)
		put_number(t, gave_way_ns);
	t->buffer[t->used++] = '\n';
}

void halt_trace_idle(struct halt_trace *t)
{
	if (t->used + TRACE_BUFFER / 2 > t->next)
		halt_trace_flush(t);
}
