/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets for tests, by what they let through in a second. */
#ifndef TESTS_UNIT_BUCKETS_H
#define TESTS_UNIT_BUCKETS_H

#include "devices/rate.h"

static inline struct rate_bucket bucket(uint64_t a_second, uint64_t size)
{
	return (struct rate_bucket){.size = size,
				    .refill_ns = size * UINT64_C(1000000000) / a_second};
}

#define NO_LIMITS	    (&(struct rate_limits){.bw = {.size = 0}})
#define BW(a_second, size)  (&(struct rate_limits){.bw = bucket((a_second), (size))})
#define OPS(a_second, size) (&(struct rate_limits){.ops = bucket((a_second), (size))})

#endif
