/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small driver of modern virtio devices on PCI (virtio 1.2, section 4.1): features, split queues
 * of QUEUE_SIZE entries without options, MSI-X. One device at a time.
 */
#ifndef PROBE_VIRTIO_H
#define PROBE_VIRTIO_H

#include <stdint.h>

#include "layout.h"

#define QUEUE_SIZE 16

#define VQ_NEXT	 1 /* the chain goes on */
#define VQ_WRITE 2 /* for the device to write */

struct vq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* A queue as it lies in memory: a page at VIRTIO_QUEUES + number * 4096. */
struct vq {
	struct vq_desc desc[QUEUE_SIZE];
	uint16_t avail_flags, avail_idx;
	uint16_t avail_ring[QUEUE_SIZE];
	uint16_t used_event, pad[13];
	uint16_t used_flags, used_idx;
	struct {
		uint32_t id, len;
	} used_ring[QUEUE_SIZE];
	uint16_t avail_event;
};

_Static_assert(sizeof(struct vq_desc) == 16, "fixed by the specification");

/* Finds the device with this virtio id (2: disk) and agrees on version 1 and on @features (bits 0
 * to 31) as far as they are offered. 0: there is none, or it does not agree. *features: agreed on.
 */
int virtio_find(uint32_t id, uint32_t *features);
/* Sets up queue @index with interrupts by @vector on processor @apic_id. Its doorbell, 0:
 * failed. */
uint64_t virtio_queue(uint32_t index, uint32_t apic_id, uint32_t vector);
/* After the queues: the device runs. */
void virtio_run(void);
/* Before the guest ends. */
void virtio_reset(void);
/* Of the device's configuration; dwords, as the PCI transport has it. */
uint32_t virtio_config(uint32_t offset);

static inline volatile struct vq *virtio_vq(uint32_t index)
{
	return (volatile struct vq *)(uintptr_t)(VIRTIO_QUEUES + index * 4096);
}

#endif
