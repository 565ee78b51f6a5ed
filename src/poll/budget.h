/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A budget for polls that fail: in any second they take no more than so many per cent of one
 * processor, summed over all halters that share it. Before a poll its whole window is taken from
 * the budget, and what was not wasted is given back after it.
 *
 * One word: the time at which all that was taken will have been earned back. What is taken for a
 * poll is its length divided by the rate; it may reach BUDGET_BURST_NS into the future, so that a
 * second never sees more than 1.05 times the rate. Any thread.
 */
#ifndef POLL_BUDGET_H
#define POLL_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUDGET_BURST_NS 50000000

struct budget {
	_Atomic uint64_t earned_ns; /* relaxed: it guards nothing */
};

/* @rate: hundredths of per cent, above 0. @now_ns: the same clock for all who share it. False:
 * there is not enough left for a poll of @window_ns, and nothing was taken. */
bool budget_take(struct budget *b, uint64_t now_ns, uint64_t window_ns, uint32_t rate);
/* Of what was taken at that rate, @ns were not wasted. */
void budget_give_back(struct budget *b, uint64_t ns, uint32_t rate);

#endif
