/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remembers what has followed on the same course of halts; see pattern.h.
 *
 * Ranges: a sum of numbers up to N that loses 1/64 with each is below 64 N + 64. With N of 128 and
 * 512 that is below 2^14 and 2^16, and the square of the first below 2^28.
 */
#include <string.h>

#include "poll/pattern.h"

#define MEMORY	   64
#define SQUARE_DIV 32
/* An advice is taken if the mean gain is further from 0 than sqrt(8) times its own deviation, and
 * if the gains came to one worth at least: that is as far for gains whose squares are lost in
 * rounding. */
#define DOUBT	 8
#define GAIN_MIN PATTERN_GAIN_UNIT

_Static_assert(PATTERN_GAIN_MAX *MEMORY + MEMORY <= INT16_MAX, "it fits");
_Static_assert((PATTERN_GAIN_MAX * PATTERN_GAIN_MAX / SQUARE_DIV + 1) * MEMORY <= UINT16_MAX,
	       "it fits");
_Static_assert(PATTERN_BITS + PATTERN_RUNS <= UINT8_MAX && PATTERN_BITS < 8, "they fit");

static unsigned int course(const struct pattern *p)
{
	const unsigned int mask = (1u << PATTERN_BITS) - 1;

	if (p->run < PATTERN_BITS)
		return p->last & mask;
	return mask + 1 + (p->last & 1) * PATTERN_RUNS + p->run - PATTERN_BITS;
}

static enum pattern_advice advice(const struct pattern *p)
{
	const struct pattern_course *c = &p->course[course(p)];
	enum pattern_advice found = PATTERN_NONE;
	uint32_t best = DOUBT;

	for (unsigned int i = 0; i < PATTERN_ADVICES; i++) {
		int32_t gain = c->gain[i];
		uint32_t square = (uint32_t)c->square[i] * SQUARE_DIV, clear;

		/* To divide is what this would cost most, and there is seldom need for it. */
		if (gain < GAIN_MIN || (uint32_t)(gain * gain) < best * square)
			continue;
		clear = (uint32_t)(gain * gain) / (square + 1);
		if (clear < best)
			continue;
		best = clear;
		found = (enum pattern_advice)i;
	}
	return found;
}

void pattern_init(struct pattern *p)
{
	memset(p, 0, sizeof(*p));
	p->advice = PATTERN_NONE;
}

void pattern_learn(struct pattern *p, const int gain[PATTERN_ADVICES], bool is_short)
{
	struct pattern_course *c = &p->course[course(p)];

	for (unsigned int i = 0; i < PATTERN_ADVICES; i++) {
		uint32_t square = (uint32_t)(gain[i] * gain[i] + SQUARE_DIV / 2) / SQUARE_DIV;

		c->gain[i] = (int16_t)(c->gain[i] + gain[i] - c->gain[i] / MEMORY);
		c->square[i] = (uint16_t)(c->square[i] + square - c->square[i] / MEMORY);
	}
	if (is_short != (p->last & 1))
		p->run = 0;
	if (p->run < PATTERN_BITS + PATTERN_RUNS - 1)
		p->run++;
	p->last = (uint8_t)(p->last << 1 | is_short);
	p->advice = advice(p);
}

void pattern_forget(struct pattern *p)
{
	for (unsigned int i = 0; i < sizeof(p->course) / sizeof(p->course[0]); i++) {
		for (unsigned int j = 0; j < PATTERN_ADVICES; j++) {
			p->course[i].gain[j] /= 4;
			p->course[i].square[j] /= 4;
		}
	}
	p->advice = advice(p);
}

/* The ranges above. */
#define GAIN_MAX   (PATTERN_GAIN_MAX * MEMORY + MEMORY)
#define SQUARE_MAX ((PATTERN_GAIN_MAX * PATTERN_GAIN_MAX / SQUARE_DIV + 1) * MEMORY)

void pattern_save(const struct pattern *p, struct state_writer *w)
{
	for (unsigned int i = 0; i < sizeof(p->course) / sizeof(p->course[0]); i++) {
		for (unsigned int j = 0; j < PATTERN_ADVICES; j++) {
			state_put_u16(w, (uint16_t)p->course[i].gain[j]);
			state_put_u16(w, p->course[i].square[j]);
		}
	}
	state_put_u8(w, p->last);
	state_put_u8(w, p->run);
}

void pattern_load(struct pattern *p, struct state_in *in)
{
	for (unsigned int i = 0; i < sizeof(p->course) / sizeof(p->course[0]); i++) {
		for (unsigned int j = 0; j < PATTERN_ADVICES; j++) {
			int16_t gain = (int16_t)state_get_u16(in);

			p->course[i].gain[j] = gain;
			p->course[i].square[j] = state_get_u16(in);
			state_check(in,
				    gain <= GAIN_MAX && gain >= -GAIN_MAX &&
					    p->course[i].square[j] <= SQUARE_MAX,
				    "what has followed on a course of halts");
		}
	}
	p->last = state_get_u8(in);
	p->run = state_get_u8(in);
	if (state_check(in, p->run < PATTERN_BITS + PATTERN_RUNS, "how many halts were alike"))
		p->advice = advice(p);
}
