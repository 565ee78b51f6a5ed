/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clocks of a vCPU in a snapshot, which do not stand while it is made and read: the time stamp
 * counter, and the timer of KVM's local APIC. While the vCPU does not run.
 */
#ifndef VCPU_STATE_CLOCK_H
#define VCPU_STATE_CLOCK_H

#include "vcpu/vcpu.h"

#define MSR_TSC	       0x10u
#define MSR_TSC_ADJUST 0x3bu

/* Reads or writes an MSR, as @request says: KVM_GET_MSRS or KVM_SET_MSRS. Returns whether KVM
 * did. */
bool vcpu_one_msr(const struct vcpu *v, unsigned long request, uint32_t index, uint64_t *value);

/* Sets the TSC to what is @guest when the host's is @host_tsc, unless this KVM takes none, and
 * IA32_TSC_ADJUST to @adjust. Returns whether KVM took it. */
bool vcpu_set_tsc(struct vcpu *v, uint64_t guest, uint64_t host_tsc, uint64_t adjust);

/*
 * Settles the APIC's timer: KVM lets a one-shot one that has run out expire when it is set, and it
 * may not have told the processor yet. Where it has there is none to be set; else a guest may see
 * it once more.
 */
void vcpu_settle_apic_timer(struct kvm_lapic_state *l);

/*
 * Moves what is left of the APIC's timer: KVM tells of, and takes, what is left to count at the
 * moment of the call. The file has it of the moment of the snapshot, as it has the TSC: @ticks of
 * the TSC before the one, and @ticks before the other. Rounding makes it late rather than early.
 * One that has run out stays so.
 */
void vcpu_shift_apic_timer(const struct vcpu *v, struct kvm_lapic_state *l, uint64_t ticks,
			   bool back);

#endif
