/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HLT: where the poll engine and the vCPU meet, and the two sides that may poll: the guest before
 * it executes HLT, and the host after it. A guest that polls says so by MSR_KVM_POLL_CONTROL (Linux
 * Documentation/virt/kvm/x86/msr.rst); then the host sleeps at once, or, where it was asked to,
 * polls for as long as one sleep is worth, or as its policy has learned from what such guests
 * leave.
 */
#include <errno.h>
#include <string.h>

#include "vcpu/vcpu.h"

/* What one sleep is worth in time polled, as long as it has not been measured: `catnap replay`
 * takes the same. */
#define SLEEP_PRICE_NS 50000

/* The break-even time: a poll of this length is never worse than twice the best there is. */
static uint32_t sleep_price_ns(const struct vcpu *v)
{
	uint32_t measured = price_get(&v->halter.price);

	return measured ? measured : SLEEP_PRICE_NS;
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
	/* The guest has polled already, so what it learned is not the host's to learn again. */
	if (p->policy == CATNAP_POLICY_ALWAYS || p->max_ns > price_ns)
		p->max_ns = price_ns;
	p->policy = CATNAP_POLICY_FIXED;
}

/* Is that what is to be done now: the guest has switched polling off? */
static bool after_guest(const struct vcpu *v, enum catnap_after_guest what)
{
	return v->host->poll_after_guest == what && !vcpu_poll_allowed(v);
}

/* Under the lock: what was asked for and what the guest wants become the halter's. */
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
	atomic_store_explicit(&v->halter.poll_allowed, allowed, memory_order_relaxed);
}

void vcpu_set_halt_poll(struct vcpu *v, const struct catnap_halt_poll *params)
{
	size_t size = params->size < sizeof(*params) ? params->size : sizeof(*params);

	pthread_mutex_lock(&v->poll_lock);
	memset(&v->halt_poll, 0, sizeof(v->halt_poll));
	memcpy(&v->halt_poll, params, size);
	v->halt_poll.size = (uint32_t)size;
	apply(v);
	pthread_mutex_unlock(&v->poll_lock);
}

void vcpu_set_poll_control(struct vcpu *v, uint64_t value)
{
	pthread_mutex_lock(&v->poll_lock);
	atomic_store_explicit(&v->poll_control, value, memory_order_relaxed);
	apply(v);
	pthread_mutex_unlock(&v->poll_lock);
}

/* The price is measured while the guest runs: what is polled follows. */
static void follow_price(struct vcpu *v)
{
	pthread_mutex_lock(&v->poll_lock);
	if (vcpu_price_moved(v->applied_price_ns, sleep_price_ns(v)))
		apply(v);
	pthread_mutex_unlock(&v->poll_lock);
}

static uint64_t own(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void vcpu_halt(struct vcpu *v)
{
	const struct halt_stats *s = &v->halter.stats;
	uint64_t attempted = own(&s->attempted), successful = own(&s->successful);
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
	if (v->host->poll_after_guest && !vcpu_poll_allowed(v)) {
		stat_add(&v->counters.after_guest_attempted, own(&s->attempted) - attempted);
		stat_add(&v->counters.after_guest_successful, own(&s->successful) - successful);
	}
}
