/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSRs that come to user space: the x2APIC's, the TSC deadline, and KVM's paravirtual ones that KVM
 * keeps to itself unless they are filtered: poll control and paravirtual EOI. (KVM
 * Documentation/virt/kvm/api.rst 4.97 KVM_X86_SET_MSR_FILTER, 7.21 KVM_CAP_X86_USER_SPACE_MSR.)
 * The guest's TSC stays KVM's, but writes to it are seen, since TSC deadlines depend on its offset.
 */
#include <asm/kvm_para.h>
#include <errno.h>

#include "relaxed.h"
#include "vcpu/vcpu.h"

#define MSR_TSC	       0x10u
#define MSR_TSC_ADJUST 0x3bu

#define PV_EOI_ENABLE	UINT64_C(1)
#define PV_EOI_RESERVED UINT64_C(2)

int vcpu_filter_msrs(const struct vcpu_host *host, struct error *err)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			 KVM_MSR_EXIT_REASON_FILTER},
	};
	/* A 0 bit denies, and what is denied comes to us. 0x4b564d04 PV EOI, 0x4b564d05 poll
	 * control. */
	uint8_t none[1] = {0}; /* the kernel reads it */
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges =
			{
				{.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
				 .nmsrs = 2,
				 .base = MSR_KVM_PV_EOI_EN,
				 .bitmap = none},
				{.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
				 .nmsrs = 1,
				 .base = LAPIC_MSR_TSC_DEADLINE,
				 .bitmap = none},
				{.flags = KVM_MSR_FILTER_WRITE,
				 .nmsrs = 1,
				 .base = MSR_TSC,
				 .bitmap = none},
				{.flags = KVM_MSR_FILTER_WRITE,
				 .nmsrs = 1,
				 .base = MSR_TSC_ADJUST,
				 .bitmap = none},
			},
	};
	int ret;

	if (ioctl(host->kvm->vm_fd, KVM_ENABLE_CAP, &cap) < 0 ||
	    ioctl(host->kvm->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0) {
		ret = -errno;
		return error_errno(err, ret, "MSR exits and filter");
	}
	return 0;
}

static int kvm_get_msr(struct vcpu *v, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry.index = index};

	if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return -EPERM;
	*value = m.entry.data;
	return 0;
}

static int kvm_set_msr(struct vcpu *v, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry = {.index = index, .data = value}};

	return ioctl(v->fd, KVM_SET_MSRS, &m) == 1 ? 0 : -EPERM;
}

/* Reads the offset of the TSC, by the tightest of a few readings; it is some tens of ns off at the
 * worst. */
void vcpu_read_tsc_offset(struct vcpu *v)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 4; i++) {
		uint64_t before = __builtin_ia32_rdtsc(), guest, after;

		if (kvm_get_msr(v, MSR_TSC, &guest) < 0)
			return;
		after = __builtin_ia32_rdtsc();
		if (after - before < best) {
			best = after - before;
			v->lapic.tsc_offset = guest - (before + (after - before) / 2);
		}
	}
}

/* Moves the guest's TSC by @delta. KVM takes a write by KVM_SET_MSRS for the host's, which it
 * treats otherwise than the guest's: Linux 5.16 has an attribute for the offset itself. */
static int move_tsc(struct vcpu *v, uint64_t delta)
{
	uint64_t offset;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)&offset,
	};

	if (ioctl(v->fd, KVM_GET_DEVICE_ATTR, &attr) < 0)
		return -errno;
	offset += delta;
	return ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr) < 0 ? -errno : 0;
}

/* Writes the TSC or IA32_TSC_ADJUST. SDM volume 3, "IA32_TSC_ADJUST": either register's change is
 * the other's as well. */
static int write_tsc(struct vcpu *v, uint32_t index, uint64_t value)
{
	uint64_t old, adjust, delta;
	int ret = kvm_get_msr(v, index, &old);

	if (ret == 0)
		ret = kvm_get_msr(v, MSR_TSC_ADJUST, &adjust);
	if (ret < 0)
		return ret;
	delta = value - old;
	if (move_tsc(v, delta) == 0)
		ret = kvm_set_msr(v, MSR_TSC_ADJUST, adjust + delta);
	else
		ret = kvm_set_msr(v, index, value);
	vcpu_read_tsc_offset(v);
	return ret;
}

int vcpu_set_pv_eoi(struct vcpu *v, uint64_t value)
{
	uint8_t *word = NULL;

	if (value & PV_EOI_ENABLE) {
		if (value & PV_EOI_RESERVED)
			return -EPERM;
		word = dma_at(v->host->dma, value & ~UINT64_C(3), 4);
		if (!word)
			return -EPERM;
	}
	v->pv_eoi_msr = value;
	v->pv_eoi_flag = word;
	v->pv_eoi_set = false; /* collected at this exit */
	return 0;
}

static int set_poll_control(struct vcpu *v, uint64_t value)
{
	if (value & ~VCPU_POLL_CONTROL_ALLOW)
		return -EPERM;
	vcpu_set_poll_control(v, value);
	return 0;
}

void vcpu_reset_msrs(struct vcpu *v)
{
	vcpu_set_pv_eoi(v, 0);
	vcpu_set_poll_control(v, VCPU_POLL_CONTROL_ALLOW);
	vcpu_read_tsc_offset(v);
}

/* -- changes that are asked for --------------------------------------------------------------- */

/* MSRs that the VM depends on, or that are the guest's to write. */
static const struct {
	uint32_t first, last;
	const char *why;
} kept[] = {
	{MSR_TSC, MSR_TSC, "it is the time stamp counter's"},
	{0x11, 0x12, "it is kvmclock's"},
	{0x1b, 0x1b, "it is the local APIC's"},
	{MSR_TSC_ADJUST, MSR_TSC_ADJUST, "it is the time stamp counter's"},
	{LAPIC_MSR_TSC_DEADLINE, LAPIC_MSR_TSC_DEADLINE, "it is the local APIC's"},
	{LAPIC_MSR_FIRST, LAPIC_MSR_LAST, "it is the local APIC's"},
	{0x4b564d00, 0x4b564dff, "it is a paravirtual one of KVM's, which guests set"},
	{0xc0000080, 0xc0000080, "EFER is as the image's entry asks"},
};

static int modify_msr(struct vcpu *v, const struct catnap_msr_modifier *m, struct error *err)
{
	uint64_t value;

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (m->index >= kept[i].first && m->index <= kept[i].last)
			return error_fail(err, -EINVAL, "MSR 0x%x cannot be changed: %s", m->index,
					  kept[i].why);
	if (kvm_get_msr(v, m->index, &value) < 0)
		return error_fail(err, -EINVAL, "MSR 0x%x: this KVM does not have it", m->index);
	value = (value & ~m->mask) | (m->value & m->mask);
	if (kvm_set_msr(v, m->index, value) < 0)
		return error_fail(err, -EINVAL, "MSR 0x%x: this KVM does not take the value 0x%llx",
				  m->index, (unsigned long long)value);
	return 0;
}

int vcpu_modify_msrs(struct vcpu *v, struct error *err)
{
	for (uint32_t i = 0; i < v->host->msr_modifier_count; i++) {
		int ret = modify_msr(v, &v->host->msr_modifiers[i], err);

		if (ret < 0)
			return error_prefix(err, ret, "msr_modifiers: number %u: ", i);
	}
	return 0;
}

static bool is_apic_msr(uint32_t index)
{
	return (index >= LAPIC_MSR_FIRST && index <= LAPIC_MSR_LAST) ||
	       index == LAPIC_MSR_TSC_DEADLINE;
}

void vcpu_rdmsr(struct vcpu *v)
{
	uint32_t index = v->run->msr.index;
	uint64_t value = 0;
	int ret = -EPERM;

	if (v->host->irqchip_user && is_apic_msr(index)) {
		ret = lapic_msr_read(&v->lapic, index, &value, vcpu_run_timer(v));
	} else if (index == MSR_KVM_PV_EOI_EN) {
		value = v->pv_eoi_msr;
		ret = 0;
	} else if (index == MSR_KVM_POLL_CONTROL) {
		value = relaxed_load(&v->poll_control);
		ret = 0;
	} else {
		stat_add(&v->counters.unknown_msr, 1);
	}
	v->run->msr.data = value;
	v->run->msr.error = ret < 0;
}

void vcpu_wrmsr(struct vcpu *v)
{
	uint32_t index = v->run->msr.index;
	uint64_t value = v->run->msr.data;
	int ret = -EPERM;

	if (v->host->irqchip_user && is_apic_msr(index)) {
		ret = lapic_msr_write(&v->lapic, index, value, vcpu_run_timer(v));
	} else if (index == MSR_KVM_PV_EOI_EN) {
		ret = vcpu_set_pv_eoi(v, value);
	} else if (index == MSR_KVM_POLL_CONTROL) {
		ret = set_poll_control(v, value);
	} else if (index == MSR_TSC || index == MSR_TSC_ADJUST) {
		ret = write_tsc(v, index, value);
	} else {
		stat_add(&v->counters.unknown_msr, 1);
	}
	v->run->msr.error = ret < 0;
}
