/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a Linux guest polls by itself, as options have it: run's --guest-halt-poll, replay's --guest
 * and bench's mode guest. Names are those of Linux's module haltpoll, guest_halt_poll_grow and so on.
 */
#ifndef CLI_OPTS_GUEST_H
#define CLI_OPTS_GUEST_H

#include "cli/opts.h"

/* No value of a key: what has it was not given. */
#define GUEST_POLL_UNSET UINT32_MAX
#define GUEST_POLL_MAX	 (GUEST_POLL_UNSET - 1)

/* The words for what the host may do once the guest has polled in vain: enum catnap_after_guest. */
extern const struct opt_word opt_guest_hosts[];
/* on 1, off 0; for an int that can be something else as well. */
extern const struct opt_word opt_on_off[];

/*
 * Rows of a table for a struct @t, in this order: grow, grow-start, shrink, each up to @most, and
 * allow-shrink. It has uint32_t grow, grow_start_ns and shrink, and int allow_shrink. ns is each
 * command's own.
 */
/* clang-format off */
#define OPT_GUEST_POLL_KEYS(t, most)                                                               \
	{.name = "grow", .type = OPT_U32, .offset = offsetof(t, grow), .max = (most)},             \
	{.name = "grow-start", .type = OPT_TIME32, .offset = offsetof(t, grow_start_ns),           \
	 .max = (most)},                                                                           \
	{.name = "shrink", .type = OPT_U32, .offset = offsetof(t, shrink), .max = (most)},         \
	{.name = "allow-shrink", .type = OPT_WORD, .offset = offsetof(t, allow_shrink),            \
	 .words = opt_on_off}
/* The row of host, for its int host. */
#define OPT_GUEST_POLL_HOST(t)                                                                     \
	{.name = "host", .type = OPT_WORD, .offset = offsetof(t, host), .words = opt_guest_hosts}
/* clang-format on */

#endif
