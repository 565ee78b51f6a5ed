/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lead: by how much a sleep with a deadline ends early. Such a sleep ends late by what it costs
 * to come back from it (the timer interrupt, the scheduler). The halter learns that lateness, asks
 * to be woken so much earlier, and spins the rest. KVM's in-kernel APIC timer does the same
 * (lapic_timer_advance_ns).
 *
 * The lead moves up where a sleep was later than it, and else down, and so follows a quantile of
 * the lateness. Which one depends on the policy. A lead that is too long is spun, one that is too
 * short makes the timer late:
 *
 *   the lower fifth   costs next to nothing; 50 us at most. All policies but adaptive, and adaptive
 *                     with bias power
 *   the median        is where a microsecond of either is worth the same; 100 us at most. Adaptive
 *                     with bias balanced, which is the default
 *   the upper fifth   100 us at most. Adaptive with bias latency
 *
 * The owner's alone.
 */
#ifndef POLL_LEAD_H
#define POLL_LEAD_H

#include <stdint.h>

#include "poll/clock.h"
#include "poll/policy.h"

struct lead {
	uint64_t ticks; /* 0: nothing is known yet */
};

/* Learns from a timed sleep that has ended @late ticks after the moment that it was asked for. */
void lead_learn(struct lead *l, const struct catnap_policy *policy, const struct clock *clock,
		uint64_t late);

#endif
