/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sleep costs on this host: the time from a waker's timestamp to the owner's running again,
 * against which that of a wake-up seen by polling is nothing. Followed as a median, so that a few
 * that were held up by something else do not matter, and one that follows when the host changes.
 *
 * And the processor time that it takes: the sleeper's on the way into it and back, and that of the
 * waker's system call. Followed in the same way.
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
	_Atomic uint32_t ns;		       /* 0: not measured yet */
	uint32_t seen;			       /* samples, up to PRICE_FEW */
	bool by_timer;			       /* only timed sleeps have been seen so far */
	uint32_t unslept;		       /* halts in a row that have not slept */
	_Atomic uint32_t sleeper_ns, waker_ns; /* processor time; 0: not measured yet */
	uint32_t sleeper_seen, waker_seen;
	uint32_t sleeps; /* counts, to measure one in PRICE_SAMPLE of them */
};

/* To read a thread's clock is a system call, so only every so many sleeps are measured. */
#define PRICE_SAMPLE 16

/* What a sleep costs until it has been measured. */
#define PRICE_GUESS_NS 50000
/* So many samples are few: they move the price fast, and it is not believed to be above the guess.
 */
#define PRICE_FEW 32
/* After so many halts in a row without a sleep, half of the price is believed. */
#define PRICE_DOUBT_HALTS 2048

/* A wake-up took @ns. @timer: it was a timer's, whose own lateness is in that; such samples serve
 * only as long as there are no others. */
void price_add(struct price *p, uint64_t ns, bool timer);

static inline uint32_t price_get(const struct price *p)
{
	return atomic_load_explicit(&p->ns, memory_order_relaxed);
}

/* Is the sleep that begins one whose processor time is to be measured? The owner's alone. */
static inline bool price_samples(struct price *p)
{
	return p->sleeps++ % PRICE_SAMPLE == 0;
}

/* A sleep took its owner @ns of processor time; a waker's call took @ns, of which no more is
 * believed than a sleeper is late: who wakes somebody on his own processor may be preempted by him.
 */
void price_add_sleeper(struct price *p, uint64_t ns);
void price_add_waker(struct price *p, uint64_t ns);

/* The processor time of both; 0: not measured yet. */
static inline uint32_t price_cpu(const struct price *p)
{
	uint32_t sleeper = atomic_load_explicit(&p->sleeper_ns, memory_order_relaxed);

	return sleeper ? sleeper + atomic_load_explicit(&p->waker_ns, memory_order_relaxed) : 0;
}

/*
 * What to decide by; 0: not measured yet. Who does not sleep does not learn what it costs: a price
 * that is too high, from a bad second or a first sample that was held up, would be kept for as long
 * as it makes polling worth while. So few samples are not believed beyond the guess, and the others
 * less the longer nobody has slept; what is just worth it is now and then slept through. The
 * owner's alone.
 */
static inline uint32_t price_believed(const struct price *p)
{
	uint64_t ns = price_get(p);

	if (p->seen < PRICE_FEW && ns > PRICE_GUESS_NS)
		ns = PRICE_GUESS_NS;
	return (uint32_t)(ns * PRICE_DOUBT_HALTS / (PRICE_DOUBT_HALTS + (uint64_t)p->unslept));
}

/* A halt has ended, and has slept or not. The owner's alone. */
static inline void price_halted(struct price *p, bool slept)
{
	if (slept)
		p->unslept = 0;
	else if (p->unslept < UINT32_MAX)
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
