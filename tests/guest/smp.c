/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other processors: INIT and SIPI start one in real mode at the page that the vector names, with
 * its own APIC id; a second SIPI is ignored; INIT stops one that runs, and it can be started again
 * elsewhere.
 */
#include "lib/guest.h"

#define STOP 0x55

static volatile uint32_t up[CPUS_MAX], beats[CPUS_MAX], answers;

static void on_ipi(struct frame *f)
{
	__atomic_fetch_add(&answers, 1, __ATOMIC_RELAXED);
	eoi();
}

static void halted(uint32_t id)
{
	up[id]++;
	for (;;)
		sti_hlt();
}

static void running(uint32_t id)
{
	up[id]++;
	for (;;)
		beats[id]++;
}

static void wait_for(volatile uint32_t *word, uint32_t value)
{
	while (*word != value)
		;
}

static void pass(uint64_t tsc)
{
	uint64_t until = rdtsc() + tsc;

	while (rdtsc() < until)
		;
}

void test(void)
{
	uint32_t cpus = (uint32_t)arg_number("cpus", 2), seen;
	uint64_t stopped = arg_number("stopped", 20000000); /* ticks of the TSC */

	handlers[0x50] = on_ipi;
	apic_enable();
	check(apic_id() == 0);
	check(rdmsr(MSR_APIC_BASE) & 0x100); /* the bootstrap processor */
	for (uint32_t id = 1; id < cpus; id++) {
		start_ap(id, halted, AP_PAGE + (id & 3) * 0x1000);
		wait_for(&up[id], 1);
	}

	/* To each, to all others, to all. */
	for (uint32_t id = 1; id < cpus; id++) {
		answers = 0;
		apic_ipi(id, ICR_ASSERT | 0x50);
		wait_for(&answers, 1);
	}
	answers = 0;
	apic_ipi(0, ICR_OTHERS | ICR_ASSERT | 0x50);
	wait_for(&answers, cpus - 1);
	answers = 0;
	apic_ipi(0, ICR_ALL | ICR_ASSERT | 0x50);
	sti();
	wait_for(&answers, cpus);
	cli();

	/* A startup to one that runs is ignored. */
	apic_ipi(1, ICR_STARTUP | AP_PAGE >> 12);
	answers = 0;
	apic_ipi(1, ICR_ASSERT | 0x50);
	wait_for(&answers, 1);
	check(up[1] == 1);

	/* INIT, then start again, this time to run. */
	start_ap(1, running, AP_PAGE + 0x3000);
	wait_for(&up[1], 2);
	seen = beats[1];
	while (beats[1] == seen)
		;
	/* INIT stops it, in the middle of its work. */
	apic_ipi(1, ICR_INIT);
	pass(stopped);
	seen = beats[1];
	pass(stopped);
	check(beats[1] == seen);
	/* It takes no interrupt while it waits. */
	answers = 0;
	apic_ipi(1, ICR_ASSERT | 0x50);
	pass(5000000);
	check(answers == 0);
	start_ap(1, halted, AP_PAGE);
	wait_for(&up[1], 3);
	apic_ipi(1, ICR_ASSERT | 0x50);
	wait_for(&answers, 1);
}
