/* SPDX-License-Identifier: Apache-2.0 */
/* See state_clock.h. */
#include <string.h>

#include "vcpu/state_clock.h"

/* -- the time stamp counter ------------------------------------------------------------------- */

static int offset_attr(const struct vcpu *v, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)offset,
	};

	return ioctl(v->fd, request, &attr);
}

bool vcpu_one_msr(const struct vcpu *v, unsigned long request, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry = {.index = index, .data = *value}};

	if (ioctl(v->fd, request, &m) != 1)
		return false;
	*value = m.entry.data;
	return true;
}

uint64_t vcpu_guest_tsc(struct vcpu *v, uint64_t host_tsc)
{
	uint64_t offset;

	if (offset_attr(v, KVM_GET_DEVICE_ATTR, &offset) == 0)
		return host_tsc + offset;
	vcpu_read_tsc_offset(v);
	return host_tsc + v->lapic.tsc_offset;
}

#define TSC_STEP (UINT64_C(1) << 40)

bool vcpu_can_set_tsc(struct vcpu *v)
{
	uint64_t host_tsc = __builtin_ia32_rdtsc(), before = vcpu_guest_tsc(v, host_tsc);
	uint64_t offset = before - host_tsc + TSC_STEP, value, after;

	if (offset_attr(v, KVM_SET_DEVICE_ATTR, &offset) < 0) {
		value = __builtin_ia32_rdtsc() + offset;
		vcpu_one_msr(v, KVM_SET_MSRS, MSR_TSC, &value);
	}
	after = vcpu_guest_tsc(v, host_tsc);
	return after - before > TSC_STEP / 2 && after - before < 2 * TSC_STEP;
}

bool vcpu_set_tsc(struct vcpu *v, uint64_t guest, uint64_t host_tsc, uint64_t adjust)
{
	uint64_t offset = guest - host_tsc, now;

	if (v->host->tsc_fixed) {
		vcpu_read_tsc_offset(v);
		return true;
	}
	if (offset_attr(v, KVM_SET_DEVICE_ATTR, &offset) == 0) {
		v->lapic.tsc_offset = offset;
	} else {
		now = __builtin_ia32_rdtsc() + offset;
		if (!vcpu_one_msr(v, KVM_SET_MSRS, MSR_TSC, &now))
			return false;
		vcpu_read_tsc_offset(v);
	}
	/* A KVM without it has no guest that uses it. */
	return vcpu_one_msr(v, KVM_SET_MSRS, MSR_TSC_ADJUST, &adjust) || !adjust;
}

/* -- the timer of KVM's local APIC ------------------------------------------------------------- */

#define APIC_ISR	  0x100u
#define APIC_IRR	  0x200u
#define APIC_LVTT	  0x320u
#define APIC_TMICT	  0x380u
#define APIC_TMCCT	  0x390u
#define APIC_TDCR	  0x3e0u
#define APIC_TSC_DEADLINE (UINT32_C(2) << 17)
#define APIC_TIMER_MODES  (UINT32_C(3) << 17)

static uint32_t apic_register(const struct kvm_lapic_state *l, uint32_t at)
{
	uint32_t value;

	memcpy(&value, l->regs + at, sizeof(value));
	return value;
}

/* Returns by what the ns are divided in which the APIC's timer counts down. */
static uint64_t apic_divisor(const struct kvm_lapic_state *l)
{
	uint32_t d = apic_register(l, APIC_TDCR);

	return UINT64_C(1) << (((d & 3) | (d & 8) >> 1) + 1) % 8;
}

static uint64_t ticks_to_ns(const struct vcpu *v, uint64_t ticks)
{
	uint32_t khz = v->host->kvm->tsc_khz;

	return khz ? (uint64_t)((unsigned __int128)ticks * 1000000 / khz) : 0;
}

/* Returns whether the timer's interrupt is on its way to the processor, or there. */
static bool apic_timer_in_service(const struct kvm_lapic_state *l)
{
	uint32_t vector = apic_register(l, APIC_LVTT) & 0xff, word = vector / 32 * 16;

	return ((apic_register(l, APIC_IRR + word) | apic_register(l, APIC_ISR + word)) >>
		vector % 32) &
	       1;
}

void vcpu_settle_apic_timer(struct kvm_lapic_state *l)
{
	if (!apic_register(l, APIC_TMCCT) && !(apic_register(l, APIC_LVTT) & APIC_TIMER_MODES) &&
	    apic_timer_in_service(l))
		memset(l->regs + APIC_TMICT, 0, sizeof(uint32_t));
}

void vcpu_shift_apic_timer(const struct vcpu *v, struct kvm_lapic_state *l, uint64_t ticks,
			   bool back)
{
	uint64_t count = apic_register(l, APIC_TMCCT), most = apic_register(l, APIC_TMICT);
	uint64_t by = ticks_to_ns(v, ticks) / apic_divisor(l);
	uint32_t value;

	if (!count || (apic_register(l, APIC_LVTT) & APIC_TSC_DEADLINE))
		return;
	if (back)
		count = count + by + 1 < most ? count + by + 1 : most;
	else
		count = count > by ? count - by : 1;
	value = (uint32_t)count;
	memcpy(l->regs + APIC_TMCCT, &value, sizeof(value));
}
