/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NMI by ICR: it comes with interrupts off, wakes HLT, and a second one waits for IRET. One that
 * comes together with an interrupt is not lost.
 */
#include "lib/guest.h"

static volatile uint32_t nmis, depth, deepest;
static volatile bool again;

/* One instruction would do; but see open_interrupts(). */
static void pass(void)
{
	for (int i = 0; i < 1000; i++)
		nop();
}

static void on_nmi(struct frame *f)
{
	nmis++;
	if (++depth > deepest)
		deepest = depth;
	if (again) {
		again = false;
		apic_ipi(apic_id(), ICR_NMI);
		pass();
	}
	depth--;
}

#define TOGETHER 300
#define VECTOR	 0x40

static volatile uint32_t interrupts, rounds;

static void on_interrupt(struct frame *f)
{
	interrupts++;
	eoi();
}

static void sender(uint32_t id)
{
	/* The other one is in HLT by then, or soon: both are right. */
	for (int i = 0; i < 3; i++) {
		uint32_t before = nmis;
		uint64_t until = rdtsc() + 20000000;

		while (rdtsc() < until)
			;
		apic_ipi(0, ICR_NMI);
		while (nmis == before)
			;
	}
	/* Both, while the other one sleeps: it finds them in one look. */
	for (uint32_t i = 1; i <= TOGETHER; i++) {
		uint64_t until;

		while (rounds < i)
			;
		until = rdtsc() + 1000000;
		while (rdtsc() < until)
			;
		apic_ipi(0, VECTOR);
		apic_ipi(0, ICR_NMI);
	}
}

void test(void)
{
	handlers[2] = on_nmi;
	apic_enable();
	apic_ipi(apic_id(), ICR_NMI);
	pass();
	check(nmis == 1);

	again = true;
	apic_ipi(apic_id(), ICR_NMI);
	pass();
	check(nmis == 3);
	check(deepest == 1);

	/* Another processor's ends HLT with interrupts off. */
	nmis = 0;
	start_ap(1, sender, AP_PAGE);
	for (uint32_t i = 1; i <= 3; i++) {
		while (nmis < i)
			hlt();
		check(nmis == i);
	}

	nmis = 0;
	handlers[VECTOR] = on_interrupt;
	for (uint32_t i = 1; i <= TOGETHER; i++) {
		uint64_t until = rdtsc() + UINT64_C(20000000000);

		rounds = i;
		sti_hlt();
		while ((interrupts < i || nmis < i) && rdtsc() < until)
			;
		cli();
		check(interrupts == i);
		check(nmis == i);
	}
}
