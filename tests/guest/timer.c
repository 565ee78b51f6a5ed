/* SPDX-License-Identifier: Apache-2.0 */
/* The APIC timer (Intel SDM volume 3, "APIC Timer"): one-shot, periodic, masked, stopped,
 * divided. */
#include "lib/guest.h"

#define VECTOR 0x51

static volatile uint32_t ticks;
static volatile uint64_t last;
static uint64_t per_1000;

static void on_timer(struct frame *f)
{
	last = rdtsc();
	ticks++;
	eoi();
}

static void wait_ticks(uint32_t n, bool halt)
{
	while (ticks < n) {
		if (halt)
			sti_hlt();
		else
			open_interrupts();
		cli();
	}
}

/* So many timer ticks pass; interrupts as they are. */
static void spend(uint64_t count)
{
	uint64_t until = rdtsc() + count * per_1000 / 1000;

	while (rdtsc() < until)
		;
}

static void one_shot(bool halt, uint32_t count)
{
	uint64_t before;

	ticks = 0;
	apic_write(APIC_LVT_TIMER, VECTOR);
	before = rdtsc();
	apic_write(APIC_TIMER_INIT, count);
	check(apic_read(APIC_TIMER_COUNT) <= count);
	wait_ticks(1, halt);
	/* Not early; the scale was measured, so allow it one part in a hundred. */
	check(last - before >= (uint64_t)count * per_1000 / 1000 * 99 / 100);
	check(apic_read(APIC_TIMER_COUNT) == 0);
	sti();
	spend(3 * (uint64_t)count);
	cli();
	check(ticks == 1);
}

static void periodic(bool halt)
{
	uint64_t before;

	ticks = 0;
	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
	before = rdtsc();
	apic_write(APIC_TIMER_INIT, 500000);
	wait_ticks(20, halt);
	check(last - before >= UINT64_C(20) * 500000 * per_1000 / 1000 * 95 / 100);
	check(apic_read(APIC_TIMER_COUNT) <= 500000);
	apic_write(APIC_TIMER_INIT, 0); /* stops it */
	open_interrupts();
	ticks = 0;
	sti();
	spend(2000000);
	cli();
	check(ticks == 0);
	check(apic_read(APIC_TIMER_COUNT) == 0);
}

void test(void)
{
	uint32_t c0, c1;
	uint64_t t0, t1;

	handlers[VECTOR] = on_timer;
	apic_enable();
	per_1000 = tsc_per_1000();
	check(per_1000);
	one_shot(true, 1000000);
	one_shot(false, 1000000);
	one_shot(true, 20000);
	one_shot(true, 1);
	periodic(true);
	periodic(false);

	/* Masked: it counts, and says nothing. */
	ticks = 0;
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
	apic_write(APIC_TIMER_INIT, 200000);
	sti();
	spend(1000000);
	cli();
	check(ticks == 0);
	check(!apic_bit(APIC_IRR, VECTOR));

	/* A spinning processor with interrupts on is interrupted; one with them off has it in
	 * IRR. */
	apic_write(APIC_LVT_TIMER, VECTOR);
	apic_write(APIC_TIMER_INIT, 300000);
	/* KVM's own timer is the host's, which may be late. */
	for (int i = 0; i < 1000 && !apic_bit(APIC_IRR, VECTOR); i++)
		spend(1500000);
	check(ticks == 0);
	check(apic_bit(APIC_IRR, VECTOR));
	/* A host that emulates many instructions in one go may take it in the next. */
	for (int i = 0; i < 10 && ticks == 0; i++)
		open_interrupts();
	check(ticks == 1);
	check(!apic_bit(APIC_IRR, VECTOR) && !apic_bit(APIC_ISR, VECTOR));

	/* Divide by 16. */
	apic_write(APIC_TIMER_DIV, 0x3);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
	apic_write(APIC_TIMER_INIT, UINT32_MAX);
	c0 = apic_count_at(&t0);
	spend(8000000);
	c1 = apic_count_at(&t1);
	check((uint64_t)(c0 - c1) * per_1000 * 16 / 1000 > (t1 - t0) * 8 / 10);
	check((uint64_t)(c0 - c1) * per_1000 * 16 / 1000 < (t1 - t0) * 12 / 10);
}
