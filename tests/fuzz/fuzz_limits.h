/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits for a fuzzer's device. */
#ifndef TESTS_FUZZ_FUZZ_LIMITS_H
#define TESTS_FUZZ_FUZZ_LIMITS_H

#include "devices/rate.h"

/* Rates at which things wait for each other, or for ever, or hardly at all; often none. */
static inline struct rate_limits fuzz_limits(uint8_t choice)
{
	static const uint64_t rates[] = {0,	    0, 1, 100, 10000, 1000000, UINT64_C(1) << 40,
					 UINT64_MAX};
	struct rate_limits l = {.bw = rates[choice & 7], .ops = rates[choice >> 3 & 7]};

	l.bw_burst = choice & 0x40 ? 1500 : 0;
	l.ops_burst = choice & 0x80 ? 1 : 0;
	return l;
}

#endif
