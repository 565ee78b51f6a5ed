/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learner of policy `adaptive`: how long to poll, from the lengths of the halts before.
 * docs/policy.md says why it is made as it is.
 *
 * The worth is what a sleep is worth in ns of polling (worth.c). A halt is short if it
 * takes no longer than that, middle up to 8 times that, and long otherwise. The classes of the last
 * two halts are the context of the next one.
 *
 * Halt lengths are kept in decayed histograms, one for each context. The window is the T that
 * minimises the expected cost, E[min(h, T)] + worth * P(h > T), over the context's histogram. The
 * histograms of the last halt's class and of all halts are a prior. Where the course of more halts
 * than two has a lesson (pattern.h), that is followed.
 *
 * A guard compares what the windows have cost with what four others would have cost that need no
 * histogram. When one of those is better for long enough, it takes over. If it goes on to be
 * better, the process has changed, and most of what was learned is forgotten.
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
#include "state.h"

#define ADAPTIVE_SUB_BITS 2  /* 4 buckets per octave */
#define ADAPTIVE_LOW_BITS 9  /* the first bucket: below 512 ns */
#define ADAPTIVE_OCTAVES  16 /* the last one: from 33.5 ms on */
#define ADAPTIVE_BUCKETS  ((ADAPTIVE_OCTAVES << ADAPTIVE_SUB_BITS) + 2)
#define ADAPTIVE_CLASSES  3
#define ADAPTIVE_CONTEXTS (ADAPTIVE_CLASSES * ADAPTIVE_CLASSES)
#define ADAPTIVE_GUARDS	  4

/* Above this worth the histograms cannot weigh a window. Then the window is the worth itself. */
#define ADAPTIVE_WORTH_MAX 8000000

/*
 * A decayed histogram. The older samples are not made lighter, the newer ones are made heavier;
 * when the weight of one has doubled, everything is halved. So a sample costs one addition.
 */
struct adaptive_hist {
	uint16_t n[ADAPTIVE_BUCKETS];
	uint16_t weight; /* of the next sample, in 1/64; 0 in a histogram that was never used */
	uint32_t total;	 /* the sum of n */
};

/* Facts about a context, for others to read, as the last search for its window found them. That is
 * at most 16 of its halts ago. Relaxed: nothing depends on it. */
struct adaptive_seen {
	_Atomic uint64_t halts;		 /* that were learned from, since the beginning */
	_Atomic uint32_t samples;	 /* that still count: the old ones do so less and less */
	_Atomic uint32_t p50_ns, p90_ns; /* of those; where the bucket begins */
	_Atomic uint32_t window_ns;
	_Atomic uint32_t cost_ns; /* the expected cost of a halt, with that window */
};

struct adaptive {
	struct adaptive_hist pair[ADAPTIVE_CONTEXTS]; /* by the last two halts */
	struct adaptive_hist one[ADAPTIVE_CLASSES];   /* by the last one */
	struct adaptive_hist all;
	/* How far up in each bucket halts have been lately, and by how much more they may be soon:
	 * in 1/65536 of its width. */
	uint16_t top[ADAPTIVE_BUCKETS], slack[ADAPTIVE_BUCKETS];
	struct pattern pattern; /* patterns that the histograms do not see */
	/* The window last found for each context; age counts down to the next search. */
	uint32_t window[ADAPTIVE_CONTEXTS];
	uint8_t age[ADAPTIVE_CONTEXTS];
	uint8_t before, last; /* classes of the last two halts */
	/* The worth and the limit that the windows above were found for; if these change they are
	 * stale. */
	uint32_t worth_ns, limit_ns;
	uint32_t per_worth; /* the factor that turns a cost into parts of the worth */
	/* The halt under way. */
	uint32_t histogram_ns; /* the window by the histograms */
	uint32_t learned_ns;   /* that, or the window by the pattern */
	uint32_t chosen_ns;    /* the window that was polled for: that, or what has taken over */
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

/* Begins a halt. Returns for how long to poll, in ns, @max_ns at most. @worth_ns 0: a sleep is
 * worth nothing, so never poll. */
uint32_t adaptive_begin(struct adaptive *a, uint32_t worth_ns, uint32_t max_ns);

/* Tells that the poll will be @window_ns long for another reason. The guard compares that then. */
static inline void adaptive_override(struct adaptive *a, uint32_t window_ns)
{
	a->chosen_ns = window_ns;
}

/* Ends a halt that has lasted @halt_ns, and learns from it. @censored: something else ended it
 * before the event that is learned about had come. There need not have been a begin. */
void adaptive_end(struct adaptive *a, uint64_t halt_ns, bool censored);

/* Writes what was learned, for another process to go on with: the histograms and the pattern. */
void adaptive_save(const struct adaptive *a, struct state_writer *w);
/* Reads that into @a, which is as after adaptive_init(). What is wrong is noted in @in; then @a is to
 * be made anew. */
void adaptive_load(struct adaptive *a, struct state_in *in);
/* The rest, with which the next halts are as they would have been: the windows, the worth that they
 * were found for, and what the guard has counted. Reads it after adaptive_load(), the same. */
void adaptive_save_windows(const struct adaptive *a, struct state_writer *w);
void adaptive_load_windows(struct adaptive *a, struct state_in *in);

/* Returns the bucket of a halt, and where a bucket begins. For the tests. */
unsigned int adaptive_bucket(uint64_t ns);
uint32_t adaptive_edge(unsigned int bucket);

#endif
