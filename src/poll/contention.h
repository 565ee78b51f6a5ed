/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contention: do other tasks want the processor that the owner polls on? User space is not told
 * that another task is runnable, so there are two ways to find out.
 *
 *   - A gap between two readings of the clock, if the kernel has counted an involuntary context
 *     switch of this thread since the last such gap.
 *   - An offer: once in a few milliseconds of polling the owner offers the processor (sched_yield)
 *     and sees whether another task takes it.
 *
 * Either ends the poll. Once others have taken more than a little, there is a pause without polls.
 * Each pause is four times as long as the one before while that goes on, and a time of calm halves
 * it.
 *
 * In a real-time class neither works: a task of a lower class never preempts the owner, and
 * sched_yield offers it nothing. So a thread of such a class does not poll. Linux's own rule stops
 * for any runnable task, whatever its class.
 *
 * The owner's alone. Times are in ticks of its clock.
 */
#ifndef POLL_CONTENTION_H
#define POLL_CONTENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "poll/clock.h"

struct contention {
	uint64_t gap;	/* so long between two readings of the clock is suspicious */
	uint64_t every; /* between two offers */
	uint64_t last;	/* the last reading */
	uint64_t next_offer;
	uint64_t resume; /* no polls before this */
	uint64_t pause;	 /* how long the last pause was; 0: none yet */
	uint64_t pause_min, pause_max;
	/* so often a thread of a real-time class asks whether it still is in one */
	uint64_t realtime_every;
	uint64_t taken; /* by others while we polled, less what they may take; as of taken_at */
	uint64_t taken_at, taken_max;
	long switches; /* involuntary ones, as last counted; -1: not yet */
};

void contention_init(struct contention *c, const struct clock *clock);

/* Begins a halt at @now. Returns whether it is a time to poll. */
static inline bool contention_may_poll(struct contention *c, uint64_t now)
{
	c->last = now;
	return now >= c->resume;
}

/* Returns whether it is a pause. Begins nothing. */
static inline bool contention_paused(const struct contention *c, uint64_t now)
{
	return now < c->resume;
}

/* Begins a pause: others wanted the processor at @now. */
void contention_pause(struct contention *c, uint64_t now);

/* Notes that there have been no polls until @now for another reason. That time is no calm: there
 * was nothing that others could have cut short. */
void contention_hold(struct contention *c, uint64_t now);

/* Notes that others had the processor for @ticks, until @now. */
void contention_taken(struct contention *c, uint64_t now, uint64_t ticks);

/* Does the costly part of contention_ask(): there was a gap, or it is time for an offer. */
bool contention_ask_slow(struct contention *c, const struct clock *clock, uint64_t now,
			 uint64_t gap);

/* Returns whether another task wants the processor: then the poll ends. Once in each turn of it. */
static inline bool contention_ask(struct contention *c, const struct clock *clock, uint64_t now)
{
	uint64_t gap = now - c->last;

	c->last = now;
	if (__builtin_expect(gap < c->gap && now < c->next_offer, 1))
		return false;
	return contention_ask_slow(c, clock, now, gap);
}

#endif
