/* SPDX-License-Identifier: Apache-2.0 */
/* The ways in which a guest ends, by how=. */
#include "lib/virtio.h"

static void say_code(void)
{
	static const char digits[] = "0123456789abcdef";

	put_str("at ");
	put_hex((uint64_t)(uintptr_t)guest_triple_fault_at);
	put_str(" code");
	for (int i = 0; i < 16; i++) {
		uint8_t b = (uint8_t)guest_triple_fault_at[i];
		char text[] = {' ', digits[b >> 4], digits[b & 15], '\0'};

		put_str(text);
	}
	put_str("\n");
}

/* The console's last word, for ever. */
static void emergency(void)
{
	uint32_t base = VIRTIO_MMIO_BASE;

	while (mmio_read(base, MMIO_DEVICE_ID) != 3)
		base += VIRTIO_MMIO_SIZE;
	for (;;)
		mmio_write(base, MMIO_CONFIG + 8, 'x');
}

static void print_on(uint32_t id)
{
	for (;;)
		put_str("0123456789012345678901234567890123456789012345678901234567890\n");
}

void test(void)
{
	uint32_t value = (uint32_t)arg_number("value", 0);

	if (arg_is("how", "cf9")) {
		outb(0xcf9, 0x02); /* which kind; no reset yet */
		check(inb(0xcf9) == 0x02);
		outb(0xcf9, 0x06);
	} else if (arg_is("how", "keyboard")) {
		check(!(inb(0x64) & 2)); /* its input buffer is empty */
		outb(0x64, 0xfe);
	} else if (arg_is("how", "triple")) {
		say_code();
		guest_triple_fault();
	} else if (arg_is("how", "emulation")) {
		/* Instructions from where no memory is: no processor and no emulator goes on. */
		((void (*)(void))(uintptr_t)0xd0000000)();
	} else if (arg_is("how", "byte")) {
		outb(DEBUG_EXIT, (uint8_t)value);
	} else if (arg_is("how", "word")) {
		outw(DEBUG_EXIT, (uint16_t)value);
	} else if (arg_is("how", "long")) {
		outl(DEBUG_EXIT, value);
	} else if (arg_is("how", "init")) {
		apic_enable();
		apic_ipi(0, ICR_INIT);
	} else if (arg_is("how", "spin")) {
		put_str("spinning\n");
		for (;;)
			;
	} else if (arg_is("how", "halt")) {
		put_str("halting\n");
		cli();
		for (;;)
			hlt();
	} else if (arg_is("how", "print")) {
		print_on(0);
	} else if (arg_is("how", "emergency")) {
		emergency();
	} else if (arg_is("how", "crashes")) {
		for (;;)
			outb(0x505, 2); /* a panic, and on with a crash kernel */
	} else if (arg_is("how", "aside")) {
		/* Powers off while another processor prints. */
		apic_enable();
		start_ap(1, print_on, AP_PAGE);
		for (volatile uint32_t i = 0; i < 300000; i++)
			;
		outb(0x600, 0x34);
	} else if (arg_is("how", "echo")) {
		/* Polls for input; ends with status 67 at '.'. */
		put_str("ready\n");
		for (;;) {
			uint8_t c;

			while (!(inb(COM1 + 5) & 1))
				;
			c = inb(COM1);
			if (c == '.')
				return;
			outb(COM1, c);
		}
	} else if (arg_is("how", "later")) {
		/* After a while, whatever happens to its output. */
		for (uint64_t i = 0; i < arg_number("lines", 100); i++)
			put_str("a line of output\n");
		return;
	}
	/* An end of a VM is an end at once. */
	put_str("not ok: still there\n");
	for (;;)
		hlt();
}
