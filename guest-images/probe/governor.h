/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux's haltpoll governor (drivers/cpuidle/governors/haltpoll.c of Linux 6.12), to the letter: for
 * how long an idle processor polls inside the guest before it executes HLT. Nothing but arithmetic,
 * so that the tests can run the same file on the host.
 */
#ifndef PROBE_GOVERNOR_H
#define PROBE_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

/* Parameters of module haltpoll: guest_halt_poll_ns, guest_halt_poll_grow ... */
struct governor_params {
	uint32_t ns, grow, grow_start, shrink;
	bool allow_shrink;
};

struct governor {
	struct governor_params params;
	uint64_t window_ns; /* poll_limit_ns; at first 0 */
	bool in_vain;	    /* it has polled last, and nothing came: poll_time_limit */
};

/* haltpoll_select(): whether the processor polls now; if not, it executes HLT. */
bool governor_polls(const struct governor *g);
/* It has polled, and something came (@found), or the window is over. */
void governor_polled(struct governor *g, bool found);
/* haltpoll_reflect(): it has executed HLT, which lasted for so long. */
void governor_halted(struct governor *g, uint64_t block_ns);

#endif
