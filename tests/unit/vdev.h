/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device on a bench: guest memory, a driver's queues, a transport that counts interrupts,
 * and a halter whose owner is the test.
 */
#ifndef TESTS_UNIT_VDEV_H
#define TESTS_UNIT_VDEV_H

#include <poll.h>
#include <stdio.h>

#include "devices/virtio/virtio.h"
#include "home.h"
#include "virtio_fixture.h"

#define VDEV_QUEUES 8

struct vdev {
	struct guest g;
	struct catnap_halter home; /* the bench's; aligned as it asks */
	struct virtio_device *dev;
	struct driver q[VDEV_QUEUES];
	uint16_t next_desc[VDEV_QUEUES];
	uint64_t queues_at, next; /* where the rings begin; the first free address */
	unsigned int queue_irqs[VDEV_QUEUES], config_irqs;
	unsigned int told[3]; /* by enum virtio_event */
	uint32_t told_value;
	char told_text[128]; /* of the last */
};

static inline void vdev_irq_queue(void *ctx, unsigned int index)
{
	((struct vdev *)ctx)->queue_irqs[index % VDEV_QUEUES]++;
}

static inline void vdev_irq_config(void *ctx)
{
	((struct vdev *)ctx)->config_irqs++;
}

static inline void vdev_told(void *ctx, enum virtio_event event, uint32_t value, const char *text)
{
	struct vdev *v = ctx;

	v->told[event]++;
	v->told_value = value;
	snprintf(v->told_text, sizeof(v->told_text), "%s", text);
}

static const struct virtio_transport_ops vdev_transport = {vdev_irq_queue, vdev_irq_config};

static inline struct vdev *vdev_make(uint64_t memory)
{
	struct vdev *v = aligned_alloc(64, (sizeof(*v) + 63) & ~(size_t)63);

	if (!v)
		abort();
	memset(v, 0, sizeof(*v));
	guest_init(&v->g, memory);
	home_init(&v->home);
	halter_set_self(&v->home);
	v->queues_at = GUEST_BASE;
	return v;
}

static inline void vdev_use(struct vdev *v, struct virtio_device *dev)
{
	v->dev = dev;
	dev->transport = v;
	dev->transport_ops = &vdev_transport;
	dev->tell = vdev_told;
	dev->tell_ctx = v;
}

/* For another device, on the same halter. */
static inline void vdev_again(struct vdev *v)
{
	for (int i = 0; i < 3; i++) /* what is still posted, and sources that have gone */
		home_turn(&v->home);
}

static inline void vdev_free(struct vdev *v)
{
	halter_drain(&v->home, true);
	halter_set_self(NULL);
	halter_fini(&v->home);
	guest_fini(&v->g);
	free(v);
}

/* Does what a driver does from reset to DRIVER_OK, with the first @queues queues of @size. */
static inline void vdev_start(struct vdev *v, uint64_t features, unsigned int queues, uint16_t size)
{
	struct virtio_device *d = v->dev;
	uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	features |= UINT64_C(1) << VIRTIO_F_VERSION_1;
	virtio_set_status(d, 0);
	virtio_set_status(d, status);
	virtio_features_accept(d, 0, (uint32_t)features);
	virtio_features_accept(d, 1, (uint32_t)(features >> 32));
	status |= VIRTIO_STATUS_FEATURES_OK;
	virtio_set_status(d, status);
	v->next = v->queues_at;
	for (unsigned int i = 0; i < queues && i < VDEV_QUEUES; i++) {
		struct driver *q = &v->q[i];

		v->next = driver_init(q, &v->g, v->next, size);
		v->next_desc[i] = 0;
		virtio_queue_set_size(d, i, size);
		virtio_queue_set_addr(d, i, VIRTIO_RING_DESC, false, (uint32_t)q->desc);
		virtio_queue_set_addr(d, i, VIRTIO_RING_AVAIL, false, (uint32_t)q->avail);
		virtio_queue_set_addr(d, i, VIRTIO_RING_USED, false, (uint32_t)q->used);
		virtio_queue_enable(d, i);
	}
	virtio_set_status(d, status | VIRTIO_STATUS_DRIVER_OK);
}

/* Guest memory that nobody uses yet. */
static inline uint64_t vdev_alloc(struct vdev *v, uint64_t len)
{
	uint64_t at = v->next;

	v->next += (len + 15) & ~UINT64_C(15);
	if (v->next - GUEST_BASE > v->g.size)
		abort();
	return at;
}

/* Offers a chain of @count buffers, those from @out on to be written to; its head. */
static inline uint16_t vdev_offer(struct vdev *v, unsigned int queue, const uint64_t *at,
				  const uint32_t *len, unsigned int count, unsigned int out)
{
	struct driver *q = &v->q[queue];
	uint16_t head = v->next_desc[queue];

	for (unsigned int i = 0; i < count; i++) {
		uint16_t d = v->next_desc[queue], n = (uint16_t)((d + 1) % q->size);
		unsigned int flags = (i + 1 < count ? F_NEXT : 0) | (i >= out ? F_WRITE : 0);

		driver_desc(q, d, at[i], len[i], (uint16_t)flags, n);
		v->next_desc[queue] = n;
	}
	driver_offer(q, head);
	return head;
}

static inline uint16_t vdev_offer1(struct vdev *v, unsigned int queue, uint64_t at, uint32_t len,
				   bool write)
{
	return vdev_offer(v, queue, &at, &len, 1, write ? 0 : 1);
}

/* With the event index: would the driver kick for the next chain that it offers? (2.7.10) */
static inline bool vdev_asks_for_kick(struct vdev *v, unsigned int queue)
{
	struct driver *q = &v->q[queue];

	return guest_get16(q->g, driver_avail_event(q)) == q->idx;
}

/* One turn of the owner's loop: what was posted, what has become ready. */
static inline void vdev_turn(struct vdev *v)
{
	home_turn(&v->home);
}

/* Turns until @what, which is asked for once each turn; for two seconds. */
#define vdev_until(v, what)                                                \
	do {                                                               \
		bool there_ = (what);                                      \
		for (int turns_ = 0; turns_ < 2000 && !there_; turns_++) { \
			vdev_turn(v);                                      \
			there_ = (what);                                   \
			if (!there_)                                       \
				poll(NULL, 0, turns_ < 100 ? 0 : 1);       \
		}                                                          \
		assert_true(there_);                                       \
	} while (0)

#endif
