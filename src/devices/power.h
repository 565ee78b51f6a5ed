/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power: the sleep control and status registers of hardware-reduced ACPI (ACPI 6.5, 4.8.3.7), as
 * two I/O ports and as two words of MMIO (for device trees' syscon-poweroff); the power button,
 * which is an edge on an interrupt line; and the PM timer (4.8.3.3), 32 bits at 3.579545 MHz, by
 * which kernels without kvmclock measure their TSC and APIC timer: the FADT has it, and Linux
 * without ACPI is told of it on its command line. Any thread; there is no state but one atomic
 * byte, and by how much the timer is ahead of the host's clock.
 */
#ifndef DEVICES_POWER_H
#define DEVICES_POWER_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/bus.h"
#include "errors.h"
#include "state.h"

#define POWER_CONTROL_PORT 0x600
#define POWER_STATUS_PORT  0x601
#define POWER_TIMER_PORT   0x608
#define POWER_MMIO_BASE	   UINT64_C(0xfef00000)
#define POWER_MMIO_SIZE	   UINT64_C(0x1000)
#define POWER_BUTTON_GSI   9
/* The sleep type that \_S5 gives, and the control byte that goes with it: SLP_TYP and SLP_EN. */
#define POWER_S5	 5
#define POWER_S5_CONTROL (POWER_S5 << 2 | 0x20)

struct power {
	void (*off)(void *ctx);		       /* on the vCPU's thread that wrote */
	void (*button)(void *ctx, bool level); /* drives the interrupt line */
	void *ctx;
	_Atomic uint8_t status;
	/* How far the timer is ahead of the host's, in ticks: another host's is another one.
	 * Constant once the vCPUs run. */
	uint32_t timer_ahead;
};

/* Adds the registers. 0, or -EEXIST: the ports are taken. */
int power_add(struct power *p, struct bus *pio, struct bus *mmio);
/* Presses and releases the button. Any thread. */
void power_press(struct power *p);

#define POWER_STATE_VERSION 1
/* Writes the status register, and the timer at @now_ns of CLOCK_MONOTONIC, in an open section. */
void power_save(const struct power *p, struct state_writer *w, uint64_t now_ns);
/* Reads that section whole, checks it, and takes it over: the timer goes on from where it was at
 * @now_ns, which is below 0 if it lies before the host was started. Before the vCPUs run. 0, or
 * -EINVAL with a sentence. */
int power_load(struct power *p, struct state_in *in, int64_t now_ns, struct error *err);

#endif
