/* SPDX-License-Identifier: Apache-2.0 */
/* The budget for polls that fail; see budget.h. */
#include "poll/budget.h"
#include "relaxed.h"

#define WHOLE	   10000u /* a rate of 100 per cent */
#define SETTLEMENT (UINT64_C(1) << 32)

/* Further ahead than it is ever put, the clock has jumped back. Much further: @now may be some time
 * ago, if the caller was held up. */
#define JUMP_NS UINT64_C(10000000000)

/* Returns the moment to which time is spent, and from which more is; the present, if that is
 * later. */
static uint64_t spent_until(uint64_t earned, uint64_t now)
{
	return earned > now && earned - now <= JUMP_NS ? earned : now;
}

/* Returns how long it takes to earn @ns, which is BUDGET_DEBT_NS at most, so that nothing
 * overflows. */
static uint64_t to_earn(uint64_t ns, uint32_t rate)
{
	return (ns * WHOLE + rate - 1) / rate;
}

bool budget_take(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint32_t rate)
{
	/* Acquire: with what was settled, its spending is seen. */
	uint64_t seen = atomic_load_explicit(&b->reserved, memory_order_acquire);

	if (window_ns > BUDGET_BURST_NS)
		return false;
	do {
		uint64_t earned = relaxed_load(&b->earned_ns);
		uint64_t ahead = spent_until(earned, now_ns) - now_ns;

		if (ahead + to_earn((uint32_t)seen + window_ns, rate) > BUDGET_BURST_NS)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&b->reserved, &seen, seen + window_ns, memory_order_acquire, memory_order_acquire));
	return true;
}

static void spend(struct budget *b, uint64_t now_ns, uint64_t ns, uint32_t rate)
{
	uint64_t earned = relaxed_load(&b->earned_ns), next;

	do {
		next = spent_until(earned, now_ns);
		/* The time ahead may be a little more than the most, if @now_ns is some time
		 * ago. */
		next += to_earn(ns < BUDGET_DEBT_NS ? ns : BUDGET_DEBT_NS, rate);
		if (next - now_ns > BUDGET_DEBT_NS)
			next = now_ns + BUDGET_DEBT_NS;
		if (next < earned && earned - now_ns <= JUMP_NS)
			next = earned;
	} while (!atomic_compare_exchange_weak_explicit(
		&b->earned_ns, &earned, next, memory_order_relaxed, memory_order_relaxed));
}

void budget_settle(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint64_t wasted_ns,
		   uint32_t rate)
{
	if (wasted_ns && rate)
		spend(b, now_ns, wasted_ns, rate);
	if (window_ns)
		atomic_fetch_add_explicit(&b->reserved, SETTLEMENT - window_ns,
					  memory_order_release);
}
