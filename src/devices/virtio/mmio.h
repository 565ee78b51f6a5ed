/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport, version 2 (virtio 1.2, section 4.2): one window of registers and one
 * interrupt line for a device.
 *
 * The line is edge-triggered: it is pulsed when a bit of InterruptStatus becomes set. A driver
 * acknowledges before it looks at its queues, so a bit that is still set is one for which it will
 * yet look; and an edge, unlike a level, costs no exit at its end.
 */
#ifndef DEVICES_VIRTIO_MMIO_H
#define DEVICES_VIRTIO_MMIO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/bus.h"
#include "devices/virtio/virtio.h"

#define VIRTIO_MMIO_SIZE UINT64_C(0x1000)

/* Where a guest finds one. */
struct virtio_mmio_place {
	uint64_t base;
	uint32_t pin; /* of the I/O APIC; rising edge */
};

struct virtio_mmio {
	/* Constant after virtio_mmio_init(). */
	struct virtio_device *dev;
	void (*set_pin)(void *ctx, bool level); /* any thread */
	void *ctx;

	/* The driver's; any thread, though a driver that means it uses one at a time. */
	_Atomic uint32_t device_features_sel, driver_features_sel, queue_sel;
	_Atomic uint32_t interrupt_status;

	pthread_mutex_t pulse; /* held while the pin is up; the last to be taken; nothing to free */
};

extern const struct bus_ops virtio_mmio_ops; /* dev is the struct virtio_mmio */

/* Becomes the device's transport. Before the vCPUs run. */
void virtio_mmio_init(struct virtio_mmio *m, struct virtio_device *dev,
		      void (*set_pin)(void *ctx, bool level), void *ctx);

#endif
