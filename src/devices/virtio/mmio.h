/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport, version 2 (virtio 1.2, section 4.2): one window of registers and one
 * interrupt line for a device.
 *
 * The line is up as long as a bit of InterruptStatus is set, and has a new edge for each that
 * becomes so: it is described as edge-triggered, where its end costs no exit, and drivers that set
 * their input to level (NetBSD's) find it as they expect. A driver acknowledges before it looks at
 * its queues, so a bit that is still set is one for which it will yet look.
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

	pthread_mutex_t line; /* the last to be taken; nothing to free */
	bool up;	      /* under the line's lock, which is held around set_pin() */
};

extern const struct bus_ops virtio_mmio_ops; /* dev is the struct virtio_mmio */

/* Resets the device and the registers to their state at power-on. Any thread with a halter. */
void virtio_mmio_reset(struct virtio_mmio *m);

/* Writes the driver's registers, in an open section. All threads stand. */
void virtio_mmio_save(struct virtio_mmio *m, struct state_writer *w);
/* Reads that section whole, checks it, and takes it over, before the threads start. The line is
 * taken to be as the interrupt status says. 0, or -EINVAL with a sentence. */
int virtio_mmio_load(struct virtio_mmio *m, struct state_in *in, struct error *err);
/* Tells set_pin() how the line is, likewise. */
void virtio_mmio_drive(struct virtio_mmio *m);

/* Becomes the device's transport. Before the vCPUs run. */
void virtio_mmio_init(struct virtio_mmio *m, struct virtio_device *dev,
		      void (*set_pin)(void *ctx, bool level), void *ctx);

#endif
