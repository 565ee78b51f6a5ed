/* SPDX-License-Identifier: Apache-2.0 */
/* How Linux takes its command line apart, for tests: a second implementation of the rules. */
#ifndef TESTS_UNIT_CMDLINE_RULES_H
#define TESTS_UNIT_CMDLINE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Latin-1's white space. */
static inline bool kernel_space(char c)
{
	return c && strchr(" \t\n\v\f\r\xa0", c);
}

/* next_arg() and parse_args(), in few words: is there a parameter @name? */
static inline bool has_parameter(const char *p, const char *name)
{
	while (*p) {
		bool in_quote = false, quoted = false;
		const char *word;
		size_t len = 0;

		while (kernel_space(*p))
			p++;
		if (*p == '"') {
			in_quote = quoted = true;
			p++;
		}
		word = p;
		for (; *p && (!kernel_space(*p) || in_quote); p++, len++)
			if (*p == '"')
				in_quote = !in_quote;
		if (quoted && len && word[len - 1] == '"')
			len--;
		if (len == 2 && memcmp(word, "--", 2) == 0)
			return false;
		if (len == strlen(name) && memcmp(word, name, len) == 0)
			return true;
		if (*p)
			p++;
	}
	return false;
}

#endif
