/* SPDX-License-Identifier: Apache-2.0 */
/* Reckons what a sleep is worth; see worth.h. */
#include <catnap/poll.h>

#include "poll/price.h"
#include "poll/worth.h"

/* With bias latency a sleep is worth this at least. */
#define LATENCY_WORTH_NS 300000

/*
 * Returns what a sleep is worth by its measured price. A sleeper is late, which counts a little
 * more than twice: then nobody has to choose between policy adaptive and the kernel's for the sake
 * of latency. And a sleep takes processor time. See docs/policy.md.
 */
static uint64_t worth_measured(const struct sleep_price *p, uint32_t bias)
{
	uint64_t late = p->late_ns;

	if (bias == CATNAP_BIAS_POWER)
		return late * 3 / 8;
	return (bias == CATNAP_BIAS_LATENCY ? 12 * late : late * 9 / 4) + sleep_cpu(p);
}

/* Returns what a sleep is worth by the price @given. */
static uint64_t worth_given(uint64_t given, uint32_t bias)
{
	if (bias == CATNAP_BIAS_LATENCY)
		return 8 * given;
	if (bias == CATNAP_BIAS_POWER)
		return given / 4;
	return given;
}

uint32_t sleep_worth(const struct sleep_price *p, uint32_t bias)
{
	uint64_t worth;

	if (!p->given_ns && p->late_ns)
		worth = worth_measured(p, bias);
	else
		worth = worth_given(p->given_ns ? p->given_ns : PRICE_GUESS_NS, bias);
	if (bias == CATNAP_BIAS_LATENCY && worth < LATENCY_WORTH_NS)
		worth = LATENCY_WORTH_NS;
	if (worth == 0)
		worth = 1;
	return worth < UINT32_MAX ? (uint32_t)worth : UINT32_MAX;
}
