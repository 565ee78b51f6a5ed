/* SPDX-License-Identifier: Apache-2.0 */
/* See config_lines.h. The grammar is that of RFC 8259; what is no JSON may be misunderstood. */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/config_lines.h"

struct scan {
	struct config_parts *parts;
	const char *at;
	unsigned int line;
};

static void skip_blanks(struct scan *s)
{
	for (; *s->at && isspace((unsigned char)*s->at); s->at++)
		s->line += *s->at == '\n';
}

/* Returns the number of \uXXXX at @text; -1: it is none. */
static long escaped(const char *text)
{
	char digits[5] = "";

	if (text[0] != '\\' || text[1] != 'u')
		return -1;
	memcpy(digits, text + 2, strnlen(text + 2, 4));
	return strtol(digits, NULL, 16);
}

/* Returns whether the surrogates at @text, which is an escape, are a pair. *@len is how long the
 * escape is. */
static bool whole_character(const char *text, size_t *len)
{
	long first = escaped(text);

	*len = text[1] ? 2 : 1;
	if (first < 0xd800 || first > 0xdfff)
		return true;
	*len = 12;
	return first < 0xdc00 && strlen(text) > 12 && escaped(text + 6) >= 0xdc00 &&
	       escaped(text + 6) <= 0xdfff;
}

/* Goes from the opening quote to behind the closing one. A newline is not in a string. */
static int skip_string(struct scan *s)
{
	size_t len;

	for (s->at++; *s->at && *s->at != '"'; s->at += len) {
		len = 1;
		if (*s->at == '\\' && !whole_character(s->at, &len))
			return -EILSEQ;
	}
	if (*s->at)
		s->at++;
	return 0;
}

static bool same_name(const struct config_part *a, const struct config_part *b)
{
	return a->parent == b->parent && a->name && b->name && a->len == b->len &&
	       memcmp(a->name, b->name, a->len) == 0;
}

static int add(struct scan *s, struct config_part part)
{
	struct config_parts *p = s->parts;

	if (p->n == CONFIG_PARTS)
		return -E2BIG;
	p->part[p->n++] = part;
	for (unsigned int i = 0; i < p->n - 1; i++) {
		if (same_name(&p->part[i], &part))
			return -EEXIST;
	}
	return 0;
}

static int value(struct scan *s, unsigned int parent);

/* Takes note of a member or an element, at its first character. */
static int part(struct scan *s, unsigned int parent, bool member)
{
	struct config_part p = {.line = s->line, .parent = parent};
	unsigned int index;
	int ret;

	if (member) {
		if (*s->at != '"')
			return -EILSEQ;
		p.name = s->at + 1;
		if (skip_string(s) < 0)
			return -EILSEQ;
		p.len = (size_t)(s->at - p.name) - 1;
		if (memchr(p.name, '\\', p.len))
			return -EILSEQ;
	}
	ret = add(s, p);
	if (ret < 0)
		return ret;
	skip_blanks(s);
	if (member && *s->at)
		s->at++; /* the colon */
	skip_blanks(s);
	index = s->parts->n - 1;
	s->parts->part[index].value = s->at;
	ret = value(s, index + 1);
	s->parts->part[index].end = s->at;
	return ret;
}

static int parts_of(struct scan *s, unsigned int parent, char end, bool members)
{
	s->at++;
	skip_blanks(s);
	while (*s->at && *s->at != end) {
		int ret = part(s, parent, members);

		if (ret < 0)
			return ret;
		skip_blanks(s);
		if (*s->at == ',')
			s->at++;
		skip_blanks(s);
	}
	if (*s->at)
		s->at++;
	return 0;
}

static int value(struct scan *s, unsigned int parent)
{
	skip_blanks(s);
	switch (*s->at) {
	case '{':
		return parts_of(s, parent, '}', true);
	case '[':
		return parts_of(s, parent, ']', false);
	case '"':
		return skip_string(s);
	default:
		s->at += strcspn(s->at, ",]} \t\r\n");
		return 0;
	}
}

int config_parts_find(struct config_parts *parts, const char *text)
{
	struct scan s = {.parts = parts, .at = text, .line = 1};

	int ret;

	parts->n = 0;
	parts->part = calloc(CONFIG_PARTS, sizeof(*parts->part));
	ret = parts->part ? value(&s, 0) : -ENOMEM;
	parts->line = s.line;
	return ret;
}
