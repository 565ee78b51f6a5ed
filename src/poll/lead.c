/* SPDX-License-Identifier: Apache-2.0 */
/* Following a quantile of the lateness; see lead.h. */
#include "poll/lead.h"

/* One step up for each sleep that was later, one step down for each that was not: where both
 * balance, a share of down / (up + down) is later. */
struct steps {
	uint32_t up_ns, down_ns, max_ns;
};

static const struct steps lower_fifth = {100, 400, 50000};
static const struct steps median = {250, 250, 100000};
static const struct steps upper_fifth = {400, 100, 100000};

static const struct steps *steps_of(const struct catnap_policy *policy)
{
	if (!policy_is_adaptive(policy))
		return &lower_fifth;
	switch (policy_bias(policy)) {
	case CATNAP_BIAS_LATENCY:
		return &upper_fifth;
	case CATNAP_BIAS_POWER:
		return &lower_fifth;
	default:
		return &median;
	}
}

void lead_learn(struct lead *l, const struct catnap_policy *policy, const struct clock *clock,
		uint64_t late)
{
	const struct steps *steps = steps_of(policy);
	uint64_t up = clock_ns_to_ticks(clock, steps->up_ns);
	uint64_t down = clock_ns_to_ticks(clock, steps->down_ns);
	uint64_t max = clock_ns_to_ticks(clock, steps->max_ns);

	if (late > l->ticks)
		l->ticks = l->ticks + up > max ? max : l->ticks + up;
	else
		l->ticks = l->ticks < down ? 0 : l->ticks - down;
}
