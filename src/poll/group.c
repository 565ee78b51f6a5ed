/* SPDX-License-Identifier: Apache-2.0 */
/* Halters that share one poller; see group.h. */
#include <errno.h>
#include <stddef.h>

#include "poll/halter.h"

int group_add(struct halter_group *g, struct catnap_halter *h)
{
	if (g->count == GROUP_MEMBERS)
		return -ENOSPC;
	g->members[g->count++] = h;
	h->group = g;
	return 0;
}

bool group_lead(struct halter_group *g, struct catnap_halter *h)
{
	struct catnap_halter *none = NULL;

	if (group_polled(g) || !atomic_compare_exchange_strong(&g->poller, &none, h))
		return false;
	for (uint32_t i = 0; i < g->count; i++) {
		struct catnap_halter *m = g->members[i];
		uint32_t sleeping = HALTER_SLEEPING;

		/* A waker that comes between finds that it need not wake: it left its work before.
		 */
		if (m != h)
			atomic_compare_exchange_strong(&m->state, &sleeping, HALTER_WATCHED);
	}
	return true;
}

unsigned int group_look(struct halter_group *g, struct catnap_halter *h)
{
	unsigned int woken = 0;

	for (uint32_t i = 0; i < g->count; i++) {
		struct catnap_halter *m = g->members[i];

		/* One cache line each, which stays in this processor's cache until somebody writes
		 * to it. The exchange in the wake makes sure. */
		if (!halter_pending(m) || m == h ||
		    atomic_load_explicit(&m->state, memory_order_relaxed) != HALTER_WATCHED)
			continue;
		woken += halter_wake_from(m, HALTER_WATCHED);
	}
	return woken;
}

uint64_t group_wanted(const struct halter_group *g, const struct catnap_halter *h)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < g->count; i++) {
		const struct catnap_halter *m = g->members[i];
		uint64_t end = atomic_load_explicit(&m->poll_end, memory_order_relaxed);

		if (m != h && end > last &&
		    atomic_load_explicit(&m->state, memory_order_relaxed) == HALTER_WATCHED)
			last = end;
	}
	return last;
}

bool group_leave(struct halter_group *g, struct catnap_halter *h, bool hand_over, uint64_t after)
{
	struct catnap_halter *next = NULL;

	atomic_exchange(&g->poller, NULL);
	for (uint32_t i = 0; i < g->count; i++) {
		struct catnap_halter *m = g->members[i];
		uint32_t watched = HALTER_WATCHED;
		uint64_t end;

		if (m == h || atomic_load(&m->state) != HALTER_WATCHED ||
		    !atomic_compare_exchange_strong(&m->state, &watched, HALTER_SLEEPING))
			continue;
		/* Work that came while it was watched is still nobody else's. */
		if (atomic_load(&m->pending)) {
			halter_wake_from(m, HALTER_SLEEPING);
			continue;
		}
		end = atomic_load_explicit(&m->poll_end, memory_order_relaxed);
		if (hand_over && end > after) {
			after = end;
			next = m;
		}
	}
	/* It finds that nobody polls. If it was woken meanwhile, it will find that, too. */
	return next && halter_wake_from(next, HALTER_SLEEPING);
}
