/* SPDX-License-Identifier: Apache-2.0 */
/* One halt: polls for as long as the policy says, then sleeps, and learns from how it went. */
#include "poll/halter_impl.h"

/* Returns when the wake-up was sent that has ended a sleep, in ns after the halt's begin at @start.
 * The sleep began @poll_ns after that, and the halt ended @halt_ns after it. Learns what the sleep
 * has cost, if that is known. */
static uint64_t learn_price(struct catnap_halter *h, uint64_t start, uint64_t poll_ns,
			    uint64_t halt_ns)
{
	uint64_t sent = relaxed_load(&h->wake.wake_sent), arrival;
	uint64_t took = relaxed_load(&h->wake.wake_took);
	bool known;

	arrival = price_arrival(
		&h->price, poll_ns, halt_ns,
		sent > start ? (int64_t)clock_ticks_to_ns(&h->clock, sent - start) : -1, &known);
	if (known)
		price_add(&h->price, halt_ns - arrival, false);
	if (known && took)
		price_add_waker(&h->price, clock_ticks_to_ns(&h->clock, took));
	return arrival;
}

/* Returns whether the processor's time is so short that others should have it, and counts it. */
static bool pressed(struct catnap_halter *h, uint64_t now)
{
	enum pressure_sign sign = PRESSURE_NONE;

	if (h->pressure)
		sign = pressure_ask(h->pressure, &h->clock, now);
	if (__builtin_expect(sign == PRESSURE_NONE, 1))
		return false;
	stat_add(sign == PRESSURE_THROTTLED ? &h->stats.throttled : &h->stats.pressure, 1);
	contention_hold(&h->contention, now);
	return true;
}

/* Returns whether the poll is to end for the sake of others. */
static bool disturbed(struct catnap_halter *h, uint64_t now)
{
	return halter_contended(h, now) || pressed(h, now);
}

/* A halt under way. */
struct halt {
	uint64_t deadline, start, end; /* ticks; end: of the window */
	uint64_t polled, slept_from;   /* ticks; polled: without the gaps */
	uint64_t gaps;		       /* ticks within the present poll in which others ran */
	uint64_t reserved_ns;	       /* of the budget, for the present poll */
	uint64_t gave_way;	       /* ticks since the start; UINT64_MAX: it did not */
	uint32_t cpu_max;
	bool gives_way; /* to others that want the processor */
	bool cut;	/* the poll was ended for their sake */
	bool woken_polling;
	int *cause;
	struct halt_record r;
};

/* Reserves the time from @from to the end of the window. Returns false if the budget has not so
 * much. */
static bool take_budget(struct catnap_halter *h, struct halt *halt, uint64_t from)
{
	uint64_t ns;

	halt->reserved_ns = 0;
	if (!halt->cpu_max || halt->end == UINT64_MAX)
		return true;
	ns = clock_ticks_to_ns(&h->clock, halt->end - from);
	if (!budget_take(h->budget, clock_ticks_to_ns(&h->clock, clock_now(&h->clock)), ns,
			 halt->cpu_max))
		return false;
	halt->reserved_ns = ns;
	return true;
}

/* Wakes members of the group that have work, and counts them. */
static inline void scan_group(struct catnap_halter *h)
{
	unsigned int woken = group_scan(h->group, &h->wake);

	if (__builtin_expect(woken != 0, 0))
		stat_add(&h->stats.group_wakes, woken);
}

/*
 * Polls until the end of the window. Returns true if there was work before that, or the deadline
 * has passed. If others are to have the processor, the window ends at once. @group: watches its
 * members as well. *@now is the time at which it begins, and then the clock's last reading.
 *
 * A poll that is preempted does not poll meanwhile. So the time between two readings of the clock
 * that are further apart than a turn of the loop takes is no time polled, in the statistics and in
 * the budget. If it were, no budget could hold: a thread may be preempted just before the end of
 * its window.
 */
static inline bool poll_window(struct catnap_halter *h, struct halt *halt, struct wake_group *group,
			       uint64_t *now)
{
	/* The words of a group's members are on lines of their own. */
	const uint32_t spin =
		group ? CATNAP_SPIN_PAUSE : spin_choose(&h->spin, policy_spin(&h->policy));

	halt->gaps = 0;
	for (;;) {
		bool woken = halter_look(h, halt->cause) == LOOK_WOKEN;
		uint64_t last = *now;

		if (group && !woken)
			scan_group(h);
		*now = clock_now(&h->clock);
		if (__builtin_expect(*now - last >= h->contention.gap, 0))
			halt->gaps += *now - last;
		if (woken)
			return true;
		if (*now >= halt->deadline) {
			*halt->cause = CATNAP_CAUSE_TIMER;
			return true;
		}
		if (halt->gives_way && *now < halt->end && disturbed(h, *now)) {
			halt->cut = true;
			halt->gave_way = *now - halt->start;
			halt->end = *now;
		}
		if (*now >= halt->end)
			return false;
		spin_turn(&h->spin, spin, &h->wake.pending, *now,
			  halt->end < halt->deadline ? halt->end : halt->deadline);
	}
}

/* Sleeps for the rest of the halt. Returns 0 or a negative errno value. */
static int sleep_now(struct catnap_halter *h, struct halt *halt)
{
	halt->slept_from = clock_now(&h->clock) - halt->start;
	if (h->trace)
		halt_trace_idle(h->trace);
	if (h->before_sleep)
		h->before_sleep(h->ctx);
	return halter_sleep(h, halt->deadline, halt->cause, &halt->r.waited, halt->gives_way);
}

/* Adds the poll from @from to @now to the time polled. */
static void add_polled(struct halt *halt, uint64_t from, uint64_t now)
{
	halt->polled += now - from - halt->gaps;
}

/*
 * Settles a poll with the budget, whose window was to end at @end: what it has wasted is spent, at
 * the rate as it is now. It comes before the sleep, as only the time of the poll itself is
 * reserved. If the last look before the sleep finds work after all, the time has been spent all the
 * same.
 */
static void settle(struct catnap_halter *h, const struct halt *halt, uint64_t from, uint64_t end,
		   uint64_t now, bool wasted)
{
	uint32_t rate = policy_cpu_max(&h->policy);

	if (end == UINT64_MAX || (!rate && !halt->reserved_ns))
		return;
	budget_settle(h->budget, clock_ticks_to_ns(&h->clock, now), halt->reserved_ns,
		      wasted ? clock_ticks_to_ns(&h->clock, now - from - halt->gaps) : 0, rate);
}

/*
 * Polls as the poller of the group, until it has work of its own or the window ends. Then it goes
 * on to the end of the other members' windows: to wake one of them for that would cost more than it
 * saves, and there is still but one that polls. Returns whether it was woken.
 */
static bool poll_for_all(struct catnap_halter *h, struct halt *halt, uint64_t from)
{
	uint64_t now = from, begin = from, end = halt->end;
	bool woken;

	wake_set_awake(&h->wake, WAKE_POLLING);
	for (;;) {
		woken = poll_window(h, halt, h->group, &now);
		add_polled(halt, begin, now);
		/* A halt that has slept before counts as failed, whatever this one brought. */
		settle(h, halt, begin, end, now, !woken || halt->r.waited);
		if (woken || halt->cut)
			break;
		halt->end = group_wanted(h->group, &h->wake);
		if (halt->end <= now)
			break;
		if (!take_budget(h, halt, now))
			break;
		begin = now;
		end = halt->end;
	}
	halt->end = now; /* no further turn in this halt */
	if (group_end(h->group, &h->wake, woken,
		      clock_add(now, clock_ns_to_ticks(&h->clock, price_measured(&h->price)))))
		stat_add(&h->stats.handovers, 1);
	return woken;
}

/* Does the halt of a member of a group. Returns 0 or a negative errno value. */
static int halt_shared(struct catnap_halter *h, struct halt *halt)
{
	uint64_t now = halt->start;
	bool watched = false;
	int ret = 0;

	h->shares = true;
	for (;;) {
		if (halter_look(h, halt->cause) == LOOK_WOKEN) {
			halt->woken_polling = true;
			break;
		}
		if (now < halt->end && !group_polled(h->group)) {
			if (!take_budget(h, halt, now)) {
				halt->end = now;
			} else if (group_begin(h->group, &h->wake)) {
				relaxed_store(&h->wake.poll_end, 0);
				halt->r.attempted = true;
				halt->woken_polling = poll_for_all(h, halt, now);
				if (halt->woken_polling)
					break;
			} else if (halt->reserved_ns) {
				budget_settle(h->budget, 0, halt->reserved_ns, 0, 0);
			}
		}
		if (!watched && group_polled(h->group)) {
			watched = true;
			stat_add(&h->stats.watched, 1);
		}
		relaxed_store(&h->wake.poll_end, now < halt->end ? halt->end : 0);
		*halt->cause = CATNAP_CAUSE_OTHER;
		ret = sleep_now(h, halt);
		if (ret < 0 || *halt->cause != CAUSE_TURN)
			break;
		now = clock_now(&h->clock);
	}
	relaxed_store(&h->wake.poll_end, 0);
	h->shares = false;
	return ret;
}

/* Does the halt of an owner that is in no group. Returns 0 or a negative errno value. */
static int halt_alone(struct catnap_halter *h, struct halt *halt)
{
	uint64_t end = halt->end, now = halt->start;
	int ret = 0;

	if (end > halt->start && !take_budget(h, halt, halt->start))
		end = halt->end = halt->start;
	halt->r.attempted = end > halt->start;
	halt->woken_polling = poll_window(h, halt, NULL, &now);
	if (halt->r.attempted) {
		add_polled(halt, halt->start, now);
		settle(h, halt, halt->start, end, now, !halt->woken_polling);
	}
	if (!halt->woken_polling)
		ret = sleep_now(h, halt);
	return ret;
}

/*
 * Teaches policy adaptive the lesson of the halt before, when the next one begins and nobody waits.
 * Right after a sleep its tables are cold, and what it takes to bring them would delay the guest.
 */
static void learn(struct catnap_halter *h)
{
	if (!h->lesson.due)
		return;
	h->lesson.due = false;
	if (policy_is_adaptive(&h->policy))
		policy_end(&h->policy, &h->lesson.halt, h->lesson.arrival_ns, h->lesson.ipi);
}

/* Counts the halt, and teaches the policy, or keeps the lesson for later. */
static void account(struct catnap_halter *h, struct halt *halt, bool allowed)
{
	uint64_t ns = clock_ticks_to_ns(&h->clock, clock_now(&h->clock) - halt->start),
		 arrival = ns;
	struct halt_record *r = &halt->r;
	struct catnap_halt result = {.halt_ns = ns,
				     .waited = r->waited,
				     .valid = true,
				     .allowed = allowed,
				     .gave_way = halt->cut};

	if (r->waited && !halt->woken_polling && *halt->cause != CATNAP_CAUSE_TIMER)
		arrival = learn_price(h, halt->start,
				      clock_ticks_to_ns(&h->clock, halt->slept_from), ns);
	price_halted(&h->price, r->waited);
	if (policy_is_adaptive(&h->policy)) {
		h->lesson.halt = result;
		h->lesson.arrival_ns = arrival;
		h->lesson.ipi = *halt->cause == CATNAP_CAUSE_IPI;
		h->lesson.due = true;
		r->valid = !halt->cut;
	} else {
		policy_end(&h->policy, &result, arrival, false);
	}

	r->cause = *halt->cause;
	h->others_wait |= halt->gave_way != UINT64_MAX;
	if (halt->gave_way != UINT64_MAX)
		r->gave_way_ns = clock_ticks_to_ns(&h->clock, halt->gave_way);
	if (r->attempted)
		r->poll_ns = clock_ticks_to_ns(&h->clock, halt->polled);
	if (r->waited)
		r->wait_ns = ns - r->poll_ns;
	stats_count(&h->stats, r);
	if (h->trace)
		halt_trace_add(h->trace, ns, true, allowed, r->gave_way_ns);
}

/* Returns whether others leave a halt that begins to poll for @window_ns. */
static bool leave_to_poll(struct catnap_halter *h, uint64_t now, uint64_t window_ns)
{
	bool may = contention_may_poll(&h->contention, now);

	h->others_wait = !may;
	return !window_ns || (may && !pressed(h, now));
}

int halter_halt(struct catnap_halter *h, uint64_t deadline, int *cause)
{
	bool allowed = relaxed_load(&h->poll_allowed);
	struct policy_query query = {.allowed = allowed, .timer_ns = UINT64_MAX};
	struct halt halt = {.deadline = deadline,
			    .cause = cause,
			    .gave_way = UINT64_MAX,
			    .r = {.valid = true, .gave_way_ns = HALT_KEPT}};
	uint64_t now, window_ns;
	int ret;

	if (ring_unflushed(&h->ring)) {
		ret = ring_flush(&h->ring);
		if (ret < 0)
			return ret;
	}
	learn(h);
	query.inflight = h->ring.armed + h->ring.inflight;
	query.price_ns = price_estimate(&h->price);
	query.cpu_ns = price_cpu(&h->price);
	halt.start = now = clock_now(&h->clock);
	if (deadline != UINT64_MAX)
		query.timer_ns = deadline > now ? clock_ticks_to_ns(&h->clock, deadline - now) : 0;
	window_ns = policy_begin(&h->policy, &query);
	halt.gives_way = policy_gives_way(&h->policy);
	h->others_wait = false;
	if (halt.gives_way && !leave_to_poll(h, now, window_ns)) {
		halt.gave_way = 0;
		window_ns = 0;
	}
	halt.cpu_max = policy_cpu_max(&h->policy);
	halt.end = window_ns == CATNAP_WINDOW_FOREVER
			   ? UINT64_MAX
			   : clock_add(now, clock_ns_to_ticks(&h->clock, window_ns));

	wake_set_awake(&h->wake, WAKE_POLLING);
	if (h->group && policy_shares(&h->policy))
		ret = halt_shared(h, &halt);
	else
		ret = halt_alone(h, &halt);
	wake_set_awake(&h->wake, WAKE_VMM);
	if (h->error < 0) {
		ret = h->error;
		h->error = 0;
	}
	if (ret == 0)
		account(h, &halt, allowed);
	return ret;
}

int halter_park(struct catnap_halter *h)
{
	int cause, ret;
	bool waited = false;

	if (halter_look(h, &cause) == LOOK_WOKEN)
		return 0;
	ret = halter_sleep(h, UINT64_MAX, &cause, &waited, false);
	if (h->error < 0) {
		ret = h->error;
		h->error = 0;
	}
	return ret;
}
