/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that was not run for a while finds that time has gone on, and takes itself for stuck: a
 * kernel's watchdogs fire. KVM_KVMCLOCK_CTRL (Linux Documentation/virt/kvm/api.rst, 4.69) says
 * beforehand, by a bit of kvmclock, that it was stopped by its host.
 *
 * That it was paused is known. That the whole process was stopped (SIGSTOP, Ctrl-Z, a freezer), or
 * had no processor for long, shows afterwards: KVM_RUN is interrupted and has taken a second or
 * more, or a halt ends that long after its deadline. A guest that computed for a second without one
 * exit, not even for a tick, is told the same: that puts off its watchdogs once, and does no harm.
 */
#include "vcpu/vcpu.h"

/* Watchdogs wait for 4 s and more. */
#define LONG_NS UINT64_C(1000000000)

void vcpu_tell_stopped(struct vcpu *v)
{
	/* Fails where the guest uses no kvmclock: it has nothing to be told by. */
	ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
}

void vcpu_watch_begin(struct vcpu *v)
{
	v->entered = clock_now(v->host->clock);
}

void vcpu_watch_interrupted(struct vcpu *v)
{
	const struct clock *clock = v->host->clock;

	if (clock_ticks_to_ns(clock, clock_now(clock) - v->entered) >= LONG_NS)
		vcpu_tell_stopped(v);
}

void vcpu_watch_halt(struct vcpu *v, uint64_t deadline)
{
	const struct clock *clock = v->host->clock;
	uint64_t now;

	if (deadline == UINT64_MAX)
		return;
	now = clock_now(clock);
	if (now > deadline && clock_ticks_to_ns(clock, now - deadline) >= LONG_NS)
		vcpu_tell_stopped(v);
}
