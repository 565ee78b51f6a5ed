/* SPDX-License-Identifier: Apache-2.0 */
/* MSRs: poll control, unknown ones, and those of the local APIC in its two modes. */
#include "lib/guest.h"

#define TIMER 0x40

static void on_timer(struct frame *f)
{
	eoi();
}

void test(void)
{
	uint64_t value;

	/* Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_POLL_CONTROL. */
	check(!rdmsr_faults(MSR_POLL_CONTROL, &value));
	check(value == 1);
	check(wrmsr_faults(MSR_POLL_CONTROL, 2));
	check(wrmsr_faults(MSR_POLL_CONTROL, 3));
	check(wrmsr_faults(MSR_POLL_CONTROL, UINT64_C(1) << 32));
	check(rdmsr(MSR_POLL_CONTROL) == 1);
	if (arg_is("poll", "off")) {
		check(!wrmsr_faults(MSR_POLL_CONTROL, 0));
		check(rdmsr(MSR_POLL_CONTROL) == 0);
	}

	/* Unknown: #GP. */
	check(rdmsr_faults(0x12345678, NULL));
	check(wrmsr_faults(0x12345678, 0));
	check(rdmsr_faults(0x4b564dff, NULL));
	check(wrmsr_faults(0x4b564dff, 0));

	/* The TSC can be written. Not every host can let it go on from there. */
	check(!wrmsr_faults(0x10, UINT64_C(1) << 50));

	/* x2APIC registers do not exist in xAPIC mode (Intel SDM volume 3, "x2APIC Register
	 * Access"). */
	check(rdmsr_faults(0x802, NULL));
	check(wrmsr_faults(0x80b, 0));
	apic_enable();
	check(apic_x2);
	check(!rdmsr_faults(0x802, &value));
	check(value == 0);
	check(rdmsr_faults(0x80b, NULL));  /* EOI is write-only */
	check(wrmsr_faults(0x802, 0));	   /* the id is read-only */
	check(wrmsr_faults(0x808, 0x100)); /* TPR: reserved bits */
	check(wrmsr_faults(0x80b, 1));	   /* and takes 0 */
	check(rdmsr_faults(0x80e, NULL));  /* DFR is not in x2APIC */
	check(rdmsr_faults(0x831, NULL));  /* nor is ICR2 */
	check(rdmsr_faults(0x840, NULL));
	check(rdmsr_faults(0x8ff, NULL));
	check(wrmsr_faults(0x8ff, 0));
	for (uint64_t i = arg_number("halts", 0); i; i--) {
		handlers[TIMER] = on_timer;
		apic_write(APIC_LVT_TIMER, TIMER);
		apic_write(APIC_TIMER_INIT, 5000000);
		sti_hlt();
		cli();
	}
	/* The page of registers is not there in x2APIC mode. */
	check(*(volatile uint32_t *)(uintptr_t)(APIC_BASE + APIC_ID) == UINT32_MAX);
}
