/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poll, then sleep. The protocol is described in halter.h.
 *
 * A timed sleep ends late by what it costs to come back from it (the timer interrupt, the
 * scheduler). The halter learns that lateness and asks to be woken so much earlier, then looks at
 * the clock for the rest, in every policy: the kernel's in-kernel APIC timer has the same device,
 * lapic_timer_advance_ns. The lead follows the lower fifth of the latenesses (a step up when later,
 * four down when not): most sleeps then have nothing left to spin, and yet lose most of their
 * lateness. It is capped.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "poll/halter.h"

/*
 * By how much a sleep with a deadline ends early: it moves up where a sleep was later than that,
 * and else down, and so follows a quantile of the lateness. A lead that is too long is spun, one
 * that is too short makes the timer late. The lower fifth costs next to nothing; the median is
 * where a microsecond of either is worth the same.
 */
struct lead {
	uint32_t up_ns, down_ns, max_ns;
};

static const struct lead lower_fifth = {100, 400, 50000};
static const struct lead median = {250, 250, 100000};
static const struct lead upper_fifth = {400, 100, 100000};

static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

static long futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *deadline)
{
	return syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, deadline, NULL,
		       FUTEX_BITSET_MATCH_ANY);
}

/* All waiters: one of an earlier sleep may still be queued in the ring beside the one of this
 * sleep. */
static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

bool halter_wake_from(struct catnap_halter *h, uint32_t from)
{
	uint64_t sent;
	int fd;

	if (!atomic_compare_exchange_strong(&h->state, &from, HALTER_VMM))
		return false;
	sent = clock_now(&h->clock);
	atomic_store_explicit(&h->wake_sent, sent, memory_order_relaxed);
	/* Of the sleep that was just ended: before the exchange it might be an earlier one's. If
	 * the owner has moved on since, it is awake already. */
	fd = atomic_load_explicit(&h->wake_fd, memory_order_relaxed);
	if (fd >= 0) {
		int saved = errno; /* this may run in a signal handler */
		ssize_t n = write(fd, &(uint64_t){1}, sizeof(uint64_t));

		(void)n; /* EAGAIN: the counter is full, so the poll has fired already */
		errno = saved;
	} else {
		futex_wake(&h->state);
	}
	atomic_store_explicit(&h->wake_took, clock_now(&h->clock) - sent, memory_order_relaxed);
	return true;
}

void halter_wake_slow(struct catnap_halter *h, uint32_t state)
{
	if (state == HALTER_GUEST) {
		if (!atomic_compare_exchange_strong(&h->state, &state, HALTER_KICKED))
			return; /* left by itself, or somebody else kicks */
		atomic_fetch_add_explicit(&h->kicks_sent, 1, memory_order_relaxed);
		h->kick(h->ctx);
	} else if (halter_wake_from(h, state)) {
		atomic_fetch_add_explicit(&h->futex_wakes, 1, memory_order_relaxed);
	}
}

/* What a look at the work found. AGAIN: what is armed has changed; look again before sleeping. */
enum look { LOOK_NOTHING, LOOK_WOKEN, LOOK_AGAIN };

static int sync_sources(struct catnap_halter *h)
{
	atomic_fetch_and(&h->pending, ~HALTER_WORK_SOURCES);
	return ring_sync(&h->ring);
}

static enum look look_closer(struct catnap_halter *h, uint32_t bits, int *cause)
{
	if (bits & ~HALTER_WORK_SOURCES) {
		*cause = bits & CATNAP_WORK_IPI ? CATNAP_CAUSE_IPI : CATNAP_CAUSE_OTHER;
		return LOOK_WOKEN;
	}
	if (bits) {
		h->error = sync_sources(h);
		return h->error < 0 ? LOOK_WOKEN : LOOK_AGAIN;
	}
	if (ring_ready(&h->ring)) {
		uint64_t done = h->ring.completed;
		int n = ring_reap(&h->ring, h->on_eventfd, h->ctx);

		/* None: completions of the ring's own. They are no work, but one of them may have
		 * been the wake for work that came after the look at pending, and what the sleep
		 * had armed is gone. */
		if (n == 0)
			return LOOK_AGAIN;
		h->error = n < 0 ? n : 0;
		*cause = h->ring.completed != done ? CATNAP_CAUSE_IO : CATNAP_CAUSE_EVENTFD;
		return LOOK_WOKEN;
	}
	return LOOK_NOTHING;
}

/* One look: a word of memory, and the ring's completion queue if anything is armed there. */
static inline enum look look(struct catnap_halter *h, int *cause)
{
	uint32_t bits = atomic_load_explicit(&h->pending, memory_order_relaxed);

	if (__builtin_expect(!bits && !ring_active(&h->ring), 1))
		return LOOK_NOTHING;
	return look_closer(h, bits, cause);
}

static const struct lead *lead_of(const struct catnap_halter *h)
{
	if (!policy_is_adaptive(&h->policy))
		return &lower_fifth;
	switch (policy_bias(&h->policy)) {
	case CATNAP_BIAS_LATENCY:
		return &upper_fifth;
	case CATNAP_BIAS_POWER:
		return &lower_fifth;
	default:
		return &median;
	}
}

static void learn_lead(struct catnap_halter *h, uint64_t late)
{
	const struct lead *lead = lead_of(h);
	uint64_t up = clock_ns_to_ticks(&h->clock, lead->up_ns);
	uint64_t down = clock_ns_to_ticks(&h->clock, lead->down_ns);
	uint64_t max = clock_ns_to_ticks(&h->clock, lead->max_ns);

	if (late > h->wake_lead)
		h->wake_lead = h->wake_lead + up > max ? max : h->wake_lead + up;
	else
		h->wake_lead = h->wake_lead < down ? 0 : h->wake_lead - down;
}

/* One system call's worth of sleep, @ns at most (UINT64_MAX: no limit). @state was published.
 * 0 or -errno; -ETIMEDOUT: the time is over. */
static int sleep_unmeasured(struct catnap_halter *h, uint32_t state, uint64_t ns)
{
	struct timespec ts, *deadline = NULL;

	if (ring_active(&h->ring)) {
		int ret = ring_sleep(&h->ring, &h->state, state, ns);

		return ret == -ETIME ? -ETIMEDOUT : ret;
	}
	if (ns != UINT64_MAX) {
		uint64_t abs = clock_monotonic_ns();

		abs = ns > INT64_MAX - abs ? INT64_MAX : abs + ns;
		ts.tv_sec = (time_t)(abs / 1000000000u);
		ts.tv_nsec = (long)(abs % 1000000000u);
		deadline = &ts;
	}
	return futex_wait(&h->state, state, deadline) == 0 ? 0 : -errno;
}

/* The same, and now and then what it takes is measured. */
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

/* Publishes how it sleeps. */
static uint32_t publish_sleep(struct catnap_halter *h)
{
	if (h->shares && group_polled(h->group)) {
		atomic_exchange(&h->state, HALTER_WATCHED);
		if (group_polled(h->group)) /* if it leaves from here on, it will see us */
			return HALTER_WATCHED;
	}
	atomic_exchange(&h->state, HALTER_SLEEPING);
	return HALTER_SLEEPING;
}

/* The sleep is over with no work: it is this one's turn to poll. */
#define CAUSE_TURN (-1)

/* Would this halt still poll, and does nobody? */
static bool is_turn(struct catnap_halter *h)
{
	uint64_t end;

	if (!h->shares || group_polled(h->group))
		return false;
	end = atomic_load_explicit(&h->poll_end, memory_order_relaxed);
	return end && clock_now(&h->clock) < end;
}

/* Publishes SLEEPING or WATCHED, looks once more, sleeps, and is awake again. */
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
	atomic_store_explicit(&h->wake_fd, fd, memory_order_relaxed);
	state = publish_sleep(h);
	*found = look(h, cause);
	if (*found == LOOK_NOTHING && is_turn(h))
		*found = LOOK_AGAIN; /* the poller has left just now */
	if (*found == LOOK_NOTHING)
		ret = sleep_once(h, state, ns);
	atomic_exchange(&h->state, HALTER_VMM);
	return ret;
}

/* Do others want this processor? */
static bool contended(struct catnap_halter *h, uint64_t now)
{
	if (!contention_look(&h->contention, &h->clock, now))
		return false;
	stat_add(&h->stats.contended, 1);
	return true;
}

/* Looks at the neighbours while the lead is spun, which has *@begun or begins now. */
static bool wanted_by_others(struct catnap_halter *h, uint64_t now, bool *begun)
{
	if (*begun)
		return contended(h, now);
	*begun = true;
	return !contention_may_poll(&h->contention, now);
}

/* By how much a sleep until @deadline ends early: not at all if the rest would not be spun. */
static uint64_t lead_before(const struct catnap_halter *h, uint64_t deadline, bool watch)
{
	if (deadline == UINT64_MAX)
		return 0;
	if (watch && contention_paused(&h->contention, clock_now(&h->clock)))
		return 0;
	return h->wake_lead;
}

/*
 * Sleeps until there is work or the deadline, or it is this one's turn to poll (CAUSE_TURN).
 * *waited: whether it really slept (a wake-up that is found at the last look has not). @watch: the
 * lead is not spun if others want the processor.
 */
static int sleep_until(struct catnap_halter *h, uint64_t deadline, int *cause, bool *waited,
		       bool watch)
{
	uint64_t until = deadline, asked = 0, lead = lead_before(h, deadline, watch);
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
			if (watch && lead && wanted_by_others(h, now, &spins))
				lead = 0;
			cpu_relax();
		} else {
			asked = until;
			ret = sleep_or_not(h, ns, cause, &found);
			if (found == LOOK_NOTHING && ret != -EAGAIN)
				*waited = true;
			if (ret == -ETIMEDOUT) {
				now = clock_now(&h->clock);
				learn_lead(h, now > asked ? now - asked : 0);
				price_add(&h->price,
					  clock_ticks_to_ns(&h->clock,
							    now > asked ? now - asked : 0),
					  true);
			} else if (ret < 0 && ret != -EAGAIN && ret != -EINTR) {
				return ret;
			}
		}
		if (found == LOOK_WOKEN || look(h, cause) == LOOK_WOKEN)
			return 0;
		if (is_turn(h)) {
			*cause = CAUSE_TURN;
			return 0;
		}
	}
}

/* The halt began at @start, was slept through from @poll_ns on, and a wake-up ended it @halt_ns
 * after its begin: when was that sent? What the sleep has cost is learned, if it is known. */
static uint64_t learn_price(struct catnap_halter *h, uint64_t start, uint64_t poll_ns,
			    uint64_t halt_ns)
{
	uint64_t sent = atomic_load_explicit(&h->wake_sent, memory_order_relaxed), arrival;
	uint64_t took = atomic_load_explicit(&h->wake_took, memory_order_relaxed);
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

/* Is the processor's time so short that others should have it? */
static bool pressed(struct catnap_halter *h, uint64_t now)
{
	enum pressure_sign sign = PRESSURE_NONE;

	if (h->pressure)
		sign = pressure_look(h->pressure, &h->clock, now);
	if (__builtin_expect(sign == PRESSURE_NONE, 1))
		return false;
	stat_add(sign == PRESSURE_THROTTLED ? &h->stats.throttled : &h->stats.pressure, 1);
	contention_hold(&h->contention, now);
	return true;
}

/* A look at the neighbours while polling. True: stop. */
static bool disturbed(struct catnap_halter *h, uint64_t now)
{
	return contended(h, now) || pressed(h, now);
}

/* A halt under way. */
struct halt {
	uint64_t deadline, start, end; /* ticks; end: of the window */
	uint64_t polled, slept_from;   /* ticks; polled: without the gaps */
	uint64_t gaps;		       /* ticks within the present poll in which others ran */
	uint64_t reserved_ns;	       /* of the budget, for the present poll */
	uint64_t gave_way;	       /* ticks since the start; UINT64_MAX: it did not */
	uint32_t cpu_max;
	bool watch; /* for others that want the processor */
	bool cut;   /* the poll was ended for their sake */
	bool woken_polling;
	int *cause;
	struct halt_record r;
};

/* The budget for polling from @from to the end of the window. False: there is not enough. */
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

static inline void look_for_others(struct catnap_halter *h)
{
	unsigned int woken = group_look(h->group, h);

	if (__builtin_expect(woken != 0, 0))
		stat_add(&h->stats.group_wakes, woken);
}

/*
 * Polls until there is work or the deadline (true), or until the end of the window (false), which
 * is now if others are to have the processor. @group: looks at their words, too. *@now: when it
 * begins, and then the time of the last look at the clock.
 *
 * A poll that is preempted does not poll meanwhile: what lies between two looks at the clock that
 * are further apart than any look takes is no time polled, in the statistics and in the budget. If
 * it were, no budget could hold: a thread may be preempted just before the end of its window.
 */
static inline bool poll_window(struct catnap_halter *h, struct halt *halt,
			       struct halter_group *group, uint64_t *now)
{
	halt->gaps = 0;
	for (;;) {
		bool woken = look(h, halt->cause) == LOOK_WOKEN;
		uint64_t last = *now;

		if (group && !woken)
			look_for_others(h);
		*now = clock_now(&h->clock);
		if (__builtin_expect(*now - last >= h->contention.gap, 0))
			halt->gaps += *now - last;
		if (woken)
			return true;
		if (*now >= halt->deadline) {
			*halt->cause = CATNAP_CAUSE_TIMER;
			return true;
		}
		if (halt->watch && *now < halt->end && disturbed(h, *now)) {
			halt->cut = true;
			halt->gave_way = *now - halt->start;
			halt->end = *now;
		}
		if (*now >= halt->end)
			return false;
		cpu_relax();
	}
}

static int sleep_now(struct catnap_halter *h, struct halt *halt)
{
	halt->slept_from = clock_now(&h->clock) - halt->start;
	if (h->trace)
		halt_trace_idle(h->trace);
	if (h->before_sleep)
		h->before_sleep(h->ctx);
	return sleep_until(h, halt->deadline, halt->cause, &halt->r.waited, halt->watch);
}

/* Time polled, with what the poll that has begun at @from was by @now. */
static void add_polled(struct halt *halt, uint64_t from, uint64_t now)
{
	halt->polled += now - from - halt->gaps;
}

/*
 * A poll has ended, whose window was to end at @end: what it has wasted is spent from the budget,
 * at the rate as it is now. Before the sleep: only the time of the poll itself is reserved. (If
 * there is work after all at the last look before the sleep, it has been spent all the same.)
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
 * This one polls for all, until it has work of its own; to the end of its window, and then on to
 * that of the others': to wake one of them for that would cost more than it saves, and there is
 * still but one who polls. True: woken.
 */
static bool poll_for_all(struct catnap_halter *h, struct halt *halt, uint64_t from)
{
	uint64_t now = from, begin = from, end = halt->end;
	bool woken;

	atomic_store_explicit(&h->state, HALTER_POLLING, memory_order_relaxed);
	for (;;) {
		woken = poll_window(h, halt, h->group, &now);
		add_polled(halt, begin, now);
		/* A halt that has slept before counts as failed, whatever this one brought. */
		settle(h, halt, begin, end, now, !woken || halt->r.waited);
		if (woken || halt->cut)
			break;
		halt->end = group_wanted(h->group, h);
		if (halt->end <= now)
			break;
		if (!take_budget(h, halt, now))
			break;
		begin = now;
		end = halt->end;
	}
	halt->end = now; /* no further turn in this halt */
	if (group_leave(h->group, h, woken,
			clock_add(now, clock_ns_to_ticks(&h->clock, price_get(&h->price)))))
		stat_add(&h->stats.handovers, 1);
	return woken;
}

/* The halt of a member of a group. 0 or -errno. */
static int halt_shared(struct catnap_halter *h, struct halt *halt)
{
	uint64_t now = halt->start;
	bool watched = false;
	int ret = 0;

	h->shares = true;
	for (;;) {
		if (look(h, halt->cause) == LOOK_WOKEN) {
			halt->woken_polling = true;
			break;
		}
		if (now < halt->end && !group_polled(h->group)) {
			if (!take_budget(h, halt, now)) {
				halt->end = now;
			} else if (group_lead(h->group, h)) {
				atomic_store_explicit(&h->poll_end, 0, memory_order_relaxed);
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
		atomic_store_explicit(&h->poll_end, now < halt->end ? halt->end : 0,
				      memory_order_relaxed);
		*halt->cause = CATNAP_CAUSE_OTHER;
		ret = sleep_now(h, halt);
		if (ret < 0 || *halt->cause != CAUSE_TURN)
			break;
		now = clock_now(&h->clock);
	}
	atomic_store_explicit(&h->poll_end, 0, memory_order_relaxed);
	h->shares = false;
	return ret;
}

/* The halt of one that is alone. 0 or -errno. */
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
 * What adaptive learns from a halt it learns when the next one begins: then nobody waits. Right
 * after a sleep its tables are cold, and what it takes to bring them would delay the guest.
 */
static void learn(struct catnap_halter *h)
{
	if (!h->lesson.due)
		return;
	h->lesson.due = false;
	if (policy_is_adaptive(&h->policy))
		policy_end(&h->policy, &h->lesson.halt, h->lesson.arrival_ns, h->lesson.ipi);
}

/* The policy learns from the halt, or is going to, and it is counted. */
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

/* A halt begins that would poll for @window_ns: may it, as far as others go? */
static bool leave_to_poll(struct catnap_halter *h, uint64_t now, uint64_t window_ns)
{
	bool may = contention_may_poll(&h->contention, now);

	return !window_ns || (may && !pressed(h, now));
}

int halter_halt(struct catnap_halter *h, uint64_t deadline, int *cause)
{
	bool allowed = atomic_load_explicit(&h->poll_allowed, memory_order_relaxed);
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
	query.price_ns = price_believed(&h->price);
	query.cpu_ns = price_cpu(&h->price);
	halt.start = now = clock_now(&h->clock);
	if (deadline != UINT64_MAX)
		query.timer_ns = deadline > now ? clock_ticks_to_ns(&h->clock, deadline - now) : 0;
	window_ns = policy_begin(&h->policy, &query);
	halt.watch = policy_gives_way(&h->policy);
	if (halt.watch && !leave_to_poll(h, now, window_ns)) {
		halt.gave_way = 0;
		window_ns = 0;
	}
	halt.cpu_max = policy_cpu_max(&h->policy);
	halt.end = window_ns == CATNAP_WINDOW_FOREVER
			   ? UINT64_MAX
			   : clock_add(now, clock_ns_to_ticks(&h->clock, window_ns));

	/* POLLING needs no fence: for a waker it is the same as VMM, the owner will look. */
	atomic_store_explicit(&h->state, HALTER_POLLING, memory_order_relaxed);
	if (h->group && policy_shares(&h->policy))
		ret = halt_shared(h, &halt);
	else
		ret = halt_alone(h, &halt);
	atomic_store_explicit(&h->state, HALTER_VMM, memory_order_relaxed);
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

	if (look(h, &cause) == LOOK_WOKEN)
		return 0;
	ret = sleep_until(h, UINT64_MAX, &cause, &waited, false);
	if (h->error < 0) {
		ret = h->error;
		h->error = 0;
	}
	return ret;
}

int halter_sync(struct catnap_halter *h)
{
	if (atomic_load_explicit(&h->pending, memory_order_relaxed) & HALTER_WORK_SOURCES)
		return sync_sources(h);
	return 0;
}

int halter_reap(struct catnap_halter *h)
{
	int ret = halter_sync(h);

	if (ret < 0)
		return ret;
	ret = ring_flush(&h->ring);
	if (ret < 0 || !ring_ready(&h->ring))
		return ret;
	return ring_reap(&h->ring, h->on_eventfd, h->ctx);
}

int halter_watch(struct catnap_halter *h, int fd, uint32_t events, struct ring_watch *watch)
{
	int ret = ring_add_watch(&h->ring, fd, events, watch);

	if (ret == 0)
		halter_wake(h, HALTER_WORK_SOURCES);
	return ret;
}

int halter_unwatch(struct catnap_halter *h, int fd, const struct ring_watch *watch)
{
	int ret = ring_del_watch(&h->ring, fd, watch);

	if (ret == 0)
		halter_wake(h, HALTER_WORK_SOURCES);
	return ret;
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
	return ret < 0 ? ret : 0;
}

/* -- tasks ------------------------------------------------------------------------------------ */

void halter_post(struct catnap_halter *h, struct halter_task *task)
{
	struct halter_task *head;

	/* If it is posted already, this exchange comes before the one with which it stops being so,
	 * and what was written before it is seen by the run that follows. */
	if (atomic_exchange(&task->posted, true))
		return;
	head = atomic_load_explicit(&h->tasks, memory_order_relaxed);
	do {
		task->next = head;
	} while (!atomic_compare_exchange_weak(&h->tasks, &head, task));
	halter_wake(h, HALTER_WORK_TASKS);
}

void halter_run_tasks(struct catnap_halter *h)
{
	struct halter_task *task = atomic_exchange(&h->tasks, NULL), *list = NULL;

	while (task) {
		struct halter_task *next = task->next;

		task->next = list;
		list = task;
		task = next;
	}
	while (list) {
		task = list;
		list = task->next; /* it may be posted again from here on */
		atomic_exchange(&task->posted, false);
		task->run(task);
	}
}

static _Thread_local struct catnap_halter *self;

struct catnap_halter *halter_self(void)
{
	return self;
}

void halter_set_self(struct catnap_halter *h)
{
	self = h;
}

int halter_init(struct catnap_halter *h, const struct catnap_halter_config *cfg,
		const struct clock *clock)
{
	int ret = catnap_halt_poll_check(&cfg->halt_poll);

	if (ret < 0)
		return ret;
	memset(h, 0, sizeof(*h));
	ret = ring_init(&h->ring, cfg->flags & CATNAP_HALTER_NO_RING_FUTEX,
			cfg->flags & CATNAP_HALTER_NO_RING);
	if (ret < 0)
		return ret;
	h->clock = *clock;
	contention_init(&h->contention, clock);
	h->budget = &h->own_budget;
	h->kick = cfg->kick;
	h->on_eventfd = cfg->on_eventfd;
	h->ctx = cfg->ctx;
	h->flags = cfg->flags;
	atomic_init(&h->state, HALTER_VMM);
	atomic_init(&h->wake_fd, -1);
	atomic_init(&h->poll_allowed, 1);
	policy_init(&h->policy, &cfg->halt_poll);
	return 0;
}

void halter_fini(struct catnap_halter *h)
{
	ring_fini(&h->ring);
	halt_trace_destroy(&h->trace);
}

int halter_get_stats(struct catnap_halter *h, struct catnap_halt_stats *stats)
{
	struct catnap_halt_stats s = {.size = sizeof(s)};
	uint32_t size = stats->size;

	if (size < offsetof(struct catnap_halt_stats, halt_exits))
		return -EINVAL;
	stats_read(&h->stats, &s);
	s.policy = atomic_load_explicit(&h->policy.params.kind, memory_order_relaxed);
	s.kicks_sent = atomic_load_explicit(&h->kicks_sent, memory_order_relaxed);
	s.kicks_saved = atomic_load_explicit(&h->kicks_saved, memory_order_relaxed);
	s.futex_wakes = atomic_load_explicit(&h->futex_wakes, memory_order_relaxed);
	s.window_ns = policy_window(&h->policy);
	s.price_ns = price_get(&h->price);
	s.poll_allowed = atomic_load_explicit(&h->poll_allowed, memory_order_relaxed);
	if (size > sizeof(s))
		size = sizeof(s);
	s.size = size;
	memcpy(stats, &s, size);
	return 0;
}

int halter_get_policy_stats(struct catnap_halter *h, struct catnap_policy_stats *stats)
{
	int ret = policy_get_stats(&h->policy, stats);

	if (ret < 0)
		return ret;
	stats->price_ns = price_get(&h->price);
	if (stats->size > offsetof(struct catnap_policy_stats, cpu_ns))
		stats->cpu_ns = price_cpu(&h->price);
	return 0;
}
