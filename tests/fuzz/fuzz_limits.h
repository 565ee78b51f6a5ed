/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits for a fuzzer's device. */
#ifndef TESTS_FUZZ_FUZZ_LIMITS_H
#define TESTS_FUZZ_FUZZ_LIMITS_H

#include "devices/rate.h"

/* Rates at which things wait for each other for ever, or for a moment, or hardly at all; none in a
 * quarter of all cases. Most have the least burst, so that two requests are enough. */
static inline struct rate_limits fuzz_limits(uint8_t choice)
{
	static const uint64_t rates[] = {0, 0, 0, 0, 1, 100000, 10000000, UINT64_MAX};
	struct rate_limits l = {.bw = rates[choice & 7], .ops = rates[choice >> 3 & 7]};

	l.bw_burst = choice & 0x40 ? 0 : 1;
	l.ops_burst = choice & 0x80 ? 0 : 1;
	return l;
}

#endif
