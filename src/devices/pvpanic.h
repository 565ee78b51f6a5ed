/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port, and the MMIO byte, by which a guest says that it panicked: QEMU's pvpanic (docs/specs/
 * pvpanic.rst in QEMU; Linux drivers/misc/pvpanic). No state.
 */
#ifndef DEVICES_PVPANIC_H
#define DEVICES_PVPANIC_H

#include <stdint.h>

#include "devices/bus.h"

#define PVPANIC_PORT	  0x505
#define PVPANIC_MMIO_BASE UINT64_C(0xfef01000)
#define PVPANIC_MMIO_SIZE UINT64_C(2)

#define PVPANIC_PANICKED     0x01 /* the guest is dead */
#define PVPANIC_CRASH_LOADED 0x02 /* it panicked, and a crash kernel of its own takes over */

struct pvpanic {
	/* On the vCPU's thread that wrote; @events is one or both of the above. */
	void (*event)(void *ctx, uint8_t events);
	void *ctx;
};

/* Returns 0, or -EEXIST if the port is taken. */
int pvpanic_add(struct pvpanic *p, struct bus *pio, struct bus *mmio);

#endif
