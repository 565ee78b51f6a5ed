/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets, by a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "devices/rate.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static struct rate rate;

static void begin(uint64_t bw, uint64_t bw_burst, uint64_t ops, uint64_t ops_burst)
{
	rate_init(&rate, &(struct rate_limits){bw, bw_burst, ops, ops_burst}, 5 * S);
}

static void without_limits_nobody_waits(void **state)
{
	begin(0, 0, 0, 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(rate_wait(&rate, 5 * S), 0);
		rate_charge(&rate, UINT64_MAX, UINT64_MAX);
	}
}

static void operations_come_at_their_rate(void **state)
{
	uint64_t now = 5 * S;

	begin(0, 0, 1000, 1);
	for (int i = 0; i < 1000; i++) {
		uint64_t ns = rate_wait(&rate, now);

		assert_int_equal(ns, i ? MS : 0);
		if (ns)
			assert_int_not_equal(rate_wait(&rate, now + ns - 1), 0);
		now += ns;
		assert_int_equal(rate_wait(&rate, now), 0);
		rate_charge(&rate, 1, 4096);
	}
	assert_int_equal(now, 5 * S + 999 * MS);
}

/* 4 KiB at a time, at 1 MiB a second: a second is 256 of them beyond the burst. */
static void bytes_come_at_their_rate(void **state)
{
	uint64_t now = 5 * S, done = 0;

	begin(1 << 20, 64 << 10, 0, 0);
	while (now < 6 * S) {
		now += rate_wait(&rate, now);
		assert_int_equal(rate_wait(&rate, now), 0);
		rate_charge(&rate, 1, 4096);
		done += 4096;
	}
	assert_in_range(done, (1 << 20) + (64 << 10) - 4096, (1 << 20) + (64 << 10) + 8192);
}

static void the_default_burst_is_a_tenth(void **state)
{
	uint64_t n = 0;

	begin(10000, 0, 0, 0);
	for (; rate_wait(&rate, 5 * S) == 0; n++)
		rate_charge(&rate, 1, 1);
	assert_int_equal(n, 1000);
	begin(0, 0, 5, 0);
	for (n = 0; rate_wait(&rate, 5 * S) == 0; n++)
		rate_charge(&rate, 1, 1);
	assert_int_equal(n, 1);
}

static void a_rest_saves_up_a_burst_and_no_more(void **state)
{
	uint64_t n = 0;

	begin(0, 0, 100, 20);
	while (rate_wait(&rate, 5 * S) == 0)
		rate_charge(&rate, 1, 0);
	for (; rate_wait(&rate, 1000 * S) == 0; n++)
		rate_charge(&rate, 1, 0);
	assert_int_equal(n, 20);
	/* A clock that has not moved, or that another thread has read before, fills nothing. */
	assert_int_not_equal(rate_wait(&rate, 1000 * S), 0);
	assert_int_not_equal(rate_wait(&rate, 999 * S), 0);
	assert_int_not_equal(rate_wait(&rate, 0), 0);
}

static void what_is_longer_than_a_burst_is_paid_for_later(void **state)
{
	uint64_t ns;

	begin(1000, 10, 0, 0);
	assert_int_equal(rate_wait(&rate, 5 * S), 0);
	rate_charge(&rate, 1, 5010);
	ns = rate_wait(&rate, 5 * S);
	assert_int_equal(ns, 5 * S + MS);
	assert_int_equal(rate_wait(&rate, 5 * S + ns), 0);
}

static void both_limits_hold(void **state)
{
	begin(1000, 1000, 10, 10);
	rate_charge(&rate, 1, 2000);
	assert_int_equal(rate_wait(&rate, 5 * S), S + MS);
	begin(1000, 1000, 10, 10);
	rate_charge(&rate, 30, 1);
	assert_int_equal(rate_wait(&rate, 5 * S), 2 * S + 100 * MS);
}

/* The ends of what can be asked for: no overflow, and times that a clock has. */
static void extremes(void **state)
{
	begin(1, 1, 0, 0);
	for (int i = 0; i < 1000; i++)
		rate_charge(&rate, 1, UINT32_MAX);
	assert_true(rate_wait(&rate, 5 * S) > 0);
	assert_true(rate_wait(&rate, 5 * S) <= INT64_MAX);
	begin(UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	rate_charge(&rate, UINT64_MAX, UINT64_MAX);
	assert_int_equal(rate_wait(&rate, UINT64_MAX), 0);
	rate_charge(&rate, 1, UINT64_MAX);
	rate_charge(&rate, 1, 1);
	assert_int_equal(rate_wait(&rate, UINT64_MAX), 1);
	begin(UINT64_MAX, 1, 0, 0);
	rate_charge(&rate, 1, 1 << 20);
	assert_int_equal(rate_wait(&rate, 5 * S), 1);
	assert_int_equal(rate_wait(&rate, 5 * S + 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_limits_nobody_waits),
		cmocka_unit_test(operations_come_at_their_rate),
		cmocka_unit_test(bytes_come_at_their_rate),
		cmocka_unit_test(the_default_burst_is_a_tenth),
		cmocka_unit_test(a_rest_saves_up_a_burst_and_no_more),
		cmocka_unit_test(what_is_longer_than_a_burst_is_paid_for_later),
		cmocka_unit_test(both_limits_hold),
		cmocka_unit_test(extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
