/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A probe guest with devices, for workloads of disks and networks. It runs in a VM of this process
 * or in QEMU; in both its memory is looked at from here, so nothing is printed while measuring, and
 * processor time is that of the whole process but for this thread, the sender.
 */
#ifndef CLI_BENCH_IO_H
#define CLI_BENCH_IO_H

#include <time.h>

#include "cli/bench/back_end.h"
#include "cli/bench/child.h"
#include "cli/bench/learner.h"
#include "probe.h"

#define BENCH_IO_PATIENCE_NS UINT64_C(10000000000)
#define BENCH_IO_WARMUP	     100
#define BENCH_ECAM	     UINT64_C(0xe0000000) /* QEMU's microvm, too */

struct bench_io_guest {
	struct catnap_vm *vm; /* here, or else */
	struct bench_learner learner;
	struct bench_counters counters;
	struct bench_costs costs; /* when the measuring began */
	struct bench_child child; /* there */
	bool there;
	const struct bench_back_end *back; /* NULL: none */
	clockid_t clock;		   /* processor time of its process */
	uint8_t *memory;		   /* the first megabytes of it */
	volatile struct probe_shared *shared;
};

/* The devices that the guest is given. */
struct bench_io_devices {
	const char *disk, *tap;
	const struct bench_back_end *back; /* of another disk; NULL: none */
	bool direct;
	uint32_t vcpus; /* of the peer; 0: one */
	int doorbell;	/* of the peer: an ivshmem device's socket, see doorbell.h; 0: none */
};

/* Starts the probe with this command line, in the cell's mode. 0 or -1 with run->error;
 * bench_io_end() is needed after success only. */
int bench_io_start(struct bench_run *run, struct bench_io_guest *g,
		   const struct bench_io_devices *dev, const char *cmdline);
/* Ends it and returns @ret. If that is negative, run->error is why the guest ended, if it did; it
 * has printed that. */
int bench_io_end(struct bench_run *run, struct bench_io_guest *g, int ret);
bool bench_io_ended(const struct bench_io_guest *g);
/* Waits until *word is @value. -1 with run->error, "the guest does not @what". If the run is
 * stopped that is 0, for then what there is is looked at. */
int bench_io_wait(struct bench_run *run, struct bench_io_guest *g, const volatile uint32_t *word,
		  uint32_t value, uint64_t patience_ns, const char *what);
/* Returns the array that the guest leaves its samples in. */
const uint64_t *bench_io_samples(const struct bench_io_guest *g);
/* Begins to measure, until bench_io_account(). */
void bench_io_begin(struct bench_io_guest *g);
/* Returns the processor time of the guest and of all that serves it, in ns. */
uint64_t bench_io_cpu_ns(const struct bench_io_guest *g);
/* Returns the part of it that is a back end's. */
uint64_t bench_io_back_ns(const struct bench_io_guest *g);
/* Adds that to the cell, for so many events; @back: of @cpu, the back end's. */
void bench_io_account(struct bench_io_guest *g, struct bench_cell *c, uint64_t cpu, uint64_t wall,
		      uint64_t events);

#endif
