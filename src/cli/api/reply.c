/* SPDX-License-Identifier: Apache-2.0 */
/* See reply.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/api/reply.h"

struct reply_memory {
	struct reply_memory *next;
	max_align_t bytes[];
};

void reply_init(struct reply *r, struct http_exchange *exchange)
{
	*r = (struct reply){.exchange = exchange};
}

void reply_free(struct reply *r)
{
	while (r->memory) {
		struct reply_memory *m = r->memory;

		r->memory = m->next;
		free(m);
	}
	json_object_put(r->document);
	free(r->body);
	*r = (struct reply){.exchange = NULL};
}

static void set(struct reply *r, unsigned int status, const char *type, char *body, size_t len)
{
	free(r->body);
	r->status = status;
	r->type = type;
	r->body = body;
	r->len = len;
}

/* Answers that there is no memory, which needs none. */
static void no_memory(struct reply *r)
{
	set(r, 500, NULL, NULL, 0);
}

void *reply_alloc(struct reply *r, size_t size)
{
	struct reply_memory *m = calloc(1, sizeof(*m) + size);

	if (!m) {
		no_memory(r);
		return NULL;
	}
	m->next = r->memory;
	r->memory = m;
	return m->bytes;
}

void reply_empty(struct reply *r)
{
	set(r, 204, NULL, NULL, 0);
}

void reply_text(struct reply *r, unsigned int status, const char *type, char *body, size_t len)
{
	if (body)
		set(r, status, type, body, len);
	else
		no_memory(r);
}

void reply_json(struct reply *r, unsigned int status, struct json_object *o)
{
	size_t len = 0;
	const char *text = NULL;
	char *copy = NULL;

	if (o)
		text = json_object_to_json_string_length(
			o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (text)
		copy = malloc(len + 1);
	if (copy)
		memcpy(copy, text, len + 1);
	json_object_put(o);
	reply_text(r, status, "application/json", copy, len);
}

/* Returns how many bytes the character at @s has; 0: it is not UTF-8 (RFC 3629). */
static size_t character(const unsigned char *s)
{
	size_t n = s[0] < 0x80			 ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : (s[0] & 0xf0) == 0xe0	 ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* Makes a text UTF-8. A file's name may be anything, and JSON is UTF-8: what is not becomes a
 * question mark. */
static void make_utf8(char *text)
{
	for (unsigned char *s = (unsigned char *)text; *s;) {
		size_t n = character(s);

		if (n == 0)
			*s = '?';
		s += n ? n : 1;
	}
}

int reply_fault(struct reply *r, unsigned int status, const char *format, ...)
{
	struct json_object *o = json_object_new_object();
	char text[REPLY_FAULT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	make_utf8(text);
	if (o)
		json_object_object_add(o, "fault_message", json_object_new_string(text));
	reply_json(r, status, o);
	return -EINVAL;
}

struct http_exchange *reply_take(struct reply *r)
{
	r->later = true;
	return r->exchange;
}

const char *reply_sentence(struct reply *r)
{
	struct json_object *o, *sentence;
	const char *text = "";
	char *copy;

	if (r->status < 400 || !r->body)
		return "";
	o = json_tokener_parse(r->body);
	if (json_object_object_get_ex(o, "fault_message", &sentence)) {
		size_t len = (size_t)json_object_get_string_len(sentence);

		copy = reply_alloc(r, len + 1);
		if (copy) {
			memcpy(copy, json_object_get_string(sentence), len);
			text = copy;
		}
	}
	json_object_put(o);
	return text;
}
