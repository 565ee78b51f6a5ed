/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Priorities (Intel SDM volume 3, "Task and Processor Priorities"): TPR and CR8 hold back, the
 * highest comes first, a higher one interrupts a lower one's handler and not the other way round.
 */
#include "lib/guest.h"

static volatile uint32_t order[16], n;
static volatile uint8_t nested_send;

static void note(struct frame *f)
{
	order[n++] = (uint32_t)f->vector;
	if (nested_send) {
		uint8_t vector = nested_send;

		nested_send = 0;
		apic_ipi(0, ICR_SELF | vector);
		open_interrupts();
		order[n++] = (uint32_t)f->vector | 0x100; /* the end of the handler */
	}
	eoi();
}

/* So many come, and no more. */
static void expect(uint32_t count)
{
	while (n < count)
		open_interrupts();
	open_interrupts();
	check(n == count);
}

/* Where KVM emulates the instruction it does not tell of it: so the guest looks at the register,
 * too. */
static void lower_cr8(uint64_t value)
{
	write_cr8(value);
	check(apic_read(APIC_TPR) == value << 4);
}

static void send(uint8_t vector)
{
	apic_ipi(0, ICR_SELF | vector);
}

void test(void)
{
	for (int v = 0x40; v < 0x100; v++)
		handlers[v] = note;
	apic_enable();

	/* Interrupts off: held back, and delivered once they are on, the highest first. */
	send(0x45);
	send(0x85);
	send(0x46);
	send(0xf1);
	check(n == 0);
	check(apic_bit(APIC_IRR, 0x45) && apic_bit(APIC_IRR, 0xf1));
	expect(4);
	check(order[0] == 0xf1 && order[1] == 0x85 && order[2] == 0x46 && order[3] == 0x45);
	check(!apic_bit(APIC_IRR, 0x45) && !apic_bit(APIC_ISR, 0x45));

	/* The same vector twice before it is taken is one. */
	n = 0;
	send(0x60);
	send(0x60);
	expect(1);

	/* CR8: class 6 and below are held back. */
	n = 0;
	write_cr8(6);
	check(read_cr8() == 6);
	check(apic_read(APIC_TPR) == 0x60);
	send(0x60);
	send(0x6f);
	send(0x70);
	expect(1);
	check(order[0] == 0x70);
	lower_cr8(5);
	expect(3);
	check(order[1] == 0x6f && order[2] == 0x60);
	/* With interrupts on, lowering CR8 is enough. */
	write_cr8(9);
	n = 0;
	sti();
	send(0x90);
	for (int i = 0; i < 1000; i++)
		nop();
	check(n == 0);
	lower_cr8(0);
	while (n == 0)
		;
	cli();
	check(n == 1);

	/* TPR through its register is the same thing. */
	n = 0;
	apic_write(APIC_TPR, 0xa0);
	check(read_cr8() == 0xa);
	check(apic_read(APIC_PPR) == 0xa0);
	send(0xa5);
	send(0xb0);
	expect(1);
	check(order[0] == 0xb0);
	apic_write(APIC_TPR, 0);
	expect(2);
	check(order[1] == 0xa5);

	/* A higher class interrupts the handler ... */
	n = 0;
	nested_send = 0xc0;
	send(0x80);
	expect(3);
	check(order[0] == 0x80 && order[1] == 0xc0 && order[2] == 0x180);
	/* ... the same class and a lower one wait for its end. */
	n = 0;
	nested_send = 0x8f;
	send(0x80);
	expect(3);
	check(order[0] == 0x80 && order[1] == 0x180 && order[2] == 0x8f);
	n = 0;
	nested_send = 0x50;
	send(0x80);
	expect(3);
	check(order[0] == 0x80 && order[1] == 0x180 && order[2] == 0x50);

	/* Nothing in service, nothing requested is left. */
	for (uint32_t i = 0; i < 8; i++) {
		check(apic_read(APIC_IRR + i * 0x10) == 0);
		check(apic_read(APIC_ISR + i * 0x10) == 0);
	}

	/* The self-IPI register (x2APIC). */
	if (apic_x2) {
		n = 0;
		wrmsr(0x83f, 0x77);
		expect(1);
		check(order[0] == 0x77);
	}
}
