/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listens to the power button (pin 9), as Linux with ACPI does, and powers off once it is pressed:
 * after delay= loops of 2^20 turns, so that who waits for it can be seen to wait. With deaf=1 the
 * button is heard, and nothing is done.
 */
#include "lib/guest.h"

#define VECTOR	 0x39
#define PIN	 9
#define ENTRY	 (0x10 + 2 * PIN)
#define POWER	 0x600
#define OFF	 0x34 /* SLP_TYP 5, SLP_EN */
#define ONE_LOOP (1 << 20)

static volatile uint32_t pressed;

static void on_button(struct frame *f)
{
	pressed++;
	eoi();
}

void test(void)
{
	const uint64_t delay = arg_number("delay", 0) * ONE_LOOP;

	apic_enable();
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	handlers[VECTOR] = on_button;
	ioapic_write(ENTRY + 1, apic_id() << 24);
	ioapic_write(ENTRY, VECTOR);
	put_str("listening\n");
	for (;;) {
		cli();
		while (!pressed) {
			sti_hlt();
			cli();
		}
		put_str("pressed\n");
		for (volatile uint64_t i = 0; i < delay; i++)
			;
		if (!arg_number("deaf", 0))
			outb(POWER, OFF);
		pressed = 0;
	}
}
