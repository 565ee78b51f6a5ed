/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `catnap replay`: a reader of traces, and a simulation of one policy. */
#ifndef CLI_REPLAY_H
#define CLI_REPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <catnap/poll.h>

#include "cli/generate.h"
#include "cli/opts.h"
#include "cli/replay/guest.h"

/* ---- trace.c ---- */

/* Parameters that a line changes: applied before the end of its halt, and from then on. */
struct replay_change {
	bool set;
	uint32_t value;
};

#define REPLAY_COLUMNS 8

/* One line. */
struct replay_halt {
	uint64_t halt_ns;
	bool valid, allowed;
	uint64_t
		gave_way_ns; /* from then on others were to have the processor; UINT64_MAX: never */
	struct replay_change max_ns, grow, grow_start_ns, shrink;
};

struct replay_trace {
	FILE *file;
	const char *name;		 /* for messages */
	uint64_t line;			 /* the number of the last line read */
	unsigned columns;		 /* how many the header names */
	unsigned column[REPLAY_COLUMNS]; /* which they are: indices of the list in trace.c */
	char text[1024];
	char error[OPTS_ERROR_SIZE]; /* "trace.csv:17: ..." */
};

/** Opens @path, `-` for standard input, and reads the header. 0, or -1 with t->error set. */
int replay_trace_open(struct replay_trace *t, const char *path);
/** Reads the next halt: 1, 0 at the end, or -1 with t->error set. */
int replay_trace_next(struct replay_trace *t, struct replay_halt *h);
void replay_trace_close(struct replay_trace *t);

/* ---- learner.c ---- */

/* One halt as KVM counts it. */
struct replay_counts {
	uint64_t all_ns; /* with what the guest polled before it */
	uint64_t poll_ns, wait_ns;
	bool attempted, waited;
};

/* The kernel's rule with a limit that is learned: what KVM would count, and who learns from that. The
 * clock is the halts' own: nothing else takes time. */
struct replay_learner {
	struct catnap_poll_limit *limit; /* NULL: the limit is given */
	struct catnap_halt_stats stats;
	uint64_t now_ns, next_ns;
	uint64_t changes;
};

/** Makes a learner. @params: of policy kernel; max_ns is the highest limit. Returns 0 or -errno. */
int replay_learner_create(struct replay_learner *l, const struct catnap_halt_poll *params);
void replay_learner_destroy(struct replay_learner *l);
/** Tells of a halt that has ended. Returns whether catnap_poll_limit_ns() is another one now. */
bool replay_learner_halt(struct replay_learner *l, const struct replay_counts *c);

/* ---- sim.c ---- */

/* The result of one policy on a trace. Sums stick at UINT64_MAX. */
struct replay_sim {
	const char *label;	       /* as the user wrote it */
	struct catnap_halt_poll first; /* the parameters given */
	struct catnap_halt_poll now;   /* the parameters as lines have changed them */
	struct catnap_policy *policy;
	struct replay_learner learner;
	uint64_t price_ns;
	bool guest_polls; /* in front of the policy, which then sees what is left of a halt */
	struct replay_governor governor;
	uint64_t exit_price_ns;
	uint64_t guest_poll_ns, exits; /* with guest_polls: time polled inside, and HLTs executed */
	uint64_t halts, sleeps;
	uint64_t poll_ns, failed_poll_ns;
	uint64_t cost_ns, optimum_ns;
};

/* One halt of it: a row of the csv output. */
struct replay_sim_row {
	uint64_t window_before, poll_ns, window_after;
	uint64_t guest_poll_ns;
	bool waited;
};

/* A policy to be simulated. */
struct replay_policy {
	const char *label;
	struct catnap_halt_poll params;
	bool learned; /* the limit of policy kernel is learned, params.max_ns at most */
};

/* The settings that all policies have in common. */
struct replay_sim_setting {
	uint64_t price_ns, exit_price_ns;
	const struct replay_guest_params *guest; /* NULL: the guest does not poll */
};

/** Returns 0 or -errno. replay_sim_destroy() is needed after success only. */
int replay_sim_create(struct replay_sim *s, const struct replay_policy *p,
		      const struct replay_sim_setting *setting);
void replay_sim_destroy(struct replay_sim *s);
void replay_sim_halt(struct replay_sim *s, const struct replay_halt *h, struct replay_sim_row *row);
/** Returns cost over optimum, or a negative number where there is none (the optimum is 0, the cost
 * is not). */
double replay_sim_ratio(const struct replay_sim *s);
/** Returns the added latency in ns that @percent per cent of the halts do not exceed. */
uint64_t replay_sim_latency_percentile(const struct replay_sim *s, unsigned percent);
/** Returns the mean of the added latency in ns. */
double replay_sim_latency_mean(const struct replay_sim *s);

#endif
