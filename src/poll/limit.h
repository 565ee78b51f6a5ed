/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit for the kernel's polling, learned from its statistics (catnap/poll.h, "A limit for
 * somebody else's polling").
 *
 * The statistics are histograms by octaves. From them comes a decayed histogram of whole halts. For
 * each of some limits a model tells what halts drawn from that histogram would cost: the rule's
 * window is a Markov chain, and its stationary distribution is exact (limit_model.c).
 *
 * Real halts are not drawn one by one. So what the limit in force has really cost is held against
 * the model, and the ratio of the two corrects what the model says of that limit. It fades, so that
 * a limit that was worse than predicted is tried again later. The limit with the least corrected
 * cost is set.
 *
 * cpu_max: limits whose polls are expected to fail for longer than that share are left out. Failed
 * polls beyond it make a debt: until it is paid off the limit is 0.
 *
 * Integers only, no clock, no allocation. One thread.
 */
#ifndef POLL_LIMIT_H
#define POLL_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include <catnap/poll.h>
#include "poll/worth.h"

/* ---- limit_model.c ---- */

/* The rule's parameters. */
struct limit_rule {
	uint32_t grow, grow_start_ns, shrink;
};

#define LIMIT_WEIGHTS (UINT32_C(1) << 20)

/* Halts by buckets as in struct catnap_halt_stats. The sum is LIMIT_WEIGHTS at most, not 0. */
struct limit_halts {
	uint32_t weight[CATNAP_HIST_BUCKETS];
};

/* The expected cost of a halt. */
struct limit_cost {
	uint64_t poll_ns, fail_ns; /* time polled, and the part of it before a sleep */
	uint32_t sleeps;	   /* of LIMIT_WEIGHTS halts */
};

/* Finds what @halts cost below the limit @limit_ns. */
struct limit_cost limit_expect(const struct limit_halts *halts, const struct limit_rule *rule,
			       uint32_t limit_ns);

/* ---- limit.c ---- */

/* 0, the powers of two from 4 us on, what Linux has by default, and the highest. */
#define LIMIT_CHOICES 24

struct limit_choice {
	uint32_t limit_ns;
	uint32_t ratio;	  /* its real cost by the expected one, in 1/65536 */
	uint32_t samples; /* halts that ratio counts for */
};

struct catnap_poll_limit {
	struct catnap_halt_poll params;
	struct limit_rule rule;
	struct sleep_price price;
	uint32_t worth_ns;
	struct limit_choice choice[LIMIT_CHOICES];
	unsigned int choices, now;	     /* how many there are, and which is in force */
	bool paused;			     /* for cpu_max: 0 is in force instead */
	uint64_t halts[CATNAP_HIST_BUCKETS]; /* in 1/256; decayed */
	/* The last statistics. */
	bool begun;
	uint64_t at_ns, debt_ns, interval_ns;
	struct catnap_halt_stats last;
};

/* Sets *@l up with parameters that catnap_halt_poll_check() has passed. */
void limit_init(struct catnap_poll_limit *l, const struct catnap_halt_poll *params);
/* Changes the parameters; they have been checked as well. */
void limit_set(struct catnap_poll_limit *l, const struct catnap_halt_poll *params);
/* Tells what was measured of the price of a sleep; 0: nothing. */
void limit_set_price(struct catnap_poll_limit *l, uint32_t late_ns, uint32_t cpu_ns);
/* Learns from @s, the statistics of all halts so far. Returns whether limit_ns() has changed. */
bool limit_learn(struct catnap_poll_limit *l, const struct catnap_halt_stats *s, uint64_t now_ns);
uint32_t limit_ns(const struct catnap_poll_limit *l);
/* Finds the halts of late. False: there were none yet. */
bool limit_halts(const struct catnap_poll_limit *l, struct limit_halts *halts);

#endif
