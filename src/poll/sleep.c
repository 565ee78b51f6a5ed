/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sleep of a halt: on the futex, or in the ring while anything may complete there; until a
 * deadline, less the lead (lead.h).
 */
#include <errno.h>

#include "poll/halter_impl.h"

/*
 * Sleeps for one system call, for @ns at most (UINT64_MAX: no limit). @state was published. Returns
 * 0 or a negative errno value; -ETIMEDOUT: the time is over.
 */
static int sleep_unmeasured(struct catnap_halter *h, uint32_t state, uint64_t ns)
{
	struct timespec ts, *deadline = NULL;

	if (ring_active(&h->ring)) {
		int ret = ring_sleep(&h->ring, &h->wake.state, state, ns);

		return ret == -ETIME ? -ETIMEDOUT : ret;
	}
	if (ns != UINT64_MAX) {
		uint64_t abs = clock_monotonic_ns();

		abs = ns > INT64_MAX - abs ? INT64_MAX : abs + ns;
		ts.tv_sec = (time_t)(abs / 1000000000u);
		ts.tv_nsec = (long)(abs % 1000000000u);
		deadline = &ts;
	}
	return wake_wait(&h->wake, state, deadline);
}

/* Does the same, and measures now and then how much processor time it takes. */
static int sleep_once(struct catnap_halter *h, uint32_t state, uint64_t ns)
{
	uint64_t from;
	int ret;

	if (!price_samples(&h->price))
		return sleep_unmeasured(h, state, ns);
	from = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	ret = sleep_unmeasured(h, state, ns);
	if (ret == 0 || ret == -ETIMEDOUT)
		price_add_sleeper(&h->price, clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - from);
	return ret;
}

/* Publishes that the owner sleeps, and returns as what: WATCHED if its group has a poller. */
static uint32_t publish_sleep(struct catnap_halter *h)
{
	if (h->shares && group_polled(h->group)) {
		wake_publish(&h->wake, WAKE_WATCHED);
		if (group_polled(h->group)) /* if it ends from here on, it sees this one */
			return WAKE_WATCHED;
	}
	wake_publish(&h->wake, WAKE_SLEEPING);
	return WAKE_SLEEPING;
}

/* Returns whether this halt would still poll, and nobody does: it is its turn to be the poller. */
static bool is_turn(struct catnap_halter *h)
{
	uint64_t end;

	if (!h->shares || group_polled(h->group))
		return false;
	end = relaxed_load(&h->wake.poll_end);
	return end && clock_now(&h->clock) < end;
}

/*
 * Publishes that the owner sleeps, looks at its work once more, and sleeps unless it found
 * something (*@found). Publishes that it is awake. Returns as sleep_unmeasured().
 */
static int sleep_or_not(struct catnap_halter *h, uint64_t ns, int *cause, enum look *found)
{
	uint32_t state;
	int ret = 0, fd = -1;

	if (ring_active(&h->ring)) {
		ret = ring_prepare_sleep(&h->ring);
		if (ret < 0)
			return ret;
		fd = h->ring.wake_fd;
	}
	wake_set_fd(&h->wake, fd);
	state = publish_sleep(h);
	*found = halter_look(h, cause);
	if (*found == LOOK_NOTHING && is_turn(h))
		*found = LOOK_AGAIN; /* the poller has ended just now */
	if (*found == LOOK_NOTHING)
		ret = sleep_once(h, state, ns);
	wake_publish(&h->wake, WAKE_VMM);
	return ret;
}

/* Returns whether others want the processor while the lead is spun. *@begun: it has begun to be, or
 * begins now. */
static bool wanted_by_others(struct catnap_halter *h, uint64_t now, bool *begun)
{
	if (*begun)
		return halter_contended(h, now);
	*begun = true;
	return !contention_may_poll(&h->contention, now);
}

/* Returns by how much a sleep until @deadline ends early: by nothing if the rest would not be
 * spun. */
static uint64_t lead_before(const struct catnap_halter *h, uint64_t deadline, bool gives_way)
{
	if (deadline == UINT64_MAX)
		return 0;
	if (gives_way && contention_paused(&h->contention, clock_now(&h->clock)))
		return 0;
	return h->lead.ticks;
}

/* Learns from a sleep that was to end at @asked (ticks) and has ended by that. */
static void learn_lateness(struct catnap_halter *h, uint64_t asked)
{
	uint64_t now = clock_now(&h->clock), late = now > asked ? now - asked : 0;

	lead_learn(&h->lead, &h->policy, &h->clock, late);
	price_add(&h->price, clock_ticks_to_ns(&h->clock, late), true);
}

int halter_sleep(struct catnap_halter *h, uint64_t deadline, int *cause, bool *waited,
		 bool gives_way)
{
	uint64_t until = deadline, asked = 0, lead = lead_before(h, deadline, gives_way);
	bool spins = false;

	for (;;) {
		enum look found = LOOK_NOTHING;
		uint64_t now, ns = UINT64_MAX;
		int ret = 0;

		if (deadline != UINT64_MAX) {
			now = clock_now(&h->clock);
			if (now >= deadline) {
				*cause = CATNAP_CAUSE_TIMER;
				return 0;
			}
			until = deadline - now > lead ? deadline - lead : now;
			ns = clock_ticks_to_ns(&h->clock, until - now);
		}
		if (ns == 0) { /* the lead: the rest of the way is spun */
			if (gives_way && lead && wanted_by_others(h, now, &spins))
				lead = 0;
			cpu_relax();
		} else {
			asked = until;
			ret = sleep_or_not(h, ns, cause, &found);
			if (found == LOOK_NOTHING && ret != -EAGAIN)
				*waited = true;
			if (ret == -ETIMEDOUT)
				learn_lateness(h, asked);
			else if (ret < 0 && ret != -EAGAIN && ret != -EINTR)
				return ret;
		}
		if (found == LOOK_WOKEN || halter_look(h, cause) == LOOK_WOKEN)
			return 0;
		if (is_turn(h)) {
			*cause = CAUSE_TURN;
			return 0;
		}
	}
}
