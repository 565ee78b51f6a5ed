/* SPDX-License-Identifier: Apache-2.0 */
/* Wake words that share one poller; see group.h. */
#include <errno.h>
#include <stddef.h>

#include "poll/group.h"
#include "relaxed.h"

int group_add(struct wake_group *g, struct wake *w)
{
	if (g->count == GROUP_MEMBERS)
		return -ENOSPC;
	g->members[g->count++] = w;
	return 0;
}

bool group_begin(struct wake_group *g, struct wake *w)
{
	struct wake *none = NULL;

	if (group_polled(g) || !atomic_compare_exchange_strong(&g->poller, &none, w))
		return false;
	for (uint32_t i = 0; i < g->count; i++) {
		struct wake *m = g->members[i];
		uint32_t sleeping = WAKE_SLEEPING;

		/* A waker that comes between finds that it need not wake: it left its work
		 * before. */
		if (m != w)
			atomic_compare_exchange_strong(&m->state, &sleeping, WAKE_WATCHED);
	}
	return true;
}

unsigned int group_scan(struct wake_group *g, struct wake *w)
{
	unsigned int woken = 0;

	for (uint32_t i = 0; i < g->count; i++) {
		struct wake *m = g->members[i];

		/* One cache line each, which stays in this processor's cache until somebody writes
		 * to it. The exchange in the wake makes sure. */
		if (!wake_pending(m) || m == w || relaxed_load(&m->state) != WAKE_WATCHED)
			continue;
		woken += wake_from(m, WAKE_WATCHED);
	}
	return woken;
}

uint64_t group_wanted(const struct wake_group *g, const struct wake *w)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < g->count; i++) {
		const struct wake *m = g->members[i];
		uint64_t end = relaxed_load(&m->poll_end);

		if (m != w && end > last && relaxed_load(&m->state) == WAKE_WATCHED)
			last = end;
	}
	return last;
}

bool group_end(struct wake_group *g, struct wake *w, bool hand_over, uint64_t after)
{
	struct wake *next = NULL;

	atomic_exchange(&g->poller, NULL);
	for (uint32_t i = 0; i < g->count; i++) {
		struct wake *m = g->members[i];
		uint32_t watched = WAKE_WATCHED;
		uint64_t end;

		if (m == w || atomic_load(&m->state) != WAKE_WATCHED ||
		    !atomic_compare_exchange_strong(&m->state, &watched, WAKE_SLEEPING))
			continue;
		/* Wakers that brought work while the member was watched have left its wake to the
		 * poller. */
		if (atomic_load(&m->pending)) {
			wake_from(m, WAKE_SLEEPING);
			continue;
		}
		end = relaxed_load(&m->poll_end);
		if (hand_over && end > after) {
			after = end;
			next = m;
		}
	}
	/* It finds that there is no poller, also if somebody else has woken it meanwhile. */
	return next && wake_from(next, WAKE_SLEEPING);
}
