/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The costs of a guest beside time, each where the host has it: cycles and instructions of the
 * guest and of its host, of the threads that run it (perf_event_open(2)); energy of the processors'
 * packages (powercap); how long all processors were in which idle state (cpuidle). The latter two
 * are the whole machine's.
 */
#ifndef CLI_BENCH_COSTS_H
#define CLI_BENCH_COSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_IDLE_STATES 12
#define BENCH_PACKAGES	  16

enum bench_counter {
	BENCH_GUEST_CYCLES,
	BENCH_HOST_CYCLES,
	BENCH_GUEST_INSTRUCTIONS,
	BENCH_HOST_INSTRUCTIONS,
	BENCH_COUNTERS
};

/* A reading, or a difference of two. */
struct bench_costs {
	bool has_counters, has_energy;
	uint64_t counter[BENCH_COUNTERS];
	uint64_t energy_uj; /* of a difference */
	uint32_t n_packages;
	struct bench_package {
		char name[32];
		uint64_t uj, range_uj; /* begins again from 0 above that; 0: unknown */
	} package[BENCH_PACKAGES];     /* of a reading */
	uint32_t n_states;
	struct bench_idle_state {
		char name[17];
		uint64_t us; /* of all processors */
	} state[BENCH_IDLE_STATES];
};

/* The open counters of some threads. */
struct bench_counters {
	int *fd; /* BENCH_COUNTERS for each thread */
	size_t threads;
};

/* Begins to count the threads of process @pid; 0: those of a VM in this one. Where that cannot be
 * done nothing is counted. */
void bench_counters_open(struct bench_counters *c, pid_t pid);
void bench_counters_close(struct bench_counters *c);

/* Reads the costs. @c NULL: only the machine's. */
void bench_costs_read(struct bench_costs *costs, const struct bench_counters *c);
/* Its part of powercap, from @folder as from /sys/class/powercap: what each package has used. */
void bench_costs_read_energy(struct bench_costs *costs, const char *folder);
/* Adds to @sum what lies between. */
void bench_costs_add(struct bench_costs *sum, const struct bench_costs *before,
		     const struct bench_costs *after);
/* Writes one sentence on what this host does not tell, and why; "" if it tells all. Returns
 * @buf. */
const char *bench_costs_missing(char *buf, size_t size);

#endif
