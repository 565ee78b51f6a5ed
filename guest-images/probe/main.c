/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workloads: what probe.h promises the host, on top of the loops in hot.S. Results are kept as
 * TSC ticks and turned into nanoseconds and text only when all have been taken.
 */
#include "apic.h"
#include "cmdline.h"
#include "compute.h"
#include "hot.h"
#include "idle.h"
#include "io.h"
#include "layout.h"
#include "pci.h"
#include "prices.h"
#include "probe.h"
#include "restore.h"
#include "serial.h"
#include "user.h"
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
_Static_assert(USER_CPUS == PROBE_POLLERS, "");
_Static_assert(SHARED + SHARED_SIZE <= PV_EOI_WORDS, "");
_Static_assert(SHARED_SIZE == sizeof(struct probe_shared), "");
_Static_assert(SAMPLES == PROBE_SAMPLES_GPA, "");
_Static_assert(PROGRESS == PROBE_PROGRESS_GPA, "");
_Static_assert(SAMPLES + PROBE_EVENTS_MAX * 8 <= PROBE_READS_GPA, "");
_Static_assert(PROBE_READS_GPA + PROBE_READS_MAX * 16 <= AP_STACKS, "");
_Static_assert(SAMPLES + PROBE_SAMPLES_MAX * 8 <= AP_STACKS, "");
_Static_assert(2 * PROBE_PRICES_SAMPLES <= PROBE_SAMPLES_MAX, "");

/* so that no delay is shorter than meant where the TSC's frequency is unknown */
#define TSC_KHZ_FASTEST 6000000

#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110

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
	.poll_control = 1,
	/* Linux's */
	.poll_ns = 200000,
	.poll_grow = 2,
	.poll_grow_start = 50000,
	.poll_shrink = 2,
	.poll_allow_shrink = 1,
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

/* Where the guest polls, a handler that user mode returns from. */
static void idt_set_either(unsigned int vector, const char *handler, const char *polling)
{
	idt_set(vector, params.haltpoll ? polling : handler);
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

static void tsc_init(void)
{
	if (!params.tsc_khz)
		params.tsc_khz = cpuid_tsc_khz();
	if (!params.tsc_khz)
		fail("no TSC frequency: give tsc_khz=");
}

/* prepares tsc_khz and, with it, the timer */
static void clocks_init(void)
{
	tsc_init();
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

static uint32_t u32(uint64_t value)
{
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* As Linux's haltpoll driver on each processor: the host is not to poll as well. */
static void poll_control_off(void)
{
	if (params.poll_control)
		wrmsr(MSR_POLL_CONTROL, 0);
}

/* Workloads that do not idle have nothing to poll for. */
static void haltpoll_init(void)
{
	const struct governor_params p = {
		.ns = u32(params.poll_ns),
		.grow = u32(params.poll_grow),
		.grow_start = u32(params.poll_grow_start),
		.shrink = u32(params.poll_shrink),
		.allow_shrink = params.poll_allow_shrink != 0,
	};

	if (params.workload == WORKLOAD_START || params.workload == WORKLOAD_CPUS ||
	    params.workload == WORKLOAD_COMPUTE || params.workload == WORKLOAD_PRICES)
		params.haltpoll = 0;
	if (!params.haltpoll)
		return;
	tsc_init();
	user_open_memory();
	idle_init(&p, params.tsc_khz);
	idt_set(VECTOR_KERNEL, user_trap);
	poll_control_off();
}

/* A workload's loop: where the guest polls, in user mode. */
static void run_loop(void (*loop)(void *), void *arg)
{
	if (params.haltpoll)
		user_run(0, loop, arg);
	else
		loop(arg);
}

static void polling_event(void *unused)
{
	uint32_t n;

	(void)unused;
	for (n = 1; !shared->stop; n++) {
		shared->halting = n;
		while (shared->handled != n)
			idle(0);
	}
}

static void polling_idle(void *unused)
{
	(void)unused;
	while (!shared->stop)
		idle(0);
}

/* Its first vector is the event's: an eventfd of another process. */
static void event_by_ivshmem(void)
{
	struct pci_dev dev;

	pci_init(params.ecam, params.window);
	if (!pci_find(IVSHMEM_VENDOR, IVSHMEM_DEVICE, IVSHMEM_DEVICE, &dev))
		fail("no ivshmem device on the PCI bus");
	if (!pci_msix(&dev, 0, boot_apic_id, PROBE_VECTOR_EVENT))
		fail("the ivshmem device has no MSI-X");
}

static void timer_init(void)
{
	clocks_init();
	idt_set_either(PROBE_VECTOR_TIMER, apic_x2 ? shot_handler_x2apic : shot_handler_xapic,
		       user_stamp);
	apic_write(APIC_LVT_TIMER, PROBE_VECTOR_TIMER);
}

/* Arms the timer and idles until then, as apic_shot(). */
static uint64_t timer_shot(uint32_t count, uint64_t *before)
{
	struct user_op op;

	if (!params.haltpoll)
		return apic_shot(APIC_TIMER_INIT, count, 0, before);
	op = apic_op(APIC_TIMER_INIT, count, 0);
	return idle_shot(&op, before);
}

static void timer_loop(void *unused)
{
	uint64_t n = params.warmup + params.samples;
	uint64_t *out = samples;
	struct gap gap;
	uint64_t i;

	(void)unused;
	gap_compute(&gap);
	for (i = 0; i < n; i++) {
		uint64_t armed, woken;

		if (params.random)
			gap_compute(&gap);
		woken = timer_shot(gap.count, &armed);
		if (i < params.warmup)
			continue;
		armed += gap.tsc;
		*out++ = woken > armed ? woken - armed : 0;
	}
}

static void run_timer(void)
{
	timer_init();
	run_loop(timer_loop, NULL);
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

static uint32_t tick_count; /* of the APIC timer; 0: no tick */

static void idle_loop(void)
{
	if (apic_x2)
		idle_loop_x2apic();
	else
		idle_loop_xapic();
}

/* Another processor that is idle. Its ticks are not counted, so they have the event's vector. */
static void ap_idle(void)
{
	__atomic_fetch_add(&shared->cpus, 1, __ATOMIC_SEQ_CST);
	if (tick_count) {
		apic_write(APIC_LVT_TIMER, APIC_LVT_PERIODIC | PROBE_VECTOR_EVENT);
		apic_write(APIC_TIMER_INIT, tick_count);
	}
	idle_loop();
}

static void run_event(void)
{
	if (params.ivshmem)
		event_by_ivshmem();
	if (params.haltpoll) {
		idt_set(PROBE_VECTOR_EVENT, user_event);
		run_loop(polling_event, NULL);
		return;
	}
	if (params.cpus > 1) {
		if (pv_eoi)
			fail("a processor halts beside another without pv_eoi");
		tsc_init();
		start_aps((uint32_t)params.cpus, ap_idle);
	}
	idt_set(PROBE_VECTOR_EVENT, apic_x2 ? event_handler_x2apic : event_handler_xapic);
	if (apic_x2)
		event_loop_x2apic();
	else
		event_loop_xapic();
}

static void run_idle(uint64_t tick_hz)
{
	idt_set_either(PROBE_VECTOR_EVENT, apic_x2 ? idle_event_x2apic : idle_event_xapic,
		       user_wake);
	if (tick_hz) {
		uint64_t count;

		if (!params.apic_hz)
			clocks_init();
		count = params.apic_hz / tick_hz;
		if (!count || count > UINT32_MAX)
			fail("tick_hz is out of range");
		tick_count = (uint32_t)count;
	}
	if (params.cpus > 1 && !params.haltpoll) {
		/* The word of the paravirtual EOI is the boot processor's. */
		if (pv_eoi)
			fail("several processors are idle without pv_eoi");
		start_aps((uint32_t)params.cpus, ap_idle);
	}
	if (tick_count) {
		idt_set_either(PROBE_VECTOR_TIMER, apic_x2 ? idle_tick_x2apic : idle_tick_xapic,
			       user_tick);
		apic_write(APIC_LVT_TIMER, APIC_LVT_PERIODIC | PROBE_VECTOR_TIMER);
		apic_write(APIC_TIMER_INIT, tick_count);
	}
	if (params.haltpoll)
		run_loop(polling_idle, NULL);
	else
		idle_loop();
	apic_write(APIC_TIMER_INIT, 0);
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

/* The second processor of a guest that polls: answers whatever wakes it. */
static void polling_answer(void *unused)
{
	const struct user_op reply =
		apic_op(APIC_ICR_LOW, ICR_ASSERT | PROBE_VECTOR_REPLY, boot_apic_id);

	(void)unused;
	for (;;) {
		idle(1);
		idle_wake(1, 0, &reply);
	}
}

static void polling_ap(void)
{
	if (pv_eoi)
		wrmsr(MSR_PV_EOI, (PV_EOI_WORDS + 4) | 1);
	poll_control_off();
	apic_aim(boot_apic_id);
	__atomic_fetch_add(&shared->cpus, 1, __ATOMIC_SEQ_CST);
	user_run(1, polling_answer, NULL);
}

static void start_peer(uint32_t peer)
{
	if (!params.haltpoll) {
		start_answering_aps(2);
		return;
	}
	idt_set(PROBE_VECTOR_IPI, user_ipi);
	/* It may come before its sender waits for it. */
	idt_set(PROBE_VECTOR_REPLY, user_stamp_kept);
	start_aps(2, polling_ap);
	apic_aim(peer);
}

static uint64_t trip_to_peer(uint32_t peer)
{
	struct user_op ipi;
	uint64_t sent;

	if (!params.haltpoll)
		return round_trip(peer);
	ipi = apic_op(APIC_ICR_LOW, ICR_ASSERT | PROBE_VECTOR_IPI, peer);
	return idle_round_trip(&ipi, &sent) - sent;
}

static void ipi_loop(void *arg)
{
	uint64_t n = params.warmup + params.samples;
	const uint32_t *peer = arg;
	struct gap gap = {0};
	uint64_t *out = samples;
	uint64_t i, ignored;

	if (params.gap_ns)
		gap_compute(&gap);
	for (i = 0; i < n; i++) {
		uint64_t took = trip_to_peer(*peer);

		if (i >= params.warmup)
			*out++ = took;
		if (!params.gap_ns)
			continue;
		if (params.random)
			gap_compute(&gap);
		timer_shot(gap.count, &ignored);
	}
}

static void run_ipi(void)
{
	uint32_t peer = boot_apic_id ? 0 : 1;

	timer_init();
	start_peer(peer);
	run_loop(ipi_loop, &peer);
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

static uint64_t polling_io_shot(uint64_t doorbell, uint32_t value, uint64_t *before)
{
	const struct user_op op = {.kernel = kernel_write16, .where = doorbell, .low = value};

	return idle_shot(&op, before);
}

static void ring(uint64_t doorbell, uint32_t value)
{
	*(volatile uint16_t *)(uintptr_t)doorbell = (uint16_t)value;
}

static void polling_ring(uint64_t doorbell, uint32_t value)
{
	const struct user_op op = {.kernel = kernel_write16, .where = doorbell, .low = value};
	uint64_t ignored;

	user_call(&op, &ignored);
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
		.write = params.blk_write != 0,
		.drain = params.drain != 0,
		.run = run_loop,
		.shot = params.haltpoll ? polling_io_shot : io_shot,
		.ring = params.haltpoll ? polling_ring : ring,
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

	user_open_memory();
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

/* The second processor, which halts; each interrupt is one tick of the shared page. */
static void ap_price(void)
{
	__atomic_fetch_add(&shared->cpus, 1, __ATOMIC_SEQ_CST);
	idle_loop_x2apic();
}

static int price_needs_timer(void)
{
	return params.op == PROBE_PRICE_CYCLE;
}

static int price_needs_peer(void)
{
	return params.op == PROBE_PRICE_IPI ||
	       (params.op == PROBE_PRICE_CYCLE && params.extra == PROBE_PRICE_IPI);
}

static void run_prices(void)
{
	struct price_request req = {
		.op = u32(params.op),
		.extra = u32(params.extra),
		.per_halt = u32(params.per_halt),
		.self = boot_apic_id,
		.peer = boot_apic_id ? 0 : 1,
		.answered = &shared->ticks,
	};
	struct gap gap;
	uint64_t i, n = params.samples;

	if (!apic_x2)
		fail("prices are those of an x2APIC");
	if (params.op >= PROBE_PRICES || params.extra >= PROBE_PRICES ||
	    params.extra == PROBE_PRICE_CYCLE || params.samples > PROBE_PRICES_SAMPLES)
		fail("no such price");
	idt_set(PROBE_VECTOR_REPLY, price_handler);
	if (price_needs_timer()) {
		timer_init();
		gap_compute(&gap);
		req.timer_count = gap.count;
		req.timer_tsc = gap.tsc;
	}
	if (price_needs_peer()) {
		if (pv_eoi)
			fail("an IPI is ended without pv_eoi");
		tsc_init();
		req.settle_tsc = 20 * params.tsc_khz / 1000;
		idt_set(PROBE_VECTOR_IPI, idle_tick_x2apic);
		start_aps(2, ap_price);
	}
	for (i = 0; i < n; i++)
		samples[i] = price_once(&req, PROBE_PRICE_NOTHING);
	for (i = 0; i < params.warmup; i++)
		price_once(&req, req.op);
	for (i = 0; i < n; i++)
		samples[n + i] = price_once(&req, req.op);
	apic_write(APIC_TIMER_INIT, 0);
	recorded = 0;
}

static void run_io(void)
{
	const struct io_request req = io_request();
	const char *wrong;

	tsc_init();
	/* A packet may come at any time, what a request brings only when that waits for it. */
	idt_set_either(PROBE_VECTOR_IO, apic_x2 ? shot_handler_x2apic : shot_handler_xapic,
		       params.workload == WORKLOAD_BLK ? user_stamp : user_stamp_kept);
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

static void print_number(const char *name, uint64_t value)
{
	put_str(name);
	put_dec(value);
}

/* Prints what the processors that poll have done. */
static void print_idle(void)
{
	uint32_t i;

	for (i = 0; i < PROBE_POLLERS && i < shared->cpus; i++) {
		const volatile struct probe_idle *n = &shared->idle[i];

		print_number("probe: idle cpu=", i);
		print_number(" polls=", n->polls);
		print_number(" found=", n->found);
		print_number(" halts=", n->halts);
		print_number(" saved=", n->ipis_saved);
		print_number(" sent=", n->ipis_sent);
		print_number(" window_ns=", n->window_ns);
		put_end();
	}
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
	haltpoll_init();
	while (params.wait && !shared->go)
		__builtin_ia32_pause();

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
	case WORKLOAD_PRICES:
		run_prices();
		break;
	case WORKLOAD_RESTORE:
		if (params.span > PROBE_SPAN_MAX || !params.span || params.pages > params.span)
			fail("pages: not so many");
		idt_set(VECTOR_KERNEL, user_trap);
		restore_run(params.pages, params.span);
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
	if (params.haltpoll)
		print_idle();
	print_end(cpus ? 1 : recorded);
	finish(PROBE_EXIT_OK);
}
