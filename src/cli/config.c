/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a configuration file, see config.h. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/config.h"
#include "cli/config_lines.h"
#include "cli/now.h"

struct reader {
	struct opts *o;
	void *cfg;
	char file[96]; /* its name, printable */
	struct config_parts parts;
	unsigned int next;  /* the part whose value comes next in the document */
	unsigned int first; /* the part that is being taken */
	size_t n_before;    /* so many options the command line has given */
	char place[256];
};

/* ---- the text ---- */

/* Waits until there is something to read. Returns false if @deadline has passed before. */
static bool wait_for_text(int fd, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (;;) {
		uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;
		int ms = left / 1000000 < 1000 ? (int)((left + 999999) / 1000000) : 1000;

		if (poll(&p, 1, ms) != 0)
			return true;
		if (left == 0)
			return false;
	}
}

static char *read_fd(int fd, uint64_t deadline)
{
	char *text = malloc(CONFIG_MAX + 1);
	size_t used = 0;

	while (text && used <= CONFIG_MAX) {
		ssize_t n;

		errno = ETIMEDOUT;
		if (!wait_for_text(fd, deadline))
			goto failed;
		n = read(fd, text + used, CONFIG_MAX + 1 - used);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			goto failed;
		if (n == 0) {
			text[used] = '\0';
			if (strlen(text) == used)
				return text;
			errno = EILSEQ;
			goto failed;
		}
		used += (size_t)n;
	}
	errno = text ? EFBIG : ENOMEM;
failed:
	free(text);
	return NULL;
}

/* Reads a file. *@ret: -ETIMEDOUT or -EINVAL, where it is NULL. */
static char *read_file(struct opts *o, const char *path, bool standard, uint64_t deadline, int *ret)
{
	/* O_NONBLOCK: a FIFO opens without a writer, and is waited for below. */
	int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *text = fd < 0 ? NULL : read_fd(fd, deadline);
	int err = errno;
	char file[96];

	if (fd >= 0 && !standard)
		close(fd);
	if (text)
		return text;
	opt_printable(standard ? "standard input" : path, file, sizeof(file));
	*ret = err == ETIMEDOUT ? -ETIMEDOUT : -EINVAL;
	if (err == EFBIG)
		opts_fail(o, "--config: %s: is too long: expected at most %u KiB", file,
			  CONFIG_MAX >> 10);
	else if (err == ETIMEDOUT)
		opts_fail(o, "--timeout: the time is over: --config: %s does not end", file);
	else if (err == EILSEQ)
		opts_fail(o, "--config: %s: holds a NUL: expected JSON", file);
	else
		opts_fail(o, "--config: %s: %s", file, strerror(err));
	return NULL;
}

static unsigned int line_at(const char *text, size_t offset)
{
	unsigned int line = 1;

	for (size_t i = 0; i < offset && text[i]; i++)
		line += text[i] == '\n';
	return line;
}

static struct json_object *parse(struct reader *r, const char *text)
{
	struct json_tokener *tok = json_tokener_new();
	struct json_object *root = NULL;

	if (!tok) {
		opts_fail(r->o, "out of memory");
		return NULL;
	}
	if (strncmp(text, "\xef\xbb\xbf", 3) == 0) {
		opts_fail(r->o, "%s:1: begins with a byte order mark: expected none", r->file);
		json_tokener_free(tok);
		return NULL;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* To the NUL: nothing may follow. */
	root = json_tokener_parse_ex(tok, text, (int)strlen(text) + 1);
	if (json_tokener_get_error(tok) != json_tokener_success) {
		opts_fail(r->o, "%s:%u: is not JSON: %s", r->file,
			  line_at(text, json_tokener_get_parse_end(tok)),
			  json_tokener_error_desc(json_tokener_get_error(tok)));
	} else if (!json_object_is_type(root, json_type_object)) {
		opts_fail(r->o, "%s:1: is not an object: expected {\"kernel\": ...}", r->file);
		json_object_put(root);
		root = NULL;
	}
	json_tokener_free(tok);
	return root;
}

/* ---- places ---- */

/* Returns the line of @key in the part that is taken, or of the part, for errors of an option's
 * value. */
static const char *place(void *ctx, const char *key)
{
	struct reader *r = ctx;
	const struct config_part *p = r->parts.part;
	unsigned int line = p[r->first].line;

	for (unsigned int i = r->first + 1; key && i < r->parts.n; i++) {
		if (p[i].parent == r->first + 1 && p[i].name && strlen(key) == p[i].len &&
		    memcmp(p[i].name, key, p[i].len) == 0)
			line = p[i].line;
	}
	snprintf(r->place, sizeof(r->place), "%s:%u: ", r->file, line);
	return r->place;
}

static int fail(struct reader *r, unsigned int part, const char *member, const char *what)
{
	char shown[96];

	r->o->place = NULL;
	return opts_fail(r->o, "%s:%u: \"%s\" %s", r->file, r->parts.part[part].line,
			 opt_printable(member, shown, sizeof(shown)), what);
}

/* ---- values ---- */

struct text {
	char *s;
	size_t len;
	bool failed;
};

static void put(struct text *t, const char *s, size_t len)
{
	char *more = t->failed ? NULL : realloc(t->s, t->len + len + 1);

	if (!more) {
		t->failed = true;
		return;
	}
	t->s = more;
	memcpy(t->s + t->len, s, len);
	t->len += len;
	t->s[t->len] = '\0';
}

/* Adds a text, in quotes if it would end, or begin a key, without. */
static void put_quoted(struct text *t, const char *s, bool always)
{
	if (!always && !strpbrk(s, ",\"=")) {
		put(t, s, strlen(s));
		return;
	}
	put(t, "\"", 1);
	for (; *s; s++)
		put(t, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
	put(t, "\"", 1);
}

/* Returns whether on or off is among the words. */
static bool takes_boolean(const struct opt_field *f)
{
	return f->type == OPT_SWITCH ||
	       (f->type == OPT_WORD &&
		(opt_word_find(f->words, "on", 2) || opt_word_find(f->words, "off", 3)));
}

static bool takes_number(const struct opt_field *f)
{
	if (f->type == OPT_WORD)
		return f->words->name[0] >= '0' && f->words->name[0] <= '9';
	return f->type != OPT_STRING && f->type != OPT_TEXT && f->type != OPT_SWITCH;
}

/* Returns what stands for a value of @f on a command line; NULL: it is none. */
static const char *scalar(const struct opt_field *f, struct json_object *v, char *buf, size_t size)
{
	switch (json_object_get_type(v)) {
	case json_type_string:
		return strlen(json_object_get_string(v)) == (size_t)json_object_get_string_len(v)
			       ? json_object_get_string(v)
			       : NULL;
	case json_type_boolean:
		if (!takes_boolean(f))
			return NULL;
		return json_object_get_boolean(v) ? "on" : "off";
	case json_type_int:
		/* The largest is the parser's word for "larger". */
		if (!takes_number(f) || json_object_get_uint64(v) == UINT64_MAX ||
		    json_object_get_int64(v) == INT64_MIN)
			return NULL;
		snprintf(buf, size, "%s", json_object_to_json_string(v));
		return buf;
	case json_type_double:
		/* As it is written; neither NaN nor Infinity, which are no JSON. */
		if (f->type != OPT_REAL || !isfinite(json_object_get_double(v)))
			return NULL;
		snprintf(buf, size, "%s", json_object_to_json_string(v));
		return buf;
	case json_type_null:
	case json_type_object:
	case json_type_array:
		break;
	}
	return NULL;
}

/* Returns the kinds of values that @f takes, for messages. */
static const char *kinds(const struct opt_field *f, bool keys)
{
	if (takes_boolean(f))
		return keys ? "a string, a boolean or an object" : "a string or a boolean";
	if (takes_number(f))
		return keys ? "a string, a number or an object" : "a string or a number";
	return keys ? "a string or an object" : "a string";
}

/* Says why scalar() has nothing of @v for @f. */
static int fail_value(struct reader *r, unsigned int part, const char *member,
		      const struct opt_field *f, bool keys, struct json_object *v)
{
	static const char *const names[] = {
		[json_type_null] = "null",
		[json_type_boolean] = "a boolean",
		[json_type_double] = "no whole number",
		[json_type_int] = "a number",
		[json_type_object] = "an object",
		[json_type_array] = "an array",
	};
	char what[128];

	if (json_object_is_type(v, json_type_int) && takes_number(f))
		return fail(r, part, member, "is out of range: expected a smaller number");
	if (json_object_is_type(v, json_type_string))
		return fail(r, part, member, "holds a NUL: expected text without");
	snprintf(what, sizeof(what), "is %s: expected %s", names[json_object_get_type(v)],
		 kinds(f, keys));
	return fail(r, part, member, what);
}

static const struct opt_field *find_key(const struct opt_def *d, const char *name)
{
	const struct opt_field *k = d->keys;

	while (k->name && strcmp(k->name, name) != 0)
		k++;
	return k->name ? k : NULL;
}

/* Takes an object, as key=value,key=value. Its members' parts follow @r->first. */
static int take_object(struct reader *r, const struct opt_def *d, struct json_object *v)
{
	struct text t = {.s = NULL};
	char number[64];
	int ret = 0;

	json_object_object_foreach(v, name, member)
	{
		unsigned int part = r->next++;
		const struct opt_field *k = find_key(d, name);
		const char *text = k ? scalar(k, member, number, sizeof(number)) : NULL;

		if (!k) {
			r->first = part;
			ret = opts_fail_unknown_key(r->o, d->f.name, name, d->keys);
			goto out;
		}
		if (!text) {
			ret = fail_value(r, part, name, k, false, member);
			goto out;
		}
		put(&t, ",", t.len ? 1 : 0);
		put(&t, name, strlen(name));
		put(&t, "=", 1);
		put_quoted(&t, text, false);
	}
	if (t.failed)
		ret = opts_fail(r->o, "out of memory");
	else
		ret = opts_take(r->o, d, t.s ? t.s : "", r->cfg);
out:
	free(t.s);
	return ret;
}

static int take_scalar(struct reader *r, const struct opt_def *d, struct json_object *v)
{
	struct text t = {.s = NULL};
	char number[64];
	/* Without a name it is the first key's. */
	const struct opt_field *f = d->keys ? d->keys : &d->f;
	const char *text = scalar(f, v, number, sizeof(number));
	int ret;

	if (d->f.type == OPT_FLAG) {
		if (!json_object_is_type(v, json_type_boolean))
			return fail(r, r->first, d->f.name,
				    "takes no value: expected true or false");
		return json_object_get_boolean(v) ? opts_take(r->o, d, NULL, r->cfg) : 0;
	}
	if (!text)
		return fail_value(r, r->first, d->f.name, f, d->keys, v);
	/* A list is written as on the command line; in all else quotes are text. */
	if (d->list || d->f.type == OPT_TEXT || !strchr(text, '"'))
		return opts_take(r->o, d, text, r->cfg);
	put_quoted(&t, text, true);
	ret = t.failed ? opts_fail(r->o, "out of memory") : opts_take(r->o, d, t.s, r->cfg);
	free(t.s);
	return ret;
}

static int take_value(struct reader *r, const struct opt_def *d, unsigned int part,
		      struct json_object *v)
{
	r->first = part;
	if (json_object_is_type(v, json_type_object) && d->keys)
		return take_object(r, d, v);
	return take_scalar(r, d, v);
}

/* Passes the parts of a value that is not taken. */
static void pass(struct reader *r, unsigned int part)
{
	while (r->next < r->parts.n && r->parts.part[r->next].parent > part)
		r->next++;
}

static int take_array(struct reader *r, const struct opt_def *d, unsigned int part,
		      struct json_object *v)
{
	if (!d->repeat)
		return fail(r, part, d->f.name, "is an array: expected one value");
	for (size_t i = 0; i < json_object_array_length(v); i++) {
		int ret = take_value(r, d, r->next++, json_object_array_get_idx(v, i));

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Returns whether @d was given before the file was read. */
static bool on_command_line(const struct reader *r, const struct opt_def *d)
{
	for (size_t i = 0; i < r->n_before; i++) {
		if (r->o->given[i].def == d)
			return true;
	}
	return false;
}

static int take_member(struct reader *r, const char *name, struct json_object *v,
		       const char *const *not_here)
{
	const struct opt_def *d = opts_find(r->o, name);
	unsigned int part = r->next++;

	r->first = part;
	for (; *not_here; not_here++) {
		if (strcmp(*not_here, name) == 0)
			return fail(r, part, name, "stands on the command line only");
	}
	if (!d)
		return opts_fail_unknown(r->o, name);
	if (on_command_line(r, d) || (d->other && on_command_line(r, opts_find(r->o, d->other)))) {
		pass(r, part);
		return 0;
	}
	if (json_object_is_type(v, json_type_array))
		return take_array(r, d, part, v);
	return take_value(r, d, part, v);
}

static int take_all(struct reader *r, struct json_object *root, const char *const *not_here)
{
	r->n_before = r->o->n_given;
	r->o->place = place;
	r->o->place_ctx = r;
	json_object_object_foreach(root, name, v)
	{
		int ret = take_member(r, name, v, not_here);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int find_parts(struct reader *r, const char *text)
{
	const struct config_part *last;
	char name[64], shown[96];
	int ret = config_parts_find(&r->parts, text);

	if (ret == -ENOMEM)
		return opts_fail(r->o, "out of memory");
	if (ret == -E2BIG)
		return opts_fail(r->o, "%s: has more than %d members: expected fewer", r->file,
				 CONFIG_PARTS);
	if (ret == 0)
		return 0;
	if (ret == -EILSEQ)
		return opts_fail(r->o,
				 "%s:%u: is not JSON as expected: names in double quotes and "
				 "without escapes, and whole characters",
				 r->file, r->parts.line);
	last = &r->parts.part[r->parts.n - 1];
	snprintf(name, sizeof(name), "%.*s", last->len < 60 ? (int)last->len : 60, last->name);
	return opts_fail(r->o, "%s:%u: \"%s\" is given twice: expected once", r->file, last->line,
			 opt_printable(name, shown, sizeof(shown)));
}

static int take_text(struct reader *r, const char *text, const char *const *not_here)
{
	struct json_object *root = parse(r, text);
	int ret = root ? find_parts(r, text) : -EINVAL;

	if (ret == 0)
		ret = take_all(r, root, not_here);
	r->o->place = NULL;
	json_object_put(root);
	free(r->parts.part);
	return ret;
}

int config_take(struct opts *o, const char *name, const char *text, const char *const *not_here,
		void *cfg)
{
	struct reader r = {.o = o, .cfg = cfg};

	opt_printable(name, r.file, sizeof(r.file));
	return take_text(&r, text, not_here);
}

int config_read(struct opts *o, const char *path, uint64_t deadline, const char *const *not_here,
		void *cfg)
{
	bool standard = strcmp(path, "-") == 0;
	int ret = 0;
	char *text = read_file(o, path, standard, deadline, &ret);

	if (text)
		ret = config_take(o, standard ? "standard input" : path, text, not_here, cfg);
	free(text);
	return ret;
}
