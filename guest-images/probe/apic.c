/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC: Intel SDM 3A chapter 10 (x2APIC: 10.12).
 */
#include "apic.h"
#include "hot.h"
#include "x86.h"

#define MSR_APIC_BASE	   0x1b
#define APIC_BASE_EXTD	   (1u << 10)
#define APIC_BASE_EN	   (1u << 11)
#define CPUID_1_ECX_X2APIC (1u << 21)
#define ICR_PENDING	   (1u << 12)

int apic_x2;
uint32_t boot_apic_id;

static volatile uint32_t *reg_address(uint32_t reg)
{
	return (volatile uint32_t *)(uintptr_t)(APIC_BASE + reg);
}

static uint32_t reg_msr(uint32_t reg)
{
	return 0x800 + (reg >> 4);
}

uint32_t apic_read(uint32_t reg)
{
	return apic_x2 ? (uint32_t)rdmsr(reg_msr(reg)) : *reg_address(reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
	if (apic_x2)
		wrmsr(reg_msr(reg), value);
	else
		*reg_address(reg) = value;
}

void apic_ipi(uint32_t id, uint32_t icr)
{
	if (apic_x2) {
		wrmsr(reg_msr(APIC_ICR_LOW), (uint64_t)id << 32 | icr);
		return;
	}
	apic_write(APIC_ICR_HIGH, id << 24);
	apic_write(APIC_ICR_LOW, icr);
	while (apic_read(APIC_ICR_LOW) & ICR_PENDING)
		;
}

void apic_choose(int xapic)
{
	uint32_t regs[4];

	cpuid(1, regs);
	apic_x2 = !xapic && (regs[2] & CPUID_1_ECX_X2APIC);
}

void apic_enable(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	if (apic_x2) {
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_EXTD);
	} else {
		/* from x2APIC the way back leads through disabled */
		if (base & APIC_BASE_EXTD)
			wrmsr(MSR_APIC_BASE, base & ~(uint64_t)(APIC_BASE_EN | APIC_BASE_EXTD));
		wrmsr(MSR_APIC_BASE, (base & ~(uint64_t)APIC_BASE_EXTD) | APIC_BASE_EN);
	}
	apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
	apic_write(APIC_LVT_LINT0, APIC_LVT_MASKED);
	apic_write(APIC_LVT_LINT1, APIC_LVT_MASKED);
	apic_write(APIC_TIMER_DIV, APIC_DIV_1);
}

/* The current count with the TSC in the middle of its reading; of several, the one read fastest, so
 * that being preempted meanwhile does no harm. */
static uint32_t read_count(uint64_t *tsc)
{
	uint64_t best = UINT64_MAX;
	uint32_t result = 0;
	int i;

	for (i = 0; i < 8; i++) {
		uint64_t begin = rdtsc();
		uint32_t count = apic_read(APIC_TIMER_COUNT);
		uint64_t took = rdtsc() - begin;

		if (took < best) {
			best = took;
			result = count;
			*tsc = begin + took / 2;
		}
	}
	return result;
}

uint64_t apic_calibrate(uint64_t tsc_khz)
{
	uint64_t tsc0, tsc1;
	uint32_t count0, count1;

	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
	apic_write(APIC_TIMER_INIT, UINT32_MAX);
	count0 = read_count(&tsc0);
	while (rdtsc() - tsc0 < 10 * tsc_khz)
		;
	count1 = read_count(&tsc1);
	apic_write(APIC_TIMER_INIT, 0);
	return muldiv(count0 - count1, tsc_khz * 1000, tsc1 - tsc0);
}

uint64_t apic_shot(uint32_t reg, uint32_t value, uint32_t id, uint64_t *before)
{
	if (apic_x2)
		return shot_x2apic(reg_msr(reg), value, id, before);
	if (reg == APIC_ICR_LOW)
		apic_write(APIC_ICR_HIGH, id << 24);
	return shot_xapic(APIC_BASE + reg, value, 0, before);
}

struct user_op apic_op(uint32_t reg, uint32_t value, uint32_t id)
{
	if (apic_x2)
		return (struct user_op){kernel_wrmsr, reg_msr(reg), value, id};
	return (struct user_op){kernel_write32, APIC_BASE + reg, value, 0};
}

void apic_aim(uint32_t id)
{
	if (!apic_x2)
		apic_write(APIC_ICR_HIGH, id << 24);
}
