/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group: owners of wake words that share one poller. Of those that wait, one polls; the others
 * sleep, and the poller watches their words and wakes them. So a VM that is idle polls on one
 * processor at most. docs/wake-protocol.md, "Groups"; tests/model/group.pml checks it.
 *
 *   poller  The member that polls for all, or NULL. A member sets it from NULL to itself, by
 *           compare-and-swap. It alone sets it back to NULL.
 *
 * A member that sleeps while there is a poller is in state WATCHED, in which wakers do no more than
 * in POLLING. Pairing (Dekker): the member publishes WATCHED and then reads poller. The poller
 * publishes NULL and then reads all states. So at least one of the two sees a WATCHED member that
 * the poller leaves behind, and makes it SLEEPING. Then its pending is read once more.
 */
#ifndef POLL_GROUP_H
#define POLL_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "poll/wake.h"

#define GROUP_MEMBERS 64

struct wake_group {
	_Alignas(64) _Atomic(struct wake *) poller;
	/* Constant once the first of them halts. */
	_Alignas(64) uint32_t count;
	struct wake *members[GROUP_MEMBERS];
};

/*
 * Makes @w a member, before any member halts. It stays one, and lives until none of them halts any
 * more.
 * Errors:
 *   -ENOSPC  there are GROUP_MEMBERS members
 */
int group_add(struct wake_group *g, struct wake *w);

/* Returns whether there is a poller. Any thread. */
static inline bool group_polled(struct wake_group *g)
{
	return atomic_load(&g->poller) != NULL;
}

/* Makes @w the poller, if there is none; members that sleep already become WATCHED. Returns whether
 * it is. Owner of @w, awake. */
bool group_begin(struct wake_group *g, struct wake *w);
/* Wakes the WATCHED members that have work. Returns how many it woke. The poller. */
unsigned int group_scan(struct wake_group *g, struct wake *w);
/* Returns until when, in ticks, members that sleep want to be polled for; 0: not at all. The
 * poller. */
uint64_t group_wanted(const struct wake_group *g, const struct wake *w);
/*
 * Ends @w's being the poller: from here on wakers wake the members themselves. @hand_over: if
 * members want to be polled for until later than @after (ticks), it wakes the one that wants it
 * longest, to be the poller. Returns whether it woke one.
 */
bool group_end(struct wake_group *g, struct wake *w, bool hand_over, uint64_t after);

#endif
