/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits for a fuzzer's device. */
#ifndef TESTS_FUZZ_FUZZ_LIMITS_H
#define TESTS_FUZZ_FUZZ_LIMITS_H

#include "devices/rate.h"

/* Rates at which things wait for each other for ever, or for a moment, or hardly at all; none in a
 * quarter of all cases. Most have the least burst, so that two requests are enough. */
static inline struct rate_bucket fuzz_bucket(unsigned int choice, bool once)
{
	static const struct rate_bucket buckets[] = {{0},
						     {0},
						     {0},
						     {0},
						     {1, 0, 1000000000},
						     {1, 0, 10000},
						     {1000000, 0, 100000000},
						     {UINT64_MAX, 0, 1}};
	struct rate_bucket b = buckets[choice & 7];

	if (once)
		b.one_time_burst = b.size == 1 ? 3 : UINT64_MAX;
	return b;
}

static inline struct rate_limits fuzz_limits(uint8_t choice)
{
	return (struct rate_limits){.bw = fuzz_bucket(choice, choice & 0x40),
				    .ops = fuzz_bucket(choice >> 3, choice & 0x80)};
}

#endif
