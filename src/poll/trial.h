/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Polling on trial, against a trap of two that wait for each other: a part of policy `adaptive`,
 * see docs/policy.md.
 *
 * Two vCPUs that wake each other in turn have short halts if both poll, and long ones if both
 * sleep, because each halt has the other's sleep in it. Both conditions are stable. A vCPU that has
 * learned that such halts are longer than the worth (adaptive.h) does not poll, and is right as
 * long as the other one learns the same.
 *
 * So some halts are polled for on trial: halts that another vCPU ends, and that are longer than the
 * worth by no more than a few sleeps. The poll is as long as they are. A vCPU that does not sleep
 * makes the other's halts shorter, and so in turn its own. If that happens, what is learned from
 * those few is enough to go on. If not, the next trial comes after twice as many halts.
 *
 * Integers only, no clock, no allocation. One thread.
 */
#ifndef POLL_TRIAL_H
#define POLL_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

struct trial {
	uint32_t window_ns; /* of the present trial */
	uint16_t wait;	    /* halts that might be shorter, until the next trial */
	uint16_t pause;	    /* how many these were after the last one */
	uint8_t left;	    /* halts of the present trial; 0: there is none */
	uint8_t lost;	    /* those of them that were as long as before */
};

void trial_init(struct trial *t);

/* Returns for how long to poll in a halt that begins, where @window ns were chosen. @max_ns at
 * most. */
static inline uint32_t trial_window(const struct trial *t, uint32_t window, uint32_t max_ns)
{
	uint32_t all = t->window_ns < max_ns ? t->window_ns : max_ns;

	return t->left && window < all ? all : window;
}

/* Ends a halt of @halt_ns, as it is learned. @ipi: another vCPU of the VM has ended it. @worth_ns:
 * as in adaptive_begin(). */
void trial_end(struct trial *t, uint64_t halt_ns, uint32_t worth_ns, bool ipi);

/* Writes a trial; and reads it into @t. Anything wrong is noted in @in; then @t is to be made anew. */
void trial_save(const struct trial *t, struct state_writer *w);
void trial_load(struct trial *t, struct state_in *in);

#endif
