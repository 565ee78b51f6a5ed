/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the parameters of Linux's command line end, by the rules of the kernel's own parser
 * (lib/cmdline.c next_arg(), kernel/params.c parse_args()): words are ended by white space outside
 * of double quotes; "--" ends the parameters if it is a word, with or without quotes around it.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cmdline.h"

/* Returns what the kernel's isspace() does: that of Latin-1, with the space that is not to be
 * broken at. */
static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0';
}

/* Returns the length of the word at @p. *open: its quotes are not closed, so it is the last. */
static size_t word_length(const char *p, bool *open)
{
	size_t n = 0;

	*open = false;
	for (; p[n] && (*open || !is_space(p[n])); n++)
		if (p[n] == '"')
			*open = !*open;
	return n;
}

static bool is_separator(const char *word, size_t len)
{
	return (len == 2 && memcmp(word, "--", 2) == 0) ||
	       (len == 4 && memcmp(word, "\"--\"", 4) == 0);
}

/* Returns where a parameter can be added: before the separator, and not within quotes. */
static const char *end_of_parameters(const char *p)
{
	for (;;) {
		size_t len;
		bool open;

		while (is_space(*p))
			p++;
		len = word_length(p, &open);
		if (!len || open || is_separator(p, len))
			return p;
		p += len;
	}
}

char *cmdline_add(const char *given, const char *more)
{
	const char *end = end_of_parameters(given);
	size_t before = (size_t)(end - given), len = strlen(more), rest = strlen(end);
	char *all = malloc(before + 1 + len + 1 + rest + 1), *p = all;

	if (!all)
		return NULL;
	p = mempcpy(p, given, before);
	if (len && before && !is_space(given[before - 1]))
		*p++ = ' ';
	p = mempcpy(p, more, len);
	if (len && rest)
		*p++ = ' ';
	memcpy(p, end, rest + 1);
	return all;
}
