/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests that each addition to Linux's command line is a parameter and not one of init's words:
 * against a parser by the kernel's rules, which says which words are parameters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmdline_rules.h"
#include "vmm/cmdline.h"

static void adds(const char *given, const char *more, const char *expected)
{
	char *all = cmdline_add(given, more);

	assert_non_null(all);
	assert_string_equal(all, expected);
	free(all);
}

static void test_plain(void **state)
{
	adds("", "", "");
	adds("", "x", "x");
	adds("a b", "", "a b");
	adds("a b", "x y", "a b x y");
	adds("a ", "x", "a x");
	adds("  ", "x", "  x");
}

static void test_separator(void **state)
{
	adds("a -- b", "x", "a x -- b");
	adds("a --", "x", "a x --");
	adds("--", "x", "x --");
	adds("-- b", "x", "x -- b");
	adds("  --  b", "x", "  x --  b");
	adds("a\t--\tb", "x", "a\tx --\tb");
	adds("a -- b -- c", "x", "a x -- b -- c");
	adds("a -- b", "", "a -- b");
	/* the kernel takes the quotes off first */
	adds("a \"--\" b", "x", "a x \"--\" b");
}

static void test_other_words(void **state)
{
	static const char *const words[] = {"a --b",	    "a --- b",	    "a=-- b",
					    "--=1 b",	    "\"a -- b\" c", "a=\"b -- c\"",
					    "a=b\" -- \"c", "\"a\"--",	    "a\xc2--"};
	char expected[64];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		snprintf(expected, sizeof(expected), "%s x", words[i]);
		adds(words[i], "x", expected);
	}
	adds("a=\"b -- c\" -- d", "x", "a=\"b -- c\" x -- d");
	/* a quote that is never closed would take in all that follows */
	adds("a b=\"c -- d", "x", "a x b=\"c -- d");
	adds("\"", "x", "x \"");
}

/* All lines of some length over the characters that matter. */
static void test_all(void **state)
{
	static const char letters[] = " -\"=a";
	char line[9];

	for (size_t len = 0; len < sizeof(line); len++) {
		unsigned long count = 1;

		for (size_t i = 0; i < len; i++)
			count *= 5;
		for (unsigned long n = 0; n < count; n++) {
			unsigned long rest = n;
			char *all;

			for (size_t i = 0; i < len; i++, rest /= 5)
				line[i] = letters[rest % 5];
			line[len] = '\0';
			all = cmdline_add(line, "ours");
			if (!has_parameter(all, "ours"))
				fail_msg("\"%s\" became \"%s\"", line, all);
			free(all);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_separator),
		cmocka_unit_test(test_other_words),
		cmocka_unit_test(test_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
