/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STI; HLT: nothing comes between the two, so an interrupt at any moment before them, between them
 * or after them ends the halt. A lost one hangs the test. Deadlines from 1 ns upwards.
 */
#include "lib/guest.h"

static volatile uint32_t ticks;

static void on_timer(struct frame *f)
{
	ticks++;
	eoi();
}

void test(void)
{
	uint32_t rounds = (uint32_t)arg_number("rounds", 2000), longest = 0;

	handlers[0x51] = on_timer;
	apic_enable();
	apic_write(APIC_LVT_TIMER, 0x51);
	for (uint32_t i = 0; i < rounds; i++) {
		uint32_t halts = 0;

		cli();
		apic_write(APIC_TIMER_INIT, 1 + (i * 7919) % 40000);
		while (ticks == i) {
			sti_hlt();
			cli();
			halts++;
		}
		check(ticks == i + 1);
		if (halts > longest)
			longest = halts;
	}
	/* Only an interrupt ends it, and there is one only. */
	check(longest == 1);
	put_value("rounds", ticks);
}
