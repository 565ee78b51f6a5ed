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

#include <catnap/catnap.h>
#include "cli/guest_window.h"
#include "cli/opts_guest.h"

/* Parameters of module haltpoll, by its names: guest_halt_poll_ns ... */
struct replay_guest_params {
	bool by_price;	/* ns was not given: it is made of the prices */
	uint64_t given; /* of the keys, by their numbers in guest.c */
	uint32_t ns, grow, grow_start_ns, shrink;
	int allow_shrink; /* 0, 1 */
	int host;	  /* enum catnap_after_guest */
};

struct replay_governor {
	struct replay_guest_params params;
	uint64_t window_ns; /* poll_limit_ns; at first 0 */
};

/* Sets the parameters as `catnap run` has them by default, once they are settled; Linux's until
 * then. */
void replay_guest_params_init(struct replay_guest_params *p);
/** Parses --guest into a struct replay_guest_params that has been initialized. For .set(). */
int replay_guest_params_parse(struct opts *o, const struct opt_arg *arg,
			      struct replay_guest_params *p);
/* Settles the rest: unless ns= was given, what was not given becomes what `catnap run` makes of
 * such prices. @policy: the host's, enum catnap_policy_kind. */
void replay_guest_params_settle(struct replay_guest_params *p, uint64_t price_ns,
				uint64_t exit_price_ns, uint32_t policy);
/* Returns whether a host of this policy may poll once the guest has given up. */
bool replay_guest_host_polls(const struct replay_guest_params *p, uint32_t policy);

/*
 * Lets a CPU be idle for @idle_ns. *@polled_ns: how long of that it polls inside. Returns whether
 * it executes HLT then, for the rest: a wake-up at the very end of the window is seen.
 */
bool replay_guest_idle(struct replay_governor *g, uint64_t idle_ns, uint64_t *polled_ns);

#endif
