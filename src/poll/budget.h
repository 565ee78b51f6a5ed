/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A budget for polls that fail: in any second they take no more than so many per cent of one
 * processor, summed over all halters that share it. Before a poll its whole window is reserved, and
 * after it that is dropped, and what was wasted is spent.
 *
 * Spent time is kept as the moment at which all of it will have been earned back, at the rate. A
 * window is granted if that moment, with all that is reserved and the window itself added as if it
 * were to be wasted, lies no more than BUDGET_BURST_NS ahead. So, for any second: what was wasted
 * in polls that have ended within it put that moment off from the second's begin or later; to that
 * comes what is reserved; and when the last window in it was granted all of this lay less than a
 * burst beyond. So it is 1.05 times the rate at most, however many share it and however long they
 * take, a poll that runs over its window aside.
 *
 * It is two words for that reason. With one, from which a window is taken and given back if it was
 * of use, a poll that is of use covers the time in which nothing is spent, and what it gives back
 * is then saved beyond a burst: all who share it could fail at once after a time of success.
 *
 * reserved: the lower half is the reserved time in ns (it fits: a burst at 100 per cent is the most
 * that is ever reserved), the upper half counts settlements. Whoever takes reads it first, then
 * earned_ns, and changes it only if nobody has settled meanwhile. Whoever settles spends first, and
 * drops the reservation after that: in between both count. Any thread.
 */
#ifndef POLL_BUDGET_H
#define POLL_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUDGET_BURST_NS UINT64_C(50000000)
/* No more than this is owed: after it, a second has gone by without a poll. */
#define BUDGET_DEBT_NS (UINT64_C(1000000000) + BUDGET_BURST_NS)

struct budget {
	_Atomic uint64_t reserved;
	_Atomic uint64_t earned_ns;
};

/* @rate: hundredths of per cent, above 0. @now_ns: just read, from the same clock for all who share
 * it. False: there is not enough left for a poll of @window_ns, and nothing was reserved. */
bool budget_take(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint32_t rate);

/* A poll for which @window_ns were reserved (0: nothing was) has ended, and @wasted_ns of it were
 * for nothing; it may have run over. @rate: as it is now; 0: there is no limit any more. */
void budget_settle(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint64_t wasted_ns,
		   uint32_t rate);

#endif
