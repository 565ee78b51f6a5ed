/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics of halts. The owner alone writes them, so plain load-add-store on relaxed atomics is
 * enough; anybody may read.
 */
#ifndef POLL_STATS_H
#define POLL_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include <catnap/poll.h>
#include "relaxed.h"

struct halt_stats {
	_Atomic uint64_t exits, attempted, successful, invalid, wakeup, contended;
	_Atomic uint64_t throttled, pressure;
	_Atomic uint64_t watched, group_wakes, handovers;
	_Atomic uint64_t success_ns, fail_ns, wait_ns;
	_Atomic uint64_t success_hist[CATNAP_HIST_BUCKETS];
	_Atomic uint64_t fail_hist[CATNAP_HIST_BUCKETS];
	_Atomic uint64_t wait_hist[CATNAP_HIST_BUCKETS];
	_Atomic uint64_t causes[CATNAP_CAUSES];
};

/* One halt as it is counted. */
struct halt_record {
	uint64_t poll_ns; /* time polled */
	uint64_t wait_ns; /* time slept; 0 when it did not */
	bool attempted;	  /* polling was on in this halt */
	bool waited;
	bool valid;
	uint64_t gave_way_ns; /* when others were to have the processor; HALT_KEPT: never */
	int cause;
};

/* gave_way_ns of a halt in which nobody else wanted the processor. */
#define HALT_KEPT UINT64_MAX

/* Adds to a counter of the owner's. */
static inline void stat_add(_Atomic uint64_t *s, uint64_t n)
{
	relaxed_store(s, relaxed_load(s) + n);
}

/* Returns the bucket of @ns. Bucket 0: 0 ns; bucket i: [2^(i-1), 2^i); the last takes the rest. */
static inline unsigned int stats_bucket(uint64_t ns)
{
	unsigned int b = ns ? 64u - (unsigned int)__builtin_clzll(ns) : 0;

	return b < CATNAP_HIST_BUCKETS ? b : CATNAP_HIST_BUCKETS - 1;
}

/* Counts one halt. Owner. */
void stats_count(struct halt_stats *s, const struct halt_record *r);
/* Copies the counters. Any thread. */
void stats_read(const struct halt_stats *s, struct catnap_halt_stats *out);

#endif
