/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences about what went wrong: whole, in order, and without their middle where there is no room for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"

static void says(void **state)
{
	struct error err = {""};

	assert_false(error_is_set(&err));
	error_set(&err, "vcpus: %u is out of range", 65u);
	assert_true(error_is_set(&err));
	assert_string_equal(err.text, "vcpus: 65 is out of range");
	assert_int_equal(error_fail(&err, -EINVAL, "disk: %s", "no path"), -EINVAL);
	assert_string_equal(err.text, "disk: no path");
}

static void tells_what_the_system_said(void **state)
{
	struct error err;

	assert_int_equal(error_errno(&err, -ENOENT, "opening %s", "a"), -ENOENT);
	assert_string_equal(err.text, "opening a: No such file or directory");
}

static void adds_on_both_sides(void **state)
{
	struct error err;

	error_set(&err, "is empty");
	assert_int_equal(error_prefix(&err, -EINVAL, "disk: %s: ", "a.img"), -EINVAL);
	error_add(&err, ", which is %s", "nothing");
	assert_string_equal(err.text, "disk: a.img: is empty, which is nothing");
}

/* Behind a path that is too long, the reason is there. */
static void leaves_out_the_middle(void **state)
{
	static const char *const ends[] = {": No such file or directory", ", and more"};
	char path[2 * sizeof(struct error)];
	struct error err;
	size_t len;

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	for (int i = 0; i < 2; i++) {
		if (i == 0)
			error_errno(&err, -ENOENT, "disk: %s", path);
		else
			error_add(&err, ", and %s", "more");
		len = strlen(err.text);
		assert_int_equal(len, sizeof(err.text) - 1);
		assert_memory_equal(err.text, "disk: xxx", 9);
		assert_non_null(strstr(err.text, "x...x"));
		assert_string_equal(err.text + len - strlen(ends[i]), ends[i]);
	}
	error_set(&err, "%s: is empty", path);
	error_prefix(&err, -EINVAL, "disk: ");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_memory_equal(err.text, "disk: xxx", 9);
	assert_string_equal(err.text + sizeof(err.text) - 11, ": is empty");
}

/* Nor is a letter of several bytes cut. */
static void keeps_letters_whole(void **state)
{
	static const char *const letters[] = {"\xc3\xb6", "\xe2\x82\xac", "\xf0\x9f\x98\xb4"};
	struct error err;

	for (size_t l = 0; l < 3; l++) {
		for (size_t shift = 0; shift < 4; shift++) {
			size_t size = strlen(letters[l]);
			char text[1024] = "aaaa";

			for (size_t n = shift; n + size < sizeof(text); n += size)
				memcpy(text + n, letters[l], size + 1);
			error_set(&err, "%s", text);
			assert_in_range(strlen(err.text), sizeof(err.text) - 8,
					sizeof(err.text) - 1);
			assert_int_equal(mbstowcs(NULL, err.text, 0) == (size_t)-1, 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says),
		cmocka_unit_test(tells_what_the_system_said),
		cmocka_unit_test(adds_on_both_sides),
		cmocka_unit_test(leaves_out_the_middle),
		cmocka_unit_test(keeps_letters_whole),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
