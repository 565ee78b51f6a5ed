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

#define LEAD_MAX_NS  50000
#define LEAD_UP_NS   100
#define LEAD_DOWN_NS 400

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

void halter_wake_slow(struct catnap_halter *h, uint32_t state)
{
	if (state == HALTER_GUEST) {
		if (!atomic_compare_exchange_strong(&h->state, &state, HALTER_KICKED))
			return; /* left by itself, or somebody else kicks */
		atomic_fetch_add_explicit(&h->kicks_sent, 1, memory_order_relaxed);
		h->kick(h->ctx);
	} else {
		int fd;

		if (!atomic_compare_exchange_strong(&h->state, &state, HALTER_VMM))
			return;
		atomic_store_explicit(&h->wake_sent, clock_now(&h->clock), memory_order_relaxed);
		/* Of the sleep that was just ended: before the exchange it might be an earlier
		 * one's. If the owner has moved on since, it is awake already. */
		fd = atomic_load_explicit(&h->wake_fd, memory_order_relaxed);
		atomic_fetch_add_explicit(&h->futex_wakes, 1, memory_order_relaxed);
		if (fd >= 0) {
			int saved = errno; /* this may run in a signal handler */
			ssize_t n = write(fd, &(uint64_t){1}, sizeof(uint64_t));

			(void)n; /* EAGAIN: the counter is full, so the poll has fired already */
			errno = saved;
		} else {
			futex_wake(&h->state);
		}
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

static void learn_lead(struct catnap_halter *h, uint64_t late)
{
	uint64_t up = clock_ns_to_ticks(&h->clock, LEAD_UP_NS);
	uint64_t down = clock_ns_to_ticks(&h->clock, LEAD_DOWN_NS);
	uint64_t max = clock_ns_to_ticks(&h->clock, LEAD_MAX_NS);

	if (late > h->wake_lead)
		h->wake_lead = h->wake_lead + up > max ? max : h->wake_lead + up;
	else
		h->wake_lead = h->wake_lead < down ? 0 : h->wake_lead - down;
}

/* One system call's worth of sleep, @ns at most (UINT64_MAX: no limit). State is SLEEPING.
 * 0 or -errno; -ETIMEDOUT: the time is over. */
static int sleep_once(struct catnap_halter *h, uint64_t ns)
{
	struct timespec ts, *deadline = NULL;

	if (ring_active(&h->ring)) {
		int ret = ring_sleep(&h->ring, &h->state, HALTER_SLEEPING, ns);

		return ret == -ETIME ? -ETIMEDOUT : ret;
	}
	if (ns != UINT64_MAX) {
		uint64_t abs = clock_monotonic_ns();

		abs = ns > INT64_MAX - abs ? INT64_MAX : abs + ns;
		ts.tv_sec = (time_t)(abs / 1000000000u);
		ts.tv_nsec = (long)(abs % 1000000000u);
		deadline = &ts;
	}
	return futex_wait(&h->state, HALTER_SLEEPING, deadline) == 0 ? 0 : -errno;
}

/* Publishes SLEEPING, looks once more, sleeps, and is awake again. */
static int sleep_or_not(struct catnap_halter *h, uint64_t ns, int *cause, enum look *found)
{
	int ret = 0, fd = -1;

	if (ring_active(&h->ring)) {
		ret = ring_prepare_sleep(&h->ring);
		if (ret < 0)
			return ret;
		fd = h->ring.wake_fd;
	}
	atomic_store_explicit(&h->wake_fd, fd, memory_order_relaxed);
	atomic_exchange(&h->state, HALTER_SLEEPING);
	*found = look(h, cause);
	if (*found == LOOK_NOTHING)
		ret = sleep_once(h, ns);
	atomic_exchange(&h->state, HALTER_VMM);
	return ret;
}

/*
 * Sleeps until there is work or the deadline. *waited: whether it really slept (a wake-up that is
 * found at the last look has not).
 */
static int sleep_until(struct catnap_halter *h, uint64_t deadline, int *cause, bool *waited)
{
	uint64_t until = deadline, asked = 0;

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
			until = deadline - now > h->wake_lead ? deadline - h->wake_lead : now;
			ns = clock_ticks_to_ns(&h->clock, until - now);
		}
		if (ns == 0) { /* the lead: the rest of the way is spun */
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
	}
}

/* The halt began at @start, was slept through from @poll_ns on, and a wake-up ended it @halt_ns
 * after its begin: when was that sent? What the sleep has cost is learned, if it is known. */
static uint64_t learn_price(struct catnap_halter *h, uint64_t start, uint64_t poll_ns,
			    uint64_t halt_ns)
{
	uint64_t sent = atomic_load_explicit(&h->wake_sent, memory_order_relaxed), arrival;
	bool known;

	arrival = price_arrival(
		&h->price, poll_ns, halt_ns,
		sent > start ? (int64_t)clock_ticks_to_ns(&h->clock, sent - start) : -1, &known);
	if (known)
		price_add(&h->price, halt_ns - arrival, false);
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
	return true;
}

/* A look at the neighbours while polling. True: stop. */
static bool disturbed(struct catnap_halter *h, uint64_t now)
{
	if (contention_look(&h->contention, &h->clock, now)) {
		stat_add(&h->stats.contended, 1);
		return true;
	}
	return pressed(h, now);
}

int halter_halt(struct catnap_halter *h, uint64_t deadline, int *cause)
{
	bool allowed = atomic_load_explicit(&h->poll_allowed, memory_order_relaxed);
	struct policy_query query = {.allowed = allowed, .timer_ns = UINT64_MAX};
	struct halt_record r = {.valid = true};
	struct catnap_halt halt;
	bool watch;
	uint32_t cpu_max;
	uint64_t start, now, window_ns, window, end, arrival_ns;
	int ret = 0;

	if (ring_unflushed(&h->ring)) {
		ret = ring_flush(&h->ring);
		if (ret < 0)
			return ret;
	}
	query.inflight = h->ring.armed + h->ring.inflight;
	query.price_ns = price_get(&h->price);
	start = now = clock_now(&h->clock);
	if (deadline != UINT64_MAX)
		query.timer_ns = deadline > now ? clock_ticks_to_ns(&h->clock, deadline - now) : 0;
	window_ns = policy_begin(&h->policy, &query);
	/* The other policies do as they are told. */
	watch = policy_is_adaptive(&h->policy);
	if (watch && (!contention_may_poll(&h->contention, now) || (window_ns && pressed(h, now))))
		window_ns = 0;
	cpu_max = window_ns && window_ns != CATNAP_WINDOW_FOREVER ? policy_cpu_max(&h->policy) : 0;
	if (cpu_max &&
	    !budget_take(h->budget, clock_ticks_to_ns(&h->clock, now), window_ns, cpu_max))
		window_ns = cpu_max = 0;
	r.attempted = window_ns != 0;

	/* POLLING needs no fence: for a waker it is the same as VMM, the owner will look. */
	atomic_store_explicit(&h->state, HALTER_POLLING, memory_order_relaxed);
	window = window_ns == CATNAP_WINDOW_FOREVER ? UINT64_MAX
						    : clock_ns_to_ticks(&h->clock, window_ns);
	end = clock_add(start, window);
	for (;;) {
		if (look(h, cause) == LOOK_WOKEN)
			break;
		now = clock_now(&h->clock);
		if (now >= deadline) {
			*cause = CATNAP_CAUSE_TIMER;
			break;
		}
		if (watch && now < end && disturbed(h, now)) {
			r.valid = false;
			end = now;
		}
		if (now >= end) {
			r.poll_ns = clock_ticks_to_ns(&h->clock, now - start);
			if (h->trace)
				halt_trace_idle(h->trace);
			if (h->before_sleep)
				h->before_sleep(h->ctx);
			ret = sleep_until(h, deadline, cause, &r.waited);
			break;
		}
		cpu_relax();
	}
	atomic_store_explicit(&h->state, HALTER_VMM, memory_order_relaxed);
	if (cpu_max && !r.waited)
		budget_give_back(h->budget, window_ns, cpu_max);
	else if (cpu_max && r.poll_ns < window_ns)
		budget_give_back(h->budget, window_ns - r.poll_ns, cpu_max);
	if (h->error < 0) {
		ret = h->error;
		h->error = 0;
	}
	if (ret < 0)
		return ret;

	now = clock_now(&h->clock);
	halt.halt_ns = clock_ticks_to_ns(&h->clock, now - start);
	halt.waited = r.waited;
	halt.valid = r.valid;
	halt.allowed = allowed;
	arrival_ns = halt.halt_ns;
	if (r.waited && *cause != CATNAP_CAUSE_TIMER)
		arrival_ns = learn_price(h, start, r.poll_ns, halt.halt_ns);
	policy_end(&h->policy, &halt, arrival_ns);

	r.cause = *cause;
	if (!r.attempted)
		r.poll_ns = 0;
	else if (!r.waited)
		r.poll_ns = halt.halt_ns;
	if (r.waited)
		r.wait_ns = halt.halt_ns - r.poll_ns;
	stats_count(&h->stats, &r);
	if (h->trace)
		halt_trace_add(h->trace, halt.halt_ns, halt.valid, allowed);
	return 0;
}

int halter_park(struct catnap_halter *h)
{
	int cause, ret;
	bool waited = false;

	if (look(h, &cause) == LOOK_WOKEN)
		return 0;
	ret = sleep_until(h, UINT64_MAX, &cause, &waited);
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

int halter_drain(struct catnap_halter *h)
{
	int ret = 0;

	while (h->ring.inflight && ret >= 0) {
		ret = ring_wait(&h->ring);
		if (ret == 0)
			ret = ring_reap(&h->ring, h->on_eventfd, h->ctx);
	}
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
	ret = ring_init(&h->ring, cfg->flags & CATNAP_HALTER_NO_RING_FUTEX);
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

	if (ret == 0)
		stats->price_ns = price_get(&h->price);
	return ret;
}
