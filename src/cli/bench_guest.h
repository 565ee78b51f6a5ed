/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe guest in a VM of this process (bench_vm.c), for the workloads whose events are sent
 * from here: event, mix, neighbour. The thread that sends them spins, so that it does not wake up
 * late itself.
 */
#ifndef CLI_BENCH_GUEST_H
#define CLI_BENCH_GUEST_H

#include <sched.h>

#include "cli/bench.h"
#include "probe.h"

#define PATIENCE_NS UINT64_C(5000000000) /* without a sign of life from the guest */
#define WARMUP	    100
/* Until scheduler and policy know what is going on. */
#define SETTLE_NS UINT64_C(200000000)
/* Of a round that is as long as --duration says, if it is stopped before. */
#define WORTH_KEEPING_NS UINT64_C(50000000)
#define EVENT_GUEST	 "workload=event pv_eoi=1 exit=244"

/* A running guest. */
struct guest {
	struct catnap_vm *vm;
	struct probe_shared *shared;
	uint32_t vcpus;
	bool counted; /* its halts, by us */
};

/* What a guest has used since it started, and when that was. */
struct usage {
	uint64_t cpu_ns, wall_ns, kicks, futex_wakes, polled_ns, vain_ns;
	bool has_polled; /* KVM tells its own where it has binary statistics */
};

/* This thread's processors, to be given back. */
struct pinned {
	bool on;
	cpu_set_t saved;
};

static inline uint64_t ticks(void)
{
	return __builtin_ia32_rdtsc();
}

static inline uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/*
 * Starts the probe with this command line; its vCPUs are tied as --pin says, or all to @processor
 * if that is not negative. 0 or -1 with run->error; guest_end() is needed after success only.
 */
int guest_start(struct bench_run *run, struct guest *g, uint32_t vcpus, int32_t processor,
		const char *cmdline);
/* Ends the guest; -1 if it had ended by itself and not well. */
int guest_end(struct bench_run *run, struct guest *g);
struct usage guest_usage(const struct guest *g);
/* Adds what was used between the two, for so many events. */
void cell_account(struct cell *c, const struct usage *before, const struct usage *after,
		  uint64_t events);
/* Spins until *word is at least @value. -1 with run->error, "the guest does not @what",
 * or if the run is stopped. */
int spin_until(struct bench_run *run, const uint32_t *word, uint32_t value, const char *what);
/* Spins until the TSC is @until. -1: stopped. */
int spin_gap(struct bench_run *run, uint64_t until);
/* Interrupts the guest's first vCPU. -1 with run->error. */
int guest_signal(struct bench_run *run, struct guest *g);
int guest_event(struct bench_run *run, struct guest *g, uint32_t n, struct series *latency);
/* xorshift64*: gaps need no better. *state must not be 0. */
uint64_t next_random(uint64_t *state);
/* The cell's gap, random if that is what it is, in ticks. */
uint64_t gap_ticks(const struct bench_run *run, uint64_t *state);
/* Ties this thread to @processor until unpin(). */
void pin(struct pinned *p, int32_t processor);
void unpin(const struct pinned *p);

#endif
