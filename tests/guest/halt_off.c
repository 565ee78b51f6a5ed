/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HLT with interrupts off: an interrupt becomes pending and does not end it. With nmi=1 a second
 * processor does, and the interrupt comes when interrupts are on; without, the VM halts for good.
 */
#include "lib/guest.h"

static volatile uint32_t nmis, ticks;
static volatile bool halting, woken;

static void on_nmi(struct frame *f)
{
	nmis++;
}

static void on_timer(struct frame *f)
{
	ticks++;
	eoi();
}

static void sender(uint32_t id)
{
	uint64_t until;

	/* An NMI that comes before the HLT does not end it. */
	while (!halting)
		;
	until = rdtsc() + 100000000; /* long after the timer */
	while (rdtsc() < until)
		;
	check(!woken);
	apic_ipi(0, ICR_NMI);
}

void test(void)
{
	handlers[2] = on_nmi;
	handlers[0x51] = on_timer;
	apic_enable();
	if (arg_number("nmi", 0))
		start_ap(1, sender, AP_PAGE);
	apic_write(APIC_LVT_TIMER, 0x51);
	apic_write(APIC_TIMER_INIT, 1000000);
	put_str("halting\n");
	halting = true;
	hlt();
	woken = true;
	put_str("woken\n");
	check(nmis == 1);
	check(ticks == 0);
	check(apic_bit(APIC_IRR, 0x51));
	open_interrupts();
	check(ticks == 1);
}
