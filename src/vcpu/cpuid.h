/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's CPUID: the features that KVM supports, less those that this VM does not offer. */
#ifndef VCPU_CPUID_H
#define VCPU_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>

#include "errors.h"

struct cpuid_policy {
	uint32_t vcpus;
	uint32_t package_vcpus; /* how many are in a package, a power of two; 0: all */
	bool irqchip_user;	/* then nothing that needs KVM's own local APIC */
	bool tsc_deadline;	/* the APIC timer has its TSC-deadline mode */
	bool poll_control;	/* MSR_KVM_POLL_CONTROL is kept by us or by KVM */
	uint32_t tsc_khz;	/* of the guest's TSC; 0: it is no clock, or not known */
	uint32_t apic_khz;	/* the APIC timer's rate with divisor 1 */
	bool realtime;		/* KVM_HINTS_REALTIME: vCPUs have processors of their own */
};

/* Returns a copy of @supported for the vCPU with APIC id @apic_id, which the caller frees; NULL: no
 * memory. */
struct kvm_cpuid2 *cpuid_make(const struct kvm_cpuid2 *supported, const struct cpuid_policy *policy,
			      uint32_t apic_id);

/* Returns the processor's signature: leaf 1, EAX. */
uint32_t cpuid_signature(const struct kvm_cpuid2 *c);
/* Changes @c, made by cpuid_make(), as the VM's owner asked. 0, or -EINVAL with a sentence: a leaf
 * that is not there, a register that is none, a change that the VM would not bear. */
int cpuid_modify(struct kvm_cpuid2 *c, const struct cpuid_policy *policy,
		 const struct catnap_cpuid_modifier *m, uint32_t count, struct error *err);

/* features.c: has a processor with CPUID @own all features that @wanted tells of? 0, or -ENOTSUP with
 * a sentence that names the first that is missing. */
int cpuid_carries(const struct kvm_cpuid2 *own, const struct kvm_cpuid2 *wanted, struct error *err);

#endif
