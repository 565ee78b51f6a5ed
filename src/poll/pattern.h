/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of what followed on the same course of halts: a part of the learner of policy `adaptive`,
 * see adaptive.h and docs/policy.md.
 *
 * The course is which of the last 7 halts were short. Where all of them were of one kind, it is how
 * many have been so in a row. A table has an entry for each course: how much better it would have
 * been not to poll, or to poll for the worth (adaptive.h), than what the histograms said. If one of
 * the two has been better beyond doubt, the policy does that. Halts that follow no pattern leave
 * doubt, and nothing changes.
 *
 * Integers only, no clock, no allocation; 2 KiB. One thread.
 */
#ifndef POLL_PATTERN_H
#define POLL_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

#define PATTERN_BITS 7
#define PATTERN_RUNS 64 /* of each kind: from PATTERN_BITS halts in a row on */

enum pattern_advice { PATTERN_SLEEP, PATTERN_POLL, PATTERN_NONE };

#define PATTERN_ADVICES PATTERN_NONE

/* One halt counts for so much at most, in 1/64 of the worth. */
#define PATTERN_GAIN_UNIT 64
#define PATTERN_GAIN_MAX  (2 * PATTERN_GAIN_UNIT)

/* Decayed sums over the halts that have followed on a course. */
struct pattern_course {
	int16_t gain[PATTERN_ADVICES];	  /* in 1/64 of the worth */
	uint16_t square[PATTERN_ADVICES]; /* of the gain of each halt, in 1/32 of its unit's */
};

struct pattern {
	struct pattern_course course[(1u << PATTERN_BITS) + 2 * PATTERN_RUNS];
	uint8_t last;	/* a bit for each of the last halts, 1: short; the lowest is the last */
	uint8_t run;	/* how many of the same kind in a row; sticks at its end */
	uint8_t advice; /* enum pattern_advice: what to do in the halt that begins */
};

void pattern_init(struct pattern *p);

/* Learns from a halt: by how much each advice would have been better, PATTERN_GAIN_MAX at most
 * either way, and whether the halt was short. */
void pattern_learn(struct pattern *p, const int gain[PATTERN_ADVICES], bool is_short);

/* Makes what is known count for a quarter: the halts are not what they were. */
void pattern_forget(struct pattern *p);

/* Writes what is known; and reads it into @p, which is as after pattern_init(). Anything wrong is noted
 * in @in; then @p is to be made anew. */
void pattern_save(const struct pattern *p, struct state_writer *w);
void pattern_load(struct pattern *p, struct state_in *in);

#endif
