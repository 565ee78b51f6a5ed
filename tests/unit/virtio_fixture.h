/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory and the driver's side of a virtqueue, for tests. The memory is one block of malloc()
 * with nothing around it, so that the address sanitizer sees every step over its edges.
 */
#ifndef TESTS_UNIT_VIRTIO_FIXTURE_H
#define TESTS_UNIT_VIRTIO_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "devices/dma.h"
#include "devices/virtio/virtio.h"

#define F_NEXT	   1
#define F_WRITE	   2
#define F_INDIRECT 4

#define GUEST_BASE UINT64_C(0x10000) /* so that address 0 is no memory */

struct guest {
	uint8_t *mem;
	uint64_t size;
	struct dma dma;
	/* Called with each address that is asked for; NULL: none. */
	void (*hook)(struct guest *g, uint64_t gpa, uint64_t len);
	void *hook_ctx;
};

/* Where a driver has put a queue, and how far it is. */
struct driver {
	struct guest *g;
	uint64_t desc, avail, used;
	uint16_t size, idx, seen;
};

static inline void *guest_at(void *ctx, uint64_t gpa, uint64_t len)
{
	struct guest *g = ctx;

	if (g->hook)
		g->hook(g, gpa, len);
	if (!len || gpa < GUEST_BASE || gpa - GUEST_BASE >= g->size ||
	    g->size - (gpa - GUEST_BASE) < len)
		return NULL;
	return g->mem + (gpa - GUEST_BASE);
}

static inline void guest_init(struct guest *g, uint64_t size)
{
	memset(g, 0, sizeof(*g));
	/* Page-aligned at its start, as guest memory is; its end is where the block ends. */
	if (posix_memalign((void **)&g->mem, 4096, size) != 0)
		abort();
	memset(g->mem, 0, size);
	g->size = size;
	g->dma = (struct dma){guest_at, g};
}

static inline void guest_fini(struct guest *g)
{
	free(g->mem);
	g->mem = NULL;
}

static inline void *guest_ptr(struct guest *g, uint64_t gpa)
{
	return g->mem + (gpa - GUEST_BASE);
}

static inline void guest_put16(struct guest *g, uint64_t gpa, uint16_t value)
{
	__atomic_store_n((uint16_t *)guest_ptr(g, gpa), value, __ATOMIC_RELEASE);
}

static inline uint16_t guest_get16(struct guest *g, uint64_t gpa)
{
	return __atomic_load_n((uint16_t *)guest_ptr(g, gpa), __ATOMIC_ACQUIRE);
}

static inline uint32_t guest_get32(struct guest *g, uint64_t gpa)
{
	return __atomic_load_n((uint32_t *)guest_ptr(g, gpa), __ATOMIC_ACQUIRE);
}

/* Lays a queue of @size out at @gpa; returns the first address behind it, page-aligned. */
static inline uint64_t driver_init(struct driver *d, struct guest *g, uint64_t gpa, uint16_t size)
{
	memset(d, 0, sizeof(*d));
	d->g = g;
	d->size = size;
	d->desc = gpa;
	d->avail = d->desc + 16u * size;
	d->used = (d->avail + 6 + 2u * size + 3) & ~UINT64_C(3);
	gpa = (d->used + 6 + 8u * size + 4095) & ~UINT64_C(4095);
	memset(guest_ptr(g, d->desc), 0, gpa - d->desc);
	return gpa;
}

static inline void table_desc(struct guest *g, uint64_t table, uint16_t i, uint64_t addr,
			      uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t *p = guest_ptr(g, table + 16u * i);

	memcpy(p, &addr, 8);
	memcpy(p + 8, &len, 4);
	memcpy(p + 12, &flags, 2);
	memcpy(p + 14, &next, 2);
}

static inline void driver_desc(struct driver *d, uint16_t i, uint64_t addr, uint32_t len,
			       uint16_t flags, uint16_t next)
{
	table_desc(d->g, d->desc, i, addr, len, flags, next);
}

/* Makes the chain at @head available. */
static inline void driver_offer(struct driver *d, uint16_t head)
{
	guest_put16(d->g, d->avail + 4 + 2u * (d->idx % d->size), head);
	guest_put16(d->g, d->avail + 2, ++d->idx);
}

/* Takes the next used entry; false: there is none. */
static inline bool driver_used(struct driver *d, uint32_t *id, uint32_t *len)
{
	uint64_t elem = d->used + 4 + 8u * (d->seen % d->size);

	if (guest_get16(d->g, d->used + 2) == d->seen)
		return false;
	*id = guest_get32(d->g, elem);
	*len = guest_get32(d->g, elem + 4);
	d->seen++;
	return true;
}

static inline uint64_t driver_used_event(const struct driver *d)
{
	return d->avail + 4 + 2u * d->size;
}

static inline uint64_t driver_avail_event(const struct driver *d)
{
	return d->used + 4 + 8u * d->size;
}

/* A transport that counts. */
struct fake_transport {
	_Atomic unsigned int queue[VIRTIO_QUEUES_MAX], config;
};

static inline void fake_interrupt_queue(void *transport, unsigned int index)
{
	struct fake_transport *t = transport;

	atomic_fetch_add(&t->queue[index], 1);
}

static inline void fake_interrupt_config(void *transport)
{
	struct fake_transport *t = transport;

	atomic_fetch_add(&t->config, 1);
}

static const struct virtio_transport_ops fake_transport_ops = {fake_interrupt_queue,
							       fake_interrupt_config};

/* Does what a driver does with a device, in the order of 3.1.1: up to FEATURES_OK ... */
static inline bool driver_negotiate(struct virtio_device *dev, uint64_t features)
{
	virtio_set_status(dev, 0);
	virtio_set_status(dev, VIRTIO_STATUS_ACKNOWLEDGE);
	virtio_set_status(dev, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	virtio_features_accept(dev, 0, (uint32_t)features);
	virtio_features_accept(dev, 1, (uint32_t)(features >> 32));
	virtio_set_status(dev, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				       VIRTIO_STATUS_FEATURES_OK);
	return virtio_status(dev) & VIRTIO_STATUS_FEATURES_OK;
}

/* ... a queue ... */
static inline void driver_enable(struct virtio_device *dev, unsigned int index,
				 const struct driver *d)
{
	virtio_queue_set_size(dev, index, d->size);
	virtio_queue_set_addr(dev, index, VIRTIO_RING_DESC, false, (uint32_t)d->desc);
	virtio_queue_set_addr(dev, index, VIRTIO_RING_DESC, true, (uint32_t)(d->desc >> 32));
	virtio_queue_set_addr(dev, index, VIRTIO_RING_AVAIL, false, (uint32_t)d->avail);
	virtio_queue_set_addr(dev, index, VIRTIO_RING_AVAIL, true, (uint32_t)(d->avail >> 32));
	virtio_queue_set_addr(dev, index, VIRTIO_RING_USED, false, (uint32_t)d->used);
	virtio_queue_set_addr(dev, index, VIRTIO_RING_USED, true, (uint32_t)(d->used >> 32));
	virtio_queue_enable(dev, index);
}

/* ... and off. */
static inline void driver_ok(struct virtio_device *dev)
{
	virtio_set_status(dev, virtio_status(dev) | VIRTIO_STATUS_DRIVER_OK);
}

#define FEATURE(bit) (UINT64_C(1) << (bit))

#endif
