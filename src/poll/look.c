/* SPDX-License-Identifier: Apache-2.0 */
/* Looks for an owner's work: work bits, changed sources, and completions of its ring. */
#include "poll/halter_impl.h"

/* Brings the ring in line with the sources. Their bit is cleared first, so no change is missed. */
static int sync_sources(struct catnap_halter *h)
{
	atomic_fetch_and(&h->wake.pending, ~HALTER_WORK_SOURCES);
	return ring_sync(&h->ring);
}

/* Does what ring_reap() does, and runs the loop's sources, which the ring takes for one. */
static int reap(struct catnap_halter *h)
{
	int n = ring_reap(&h->ring, h->on_eventfd, h->ctx), told;

	if (n < 0)
		return n;
	n -= loop_take_rung(&h->loop);
	told = loop_run(&h->loop, &h->ring);
	return told < 0 ? told : n + told;
}

/* Returns whether reap() may find something. */
static bool reapable(struct catnap_halter *h)
{
	return h->loop.due || ring_ready(&h->ring);
}

enum look halter_look_slow(struct catnap_halter *h, uint32_t bits, int *cause)
{
	if (bits & ~HALTER_WORK_SOURCES) {
		*cause = bits & CATNAP_WORK_IPI ? CATNAP_CAUSE_IPI : CATNAP_CAUSE_OTHER;
		return LOOK_WOKEN;
	}
	if (bits) {
		h->error = sync_sources(h);
		if (h->error < 0)
			return LOOK_WOKEN;
		/* A source that was armed may be ready, and the deadline may have passed: look
		 * now. */
	}
	if (reapable(h)) {
		uint64_t done = h->ring.completed;
		int n = reap(h);

		/* None: completions of the ring's own. They are no work, but one of them may have
		 * been the wake for work that came after the look at pending, and what the sleep
		 * had armed is gone. */
		if (n == 0)
			return LOOK_AGAIN;
		h->error = n < 0 ? n : 0;
		*cause = h->ring.completed != done ? CATNAP_CAUSE_IO : CATNAP_CAUSE_EVENTFD;
		return LOOK_WOKEN;
	}
	return bits ? LOOK_AGAIN : LOOK_NOTHING;
}

int halter_sync(struct catnap_halter *h)
{
	if (relaxed_load(&h->wake.pending) & HALTER_WORK_SOURCES)
		return sync_sources(h);
	return 0;
}

int halter_reap(struct catnap_halter *h)
{
	int ret = halter_sync(h);

	if (ret < 0)
		return ret;
	ret = ring_flush(&h->ring);
	if (ret < 0 || !reapable(h))
		return ret;
	return reap(h);
}

int halter_serve(struct catnap_halter *h, uint32_t work)
{
	if (work & HALTER_WORK_TASKS)
		halter_run_tasks(h);
	if (work & HALTER_WORK_SOURCES) {
		int ret = ring_sync(&h->ring);

		if (ret < 0)
			return ret;
	}
	return halter_reap(h);
}

int halter_serve_pending(struct catnap_halter *h)
{
	return halter_serve(h, wake_take_some(&h->wake, HALTER_WORK_ENGINE));
}

int halter_drain(struct catnap_halter *h, bool cancel)
{
	int ret = 0;

	h->draining = true;
	if (cancel && h->ring.inflight)
		ring_cancel(&h->ring);
	while (h->ring.inflight && ret >= 0) {
		ret = ring_wait(&h->ring);
		if (ret == 0)
			ret = ring_reap(&h->ring, h->on_eventfd, h->ctx);
	}
	h->draining = false;
	if (cancel && ret >= 0)
		ring_let_go(&h->ring);
	return ret < 0 ? ret : 0;
}
