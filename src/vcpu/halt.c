/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HLT: where the poll engine and the vCPU meet. Two sides may poll: the guest before it executes
 * HLT, and the host after it. A guest that polls says so by MSR_KVM_POLL_CONTROL (Linux
 * Documentation/virt/kvm/x86/msr.rst). Then the host, as poll_after_guest says, polls for what its
 * policy has learned from what such guests leave of halts, or for the price of one sleep, or not at
 * all.
 */
#include <errno.h>

#include "relaxed.h"
#include "sized.h"
#include "vcpu/vcpu.h"

/* Returns the break-even time: a poll of this length never costs more than twice the optimum. */
static uint32_t sleep_price_ns(const struct vcpu *v)
{
	uint32_t price = price_measured(&v->halter.price);

	return price ? price : PRICE_GUESS_NS;
}

bool vcpu_price_moved(uint32_t applied_ns, uint32_t price_ns)
{
	uint32_t by = applied_ns > price_ns ? applied_ns - price_ns : price_ns - applied_ns;

	return by > applied_ns / 8;
}

void vcpu_limit_poll(struct catnap_halt_poll *p, uint32_t price_ns)
{
	if (p->policy == CATNAP_POLICY_OFF)
		return;
	/* The guest has polled already, and the rest of its halt teaches nothing: so no policy that
	 * learns. */
	if (p->policy == CATNAP_POLICY_ALWAYS || p->max_ns > price_ns)
		p->max_ns = price_ns;
	p->policy = CATNAP_POLICY_FIXED;
}

/* Returns whether @what is to be done after the guest's poll, and the guest has polled: it has
 * switched the host's off. */
static bool after_guest(const struct vcpu *v, enum catnap_after_guest what)
{
	return v->host->poll_after_guest == what && !vcpu_poll_allowed(v);
}

/* Gives the halter what was asked for, as far as the guest wants it. Under the lock. */
static void apply(struct vcpu *v)
{
	struct catnap_halt_poll p = v->halt_poll;
	bool allowed = vcpu_poll_allowed(v), remainders = false;

	if (after_guest(v, CATNAP_AFTER_GUEST_BREAK_EVEN)) {
		v->applied_price_ns = sleep_price_ns(v);
		vcpu_limit_poll(&p, v->applied_price_ns);
		allowed = true;
	} else if (after_guest(v, CATNAP_AFTER_GUEST_LEARNED)) {
		remainders = true;
		allowed = p.policy != CATNAP_POLICY_KERNEL;
	}
	policy_set(&v->halter.policy, &p);
	policy_set_halts(&v->halter.policy, remainders ? POLICY_REMAINDER : POLICY_WHOLE);
	relaxed_store(&v->halter.poll_allowed, allowed);
}

void vcpu_set_halt_poll(struct vcpu *v, const struct catnap_halt_poll *params)
{
	pthread_mutex_lock(&v->poll_lock);
	catnap_halt_poll_init(&v->halt_poll);
	sized_in(&v->halt_poll, sizeof(v->halt_poll), params, sizeof(params->size));
	apply(v);
	pthread_mutex_unlock(&v->poll_lock);
}

void vcpu_get_halt_poll(struct vcpu *v, struct catnap_halt_poll *params)
{
	pthread_mutex_lock(&v->poll_lock);
	*params = v->halt_poll;
	pthread_mutex_unlock(&v->poll_lock);
}

void vcpu_set_poll_control(struct vcpu *v, uint64_t value)
{
	pthread_mutex_lock(&v->poll_lock);
	relaxed_store(&v->poll_control, value);
	apply(v);
	pthread_mutex_unlock(&v->poll_lock);
}

/* Lets what is polled follow the price, which is measured while the guest runs. */
static void follow_price(struct vcpu *v)
{
	pthread_mutex_lock(&v->poll_lock);
	if (vcpu_price_moved(v->applied_price_ns, sleep_price_ns(v)))
		apply(v);
	pthread_mutex_unlock(&v->poll_lock);
}

void vcpu_halt(struct vcpu *v)
{
	const struct halt_stats *s = &v->halter.stats;
	uint64_t attempted = relaxed_load(&s->attempted), successful = relaxed_load(&s->successful);
	uint64_t deadline = lapic_deadline(&v->lapic);
	int cause = CATNAP_CAUSE_OTHER, ret;

	/* A processor that waits to be started is not halted: nothing to learn, nothing to poll
	 * for. */
	if (v->life == VCPU_WAIT_SIPI)
		ret = halter_park(&v->halter);
	else
		ret = halter_halt(&v->halter, deadline, &cause);
	vcpu_watch_halt(v, deadline);
	if (ret < 0)
		vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, "sleeping in a halted vCPU");
	if (after_guest(v, CATNAP_AFTER_GUEST_BREAK_EVEN))
		follow_price(v);
	if (v->halter.others_wait && !vcpu_poll_allowed(v))
		stat_add(&v->counters.after_guest_contended, 1);
	if (v->host->poll_after_guest && !vcpu_poll_allowed(v)) {
		stat_add(&v->counters.after_guest_attempted,
			 relaxed_load(&s->attempted) - attempted);
		stat_add(&v->counters.after_guest_successful,
			 relaxed_load(&s->successful) - successful);
	}
}
