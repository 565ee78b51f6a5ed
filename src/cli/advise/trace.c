/* SPDX-License-Identifier: Apache-2.0 */
/* Halts and windows as KVM's tracepoints tell them, in text; Linux's trace/events.rst. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/advise/advise.h"

#define HALT   "kvm_vcpu_wakeup"
#define WINDOW "kvm_halt_poll_ns"

/* -- a line ----------------------------------------------------------------------------------- */

/* Parses "CPU:1 [LOST 17 EVENTS]". */
static bool parse_lost(const char *line, uint64_t *lost)
{
	const char *at = strstr(line, "[LOST ");

	if (strncmp(line, "CPU:", 4) != 0 || !at || !isdigit((unsigned char)at[6]))
		return false;
	*lost = strtoull(at + 6, NULL, 10);
	return true;
}

/* Parses the thread of "comm-1234 [001] ", whose name may hold anything: by its end. */
static bool parse_thread(const char *line, const char *event, pid_t *thread)
{
	const char *at = event, *digits;
	long value = 0;

	while (at > line && *at != '[')
		at--;
	while (at > line && (at[-1] == ' ' || at[-1] == ')')) {
		at--;
		if (*at != ')')
			continue;
		/* With option record-tgid the process stands between, in brackets. */
		while (at > line && *at != '(')
			at--;
	}
	digits = at;
	while (digits > line && isdigit((unsigned char)digits[-1]))
		digits--;
	if (digits == at || at - digits > 9 || digits == line || digits[-1] != '-')
		return false;
	for (; digits < at; digits++)
		value = value * 10 + (*digits - '0');
	*thread = (pid_t)value;
	return true;
}

/* Parses " wait time 12345 ns, polling valid". */
static bool parse_halt(const char *text, struct advise_halt *halt)
{
	unsigned long long ns;
	char how[5], valid[8];
	int end = 0;

	if (sscanf(text, " %4s time %19llu ns, polling %7s%n", how, &ns, valid, &end) != 3 ||
	    text[end])
		return false;
	halt->waited = strcmp(how, "wait") == 0;
	halt->valid = strcmp(valid, "valid") == 0;
	halt->ns = ns;
	return (halt->waited || strcmp(how, "poll") == 0) &&
	       (halt->valid || strcmp(valid, "invalid") == 0);
}

/* Parses " vcpu 0: halt_poll_ns 10000 (grow 0)". */
static bool parse_window(const char *text, struct advise_halt *halt)
{
	unsigned int vcpu, now, before;
	char how[7];
	int end = 0;

	if (sscanf(text, " vcpu %9u: halt_poll_ns %9u (%6s %9u)%n", &vcpu, &now, how, &before,
		   &end) != 4 ||
	    !end || text[end])
		return false;
	halt->window = true;
	halt->now_ns = now;
	halt->before_ns = before;
	return strcmp(how, "grow") == 0 || strcmp(how, "shrink") == 0;
}

/* Finds the last event of a line: a name may look like one, too. */
static const char *find_event(const char *line, const char *mark)
{
	const char *event = NULL;

	for (const char *at = line; (at = strstr(at, mark)); at++)
		event = at;
	return event;
}

bool advise_trace_parse(const char *line, struct advise_halt *halt, uint64_t *lost)
{
	static const char halt_mark[] = ": " HALT ":", window_mark[] = ": " WINDOW ":";
	const char *event, *window;

	*halt = (struct advise_halt){.thread = 0};
	*lost = 0;
	if (parse_lost(line, lost))
		return false;
	event = find_event(line, halt_mark);
	window = find_event(line, window_mark);
	if (window && (!event || window > event))
		return parse_thread(line, window, &halt->thread) &&
		       parse_window(window + sizeof(window_mark) - 1, halt);
	return event && parse_thread(line, event, &halt->thread) &&
	       parse_halt(event + sizeof(halt_mark) - 1, halt);
}

/* -- where they come from --------------------------------------------------------------------- */

static int fail(char error[ADVISE_ERROR], int err, const char *path)
{
	snprintf(error, ADVISE_ERROR, "%.200s: %s", path, strerror(err));
	return -err;
}

static int write_word(const char *path, const char *word)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, word, strlen(word)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int enable(const struct advise_trace *t, const char *event, char error[ADVISE_ERROR])
{
	char path[640];
	int ret;

	snprintf(path, sizeof(path), "%s/events/kvm/%s/enable", t->instance, event);
	ret = write_word(path, "1");
	return ret < 0 ? fail(error, -ret, path) : 0;
}

static int begin(struct advise_trace *t, char error[ADVISE_ERROR])
{
	char path[640];
	int ret;

	snprintf(path, sizeof(path), "%s/buffer_size_kb", t->instance);
	(void)write_word(path,
			 "4096"); /* for each processor; with less there is more that is lost */
	ret = enable(t, HALT, error);
	if (ret == 0)
		ret = enable(t, WINDOW, error);
	if (ret < 0)
		return ret;
	snprintf(path, sizeof(path), "%s/trace_pipe", t->instance);
	t->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return t->fd < 0 ? fail(error, errno, path) : 0;
}

int advise_trace_open(struct advise_trace *t, const char *tracefs, char error[ADVISE_ERROR])
{
	int ret;

	*t = (struct advise_trace){.fd = -1};
	snprintf(t->instance, sizeof(t->instance), "%.400s/instances/catnap-advise-%d", tracefs,
		 (int)getpid());
	if (mkdir(t->instance, 0700) < 0) {
		ret = fail(error, errno, t->instance);
		if (ret == -ENOENT)
			snprintf(error, ADVISE_ERROR,
				 "--tracefs: %.400s: no tracefs is mounted there: expected "
				 "\"mount -t tracefs tracefs %.400s\" before",
				 tracefs, tracefs);
		t->instance[0] = '\0';
		return ret;
	}
	ret = begin(t, error);
	if (ret < 0)
		advise_trace_close(t);
	return ret;
}

int advise_trace_file(struct advise_trace *t, const char *path, char error[ADVISE_ERROR])
{
	*t = (struct advise_trace){.fd = -1};
	t->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	return t->fd < 0 ? fail(error, errno, path) : 0;
}

/* Reads the next whole line. Returns 1, or 0 if there is none yet. */
static int next_line(struct advise_trace *t, char *line)
{
	for (;;) {
		char *end = memchr(t->line, '\n', t->used);
		ssize_t n;

		if (end) {
			size_t len = (size_t)(end - t->line);
			bool pass_over = t->too_long;

			memcpy(line, t->line, len);
			line[len] = '\0';
			t->used -= len + 1;
			memmove(t->line, end + 1, t->used);
			t->too_long = false;
			if (!pass_over)
				return 1;
			continue;
		}
		if (t->used == sizeof(t->line)) {
			t->too_long = true;
			t->used = 0;
		}
		n = read(t->fd, t->line + t->used, sizeof(t->line) - t->used);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		t->at_end = n == 0;
		if (n == 0)
			return 0;
		t->used += (size_t)n;
	}
}

int advise_trace_next(struct advise_trace *t, struct advise_halt *halt)
{
	char line[sizeof(t->line) + 1];
	uint64_t lost;
	int ret;

	line[0] = '\0';
	while ((ret = next_line(t, line)) > 0) {
		bool told = advise_trace_parse(line, halt, &lost);

		t->told |= told || lost;
		t->other |= !told && !lost && line[0] && line[0] != '#';
		t->lost += lost;
		if (told)
			return 1;
	}
	return ret;
}

void advise_trace_close(struct advise_trace *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	if (*t->instance)
		rmdir(t->instance);
	t->instance[0] = '\0';
}
