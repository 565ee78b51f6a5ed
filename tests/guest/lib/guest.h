/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts that test guests share: a PVH start into long mode with the first 4 GiB mapped one to
 * one, interrupts, the local APIC, the other processors, text on COM1, and the verdict: a check
 * that fails prints "not ok" and ends the VM with status FAILED; the end of main() is "ok" and
 * PASSED. Only instructions that every host can emulate.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEBUG_EXIT 0xf4
#define PASSED	   0x21 /* exit status 67 */
#define FAILED	   0x22 /* exit status 69 */

#define COM1	  0x3f8
#define APIC_BASE 0xfee00000u
#define IOAPIC	  0xfec00000u
#define CPUS_MAX  16

/* Local APIC registers by their xAPIC offset. */
#define APIC_ID		 0x020
#define APIC_TPR	 0x080
#define APIC_PPR	 0x0a0
#define APIC_EOI	 0x0b0
#define APIC_SVR	 0x0f0
#define APIC_ISR	 0x100
#define APIC_IRR	 0x200
#define APIC_ICR	 0x300
#define APIC_ICR_HIGH	 0x310
#define APIC_LVT_TIMER	 0x320
#define APIC_TIMER_INIT	 0x380
#define APIC_TIMER_COUNT 0x390
#define APIC_TIMER_DIV	 0x3e0
#define LVT_MASKED	 0x10000
#define LVT_PERIODIC	 0x20000
#define ICR_NMI		 0x4400
#define ICR_INIT	 0x4500
#define ICR_STARTUP	 0x4600
#define ICR_ASSERT	 0x4000
#define ICR_SELF	 0x40000
#define ICR_ALL		 0x80000
#define ICR_OTHERS	 0xc0000

#define MSR_APIC_BASE	 0x1b
#define MSR_PV_EOI	 0x4b564d04
#define MSR_POLL_CONTROL 0x4b564d05

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* Set before the interrupt can come; NULL: it fails the test. The handler says end of interrupt. */
extern void (*volatile handlers[256])(struct frame *f);

/* The test. */
void test(void);

__attribute__((noreturn)) void finish(uint32_t value);
__attribute__((noreturn)) void fail_at(const char *file, int line, const char *what);
#define check(what)                                         \
	do {                                                \
		if (!(what))                                \
			fail_at(__FILE__, __LINE__, #what); \
	} while (0)

void put_str(const char *s);
void put_hex(uint64_t v);
void put_dec(uint64_t v);
/* "name 0x1234\n" */
void put_value(const char *name, uint64_t v);

/* The command line: the value after "key=", up to a space; NULL: not there. */
const char *arg(const char *key);
bool arg_is(const char *key, const char *value);
uint64_t arg_number(const char *key, uint64_t otherwise);

/* xorshift64, a sequence for each of two processors: the same from the same @seed, which is not
 * 0. */
void random_seed(uint64_t seed);
uint64_t random(uint32_t cpu);
/* Below @n. */
uint32_t below(uint32_t cpu, uint32_t n);

/* On each processor, before any other use: enabled in the mode that apic= asks for (default
 * x2apic). */
extern bool apic_x2;
void apic_enable(void);
uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
void apic_ipi(uint32_t id, uint32_t icr);
uint32_t apic_id(void);
static inline void eoi(void)
{
	apic_write(APIC_EOI, 0);
}
bool apic_bit(uint32_t reg, uint8_t vector); /* of IRR or ISR */
/* How many TSC ticks there are to 1000 of the APIC timer at divide 1. */
uint64_t tsc_per_1000(void);
/* Reads the APIC timer's count and the time at which it was that. Of several tries the quickest
 * counts: the host may take the processor away between the two. */
uint32_t apic_count_at(uint64_t *tsc);

/* Starts processor @id by INIT and SIPI at @page: it runs main() on a stack of its own. */
void start_ap(uint32_t id, void (*main)(uint32_t id), uint32_t page);
#define AP_PAGE 0x8000u

void ioapic_write(uint32_t reg, uint32_t value);
uint32_t ioapic_read(uint32_t reg);

__attribute__((noreturn)) void guest_triple_fault(void);
extern const char guest_triple_fault_at[];

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

/* Does it raise #GP? Boot processor only. */
bool rdmsr_faults(uint32_t msr, uint64_t *value);
bool wrmsr_faults(uint32_t msr, uint64_t value);

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %w1, %0" : "=a"(value) : "d"(port));
	return value;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %w1, %0" : "=a"(value) : "d"(port));
	return value;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(port));
	return value;
}

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %w1" : : "a"(value), "d"(port));
}

static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %w1" : : "a"(value), "d"(port));
}

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %w1" : : "a"(value), "d"(port));
}

static inline void cli(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void sti(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void hlt(void)
{
	__asm__ volatile("hlt" : : : "memory");
}

/* Nothing can come between the two. */
static inline void sti_hlt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

static inline void nop(void)
{
	__asm__ volatile("nop" : : : "memory");
}

/*
 * Interrupts on, and off again. One instruction would do; but a host that emulates many in one go
 * looks for interrupts only between such goes.
 */
static inline void open_interrupts(void)
{
	sti();
	for (int i = 0; i < 1000; i++)
		nop();
	cli();
}

static inline uint64_t read_cr8(void)
{
	uint64_t value;

	__asm__ volatile("mov %%cr8, %0" : "=r"(value));
	return value;
}

static inline void write_cr8(uint64_t value)
{
	__asm__ volatile("mov %0, %%cr8" : : "r"(value) : "memory");
}

#endif
