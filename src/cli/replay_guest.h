/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side in front of a policy: Linux's haltpoll governor, to the letter
 * (drivers/cpuidle/governors/haltpoll.c and drivers/cpuidle/poll_state.c of Linux 6.12). An idle
 * CPU polls inside the guest for its window, and executes HLT if nothing came; the window follows
 * what the HLT alone has lasted. Its state is that window.
 */
#ifndef CLI_REPLAY_GUEST_H
#define CLI_REPLAY_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/opts.h"

/* What the host does once a guest that polls has executed HLT. */
enum guest_host { GUEST_HOST_OFF, GUEST_HOST_BREAK_EVEN, GUEST_HOST_LEARNED };

/* Parameters of module haltpoll, by its names: guest_halt_poll_ns ... */
struct guest_params {
	uint32_t ns, grow, grow_start_ns, shrink;
	bool allow_shrink;
	int host; /* enum guest_host */
};

struct governor {
	struct guest_params params;
	uint64_t window_ns; /* poll_limit_ns; at first 0 */
};

/* Linux's defaults, and what catnap does after them. */
void guest_params_init(struct guest_params *p);
/** For .set(): parses --guest into a struct guest_params that has been initialized. */
int guest_params_parse(struct opts *o, const struct opt_arg *arg, struct guest_params *p);

/*
 * A CPU is idle for @idle_ns. *@polled_ns: how long of that it polls inside. Returns whether it
 * executes HLT then, for the rest: a wake-up at the very end of the window is seen.
 */
bool guest_idle(struct governor *g, uint64_t idle_ns, uint64_t *polled_ns);

#endif
