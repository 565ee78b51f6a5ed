/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits the time that devices take of a vCPU's thread while its guest wants to run. A queue whose
 * packets come faster than they can be dealt with has always something to do: its task is posted
 * again and again, and each packet ends KVM_RUN. The guest would hardly get in, and never gets to
 * look at what came for it (the "receive livelock" of interrupt-driven kernels).
 *
 * So the thread keeps an account of the time that tasks and sources have taken, from which the
 * time passes that the guest had. Once it is SHARE_LEAST_NS, the guest is owed as much, and gets
 * it in one piece: tasks stay where they are, and sources are disarmed, as they would end KVM_RUN.
 * Then it is their turn. So both have at least half of what the thread has. A guest that halts
 * wants no time: it is owed nothing more. Requests of the guest's own (disks) never wait:
 * they are as many as it has made.
 *
 * With the irqchip in the kernel a halt is not seen: from time to time it is asked for.
 */
#include "vcpu/vcpu.h"

#define SHARE_LEAST_NS UINT64_C(100000)
#define SHARE_MOST_NS  UINT64_C(20000000)
/* The cost of one interruption to a guest, beside the work: an exit, an entry, cold caches. */
#define SHARE_WAY_NS UINT64_C(10000)
/* How long a guest that may be halted in the kernel keeps devices waiting for nothing. */
#define SHARE_LOOK_NS UINT64_C(500000)

static bool is_halted(struct vcpu *v)
{
	struct kvm_mp_state state;

	if (v->host->irqchip_user)
		return v->life == VCPU_WAIT_SIPI || (v->halted && !vcpu_can_wake(v));
	return ioctl(v->fd, KVM_GET_MP_STATE, &state) == 0 &&
	       state.mp_state != KVM_MP_STATE_RUNNABLE;
}

void vcpu_share_spent(struct vcpu *v, uint64_t from, uint64_t to)
{
	const struct clock *clock = v->host->clock;
	struct vcpu_share *s = &v->share;
	uint64_t had = from - s->spent_until, way = clock_ns_to_ticks(clock, SHARE_WAY_NS);

	/* The way out of the guest and back into it is nobody's. */
	had = had > way ? had - way : 0;
	s->owed = (s->owed > had ? s->owed - had : 0) + (to - from);
	s->spent_until = to;
	if (s->until || s->owed < clock_ns_to_ticks(clock, SHARE_LEAST_NS))
		return;
	if (!is_halted(v)) {
		uint64_t most = clock_ns_to_ticks(clock, SHARE_MOST_NS);

		s->until = to + (s->owed < most ? s->owed : most);
		s->look_at = v->host->irqchip_user ? s->until
						   : to + clock_ns_to_ticks(clock, SHARE_LOOK_NS);
		vcpu_check_ring(v, halter_hold(&v->halter, true));
	}
	s->owed = 0;
}

void vcpu_share_end(struct vcpu *v)
{
	v->share.owed = 0;
	if (!v->share.until)
		return;
	v->share.until = 0;
	vcpu_check_ring(v, halter_hold(&v->halter, false));
}

bool vcpu_share_holds(struct vcpu *v)
{
	struct vcpu_share *s = &v->share;
	uint64_t now;

	if (__builtin_expect(!s->until, 1))
		return false;
	now = clock_now(v->host->clock);
	if (now < s->look_at)
		return true;
	if (now < s->until && !is_halted(v)) {
		s->look_at = now + clock_ns_to_ticks(v->host->clock, SHARE_LOOK_NS);
		return true;
	}
	vcpu_share_end(v);
	s->spent_until = now;
	return false;
}

uint64_t vcpu_share_next(const struct vcpu *v)
{
	return v->share.look_at < v->share.until ? v->share.look_at : v->share.until;
}
