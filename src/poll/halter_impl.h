/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of a halt: look.c, sleep.c and halt.c. */
#ifndef POLL_HALTER_IMPL_H
#define POLL_HALTER_IMPL_H

#include "poll/halter.h"
#include "relaxed.h"

/* Results of a look at the work. LOOK_AGAIN: other things are armed now, so look again before a
 * sleep. */
enum look { LOOK_NOTHING, LOOK_WOKEN, LOOK_AGAIN };

/* Does the part of halter_look() where there may be something. @bits: those that are pending. */
enum look halter_look_slow(struct catnap_halter *h, uint32_t bits, int *cause);

/*
 * Looks at the owner's work: at a word of memory, and at the ring's completion queue if anything is
 * armed there. It reaps what has completed and deals with changed sources. *@cause is set for
 * LOOK_WOKEN. An error of the ring is put into h->error, and wakes.
 */
static inline enum look halter_look(struct catnap_halter *h, int *cause)
{
	uint32_t bits = relaxed_load(&h->wake.pending);

	if (__builtin_expect(!bits && !ring_active(&h->ring), 1))
		return LOOK_NOTHING;
	return halter_look_slow(h, bits, cause);
}

/* A cause of halter_sleep()'s own: it is this owner's turn to be the poller. */
#define CAUSE_TURN (-1)

/*
 * Sleeps until there is work, or the deadline has passed, or it is this owner's turn to be the
 * poller (CAUSE_TURN). *@waited is set if it really slept, and not if the last look found
 * something. @gives_way: the lead is not spun if others want the processor. Returns 0 or a negative
 * errno value.
 */
int halter_sleep(struct catnap_halter *h, uint64_t deadline, int *cause, bool *waited,
		 bool gives_way);

/* Returns whether other tasks want this processor, and counts it. */
static inline bool halter_contended(struct catnap_halter *h, uint64_t now)
{
	if (!contention_ask(&h->contention, &h->clock, now))
		return false;
	stat_add(&h->stats.contended, 1);
	return true;
}

static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

#endif
