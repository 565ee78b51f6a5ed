/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The price of a sleep on this host: how late it makes the sleeper. It is the time from a waker's
 * timestamp to the owner's running again; beside it that of a wake-up seen by polling is nothing.
 * A median follows it. So a few wake-ups that were held up by something else do not matter, and the
 * price changes when the host does.
 *
 * The processor time of a sleep is followed in the same way: the sleeper's on the way into it and
 * back, and that of the waker's system call.
 *
 * price_measured() is the price. price_estimate() is the price less what is doubtful of it, which
 * is what a policy decides by. The policy reckons from it what a sleep is worth (worth.c). The
 * owner alone adds; anybody may read.
 */
#ifndef POLL_PRICE_H
#define POLL_PRICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "relaxed.h"
#include "state.h"

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

/* The price until it has been measured; `catnap replay` takes the same. */
#define PRICE_GUESS_NS 50000
/* So many samples are few. They move the price fast, and the estimate is not above the guess. */
#define PRICE_FEW 32
/* After so many halts in a row without a sleep the estimate is half of the price. */
#define PRICE_DOUBT_HALTS 2048

/* Adds a sample: a wake-up took @ns. @timer: it was a timer's, whose own lateness is in that. Such
 * samples serve only as long as there are no others. */
void price_add(struct price *p, uint64_t ns, bool timer);

/* Returns the price; 0: not measured yet. */
static inline uint32_t price_measured(const struct price *p)
{
	return relaxed_load(&p->ns);
}

/* Tells whether the processor time of the sleep that begins is to be measured. Owner. */
static inline bool price_samples(struct price *p)
{
	return p->sleeps++ % PRICE_SAMPLE == 0;
}

/* Adds a sample: a sleep took its owner @ns of processor time. */
void price_add_sleeper(struct price *p, uint64_t ns);
/* Adds a sample: a waker's call took @ns. Time beyond the price does not count: a waker that wakes
 * a thread on its own processor may be preempted by it. */
void price_add_waker(struct price *p, uint64_t ns);

/* Returns the processor time of both; 0: not measured yet. */
static inline uint32_t price_cpu(const struct price *p)
{
	uint32_t sleeper = relaxed_load(&p->sleeper_ns);

	return sleeper ? sleeper + relaxed_load(&p->waker_ns) : 0;
}

/*
 * Returns what to decide by; 0: not measured yet. Owner.
 *
 * An owner that does not sleep does not learn what it costs. A price that is too high, from a bad
 * second or a first sample that was held up, would be kept for as long as it makes polling worth
 * while. So the estimate from few samples is not above the guess, and it falls the longer the owner
 * has not slept. A halt that is just worth polling for is slept through now and then.
 */
static inline uint32_t price_estimate(const struct price *p)
{
	uint64_t ns = price_measured(p);

	if (p->seen < PRICE_FEW && ns > PRICE_GUESS_NS)
		ns = PRICE_GUESS_NS;
	return (uint32_t)(ns * PRICE_DOUBT_HALTS / (PRICE_DOUBT_HALTS + (uint64_t)p->unslept));
}

/* Notes that a halt has ended, and whether it has slept. Owner. */
static inline void price_halted(struct price *p, bool slept)
{
	if (slept)
		p->unslept = 0;
	else if (p->unslept < UINT32_MAX)
		p->unslept++;
}

/*
 * Returns when the wake-up of a halt that has slept was sent, in ns after the halt's begin.
 * @slept_from and @halt are the ns from that begin to the begin of the sleep and to the halt's end.
 * @sent is what the waker's timestamp says. It may be an earlier wake-up's and lie outside the
 * sleep. Then *@known is false, and the price is taken off the end.
 */
uint64_t price_arrival(const struct price *p, uint64_t slept_from, uint64_t halt, int64_t sent,
		       bool *known);

/* Writes the price as it was measured; and reads it into @p, which is all zeroes. Samples of this host
 * move it from there. Anything wrong is noted in @in; then @p is as it was. */
void price_save(const struct price *p, struct state_writer *w);
void price_load(struct price *p, struct state_in *in);

#endif
