/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's CPUID says: what KVM supports, less what this VM does not offer. */
#ifndef VCPU_CPUID_H
#define VCPU_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct cpuid_policy {
	uint32_t vcpus;
	bool irqchip_user; /* then nothing that needs KVM's own local APIC */
	bool tsc_deadline; /* the APIC timer has its TSC-deadline mode */
	bool poll_control; /* MSR_KVM_POLL_CONTROL is kept by us or by KVM */
	uint32_t tsc_khz;  /* of the guest's TSC; 0: it is no clock, or not known */
	uint32_t apic_khz; /* what the APIC timer counts, divided by 1 */
	bool realtime;	   /* KVM_HINTS_REALTIME: vCPUs have processors of their own */
};

/* A copy of @supported for the vCPU with APIC id @apic_id; the caller frees it. NULL: no memory. */
struct kvm_cpuid2 *cpuid_make(const struct kvm_cpuid2 *supported, const struct cpuid_policy *policy,
			      uint32_t apic_id);

#endif
