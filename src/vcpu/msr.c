/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSRs that come to user space: the x2APIC's, the TSC deadline, and KVM's paravirtual ones that KVM
 * keeps to itself unless they are filtered: poll control and paravirtual EOI. (KVM
 * Documentation/virt/kvm/api.rst 4.97 KVM_X86_SET_MSR_FILTER, 7.21 KVM_CAP_X86_USER_SPACE_MSR.)
 * The guest's TSC stays KVM's, but writes to it are seen, since TSC deadlines depend on its offset.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vcpu/vcpu.h"

#define MSR_TSC	       0x10u
#define MSR_TSC_ADJUST 0x3bu

#define PV_EOI_ENABLE	UINT64_C(1)
#define PV_EOI_RESERVED UINT64_C(2)

int vcpu_filter_msrs(const struct vcpu_host *host, struct kvm_error *err)
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
		snprintf(err->text, sizeof(err->text), "MSR exits and filter: %s", strerror(-ret));
		return ret;
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

/* The tightest of a few readings; some tens of ns off at the worst. */
static void read_tsc_offset(struct vcpu *v)
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

/* SDM volume 3, "IA32_TSC_ADJUST": either register's change is the other's as well. */
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
	read_tsc_offset(v);
	return ret;
}

static int set_pv_eoi(struct vcpu *v, uint64_t value)
{
	uint8_t *word = NULL;

	if (value & PV_EOI_ENABLE) {
		if (value & PV_EOI_RESERVED)
			return -EPERM;
		word = v->host->memory(v->host->ctx, value & ~UINT64_C(3), 4);
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
	set_pv_eoi(v, 0);
	vcpu_set_poll_control(v, VCPU_POLL_CONTROL_ALLOW);
	read_tsc_offset(v);
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
		value = atomic_load_explicit(&v->poll_control, memory_order_relaxed);
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
		ret = set_pv_eoi(v, value);
	} else if (index == MSR_KVM_POLL_CONTROL) {
		ret = set_poll_control(v, value);
	} else if (index == MSR_TSC || index == MSR_TSC_ADJUST) {
		ret = write_tsc(v, index, value);
	} else {
		stat_add(&v->counters.unknown_msr, 1);
	}
	v->run->msr.error = ret < 0;
}
