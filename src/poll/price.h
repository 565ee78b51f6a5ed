/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sleep costs on this host: the time from a waker's timestamp to the owner's running again,
 * against which that of a wake-up seen by polling is nothing. Followed as a median, so that a few
 * that were held up by something else do not matter, and one that follows when the host changes.
 *
 * The owner alone adds; anybody may read.
 */
#ifndef POLL_PRICE_H
#define POLL_PRICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PRICE_MIN_NS	  500
#define PRICE_MAX_NS	  5000000
#define PRICE_NONSENSE_NS 100000000 /* no wake-up takes that long: a clock has jumped */

struct price {
	_Atomic uint32_t ns; /* 0: not measured yet */
	uint32_t seen;	     /* samples, up to a few */
	bool by_timer;	     /* only timed sleeps have been seen so far */
	uint32_t unslept;    /* halts in a row that have not slept, up to PRICE_DOUBT_HALTS */
};

/* After so many halts in a row without a sleep, half of the price is believed. */
#define PRICE_DOUBT_HALTS 1024

/* A wake-up took @ns. @timer: it was a timer's, whose own lateness is in that; such samples serve
 * only as long as there are no others. */
void price_add(struct price *p, uint64_t ns, bool timer);

static inline uint32_t price_get(const struct price *p)
{
	return atomic_load_explicit(&p->ns, memory_order_relaxed);
}

/*
 * What to decide by: the price, or less the longer nobody has slept, down to half of it. Who never
 * sleeps never learns that it costs less than it did, and would go on polling for what is no
 * longer worth it; so what is just worth it is now and then slept through. The owner's alone.
 */
static inline uint32_t price_believed(const struct price *p)
{
	uint64_t ns = price_get(p);

	return (uint32_t)(ns - ns * p->unslept / (2 * PRICE_DOUBT_HALTS));
}

/* A halt has ended, and has slept or not. The owner's alone. */
static inline void price_halted(struct price *p, bool slept)
{
	if (slept)
		p->unslept = 0;
	else if (p->unslept < PRICE_DOUBT_HALTS)
		p->unslept++;
}

/*
 * When the wake-up of a halt that has slept was sent, in ns after its begin. @slept_from and @halt:
 * ns from the begin of the halt to that of the sleep and to the end. @sent: by the waker's
 * timestamp, or anything else, for it may be an earlier wake-up's: then it is estimated.
 */
uint64_t price_arrival(const struct price *p, uint64_t slept_from, uint64_t halt, int64_t sent,
		       bool *known);

#endif
