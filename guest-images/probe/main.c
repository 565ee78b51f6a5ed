/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workloads: what probe.h promises the host, on top of the loops in hot.S. Results are kept as
 * TSC ticks and turned into nanoseconds and text only when all have been taken.
 */
#include "apic.h"
#include "cmdline.h"
#include "compute.h"
#include "hot.h"
#include "io.h"
#include "layout.h"
#include "pci.h"
#include "probe.h"
#include "serial.h"
#include "x86.h"

#include <stddef.h>

_Static_assert(SHARED == PROBE_SHARED_GPA && MAGIC == PROBE_MAGIC && ABI == PROBE_ABI, "");
_Static_assert(VECTOR_REPLY == PROBE_VECTOR_REPLY, "");
_Static_assert(SHARED_MAGIC == offsetof(struct probe_shared, magic), "");
_Static_assert(SHARED_ABI == offsetof(struct probe_shared, abi), "");
_Static_assert(SHARED_CPUS == offsetof(struct probe_shared, cpus), "");
_Static_assert(SHARED_FIRST_TSC == offsetof(struct probe_shared, first_tsc), "");
_Static_assert(SHARED_HALTING == offsetof(struct probe_shared, halting), "");
_Static_assert(SHARED_HANDLED == offsetof(struct probe_shared, handled), "");
_Static_assert(SHARED_STOP == offsetof(struct probe_shared, stop), "");
_Static_assert(SHARED_TICKS == offsetof(struct probe_shared, ticks), "");
_Static_assert(SHARED_SIZE == sizeof(struct probe_shared), "");
_Static_assert(SAMPLES == PROBE_SAMPLES_GPA, "");
_Static_assert(PROGRESS == PROBE_PROGRESS_GPA, "");
_Static_assert(SAMPLES + PROBE_EVENTS_MAX * 8 <= PROBE_READS_GPA, "");
_Static_assert(PROBE_READS_GPA + PROBE_READS_MAX * 16 <= AP_STACKS, "");
_Static_assert(SAMPLES + PROBE_SAMPLES_MAX * 8 <= AP_STACKS, "");

/* so that no delay is shorter than meant where the TSC's frequency is unknown */
#define TSC_KHZ_FASTEST 6000000

_Noreturn void main(const char *line);
_Noreturn void trap(uint64_t vector, uint64_t rip);

/* where hot.S lets an AP wait; start.S jumps there */
void (*ap_loop)(void);
uint32_t pv_eoi; /* for hot.S: end interrupts the paravirtual way, which needs x2APIC here */

static struct params params = {
	.samples = 1000,
	.gap_ns = 1000000,
	.seed = 1,
	.cpus = 1,
	.print = 1,
	.window = 0xc0000000,
};

static volatile struct probe_shared *const shared = (void *)(uintptr_t)PROBE_SHARED_GPA;
static uint64_t *const samples = (void *)(uintptr_t)SAMPLES;
static uint64_t recorded;

static _Noreturn void finish(uint32_t value)
{
	if (params.exit_port)
		outl((uint16_t)params.exit_port, value);
	triple_fault();
}

static _Noreturn void fail(const char *text)
{
	put_str("probe: error ");
	put_str(text);
	put_end();
	finish(PROBE_EXIT_ERROR);
}

_Noreturn void trap(uint64_t vector, uint64_t rip)
{
	put_str("probe: error exception ");
	put_dec(vector);
	put_str(" at ");
	put_hex(rip);
	put_end();
	finish(PROBE_EXIT_ERROR);
}

static void idt_set(unsigned int vector, const char *handler)
{
	idt[vector].offset_low = (uint16_t)((uintptr_t)handler - IMAGE_BASE);
	idt[vector].selector = SEL_CODE64;
	idt[vector].offset_mid = IMAGE_BASE >> 16;
	idt[vector].type = 0x8e00;
}

/* frequency of the TSC by CPUID, or 0 */
static uint64_t cpuid_tsc_khz(void)
{
	uint32_t regs[4];

	cpuid(0, regs);
	if (regs[0] >= 0x15) {
		cpuid(0x15, regs);
		if (regs[0] && regs[1] && regs[2])
			return (uint64_t)regs[2] * regs[1] / regs[0] / 1000;
	}
	cpuid(0x40000000, regs);
	if (regs[0] >= 0x40000010 && regs[0] < 0x40010000) {
		cpuid(0x40000010, regs);
		return regs[0];
	}
	return 0;
}

/* prepares tsc_khz and, with it, the timer */
static void clocks_init(void)
{
	if (!params.tsc_khz)
		params.tsc_khz = cpuid_tsc_khz();
	if (!params.tsc_khz)
		fail("no TSC frequency: give tsc_khz=");
	if (!params.apic_hz)
		params.apic_hz = apic_calibrate(params.tsc_khz);
	if (!params.apic_hz)
		fail("the APIC timer does not count: give apic_hz=");
}

static uint32_t timer_count(uint64_t ns)
{
	uint64_t count;

	if (ns > 1000000000000) /* 1000 s: far too long already, and the product below fits */
		fail("gap_ns is too long for the APIC timer");
	count = muldiv(ns, params.apic_hz, 1000000000);
	if (count > UINT32_MAX)
		fail("gap_ns is too long for the APIC timer");
	return count ? (uint32_t)count : 1;
}

/* the next gap: gap_ns, or uniform in [gap_ns / 2, 3 * gap_ns / 2] */
static uint64_t next_gap_ns(void)
{
	static uint64_t state;
	uint64_t low, high;

	if (!params.random)
		return params.gap_ns;
	if (!state)
		state = params.seed ? params.seed : 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	__asm__("mulq %2"
		: "=a"(low), "=&d"(high)
		: "r"(params.gap_ns + 1), "0"(state * 0x2545f4914f6cdd1d)
		: "cc");
	return params.gap_ns / 2 + high;
}

/* A gap as timer ticks and as TSC ticks; a constant one is computed once, for the loops' sake. */
struct gap {
	uint32_t count;
	uint64_t tsc;
};

static void gap_compute(struct gap *gap)
{
	uint64_t ns = next_gap_ns();

	gap->count = timer_count(ns);
	gap->tsc = muldiv(ns, params.tsc_khz, 1000000);
}

static void run_event(void)
{
	idt_set(PROBE_VECTOR_EVENT, apic_x2 ? event_handler_x2apic : event_handler_xapic);
	if (apic_x2)
		event_loop_x2apic();
	else
		event_loop_xapic();
}

static void run_idle(uint64_t tick_hz)
{
	idt_set(PROBE_VECTOR_EVENT, apic_x2 ? idle_event_x2apic : idle_event_xapic);
	if (tick_hz) {
		uint64_t count;

		if (!params.apic_hz)
			clocks_init();
		count = params.apic_hz / tick_hz;
		if (!count || count > UINT32_MAX)
			fail("tick_hz is out of range");
		idt_set(PROBE_VECTOR_TIMER, apic_x2 ? idle_tick_x2apic : idle_tick_xapic);
		apic_write(APIC_LVT_TIMER, APIC_LVT_PERIODIC | PROBE_VECTOR_TIMER);
		apic_write(APIC_TIMER_INIT, (uint32_t)count);
	}
	if (apic_x2)
		idle_loop_x2apic();
	else
		idle_loop_xapic();
	apic_write(APIC_TIMER_INIT, 0);
}

static void timer_init(void)
{
	clocks_init();
	idt_set(PROBE_VECTOR_TIMER, apic_x2 ? shot_handler_x2apic : shot_handler_xapic);
	apic_write(APIC_LVT_TIMER, PROBE_VECTOR_TIMER);
}

static void run_timer(void)
{
	uint64_t n = params.warmup + params.samples;
	uint64_t *out = samples;
	struct gap gap;
	uint64_t i;

	timer_init();
	gap_compute(&gap);
	for (i = 0; i < n; i++) {
		uint64_t armed, woken;

		if (params.random)
			gap_compute(&gap);
		woken = apic_shot(APIC_TIMER_INIT, gap.count, 0, &armed);
		if (i < params.warmup)
			continue;
		armed += gap.tsc;
		*out++ = woken > armed ? woken - armed : 0;
	}
	recorded = params.samples;
}

static void delay_us(uint64_t us)
{
	uint64_t khz = params.tsc_khz ? params.tsc_khz : TSC_KHZ_FASTEST;
	uint64_t begin = rdtsc();

	while (rdtsc() - begin < us * khz / 1000)
		;
}

/* waits until so many processors have come up; false if us pass before */
static int cpus_reached(uint32_t cpus, uint64_t us)
{
	for (; us; us = us > 10 ? us - 10 : 0) {
		if (shared->cpus >= cpus)
			return 1;
		delay_us(10);
	}
	return 0;
}

/* Starts the others one by one, because they share the trampoline's variables and the TSS. They go
 * on at @loop, which counts them in. */
static void start_aps(uint32_t cpus, void (*loop)(void))
{
	volatile uint64_t *to = (void *)(uintptr_t)AP_TRAMPOLINE;
	const uint64_t *from = (const void *)ap_trampoline;
	uint32_t id, up = 1;

	if (cpus > CPUS_MAX)
		fail("too many cpus");
	while ((const char *)from < ap_trampoline_end)
		*to++ = *from++;
	ap_loop = loop;
	for (id = 0; up < cpus; id++) {
		if (id == boot_apic_id)
			continue;
		ap_stack_top = AP_STACKS + up * AP_STACK_SIZE;
		up++;
		apic_ipi(id, ICR_INIT);
		delay_us(200);
		apic_ipi(id, ICR_STARTUP | AP_TRAMPOLINE >> 12);
		if (cpus_reached(up, 10000))
			continue;
		apic_ipi(id, ICR_STARTUP | AP_TRAMPOLINE >> 12);
		if (!cpus_reached(up, 1000000)) {
			put_str("probe: error cpu ");
			put_dec(id);
			put_str(" does not start");
			put_end();
			finish(PROBE_EXIT_ERROR);
		}
	}
}

/* those that answer IPIs */
static void start_answering_aps(uint32_t cpus)
{
	idt_set(PROBE_VECTOR_IPI, apic_x2 ? ap_handler_x2apic : ap_handler_xapic);
	idt_set(PROBE_VECTOR_REPLY, apic_x2 ? shot_handler_x2apic : shot_handler_xapic);
	start_aps(cpus, apic_x2 ? ap_loop_x2apic : ap_loop_xapic);
}

/* the round trip to a processor and back, in TSC ticks */
static uint64_t round_trip(uint32_t id)
{
	uint64_t sent, woken;

	woken = apic_shot(APIC_ICR_LOW, ICR_ASSERT | PROBE_VECTOR_IPI, id, &sent);
	return woken - sent;
}

static void run_ipi(void)
{
	uint64_t n = params.warmup + params.samples;
	struct gap gap = {0};
	uint64_t *out = samples;
	uint64_t i, ignored;
	uint32_t peer;

	timer_init();
	start_answering_aps(2);
	peer = boot_apic_id ? 0 : 1;
	if (params.gap_ns)
		gap_compute(&gap);
	for (i = 0; i < n; i++) {
		uint64_t took = round_trip(peer);

		if (i >= params.warmup)
			*out++ = took;
		if (!params.gap_ns)
			continue;
		if (params.random)
			gap_compute(&gap);
		apic_shot(APIC_TIMER_INIT, gap.count, 0, &ignored);
	}
	recorded = params.samples;
}

/* returns how many processors are there and answer */
static uint64_t run_cpus(void)
{
	uint32_t cpus = params.cpus ? (uint32_t)params.cpus : 1;
	uint32_t id, answered = 1;

	start_answering_aps(cpus);
	for (id = 0; answered < cpus; id++) {
		if (id == boot_apic_id)
			continue;
		round_trip(id);
		answered++;
	}
	return answered;
}

static struct io_request io_request(void)
{
	return (struct io_request){
		.samples = samples,
		.count = params.samples,
		.warmup = params.warmup,
		.seed = params.seed,
		.apic_id = boot_apic_id,
		.vector = PROBE_VECTOR_IO,
		.id = params.blk_id != 0,
	};
}

static void ap_compute(void)
{
	const struct compute_regs none = {0};

	compute_run(__atomic_fetch_add(&shared->cpus, 1, __ATOMIC_SEQ_CST), &none);
}

static void run_compute(void)
{
	uint64_t *reads = (uint64_t *)(uintptr_t)PROBE_READS_GPA;
	struct compute_regs regs = {.reads = reads, .end = reads + 2 * PROBE_READS_MAX};
	const struct io_request req = io_request();
	struct io_disk disk;
	const char *wrong;

	compute_open_memory();
	idt_set(PROBE_VECTOR_EVENT, compute_event);
	idt_set(PROBE_VECTOR_IO, compute_read);
	if (params.cpus > 1)
		start_aps((uint32_t)params.cpus, ap_compute);
	if (params.disk) {
		pci_init(params.ecam, params.window);
		wrong = io_blk_begin(&req, &disk);
		if (wrong)
			fail(wrong);
		/* The largest power of two that the disk has. */
		for (regs.mask = 1; regs.mask * 2 <= disk.blocks; regs.mask *= 2)
			;
		regs.mask = regs.mask * 8 - 1;
		regs.doorbell = disk.doorbell;
	}
	compute_run(0, &regs);
	recorded = 0;
}

static void run_io(void)
{
	const struct io_request req = io_request();
	const char *wrong;

	if (!params.tsc_khz)
		params.tsc_khz = cpuid_tsc_khz();
	if (!params.tsc_khz)
		fail("no TSC frequency: give tsc_khz=");
	idt_set(PROBE_VECTOR_IO, apic_x2 ? shot_handler_x2apic : shot_handler_xapic);
	pci_init(params.ecam, params.window);
	recorded = params.samples;
	if (params.workload == WORKLOAD_BLK)
		wrong = io_blk(&req);
	else
		wrong = io_echo(&req, &shared->handled, &shared->stop, &recorded);
	if (wrong)
		fail(wrong);
}

static void print_samples(void)
{
	uint64_t i;

	for (i = 0; i < recorded; i++)
		put_sample(muldiv(samples[i], 1000000, params.tsc_khz));
}

static void print_end(uint64_t n)
{
	put_str("probe: end samples=");
	put_dec(n);
	put_end();
}

_Noreturn void main(const char *line)
{
	uint64_t cpus = 0;

	serial_init();
	cmdline_parse(line, &params);
	if (params.workload == WORKLOAD_NONE)
		fail("no workload= that is known");
	if (params.samples > PROBE_SAMPLES_MAX)
		fail("too many samples");
	put_str("probe: start workload=");
	put_str(workload_names[params.workload]);
	put_str(" abi=");
	put_dec(PROBE_ABI);
	put_end();

	apic_choose(params.xapic);
	apic_enable();
	boot_apic_id = apic_x2 ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
	idt_set(VECTOR_SPURIOUS, spurious);
	pv_eoi = params.pv_eoi && apic_x2;
	if (pv_eoi)
		wrmsr(MSR_PV_EOI, PV_EOI_WORDS | 1);

	switch (params.workload) {
	case WORKLOAD_EVENT:
		run_event();
		break;
	case WORKLOAD_TIMER:
		run_timer();
		break;
	case WORKLOAD_IPI:
		run_ipi();
		break;
	case WORKLOAD_IDLE:
		run_idle(params.tick_hz);
		break;
	case WORKLOAD_MEMORY:
		run_idle(0);
		break;
	case WORKLOAD_CPUS:
		cpus = run_cpus();
		break;
	case WORKLOAD_BLK:
	case WORKLOAD_ECHO:
		run_io();
		break;
	case WORKLOAD_COMPUTE:
		run_compute();
		break;
	case WORKLOAD_START:
	case WORKLOAD_NONE:
	case WORKLOADS:
		break;
	}

	/* after the samples, for a host that reads them from memory */
	__atomic_store_n(&shared->done, 1, __ATOMIC_RELEASE);
	if (cpus)
		put_sample(cpus);
	if (params.print)
		print_samples();
	print_end(cpus ? 1 : recorded);
	finish(PROBE_EXIT_OK);
}
