/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#define LSR_TX_EMPTY 0x20
#define PVH_CMDLINE  24

struct gate {
	uint16_t offset_low, selector, type, offset_mid;
	uint32_t offset_high, reserved;
};

extern const char interrupt_stubs[], ap_trampoline[], ap_trampoline_end[], ap_trampoline_cs[];
extern uint32_t entry_ebx;
extern volatile uint64_t ap_stack_top;

__attribute__((noreturn)) void guest_start(void);
__attribute__((noreturn)) void guest_start_ap(void);
void guest_trap(struct frame *f);
extern struct gate guest_idt[256];

struct gate guest_idt[256];
void (*volatile handlers[256])(struct frame *f);
bool apic_x2;

static const char *cmdline;
static volatile uint64_t fixup;
static uint8_t ap_stacks[CPUS_MAX][4096] __attribute__((aligned(16)));
static void (*volatile ap_main)(uint32_t id);
static volatile uint32_t ap_taken;

static void put_char(char c)
{
	outb(COM1, (uint8_t)c);
}

void put_str(const char *s)
{
	while (*s)
		put_char(*s++);
}

void put_hex(uint64_t v)
{
	int shift = 60;

	put_str("0x");
	while (shift && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[v >> shift & 15]);
}

void put_dec(uint64_t v)
{
	char buf[24];
	int n = sizeof(buf);

	buf[--n] = '\0';
	do {
		buf[--n] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	put_str(buf + n);
}

void put_value(const char *name, uint64_t v)
{
	put_str(name);
	put_char(' ');
	put_hex(v);
	put_char('\n');
}

void finish(uint32_t value)
{
	outl(DEBUG_EXIT, value);
	for (;;)
		hlt();
}

void fail_at(const char *file, int line, const char *what)
{
	cli();
	put_str("not ok: ");
	put_str(file);
	put_char(':');
	put_dec((uint64_t)line);
	put_str(": ");
	put_str(what);
	put_char('\n');
	finish(FAILED);
}

const char *arg(const char *key)
{
	const char *p = cmdline;

	while (p && *p) {
		const char *k = key;

		while (*k && *p == *k)
			p++, k++;
		if (!*k && *p == '=')
			return p + 1;
		while (*p && *p != ' ')
			p++;
		while (*p == ' ')
			p++;
	}
	return NULL;
}

bool arg_is(const char *key, const char *value)
{
	const char *p = arg(key);

	if (!p)
		return false;
	while (*value && *p == *value)
		p++, value++;
	return !*value && (!*p || *p == ' ');
}

uint64_t arg_number(const char *key, uint64_t otherwise)
{
	const char *p = arg(key);
	uint64_t v = 0;

	if (!p)
		return otherwise;
	while (*p >= '0' && *p <= '9')
		v = v * 10 + (uint64_t)(*p++ - '0');
	return v;
}

void guest_trap(struct frame *f)
{
	if (f->vector < 32 && f->vector != 2 && fixup) {
		f->rip = fixup;
		fixup = 0;
		return;
	}
	if (handlers[f->vector]) {
		handlers[f->vector](f);
		return;
	}
	put_value("not ok: unexpected vector", f->vector);
	put_value("rip", f->rip);
	put_value("error code", f->error);
	finish(FAILED);
}

bool rdmsr_faults(uint32_t msr, uint64_t *value)
{
	uint32_t low = 0, high = 0;
	uint64_t faulted = 1;

	__asm__ volatile("movq $1f, %3\n\t"
			 "rdmsr\n\t"
			 "xor %k2, %k2\n"
			 "1:"
			 : "+a"(low), "+d"(high), "+r"(faulted), "=m"(fixup)
			 : "c"(msr)
			 : "memory");
	fixup = 0;
	if (value)
		*value = (uint64_t)high << 32 | low;
	return faulted;
}

bool wrmsr_faults(uint32_t msr, uint64_t value)
{
	uint64_t faulted = 1;

	__asm__ volatile("movq $1f, %1\n\t"
			 "wrmsr\n\t"
			 "xor %k0, %k0\n"
			 "1:"
			 : "+r"(faulted), "=m"(fixup)
			 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
	fixup = 0;
	return faulted;
}

static volatile uint32_t *apic_at(uint32_t reg)
{
	return (volatile uint32_t *)(uintptr_t)(APIC_BASE + reg);
}

uint32_t apic_read(uint32_t reg)
{
	return apic_x2 ? (uint32_t)rdmsr(0x800 + (reg >> 4)) : *apic_at(reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
	if (apic_x2)
		wrmsr(0x800 + (reg >> 4), value);
	else
		*apic_at(reg) = value;
}

void apic_ipi(uint32_t id, uint32_t icr)
{
	if (apic_x2) {
		wrmsr(0x830, (uint64_t)id << 32 | icr);
		return;
	}
	apic_write(APIC_ICR_HIGH, id << 24);
	apic_write(APIC_ICR, icr);
}

uint32_t apic_id(void)
{
	return apic_x2 ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

bool apic_bit(uint32_t reg, uint8_t vector)
{
	return apic_read(reg + (vector / 32u) * 0x10) >> (vector % 32u) & 1;
}

void apic_enable(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	if (apic_x2)
		wrmsr(MSR_APIC_BASE, base | 0xc00);
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_TIMER_DIV, 0xb);
}

uint32_t apic_count_at(uint64_t *tsc)
{
	uint64_t least = UINT64_MAX;
	uint32_t count = 0;

	for (int i = 0; i < 8; i++) {
		uint64_t before = rdtsc();
		uint32_t now = apic_read(APIC_TIMER_COUNT);
		uint64_t after = rdtsc();

		if (after - before < least) {
			least = after - before;
			count = now;
			*tsc = after;
		}
	}
	return count;
}

uint64_t tsc_per_1000(void)
{
	uint32_t c0, c1;
	uint64_t t0, t1;

	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_TIMER_INIT, UINT32_MAX);
	c0 = apic_count_at(&t0);
	do
		c1 = apic_count_at(&t1);
	while (c0 - c1 < 10000000);
	apic_write(APIC_TIMER_INIT, 0);
	return (t1 - t0) * 1000 / (c0 - c1);
}

static uint64_t seeds[2];

void random_seed(uint64_t seed)
{
	seeds[0] = seed * UINT64_C(0x9e3779b97f4a7c15);
	seeds[1] = seeds[0] ^ UINT64_C(0x5555555555555555);
}

uint64_t random(uint32_t cpu)
{
	uint64_t x = seeds[cpu];

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	seeds[cpu] = x;
	return x;
}

uint32_t below(uint32_t cpu, uint32_t n)
{
	return (uint32_t)(random(cpu) >> 32) % n;
}

void start_ap(uint32_t id, void (*main)(uint32_t id), uint32_t page)
{
	volatile uint8_t *to = (void *)(uintptr_t)page;
	size_t n = (size_t)(ap_trampoline_end - ap_trampoline);

	check(id < CPUS_MAX);
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)ap_trampoline[i];
	ap_stack_top = (uint64_t)(uintptr_t)ap_stacks[id] + sizeof(ap_stacks[id]);
	ap_main = main;
	ap_taken = 0;
	apic_ipi(id, ICR_INIT);
	apic_ipi(id, ICR_STARTUP | page >> 12);
	while (!ap_taken)
		;
	check(*(volatile uint16_t *)(uintptr_t)(page + (ap_trampoline_cs - ap_trampoline)) ==
	      page >> 4);
}

void guest_start_ap(void)
{
	void (*main)(uint32_t id) = ap_main;

	apic_enable();
	ap_taken = 1;
	main(apic_id());
	for (;;)
		sti_hlt();
}

void ioapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)IOAPIC = reg;
	*(volatile uint32_t *)(uintptr_t)(IOAPIC + 0x10) = value;
}

uint32_t ioapic_read(uint32_t reg)
{
	*(volatile uint32_t *)(uintptr_t)IOAPIC = reg;
	return *(volatile uint32_t *)(uintptr_t)(IOAPIC + 0x10);
}

void guest_start(void)
{
	const uint8_t *info = (const void *)(uintptr_t)entry_ebx;

	for (int i = 0; i < 256; i++) {
		uintptr_t at = (uintptr_t)interrupt_stubs + 16 * (uintptr_t)i;

		guest_idt[i] =
			(struct gate){(uint16_t)at, 0x08, 0x8e00, (uint16_t)(at >> 16), 0, 0};
	}
	cmdline = (const char *)(uintptr_t) * (const uint64_t *)(const void *)(info + PVH_CMDLINE);
	apic_x2 = !arg_is("apic", "xapic");
	test();
	put_str("ok\n");
	finish(PASSED);
}
