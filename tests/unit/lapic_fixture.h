/* SPDX-License-Identifier: Apache-2.0 */
/* One local APIC on a bus of its own, with a clock of two ticks a nanosecond that only the test
 * moves. */
#ifndef TESTS_UNIT_LAPIC_FIXTURE_H
#define TESTS_UNIT_LAPIC_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "devices/lapic.h"

#define NEVER	     UINT64_MAX
#define TICKS_PER_NS 2
#define ENABLED	     0x100u
#define MASKED	     (1u << 16)
#define PERIODIC     (1u << 17)
#define TSC_DEADLINE (2u << 17)
#define X2APIC_BASE  (LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)

/* MSR numbers; the MMIO offset is (msr & 0xff) * 16. */
enum {
	ID = 0x802,
	VERSION = 0x803,
	TPR = 0x808,
	APR = 0x809,
	PPR = 0x80a,
	EOI = 0x80b,
	RRD = 0x80c,
	LDR = 0x80d,
	DFR = 0x80e,
	SVR = 0x80f,
	ISR = 0x810,
	TMR = 0x818,
	IRR = 0x820,
	ESR = 0x828,
	CMCI = 0x82f,
	ICR = 0x830,
	ICR2 = 0x831,
	LVT_TIMER = 0x832,
	LVT_THERMAL = 0x833,
	LVT_PERF = 0x834,
	LVT_LINT0 = 0x835,
	LVT_LINT1 = 0x836,
	LVT_ERROR = 0x837,
	TIMER_INITIAL = 0x838,
	TIMER_CURRENT = 0x839,
	TIMER_DIVIDE = 0x83e,
	SELF_IPI = 0x83f,
};

struct vm {
	struct lapic lapic;
	struct lapic *lapics[1];
	struct lapic_bus bus;
	struct clock clock;
	unsigned int wakes, eois;
	uint8_t eoi_vector;
};

static inline void on_wake(void *ctx, uint32_t id, bool ipi)
{
	struct vm *vm = ctx;

	assert_int_equal(id, 0);
	assert_false(ipi);
	vm->wakes++;
}

static inline void on_eoi(void *ctx, uint8_t vector)
{
	struct vm *vm = ctx;

	vm->eois++;
	vm->eoi_vector = vector;
}

/* As after power-up: xAPIC, software-disabled. */
static inline struct lapic *power_up(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->clock = (struct clock){
		.tsc = true,
		.khz = 1000000 * TICKS_PER_NS,
		.to_ns = (UINT64_C(1) << 32) / TICKS_PER_NS,
		.to_ticks = (uint64_t)TICKS_PER_NS << 32,
	};
	vm->lapics[0] = &vm->lapic;
	vm->bus = (struct lapic_bus){
		.lapics = vm->lapics, .count = 1, .wake = on_wake, .eoi = on_eoi, .ctx = vm};
	lapic_init(&vm->lapic, &vm->bus, 0, true, &vm->clock);
	return &vm->lapic;
}

static inline uint32_t mmio_read_at(struct lapic *l, uint32_t reg, uint64_t now)
{
	uint32_t value = 0xdeadbeef;

	lapic_mmio_read(l, (reg & 0xff) * 16, &value, 4, now);
	return value;
}

static inline uint32_t mmio_read(struct lapic *l, uint32_t reg)
{
	return mmio_read_at(l, reg, 0);
}

static inline void mmio_write_at(struct lapic *l, uint32_t reg, uint32_t value, uint64_t now)
{
	lapic_mmio_write(l, (reg & 0xff) * 16, &value, 4, now);
}

static inline void mmio_write(struct lapic *l, uint32_t reg, uint32_t value)
{
	mmio_write_at(l, reg, value, 0);
}

static inline uint64_t msr_read_at(struct lapic *l, uint32_t msr, uint64_t now)
{
	uint64_t value;

	assert_int_equal(lapic_msr_read(l, msr, &value, now), 0);
	return value;
}

static inline uint64_t msr_read(struct lapic *l, uint32_t msr)
{
	return msr_read_at(l, msr, 0);
}

static inline void msr_write_at(struct lapic *l, uint32_t msr, uint64_t value, uint64_t now)
{
	assert_int_equal(lapic_msr_write(l, msr, value, now), 0);
}

static inline void msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
	msr_write_at(l, msr, value, 0);
}

static inline void assert_write_gp(struct lapic *l, uint32_t msr, uint64_t value)
{
	uint64_t illegal = l->illegal;

	assert_int_equal(lapic_msr_write(l, msr, value, 0), -EPERM);
	assert_int_equal(l->illegal, illegal + 1);
}

static inline void assert_read_gp(struct lapic *l, uint32_t msr)
{
	uint64_t value, illegal = l->illegal;

	assert_int_equal(lapic_msr_read(l, msr, &value, 0), -EPERM);
	assert_int_equal(l->illegal, illegal + 1);
}

static inline struct lapic *xapic(struct vm *vm)
{
	struct lapic *l = power_up(vm);

	mmio_write(l, SVR, ENABLED | 0xff);
	return l;
}

static inline struct lapic *x2apic(struct vm *vm)
{
	struct lapic *l = power_up(vm);

	lapic_set_base(l, X2APIC_BASE | LAPIC_BASE_BSP);
	msr_write(l, SVR, ENABLED | 0xff);
	return l;
}

static inline void send(struct vm *vm, uint8_t vector, bool level)
{
	const struct lapic_msg msg = {.vector = vector, .level = level, .xapic_dest = true};

	lapic_bus_send(&vm->bus, &msg, NULL);
	lapic_collect(&vm->lapic);
}

static inline void take(struct lapic *l, int vector)
{
	assert_int_equal(lapic_pending_vector(l), vector);
	lapic_accept(l, (uint8_t)vector);
}

#endif
