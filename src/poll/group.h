/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Halters that share one poller: of those that wait, one polls, and looks at the words of the
 * others, too, which sleep meanwhile; it brings them what wakers have left. So a VM that is idle
 * polls on one processor at most. docs/wake-protocol.md, "Groups"; tests/model/group.pml checks it.
 *
 *   poller  who polls for all. A member that wants to: from NULL to itself, by compare-and-swap.
 *           It alone sets it back to NULL.
 *
 * A member that sleeps while there is a poller is in state WATCHED, in which wakers do no more than
 * in POLLING. Pairing (Dekker): the member publishes WATCHED and then reads poller; the poller
 * publishes NULL and then reads all states. So a WATCHED one that the poller leaves behind is seen
 * by at least one of the two, and becomes SLEEPING; then its pending is read once more.
 */
#ifndef POLL_GROUP_H
#define POLL_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/poll.h>

#define GROUP_MEMBERS 64

struct halter_group {
	_Alignas(64) _Atomic(struct catnap_halter *) poller;
	/* Constant once the first of them halts. */
	_Alignas(64) uint32_t count;
	struct catnap_halter *members[GROUP_MEMBERS];
};

/* Before any member halts. It stays a member; all live until none of them halts any more. -ENOSPC.
 */
int group_add(struct halter_group *g, struct catnap_halter *h);

static inline bool group_polled(struct halter_group *g)
{
	return atomic_load(&g->poller) != NULL;
}

/* Owner of @h, awake: becomes the poller, if there is none. Those who sleep already become watched.
 */
bool group_lead(struct halter_group *g, struct catnap_halter *h);
/* The poller: one look at the words of the others. Returns how many it woke. */
unsigned int group_look(struct halter_group *g, struct catnap_halter *h);
/* The poller: until when (ticks) do the others that sleep want to be polled for? 0: not at all. */
uint64_t group_wanted(const struct halter_group *g, const struct catnap_halter *h);
/*
 * The poller is none any more; wakers wake the others themselves from here on. @hand_over: and of
 * those that want to be polled for until later than @after (ticks), the last one is woken, to do
 * it itself. Returns whether there was one.
 */
bool group_leave(struct halter_group *g, struct catnap_halter *h, bool hand_over, uint64_t after);

#endif
