/* SPDX-License-Identifier: Apache-2.0 */
/* The learner of policy adaptive, and what the policy knows besides; docs/policy.md. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "poll/policy.h"

#define US  1000u
#define MAX CATNAP_ADAPTIVE_MAX_NS

static void buckets(void **state)
{
	assert_int_equal(adaptive_bucket(0), 0);
	assert_int_equal(adaptive_bucket(511), 0);
	assert_int_equal(adaptive_bucket(512), 1);
	assert_int_equal(adaptive_bucket(UINT64_MAX), ADAPTIVE_BUCKETS - 1);
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS; i++) {
		assert_int_equal(adaptive_bucket(adaptive_edge(i)), i);
		if (i > 0)
			assert_int_equal(adaptive_bucket(adaptive_edge(i) - 1), i - 1);
	}
}

/* @n halts of @ns; returns the last window. */
static uint32_t halts(struct adaptive *a, uint32_t price, uint64_t ns, int n)
{
	uint32_t window = 0;

	while (n-- > 0) {
		window = adaptive_begin(a, price, MAX);
		assert_true(window <= MAX);
		adaptive_end(a, ns, false);
	}
	return window;
}

static void learns(void **state)
{
	struct adaptive a;

	adaptive_init(&a);
	assert_int_equal(adaptive_begin(&a, 50 * US, MAX), 50 * US); /* ski rental */
	assert_int_equal(adaptive_begin(&a, 50 * US, 30 * US), 30 * US);
	assert_in_range(halts(&a, 50 * US, 20 * US, 20), 20 * US, 51 * US);
	/* Longer than the price, and so not worth waiting for. */
	assert_int_equal(halts(&a, 50 * US, 150 * US, 20), 0);
	assert_in_range(halts(&a, 200 * US, 150 * US, 20), 150 * US, 210 * US);
	assert_int_equal(halts(&a, 50 * US, 10000 * US, 20), 0);
	assert_in_range(halts(&a, 50 * US, 20 * US, 5), 20 * US, 51 * US);
}

/* The learned figures can be read, and are what the halts were. */
static void tells(void **state)
{
	struct catnap_policy_stats s = {.size = sizeof(s), .context_size = sizeof(s.context[0])};
	struct catnap_halt_poll p;
	struct catnap_policy *policy;
	const struct catnap_policy_context *c = &s.context[0]; /* two short ones before */

	catnap_halt_poll_init(&p);
	p.policy = CATNAP_POLICY_ADAPTIVE;
	p.max_ns = MAX;
	p.price_ns = 50 * US;
	assert_int_equal(catnap_policy_create(&p, &policy), 0);
	for (int i = 0; i < 1000; i++) {
		struct catnap_halt h = {
			.halt_ns = i % 4 == 3 ? 40 * US : 20 * US, .valid = true, .allowed = true};

		h.waited = catnap_policy_begin(policy, true) < h.halt_ns;
		catnap_policy_end(policy, &h);
	}
	assert_int_equal(catnap_policy_get_stats(policy, &s), 0);
	assert_int_equal(s.policy, CATNAP_POLICY_ADAPTIVE);
	assert_int_equal(s.worth_ns, 50 * US);
	assert_int_equal(s.price_ns, 0);
	assert_int_equal(s.relearned, 0);
	assert_int_equal(s.contexts, CATNAP_POLICY_CONTEXTS);
	assert_int_equal(s.window_ns, c->window_ns);
	assert_int_equal(c->before, CATNAP_HALT_SHORT);
	assert_int_equal(c->last, CATNAP_HALT_SHORT);
	assert_int_equal(c->halts, 1000);
	assert_in_range(c->samples, 400, 513);
	assert_in_range(c->p50_ns, 15 * US, 20 * US);
	assert_in_range(c->p90_ns, 30 * US, 40 * US);
	assert_in_range(c->window_ns, 40 * US, 50 * US);
	assert_in_range(c->cost_ns, 22 * US, 27 * US); /* 25 us in truth */
	/* Never met. */
	assert_int_equal(s.context[8].before, CATNAP_HALT_LONG);
	assert_int_equal(s.context[8].last, CATNAP_HALT_LONG);
	assert_int_equal(s.context[8].halts, 0);
	assert_int_equal(s.context[8].p50_ns, 0);

	/* Other policies have nothing to tell but their window. */
	p.policy = CATNAP_POLICY_FIXED;
	p.max_ns = 1234;
	assert_int_equal(catnap_policy_set(policy, &p), 0);
	assert_int_equal(catnap_policy_get_stats(policy, &s), 0);
	assert_int_equal(s.contexts, 0);
	assert_int_equal(s.window_ns, 1234);
	assert_int_equal(s.context[0].halts, 0);

	s.size = 8;
	assert_int_equal(catnap_policy_get_stats(policy, &s), -EINVAL);
	catnap_policy_destroy(&policy);
}

static void follows_a_pattern(void **state)
{
	struct adaptive a;

	adaptive_init(&a);
	for (int i = 0; i < 100; i++) {
		uint32_t after_long = halts(&a, 50 * US, 20 * US, 1);
		uint32_t after_short = halts(&a, 50 * US, 1000 * US, 1);

		if (i < 10)
			continue;
		assert_in_range(after_long, 20 * US, 51 * US);
		assert_int_equal(after_short, 0);
	}
}

/* Seven short halts and a long one: two halts do not tell where in it one is. */
static void follows_a_train(void **state)
{
	struct adaptive a;

	adaptive_init(&a);
	for (int i = 0; i < 100; i++) {
		for (int j = 0; j < 7; j++) {
			uint32_t window = halts(&a, 50 * US, 12 * US, 1);

			assert_true(i == 0 || window >= 12 * US);
		}
		uint32_t end = halts(&a, 50 * US, 1500 * US, 1);

		assert_true(i < 20 || end == 0);
	}
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Where nothing follows from the course of the halts, nothing is made of it. */
static void sees_no_pattern_in_chance(void **state)
{
	uint64_t random = 88172645463325252u;
	unsigned int advised = 0;
	struct adaptive a;

	adaptive_init(&a);
	for (int i = 0; i < 100000; i++) {
		halts(&a, 50 * US, next(&random) % 3 ? 20 * US : 300 * US, 1);
		advised += a.learned_ns != a.histogram_ns;
	}
	assert_in_range(advised, 0, 500);
}

/* Of a bucket 4 us wide the window takes what has been seen, and little more; and it goes with
 * it. */
static void ends_near_the_longest(void **state)
{
	unsigned int missed = 0, wide = 0;
	uint64_t random = 88172645463325252u;
	struct adaptive a;

	adaptive_init(&a);
	for (unsigned int i = 0; i < 2300; i++) {
		uint32_t at = 21 * US + i * 3 / 2; /* up to 24.45 us: within its bucket */
		bool is_short = next(&random) % 2;

		halts(&a, 50 * US, is_short ? at : 1000 * US, 1);
		if (i < 300)
			continue;
		missed += is_short && a.histogram_ns < at;
		wide += i < 1800 && a.histogram_ns > at + US * 3 / 4;
	}
	assert_in_range(missed, 0, 100); /* of 1000 */
	assert_in_range(wide, 0, 100);
}

/* A few sleeps in a row where a poll would have done, and it polls. */
static void relearns(void **state)
{
	struct adaptive a;
	int missed = 0;

	adaptive_init(&a);
	/* Mostly long, at random enough for each context to have seen it. */
	for (int i = 0; i < 2000; i++)
		halts(&a, 50 * US, (unsigned int)i * 2654435761u >> 16 & 3 ? 900 * US : 20 * US, 1);
	for (int i = 0; i < 100; i++)
		missed += halts(&a, 50 * US, 20 * US, 1) < 20 * US;
	assert_in_range(missed, 0, 15);
	assert_true(a.changes >= 1);
	missed = 0;
	for (int i = 0; i < 100; i++)
		missed += halts(&a, 50 * US, 900 * US, 1) > 0;
	assert_in_range(missed, 0, 15);
}

/* Any values may be passed. */
static void extremes(void **state)
{
	static const uint32_t values[] = {
		0, 1, 2, 511, 50000, 1000000, 8000000, 8000001, 0x7fffffff, 0x80000000, UINT32_MAX};
	const unsigned int n = sizeof(values) / sizeof(values[0]);
	struct adaptive a;

	adaptive_init(&a);
	adaptive_end(&a, 5, false); /* without a begin */
	for (unsigned int i = 0; i < 100000; i++) {
		uint32_t max = values[i / 7 % n];
		uint64_t halt = values[i % n];

		assert_true(adaptive_begin(&a, values[i / 1000 % n], max) <= max);
		adaptive_end(&a, i % 13 ? halt : halt << 32, i % 17 == 0);
	}
	adaptive_init(&a);
	for (int i = 0; i < 100000; i++)
		halts(&a, 8000000, UINT64_MAX, 1);
	assert_int_equal(adaptive_begin(&a, 8000000, UINT32_MAX), 0);
}

/* ---- the policy around it ---- */

static void make(struct catnap_policy *p, uint32_t bias, uint32_t price)
{
	struct catnap_halt_poll params;

	catnap_halt_poll_init(&params);
	params.policy = CATNAP_POLICY_ADAPTIVE;
	params.max_ns = MAX;
	params.bias = bias;
	params.price_ns = price;
	policy_init(p, &params);
}

static uint64_t step(struct catnap_policy *p, struct policy_query q, uint64_t ns, uint64_t arrival)
{
	uint64_t window = policy_begin(p, &q);
	struct catnap_halt h = {
		.halt_ns = ns, .waited = ns > window, .valid = true, .allowed = q.allowed};

	policy_end(p, &h, arrival, false);
	return window;
}

static void price(void **state)
{
	struct policy_query q = {.allowed = true, .timer_ns = UINT64_MAX};
	struct catnap_policy p;

	make(&p, CATNAP_BIAS_BALANCED, 0);
	assert_int_equal(policy_begin(&p, &q), 50 * US); /* a guess */
	q.price_ns = 10 * US;
	assert_int_equal(policy_begin(&p, &q), 27500);
	q.price_ns = 20 * US;
	assert_int_equal(policy_begin(&p, &q), 55 * US); /* late, and half of that in time */
	q.cpu_ns = 7 * US;
	assert_int_equal(policy_begin(&p, &q), 52 * US); /* the time is known, too */
	make(&p, CATNAP_BIAS_BALANCED, 70 * US);
	assert_int_equal(policy_begin(&p, &q), 70 * US); /* given */
	make(&p, CATNAP_BIAS_POWER, 0);
	assert_int_equal(policy_begin(&p, &q), 7500);
	make(&p, CATNAP_BIAS_LATENCY, 0);
	assert_int_equal(policy_begin(&p, &q), 300 * US);
	q.price_ns = 50 * US;
	assert_int_equal(policy_begin(&p, &q), 607 * US);
	q.price_ns = UINT32_MAX;
	assert_int_equal(policy_begin(&p, &q), MAX);
	q.allowed = false;
	assert_int_equal(policy_begin(&p, &q), 0);
}

/* Sleeping makes the halt longer than the wake-up took to come: the two must not be confused. */
static void latency_does_not_feed_on_itself(void **state)
{
	struct policy_query q = {.allowed = true, .timer_ns = UINT64_MAX, .price_ns = 50 * US};
	struct catnap_policy p;
	uint64_t window = 0;

	make(&p, CATNAP_BIAS_BALANCED, 0);
	for (int i = 0; i < 50; i++)
		step(&p, q, 900 * US, 850 * US);
	for (int i = 0; i < 50; i++) {
		uint64_t slept = window < 30 * US ? 50 * US : 0;

		window = step(&p, q, 30 * US + slept, 30 * US);
	}
	assert_in_range(window, 30 * US, 60 * US);
}

/* Two vCPUs that wake each other, each @work after it was woken; a sleep costs the price. @polls:
 * the other one has this policy, too; else it sleeps. Returns how many of the last 1000 halts of
 * the first were found by its poll, and what its polls in vain have cost it in per cent of all. */
static unsigned int ping_pong(uint64_t work, bool both, unsigned int *vain)
{
	struct policy_query q = {.allowed = true, .timer_ns = UINT64_MAX};
	uint64_t waste = 0, total = 0, slept[2] = {50 * US, 50 * US};
	struct catnap_policy p[2];
	unsigned int found = 0;

	make(&p[0], CATNAP_BIAS_BALANCED, 50 * US);
	make(&p[1], CATNAP_BIAS_BALANCED, 50 * US);
	/* Before that they have learned to sleep. */
	for (int i = 0; i < 600; i++)
		for (int k = 0; k < 2; k++)
			step(&p[k], q, 2000 * US, 1950 * US);
	for (int i = 0; i < 20000; i++) {
		for (int k = 0; k < 2; k++) {
			/* It was woken, worked, and waits while the other one is woken and
			 * works. */
			uint64_t arrival = 2 * work + slept[1 - k],
				 window = policy_begin(&p[k], &q);
			struct catnap_halt h = {.valid = true, .allowed = true};

			if (k == 1 && !both)
				window = 0;
			h.waited = arrival > window;
			slept[k] = h.waited ? 50 * US : 0;
			h.halt_ns = arrival + slept[k];
			policy_end(&p[k], &h, arrival, true);
			if (k == 0) {
				total += arrival + slept[k];
				waste += h.waited ? window : 0;
				found += i >= 19000 && !h.waited;
			}
		}
	}
	*vain = (unsigned int)(waste * 100 / total);
	return found;
}

static void who_waits_for_whom(void **state)
{
	unsigned int vain;

	/* Halts of 60 us while both sleep, of 10 while both poll. */
	assert_in_range(ping_pong(5 * US, true, &vain), 950, 1000);
	assert_in_range(vain, 0, 1);
	assert_in_range(ping_pong(15 * US, true, &vain), 950, 1000);
	/* The other one sleeps, whatever happens: then so does this one. */
	assert_in_range(ping_pong(5 * US, false, &vain), 0, 2 * 5);
	assert_in_range(vain, 0, 1);
	/* Longer than the price in any case. */
	assert_int_equal(ping_pong(100 * US, true, &vain), 0);
	assert_in_range(vain, 0, 1);
}

static void timers(void **state)
{
	struct policy_query q = {.allowed = true, .timer_ns = 4000 * US, .price_ns = 50 * US};
	struct catnap_policy p;

	make(&p, CATNAP_BIAS_BALANCED, 0);
	/* Nothing but the timer, each time: nothing to poll for. */
	for (int i = 0; i < 10; i++)
		step(&p, q, 4000 * US, 4000 * US);
	assert_int_equal(step(&p, q, 4000 * US, 4000 * US), 0);
	/* A near timer is waited for. */
	q.timer_ns = 40 * US;
	assert_int_equal(step(&p, q, 40 * US, 40 * US), 40 * US);
	/* Near timers are no news: nothing has come before them, and what of it? */
	for (int i = 0; i < 100; i++)
		assert_int_equal(step(&p, q, 40 * US, 40 * US), 40 * US);
	/* One for which a sleep would be less dear is not; it would be, for the sake of latency. */
	q.cpu_ns = 20 * US;
	q.timer_ns = 70 * US;
	assert_int_equal(step(&p, q, 70 * US, 70 * US), 70 * US);
	q.timer_ns = 71 * US;
	assert_int_equal(step(&p, q, 71 * US, 71 * US), 0);
	p.params.bias = CATNAP_BIAS_LATENCY;
	assert_int_equal(step(&p, q, 71 * US, 71 * US), 71 * US);
	p.params.bias = CATNAP_BIAS_BALANCED;
	/* With timers in between, what comes from outside is learned all the same. */
	q.timer_ns = 4000 * US;
	for (int i = 0; i < 20; i++)
		step(&p, q, 20 * US, 20 * US);
	assert_in_range(step(&p, q, 20 * US, 20 * US), 20 * US, 51 * US);
}

static void learns_nothing_from_others(void **state)
{
	struct policy_query q = {.allowed = true, .timer_ns = UINT64_MAX, .price_ns = 50 * US};
	struct catnap_halt h = {.halt_ns = 5000 * US, .waited = true, .allowed = true};
	struct catnap_policy p;
	uint64_t before;

	make(&p, CATNAP_BIAS_BALANCED, 0);
	for (int i = 0; i < 50; i++)
		step(&p, q, 20 * US, 20 * US);
	before = policy_begin(&p, &q);
	for (int i = 0; i < 50; i++) {
		policy_end(&p, &h, h.halt_ns, false); /* not valid */
		assert_int_equal(policy_begin(&p, &q), before);
	}
	q.allowed = false;
	for (int i = 0; i < 50; i++)
		step(&p, q, 5000 * US, 5000 * US);
	q.allowed = true;
	assert_int_equal(policy_begin(&p, &q), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets),
		cmocka_unit_test(learns),
		cmocka_unit_test(tells),
		cmocka_unit_test(follows_a_pattern),
		cmocka_unit_test(follows_a_train),
		cmocka_unit_test(sees_no_pattern_in_chance),
		cmocka_unit_test(ends_near_the_longest),
		cmocka_unit_test(relearns),
		cmocka_unit_test(extremes),
		cmocka_unit_test(price),
		cmocka_unit_test(latency_does_not_feed_on_itself),
		cmocka_unit_test(who_waits_for_whom),
		cmocka_unit_test(timers),
		cmocka_unit_test(learns_nothing_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
