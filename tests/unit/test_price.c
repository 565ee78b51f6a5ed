/* SPDX-License-Identifier: Apache-2.0 */
/* The measured price of a sleep: a median that outliers and jumping clocks do not move far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "poll/price.h"

static void follows(void **state)
{
	struct price p = {0};

	assert_int_equal(price_get(&p), 0);
	price_add(&p, 20000, false);
	assert_int_equal(price_get(&p), 20000);
	for (int i = 0; i < 100; i++)
		price_add(&p, 60000, false);
	assert_in_range(price_get(&p), 55000, 65000);
	/* One in five is held up, by as much as you like. */
	for (int i = 0; i < 1000; i++)
		price_add(&p, i % 5 ? 60000 - (unsigned int)i % 7 * 1000 : 90000000, false);
	assert_in_range(price_get(&p), 50000, 66000);
}

static void bounds(void **state)
{
	struct price p = {0};

	price_add(&p, UINT64_MAX, false);
	price_add(&p, PRICE_NONSENSE_NS + 1, false);
	assert_int_equal(price_get(&p), 0);
	for (int i = 0; i < 1000; i++)
		price_add(&p, 0, false);
	assert_int_equal(price_get(&p), PRICE_MIN_NS);
	for (int i = 0; i < 10000; i++)
		price_add(&p, PRICE_NONSENSE_NS, false);
	assert_int_equal(price_get(&p), PRICE_MAX_NS);
}

/* Better than nothing, and no more than that. */
static void timers(void **state)
{
	struct price p = {0};

	price_add(&p, 80000, true);
	assert_int_equal(price_get(&p), 80000);
	price_add(&p, 9000, false);
	assert_int_equal(price_get(&p), 9000);
	for (int i = 0; i < 100; i++)
		price_add(&p, 80000, true);
	assert_int_equal(price_get(&p), 9000);
}

static void arrivals(void **state)
{
	struct price p = {0};
	bool known;

	price_add(&p, 30000, false);
	assert_int_equal(price_arrival(&p, 10000, 100000, 70000, &known), 70000);
	assert_true(known);
	/* A timestamp of another sleep, or none: all that can be said is what it usually costs. */
	assert_int_equal(price_arrival(&p, 10000, 100000, 9999, &known), 70000);
	assert_false(known);
	assert_int_equal(price_arrival(&p, 10000, 100000, 100001, &known), 70000);
	assert_int_equal(price_arrival(&p, 10000, 100000, -1, &known), 70000);
	assert_int_equal(price_arrival(&p, 90000, 100000, -1, &known), 90000);
	assert_false(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows),
		cmocka_unit_test(bounds),
		cmocka_unit_test(timers),
		cmocka_unit_test(arrivals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
