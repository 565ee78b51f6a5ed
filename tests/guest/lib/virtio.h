/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's half of virtio-mmio and of a split queue, for test guests; memory is mapped one to
 * one. */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

#define VIRTIO_MMIO_BASE 0xc0000000u
#define VIRTIO_MMIO_SIZE 0x1000u
#define VIRTIO_MMIO_PIN	 16 /* of the first; the next eight follow */

#define VQ_SIZE	    16
#define VQ_NEXT	    1
#define VQ_WRITE    2
#define VQ_INDIRECT 4

#define MMIO_DEVICE_ID	  0x008
#define MMIO_FEATURES	  0x010
#define MMIO_FEATURES_SEL 0x014
#define MMIO_ACCEPT	  0x020
#define MMIO_ACCEPT_SEL	  0x024
#define MMIO_QUEUE_SEL	  0x030
#define MMIO_QUEUE_MAX	  0x034
#define MMIO_QUEUE_NUM	  0x038
#define MMIO_QUEUE_READY  0x044
#define MMIO_NOTIFY	  0x050
#define MMIO_IRQ_STATUS	  0x060
#define MMIO_IRQ_ACK	  0x064
#define MMIO_STATUS	  0x070
#define MMIO_DESC	  0x080
#define MMIO_DRIVER	  0x090
#define MMIO_DEVICE	  0x0a0
#define MMIO_GENERATION	  0x0fc
#define MMIO_CONFIG	  0x100

#define STATUS_OK	   15
#define STATUS_NEEDS_RESET 64

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct queue {
	struct desc desc[VQ_SIZE] __attribute__((aligned(16)));
	struct {
		uint16_t flags, idx, ring[VQ_SIZE], used_event;
	} avail __attribute__((aligned(16)));
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[VQ_SIZE];
		uint16_t avail_event;
	} used __attribute__((aligned(16)));
	uint16_t seen; /* of the used ring */
	uint32_t base, index;
};

static inline uint32_t mmio_read(uint32_t base, uint32_t reg)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"((uint64_t)base + reg) : "memory");
	return value;
}

static inline void mmio_write(uint32_t base, uint32_t reg, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"((uint64_t)base + reg) : "memory");
}

static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

static inline void queue_set(struct queue *q, uint16_t i, const volatile void *addr, uint32_t len,
			     uint16_t flags, uint16_t next)
{
	q->desc[i] = (struct desc){(uint64_t)addr, len, flags, next};
}

/* Up to FEATURES_OK. False: the device does not take them. */
static inline bool virtio_begin(uint32_t base, uint64_t features)
{
	mmio_write(base, MMIO_STATUS, 0);
	if (mmio_read(base, MMIO_STATUS) != 0)
		return false;
	mmio_write(base, MMIO_STATUS, 1);
	mmio_write(base, MMIO_STATUS, 3);
	mmio_write(base, MMIO_ACCEPT_SEL, 0);
	mmio_write(base, MMIO_ACCEPT, (uint32_t)features);
	mmio_write(base, MMIO_ACCEPT_SEL, 1);
	mmio_write(base, MMIO_ACCEPT, (uint32_t)(features >> 32) | 1);
	mmio_write(base, MMIO_STATUS, 11);
	return mmio_read(base, MMIO_STATUS) == 11;
}

static inline void queue_init(struct queue *q, uint32_t base, uint32_t index)
{
	uint8_t *p = (uint8_t *)q;

	for (unsigned int i = 0; i < sizeof(*q); i++)
		p[i] = 0;
	q->base = base;
	q->index = index;
	mmio_write(base, MMIO_QUEUE_SEL, index);
	mmio_write(base, MMIO_QUEUE_NUM, VQ_SIZE);
	mmio_write(base, MMIO_DESC, (uint32_t)(uint64_t)q->desc);
	mmio_write(base, MMIO_DESC + 4, 0);
	mmio_write(base, MMIO_DRIVER, (uint32_t)(uint64_t)&q->avail);
	mmio_write(base, MMIO_DRIVER + 4, 0);
	mmio_write(base, MMIO_DEVICE, (uint32_t)(uint64_t)&q->used);
	mmio_write(base, MMIO_DEVICE + 4, 0);
	mmio_write(base, MMIO_QUEUE_READY, 1);
}

static inline void virtio_go(uint32_t base)
{
	mmio_write(base, MMIO_STATUS, STATUS_OK);
}

/* Makes the chain at @head available; the kick is another matter. */
static inline void queue_offer(struct queue *q, uint16_t head)
{
	q->avail.ring[q->avail.idx % VQ_SIZE] = head;
	barrier();
	*(volatile uint16_t *)&q->avail.idx = (uint16_t)(q->avail.idx + 1);
}

static inline void queue_kick(struct queue *q)
{
	mmio_write(q->base, MMIO_NOTIFY, q->index);
}

/* The next used entry's head; -1: there is none. */
static inline int queue_used(struct queue *q)
{
	int id;

	if (*(volatile uint16_t *)&q->used.idx == q->seen)
		return -1;
	barrier();
	id = (int)*(volatile uint32_t *)&q->used.ring[q->seen % VQ_SIZE].id;
	q->seen++;
	return id;
}

#endif
