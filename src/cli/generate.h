/* SPDX-License-Identifier: Apache-2.0 */
/* Arrival processes: traces for `catnap replay`, and gaps between events for `catnap bench`. */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include <stdint.h>
#include <stdio.h>

#include "cli/opts.h"

enum generate_kind {
	GENERATE_CONSTANT,
	GENERATE_POISSON,
	GENERATE_BURSTY,
	GENERATE_BIMODAL,
	GENERATE_PARETO,
	GENERATE_TICK,
};

/* The halts to generate: each kind uses the members that its keys name. */
struct generate {
	int kind;
	uint64_t gap_ns, mean_ns, pause_ns, a_ns, b_ns, min_ns, max_ns, period_ns, net_ns;
	uint32_t burst, share, jitter;
	double alpha;
};

/* xoshiro256**: the same numbers everywhere. */
struct generate_rng {
	uint64_t s[4];
};

/* A process that runs. */
struct generator {
	const struct generate *g;
	struct generate_rng rng;
	uint64_t now_ns, tick_ns,
		net_ns; /* of tick: when it is, and when the next of each is due */
};

/** Begins. @g must outlive @p. The same @g and @seed give the same halts. */
void generator_init(struct generator *p, const struct generate *g, uint64_t seed);
/** Returns the next halt in ns, at least 1. */
uint64_t generator_next(struct generator *p);
/** Parses --generate. For .set(). */
int generate_parse(struct opts *o, const struct opt_arg *arg, struct generate *g);
/** Writes a trace of @halts; stops early if @out fails (the caller sees ferror()). */
void generate_write(const struct generate *g, uint64_t halts, uint64_t seed, FILE *out);

#endif
