/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a vCPU into its state at power-on. The state in KVM is remembered when the vCPU is made, and
 * given back: KVM has no reset of its own (Linux Documentation/virt/kvm/api.rst). The time stamp
 * counter goes on, with the offset that it began with.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/vcpu.h"

#define MSR_TSC	       0x10u
#define MSR_TSC_ADJUST 0x3bu

struct vcpu_power_on {
	struct kvm_fpu fpu;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic; /* irqchip kernel */
	struct kvm_mp_state mp_state; /* irqchip kernel */
	struct kvm_vcpu_events events;
	uint64_t tsc_offset;
	bool has_xsave, has_xcrs, has_debugregs, has_tsc_offset;
	uint32_t msr_count;
	struct kvm_msr_entry msrs[]; /* those that can be read */
};

static int tsc_offset(const struct vcpu *v, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)offset,
	};

	return ioctl(v->fd, request, &attr);
}

/* Reads or writes one MSR: of several, KVM stops at the first that it cannot. */
static bool msr(const struct vcpu *v, unsigned long request, struct kvm_msr_entry *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry = *e};

	if (ioctl(v->fd, request, &m) != 1)
		return false;
	*e = m.entry;
	return true;
}

static void read_msrs(const struct vcpu *v, struct vcpu_power_on *p)
{
	const struct kvm_msr_list *list = v->host->kvm->msrs;

	for (uint32_t i = 0; i < list->nmsrs; i++) {
		struct kvm_msr_entry e = {.index = list->indices[i]};

		if (e.index != MSR_TSC && e.index != MSR_TSC_ADJUST && msr(v, KVM_GET_MSRS, &e))
			p->msrs[p->msr_count++] = e;
	}
}

int vcpu_remember(struct vcpu *v, struct error *err)
{
	struct vcpu_power_on *p;
	const char *what = "KVM_GET_FPU";
	int ret;

	p = calloc(1, sizeof(*p) + v->host->kvm->msrs->nmsrs * sizeof(p->msrs[0]));
	if (!p)
		return error_fail(err, -ENOMEM, "out of memory");
	v->power_on = p;
	if (ioctl(v->fd, KVM_GET_FPU, &p->fpu) < 0)
		goto fail;
	what = "KVM_GET_VCPU_EVENTS";
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &p->events) < 0)
		goto fail;
	if (!v->host->irqchip_user) {
		what = "KVM_GET_LAPIC";
		if (ioctl(v->fd, KVM_GET_LAPIC, &p->lapic) < 0)
			goto fail;
		what = "KVM_GET_MP_STATE";
		if (ioctl(v->fd, KVM_GET_MP_STATE, &p->mp_state) < 0)
			goto fail;
	}
	p->has_xsave = ioctl(v->fd, KVM_GET_XSAVE, &p->xsave) == 0;
	p->has_xcrs = ioctl(v->fd, KVM_GET_XCRS, &p->xcrs) == 0;
	p->has_debugregs = ioctl(v->fd, KVM_GET_DEBUGREGS, &p->debugregs) == 0;
	p->has_tsc_offset = tsc_offset(v, KVM_GET_DEVICE_ATTR, &p->tsc_offset) == 0;
	read_msrs(v, p);
	return 0;
fail:
	ret = -errno;
	return error_errno(err, ret, "%s of vCPU %u", what, v->id);
}

/* Writes the MSRs. Those that cannot be set to what they were read as are the host's to say, and no
 * guest has changed them. */
static void write_msrs(struct vcpu *v, struct vcpu_power_on *p)
{
	struct kvm_msr_entry adjust = {.index = MSR_TSC_ADJUST};

	/* Only what has changed: KVM puts some others down in the kernel's log. */
	for (uint32_t i = 0; i < p->msr_count; i++) {
		struct kvm_msr_entry now = {.index = p->msrs[i].index};

		if (!msr(v, KVM_GET_MSRS, &now) || now.data != p->msrs[i].data)
			msr(v, KVM_SET_MSRS, &p->msrs[i]);
	}
	if (p->has_tsc_offset && tsc_offset(v, KVM_SET_DEVICE_ATTR, &p->tsc_offset) == 0)
		msr(v, KVM_SET_MSRS, &adjust);
}

static void reset_events(struct vcpu *v, const struct vcpu_power_on *p)
{
	struct kvm_vcpu_events now, ev = p->events;

	/* Takes in what was on its way: an NMI, an INIT. */
	ioctl(v->fd, KVM_GET_VCPU_EVENTS, &now);
	ev.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
		   (p->events.flags & KVM_VCPUEVENT_VALID_SMM);
	ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev);
}

static void reset_apic(struct vcpu *v, const struct vcpu_power_on *p)
{
	struct kvm_mp_state now;

	if (!v->host->irqchip_user) {
		ioctl(v->fd, KVM_GET_MP_STATE, &now); /* takes in an INIT or SIPI */
		ioctl(v->fd, KVM_SET_LAPIC, &p->lapic);
		ioctl(v->fd, KVM_SET_MP_STATE, &p->mp_state);
		return;
	}
	lapic_collect(&v->lapic);
	lapic_set_base(&v->lapic,
		       LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE | (v->id == 0 ? LAPIC_BASE_BSP : 0));
	lapic_reset(&v->lapic);
	v->life = v->id == 0 ? VCPU_RUNNABLE : VCPU_WAIT_SIPI;
}

int vcpu_reset(struct vcpu *v, struct error *err)
{
	struct vcpu_power_on *p = v->power_on;
	int ret = vcpu_reset_registers(v);

	if (ret < 0)
		return error_errno(err, ret, "resetting the registers of vCPU %u", v->id);
	reset_events(v, p);
	write_msrs(v, p);
	if (p->has_xcrs)
		ioctl(v->fd, KVM_SET_XCRS, &p->xcrs);
	if (p->has_xsave)
		ioctl(v->fd, KVM_SET_XSAVE, &p->xsave);
	ioctl(v->fd, KVM_SET_FPU, &p->fpu);
	if (p->has_debugregs)
		ioctl(v->fd, KVM_SET_DEBUGREGS, &p->debugregs);
	/* A processor's APIC base is where the APIC is looked for; before its registers are set. */
	ret = vcpu_reset_apic_base(v);
	if (ret < 0)
		return error_errno(err, ret, "resetting the APIC of vCPU %u", v->id);
	reset_apic(v, p);
	v->halted = v->nmi_pending = v->nmi_given = false;
	vcpu_reset_msrs(v);
	return vcpu_modify_msrs(v, err);
}

void vcpu_forget(struct vcpu *v)
{
	free(v->power_on);
	v->power_on = NULL;
}
