/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel timer for the APIC timer. It is needed only while the guest runs with interrupts enabled
 * and a deadline ahead. While the guest is halted, the poll loop and the sleep keep the time. With
 * interrupts disabled the guest could not take the interrupt; see vcpu_arm_timer_off(). A halt
 * that goes to sleep cancels the timer: its signal would cost an extra wake-up and come in the way
 * of the real one. A halt that only polls leaves it alone.
 *
 * A timer takes one of the signals that a user may have pending. One is reserved when the VM is
 * made, which is the time to fail. The thread makes the timer anew, because the timer names the
 * thread.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "relaxed.h"
#include "vcpu/vcpu.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

int vcpu_reserve_timer(struct vcpu *v, struct error *err)
{
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};

	if (timer_create(CLOCK_MONOTONIC, &ev, &v->timer) < 0) {
		int ret = -errno;

		return error_fail(
			err, ret, "the timer of vCPU %u: %s%s", v->id, strerror(-ret),
			ret == -EAGAIN ? ": expected a limit of pending signals (ulimit -i) that "
					 "leaves one for each vCPU"
				       : "");
	}
	v->timer_made = true;
	return 0;
}

int vcpu_make_timer(struct vcpu *v)
{
	struct sigevent ev;

	vcpu_fini_timer(v);
	memset(&ev, 0, sizeof(ev));
	ev.sigev_notify = SIGEV_THREAD_ID;
	ev.sigev_signo = v->host->kick_signal;
	ev.sigev_notify_thread_id = relaxed_load(&v->tid);
	if (timer_create(CLOCK_MONOTONIC, &ev, &v->timer) < 0)
		return -errno;
	v->timer_made = true;
	return 0;
}

uint64_t vcpu_run_timer(struct vcpu *v)
{
	uint64_t now = clock_now(v->host->clock);

	if (now >= lapic_deadline(&v->lapic))
		lapic_timer_run(&v->lapic, now);
	return now;
}

/*
 * Returns whether the timer is set for @deadline or earlier. Its signal alone tells that it has
 * fired: it runs on CLOCK_MONOTONIC, which may be slewed against the ticks, and so may fire when by
 * the ticks it is not due yet.
 */
static bool armed_by(struct vcpu *v, uint64_t deadline, uint64_t now)
{
	if (atomic_exchange_explicit(&v->timer_fired, false, memory_order_relaxed) ||
	    v->timer_at <= now)
		v->timer_at = UINT64_MAX;
	return v->timer_at <= deadline;
}

void vcpu_bound_timer(struct vcpu *v, uint64_t ns, uint64_t most_ns)
{
	const struct clock *clock = v->host->clock;
	uint64_t now = clock_now(clock);

	if (!armed_by(v, clock_add(now, clock_ns_to_ticks(clock, most_ns)), now))
		vcpu_arm_timer(v, clock_add(now, clock_ns_to_ticks(clock, ns)));
}

void vcpu_arm_timer(struct vcpu *v, uint64_t deadline)
{
	uint64_t now = clock_now(v->host->clock), ns;
	struct itimerspec its = {0};

	if (armed_by(v, deadline, now))
		return;
	ns = deadline > now ? clock_ticks_to_ns(v->host->clock, deadline - now) : 0;
	if (ns > INT64_MAX / 2)
		ns = INT64_MAX / 2;
	ns++; /* rounded down so far; and 0 would disarm it */
	its.it_value = clock_timespec(ns);
	if (timer_settime(v->timer, 0, &its, NULL) < 0) {
		vcpu_end(v, CATNAP_EXIT_HOST_ERROR, -errno, "timer_settime");
		return;
	}
	v->timer_at = deadline;
	stat_add(&v->counters.timer_armed, 1);
}

/*
 * The guest cannot take the timer's interrupt before it has them on. To come back then, by the
 * interrupt window, is an exit; to set the timer now is a system call, and another one that cancels
 * it if the guest halts. So it depends on what the guest does next, and that is taken to be what it
 * did last time: Linux sets its tick and goes on, others set their timer and halt.
 */
bool vcpu_arm_timer_off(struct vcpu *v, uint64_t deadline)
{
	if (armed_by(v, deadline, clock_now(v->host->clock)))
		return false;
	v->armed_off = true;
	if (v->goes_on)
		vcpu_arm_timer(v, deadline);
	return !v->goes_on;
}

void vcpu_before_sleep(void *vcpu)
{
	static const struct itimerspec none;
	struct vcpu *v = vcpu;

	if (v->timer_at == UINT64_MAX || !v->timer_made)
		return;
	timer_settime(v->timer, 0, &none, NULL);
	v->timer_at = UINT64_MAX;
}

void vcpu_fini_timer(struct vcpu *v)
{
	if (v->timer_made)
		timer_delete(v->timer);
	v->timer_made = false;
	v->timer_at = UINT64_MAX;
}
