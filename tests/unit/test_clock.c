/* SPDX-License-Identifier: Apache-2.0 */
/* The poll loop's clock: conversions at their edges, and that it agrees with CLOCK_MONOTONIC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "poll/clock.h"

static struct clock of_khz(uint32_t khz)
{
	struct clock c;

	clock_init(&c, khz);
	return c;
}

static void conversions_are_exact_to_a_part_in_a_billion(void **state)
{
	static const uint32_t khzs[] = {1000, 999999, 1000000, 2445406, 3000000, 5000000};
	static const uint64_t times[] = {0, 1, 999, 1000000, 1000000000, UINT64_C(86400000000000)};

	for (size_t i = 0; i < sizeof(khzs) / sizeof(khzs[0]); i++) {
		struct clock c = of_khz(khzs[i]);

		if (!c.tsc)
			assert_int_equal(c.khz, 1000000);
		for (size_t k = 0; k < sizeof(times) / sizeof(times[0]); k++) {
			uint64_t want = (uint64_t)((unsigned __int128)times[k] * c.khz / 1000000);
			uint64_t got = clock_ns_to_ticks(&c, times[k]);
			uint64_t back = clock_ticks_to_ns(&c, got);

			assert_true(got <= want && want - got <= 1 + want / 1000000);
			assert_true(back <= times[k]);
			assert_true(times[k] - back <= 2000000 / c.khz + 1 + times[k] / 1000000);
		}
	}
}

/* "Never" must stay never, and the far future must not wrap round into the past. */
static void conversions_and_sums_saturate(void **state)
{
	struct clock c = of_khz(4000000);

	if (c.tsc)
		assert_true(clock_ns_to_ticks(&c, UINT64_MAX) == UINT64_MAX);
	else
		assert_true(clock_ns_to_ticks(&c, UINT64_MAX) >= UINT64_MAX - 1);
	assert_true(clock_ns_to_ticks(&c, UINT64_MAX / 2) >= UINT64_MAX / 2);
	assert_true(clock_add(UINT64_MAX, 1) == UINT64_MAX);
	assert_true(clock_add(1, UINT64_MAX) == UINT64_MAX);
	assert_true(clock_add(UINT64_MAX - 1, 1) == UINT64_MAX);
	assert_int_equal(clock_add(2, 3), 5);
	assert_int_equal(clock_add_from(2, 3), 5);
	assert_true(clock_add_from(INT64_MAX, UINT64_MAX) == UINT64_MAX);
	assert_int_equal(clock_add_from(-2, 3), 1);
	assert_int_equal(clock_add_from(-3, 3), 0);
	assert_int_equal(clock_add_from(-4, 3), 0);
	assert_true(clock_add_from(-1, UINT64_MAX) == UINT64_MAX - 1);
	assert_true(clock_add_from(INT64_MIN, UINT64_MAX) == (uint64_t)INT64_MAX);
}

static void a_given_frequency_is_taken(void **state)
{
	struct clock c = of_khz(1234567);

	assert_int_equal(c.khz, c.tsc ? 1234567 : 1000000);
}

static void it_agrees_with_clock_monotonic(void **state)
{
	struct clock c = of_khz(0);
	const struct timespec ts = {.tv_nsec = 50000000};
	uint64_t ticks, ns, measured;

	assert_true(c.khz > 100000 && c.khz < 10000000);
	ticks = clock_now(&c);
	ns = clock_monotonic_ns();
	nanosleep(&ts, NULL);
	measured = clock_ticks_to_ns(&c, clock_now(&c) - ticks);
	ns = clock_monotonic_ns() - ns;
	/* 0.2 %, and 2 ms for a reading that somebody came between */
	assert_true(measured + 2000000 + ns / 500 > ns);
	assert_true(ns + 2000000 + ns / 500 > measured);
}

static void it_never_goes_back(void **state)
{
	struct clock c = of_khz(0);
	uint64_t last = clock_now(&c);

	for (int i = 0; i < 100000; i++) {
		uint64_t now = clock_now(&c);

		assert_true(now >= last);
		last = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversions_are_exact_to_a_part_in_a_billion),
		cmocka_unit_test(conversions_and_sums_saturate),
		cmocka_unit_test(a_given_frequency_is_taken),
		cmocka_unit_test(it_agrees_with_clock_monotonic),
		cmocka_unit_test(it_never_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
