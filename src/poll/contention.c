/* SPDX-License-Identifier: Apache-2.0 */
/* Noticing that the host has other work for this processor; see contention.h. */
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "poll/contention.h"

/* Longer than interrupts and most exits of an outer hypervisor, much shorter than a time slice. */
#define GAP_NS	     20000
#define OFFER_NS     4000000
#define PAUSE_MIN_NS 1000000
#define PAUSE_MAX_NS 1000000000
#define PAUSE_GROWS  4
/* Others may take so much at a time, and 1/16 of the time in the long run, before there is a pause.
 * The threads of the kernel that every host has stay far below that: they take some 50 us each,
 * some ten times a second. A task that computes takes its slice, which is longer. */
#define TAKEN_MAX_NS 500000
#define TAKEN_SHARE  16
/* After polls for as long as so many pauses and offers, none of them cut short, the pause is
 * halved. (An offer is not always taken: the scheduler may tell a task that has had less than its
 * share to go on.) */
#define CALM_PAUSES 4
#define CALM_OFFERS 8
/* So often a thread of a real-time class asks whether it is still in it: a system call. */
#define REALTIME_EVERY_NS 100000000

static long involuntary_switches(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

/* Returns whether this thread is in a class before which those in the ordinary class wait in
 * vain. */
static bool realtime(void)
{
	int class = sched_getscheduler(0);

	if (class < 0)
		return false;
	class &= ~SCHED_RESET_ON_FORK;
	return class == SCHED_FIFO || class == SCHED_RR || class == SCHED_DEADLINE;
}

void contention_init(struct contention *c, const struct clock *clock)
{
	memset(c, 0, sizeof(*c));
	c->switches = -1;
	c->gap = clock_ns_to_ticks(clock, GAP_NS);
	c->every = clock_ns_to_ticks(clock, OFFER_NS);
	c->pause_min = clock_ns_to_ticks(clock, PAUSE_MIN_NS);
	c->pause_max = clock_ns_to_ticks(clock, PAUSE_MAX_NS);
	c->taken_max = clock_ns_to_ticks(clock, TAKEN_MAX_NS);
	c->realtime_every = clock_ns_to_ticks(clock, REALTIME_EVERY_NS);
}

void contention_pause(struct contention *c, uint64_t now)
{
	uint64_t calm = now > c->resume ? now - c->resume : 0;

	while (c->pause) {
		uint64_t enough = CALM_PAUSES * c->pause;

		if (enough < CALM_OFFERS * c->every)
			enough = CALM_OFFERS * c->every;
		if (calm < enough)
			break;
		calm -= enough;
		c->pause = c->pause > c->pause_min ? c->pause / 2 : 0;
	}
	c->pause = c->pause ? c->pause * PAUSE_GROWS : c->pause_min;
	if (c->pause > c->pause_max)
		c->pause = c->pause_max;
	c->resume = now + c->pause;
	c->next_offer = c->resume; /* are they still there? */
}

void contention_hold(struct contention *c, uint64_t now)
{
	if (c->resume < now)
		c->resume = now;
}

void contention_taken(struct contention *c, uint64_t now, uint64_t ticks)
{
	uint64_t paid = (now - c->taken_at) / TAKEN_SHARE;

	c->taken = (c->taken > paid ? c->taken - paid : 0) + ticks;
	c->taken_at = now;
	if (c->taken < c->taken_max)
		return;
	c->taken = 0;
	contention_pause(c, now);
}

bool contention_ask_slow(struct contention *c, const struct clock *clock, uint64_t now,
			 uint64_t gap)
{
	long switches = involuntary_switches();
	/* Those since the last count include the guest's running: so a gap alone (an interrupt, an
	 * outer hypervisor) is not enough, and neither is a switch alone. */
	bool taken = gap >= c->gap && c->switches >= 0 && switches != c->switches;

	if (now >= c->next_offer && realtime()) {
		contention_hold(c, now + c->realtime_every);
		c->next_offer = c->resume;
		c->switches = switches;
		return true;
	}
	if (!taken && now >= c->next_offer) {
		uint64_t before = clock_now(clock);
		long then = switches;

		sched_yield();
		now = clock_now(clock);
		switches = involuntary_switches();
		gap = now - before;
		taken = gap >= c->gap && switches != then;
		c->last = now;
		c->next_offer = now + c->every;
	}
	c->switches = switches;
	if (taken)
		contention_taken(c, now, gap);
	return taken;
}
