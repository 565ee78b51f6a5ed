/* SPDX-License-Identifier: Apache-2.0 */
/* Text of others on its way to a terminal: nothing that a terminal obeys gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/printable.h"

static void shown_as(const char *text, bool lines, const char *expected)
{
	char buf[256];

	assert_string_equal(printable(text, lines, buf, sizeof(buf)), expected);
}

static void letters_stay(void **state)
{
	shown_as("plain text, 100 %", false, "plain text, 100 %");
	shown_as("Gr\xc3\xb6\xc3\x9f"
		 "e \xe2\x82\xac \xf0\x9f\x98\xb4",
		 false,
		 "Gr\xc3\xb6\xc3\x9f"
		 "e \xe2\x82\xac \xf0\x9f\x98\xb4");
	shown_as("two\nlines\t", true, "two\nlines\t");
}

static void what_a_terminal_obeys_is_shown(void **state)
{
	shown_as("\x1b]0;title\x07\x1b[31m", true, "\\x1b]0;title\\x07\\x1b[31m");
	shown_as("a\rb\x08\x7f", true,
		 "a\\x0d"
		 "b\\x08\\x7f");
	shown_as("one\nline\t", false, "one\\x0aline\\x09");
	/* C1 controls, alone and as UTF-8; a change of direction; the end of a line. */
	shown_as("\x9b"
		 "31m",
		 false,
		 "\\x9b"
		 "31m");
	shown_as("\xc2\x9b"
		 "31m",
		 false,
		 "\\xc2\\x9b"
		 "31m");
	shown_as("\xe2\x80\xae", false, "\\xe2\\x80\\xae");
	shown_as("\xe2\x80\xa8", false, "\\xe2\\x80\\xa8");
}

static void what_is_no_utf8_is_shown(void **state)
{
	shown_as("\xff\xc0\x80", false, "\\xff\\xc0\\x80");
	shown_as("\xe0\x82\x9b", false, "\\xe0\\x82\\x9b"); /* overlong */
	shown_as("\xed\xa0\x80", false, "\\xed\\xa0\\x80"); /* a surrogate */
	shown_as("\xf4\x90\x80\x80", false, "\\xf4\\x90\\x80\\x80");
	shown_as("cut \xe2\x82", false, "cut \\xe2\\x82");
}

static void it_fits(void **state)
{
	char buf[12];

	assert_string_equal(printable("0123456789abcdef", false, buf, sizeof(buf)), "0123456");
	assert_string_equal(printable("\x1b\x1b\x1b\x1b", false, buf, sizeof(buf)), "\\x1b\\x1b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(letters_stay),
		cmocka_unit_test(what_a_terminal_obeys_is_shown),
		cmocka_unit_test(what_is_no_utf8_is_shown),
		cmocka_unit_test(it_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
