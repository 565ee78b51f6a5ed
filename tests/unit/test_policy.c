/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The halt-polling policies: policy kernel against the table of its rule, the other kinds, changes
 * of parameters between the begin and the end of a halt, and what is accepted as parameters.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "poll/policy.h"

enum how { PLAIN = 0, NOT_ALLOWED = 1, INVALID = 2, MAX_BECOMES_0 = 4 };

static struct catnap_halt_poll defaults(void)
{
	struct catnap_halt_poll params;

	catnap_halt_poll_init(&params);
	params.policy = CATNAP_POLICY_KERNEL;
	params.max_ns = CATNAP_KERNEL_MAX_NS;
	return params;
}

/* One halt of a policy whose window is @window; returns the window after it. */
static uint64_t after(uint32_t window, uint64_t halt_ns, struct catnap_halt_poll params,
		      unsigned how)
{
	struct catnap_policy p;
	struct policy_query q = {.allowed = !(how & NOT_ALLOWED), .timer_ns = UINT64_MAX};
	struct catnap_halt h = {
		.halt_ns = halt_ns, .valid = !(how & INVALID), .allowed = q.allowed};
	uint64_t poll;

	policy_init(&p, &params);
	atomic_store(&p.window_ns, window);
	poll = policy_begin(&p, &q);
	assert_int_equal(poll, q.allowed ? policy_window(&p) : 0);
	assert_true(policy_window(&p) <= params.max_ns);
	h.waited = halt_ns > poll;
	if (how & MAX_BECOMES_0) {
		params.max_ns = 0;
		policy_set(&p, &params);
	}
	policy_end(&p, &h, h.halt_ns, false);
	return policy_window(&p);
}

/* The defaults with one of them changed. */
#define WITH(member, value)                                 \
	({                                                  \
		struct catnap_halt_poll with_ = defaults(); \
		with_.member = value;                       \
		with_;                                      \
	})

static void kernel_follows_the_table(void **state)
{
	const struct {
		uint32_t window;
		uint64_t halt_ns;
		struct catnap_halt_poll params;
		unsigned how;
		uint32_t after;
	} table[] = {
		{0, 1, defaults(), PLAIN, 10000},
		{0, 199999, defaults(), PLAIN, 10000},
		{0, 200000, defaults(), PLAIN, 0},
		{10000, 10000, defaults(), PLAIN, 10000},
		{10000, 10001, defaults(), PLAIN, 20000},
		{160000, 160001, defaults(), PLAIN, 320000},
		{320000, 150000, defaults(), PLAIN, 200000},
		{200000, 200001, defaults(), PLAIN, 100000},
		{50000, 200000, defaults(), PLAIN, 50000},
		{160000, 1000000, defaults(), PLAIN, 80000},
		{19999, 1000000, defaults(), PLAIN, 0},
		{160000, 1000000, WITH(shrink, 0), PLAIN, 0},
		{160000, 1000000, WITH(shrink, 1), PLAIN, 160000},
		{5000, 1000000, WITH(shrink, 1), PLAIN, 0},
		{10000, 20000, WITH(grow, 0), PLAIN, 10000},
		{0, 20000, WITH(grow_start_ns, 0), PLAIN, 0},
		{160000, 5000, WITH(max_ns, 0), PLAIN, 0},
		{160000, 60000, WITH(max_ns, 50000), PLAIN, 25000},
		{160000, 1000000, defaults(), NOT_ALLOWED, 160000},
		{320000, 1000000, defaults(), NOT_ALLOWED, 200000},
		{160000, 5000, defaults(), INVALID, 80000},
		{160000, 5000, defaults(), INVALID | MAX_BECOMES_0, 80000},
		/* Beyond the table: the corners that follow from its words. */
		{20000, 1000000, defaults(), PLAIN, 10000},
		{20000, 30000, WITH(grow, 0), PLAIN, 20000},
		{0, 30000, WITH(grow, 0), PLAIN, 0},
		{160000, 5000, defaults(), MAX_BECOMES_0, 0},
		{160000, 5000, defaults(), NOT_ALLOWED | MAX_BECOMES_0, 160000},
		{0, 5000, defaults(), INVALID, 0},
		{200000, 200000, defaults(), PLAIN, 200000},
		{0, 0, defaults(), PLAIN, 0},
		{160000, UINT64_MAX, defaults(), PLAIN, 80000},
		{160000, (UINT64_C(1) << 32) + 5, defaults(), PLAIN, 80000},
	};
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint64_t got =
			after(table[i].window, table[i].halt_ns, table[i].params, table[i].how);

		if (got != table[i].after)
			fail_msg("row %zu: window %u, halt %llu: expected %u, got %llu", i,
				 table[i].window, (unsigned long long)table[i].halt_ns,
				 table[i].after, (unsigned long long)got);
	}
}

static void kernel_growth_wraps_as_u32(void **state)
{
	struct catnap_halt_poll params = WITH(max_ns, UINT32_MAX);

	/* 2^31 * 2 is 0, which grow_start lifts; 3 * 2^30 * 2 leaves 2^31. */
	assert_int_equal(after(0x80000000, 0x80000001, params, PLAIN), 10000);
	assert_int_equal(after(0xc0000000, 0xc0000001, params, PLAIN), 0x80000000);
	params.grow_start_ns = 0;
	assert_int_equal(after(0x80000000, 0x80000001, params, PLAIN), 0);
}

static void repeat(const struct catnap_halt_poll *params, uint32_t window, uint64_t halt_ns,
		   const uint32_t *expected, size_t n)
{
	struct catnap_policy p;
	size_t i;

	policy_init(&p, params);
	atomic_store(&p.window_ns, window);
	for (i = 0; i < n; i++) {
		uint64_t poll = catnap_policy_begin(&p, true);
		struct catnap_halt h = {.halt_ns = halt_ns,
					.waited = halt_ns > poll,
					.valid = true,
					.allowed = true};

		catnap_policy_end(&p, &h);
		assert_int_equal(catnap_policy_window(&p), expected[i]);
	}
}

static void kernel_repeated_halts(void **state)
{
	static const uint32_t short_ones[] = {10000, 20000, 40000, 80000, 160000, 160000};
	static const uint32_t long_ones[] = {100000, 50000, 25000, 12500, 0};
	struct catnap_halt_poll params = defaults();

	repeat(&params, 0, 150000, short_ones, 6);
	repeat(&params, 200000, 1000000, long_ones, 5);
}

static void parameters_may_change_during_a_halt(void **state)
{
	struct catnap_halt_poll params = defaults();
	struct catnap_halt h = {.halt_ns = 60000, .waited = false, .valid = true, .allowed = true};
	struct catnap_policy p;

	policy_init(&p, &params);
	atomic_store(&p.window_ns, 160000);
	assert_int_equal(catnap_policy_begin(&p, true), 160000);
	/* A smaller maximum: the halt was seen, so the window is kept; the next entry caps it. */
	params.max_ns = 50000;
	assert_int_equal(catnap_policy_set(&p, &params), 0);
	catnap_policy_end(&p, &h);
	assert_int_equal(catnap_policy_window(&p), 160000);
	assert_int_equal(catnap_policy_begin(&p, true), 50000);
	/* A larger one, and what was too long a halt becomes one to grow for. */
	params.max_ns = 100000;
	params.grow = 3;
	assert_int_equal(catnap_policy_set(&p, &params), 0);
	h.waited = true;
	catnap_policy_end(&p, &h);
	assert_int_equal(catnap_policy_window(&p), 150000);
}

static void other_kinds(void **state)
{
	struct catnap_halt h = {.halt_ns = 5000000, .waited = true, .valid = true, .allowed = true};
	static const struct {
		uint32_t kind;
		uint64_t window;
	} kinds[] = {
		{CATNAP_POLICY_OFF, 0},
		{CATNAP_POLICY_FIXED, 30000},
		{CATNAP_POLICY_ALWAYS, CATNAP_WINDOW_FOREVER},
	};
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct catnap_halt_poll params = WITH(max_ns, 30000);
		struct catnap_policy *p = NULL;
		int round;

		params.policy = kinds[i].kind;
		assert_int_equal(catnap_policy_create(&params, &p), 0);
		for (round = 0; round < 3; round++) {
			assert_true(catnap_policy_window(p) == kinds[i].window);
			assert_true(catnap_policy_begin(p, true) == kinds[i].window);
			h.valid = round != 1;
			catnap_policy_end(p, &h);
			/* The guest's word counts with every kind. */
			assert_int_equal(catnap_policy_begin(p, false), 0);
		}
		catnap_policy_destroy(&p);
		assert_null(p);
	}
}

static void kinds_may_change_while_running(void **state)
{
	struct catnap_halt h = {.halt_ns = 150000, .waited = true, .valid = true, .allowed = true};
	struct catnap_halt_poll params = defaults();
	struct catnap_policy *p = NULL;

	assert_int_equal(catnap_policy_create(&params, &p), 0);
	catnap_policy_begin(p, true);
	catnap_policy_end(p, &h);
	assert_int_equal(catnap_policy_window(p), 10000);

	/* The window that kernel has learned is there when it comes back, and an end may follow
	 * another's begin. */
	catnap_policy_begin(p, true);
	params.policy = CATNAP_POLICY_ALWAYS;
	assert_int_equal(catnap_policy_set(p, &params), 0);
	catnap_policy_end(p, &h);
	assert_true(catnap_policy_begin(p, true) == CATNAP_WINDOW_FOREVER);
	params.policy = CATNAP_POLICY_KERNEL;
	assert_int_equal(catnap_policy_set(p, &params), 0);
	catnap_policy_end(p, &h);
	assert_int_equal(catnap_policy_window(p), 20000);
	catnap_policy_destroy(&p);
	catnap_policy_destroy(&p); /* nothing */
}

static void parameters_are_checked(void **state)
{
	struct {
		struct catnap_halt_poll params;
		char later[16]; /* members of a later version */
	} larger;
	struct catnap_halt_poll params = defaults();
	struct catnap_policy *p = (void *)&larger;

	assert_int_equal(params.size, sizeof(params));
	assert_int_equal(catnap_halt_poll_check(&params), 0);
	assert_int_equal(catnap_halt_poll_check(NULL), -EINVAL);
	params.max_ns = params.grow = params.grow_start_ns = params.shrink = UINT32_MAX;
	assert_int_equal(catnap_halt_poll_check(&params), 0);
	params.max_ns = params.grow = params.grow_start_ns = params.shrink = 0;
	assert_int_equal(catnap_halt_poll_check(&params), 0);

	params = defaults();
	params.policy = CATNAP_POLICY_ADAPTIVE + 1;
	assert_int_equal(catnap_halt_poll_check(&params), -EINVAL);
	params = defaults();
	params.bias = CATNAP_BIAS_POWER + 1;
	assert_int_equal(catnap_halt_poll_check(&params), -EINVAL);
	params = defaults();
	params.cpu_max = 10001;
	assert_int_equal(catnap_halt_poll_check(&params), -EINVAL);
	/* A caller built against the first version: what it does not have is not looked at. */
	params.size = offsetof(struct catnap_halt_poll, bias);
	assert_int_equal(params.size, 24);
	assert_int_equal(catnap_halt_poll_check(&params), 0);
	params.size--;
	assert_int_equal(catnap_halt_poll_check(&params), -EINVAL);
	assert_int_equal(catnap_policy_create(&params, &p), -EINVAL);
	assert_ptr_equal(p, &larger);
	params.size = 0;
	assert_int_equal(catnap_halt_poll_check(&params), -EINVAL);

	/* One built against the second: what it has counts, and what came after is the default. */
	params = defaults();
	params.policy = CATNAP_POLICY_FIXED;
	params.cpu_max = 700;
	params.group = 1;
	params.size = offsetof(struct catnap_halt_poll, group);
	assert_int_equal(catnap_policy_create(&params, &p), 0);
	assert_int_equal(policy_cpu_max(p), 700);
	assert_false(policy_shares(p));
	params.size = sizeof(params);
	assert_int_equal(catnap_policy_set(p, &params), 0);
	assert_true(policy_shares(p));
	catnap_policy_destroy(&p);
	params.cpu_max = 10001;
	params.size = offsetof(struct catnap_halt_poll, group);
	assert_int_equal(catnap_halt_poll_check(&params), -EINVAL);

	/* The third had no reserve yet: whatever stands there is not its. From then on it is 0. */
	params = defaults();
	params.reserved[4] = 1;
	assert_int_equal(catnap_halt_poll_check(&params), -EINVAL);
	assert_int_equal(catnap_policy_create(&params, &p), -EINVAL);
	params.size = offsetof(struct catnap_halt_poll, spin);
	assert_int_equal(params.size, 40);
	assert_int_equal(catnap_halt_poll_check(&params), 0);

	memset(&larger, 0xff, sizeof(larger));
	larger.params = defaults();
	larger.params.size = sizeof(larger);
	assert_int_equal(catnap_policy_create(&larger.params, &p), 0);
	/* Refused parameters change nothing. */
	params.cpu_max = 10001;
	params.max_ns = 0;
	assert_int_equal(catnap_policy_set(p, &params), -EINVAL);
	assert_int_equal(atomic_load(&p->params.max_ns), 200000);
	catnap_policy_destroy(&p);
}

/* What was learned decides as before, once it was put down and taken up. */
static void goes_on_with_what_was_learned(void **state)
{
	static struct catnap_policy one, two;
	struct catnap_halt_poll params;
	struct state_writer w, again;
	struct state_reader r;
	struct state_in in;
	struct error err;
	unsigned int seed = 7;

	(void)state;
	catnap_halt_poll_init(&params);
	policy_init(&one, &params);
	for (int i = 0; i < 5000; i++) {
		struct policy_query q = {
			.allowed = true, .timer_ns = UINT64_MAX, .price_ns = 20000};
		struct catnap_halt h = {.valid = 1, .allowed = 1};

		policy_begin(&one, &q);
		h.halt_ns = (uint64_t)(rand_r(&seed) % 3 ? 3000 + rand_r(&seed) % 500 : 400000);
		policy_end(&one, &h, h.halt_ns, false);
	}
	state_writer_init(&w);
	state_begin(&w, 1, 0, POLICY_STATE_VERSION);
	policy_save(&one, &w);
	assert_int_equal(state_end(&w), 0);
	assert_int_equal(state_seal(&w), 0);
	assert_int_equal(state_open(&r, w.data, w.len, &err), 0);
	assert_int_equal(state_find(&r, 1, 0, POLICY_STATE_VERSION, &in, &err), 0);
	policy_init(&two, &params);
	policy_load(&two, &in);
	assert_int_equal(state_finish(&in, &err), 0);
	state_writer_init(&again);
	state_begin(&again, 1, 0, POLICY_STATE_VERSION);
	policy_save(&two, &again);
	state_end(&again);
	state_seal(&again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.data, again.data, w.len);
	state_writer_fini(&again);
	/* The windows follow each other from the first halt on. */
	for (int i = 0; i < 200; i++) {
		struct policy_query q = {
			.allowed = true, .timer_ns = UINT64_MAX, .price_ns = 20000};
		struct catnap_halt h = {.valid = 1, .allowed = 1};
		uint64_t a = policy_begin(&one, &q), b = policy_begin(&two, &q);

		assert_int_equal(a, b);
		h.halt_ns = (uint64_t)(rand_r(&seed) % 3 ? 3000 + rand_r(&seed) % 500 : 400000);
		policy_end(&one, &h, h.halt_ns, false);
		policy_end(&two, &h, h.halt_ns, false);
	}
	state_close(&r);
	state_writer_fini(&w);
}

/* What version 2 added for each learner. */
#define WINDOWS_SIZE (4 + 4 + ADAPTIVE_CONTEXTS * 5 + (ADAPTIVE_GUARDS + 2) * 8)

/* Whatever was learned can be put down: histograms are at their fullest where all halts are alike. */
static void takes_up_all_that_can_be_learned(void **state)
{
	static struct catnap_policy one, two;
	struct catnap_halt_poll params;
	struct error err = {.text = ""};

	(void)state;
	catnap_halt_poll_init(&params);
	params.policy = CATNAP_POLICY_ADAPTIVE;
	policy_init(&one, &params);
	for (int i = 1; i <= 20000; i++) {
		struct policy_query q = {
			.allowed = true, .timer_ns = UINT64_MAX, .price_ns = 20000};
		struct catnap_halt h = {.valid = 1, .allowed = 1, .halt_ns = 100000, .waited = 1};
		struct state_writer w;
		struct state_in in;

		policy_begin(&one, &q);
		policy_end(&one, &h, h.halt_ns, false);
		if (i % 7)
			continue;
		state_writer_init(&w);
		state_begin(&w, 1, 0, POLICY_STATE_VERSION);
		policy_save(&one, &w);
		assert_int_equal(state_end(&w), 0);
		in = (struct state_in){.version = POLICY_STATE_VERSION,
				       .at = w.data + 32 + 24,
				       .end = w.data + w.len};
		policy_init(&two, &params);
		policy_load(&two, &in);
		assert_int_equal(state_finish(&in, &err), 0);
		/* So can what the first version had of it. */
		in = (struct state_in){.version = 1,
				       .at = w.data + 32 + 24,
				       .end = w.data + w.len - POLICY_LEARNERS * WINDOWS_SIZE};
		policy_init(&two, &params);
		policy_load(&two, &in);
		assert_int_equal(state_finish(&in, &err), 0);
		state_writer_fini(&w);
	}
}

/* Any bytes at all: they are refused, or harmless. */
static void nonsense_that_was_learned_does_no_harm(void **state)
{
	static struct catnap_policy p;
	struct catnap_halt_poll params;
	struct state_writer w;
	struct state_in in;
	struct error err;
	unsigned int seed = 1, taken = 0;

	(void)state;
	catnap_halt_poll_init(&params);
	for (int n = 0; n < 3000; n++) {
		uint8_t *payload;

		policy_init(&p, &params);
		state_writer_init(&w);
		state_begin(&w, 1, 0, POLICY_STATE_VERSION);
		policy_save(&p, &w);
		state_end(&w);
		payload = w.data + 32 + 24;
		for (int k = 0; k < 1 + n % 4; k++)
			payload[rand_r(&seed) % (w.len - 56)] = (uint8_t)rand_r(&seed);
		in = (struct state_in){
			.version = POLICY_STATE_VERSION, .at = payload, .end = w.data + w.len};
		policy_load(&p, &in);
		if (state_finish(&in, &err) == 0) {
			taken++;
			for (int i = 0; i < 600; i++) {
				struct policy_query q = {
					.allowed = true, .timer_ns = UINT64_MAX, .price_ns = 20000};
				struct catnap_halt h = {.valid = 1, .allowed = 1, .halt_ns = 9000};

				assert_true(policy_begin(&p, &q) <= params.max_ns);
				policy_end(&p, &h, h.halt_ns, i % 3 == 0);
			}
		}
		state_writer_fini(&w);
	}
	assert_true(taken > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_follows_the_table),
		cmocka_unit_test(kernel_growth_wraps_as_u32),
		cmocka_unit_test(kernel_repeated_halts),
		cmocka_unit_test(parameters_may_change_during_a_halt),
		cmocka_unit_test(other_kinds),
		cmocka_unit_test(kinds_may_change_while_running),
		cmocka_unit_test(parameters_are_checked),
		cmocka_unit_test(goes_on_with_what_was_learned),
		cmocka_unit_test(takes_up_all_that_can_be_learned),
		cmocka_unit_test(nonsense_that_was_learned_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
