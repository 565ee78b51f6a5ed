/* SPDX-License-Identifier: Apache-2.0 */
/* The budget for failed polls holds over any second, for whoever shares it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "poll/budget.h"

#define SECOND UINT64_C(1000000000)
#define STEP   200000 /* ns: an adversary's halts, each just longer than its window */

/* Polls of @window at each step, for ten seconds; none is of use. The most in any second. */
static uint64_t worst_second(uint32_t rate, uint64_t window, uint64_t from)
{
	static uint64_t spent[10 * SECOND / STEP];
	const size_t n = sizeof(spent) / sizeof(spent[0]), per_second = SECOND / STEP;
	struct budget b = {0};
	uint64_t sum = 0, worst = 0;

	for (size_t i = 0; i < n; i++) {
		spent[i] = budget_take(&b, from + i * STEP, window, rate) ? window : 0;
		sum += spent[i];
		if (i >= per_second)
			sum -= spent[i - per_second];
		if (sum > worst)
			worst = sum;
	}
	return worst;
}

static void holds_over_any_second(void **state)
{
	static const uint32_t rates[] = {10, 100, 500, 2500, 10000};

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		uint64_t allowed = SECOND * rates[i] / 10000;
		uint64_t worst = worst_second(rates[i], 50000, 12345);

		assert_true(worst <= allowed * 105 / 100);
		if (rates[i] <= 2500) /* more than that the steps do not need */
			assert_true(worst >= allowed * 90 / 100);
	}
	/* A window that no burst holds is never polled. */
	assert_int_equal(worst_second(100, 1000000, 0), 0);
	assert_int_equal(worst_second(10000, UINT64_MAX, 0), 0);
	assert_true(worst_second(1, 5000, UINT64_MAX - 20 * SECOND) <= 105000);
}

static void what_was_of_use_is_given_back(void **state)
{
	struct budget b = {0};

	for (int i = 0; i < 100000; i++) {
		assert_true(budget_take(&b, SECOND, 100000, 100));
		budget_give_back(&b, 100000, 100);
	}
	for (int i = 0; i < 5; i++)
		assert_true(budget_take(&b, SECOND, 100000, 100));
	assert_false(budget_take(&b, SECOND, 100000, 100));
	budget_give_back(&b, 50000, 100);
	assert_true(budget_take(&b, SECOND, 50000, 100));
}

static void a_clock_that_jumps_back_does_not_stop_it(void **state)
{
	struct budget b = {0};

	assert_true(budget_take(&b, 1000 * SECOND, 100000, 100));
	assert_true(budget_take(&b, SECOND, 100000, 100));
	assert_true(budget_take(&b, SECOND, 100000, 100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_over_any_second),
		cmocka_unit_test(what_was_of_use_is_given_back),
		cmocka_unit_test(a_clock_that_jumps_back_does_not_stop_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
