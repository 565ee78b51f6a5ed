/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC's inside, between lapic.c (what it does) and lapic_state.c (its state in a
 * snapshot). */
#ifndef DEVICES_LAPIC_IMPL_H
#define DEVICES_LAPIC_IMPL_H

#include "devices/lapic.h"

/* Register numbers: MMIO offset / 16, and MSR - 0x800. */
enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_IRR_LAST = 0x27,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR2 = 0x31,
	REG_LVT_TIMER = 0x32,
	REG_LVT_THERMAL = 0x33,
	REG_LVT_PERF = 0x34,
	REG_LVT_LINT0 = 0x35,
	REG_LVT_LINT1 = 0x36,
	REG_LVT_ERROR = 0x37,
	REG_TIMER_INITIAL = 0x38,
	REG_TIMER_CURRENT = 0x39,
	REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

#define FIRST_LEGAL_VECTOR 16

#define SVR_ENABLED  (1u << 8)
#define SVR_WRITABLE 0x3ffu
#define SVR_RESET    0xffu

#define LVT_STATUS     (1u << 12)
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_MASKED     (1u << 16)
#define LVT_MODE(lvt)  ((lvt) >> 17 & 3)

enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

#define DIVIDE_WRITABLE 0xbu

#define ICR_WRITABLE 0xccfffu /* without the delivery status, which always says idle */

#define DFR_ONES 0x0fffffffu

/*
 * A guest may ask for an interrupt every nanosecond, and each costs the host an exit. KVM's floor
 * is 200 us (min_timer_period_us); no guest that works asks for less than 20 us either.
 */
#define MIN_PERIOD_NS 20000

enum lapic_mode lapic_mode_of_base(uint64_t base);
/* Returns the logical id that an APIC has in x2APIC mode. */
uint32_t lapic_x2apic_ldr(uint32_t id);
/* Returns the bits of register @reg that a write changes, and in *@read_only those that it may
 * carry without being reserved. 0: no such register. */
uint32_t lapic_writable_bits(const struct lapic *l, uint32_t reg, uint32_t *read_only);
/* Sets the task priority; the processor's follows. */
void lapic_set_tpr(struct lapic *l, uint32_t tpr);
/* Lets the timer count, whose registers are set: @deadline, in ticks, is when it expires next. */
void lapic_timer_place(struct lapic *l, uint64_t deadline);
/* Sets the timer's register to @value, at @now, in TSC deadline mode. A moment before the host's own
 * 0 is one of a guest that goes on there. */
void lapic_timer_set_tsc(struct lapic *l, uint64_t value, int64_t now);
/* Returns in how many ns the timer's count ends at the latest. */
uint64_t lapic_timer_most_ns(uint32_t divide, uint32_t initial);

#endif
