/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the halt trace. A failing write switches the trace off: the VM goes on. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "poll/stats.h"
#include "poll/trace.h"

#define TRACE_BUFFER 16384
#define TRACE_LINE   64 /* twice 20 digits, two flags, commas, newline */

struct halt_trace {
	int fd; /* -1 after a failed write */
	size_t used;
	char buffer[TRACE_BUFFER];
};

void halt_trace_begin(int fd)
{
	static const char header[] = "halt_ns,valid,allowed,gave_way_ns\n";
	ssize_t n = write(fd, header, sizeof(header) - 1);

	(void)n; /* a file that cannot be written shows when the halts are */
}

struct halt_trace *halt_trace_create(int fd)
{
	struct halt_trace *t = malloc(sizeof(*t));

	if (t) {
		t->fd = fd;
		t->used = 0;
	}
	return t;
}

static void flush(struct halt_trace *t)
{
	size_t done = 0;

	while (t->fd >= 0 && done < t->used) {
		ssize_t n = write(t->fd, t->buffer + done, t->used - done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			t->fd = -1;
	}
	t->used = 0;
}

void halt_trace_destroy(struct halt_trace **t)
{
	if (!*t)
		return;
	flush(*t);
	free(*t);
	*t = NULL;
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
	if (t->used > TRACE_BUFFER - TRACE_LINE)
		flush(t);
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
	if (t->used > TRACE_BUFFER / 2)
		flush(t);
}
