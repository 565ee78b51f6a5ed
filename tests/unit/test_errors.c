/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences about what went wrong: whole, in order, and cut off where there is no more room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
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

static void cuts_off_what_is_too_long(void **state)
{
	char path[2 * sizeof(struct error)];
	struct error err;

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	error_set(&err, "is empty");
	error_prefix(&err, -EINVAL, "%s", path);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	error_add(&err, "more");
	error_errno(&err, -EIO, "%s", path);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says),
		cmocka_unit_test(tells_what_the_system_said),
		cmocka_unit_test(adds_on_both_sides),
		cmocka_unit_test(cuts_off_what_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
