/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port through the I/O APIC (pin 4): its interrupts, and input of any length without
 * loss, as an edge (the handler empties the FIFO) or as a level (the handler reads one byte and the
 * line stays up). Input ends with '.'; it is sent back in capitals.
 */
#include "lib/guest.h"

#define VECTOR 0x34
#define PIN    4
#define ENTRY  (0x10 + 2 * PIN)
#define LEVEL  0x8000u
#define MASKED 0x10000u

static volatile uint32_t interrupts, transmitter, received;
static volatile bool done;
static bool level;

static void take(void)
{
	char c = (char)inb(COM1);

	received++;
	if (c == '.')
		done = true;
	outb(COM1, (uint8_t)(c >= 'a' && c <= 'z' ? c - 32 : c));
}

static void on_serial(struct frame *f)
{
	uint8_t iir;

	interrupts++;
	while (!((iir = inb(COM1 + 2)) & 1)) {
		if ((iir & 0x0f) == 0x02) {
			transmitter++;
		} else {
			check((iir & 0x0f) == 0x04);
			check(inb(COM1 + 5) & 1);
			take();
		}
		if (level)
			break;
	}
	eoi();
}

static void loopback(void)
{
	outb(COM1 + 4, 0x10); /* nothing asserted */
	check((inb(COM1 + 6) & 0xf0) == 0x00);
	outb(COM1 + 4, 0x1a); /* RTS, OUT2: CTS, DCD */
	check((inb(COM1 + 6) & 0xf0) == 0x90);
	outb(COM1 + 4, 0x15); /* DTR, OUT1: DSR, RI */
	check((inb(COM1 + 6) & 0xf0) == 0x60);
	check(!(inb(COM1 + 5) & 1));
	outb(COM1, 'l');
	outb(COM1, 'o');
	check(inb(COM1 + 5) & 1);
	check(inb(COM1) == 'l');
	check(inb(COM1 + 5) & 1);
	check(inb(COM1) == 'o');
	check(!(inb(COM1 + 5) & 1));
	outb(COM1 + 4, 0x00);
}

void test(void)
{
	level = arg_is("trigger", "level");
	apic_enable();
	/* The interrupt controller of old, where there is one, keeps out of it. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	handlers[VECTOR] = on_serial;
	check((ioapic_read(ENTRY) & MASKED) == MASKED);
	check((ioapic_read(1) >> 16 & 0xff) == 23);
	ioapic_write(ENTRY + 1, apic_id() << 24);
	ioapic_write(ENTRY, VECTOR | (level ? LEVEL : 0));

	outb(COM1 + 1, 0);
	outb(COM1 + 2, 0x07);
	check((inb(COM1 + 2) & 0xc1) == 0xc1);
	loopback();

	/* Transmitter empty: raised when enabled, and after each byte; taken back by reading
	 * IIR. */
	outb(COM1 + 4, 0x0b);
	sti();
	outb(COM1 + 1, 0x02);
	while (transmitter < 1)
		;
	outb(COM1, '>');
	while (transmitter < 2)
		;
	cli();
	outb(COM1 + 1, 0);
	check(transmitter == 2);

	interrupts = 0;
	put_str("ready\n");
	outb(COM1 + 1, 0x01);
	while (!done) {
		sti_hlt();
		cli();
	}
	outb(COM1 + 1, 0);
	put_str("\nreceived ");
	put_dec(received);
	put_str("\n");
	check(interrupts > 0);
	if (level) {
		/* One more may come for nothing: the line fell after it was sent. */
		check(interrupts >= received);
		open_interrupts();
		check(!(ioapic_read(ENTRY) & 0x4000)); /* remote IRR */
	}
}
