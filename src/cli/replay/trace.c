/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a trace of halts: CSV without quoting. The header names the columns, which are always the
 * first few of those below and in this order, so that a file whose columns mean something else is
 * refused instead of misread. gave_way_ns may be left out: older traces have none. Nothing but the
 * present line is kept: traces may be longer than memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/replay/replay.h"

#define FIFO_PATIENCE_MS 300 /* until it is said that a FIFO is waited for */

enum column { HALT, VALID, ALLOWED, GAVE_WAY, MAX, GROW, GROW_START, SHRINK };

static const char *const column_names[REPLAY_COLUMNS] = {
	[HALT] = "halt_ns",
	[VALID] = "valid",
	[ALLOWED] = "allowed",
	[GAVE_WAY] = "gave_way_ns",
	[MAX] = "max_after",
	[GROW] = "grow_after",
	[GROW_START] = "grow_start_after",
	[SHRINK] = "shrink_after",
};

static int fail(struct replay_trace *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct replay_trace *t, const char *fmt, ...)
{
	char name[256];
	size_t used;
	va_list ap;

	opt_printable(t->name, name, sizeof(name));
	snprintf(t->error, sizeof(t->error), "%s:%llu: ", name, (unsigned long long)t->line);
	used = strlen(t->error);
	va_start(ap, fmt);
	vsnprintf(t->error + used, sizeof(t->error) - used, fmt, ap);
	va_end(ap);
	return -1;
}

static int fail_file(struct replay_trace *t, const char *what)
{
	char name[256];

	snprintf(t->error, sizeof(t->error), "%s: %s", opt_printable(t->name, name, sizeof(name)),
		 what);
	return -1;
}

static int fail_field(struct replay_trace *t, const char *column, const char *text,
		      const char *what)
{
	char shown[96];

	return fail(t, "%s \"%s\" %s", column, opt_printable(text, shown, sizeof(shown)), what);
}

/* Reads the next line without its end. Returns 1, 0 at the end of the file, or -1. */
static int next_line(struct replay_trace *t)
{
	size_t n = 0;
	int c;

	t->line++;
	while ((c = getc_unlocked(t->file)) != EOF && c != '\n') {
		/* A NUL would cut the line short where the messages and the parser cannot see
		 * it. */
		if (c == '\0')
			return fail(t, "a NUL byte: expected text");
		if (n == sizeof(t->text) - 1)
			return fail(t, "a line of more than %zu characters", sizeof(t->text) - 1);
		t->text[n++] = (char)c;
	}
	if (c == EOF && ferror(t->file))
		return fail_file(t, strerror(errno));
	if (c == EOF && n == 0)
		return 0;
	if (n > 0 && t->text[n - 1] == '\r')
		n--;
	t->text[n] = '\0';
	return 1;
}

/* Cuts the first field off *@rest; *@rest becomes NULL after the last one. */
static char *next_field(char **rest)
{
	char *field = *rest, *comma = strchr(field, ',');

	if (comma)
		*comma++ = '\0';
	*rest = comma;
	return field;
}

static int read_header(struct replay_trace *t)
{
	char *rest = t->text, *field;
	unsigned next = HALT;
	int ret = next_line(t);

	if (ret < 0)
		return -1;
	if (ret == 0)
		return fail_file(t, "is empty: expected a header line, halt_ns,...");
	/* Spreadsheets put a byte order mark there. */
	if (strncmp(rest, "\xef\xbb\xbf", 3) == 0)
		rest += 3;
	for (; rest; t->columns++) {
		field = next_field(&rest);
		if (next == REPLAY_COLUMNS)
			return fail(t, "too many columns: expected at most %d", REPLAY_COLUMNS);
		if (next == GAVE_WAY && strcmp(field, column_names[GAVE_WAY]) != 0)
			next++;
		if (strcmp(field, column_names[next]) != 0)
			return fail_field(t, "header", field,
					  next == HALT ? "is not the name of a first column: "
							 "expected halt_ns"
						       : "is not the next column: see "
							 "catnap replay --help");
		t->column[t->columns] = next++;
	}
	return 0;
}

/* Opens a file. With a FIFO that nobody writes to that waits, and says so. */
static FILE *open_file(const char *path)
{
	struct pollfd p = {.events = POLLIN};
	char shown[160];
	struct stat st;
	FILE *f;

	if (stat(path, &st) < 0 || !S_ISFIFO(st.st_mode))
		return fopen(path, "re");
	p.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (p.fd < 0)
		return NULL;
	if (poll(&p, 1, FIFO_PATIENCE_MS) == 0) {
		fprintf(stderr, "catnap replay: %s: nothing is written to this FIFO yet: waiting\n",
			opt_printable(path, shown, sizeof(shown)));
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
	}
	fcntl(p.fd, F_SETFL, 0);
	f = fdopen(p.fd, "r");
	if (!f)
		close(p.fd);
	return f;
}

int replay_trace_open(struct replay_trace *t, const char *path)
{
	bool standard = strcmp(path, "-") == 0;

	*t = (struct replay_trace){.name = standard ? "standard input" : path};
	t->file = standard ? stdin : open_file(path);
	if (!t->file)
		return fail_file(t, strerror(errno));
	if (read_header(t) < 0) {
		replay_trace_close(t);
		return -1;
	}
	return 0;
}

void replay_trace_close(struct replay_trace *t)
{
	if (t->file && t->file != stdin)
		fclose(t->file);
	t->file = NULL;
}

static int parse(struct replay_trace *t, const char *column, const char *text, uint64_t max,
		 uint64_t *out)
{
	const char *c = text;
	uint64_t value = 0;
	bool over = false;

	for (; *c >= '0' && *c <= '9'; c++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (unsigned)(*c - '0'), &value))
			over = true;
	}
	if (c == text || *c)
		return fail_field(t, column, text, "is not a number");
	if (over || value > max) {
		char what[64];

		snprintf(what, sizeof(what), "is too large: expected 0 to %llu",
			 (unsigned long long)max);
		return fail_field(t, column, text, what);
	}
	*out = value;
	return 0;
}

/* Parses a boolean. An empty field leaves the default, in all columns but the first. */
static int parse_bool(struct replay_trace *t, const char *column, const char *text, bool *out)
{
	uint64_t value = 0;

	if (text[0] == '\0')
		return 0;
	if (parse(t, column, text, 1, &value) < 0)
		return -1;
	*out = value;
	return 0;
}

static int parse_change(struct replay_trace *t, const char *column, const char *text,
			struct replay_change *out)
{
	uint64_t value = 0;

	if (text[0] == '\0')
		return 0;
	if (parse(t, column, text, UINT32_MAX, &value) < 0)
		return -1;
	*out = (struct replay_change){.set = true, .value = (uint32_t)value};
	return 0;
}

static int parse_column(struct replay_trace *t, unsigned column, const char *text,
			struct replay_halt *h)
{
	const char *name = column_names[column];

	switch (column) {
	case HALT:
		return parse(t, name, text, UINT64_MAX, &h->halt_ns);
	case VALID:
		return parse_bool(t, name, text, &h->valid);
	case ALLOWED:
		return parse_bool(t, name, text, &h->allowed);
	case GAVE_WAY:
		return text[0] ? parse(t, name, text, UINT64_MAX - 1, &h->gave_way_ns) : 0;
	case MAX:
		return parse_change(t, name, text, &h->max_ns);
	case GROW:
		return parse_change(t, name, text, &h->grow);
	case GROW_START:
		return parse_change(t, name, text, &h->grow_start_ns);
	default:
		return parse_change(t, name, text, &h->shrink);
	}
}

int replay_trace_next(struct replay_trace *t, struct replay_halt *h)
{
	unsigned column;
	char *rest;
	int ret;

	do {
		ret = next_line(t);
		if (ret <= 0)
			return ret;
	} while (t->text[0] == '\0');

	*h = (struct replay_halt){.valid = true, .allowed = true, .gave_way_ns = UINT64_MAX};
	rest = t->text;
	for (column = 0; rest; column++) {
		char *field = next_field(&rest);

		if (column == t->columns)
			return fail(t, "too many columns: the header names %u", t->columns);
		if (parse_column(t, t->column[column], field, h) < 0)
			return -1;
	}
	return 1;
}
