/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the local APIC into the guest, and back: interrupt and NMI injection, the interrupt window,
 * CR8, and paravirtual EOI (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_PV_EOI_EN).
 * irqchip=user only.
 */
#include <errno.h>
#include <string.h>

#include "vcpu/vcpu.h"

/* Returns whether the guest can take an interrupt at its next instruction, as of the last exit. */
static bool window_open(const struct vcpu *v)
{
	return v->run->ready_for_interrupt_injection && v->run->if_flag;
}

/*
 * Holds events back, or not: while an interrupt that user space gave is being injected, KVM finds
 * one still to be injected (the same, kvm_cpu_has_injectable_intr), cannot, and so has the guest
 * left at once after the injection, to try again: an exit for each interrupt. KVM_GUESTDBG_BLOCKIRQ
 * (Linux 5.15), made so that a debugger may step with interrupts held back, ends its search before
 * that; injection itself and the interrupt window stay as they are. NMIs are held back, too: not
 * while there is one.
 */
static int block_events(struct vcpu *v, bool block)
{
	struct kvm_guest_debug debug = {0};

	if (!v->can_block || v->blocked == block)
		return 0;
	if (block)
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_BLOCKIRQ;
	if (ioctl(v->fd, KVM_SET_GUEST_DEBUG, &debug) < 0)
		return -errno;
	v->blocked = block;
	return 0;
}

static int inject_nmi(struct vcpu *v)
{
	int ret = block_events(v, false);

	if (ret < 0)
		return ret;
	v->nmi_given = true;
	return ioctl(v->fd, KVM_NMI, 0) < 0 ? -errno : 0;
}

static int inject_vector(struct vcpu *v, uint8_t vector)
{
	if (v->sync_events) {
		struct kvm_vcpu_events *ev = &v->run->s.regs.events;

		ev->interrupt.injected = 1;
		ev->interrupt.nr = vector;
		ev->interrupt.soft = 0;
		/* NMIs stay as they are: one may have been queued (KVM_NMI) since these were
		 * read. */
		ev->flags &= ~(uint32_t)KVM_VCPUEVENT_VALID_NMI_PENDING;
		v->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
	} else {
		struct kvm_interrupt irq = {.irq = vector};

		if (ioctl(v->fd, KVM_INTERRUPT, &irq) < 0)
			return -errno;
	}
	/* Taken: not ready again before the guest has run. */
	v->run->ready_for_interrupt_injection = 0;
	lapic_accept(&v->lapic, vector);
	stat_add(&v->counters.injected, 1);
	return 0;
}

/*
 * Offers the guest a paravirtual EOI. The guest's flag may be set only when nothing else is pending
 * and exactly what is in service needs no help from the I/O APIC: then the guest may end it by
 * clearing the flag, with no exit.
 */
static void offer_pv_eoi(struct vcpu *v)
{
	if (!v->pv_eoi_flag || v->pv_eoi_set)
		return;
	if (lapic_has_irr(&v->lapic) || !lapic_eoi_is_simple(&v->lapic))
		return;
	__atomic_fetch_or(v->pv_eoi_flag, 1, __ATOMIC_RELAXED);
	v->pv_eoi_set = true;
}

static void collect_pv_eoi(struct vcpu *v)
{
	if (!v->pv_eoi_set)
		return;
	v->pv_eoi_set = false;
	/* Taken back: set means the guest has not ended the interrupt yet. */
	if (__atomic_fetch_and(v->pv_eoi_flag, (uint8_t)~1, __ATOMIC_RELAXED) & 1)
		return;
	lapic_eoi(&v->lapic);
	stat_add(&v->counters.pv_eoi, 1);
}

/* Prepares an entry. Returns nonzero if there is something to do first: do not enter. */
int vcpu_prepare_entry(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	uint64_t deadline = lapic_deadline(l);
	bool window = false;
	int vector, ret = 0;

	/* An entry that was given up leaves the flag set, and what it was given up for may be an
	 * interrupt that has to wait for the end of the one in service: that end must exit. */
	collect_pv_eoi(v);
	if (deadline != UINT64_MAX && clock_now(v->host->clock) >= deadline)
		return 1; /* passed on the way here */
	if (v->nmi_pending) {
		v->nmi_pending = false;
		ret = inject_nmi(v);
	} else if (!v->nmi_given && !v->run->s.regs.events.nmi.pending) {
		ret = block_events(v, true);
	}
	vector = lapic_pending_vector(l);
	if (ret == 0 && vector >= 0) {
		/* Of what is left none goes before one that was just taken: its end, which exits,
		 * brings the thread back here. */
		if (window_open(v))
			ret = inject_vector(v, (uint8_t)vector);
		else
			window = true;
	}
	if (ret < 0) {
		vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, "injecting an interrupt");
		return 1;
	}
	v->armed_off = false;
	if (deadline != UINT64_MAX) {
		if (v->run->if_flag)
			vcpu_arm_timer(v, deadline);
		else if (vcpu_arm_timer_off(v, deadline))
			window = true;
	}
	v->run->request_interrupt_window = window;
	v->run->cr8 = lapic_cr8(l);
	offer_pv_eoi(v);
	return 0;
}

void vcpu_after_exit(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	v->nmi_given = false;
	collect_pv_eoi(v);
	if (v->run->cr8 != lapic_cr8(l))
		lapic_set_cr8(l, v->run->cr8);
	lapic_set_base(l, v->run->apic_base);
}

/* Returns whether there is something for which a halted processor goes on. */
bool vcpu_can_wake(const struct vcpu *v)
{
	return v->nmi_pending || (v->run->if_flag && lapic_pending_vector(&v->lapic) >= 0);
}
