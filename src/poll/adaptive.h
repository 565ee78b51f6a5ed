/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learner of policy `adaptive`: how long to poll, from the lengths of the halts before.
 * docs/policy.md says why it is made as it is.
 *
 * Halt lengths are kept in decayed histograms, one for each context: the classes (short: at most
 * the price, middle: up to 8 times that, long) of the last two halts. The window is the T that
 * minimises the expected cost, E[min(h, T)] + price * P(h > T), over the context's histogram, with
 * those of the last halt's class and of all halts as a prior. Where the course of more halts than
 * two has a lesson (pattern.h), that is followed. A guard watches what the windows have cost beside
 * what four would have that need no histogram: when one of those is better for long enough, it
 * takes over; if it goes on to be better, the process has changed, and most of what was learned is
 * forgotten.
 *
 * Integers only, no clock, no allocation; less than 5 KiB. One thread; what it has learned (struct
 * adaptive_seen) may be read by any.
 */
#ifndef POLL_ADAPTIVE_H
#define POLL_ADAPTIVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "poll/pattern.h"

#define ADAPTIVE_SUB_BITS 2  /* 4 buckets per octave */
#define ADAPTIVE_LOW_BITS 9  /* the first bucket: below 512 ns */
#define ADAPTIVE_OCTAVES  16 /* the last one: from 33.5 ms on */
#define ADAPTIVE_BUCKETS  ((ADAPTIVE_OCTAVES << ADAPTIVE_SUB_BITS) + 2)
#define ADAPTIVE_CLASSES  3
#define ADAPTIVE_CONTEXTS (ADAPTIVE_CLASSES * ADAPTIVE_CLASSES)
#define ADAPTIVE_GUARDS	  4

/* Above this price the histograms cannot weigh a window: then it is the price itself. */
#define ADAPTIVE_PRICE_MAX 8000000

/*
 * A decayed histogram. The older samples are not made lighter, the newer ones are made heavier;
 * when the weight of one has doubled, everything is halved. So a sample costs one addition.
 */
struct adaptive_hist {
	uint16_t n[ADAPTIVE_BUCKETS];
	uint16_t weight; /* of the next sample, in 1/64; 0 in a histogram that was never used */
	uint32_t total;	 /* the sum of n */
};

/* What is known of a context, for others to read: as the last search for its window found it, which
 * is at most 16 of its halts ago. Relaxed: nothing depends on it. */
struct adaptive_seen {
	_Atomic uint64_t halts;		 /* that were learned from, since the beginning */
	_Atomic uint32_t samples;	 /* that still count: the old ones do so less and less */
	_Atomic uint32_t p50_ns, p90_ns; /* of those; where the bucket begins */
	_Atomic uint32_t window_ns;
	_Atomic uint32_t cost_ns; /* what a halt is expected to cost, with that window */
};

struct adaptive {
	struct adaptive_hist pair[ADAPTIVE_CONTEXTS]; /* by the last two halts */
	struct adaptive_hist one[ADAPTIVE_CLASSES];   /* by the last one */
	struct adaptive_hist all;
	/* How far up in each bucket halts have been lately, and by how much more they may be soon:
	 * in 1/65536 of its width. */
	uint16_t top[ADAPTIVE_BUCKETS], slack[ADAPTIVE_BUCKETS];
	struct pattern pattern; /* what the histograms do not see */
	/* The window last found for each context; age counts down to the next search. */
	uint32_t window[ADAPTIVE_CONTEXTS];
	uint8_t age[ADAPTIVE_CONTEXTS];
	uint8_t before, last; /* classes of the last two halts */
	/* What the windows above were found for; if it changes they are stale. */
	uint32_t price_ns, limit_ns;
	uint32_t per_price; /* what turns a cost into parts of the price */
	/* The halt under way. */
	uint32_t histogram_ns; /* what the histograms say */
	uint32_t learned_ns;   /* that, or what the pattern says */
	uint32_t chosen_ns;    /* what was polled for: that, or what has taken over */
	uint32_t recent_ns;    /* the longest of the short halts lately */
	uint32_t guard_ns[ADAPTIVE_GUARDS];
	/* The guard: by how much each of its windows has been better lately, in ns. */
	int64_t regret[ADAPTIVE_GUARDS];
	/* By how much the learned windows have been better than what took over, and worse. */
	int64_t relief, doubt;
	uint8_t guard;		  /* which window has taken over */
	uint8_t left;		  /* for how many halts more; 0: none */
	_Atomic uint32_t changes; /* how often was forgotten; relaxed, for others to read */
	struct adaptive_seen seen[ADAPTIVE_CONTEXTS];
};

void adaptive_init(struct adaptive *a);

/*
 * A halt begins: for how long to poll, in ns, @max_ns at most. @price_ns is what a sleep is worth
 * in ns of polling; 0: nothing, so never poll.
 */
uint32_t adaptive_begin(struct adaptive *a, uint32_t price_ns, uint32_t max_ns);

/* The poll will be @window_ns long for another reason: then that is what the guard compares. */
static inline void adaptive_override(struct adaptive *a, uint32_t window_ns)
{
	a->chosen_ns = window_ns;
}

/*
 * The halt is over and lasted @halt_ns. @censored: it was not the event that we learn about that
 * ended it, which would have come later. Without a begin before it, too.
 */
void adaptive_end(struct adaptive *a, uint64_t halt_ns, bool censored);

/* For the tests: the bucket of a halt, and where a bucket begins. */
unsigned int adaptive_bucket(uint64_t ns);
uint32_t adaptive_edge(unsigned int bucket);

#endif
