/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offered load: events come when they are due, whether or not the guest is done with those before,
 * and their latency counts from then. So what a guest that stands still keeps waiting is in the
 * figures (no coordinated omission).
 */
#ifndef CLI_BENCH_OFFERED_H
#define CLI_BENCH_OFFERED_H

#include <pthread.h>

#include "cli/bench/bench.h"

/* When events are due, one after the other. */
struct bench_offered {
	struct generate process;
	struct generator generator;
	uint64_t gap_ns; /* 0: random ones, of the generator */
	uint64_t at_ns;	 /* the last one's, from the first's beginning on */
	uint32_t n;	 /* how many there are in a round */
};

void bench_offered_init(struct bench_offered *o, const struct bench_run *run);
/* Returns when the next one is due, in ns from the beginning. */
uint64_t bench_offered_next(struct bench_offered *o);

/* Stops the guest once, for as long as --stall says, in the middle of a round. */
struct bench_stall {
	pthread_t thread;
	const struct bench_run *run;
	struct catnap_vm *vm; /* here, or else */
	pid_t pid;	      /* there */
	int error;
	bool on;
};

/* Begins to wait for the middle; at once if there is no --stall. 0 or -1 with run->error. */
int bench_stall_begin(struct bench_stall *s, struct bench_run *run, struct catnap_vm *vm,
		      pid_t pid);
/* Ends a stall, when it is over. Returns @ret, or -1 with run->error if it could not be stopped. */
int bench_stall_end(struct bench_stall *s, struct bench_run *run, int ret);

#endif
