/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of `catnap replay`: a reader of traces, a simulation of one policy, a generator of
 * traces.
 */
#ifndef CLI_REPLAY_H
#define CLI_REPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <catnap/poll.h>

#include "cli/opts.h"
#include "cli/replay_guest.h"

/* ---- replay_trace.c ---- */

/* Parameters that a line changes: applied before the end of its halt, and from then on. */
struct trace_change {
	bool set;
	uint32_t value;
};

#define REPLAY_COLUMNS 8

/* One line. */
struct trace_halt {
	uint64_t halt_ns;
	bool valid, allowed;
	uint64_t
		gave_way_ns; /* from then on others were to have the processor; UINT64_MAX: never */
	struct trace_change max_ns, grow, grow_start_ns, shrink;
};

struct trace {
	FILE *file;
	const char *name;		 /* for messages */
	uint64_t line;			 /* the number of the last line read */
	unsigned columns;		 /* how many the header names */
	unsigned column[REPLAY_COLUMNS]; /* which they are: indices of the list in replay_trace.c */
	char text[1024];
	char error[OPTS_ERROR_SIZE]; /* "trace.csv:17: ..." */
};

/** Opens @path, `-` for standard input, and reads the header. 0, or -1 with t->error set. */
int trace_open(struct trace *t, const char *path);
/** Reads the next halt: 1, 0 at the end, or -1 with t->error set. */
int trace_next(struct trace *t, struct trace_halt *h);
void trace_close(struct trace *t);

/* ---- replay_sim.c ---- */

/* What one policy made of a trace. Sums stick at UINT64_MAX. */
struct sim {
	const char *label;	       /* as the user wrote it */
	struct catnap_halt_poll first; /* the parameters given */
	struct catnap_halt_poll now;   /* the parameters as lines have changed them */
	struct catnap_policy *policy;
	uint64_t price_ns;
	bool guest_polls; /* in front of the policy, which then sees what is left of a halt */
	struct governor governor;
	uint64_t exit_price_ns;
	uint64_t guest_poll_ns, exits; /* with guest_polls: time polled inside, and HLTs executed */
	uint64_t halts, sleeps;
	uint64_t poll_ns, failed_poll_ns;
	uint64_t cost_ns, optimum_ns;
};

/* One halt of it: a row of the csv output. */
struct sim_row {
	uint64_t window_before, poll_ns, window_after;
	uint64_t guest_poll_ns;
	bool waited;
};

/* What all policies have in common. */
struct sim_setting {
	uint64_t price_ns, exit_price_ns;
	const struct guest_params *guest; /* NULL: the guest does not poll */
};

/** 0 or -errno. sim_destroy() is needed after success only. */
int sim_create(struct sim *s, const char *label, const struct catnap_halt_poll *params,
	       const struct sim_setting *setting);
void sim_destroy(struct sim *s);
void sim_halt(struct sim *s, const struct trace_halt *h, struct sim_row *row);
/** Cost over optimum, or a negative number where there is none (the optimum is 0, the cost is not).
 */
double sim_ratio(const struct sim *s);
/** Added latency in ns that @percent per cent of the halts do not exceed. */
uint64_t sim_latency_percentile(const struct sim *s, unsigned percent);
/** Mean of the added latency in ns. */
double sim_latency_mean(const struct sim *s);

/* ---- replay_generate.c ---- */

enum generate_kind {
	GENERATE_CONSTANT,
	GENERATE_POISSON,
	GENERATE_BURSTY,
	GENERATE_BIMODAL,
	GENERATE_PARETO,
	GENERATE_TICK,
};

/* What to generate: each kind uses the members that its keys name. */
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

/** @g must outlive @p. The same @g and @seed give the same halts. */
void generator_init(struct generator *p, const struct generate *g, uint64_t seed);
/** The next halt in ns, at least 1. */
uint64_t generator_next(struct generator *p);
/** For .set(): parses --generate. */
int generate_parse(struct opts *o, const struct opt_arg *arg, struct generate *g);
/** Writes a trace of @halts; stops early if @out fails (the caller sees ferror()). */
void generate_write(const struct generate *g, uint64_t halts, uint64_t seed, FILE *out);

#endif
