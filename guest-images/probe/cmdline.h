/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line's keys (probe.h), parsed.
 */
#ifndef PROBE_CMDLINE_H
#define PROBE_CMDLINE_H

#include <stdint.h>

enum workload {
	WORKLOAD_NONE,
	WORKLOAD_EVENT,
	WORKLOAD_TIMER,
	WORKLOAD_IPI,
	WORKLOAD_IDLE,
	WORKLOAD_START,
	WORKLOAD_MEMORY,
	WORKLOAD_CPUS,
	WORKLOAD_BLK,
	WORKLOAD_ECHO,
	WORKLOAD_COMPUTE,
	WORKLOAD_PRICES,
	WORKLOAD_RESTORE,
	WORKLOADS
};

extern const char *const workload_names[WORKLOADS];

struct params {
	enum workload workload;
	uint64_t samples;
	uint64_t warmup;
	uint64_t wait; /* for the host, before the workload begins */
	uint64_t gap_ns;
	uint64_t random;
	uint64_t seed;
	uint64_t tsc_khz;
	uint64_t apic_hz;
	uint64_t pv_eoi;
	uint64_t tick_hz;
	uint64_t cpus;
	uint64_t print;
	uint64_t exit_port; /* 0: none */
	uint64_t ecam;	    /* 0: configuration space by ports */
	uint64_t window;    /* for BARs that nobody has placed */
	uint64_t blk_id;    /* blk: ask for the disk's id, which takes no I/O */
	uint64_t blk_write; /* blk: write */
	uint64_t drain;	    /* echo: all packets that are there at each interrupt */
	uint64_t ivshmem;   /* event: the event is a vector of this device */
	uint64_t disk;	    /* compute: each event begins a read */
	uint64_t op;	    /* prices: enum probe_price */
	uint64_t extra;	    /* prices: what else is done between two halts, and how often */
	uint64_t per_halt;
	uint64_t pages; /* restore: how many are touched, of how many */
	uint64_t span;
	uint64_t haltpoll;     /* the guest polls; what follows is for that */
	uint64_t poll_control; /* it switches its host's polling off */
	uint64_t poll_ns, poll_grow, poll_grow_start, poll_shrink, poll_allow_shrink;
	int xapic;
};

/* line may be NULL; what it does not name keeps its value */
void cmdline_parse(const char *line, struct params *p);

#endif
