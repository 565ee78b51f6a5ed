/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Being a good neighbour: has somebody else work for the processor that we poll on? User space is
 * not told that another task is runnable, so there are two ways to find out. A gap between two
 * looks at the clock, if the kernel has counted an involuntary context switch of this thread since
 * the last such gap; and, once in a few milliseconds of polling, to offer the processor
 * (sched_yield) and see whether somebody takes it. Either ends the poll. If they have taken more
 * than a little, there are no others for a while: each pause is four times as long as the one
 * before while that goes on, and a time without halves it.
 *
 * In a real-time class neither works: whoever is in a lower class never preempts us and is offered
 * nothing by sched_yield. So a thread of such a class does not poll. Linux's own rule stops for any
 * runnable task, whatever its class.
 *
 * The owner's alone. Times are in ticks of its clock.
 */
#ifndef POLL_CONTENTION_H
#define POLL_CONTENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "poll/clock.h"

struct contention {
	uint64_t gap;	/* so long between two looks is suspicious */
	uint64_t every; /* between two offers */
	uint64_t last;	/* the last look */
	uint64_t next_offer;
	uint64_t resume; /* no polls before this */
	uint64_t pause;	 /* how long the last pause was; 0: none yet */
	uint64_t pause_min, pause_max;
	uint64_t realtime_every; /* so often a thread of a real-time class looks whether it still is
				  */
	uint64_t taken; /* by others while we polled, less what they may take; as of taken_at */
	uint64_t taken_at, taken_max;
	long switches; /* involuntary ones, as last counted; -1: not yet */
};

void contention_init(struct contention *c, const struct clock *clock);

/* A halt begins at @now: is it a time to poll? */
static inline bool contention_may_poll(struct contention *c, uint64_t now)
{
	c->last = now;
	return now >= c->resume;
}

/* The same, without a look: for who spins for another reason. */
static inline bool contention_paused(const struct contention *c, uint64_t now)
{
	return now < c->resume;
}

/* Somebody wanted it at @now: no polls for a while. */
void contention_pause(struct contention *c, uint64_t now);

/* There have been no polls until @now, for another reason: that nobody cut them short says nothing.
 */
void contention_hold(struct contention *c, uint64_t now);

/* Others had it for so long, until @now. */
void contention_taken(struct contention *c, uint64_t now, uint64_t ticks);

/* The costly part of a look: a gap, or time for an offer. */
bool contention_closer(struct contention *c, const struct clock *clock, uint64_t now, uint64_t gap);

/* A look while polling. True: somebody else wants the processor; stop. */
static inline bool contention_look(struct contention *c, const struct clock *clock, uint64_t now)
{
	uint64_t gap = now - c->last;

	c->last = now;
	if (__builtin_expect(gap < c->gap && now < c->next_offer, 1))
		return false;
	return contention_closer(c, clock, now, gap);
}

#endif
