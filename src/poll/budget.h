/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A budget for polls that fail: in any second they take no more than so many per cent of one
 * processor, summed over all halters that share it. The whole window is reserved before a poll.
 * After it the reservation is dropped, and what was wasted is spent.
 *
 * Spent time is kept as the moment at which all of it will have been earned back, at the rate. A
 * window is granted if that moment, with all that is reserved and the window itself added as if it
 * were to be wasted, lies no more than BUDGET_BURST_NS ahead. Take any second. The time wasted in
 * polls that ended within it has put that moment off, from the second's begin or later. The
 * reserved time adds to it. When the last window of that second was granted, all of this lay less
 * than a burst ahead. So the wasted time is 1.05 times the rate at most, however many share the
 * budget and however long they take, a poll that runs over its window aside.
 *
 * That takes two words. With one word, a window would be taken from it, and given back if it was of
 * use. A poll that is of use would then cover a time in which nothing is spent, and what it gives
 * back would be saved beyond a burst. After a time of success, all that share it could fail at
 * once.
 *
 * reserved: the lower half is the reserved time in ns (it fits: a burst at 100 per cent is the most
 * that is ever reserved), the upper half counts settlements. To take is to read it first, then
 * earned_ns, and to change it only if nobody has settled meanwhile. To settle is to spend first and
 * to drop the reservation after that; in between both count. Any thread.
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

/* Reserves @window_ns for a poll. Returns false, with nothing reserved, if there is not so much
 * left. @rate: hundredths of per cent, above 0. @now_ns: just read, from the same clock for all
 * that share the budget. */
bool budget_take(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint32_t rate);

/* Settles a poll that has ended: drops the @window_ns that were reserved for it (0: nothing was),
 * and spends the @wasted_ns that were for nothing, which may be more. @rate: as it is now; 0: there
 * is no limit any more. */
void budget_settle(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint64_t wasted_ns,
		   uint32_t rate);

#endif
