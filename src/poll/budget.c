/* SPDX-License-Identifier: Apache-2.0 */
/* The budget for polls that fail; see budget.h. */
#include "poll/budget.h"

#define WHOLE 10000u /* a rate of 100 per cent */

bool budget_take(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint32_t rate)
{
	uint64_t earned = atomic_load_explicit(&b->earned_ns, memory_order_relaxed), next;

	if (window_ns > BUDGET_BURST_NS) /* and the product below does not overflow */
		return false;
	do {
		/* Further away than a burst it cannot be, unless the clock has jumped. */
		bool sane = earned > now_ns && earned - now_ns <= BUDGET_BURST_NS;

		next = (sane ? earned : now_ns) + window_ns * WHOLE / rate;
		if (next - now_ns > BUDGET_BURST_NS)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&b->earned_ns, &earned, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void budget_give_back(struct budget *b, uint64_t ns, uint32_t rate)
{
	atomic_fetch_sub_explicit(&b->earned_ns, ns * WHOLE / rate, memory_order_relaxed);
}
