/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer, and exits with interrupts off before it fires: none of them is to bring another one.
 *	how=set   the timer is set while interrupts are on, and then left alone
 *	how=anew  it is set anew each time, for an earlier time
 *	how=halt  it is set, and the processor halts at once
 * The runner looks how many exits there were, and how often the host had to set a timer.
 */
#include "lib/guest.h"

#define VECTOR 0x51
#define ROUNDS 500

static volatile uint32_t ticks;

static void on_timer(struct frame *f)
{
	ticks++;
	eoi();
}

static void fires(uint64_t per_1000)
{
	uint64_t until;

	apic_write(APIC_TIMER_INIT, 50000000);
	sti();
	(void)apic_read(APIC_ID);
	cli();
	ticks = 0;
	for (int i = 0; i < 1000 && !apic_bit(APIC_IRR, VECTOR); i++)
		for (until = rdtsc() + 2000 * per_1000; rdtsc() < until;)
			;
	check(apic_bit(APIC_IRR, VECTOR));
	for (int i = 0; i < 10 && ticks == 0; i++)
		open_interrupts();
	check(ticks == 1);
}

void test(void)
{
	uint64_t per_1000, until;

	handlers[VECTOR] = on_timer;
	apic_enable();
	per_1000 = tsc_per_1000();
	check(per_1000);
	apic_write(APIC_LVT_TIMER, VECTOR);
	if (arg_is("how", "halt")) {
		for (uint32_t i = 0; i < ROUNDS / 10; i++) {
			apic_write(APIC_TIMER_INIT, 2000000);
			while (ticks == i) {
				sti_hlt();
				cli();
			}
		}
		return;
	}
	apic_write(APIC_TIMER_INIT, 1000000000);
	until = rdtsc() + 20000000;
	sti();
	while (rdtsc() < until)
		(void)apic_read(APIC_ID);
	cli();
	if (arg_is("how", "anew")) {
		for (uint32_t i = 0; i < ROUNDS / 5; i++) {
			apic_write(APIC_TIMER_INIT, 900000000 - i * 8000000);
			open_interrupts();
		}
	} else {
		for (uint32_t i = 0; i < ROUNDS; i++) {
			(void)apic_read(APIC_ID);
			open_interrupts();
		}
	}
	/* And it fires: with interrupts off as well, to be taken when they are on. */
	fires(per_1000);
}
