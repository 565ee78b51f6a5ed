/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC, as x2APIC or xAPIC. Registers are named by their xAPIC offset.
 */
#ifndef PROBE_APIC_H
#define PROBE_APIC_H

#include "layout.h"
#include "user.h"

#include <stdint.h>

#define APIC_ID		 0x020
#define APIC_TPR	 0x080
#define APIC_SVR	 0x0f0
#define APIC_LVT_TIMER	 0x320
#define APIC_LVT_LINT0	 0x350
#define APIC_LVT_LINT1	 0x360
#define APIC_TIMER_INIT	 0x380
#define APIC_TIMER_COUNT 0x390
#define APIC_TIMER_DIV	 0x3e0

#define APIC_LVT_MASKED	  0x10000
#define APIC_LVT_PERIODIC 0x20000
#define APIC_DIV_1	  0xb

#define ICR_INIT    0x4500
#define ICR_STARTUP 0x4600

extern int apic_x2;	      /* set by apic_choose() */
extern uint32_t boot_apic_id; /* set by the boot processor's apic_enable() */

/* once, before apic_enable(): x2APIC where CPUID has it, unless xAPIC is asked for */
void apic_choose(int xapic);

/* on each processor: enabled, in the mode chosen, everything masked, no vector in service */
void apic_enable(void);

uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
void apic_ipi(uint32_t id, uint32_t icr);

/* ticks of the timer a second at divide 1, measured against the TSC; 0 if it does not count */
uint64_t apic_calibrate(uint64_t tsc_khz);

/* Writes an APIC register that brings an interrupt whose handler is shot_handler, and halts until
 * then: see hot.S. *before and the result are TSC values. id is for the ICR only. */
uint64_t apic_shot(uint32_t reg, uint32_t value, uint32_t id, uint64_t *before);

/* The same write, for a guest that polls. With xAPIC an IPI goes where apic_aim() has said, on this
 * processor, which is for kernel mode. */
struct user_op apic_op(uint32_t reg, uint32_t value, uint32_t id);
void apic_aim(uint32_t id);

#endif
