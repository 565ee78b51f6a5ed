/* SPDX-License-Identifier: Apache-2.0 */
/* The measured price of a sleep: a median that outliers and jumping clocks do not move far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "poll/policy.h"
#include "poll/price.h"

static void follows(void **state)
{
	struct price p = {0};

	assert_int_equal(price_measured(&p), 0);
	price_add(&p, 20000, false);
	assert_int_equal(price_measured(&p), 20000);
	for (int i = 0; i < 100; i++)
		price_add(&p, 60000, false);
	assert_in_range(price_measured(&p), 55000, 65000);
	/* One in five is held up, by as much as you like. */
	for (int i = 0; i < 1000; i++)
		price_add(&p, i % 5 ? 60000 - (unsigned int)i % 7 * 1000 : 90000000, false);
	assert_in_range(price_measured(&p), 50000, 66000);
}

static void bounds(void **state)
{
	struct price p = {0};

	price_add(&p, UINT64_MAX, false);
	price_add(&p, PRICE_NONSENSE_NS + 1, false);
	assert_int_equal(price_measured(&p), 0);
	for (int i = 0; i < 1000; i++)
		price_add(&p, 0, false);
	assert_int_equal(price_measured(&p), PRICE_MIN_NS);
	for (int i = 0; i < 10000; i++)
		price_add(&p, PRICE_NONSENSE_NS, false);
	assert_int_equal(price_measured(&p), PRICE_MAX_NS);
}

/* Better than nothing, and no more than that. */
static void timers(void **state)
{
	struct price p = {0};

	price_add(&p, 80000, true);
	assert_int_equal(price_measured(&p), 80000);
	price_add(&p, 9000, false);
	assert_int_equal(price_measured(&p), 9000);
	for (int i = 0; i < 100; i++)
		price_add(&p, 80000, true);
	assert_int_equal(price_measured(&p), 9000);
}

/* The processor time of both who take part. */
static void processor_time(void **state)
{
	struct price p = {0};
	int sampled = 0;

	for (int i = 0; i < 10 * PRICE_SAMPLE; i++)
		sampled += price_samples(&p);
	assert_int_equal(sampled, 10);
	assert_int_equal(price_cpu(&p), 0);
	price_add(&p, 30000, false);
	price_add_waker(&p, 9000); /* is not all */
	assert_int_equal(price_cpu(&p), 0);
	price_add_sleeper(&p, 20000);
	assert_int_equal(price_cpu(&p), 29000);
	for (int i = 0; i < 200; i++) {
		price_add_sleeper(&p, i % 3 ? 10000 : PRICE_NONSENSE_NS + 1);
		/* Preempted by the one who was woken. */
		price_add_waker(&p, 80000000);
	}
	assert_in_range(price_cpu(&p), 39000, 42000);
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

static struct catnap_policy *adaptive(void)
{
	struct catnap_halt_poll params;
	struct catnap_policy *policy = NULL;

	catnap_halt_poll_init(&params);
	assert_int_equal(catnap_policy_create(&params, &policy), 0);
	return policy;
}

/* Halts of @halt ns under policy adaptive, where a sleep costs @late ns. How many of them slept. */
static int live(struct catnap_policy *policy, struct price *p, int halts, uint64_t halt,
		uint64_t late)
{
	int slept = 0;

	for (int i = 0; i < halts; i++) {
		struct policy_query q = {
			.allowed = true, .timer_ns = UINT64_MAX, .price_ns = price_estimate(p)};
		struct catnap_halt h = {.halt_ns = halt, .valid = true, .allowed = true};

		h.waited = policy_begin(policy, &q) < halt;
		if (h.waited) {
			h.halt_ns += late;
			price_add(p, late, false);
		}
		price_halted(p, h.waited);
		policy_end(policy, &h, halt, false);
		slept += h.waited;
	}
	return slept;
}

/* It is noticed that sleeps have become cheaper, also by who does not sleep any more. */
static void doubted(void **state)
{
	struct catnap_policy *policy = adaptive();
	struct price p = {0};

	/* For a while a sleep is worth a lot more than the halt, and then half of it. */
	live(policy, &p, 100, 200000, 400000);
	assert_in_range(live(policy, &p, 1000, 200000, 400000), 0, 5);
	live(policy, &p, 20000, 200000, 40000);
	assert_in_range(price_measured(&p), 38000, 42000);
	assert_in_range(live(policy, &p, 1000, 200000, 40000), 990, 1000);
	/* A halt that is worth it is still polled for, and next to never tried otherwise. */
	live(policy, &p, 1000, 45000, 40000);
	assert_in_range(live(policy, &p, 10000, 45000, 40000), 1, 5);
	live(policy, &p, 1000, 80000, 40000);
	assert_in_range(live(policy, &p, 10000, 80000, 40000), 1, 50);
	catnap_policy_destroy(&policy);
	assert_null(policy);
}

/* A first sample that was held up. */
static void held_up(void **state)
{
	struct catnap_policy *policy = adaptive();
	struct price p = {0};

	price_add(&p, 900000, false);
	assert_int_equal(price_measured(&p), 900000);
	assert_in_range(live(policy, &p, 1000, 200000, 40000), 980, 1000);
	assert_in_range(price_measured(&p), 38000, 42000);
	catnap_policy_destroy(&policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows),  cmocka_unit_test(bounds),
		cmocka_unit_test(timers),   cmocka_unit_test(processor_time),
		cmocka_unit_test(arrivals), cmocka_unit_test(doubted),
		cmocka_unit_test(held_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
