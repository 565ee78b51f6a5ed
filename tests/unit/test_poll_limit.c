/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit for somebody else's polling: the model of the rule against the rule itself, what is learned
 * from statistics, cpu_max, and statistics that make no sense. tests/replay/limit.py holds the whole
 * against another implementation.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "poll/limit.h"
#include "poll/stats.h"

#define MS UINT64_C(1000000)

static struct catnap_halt_poll params_of(uint32_t price_ns)
{
	struct catnap_halt_poll params;

	catnap_halt_poll_init(&params);
	params.price_ns = price_ns;
	return params;
}

/* ---- the model ---- */

static uint64_t seed = 88172645463325252u;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Returns what the rule really costs, drawing from the points that the model takes halts to lie
 * at. */
static struct limit_cost played(const struct limit_halts *h, const struct catnap_halt_poll *params)
{
	enum { HALTS = 400000 };
	struct catnap_policy *p;
	uint64_t poll = 0, fail = 0, sleeps = 0;

	assert_int_equal(catnap_policy_create(params, &p), 0);
	for (int i = 0; i < HALTS; i++) {
		uint64_t at = any() % LIMIT_WEIGHTS, window;
		struct catnap_halt halt = {.valid = true, .allowed = true};
		unsigned int b = 0;

		while (at >= h->weight[b])
			at -= h->weight[b++];
		halt.halt_ns = UINT64_C(1) << (b - 1);
		halt.halt_ns += halt.halt_ns * (2 * (any() % 4) + 1) / 8;
		window = catnap_policy_begin(p, true);
		halt.waited = halt.halt_ns > window;
		poll += halt.waited ? window : halt.halt_ns;
		fail += halt.waited ? window : 0;
		sleeps += halt.waited;
		catnap_policy_end(p, &halt);
	}
	catnap_policy_destroy(&p);
	return (struct limit_cost){.poll_ns = poll / HALTS,
				   .fail_ns = fail / HALTS,
				   .sleeps = (uint32_t)(sleeps * LIMIT_WEIGHTS / HALTS)};
}

static void assert_near(uint64_t a, uint64_t b, uint64_t least)
{
	uint64_t off = a > b ? a - b : b - a, most = (a + b) / 2 / 25;

	assert_true(off <= most || off <= least);
}

/* Exact where the windows that it falls to are those that it grows through: grow-start times powers
 * of two up to the limit. */
static void the_model_is_the_rule(void **state)
{
	static const struct limit_halts mixes[] = {
		{.weight[17] = LIMIT_WEIGHTS},
		{.weight[15] = LIMIT_WEIGHTS / 2, .weight[20] = LIMIT_WEIGHTS / 2},
		{.weight[10] = LIMIT_WEIGHTS / 4,
		 .weight[16] = LIMIT_WEIGHTS / 4,
		 .weight[18] = LIMIT_WEIGHTS / 4,
		 .weight[21] = LIMIT_WEIGHTS / 4},
		{.weight[18] = LIMIT_WEIGHTS - LIMIT_WEIGHTS / 64,
		 .weight[26] = LIMIT_WEIGHTS / 64},
	};
	static const struct {
		uint32_t grow, start, shrink;
	} rules[] = {{2, 10000, 2}, {2, 10000, 0}, {2, 10000, 4}, {2, 10000, 1}, {4, 10000, 4}};

	for (size_t m = 0; m < sizeof(mixes) / sizeof(mixes[0]); m++) {
		for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
			for (uint32_t limit = 10000; limit <= 640000; limit *= 4) {
				const struct limit_rule rule = {rules[r].grow, rules[r].start,
								rules[r].shrink};
				struct catnap_halt_poll params = params_of(0);
				struct limit_cost model, real;

				params.policy = CATNAP_POLICY_KERNEL;
				params.max_ns = limit;
				params.grow = rule.grow;
				params.grow_start_ns = rule.grow_start_ns;
				params.shrink = rule.shrink;
				model = limit_expect(&mixes[m], &rule, limit);
				real = played(&mixes[m], &params);
				assert_near(model.poll_ns, real.poll_ns, 100);
				assert_near(model.fail_ns, real.fail_ns, 100);
				assert_near(model.sleeps, real.sleeps, LIMIT_WEIGHTS / 200);
			}
		}
	}
}

static void odd_rules_end(void **state)
{
	static const uint32_t some[] = {0, 1, 2, 3, 65537, 1u << 31, UINT32_MAX};
	static const struct limit_halts h = {.weight[0] = LIMIT_WEIGHTS / 2,
					     .weight[31] = LIMIT_WEIGHTS / 2};
	const size_t n = sizeof(some) / sizeof(some[0]);

	for (size_t i = 0; i < n * n * n * n; i++) {
		const struct limit_rule rule = {some[i % n], some[i / n % n], some[i / n / n % n]};
		struct limit_cost c = limit_expect(&h, &rule, some[i / n / n / n]);

		assert_true(c.fail_ns <= c.poll_ns);
		assert_true(c.sleeps <= LIMIT_WEIGHTS);
	}
}

/* ---- the learner ---- */

struct vm {
	struct catnap_poll_limit limit;
	struct catnap_halt_stats stats;
	uint64_t now_ns;
};

static void begin(struct vm *vm, const struct catnap_halt_poll *params)
{
	memset(vm, 0, sizeof(*vm));
	limit_init(&vm->limit, params);
	assert_false(limit_learn(&vm->limit, &vm->stats, 0));
}

/* @n halts that have slept after a poll, and a look. */
static void slept(struct vm *vm, unsigned int n, uint64_t poll_ns, uint64_t wait_ns)
{
	if (poll_ns) {
		vm->stats.halt_poll_fail_hist[stats_bucket(poll_ns)] += n;
		vm->stats.halt_poll_fail_ns += n * poll_ns;
	}
	vm->stats.halt_wait_hist[stats_bucket(wait_ns)] += n;
	vm->stats.halt_wait_ns += n * wait_ns;
	vm->now_ns += vm->limit.interval_ns;
	limit_learn(&vm->limit, &vm->stats, vm->now_ns);
}

/* Halts of 50 us that no poll catches, whatever the model may think. */
static void never_caught(struct vm *vm)
{
	int idle = 0;

	for (int i = 0; i < 60; i++) {
		uint64_t poll = limit_ns(&vm->limit) < 20000 ? 0 : 20000;

		idle += i >= 20 && !poll;
		slept(vm, 100, poll, 50000 - poll);
	}
	assert_in_range(idle, 32, 40);
}

static void begins_with_the_price(void **state)
{
	static const struct {
		uint32_t price, limit;
	} of[] = {{1000, 0},	    {4096, 4096},     {10000, 8192},
		  {50000, 32768},   {200000, 200000}, {0, 32768} /* 50 us */,
		  {250000, 200000}, {300000, 262144}, {3000000, 1000000}};
	struct vm vm;

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		struct catnap_halt_poll params = params_of(of[i].price);

		begin(&vm, &params);
		assert_int_equal(limit_ns(&vm.limit), of[i].limit);
		assert_int_equal(vm.limit.interval_ns, MS);
	}
}

static void polls_for_what_is_short_and_not_for_what_is_long(void **state)
{
	struct catnap_halt_poll params = params_of(60000);
	struct vm vm;

	begin(&vm, &params);
	slept(&vm, 200, 0, 40000);
	assert_int_equal(limit_ns(&vm.limit), 65536);
	for (int i = 0; i < 20; i++)
		slept(&vm, 200, 0, 100000);
	/* Halts above the limit are not polled for: it may as well stay. */
	assert_int_equal(limit_ns(&vm.limit), 65536);
	/* Polls in vain do not stay: it soon knows of each limit that it is no good. */
	never_caught(&vm);
	/* Above max nothing is chosen, however dear a sleep is. */
	params.max_ns = 30000;
	limit_set(&vm.limit, &params);
	for (int i = 0; i < 20; i++)
		slept(&vm, 200, 0, 20000);
	assert_int_equal(limit_ns(&vm.limit), 30000);
	params.max_ns = 0;
	limit_set(&vm.limit, &params);
	assert_int_equal(limit_ns(&vm.limit), 0);
}

/* The model does not know the order of halts. The cost that a limit has had knows it. */
static void what_it_has_cost_counts_more_than_the_model(void **state)
{
	struct catnap_halt_poll params = params_of(60000);
	struct vm vm;
	uint32_t first;

	begin(&vm, &params);
	slept(&vm, 100, 0, 45000);
	first = limit_ns(&vm.limit);
	assert_int_equal(first, 65536);
	/* Not one of them is caught, for whatever reason: polls of 35 us and a sleep each. */
	for (int i = 0; i < 8; i++)
		slept(&vm, 100, 35000, 10000);
	assert_true(limit_ns(&vm.limit) < first);
}

static void the_measured_price_and_the_bias_count(void **state)
{
	struct catnap_halt_poll params = params_of(0);
	struct catnap_poll_limit_cost cost = {.size = sizeof(cost)};
	struct vm vm;

	begin(&vm, &params);
	limit_set_price(&vm.limit, 8000, 4000);
	assert_int_equal(catnap_poll_limit_expect(&vm.limit, 0, &cost), 0);
	assert_int_equal(cost.worth_ns, 8000 * 9 / 4 + 4000);
	params.bias = CATNAP_BIAS_POWER;
	limit_set(&vm.limit, &params);
	assert_int_equal(catnap_poll_limit_expect(&vm.limit, 0, &cost), 0);
	assert_int_equal(cost.worth_ns, 3000);
	params.price_ns = 40000;
	limit_set(&vm.limit, &params);
	assert_int_equal(catnap_poll_limit_expect(&vm.limit, 0, &cost), 0);
	assert_int_equal(cost.worth_ns, 10000);
}

static void cpu_max_holds(void **state)
{
	struct catnap_halt_poll params = params_of(200000);
	struct vm vm;
	uint64_t failed = 0;

	params.cpu_max = 100; /* 1 per cent */
	begin(&vm, &params);
	slept(&vm, 100, 0, 100000);
	assert_true(limit_ns(&vm.limit) > 100000);
	/* A guest whose halts last just longer than any poll. */
	for (int i = 0; i < 3000; i++) {
		uint32_t poll = limit_ns(&vm.limit), n = 0;

		if (poll)
			n = (uint32_t)(vm.limit.interval_ns / (poll + 1000));
		failed += (uint64_t)n * poll;
		if (n)
			slept(&vm, n, poll, 1000);
		else
			slept(&vm, 10, 0, 100000);
		/* One interval ahead at most. */
		assert_true(failed <= vm.now_ns / 100 + 10 * MS);
		assert_true(vm.limit.interval_ns <= 250 * MS);
	}
	/* A limit that never catches a halt costs too much to be tried. */
	assert_int_equal(limit_ns(&vm.limit), 0);
	/* A short halt now and then is not. */
	for (int i = 0; i < 1000; i++)
		slept(&vm, 10, 0, 5000);
	assert_true(limit_ns(&vm.limit) > 5000);
}

static void looks_seldom_where_little_happens(void **state)
{
	struct catnap_halt_poll params = params_of(50000);
	struct vm vm;

	begin(&vm, &params);
	for (int i = 0; i < 20; i++)
		slept(&vm, 1, 0, 20000000);
	assert_int_equal(vm.limit.interval_ns, 250 * MS);
	vm.now_ns += 3600 * 1000 * MS;
	limit_learn(&vm.limit, &vm.stats, vm.now_ns);
	assert_int_equal(vm.limit.interval_ns, 250 * MS);
	slept(&vm, 25000, 0, 10000);
	assert_int_equal(vm.limit.interval_ns, 10 * MS);
}

static void nonsense_does_no_harm(void **state)
{
	struct catnap_halt_poll params = params_of(UINT32_MAX);
	struct vm vm;

	params.max_ns = UINT32_MAX;
	params.cpu_max = 10000;
	begin(&vm, &params);
	for (int i = 0; i < 20000; i++) {
		uint64_t words[sizeof(vm.stats) / sizeof(uint64_t)];

		if (any() % 8 == 0)
			memset(&vm.stats, (int)(any() % 3 - 1), sizeof(vm.stats));
		memcpy(words, &vm.stats, sizeof(words));
		for (int k = 0; k < 8; k++)
			words[any() % (sizeof(words) / sizeof(words[0]))] += any() >> any() % 64;
		memcpy(&vm.stats, words, sizeof(words));
		limit_learn(&vm.limit, &vm.stats, any() >> any() % 64);
		assert_true(vm.limit.interval_ns >= MS);
		assert_true(vm.limit.interval_ns <= 250 * MS);
	}
	/* And it has not been led astray. */
	memset(&vm.stats, 0, sizeof(vm.stats));
	params = params_of(50000);
	limit_set(&vm.limit, &params);
	limit_learn(&vm.limit, &vm.stats, 0);
	vm.now_ns = 0;
	for (int i = 0; i < 40; i++)
		slept(&vm, 200, 0, 20000);
	assert_true(limit_ns(&vm.limit) >= 32768);
	never_caught(&vm);
}

/* ---- the public functions ---- */

static void structs_are_checked(void **state)
{
	struct catnap_halt_poll params = params_of(60000), bad = params;
	struct catnap_halt_stats stats = {.size = sizeof(stats)};
	struct catnap_poll_limit_cost cost = {.size = sizeof(cost)};
	struct catnap_poll_limit *l = NULL;

	bad.bias = 77;
	assert_int_equal(catnap_poll_limit_create(&bad, &l), -EINVAL);
	assert_null(l);
	assert_int_equal(catnap_poll_limit_create(&params, NULL), -EINVAL);
	assert_int_equal(catnap_poll_limit_create(&params, &l), 0);
	assert_int_equal(catnap_poll_limit_set(l, &bad), -EINVAL);
	stats.size = offsetof(struct catnap_halt_stats, price_ns);
	assert_int_equal(catnap_poll_limit_learn(l, &stats, 0), -EINVAL);
	stats.size = sizeof(stats);
	assert_int_equal(catnap_poll_limit_learn(l, &stats, 0), 0);
	assert_int_equal(catnap_poll_limit_expect(l, 50000, &cost), 0);
	assert_int_equal(cost.poll_ns + cost.sleeps + cost.cost_ns, 0);
	stats.halt_wait_hist[stats_bucket(40000)] = 100;
	assert_int_equal(catnap_poll_limit_learn(l, &stats, MS), 1);
	assert_int_equal(catnap_poll_limit_ns(l), 65536);
	assert_int_equal(catnap_poll_limit_expect(l, 0, &cost), 0);
	assert_int_equal(cost.sleeps, 1000000);
	assert_int_equal(cost.cost_ns, UINT64_C(1000000) * 60000);
	assert_int_equal(catnap_poll_limit_expect(l, 65536, &cost), 0);
	assert_int_equal(cost.sleeps, 0);
	assert_int_equal(cost.fail_ns, 0);
	cost.size = offsetof(struct catnap_poll_limit_cost, cost_ns);
	assert_int_equal(catnap_poll_limit_expect(l, 0, &cost), -EINVAL);
	catnap_poll_limit_destroy(&l);
	assert_null(l);
	catnap_poll_limit_destroy(&l);
	catnap_poll_limit_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_model_is_the_rule),
		cmocka_unit_test(odd_rules_end),
		cmocka_unit_test(begins_with_the_price),
		cmocka_unit_test(polls_for_what_is_short_and_not_for_what_is_long),
		cmocka_unit_test(what_it_has_cost_counts_more_than_the_model),
		cmocka_unit_test(the_measured_price_and_the_bias_count),
		cmocka_unit_test(cpu_max_holds),
		cmocka_unit_test(looks_seldom_where_little_happens),
		cmocka_unit_test(nonsense_does_no_harm),
		cmocka_unit_test(structs_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
