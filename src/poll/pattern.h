/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has followed on the same course of halts: a part of the learner of policy `adaptive`, see
 * adaptive.h and docs/policy.md.
 *
 * The course is which of the last 7 halts were short, or, where all of them were of one kind, how
 * many have been so in a row. For each course it is kept how much better it would have been not to
 * poll, and to poll for the price, than what the histograms said. Where one of these has been
 * better beyond doubt, it is done. Halts that follow no pattern leave doubt, and nothing changes.
 *
 * Integers only, no clock, no allocation; 2 KiB. One thread.
 */
#ifndef POLL_PATTERN_H
#define POLL_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#define PATTERN_BITS 7
#define PATTERN_RUNS 64 /* of each kind: from PATTERN_BITS halts in a row on */

enum pattern_advice { PATTERN_SLEEP, PATTERN_POLL, PATTERN_NONE };

#define PATTERN_ADVICES PATTERN_NONE

/* One halt counts for so much at most, in 1/64 of the price. */
#define PATTERN_GAIN_UNIT 64
#define PATTERN_GAIN_MAX  (2 * PATTERN_GAIN_UNIT)

/* Decayed sums over the halts that have followed on a course. */
struct pattern_course {
	int16_t gain[PATTERN_ADVICES];	  /* in 1/64 of the price */
	uint16_t square[PATTERN_ADVICES]; /* of the gain of each halt, in 1/32 of its unit's */
};

struct pattern {
	struct pattern_course course[(1u << PATTERN_BITS) + 2 * PATTERN_RUNS];
	uint8_t last;	/* a bit for each of the last halts, 1: short; the lowest is the last */
	uint8_t run;	/* how many of the same kind in a row; sticks at its end */
	uint8_t advice; /* enum pattern_advice: what to do in the halt that begins */
};

void pattern_init(struct pattern *p);

/* A halt is over: by how much each advice would have been better, PATTERN_GAIN_MAX at most
 * either way; and whether the halt was short. */
void pattern_learn(struct pattern *p, const int gain[PATTERN_ADVICES], bool is_short);

/* The halts are not what they were: what is known counts for a quarter. */
void pattern_forget(struct pattern *p);

#endif
