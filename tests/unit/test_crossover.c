/* SPDX-License-Identifier: Apache-2.0 */
/* Where the costs of two ways to halt cross, by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "cli/bench/crossover.h"
#include "cli/bench/workload.h"

/* The file under test has these from others, and does not need them here. */
bool bench_cell_empty(const struct bench_cell *c)
{
	return !c->latency.n;
}

bool bench_value_p50(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)c->latency.v[0];
	return true;
}

static void check(double user, double kernel, double user_each, double kernel_each,
		  enum bench_better better, double at, const char *text)
{
	const struct bench_lines l = {user, kernel, user_each, kernel_each};
	double found;
	char buf[32];

	assert_int_equal(bench_lines_cross(&l, &found), better);
	assert_true(found > at - 1e-9 && found < at + 1e-9);
	assert_string_equal(bench_better_text(buf, sizeof(buf), &l), text);
}

static void test_cross(void **state)
{
	/* A halt is 6 cheaper, and each interrupt 4 dearer. */
	check(10, 16, 8, 4, BENCH_BETTER_USER_BELOW, 1.5, "user below 1.50");
	check(16, 10, 4, 8, BENCH_BETTER_USER_ABOVE, 1.5, "user above 1.50");
	check(10, 16, 4, 8, BENCH_BETTER_USER, 0, "user");
	check(16, 10, 8, 4, BENCH_BETTER_KERNEL, 0, "kernel");
	check(0, 380, 4, 3, BENCH_BETTER_USER_BELOW, 380, "user below 380");
	/* Parallel, and on top of each other. */
	check(10, 16, 4, 4, BENCH_BETTER_USER, 0, "user");
	check(16, 10, 4, 4, BENCH_BETTER_KERNEL, 0, "kernel");
	check(10, 10, 4, 4, BENCH_BETTER_USER, 0, "user");
	/* At none already. */
	check(10, 10, 8, 4, BENCH_BETTER_KERNEL, 0, "kernel");
}

static void test_from_prices(void **state)
{
	static const struct bench_workload prices = {.name = "prices"}, other = {.name = "event"};
	static const struct bench_mode user = {.name = "user:adaptive"},
				       kernel = {.name = "kernel:200us"};
	uint64_t v[] = {100, 90, 40, 10, 7};
	struct bench_cell cells[] = {
		{.workload = &other, .mode = &user, .what = BENCH_PRICE_LATE},
		{.workload = &prices, .mode = &user, .what = BENCH_PRICE_LATE},
		{.workload = &prices, .mode = &kernel, .what = BENCH_PRICE_LATE},
		{.workload = &prices, .mode = &user, .what = BENCH_PRICE_IRQ_PV},
		{.workload = &prices, .mode = &kernel, .what = BENCH_PRICE_IRQ_PV},
	};
	struct bench_results r = {.cells = cells, .n = 5};
	struct bench_lines l;

	for (size_t i = 0; i < r.n; i++)
		cells[i].latency = (struct bench_series){.v = &v[i], .n = 1};
	assert_true(bench_crossover(&r, BENCH_PRICE_LATE, true, BENCH_EXTRA_IRQ, &l));
	assert_true(l.user == 90 && l.kernel == 40 && l.user_each == 10 && l.kernel_each == 7);
	/* Not measured: nothing is said. */
	assert_false(bench_crossover(&r, BENCH_PRICE_LATE, true, BENCH_EXTRA_IPI, &l));
	assert_false(bench_crossover(&r, BENCH_PRICE_LATE, false, BENCH_EXTRA_IRQ, &l));
	cells[2].latency.n = 0;
	assert_false(bench_crossover(&r, BENCH_PRICE_LATE, true, BENCH_EXTRA_IRQ, &l));
}

/* The halts beside IPIs are those of the guest that sends IPIs: each with figures of its own. */
static void test_same_guest(void **state)
{
	static const struct bench_workload prices = {.name = "prices"};
	static const struct bench_mode modes[2] = {{.name = "user:off"}, {.name = "kernel:0"}};
	uint64_t v[BENCH_PRICES][2];
	struct bench_cell cells[2 * BENCH_PRICES];
	struct bench_results r = {.cells = cells, .n = 2 * BENCH_PRICES};
	static const struct {
		int halt, beside;
	} halts[] = {{BENCH_PRICE_LATE, BENCH_PRICE_LATE_OF_TWO},
		     {BENCH_PRICE_WAKE, BENCH_PRICE_WAKE_OF_TWO}};

	for (size_t i = 0; i < r.n; i++) {
		v[i / 2][i % 2] = 1000 + i;
		cells[i] = (struct bench_cell){.workload = &prices,
					       .mode = &modes[i % 2],
					       .what = (int)i / 2,
					       .latency = {.v = &v[i / 2][i % 2], .n = 1}};
	}
	for (size_t h = 0; h < sizeof(halts) / sizeof(halts[0]); h++)
		for (int e = 0; e < BENCH_EXTRAS; e++) {
			const uint64_t *halt =
				v[e == BENCH_EXTRA_IPI ? halts[h].beside : halts[h].halt];
			const uint64_t *each = v[bench_extra_price((enum bench_extra)e)];
			struct bench_lines l;

			assert_true(
				bench_crossover(&r, halts[h].halt, false, (enum bench_extra)e, &l));
			assert_true(l.user == (double)halt[0] && l.kernel == (double)halt[1]);
			assert_true(l.user_each == (double)each[0] &&
				    l.kernel_each == (double)each[1]);
		}
}

/* As Linux is: a halt, a timer armed, and with several vCPUs an IPI. */
static void test_choice(void **state)
{
	static const struct bench_workload prices = {.name = "prices"};
	static const struct bench_mode modes[2] = {{.name = "user:adaptive"},
						   {.name = "kernel:200us"}};
	static const int what[] = {BENCH_PRICE_WAKE,	    BENCH_PRICE_LATE,
				   BENCH_PRICE_ARM,	    BENCH_PRICE_IPI,
				   BENCH_PRICE_WAKE_OF_TWO, BENCH_PRICE_LATE_OF_TWO};
	uint64_t v[6][2] = {{20, 30}, {10, 20}, {9, 2}, {8, 3}, {24, 31}, {16, 29}};
	struct bench_cell cells[12];
	struct bench_results r = {.cells = cells, .n = 12};
	bool user;

	for (size_t i = 0; i < r.n; i++)
		cells[i] = (struct bench_cell){.workload = &prices,
					       .mode = &modes[i % 2],
					       .what = what[i / 2],
					       .latency = {.v = &v[i / 2][i % 2], .n = 1}};
	/* 15 + 9 against 25 + 2; of two vCPUs, with an IPI, 20 + 9 + 8 against 30 + 2 + 3. */
	assert_true(bench_irqchip_choice(&r, false, &user) && user);
	assert_true(bench_irqchip_choice(&r, true, &user) && !user);
	v[3][0] = 6;
	assert_false(bench_irqchip_choice(&r, true, &user) && user);
	v[3][0] = 5;
	assert_true(bench_irqchip_choice(&r, true, &user) && user);
	/* A halt of one vCPU has no part in that. */
	v[0][0] = v[1][0] = 1000;
	assert_true(bench_irqchip_choice(&r, true, &user) && user);
	assert_true(bench_irqchip_choice(&r, false, &user) && !user);
	cells[8].latency.n = 0;
	assert_false(bench_irqchip_choice(&r, true, &user));
	assert_true(bench_irqchip_choice(&r, false, &user));
	cells[6].latency.n = 0;
	assert_false(bench_irqchip_choice(&r, true, &user));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cross),
		cmocka_unit_test(test_from_prices),
		cmocka_unit_test(test_same_guest),
		cmocka_unit_test(test_choice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
