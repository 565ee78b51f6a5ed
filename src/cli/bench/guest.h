/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe guest in a VM of this process (vm.c), for the workloads whose events are sent
 * from here: event, mix, neighbour. The thread that sends them spins, so that it does not wake up
 * late itself.
 */
#ifndef CLI_BENCH_GUEST_H
#define CLI_BENCH_GUEST_H

#include <sched.h>

#include "cli/bench/bench.h"
#include "cli/bench/learner.h"
#include "probe.h"

#define PATIENCE_NS UINT64_C(5000000000) /* without a sign of life from the guest */
#define WARMUP	    100
/* Until scheduler and policy know what is going on. */
#define SETTLE_NS UINT64_C(200000000)
/* Of a round that is as long as --duration says, if it is stopped before. */
#define WORTH_KEEPING_NS UINT64_C(50000000)
#define EVENT_GUEST	 "workload=event pv_eoi=1 exit=244"

/* A running guest. */
struct bench_guest {
	struct catnap_vm *vm;
	struct probe_shared *shared;
	uint32_t vcpus;
	bool counted; /* its halts, by us */
	bool there;   /* in another process: no vm, but the clock of its processor time, and an
		       * eventfd that is the event's */
	clockid_t clock;
	int event_fd;
	struct bench_learner learner;
	struct bench_counters counters;
};

/* The resources that a guest has used since it started, and when that was. */
struct bench_usage {
	uint64_t cpu_ns, wall_ns, kicks, futex_wakes, polled_ns, vain_ns;
	bool has_polled; /* KVM tells its own where it has binary statistics */
	struct bench_polling polling;
	struct bench_costs costs;
};

/* This thread's processors, to be given back. */
struct bench_pinned {
	bool on;
	cpu_set_t saved;
};

static inline uint64_t bench_ticks(void)
{
	return __builtin_ia32_rdtsc();
}

static inline uint32_t bench_load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/*
 * Starts the probe with this command line; its vCPUs are tied as --pin says, or all to @processor
 * if that is not negative. 0 or -1 with run->error; bench_guest_end() is needed after success only.
 */
int bench_guest_start(struct bench_run *run, struct bench_guest *g, uint32_t vcpus,
		      int32_t processor, const char *cmdline);
/* Starts a guest that goes on from the snapshot in @folder, of one that bench_guest_start() has
 * started with one vCPU for this cell. @forget: without what its halt polling had learned. The
 * same. */
int bench_guest_restore(struct bench_run *run, struct bench_guest *g, const char *folder,
			bool forget);
/* Ends the guest; -1 if it had ended by itself and not well. */
int bench_guest_end(struct bench_run *run, struct bench_guest *g);
struct bench_usage bench_guest_usage(const struct bench_guest *g);
/* Adds what was used between the two, for so many events. */
void bench_cell_account(struct bench_cell *c, const struct bench_usage *before,
			const struct bench_usage *after, uint64_t events);
/* Spins until *word is at least @value. -1 with run->error, "the guest does not @what",
 * or if the run is stopped. */
int bench_spin_until(struct bench_run *run, const uint32_t *word, uint32_t value, const char *what);
/* Waits until the guest halts for the @n-th time, and so long after that, a second at most;
 * *halted: when that began, in ticks. -1 with run->error. */
int bench_guest_gap(struct bench_run *run, const struct bench_guest *g, uint32_t n, uint64_t gap_ns,
		    uint64_t *halted);
/* Spins until the TSC is @until. -1: stopped. */
int bench_spin_gap(struct bench_run *run, uint64_t until);
/* Interrupts the guest's first vCPU. -1 with run->error. */
int bench_guest_signal(struct bench_run *run, struct bench_guest *g);
/* Signals event number @n and waits for its handler; with @latency both times are kept, that of the
 * signal in the cell's own[BENCH_SIGNAL]. */
int bench_guest_event(struct bench_run *run, struct bench_guest *g, uint32_t n,
		      struct bench_series *latency);
/* Returns a random number by xorshift64*: gaps need no better. *state must not be 0. */
uint64_t bench_random(uint64_t *state);
/* Returns the cell's gap, random if that is what it is, in ticks. */
uint64_t bench_gap_ticks(const struct bench_run *run, uint64_t *state);
/* Ties this thread to @processor until bench_unpin(). */
void bench_pin(struct bench_pinned *p, int32_t processor);
void bench_unpin(const struct bench_pinned *p);

/* Measures a workload whose samples the guest takes by itself, by the name of the cell's workload.
 * 0 or -1 with run->error. */
int bench_guest_samples(struct bench_run *run, uint32_t vcpus);

/* Workload prices of the guest. */
struct bench_probe_price {
	uint32_t op; /* enum probe_price */
	bool pv_eoi;
	uint64_t gap_ns;	  /* PROBE_PRICE_CYCLE: of the timer */
	uint32_t extra, per_halt; /* the same: what is done beside it, and how often */
};

/* Has the guest measure that: in *@ticks, which is the guest's memory, @n times nothing, and from
 * @n on @n times that. 0 or -1 with run->error. Unless g->vm is NULL then, bench_guest_end() is
 * needed. */
int bench_probe_prices(struct bench_run *run, struct bench_guest *g,
		       const struct bench_probe_price *price, uint32_t n, uint64_t **ticks);

#endif
