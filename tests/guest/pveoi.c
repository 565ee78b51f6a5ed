/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paravirtual end of interrupt (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_PV_EOI_EN): where
 * the hypervisor has set the flag, clearing it is the end of the interrupt. The runner looks how
 * often that saved an exit.
 */
#include "lib/guest.h"

#define ROUNDS 200

static volatile uint32_t flag __attribute__((aligned(64)));
static volatile uint32_t taken, saved, order[4];
static volatile bool spy; /* leave the flag alone and write the register */

static void on_ipi(struct frame *f)
{
	bool was_set;

	order[taken++ & 3] = (uint32_t)f->vector;
	if (spy) {
		flag = 0;
		eoi();
		return;
	}
	__asm__ volatile("lock btrl $0, %1\n\t"
			 "setc %0"
			 : "=q"(was_set), "+m"(flag)
			 :
			 : "memory", "cc");
	if (was_set)
		saved++;
	else
		eoi();
}

void test(void)
{
	handlers[0x61] = on_ipi;
	handlers[0x62] = on_ipi;
	handlers[0x71] = on_ipi;
	apic_enable();
	check(!wrmsr_faults(MSR_PV_EOI, (uint64_t)(uintptr_t)&flag | 1));
	check(rdmsr(MSR_PV_EOI) == ((uint64_t)(uintptr_t)&flag | 1));
	for (uint32_t i = 0; i < ROUNDS; i++) {
		apic_ipi(0, ICR_SELF | 0x61);
		open_interrupts();
		check(taken == i + 1);
		/* The end of it was understood: nothing in service. */
		if (i % 16 == 0)
			check(!apic_bit(APIC_ISR, 0x61));
	}
	put_str("saved ");
	put_dec(saved);
	put_str("\n");

	/* Two at once: the first one's end must let the second one in. */
	taken = 0;
	apic_ipi(0, ICR_SELF | 0x61);
	apic_ipi(0, ICR_SELF | 0x71);
	apic_ipi(0, ICR_SELF | 0x62);
	while (taken < 3)
		open_interrupts();
	open_interrupts();
	check(taken == 3);
	check(order[0] == 0x71 && order[1] == 0x62 && order[2] == 0x61);

	/* A guest may use the register all the same. */
	taken = 0;
	spy = true;
	check(!wrmsr_faults(MSR_PV_EOI, 0));
	flag = 0;
	apic_ipi(0, ICR_SELF | 0x61);
	open_interrupts();
	check(taken == 1);
	check(flag == 0);
	check(!apic_bit(APIC_ISR, 0x61));

	/* Not in memory, or the reserved bit: #GP, and nothing changes. */
	if (arg_is("irqchip", "user")) {
		check(wrmsr_faults(MSR_PV_EOI, 0xd0000001));
		check(wrmsr_faults(MSR_PV_EOI, (uint64_t)(uintptr_t)&flag | 3));
		check(rdmsr(MSR_PV_EOI) == 0);
	}
	/* Off by the flag alone. */
	saved = 0;
	spy = false;
	taken = 0;
	apic_ipi(0, ICR_SELF | 0x61);
	open_interrupts();
	check(taken == 1 && saved == 0);
}
