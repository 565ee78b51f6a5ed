/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the first 100 halts of a clone cost: those of a policy that went on with what was learned, as
 * a snapshot has it, beside those of the one that never stopped, and of one that begins anew. All
 * three have the same arrivals. The table is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/generate.h"
#include "poll/policy.h"
#include "state.h"

#define SETTLED 5000 /* halts before the snapshot */
#define FIRST	100  /* halts after it */
#define SEEDS	20

static const struct {
	const char *name;
	struct generate g;
} processes[] = {
	{"constant 100us", {.kind = GENERATE_CONSTANT, .gap_ns = 100000}},
	{"poisson 20us", {.kind = GENERATE_POISSON, .mean_ns = 20000}},
	{"poisson 100us", {.kind = GENERATE_POISSON, .mean_ns = 100000}},
	{"poisson 1ms", {.kind = GENERATE_POISSON, .mean_ns = 1000000}},
	{"bursty", {.kind = GENERATE_BURSTY, .burst = 20, .gap_ns = 20000, .pause_ns = 2000000}},
	{"bimodal",
	 {.kind = GENERATE_BIMODAL, .a_ns = 20000, .b_ns = 1000000, .share = 50, .jitter = 10}},
	{"pareto", {.kind = GENERATE_PARETO, .min_ns = 10000, .alpha = 1.5, .max_ns = 100000000}},
	{"tick", {.kind = GENERATE_TICK, .period_ns = 4000000, .net_ns = 500000}},
};

static const uint64_t prices[] = {10000, 50000, 200000};

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* One halt, and what it costs: the time polled, and the price if it slept. */
static uint64_t halt(struct catnap_policy *p, uint64_t ns, uint64_t price)
{
	struct policy_query q = {.allowed = true, .timer_ns = UINT64_MAX, .price_ns = price};
	struct catnap_halt h = {.valid = 1, .allowed = 1, .halt_ns = ns};
	uint64_t poll = policy_begin(p, &q);

	h.waited = ns > poll;
	policy_end(p, &h, ns, false);
	return h.waited ? poll + price : ns;
}

/* Puts @from down, and takes it up as @to. */
static void restore(const struct catnap_policy *from, struct catnap_policy *to,
		    const struct catnap_halt_poll *params)
{
	struct error err = {.text = ""};
	struct state_writer w;
	struct state_reader r;
	struct state_in in;

	state_writer_init(&w);
	state_begin(&w, 1, 0, POLICY_STATE_VERSION);
	policy_save(from, &w);
	assert_int_equal(state_end(&w), 0);
	assert_int_equal(state_seal(&w), 0);
	assert_int_equal(state_open(&r, w.data, w.len, &err), 0);
	assert_int_equal(state_find(&r, 1, 0, POLICY_STATE_VERSION, &in, &err), 0);
	policy_init(to, params);
	policy_load(to, &in);
	assert_int_equal(state_finish(&in, &err), 0);
	state_close(&r);
	state_writer_fini(&w);
}

static void compare(const struct catnap_halt_poll *params, size_t process, uint64_t price)
{
	static struct catnap_policy settled, restored, anew;
	uint64_t cost[3] = {0};
	double learned, forgot;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct generator g;

		generator_init(&g, &processes[process].g, seed);
		policy_init(&settled, params);
		for (int i = 0; i < SETTLED; i++)
			halt(&settled, generator_next(&g), price);
		restore(&settled, &restored, params);
		policy_init(&anew, params);
		for (int i = 0; i < FIRST; i++) {
			uint64_t ns = generator_next(&g);

			cost[0] += halt(&settled, ns, price);
			cost[1] += halt(&restored, ns, price);
			cost[2] += halt(&anew, ns, price);
		}
	}
	learned = (double)cost[1] / (double)cost[0];
	forgot = (double)cost[2] / (double)cost[0];
	print_message("%-8s %-14s %4u us %8.3f %8.3f\n",
		      params->policy == CATNAP_POLICY_ADAPTIVE ? "adaptive" : "kernel",
		      processes[process].name, (unsigned)(price / 1000), learned, forgot);
	assert_true(learned <= 1.05);
}

static void costs_what_it_did(void **state)
{
	static const uint32_t policies[] = {CATNAP_POLICY_ADAPTIVE, CATNAP_POLICY_KERNEL};

	(void)state;
	print_message("over what the settled policy pays: with what was learned, and without\n");
	for (size_t k = 0; k < N(policies); k++)
		for (size_t i = 0; i < N(processes); i++)
			for (size_t n = 0; n < N(prices); n++) {
				struct catnap_halt_poll params;

				catnap_halt_poll_init(&params);
				params.policy = policies[k];
				params.max_ns = k ? 200000 : 1000000;
				compare(&params, i, prices[n]);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(costs_what_it_did),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
