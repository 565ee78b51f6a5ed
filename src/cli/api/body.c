/* SPDX-License-Identifier: Apache-2.0 */
/* See body.h. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/api/body.h"
#include "cli/api/reply.h"
#include "cli/config_lines.h"
#include "cli/printable.h"

#define SHOWN_MAX  96  /* bytes of a value, in a sentence */
#define LIST_MAX   512 /* of a list of names */
#define NAME_MAX_  160 /* of a member's whole name */
#define NUMBER_MAX 64  /* digits, sign and all: what is longer is no number of ours */
#define FAULT	   "An error occurred when deserializing the json body of a request: "

struct taker {
	struct reply *r;
	const char *text; /* ends with a NUL */
	size_t len;
	struct config_parts parts;
	unsigned int next; /* the part that comes next in the document */
};

/* Where something is, for a sentence: @at is what follows it. */
struct place {
	unsigned int line, column;
};

static struct place place_of(const struct taker *t, const char *at)
{
	struct place p = {.line = 1};
	const char *begin = t->text;

	for (const char *c = t->text; c < at; c++)
		if (*c == '\n') {
			p.line++;
			begin = c + 1;
		}
	p.column = (unsigned int)(at - begin);
	return p;
}

/* ---- names ---- */

static void put(char *list, size_t size, const char *text)
{
	size_t used = strlen(list);

	snprintf(list + used, size - used, "%s", text);
}

/* Adds a part's own name. */
static void put_name(const struct config_part *p, char *list, size_t size)
{
	char name[64];
	size_t len = p->len < sizeof(name) ? p->len : sizeof(name) - 1;

	memcpy(name, p->name, len);
	name[len] = '\0';
	put(list, size, name);
}

/* Adds the whole name of part number @part to @buf, as "drives[1].rate_limiter.ops"; nothing for
 * the document. */
static void whole_name(const struct taker *t, int part, char *buf, size_t size)
{
	const struct config_part *p = t->parts.part;
	char index[16];
	unsigned int n = 0;

	if (part < 0)
		return;
	whole_name(t, (int)p[part].parent - 1, buf, size);
	if (p[part].name) {
		put(buf, size, *buf ? "." : "");
		put_name(&p[part], buf, size);
		return;
	}
	for (unsigned int i = p[part].parent; i < (unsigned int)part; i++)
		n += p[i].parent == p[part].parent;
	snprintf(index, sizeof(index), "[%u]", n);
	put(buf, size, index);
}

/* Answers with a sentence that has place and member. @part: -1 for the document itself. */
static int fail(struct taker *t, int part, const char *at, const char *what, const char *expected)
{
	struct place p = place_of(t, at);
	char name[NAME_MAX_] = "", shown[NAME_MAX_];

	whole_name(t, part, name, sizeof(name));
	if (!*expected)
		return reply_fault(t->r, 400, FAULT "%s at line %u column %u.", what, p.line,
				   p.column);
	return reply_fault(t->r, 400, FAULT "%s at line %u column %u. %s%s%sexpected %s.", what,
			   p.line, p.column, *name ? "Member " : "",
			   printable(name, false, shown, sizeof(shown)), *name ? ": " : "",
			   expected);
}

/* Lists names as "`a`", "`a` or `b`", "one of `a`, `b`, `c`": @name(ctx, i) is NULL behind the
 * last. */
static void list_names(char *list, size_t size, const char *(*name)(const void *table, size_t i),
		       const void *table)
{
	size_t n = 0;

	while (name(table, n))
		n++;
	*list = '\0';
	if (n > 2)
		put(list, size, "one of ");
	for (size_t i = 0; i < n; i++) {
		put(list, size, i == 0 ? "`" : n == 2 ? " or `" : ", `");
		put(list, size, name(table, i));
		put(list, size, "`");
	}
}

static const char *field_name(const void *table, size_t i)
{
	return ((const struct body_field *)table)[i].name;
}

static const char *word_name(const void *table, size_t i)
{
	return ((const struct body_word *)table)[i].name;
}

/* ---- what was found, and what was expected ---- */

/* Returns a number's own text; NULL: it is too long for one. */
static const char *number_text(const struct config_part *p, char *buf, size_t size)
{
	size_t len = (size_t)(p->end - p->value);

	if (len >= size)
		return NULL;
	memcpy(buf, p->value, len);
	buf[len] = '\0';
	return buf;
}

/* Says what a value is, in the words of Firecracker's own parser. */
static void describe(const struct config_part *p, struct json_object *v, char *buf, size_t size)
{
	char shown[SHOWN_MAX], number[NUMBER_MAX];
	const char *text;

	switch (json_object_get_type(v)) {
	case json_type_null:
		snprintf(buf, size, "null");
		break;
	case json_type_boolean:
		snprintf(buf, size, "boolean `%s`", json_object_get_boolean(v) ? "true" : "false");
		break;
	case json_type_int:
	case json_type_double:
		text = number_text(p, number, sizeof(number));
		snprintf(buf, size, "%s `%s`",
			 json_object_is_type(v, json_type_int) && text && strlen(text) <= 20
				 ? "integer"
				 : "floating point",
			 text ? text : "...");
		break;
	case json_type_string:
		snprintf(buf, size, "string \"%s\"",
			 printable(json_object_get_string(v), false, shown, sizeof(shown)));
		break;
	case json_type_object:
		snprintf(buf, size, "map");
		break;
	case json_type_array:
		snprintf(buf, size, "sequence");
		break;
	}
}

static const char *type_name(const struct body_field *f)
{
	static const char *const names[] = {
		[BODY_STRING] = "a string",  [BODY_U64] = "u64",       [BODY_BOOL] = "a boolean",
		[BODY_NUMBER] = "f64",	     [BODY_WORD] = "string",   [BODY_OBJECT] = "a map",
		[BODY_ARRAY] = "a sequence", [BODY_ANY] = "any value",
	};

	return f->called ? f->called : names[f->type];
}

static uint64_t largest(const struct body_field *f)
{
	return f->max ? f->max : UINT64_MAX;
}

/* Says what a member takes. */
static void expectation(const struct body_field *f, char *buf, size_t size)
{
	char list[LIST_MAX];

	switch (f->type) {
	case BODY_STRING:
		if (f->max)
			snprintf(buf, size, "a string of at most %" PRIu64 " bytes", f->max);
		else
			snprintf(buf, size, "a string");
		break;
	case BODY_U64:
		snprintf(buf, size, "a whole number from %" PRIu64 " to %" PRIu64, f->min,
			 largest(f));
		break;
	case BODY_BOOL:
		snprintf(buf, size, "true or false");
		break;
	case BODY_NUMBER:
		if (f->max)
			snprintf(buf, size, "a number from %" PRIu64 " to %" PRIu64, f->min,
				 f->max);
		else
			snprintf(buf, size, "a number");
		break;
	case BODY_WORD:
		list_names(list, sizeof(list), word_name, f->words);
		snprintf(buf, size, "%s", list);
		break;
	case BODY_OBJECT:
		snprintf(buf, size, "an object");
		break;
	case BODY_ARRAY:
		if (f->max)
			snprintf(buf, size, "an array of at most %" PRIu64, f->max);
		else
			snprintf(buf, size, "an array");
		break;
	case BODY_ANY:
		snprintf(buf, size, "any value");
		break;
	}
}

/* Says what is wrong with a value. @how: "type", or "value" where the type would do. */
static int fail_value(struct taker *t, int part, const struct body_field *f, struct json_object *v,
		      const char *how)
{
	const struct config_part *p = &t->parts.part[part];
	char found[SHOWN_MAX + 16], expected[LIST_MAX + 64], what[sizeof(found) + 96];

	describe(p, v, found, sizeof(found));
	expectation(f, expected, sizeof(expected));
	snprintf(what, sizeof(what), "invalid %s: %s, expected %s", how, found, type_name(f));
	return fail(t, part, p->end, what, expected);
}

/* ---- values ---- */

static int take_object(struct taker *t, int part, struct json_object *v,
		       const struct body_field *table, void *into);

static int take_number(struct taker *t, int part, const struct body_field *f, struct json_object *v,
		       uint64_t *into)
{
	char number[NUMBER_MAX];
	const char *text = number_text(&t->parts.part[part], number, sizeof(number));
	char *end;

	/* The parser's own number is the largest for what is larger. */
	if (!json_object_is_type(v, json_type_int) || !text)
		return fail_value(t, part, f, v, "type");
	if (*text == '-' && strcmp(text, "-0") != 0)
		return fail_value(t, part, f, v, "value");
	errno = 0;
	*into = strtoull(text, &end, 10);
	if (errno || *end)
		return fail_value(t, part, f, v, "type");
	if (*into < f->min || *into > largest(f))
		return fail_value(t, part, f, v, "value");
	return 0;
}

static int take_real(struct taker *t, int part, const struct body_field *f, struct json_object *v,
		     double *into)
{
	if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double))
		return fail_value(t, part, f, v, "type");
	*into = json_object_get_double(v);
	if (!isfinite(*into) || (f->max && (*into < (double)f->min || *into > (double)f->max)))
		return fail_value(t, part, f, v, "value");
	return 0;
}

static int take_string(struct taker *t, int part, const struct body_field *f, struct json_object *v,
		       const char **into)
{
	size_t len;

	if (!json_object_is_type(v, json_type_string))
		return fail_value(t, part, f, v, "type");
	*into = json_object_get_string(v);
	len = (size_t)json_object_get_string_len(v);
	if (strlen(*into) != len || (f->max && len > f->max))
		return fail_value(t, part, f, v, "value");
	return 0;
}

static int take_word(struct taker *t, int part, const struct body_field *f, struct json_object *v,
		     int *into)
{
	const struct config_part *p = &t->parts.part[part];
	char list[LIST_MAX], shown[SHOWN_MAX], what[LIST_MAX + SHOWN_MAX + 64];
	const char *text = json_object_get_string(v);

	if (!json_object_is_type(v, json_type_string))
		return fail_value(t, part, f, v, "type");
	for (const struct body_word *w = f->words; w->name; w++) {
		if (strcmp(text, w->name) == 0 || (f->any_case && strcasecmp(text, w->name) == 0)) {
			*into = w->value;
			return 0;
		}
	}
	list_names(list, sizeof(list), word_name, f->words);
	snprintf(what, sizeof(what), "unknown variant `%s`, expected %s",
		 printable(text, false, shown, sizeof(shown)), list);
	return fail(t, part, p->end, what, list);
}

static const struct body_field element = {.name = "", .type = BODY_STRING};

static int take_array(struct taker *t, int part, const struct body_field *f, struct json_object *v,
		      struct body_array *into)
{
	size_t n, size = f->table ? f->size : sizeof(const char *);
	char *items;

	if (!json_object_is_type(v, json_type_array))
		return fail_value(t, part, f, v, "type");
	n = json_object_array_length(v);
	if (f->max && n > f->max)
		return fail_value(t, part, f, v, "value");
	items = reply_alloc(t->r, n * size);
	if (!items)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		struct json_object *e = json_object_array_get_idx(v, i);
		int at = (int)t->next++;
		int ret = f->table ? take_object(t, at, e, f->table, items + i * size)
				   : take_string(t, at, &element, e, (const char **)items + i);

		if (ret < 0)
			return ret;
	}
	*into = (struct body_array){.items = items, .n = n};
	return 0;
}

/* Passes the parts of a value that is kept as it is. */
static void pass(struct taker *t, int part)
{
	const struct config_part *p = t->parts.part;

	while (t->next < t->parts.n && p[t->next].value < p[part].end)
		t->next++;
}

static int take_value(struct taker *t, int part, const struct body_field *f, struct json_object *v,
		      void *into)
{
	switch (f->type) {
	case BODY_STRING:
		return take_string(t, part, f, v, into);
	case BODY_U64:
		return take_number(t, part, f, v, into);
	case BODY_BOOL:
		if (!json_object_is_type(v, json_type_boolean))
			return fail_value(t, part, f, v, "type");
		*(bool *)into = json_object_get_boolean(v);
		return 0;
	case BODY_NUMBER:
		return take_real(t, part, f, v, into);
	case BODY_WORD:
		return take_word(t, part, f, v, into);
	case BODY_OBJECT:
		return take_object(t, part, v, f->table, into);
	case BODY_ARRAY:
		return take_array(t, part, f, v, into);
	case BODY_ANY:
		*(struct json_object **)into = v;
		pass(t, part);
		return 0;
	}
	return -EINVAL;
}

static const char *end_of(const struct taker *t, int part)
{
	const char *end = t->text + t->len;

	if (part >= 0)
		return t->parts.part[part].end;
	while (end > t->text && end[-1] != '}')
		end--;
	return end;
}

static int fail_unknown(struct taker *t, int part, const struct body_field *table)
{
	const struct config_part *p = &t->parts.part[part];
	char list[LIST_MAX], name[SHOWN_MAX] = "", shown[SHOWN_MAX],
			     what[LIST_MAX + SHOWN_MAX + 64];

	put_name(p, name, sizeof(name));
	list_names(list, sizeof(list), field_name, table);
	snprintf(what, sizeof(what), "unknown field `%s`, %s%s",
		 printable(name, false, shown, sizeof(shown)),
		 *list ? "expected " : "there are no fields", list);
	return fail(t, part, p->name + p->len + 1, what, "");
}

static int check_required(struct taker *t, int part, const struct body_field *table, uint64_t given)
{
	for (unsigned int i = 0; table[i].name; i++) {
		char expected[LIST_MAX + 64], what[SHOWN_MAX];

		if (!table[i].required || body_given(given, i))
			continue;
		expectation(&table[i], expected, sizeof(expected));
		snprintf(what, sizeof(what), "missing field `%s`", table[i].name);
		return fail(t, part, end_of(t, part), what, expected);
	}
	return 0;
}

static int take_object(struct taker *t, int part, struct json_object *v,
		       const struct body_field *table, void *into)
{
	static const struct body_field object = {.name = "", .type = BODY_OBJECT};
	uint64_t given = 0;

	if (!json_object_is_type(v, json_type_object))
		return fail_value(t, part, &object, v, "type");
	json_object_object_foreach(v, name, member)
	{
		int at = (int)t->next++;
		unsigned int row = 0;
		int ret;

		while (table[row].name && strcmp(table[row].name, name) != 0)
			row++;
		if (!table[row].name)
			return fail_unknown(t, at, table);
		if (!member && table[row].nullable)
			continue;
		ret = take_value(t, at, &table[row], member, (char *)into + table[row].offset);
		if (ret < 0)
			return ret;
		given |= UINT64_C(1) << row;
	}
	memcpy(into, &given, sizeof(given));
	return check_required(t, part, table, given);
}

/* ---- the text ---- */

static int fail_json(struct taker *t, const char *at, const char *what)
{
	struct place p = place_of(t, at);

	return reply_fault(t->r, 400, FAULT "%s at line %u column %u.", what, p.line, p.column);
}

/* Parses the text into t->r->document. */
static int parse(struct taker *t)
{
	struct json_tokener *tok = json_tokener_new();
	enum json_tokener_error error;
	const char *at;
	char what[160];

	if (!tok)
		return reply_fault(t->r, 500, "out of memory");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* To the NUL: nothing may follow. */
	t->r->document = json_tokener_parse_ex(tok, t->text, (int)t->len + 1);
	error = json_tokener_get_error(tok);
	at = t->text + json_tokener_get_parse_end(tok);
	json_tokener_free(tok);
	if (error == json_tokener_continue || error == json_tokener_error_parse_eof)
		return fail_json(t, t->text + t->len, "EOF while parsing: it is not complete");
	if (error != json_tokener_success) {
		snprintf(what, sizeof(what), "it is not JSON: %s", json_tokener_error_desc(error));
		return fail_json(t, at, what);
	}
	if (!json_object_is_type(t->r->document, json_type_object))
		return fail_json(t, t->text, "invalid type: it is no object, expected struct");
	return 0;
}

static int find_parts(struct taker *t)
{
	int ret = config_parts_find(&t->parts, t->text);
	const struct config_part *last;
	char name[SHOWN_MAX] = "", shown[SHOWN_MAX], what[SHOWN_MAX + 64];

	switch (ret) {
	case 0:
		return 0;
	case -EEXIST:
		last = &t->parts.part[t->parts.n - 1];
		put_name(last, name, sizeof(name));
		snprintf(what, sizeof(what), "duplicate field `%s`",
			 printable(name, false, shown, sizeof(shown)));
		return fail_json(t, last->name + last->len + 1, what);
	case -E2BIG:
		snprintf(what, sizeof(what), "it has more than %d members and elements",
			 CONFIG_PARTS);
		return fail_json(t, t->text + t->len, what);
	case -EILSEQ:
		return reply_fault(t->r, 400,
				   FAULT "it is not JSON as expected: names in double quotes "
					 "and without escapes, and whole characters, line %u.",
				   t->parts.line);
	default:
		return reply_fault(t->r, 500, "out of memory");
	}
}

int body_take(struct reply *r, const char *text, size_t len, const struct body_field *table,
	      void *into)
{
	struct taker t = {.r = r, .len = len};
	char *copy = len < INT32_MAX ? reply_alloc(r, len + 1) : NULL;
	int ret;

	if (!copy)
		return reply_fault(r, 500, "out of memory");
	memcpy(copy, text, len);
	t.text = copy;
	if (strlen(copy) != len)
		return fail_json(&t, copy + strlen(copy), "it holds a NUL");
	json_object_put(r->document);
	r->document = NULL;
	ret = parse(&t);
	if (ret == 0)
		ret = find_parts(&t);
	if (ret == 0)
		ret = take_object(&t, -1, r->document, table, into);
	free(t.parts.part);
	return ret;
}
