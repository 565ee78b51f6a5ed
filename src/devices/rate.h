/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits on what a device does in a second: a token bucket for bytes and one for operations. Knows
 * no clock and no device: who asks says what time it is.
 *
 * A bucket fills at its rate up to its burst. What is to be done may begin while each bucket has at
 * least one in it, and is charged when it is known how much it was; that may leave a bucket below
 * empty, and then nothing begins until the debt is paid. So a request that is longer than the burst
 * goes through, late; over any time t, no more than rate * t + burst + one request is done.
 */
#ifndef DEVICES_RATE_H
#define DEVICES_RATE_H

#include <stdint.h>

/* The burst is that of this time, if none is said. */
#define RATE_BURST_NS UINT64_C(100000000)

struct rate_limits {
	uint64_t bw, bw_burst;	 /* bytes a second, bytes; 0: no limit, the default */
	uint64_t ops, ops_burst; /* operations a second, operations */
};

struct rate_bucket {
	uint64_t rate, burst; /* a second; rate 0: no limit */
	__int128 level;	      /* in billionths, so that nothing is lost by rounding */
};

struct rate {
	struct rate_bucket bw, ops;
	uint64_t at_ns; /* up to when the buckets are filled */
};

/* Full buckets. */
void rate_init(struct rate *r, const struct rate_limits *limits, uint64_t now_ns);
/* 0: something may begin now; else in how many ns, if nothing is charged until then. */
uint64_t rate_wait(struct rate *r, uint64_t now_ns);
/* What was begun. */
void rate_charge(struct rate *r, uint64_t ops, uint64_t bytes);

#endif
