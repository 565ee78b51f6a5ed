/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Polling on trial, against a trap of two that wait for each other: a part of policy `adaptive`,
 * see docs/policy.md.
 *
 * Two vCPUs that wake each other in turn have short halts if both poll, and long ones if both
 * sleep: each halt has the other's sleep in it. Both are stable. Who has learned that such halts
 * are longer than the price does not poll, and is right as long as the other one learns the same.
 * So where halts that another vCPU ends are longer than the price by not more than a few sleeps, a
 * few are polled for all the same, for as long as they are. Who does not sleep itself makes the
 * other's halts shorter, and so in turn its own. If that happens, what is learned from those few is
 * enough to go on; if not, the next trial comes after twice as many halts.
 *
 * Integers only, no clock, no allocation. One thread.
 */
#ifndef POLL_TRIAL_H
#define POLL_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

struct trial {
	uint32_t window_ns; /* of the present trial */
	uint16_t wait;	    /* halts that might be shorter, until the next trial */
	uint16_t pause;	    /* how many these were after the last one */
	uint8_t left;	    /* halts of the present trial; 0: there is none */
	uint8_t lost;	    /* those of them that were as long as before */
};

void trial_init(struct trial *t);

/* A halt begins, in which one would poll for @window ns, @max_ns at most: for how long on trial. */
static inline uint32_t trial_window(const struct trial *t, uint32_t window, uint32_t max_ns)
{
	uint32_t all = t->window_ns < max_ns ? t->window_ns : max_ns;

	return t->left && window < all ? all : window;
}

/* A halt is over, which another vCPU of the VM has ended (@ipi), or not; @halt_ns as it is
 * learned. */
void trial_end(struct trial *t, uint64_t halt_ns, uint32_t price_ns, bool ipi);

#endif
