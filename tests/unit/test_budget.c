/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The budget for failed polls holds over any second, for whoever shares it. That it does live is
 * for tests/stress/stress_budget.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "poll/budget.h"

#define SECOND UINT64_C(1000000000)
#define STEP   200000 /* ns: an adversary's halts, each just longer than its window */

/* The time that was spent in the last second, of @per_second steps, and the most that it has
 * been. */
struct sliding {
	uint64_t sum, worst;
};

/* Step @t is over. */
static void slide(struct sliding *s, const uint64_t *spent, uint64_t t, uint64_t per_second)
{
	s->sum += spent[t];
	if (t >= per_second)
		s->sum -= spent[t - per_second];
	if (s->sum > s->worst)
		s->worst = s->sum;
}

/* Polls of @window at each step, for ten seconds; none is of use. The most in any second. */
static uint64_t worst_second(uint32_t rate, uint64_t window, uint64_t from)
{
	static uint64_t spent[10 * SECOND / STEP];
	const size_t n = sizeof(spent) / sizeof(spent[0]), per_second = SECOND / STEP;
	struct budget b = {0};
	struct sliding s = {0};

	for (size_t i = 0; i < n; i++) {
		spent[i] = budget_take(&b, from + i * STEP, window, rate) ? window : 0;
		if (spent[i])
			budget_settle(&b, from + i * STEP + window, window, window, rate);
		slide(&s, spent, i, per_second);
	}
	return s.worst;
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

static void what_was_of_use_is_not_spent(void **state)
{
	struct budget b = {0};

	for (int i = 0; i < 100000; i++) {
		assert_true(budget_take(&b, SECOND, 100000, 100));
		budget_settle(&b, SECOND, 100000, 0, 100);
	}
	for (int i = 0; i < 5; i++)
		assert_true(budget_take(&b, SECOND, 100000, 100));
	assert_false(budget_take(&b, SECOND, 100000, 100));
	budget_settle(&b, SECOND, 100000, 50000, 100);
	assert_true(budget_take(&b, SECOND, 50000, 100));
	assert_false(budget_take(&b, SECOND, 1, 100));
	/* Time that is reserved is not earned by waiting. */
	assert_true(budget_take(&b, 2 * SECOND, 50000, 100));
	assert_false(budget_take(&b, 2 * SECOND, 1, 100));
}

static void what_ran_over_is_spent(void **state)
{
	struct budget b = {0};

	assert_true(budget_take(&b, SECOND, 100000, 100));
	budget_settle(&b, SECOND, 100000, 5000000, 100); /* half a second's worth */
	assert_false(budget_take(&b, SECOND + SECOND / 2 - BUDGET_BURST_NS, 10000, 100));
	assert_true(budget_take(&b, SECOND + SECOND / 2, 10000, 100));
}

static void another_rate_holds_at_once(void **state)
{
	struct budget b = {0};

	/* 40 ms that were taken at 100 per cent are 80 per cent of a second at 5. */
	assert_true(budget_take(&b, SECOND, 40000000, 10000));
	assert_false(budget_take(&b, SECOND, 1000, 500));
	budget_settle(&b, SECOND, 40000000, 40000000, 500);
	assert_false(budget_take(&b, SECOND + 700000000, 100000, 500));
	assert_true(budget_take(&b, SECOND + 800000000, 100000, 500));
	budget_settle(&b, SECOND, 100000, 0, 500);
	/* No longer than a second: all that was too much is out of it by then. */
	budget_settle(&b, 3 * SECOND, 0, 4 * SECOND, 1);
	assert_false(budget_take(&b, 4 * SECOND, 5, 1));
	assert_true(budget_take(&b, 4 * SECOND + BUDGET_BURST_NS, 5, 1));
	budget_settle(&b, 4 * SECOND + BUDGET_BURST_NS, 5, 5, 1);
	/* And none while there is no limit. */
	assert_true(budget_take(&b, 6 * SECOND, 2500000, 500));
	budget_settle(&b, 6 * SECOND, 2500000, 2500000, 0);
	assert_true(budget_take(&b, 6 * SECOND, 2500000, 500));
}

/* A thread that was held up between the clock and the budget does not take the others' spending
 * away. */
static void an_old_clock_forgives_nothing(void **state)
{
	struct budget b = {0};

	for (int i = 0; i < 25; i++) {
		assert_true(budget_take(&b, 5 * SECOND, 100000, 500));
		budget_settle(&b, 5 * SECOND, 100000, 100000, 500);
	}
	assert_false(budget_take(&b, 5 * SECOND - 1, 100000, 500));
	assert_false(budget_take(&b, 3 * SECOND, 100000, 500));
	budget_settle(&b, 3 * SECOND, 0, 100, 500);
	assert_false(budget_take(&b, 5 * SECOND, 100000, 500));
}

/* -- many who share it ------------------------------------------------------------------------ */

#define TICK	10000 /* ns of the simulation */
#define MEMBERS 64
#define TICKS	(4 * SECOND / TICK)

struct member {
	uint64_t window, wasted; /* of the poll under way */
	uint32_t left;		 /* ticks for which it still polls */
	uint32_t held;		 /* ticks for which it then does not run, before it settles */
	bool polling, fails;
};

static uint32_t random_below(uint64_t *x, uint32_t n)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return (uint32_t)((*x >> 32) * n >> 32);
}

/*
 * @n members poll one time after another, for up to @longest ticks each. In the first half of each
 * two seconds all are of use, in the second all fail: what was of use must not have been saved.
 * Some are held up after their polls. The most in any second, in ns.
 */
static uint64_t worst_of_many(uint32_t n, uint32_t longest, uint32_t rate, uint64_t seed)
{
	static uint64_t spent[TICKS];
	static struct member members[MEMBERS];
	const uint64_t per_second = SECOND / TICK;
	struct budget b = {0};
	struct sliding s = {0};

	memset(spent, 0, sizeof(spent));
	memset(members, 0, sizeof(members));
	for (uint64_t t = 0; t < TICKS; t++) {
		uint64_t now = SECOND + t * TICK;

		for (uint32_t i = 0; i < n; i++) {
			struct member *m = &members[i];

			if (m->polling && m->left) {
				m->left--;
				m->wasted += m->fails ? TICK : 0;
				spent[t] += m->fails ? TICK : 0;
			} else if (m->polling && m->held) {
				m->held--;
			} else if (m->polling) {
				m->polling = false;
				budget_settle(&b, now, m->window, m->wasted, rate);
			}
			if (m->polling || random_below(&seed, 8) == 0)
				continue;
			m->left = 1 + random_below(&seed, longest);
			m->window = (uint64_t)m->left * TICK;
			m->held = random_below(&seed, 16) ? 0 : random_below(&seed, 2000);
			m->fails = t % (2 * per_second) >= per_second;
			m->wasted = 0;
			m->polling = budget_take(&b, now, m->window, rate);
		}
		slide(&s, spent, t, per_second);
	}
	return s.worst;
}

static void holds_for_many(void **state)
{
	static const uint32_t members[] = {1, 2, 4, 16, MEMBERS}, longest[] = {5, 20, 100, 240};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		for (size_t k = 0; k < sizeof(longest) / sizeof(longest[0]); k++) {
			uint64_t worst = worst_of_many(members[i], longest[k], 500, i * 16 + k + 1);

			assert_true(worst <= SECOND / 20 * 105 / 100);
			assert_true(worst >= SECOND / 20 * 80 / 100);
		}
}

static void a_clock_that_jumps_back_does_not_stop_it(void **state)
{
	struct budget b = {0};

	for (int i = 0; i < 5; i++) {
		assert_true(budget_take(&b, 1000 * SECOND, 100000, 100));
		budget_settle(&b, 1000 * SECOND, 100000, 100000, 100);
	}
	assert_false(budget_take(&b, 1000 * SECOND, 100000, 100));
	for (int i = 0; i < 5; i++) {
		assert_true(budget_take(&b, SECOND, 100000, 100));
		budget_settle(&b, SECOND, 100000, 100000, 100);
	}
	assert_false(budget_take(&b, SECOND, 100000, 100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_over_any_second),
		cmocka_unit_test(what_was_of_use_is_not_spent),
		cmocka_unit_test(what_ran_over_is_spent),
		cmocka_unit_test(another_rate_holds_at_once),
		cmocka_unit_test(an_old_clock_forgives_nothing),
		cmocka_unit_test(holds_for_many),
		cmocka_unit_test(a_clock_that_jumps_back_does_not_stop_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
