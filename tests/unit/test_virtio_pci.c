/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI as a driver sees it (virtio 1.2, section 4.1): everything is found by the
 * capabilities, behind the PCI bus, with a device that copies what it is given.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/pci/bus.h"
#include "devices/virtio/pci.h"
#include "virtio_fixture.h"

#define QUEUES	  3
#define QUEUE_MAX 16
#define MEMORY	  0x8000
#define FEATURE_X FEATURE(5)
#define V1	  FEATURE(VIRTIO_F_VERSION_1)

/* Offsets in the common configuration. */
enum {
	DEVICE_SELECT = 0,
	DEVICE_FEATURE = 4,
	DRIVER_SELECT = 8,
	DRIVER_FEATURE = 12,
	CONFIG_VECTOR = 16,
	NUM_QUEUES = 18,
	STATUS = 20,
	GENERATION = 21,
	Q_SELECT = 22,
	Q_SIZE = 24,
	Q_VECTOR = 26,
	Q_ENABLE = 28,
	Q_NOTIFY_OFF = 30,
	Q_DESC = 32,
	Q_DRIVER = 40,
	Q_DEVICE = 48,
};

struct model {
	struct virtio_device dev; /* first */
	uint8_t config[10];
	unsigned int kicks[QUEUES], starts, resets;
	_Atomic unsigned int stops;
	unsigned int config_writes;
};

struct fix {
	struct guest g;
	struct model m;
	struct bus pio, mmio;
	struct pci_bus pci;
	struct virtio_pci t;
	unsigned int sent;
	uint32_t data;
	uint32_t inputs; /* of the interrupt controller, a bit each */
	/* The contents of the capabilities. */
	uint64_t common, notify, isr, device, table;
	uint32_t multiplier, notify_len, device_len, window, msix;
};

static void model_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
			       uint32_t len)
{
	struct model *m = (struct model *)dev;

	memcpy(m->config + offset, data, len);
	m->config_writes++;
}

static void model_start(struct virtio_device *dev)
{
	((struct model *)dev)->starts++;
}

/* Each chain is done at once, with as many bytes as it has. */
static void model_kick(struct virtio_device *dev, unsigned int index)
{
	struct model *m = (struct model *)dev;
	struct virtqueue *q = &dev->queues[index].vq;
	struct iovec iov[4];
	struct vq_chain c = {.iov = iov, .max = 4};

	m->kicks[index]++;
	pthread_mutex_lock(&q->lock);
	while (q->enabled && atomic_load(&dev->running) && vq_pop(q, &c) > 0)
		vq_push(q, c.head, c.in_len);
	virtio_publish(dev, index);
	pthread_mutex_unlock(&q->lock);
}

static void model_stop(struct virtio_device *dev)
{
	atomic_fetch_add(&((struct model *)dev)->stops, 1);
}

static void model_reset(struct virtio_device *dev)
{
	((struct model *)dev)->resets++;
}

static const struct virtio_ops model_ops = {.config_write = model_config_write,
					    .start = model_start,
					    .kick = model_kick,
					    .stop = model_stop,
					    .reset = model_reset};

static void on_message(void *ctx, uint64_t address, uint32_t data)
{
	struct fix *f = ctx;

	assert_int_equal(address, 0xfee00000);
	f->sent++;
	f->data = data;
}

static void on_input(void *ctx, unsigned int input, bool level)
{
	struct fix *f = ctx;

	assert_int_not_equal(f->inputs >> input & 1, level);
	f->inputs ^= 1u << input;
}

static uint64_t mem_read(struct fix *f, uint64_t addr, unsigned int len)
{
	uint64_t value = 0;

	assert_true(bus_read(&f->mmio, addr, &value, len));
	return value;
}

static void mem_write(struct fix *f, uint64_t addr, uint64_t value, unsigned int len)
{
	assert_true(bus_write(&f->mmio, addr, &value, len));
}

static uint32_t cfg(struct fix *f, unsigned int reg, unsigned int len)
{
	return (uint32_t)mem_read(f, PCI_ECAM_BASE + 0x8000 + reg, len);
}

static void set(struct fix *f, unsigned int reg, uint32_t value, unsigned int len)
{
	mem_write(f, PCI_ECAM_BASE + 0x8000 + reg, value, len);
}

static uint32_t reg(struct fix *f, unsigned int offset, unsigned int len)
{
	return (uint32_t)mem_read(f, f->common + offset, len);
}

static void put(struct fix *f, unsigned int offset, uint64_t value, unsigned int len)
{
	mem_write(f, f->common + offset, value, len);
}

static uint64_t bar(struct fix *f, unsigned int index)
{
	uint32_t low = cfg(f, 0x10 + 4 * index, 4);

	return (low & ~15u) | ((low & 6) == 4 ? (uint64_t)cfg(f, 0x14 + 4 * index, 4) << 32 : 0);
}

static void find_capabilities(struct fix *f)
{
	unsigned int seen = 0;

	for (unsigned int at = cfg(f, 0x34, 1), n = 0; at; at = cfg(f, at + 1, 1), n++) {
		uint64_t where;

		assert_true(n < 48 && at >= 0x40 && at % 4 == 0);
		if (cfg(f, at, 1) == 0x11) {
			f->msix = at;
			f->table = bar(f, cfg(f, at + 4, 4) & 7) + (cfg(f, at + 4, 4) & ~7u);
			continue;
		}
		assert_int_equal(cfg(f, at, 1), 0x09);
		where = bar(f, cfg(f, at + 4, 1)) + cfg(f, at + 8, 4);
		assert_int_equal(seen & 1u << cfg(f, at + 3, 1), 0);
		seen |= 1u << cfg(f, at + 3, 1);
		switch (cfg(f, at + 3, 1)) {
		case 1:
			assert_int_equal(cfg(f, at + 2, 1), 16);
			assert_true(cfg(f, at + 12, 4) >= 56);
			f->common = where;
			break;
		case 2:
			assert_int_equal(cfg(f, at + 2, 1), 20);
			f->notify = where;
			f->notify_len = cfg(f, at + 12, 4);
			f->multiplier = cfg(f, at + 16, 4);
			break;
		case 3:
			assert_true(cfg(f, at + 12, 4) >= 1);
			f->isr = where;
			break;
		case 4:
			assert_int_equal(where % 4, 0);
			f->device = where;
			f->device_len = cfg(f, at + 12, 4);
			break;
		case 5:
			assert_int_equal(cfg(f, at + 2, 1), 20);
			f->window = at;
			break;
		default:
			fail();
		}
	}
	assert_int_equal(seen, 0x3e);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct virtio_device *dev = &f->m.dev;

	guest_init(&f->g, MEMORY);
	for (size_t i = 0; i < sizeof(f->m.config); i++)
		f->m.config[i] = (uint8_t)(i + 1);
	dev->ops = &model_ops;
	dev->name = "model";
	dev->id = 2;
	dev->offered = FEATURE_X;
	dev->config = f->m.config;
	dev->config_len = sizeof(f->m.config);
	dev->queue_count = QUEUES;
	dev->dma = &f->g.dma;
	assert_int_equal(virtio_init(dev, QUEUE_MAX), 0);
	assert_int_equal(pci_bus_init(&f->pci, &f->pio, &f->mmio), 0);
	pci_bus_route_intx(&f->pci, on_input, f);
	assert_int_equal(virtio_pci_init(&f->t, dev, on_message, f), 0);
	assert_int_equal(pci_bus_plug(&f->pci, &f->t.function), 1);
	find_capabilities(f);
	set(f, 4, 6, 2); /* memory, bus master */
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	virtio_pci_fini(&f->t);
	pci_bus_fini(&f->pci);
	virtio_fini(&f->m.dev);
	guest_fini(&f->g);
	free(f);
	return 0;
}

static void negotiate(struct fix *f, uint64_t features)
{
	put(f, STATUS, 0, 1);
	assert_int_equal(reg(f, STATUS, 1), 0);
	put(f, STATUS, 1, 1);
	put(f, STATUS, 3, 1);
	for (uint32_t i = 0; i < 2; i++) {
		put(f, DRIVER_SELECT, i, 4);
		put(f, DRIVER_FEATURE, (uint32_t)(features >> 32 * i), 4);
	}
	put(f, STATUS, 11, 1);
	assert_int_equal(reg(f, STATUS, 1), 11);
}

static void enable_queue(struct fix *f, uint16_t index, const struct driver *d, uint16_t vector)
{
	put(f, Q_SELECT, index, 2);
	put(f, Q_SIZE, d->size, 2);
	put(f, Q_VECTOR, vector, 2);
	assert_int_equal(reg(f, Q_VECTOR, 2), vector);
	put(f, Q_DESC, (uint32_t)d->desc, 4);
	put(f, Q_DESC + 4, d->desc >> 32, 4);
	put(f, Q_DRIVER, d->avail, 8);
	put(f, Q_DEVICE, (uint32_t)d->used, 4);
	put(f, Q_DEVICE + 4, 0, 4);
	put(f, Q_ENABLE, 1, 2);
	assert_int_equal(reg(f, Q_ENABLE, 2), 1);
}

static void program(struct fix *f, unsigned int vector, uint32_t data)
{
	mem_write(f, f->table + 16 * vector, 0xfee00000, 8);
	mem_write(f, f->table + 16 * vector + 8, data, 8); /* and not masked */
	set(f, f->msix + 2, 0x8000, 2);
}

static void kick(struct fix *f, uint16_t index)
{
	uint32_t off;

	put(f, Q_SELECT, index, 2);
	off = reg(f, Q_NOTIFY_OFF, 2);
	mem_write(f, f->notify + off * f->multiplier, index, 2);
}

static void window(struct fix *f, uint64_t at, uint32_t len)
{
	set(f, f->window + 4, 0, 1);
	set(f, f->window + 8, (uint32_t)(at - bar(f, 0)), 4);
	set(f, f->window + 12, len, 4);
}

static void test_identity(void **state)
{
	struct fix *f = *state;

	assert_int_equal(cfg(f, 0, 4), 0x10421af4);
	assert_true(cfg(f, 8, 1) >= 1);
	assert_int_equal(cfg(f, 10, 2), 0x0180);
	assert_int_equal(cfg(f, 0x2c, 2), 0x1af4);
	assert_true(cfg(f, 0x2e, 2) >= 0x40);
	assert_int_equal(f->device_len, sizeof(f->m.config));
	assert_int_equal(cfg(f, f->msix + 2, 2) & 0x7ff, QUEUES); /* one less than there are */
	/* Each queue has a doorbell of its own, inside of what the capability says. */
	for (uint16_t i = 0; i < QUEUES; i++) {
		put(f, Q_SELECT, i, 2);
		assert_int_equal(reg(f, Q_NOTIFY_OFF, 2), i);
		assert_true(i * f->multiplier + 4 <= f->notify_len);
	}
	assert_true(f->multiplier >= 4);
}

static void test_initial_state(void **state)
{
	struct fix *f = *state;

	assert_int_equal(reg(f, STATUS, 1), 0);
	assert_int_equal(reg(f, NUM_QUEUES, 2), QUEUES);
	assert_int_equal(reg(f, CONFIG_VECTOR, 2), 0xffff);
	for (uint16_t i = 0; i < QUEUES; i++) {
		put(f, Q_SELECT, i, 2);
		assert_int_equal(reg(f, Q_SIZE, 2), QUEUE_MAX);
		assert_int_equal(reg(f, Q_VECTOR, 2), 0xffff);
		assert_int_equal(reg(f, Q_ENABLE, 2), 0);
		assert_int_equal(reg(f, Q_DESC, 4), 0);
	}
	/* There is no such queue. */
	for (uint32_t i = QUEUES; i < 0x10000; i += 4093) {
		put(f, Q_SELECT, i, 2);
		assert_int_equal(reg(f, Q_SELECT, 2), i);
		assert_int_equal(reg(f, Q_SIZE, 2), 0);
		put(f, Q_SIZE, 8, 2);
		put(f, Q_VECTOR, 0, 2);
		put(f, Q_DESC, 0x10000, 4);
		put(f, Q_ENABLE, 1, 2);
		assert_int_equal(reg(f, Q_SIZE, 2), 0);
		assert_int_equal(reg(f, Q_VECTOR, 2), 0xffff);
		assert_int_equal(reg(f, Q_ENABLE, 2), 0);
	}
}

static void test_features(void **state)
{
	struct fix *f = *state;

	assert_int_equal(reg(f, DEVICE_FEATURE, 4),
			 FEATURE_X | FEATURE(VIRTIO_F_INDIRECT_DESC) | FEATURE(VIRTIO_F_EVENT_IDX));
	put(f, DEVICE_SELECT, 1, 4);
	assert_int_equal(reg(f, DEVICE_SELECT, 4), 1);
	assert_int_equal(reg(f, DEVICE_FEATURE, 4), 1);
	/* Neither resets of single queues nor notification data are there to be had. */
	for (uint32_t i = 2; i < 40; i++) {
		put(f, DEVICE_SELECT, i, 4);
		assert_int_equal(reg(f, DEVICE_FEATURE, 4), 0);
	}
	negotiate(f, FEATURE_X | V1);
	assert_int_equal(atomic_load(&f->m.dev.features), FEATURE_X | V1);
	assert_int_equal(reg(f, DRIVER_FEATURE, 4), 1);
	put(f, DRIVER_SELECT, 0, 4);
	assert_int_equal(reg(f, DRIVER_FEATURE, 4), FEATURE_X);
	put(f, DRIVER_SELECT, 7, 4);
	assert_int_equal(reg(f, DRIVER_FEATURE, 4), 0);
	/* One that is not offered. */
	put(f, STATUS, 0, 1);
	put(f, STATUS, 3, 1);
	put(f, DRIVER_FEATURE, FEATURE_X | 1, 4);
	put(f, DRIVER_SELECT, 1, 4);
	put(f, DRIVER_FEATURE, 1, 4);
	put(f, STATUS, 11, 1);
	assert_int_equal(reg(f, STATUS, 1), 3);
}

static void test_widths(void **state)
{
	struct fix *f = *state;
	uint8_t whole[56];

	put(f, DEVICE_SELECT, 0x01020304, 4);
	put(f, Q_SELECT, 2, 2);
	put(f, Q_DESC, UINT64_C(0x1122334455667780), 8);
	for (unsigned int i = 0; i < sizeof(whole); i++)
		whole[i] = (uint8_t)reg(f, i, 1);
	assert_int_equal(whole[3], 1);
	assert_int_equal(whole[Q_DESC + 7], 0x11);
	for (unsigned int len = 1; len <= 8; len *= 2)
		for (unsigned int i = 0; i + len <= sizeof(whole); i++) {
			uint64_t value = mem_read(f, f->common + i, len);

			assert_memory_equal(&value, whole + i, len);
		}
	/* Behind the end, and across it. */
	assert_int_equal(mem_read(f, f->common + 56, 4), 0);
	assert_int_equal(mem_read(f, f->common + 54, 4) >> 16, 0);
	/* Another width than the field's changes nothing, nor does what is read-only. */
	put(f, DEVICE_SELECT, 0, 1);
	put(f, DEVICE_SELECT, 0, 2);
	put(f, Q_SELECT, 0, 4);
	put(f, Q_SELECT, 0, 1);
	put(f, STATUS, 3, 2);
	put(f, STATUS - 2, UINT64_C(3) << 16, 4);
	put(f, NUM_QUEUES, 1, 2);
	put(f, GENERATION, 1, 1);
	put(f, Q_NOTIFY_OFF, 9, 2);
	put(f, DEVICE_FEATURE, 0, 4);
	put(f, DEVICE_SELECT, 0, 8);
	put(f, 56, 0, 4);
	for (unsigned int i = 0; i < sizeof(whole); i++)
		assert_int_equal(reg(f, i, 1), whole[i]);
}

static void test_vectors(void **state)
{
	struct fix *f = *state;

	put(f, CONFIG_VECTOR, QUEUES, 2);
	assert_int_equal(reg(f, CONFIG_VECTOR, 2), QUEUES);
	put(f, CONFIG_VECTOR, QUEUES + 1, 2);
	assert_int_equal(reg(f, CONFIG_VECTOR, 2), 0xffff);
	put(f, Q_SELECT, 1, 2);
	put(f, Q_VECTOR, 2, 2);
	assert_int_equal(reg(f, Q_VECTOR, 2), 2);
	put(f, Q_VECTOR, 0x7fff, 2);
	assert_int_equal(reg(f, Q_VECTOR, 2), 0xffff);
}

static void test_requests(void **state)
{
	struct fix *f = *state;
	struct driver d[QUEUES];
	uint64_t at = GUEST_BASE;
	uint32_t id, len;

	for (uint16_t i = 0; i < QUEUES; i++)
		at = driver_init(&d[i], &f->g, at, 8);
	for (unsigned int i = 0; i <= QUEUES; i++)
		program(f, i, 0x40 + i);
	negotiate(f, FEATURE_X | V1);
	for (uint16_t i = 0; i < QUEUES; i++)
		enable_queue(f, i, &d[i], (uint16_t)(QUEUES - i));
	put(f, CONFIG_VECTOR, 0, 2);
	kick(f, 1);
	assert_int_equal(f->m.kicks[1], 0); /* not yet */
	put(f, STATUS, 15, 1);
	assert_int_equal(f->m.starts, 1);
	memset(f->m.kicks, 0, sizeof(f->m.kicks));
	for (uint16_t i = 0; i < QUEUES; i++) {
		driver_desc(&d[i], 3, at, 64, F_WRITE, 0);
		driver_offer(&d[i], 3);
		f->sent = 0;
		kick(f, i);
		assert_int_equal(f->m.kicks[i], 1);
		assert_true(driver_used(&d[i], &id, &len));
		assert_int_equal(id, 3);
		assert_int_equal(len, 64);
		/* Its own vector, and only that. */
		assert_int_equal(f->sent, 1);
		assert_int_equal(f->data, 0x40 + QUEUES - i);
	}
	assert_int_equal(mem_read(f, f->isr, 1), 0);
	/* Doorbells of queues that are not there, or half of one. */
	bus_write(&f->mmio, f->notify + QUEUES * f->multiplier, "\0\0\0", 4);
	bus_write(&f->mmio, f->notify + 0xffc, "\0\0\0", 4);
	bus_write(&f->mmio, f->notify + 1, "\0", 1);
	for (uint16_t i = 0; i < QUEUES; i++)
		assert_int_equal(f->m.kicks[i], 1);
	/* The doorbell takes a value of 32 bits, too, whatever it is; and reads as nothing. */
	mem_write(f, f->notify + f->multiplier, 0xffffffff, 4);
	assert_int_equal(f->m.kicks[1], 2);
	assert_int_equal(mem_read(f, f->notify, 4), 0);
	/* A configuration change. */
	f->sent = 0;
	id = reg(f, GENERATION, 1);
	pthread_mutex_lock(&f->m.dev.lock);
	virtio_config_changed(&f->m.dev);
	pthread_mutex_unlock(&f->m.dev.lock);
	assert_int_not_equal(reg(f, GENERATION, 1), id);
	assert_int_equal(f->sent, 1);
	assert_int_equal(f->data, 0x40);
	assert_int_equal(mem_read(f, f->isr, 1), 2);
}

static void test_interrupt_status(void **state)
{
	struct fix *f = *state;
	struct driver d;
	uint64_t at = driver_init(&d, &f->g, GUEST_BASE, 8);

	/* Without MSI-X it is all that tells. */
	negotiate(f, V1);
	enable_queue(f, 0, &d, 0);
	put(f, CONFIG_VECTOR, 1, 2);
	put(f, STATUS, 15, 1);
	assert_int_equal(mem_read(f, f->isr, 1), 0);
	driver_desc(&d, 0, at, 64, F_WRITE, 0);
	driver_offer(&d, 0);
	kick(f, 0);
	assert_int_equal(mem_read(f, f->isr, 1), 1);
	assert_int_equal(mem_read(f, f->isr, 1), 0); /* reading has acknowledged it */
	driver_offer(&d, 0);
	kick(f, 0);
	virtio_config_changed(&f->m.dev);
	mem_write(f, f->isr, 0, 1);
	assert_int_equal(mem_read(f, f->isr, 4), 3);
	assert_int_equal(mem_read(f, f->isr + 1, 1), 0);
	assert_int_equal(f->sent, 0);
}

#define INPUT	     (1u << 17)
#define INTX_DISABLE 0x400

/* 4.1.4.5.1: up as long as the interrupt status is not 0, and the status of the function says
 * so. */
static void test_interrupt_pin(void **state)
{
	struct fix *f = *state;
	struct driver d;
	uint64_t at = driver_init(&d, &f->g, GUEST_BASE, 8);

	assert_int_equal(cfg(f, 0x3d, 1), 1);
	assert_int_equal(cfg(f, 0x3c, 1), 17);
	negotiate(f, V1);
	enable_queue(f, 0, &d, 0);
	put(f, STATUS, 15, 1);
	assert_int_equal(f->inputs, 0);
	assert_int_equal(cfg(f, 6, 2) & 8, 0);
	driver_desc(&d, 0, at, 64, F_WRITE, 0);
	driver_offer(&d, 0);
	kick(f, 0);
	assert_int_equal(f->inputs, INPUT);
	assert_int_equal(cfg(f, 6, 2) & 8, 8);
	virtio_config_changed(&f->m.dev);
	assert_int_equal(mem_read(f, f->isr, 1), 3);
	assert_int_equal(f->inputs, 0);
	assert_int_equal(cfg(f, 6, 2) & 8, 0);
	assert_int_equal(mem_read(f, f->isr, 1), 0);
	/* The same by the window in configuration space. */
	driver_offer(&d, 0);
	kick(f, 0);
	assert_int_equal(f->inputs, INPUT);
	window(f, f->isr, 1);
	assert_int_equal(cfg(f, f->window + 16, 1), 1);
	assert_int_equal(f->inputs, 0);
	/* A pin that is disabled is so whatever it would say; that is still to be seen. */
	set(f, 4, 6 | INTX_DISABLE, 2);
	virtio_config_changed(&f->m.dev);
	assert_int_equal(f->inputs, 0);
	assert_int_equal(cfg(f, 6, 2) & 8, 8);
	set(f, 4, 6, 2);
	assert_int_equal(f->inputs, INPUT);
	/* With MSI-X there is none, and what was left is there again when that goes. */
	program(f, 0, 0x40);
	assert_int_equal(f->inputs, 0);
	assert_int_equal(cfg(f, 6, 2) & 8, 0);
	driver_offer(&d, 0);
	kick(f, 0);
	assert_int_equal(f->sent, 1);
	set(f, f->msix + 2, 0, 2);
	assert_int_equal(f->inputs, INPUT);
	/* A driver that does not want any reads none. */
	assert_int_equal(mem_read(f, f->isr, 1), 2);
	guest_put16(&f->g, d.avail, 1);
	driver_offer(&d, 0);
	kick(f, 0);
	assert_int_equal(f->inputs, 0);
	guest_put16(&f->g, d.avail, 0);
	driver_offer(&d, 0);
	kick(f, 0);
	assert_int_equal(f->inputs, INPUT);
	put(f, STATUS, 0, 1);
	assert_int_equal(f->inputs, 0);
	assert_int_equal(cfg(f, 6, 2) & 8, 0);
}

static void test_reset(void **state)
{
	struct fix *f = *state;
	struct driver d;

	driver_init(&d, &f->g, GUEST_BASE, 8);
	negotiate(f, V1);
	enable_queue(f, 1, &d, 1);
	put(f, CONFIG_VECTOR, 2, 2);
	put(f, DEVICE_SELECT, 1, 4);
	put(f, STATUS, 15, 1);
	virtio_config_changed(&f->m.dev);
	put(f, STATUS, 0, 1);
	assert_int_equal(f->m.resets, 2);
	assert_int_equal(atomic_load(&f->m.stops), 1);
	assert_int_equal(reg(f, STATUS, 1), 0);
	assert_int_equal(reg(f, CONFIG_VECTOR, 2), 0xffff);
	assert_int_equal(reg(f, DEVICE_SELECT, 4), 0);
	assert_int_equal(reg(f, Q_SELECT, 2), 0);
	assert_int_equal(mem_read(f, f->isr, 1), 0);
	put(f, Q_SELECT, 1, 2);
	assert_int_equal(reg(f, Q_SIZE, 2), QUEUE_MAX);
	assert_int_equal(reg(f, Q_VECTOR, 2), 0xffff);
	assert_int_equal(reg(f, Q_ENABLE, 2), 0);
	assert_int_equal(reg(f, Q_DESC, 4), 0);
	memset(f->m.kicks, 0, sizeof(f->m.kicks));
	mem_write(f, f->notify + f->multiplier, 1, 2);
	assert_int_equal(f->m.kicks[1], 0);
	/* 0 does not disable a queue. */
	negotiate(f, V1);
	enable_queue(f, 1, &d, 1);
	put(f, Q_ENABLE, 0, 2);
	assert_int_equal(reg(f, Q_ENABLE, 2), 1);
	put(f, Q_SIZE, 4, 2);
	assert_int_equal(reg(f, Q_SIZE, 2), 8);
}

static void test_device_configuration(void **state)
{
	struct fix *f = *state;

	for (unsigned int i = 0; i < sizeof(f->m.config); i++)
		assert_int_equal(mem_read(f, f->device + i, 1), i + 1);
	assert_int_equal(mem_read(f, f->device + 4, 4), 0x08070605);
	assert_int_equal(mem_read(f, f->device + 8, 8), 0x0a09);
	assert_int_equal(mem_read(f, f->device + 0x100, 4), 0);
	mem_write(f, f->device + 1, 0xbbaa, 2);
	assert_int_equal(f->m.config[1], 0xaa);
	assert_int_equal(f->m.config[2], 0xbb);
	mem_write(f, f->device + 0x100, 0xbbaa, 2);
	assert_int_equal(f->m.config_writes, 1);
}

/* ---- the window in configuration space ---- */

static void test_window(void **state)
{
	struct fix *f = *state;

	/* It needs no memory decoding. */
	window(f, f->device, 4);
	set(f, 4, 4, 2);
	assert_int_equal(cfg(f, f->window + 16, 4), 0x04030201);
	assert_int_equal(cfg(f, f->window + 18, 1), 3);
	assert_int_equal(cfg(f, f->window + 14, 4), 0x02010000);
	set(f, 4, 6, 2);
	window(f, f->device + 2, 2);
	assert_int_equal(cfg(f, f->window + 16, 2), 0x0403);
	window(f, f->device + 9, 1);
	assert_int_equal(cfg(f, f->window + 16, 1), 10);
	set(f, f->window + 16, 0x77, 1);
	assert_int_equal(f->m.config[9], 0x77);
	assert_int_equal(f->m.config_writes, 1);
	/* The whole way to a kick. */
	window(f, f->common + STATUS, 1);
	set(f, f->window + 16, 1, 4);
	set(f, f->window + 16, 3, 4);
	assert_int_equal(reg(f, STATUS, 1), 3);
	window(f, f->common + DRIVER_SELECT, 4);
	set(f, f->window + 16, 1, 4);
	window(f, f->common + DRIVER_FEATURE, 4);
	set(f, f->window + 16, 1, 4);
	window(f, f->common + STATUS, 1);
	set(f, f->window + 16, 15, 1);
	assert_int_equal(cfg(f, f->window + 16, 1), 15);
	memset(f->m.kicks, 0, sizeof(f->m.kicks));
	window(f, f->notify + 2 * f->multiplier, 2);
	set(f, f->window + 16, 2, 2);
	assert_int_equal(f->m.kicks[2], 1);
}

static void test_window_to_nowhere(void **state)
{
	struct fix *f = *state;
	static const uint32_t lens[] = {0, 3, 5, 8, 0xffffffff};

	for (unsigned int i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		window(f, f->device, lens[i]);
		set(f, f->window + 16, 0, 4);
		assert_int_equal(cfg(f, f->window + 16, 4), 0);
	}
	window(f, f->device + 1, 4); /* not a multiple of the length */
	set(f, f->window + 16, 0, 4);
	window(f, f->device, 4);
	for (unsigned int b = 1; b < 256; b++) {
		if (b == VIRTIO_PCI_MSIX_BAR)
			continue;
		set(f, f->window + 4, b, 1);
		set(f, f->window + 16, 0, 4);
		(void)cfg(f, f->window + 16, 4);
	}
	set(f, f->window + 4, 0, 1);
	set(f, f->window + 8, 0xfffffffc, 4);
	set(f, f->window + 16, 0, 4);
	set(f, f->window + 8, VIRTIO_PCI_BAR_SIZE, 4);
	set(f, f->window + 16, 0, 4);
	(void)cfg(f, f->window + 16, 4);
	assert_int_equal(f->m.config_writes, 0);
	assert_int_equal(f->m.config[0], 1);
}

/* ---- a reset that takes its time ---- */

static void *resetter(void *arg)
{
	struct fix *f = arg;

	window(f, f->common + STATUS, 1);
	set(f, f->window + 16, 0, 1);
	return NULL;
}

/*
 * A request is in flight: the reset is not complete, and the status says so; and other vCPUs have
 * the use of configuration space, of this function as well, so that they get to finish the request.
 */
static void test_reset_holds_nobody_up(void **state)
{
	struct fix *f = *state;
	pthread_t thread;

	negotiate(f, V1);
	put(f, STATUS, 15, 1);
	virtio_request_begin(&f->m.dev);
	assert_int_equal(pthread_create(&thread, NULL, resetter, f), 0);
	while (!atomic_load(&f->m.stops))
		sched_yield();
	assert_int_equal(cfg(f, 0, 4), 0x10421af4);
	set(f, 0x3c, 5, 1);
	assert_int_equal(reg(f, STATUS, 1), 15);
	put(f, STATUS, 1, 1); /* ignored meanwhile */
	virtio_request_end(&f->m.dev);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(reg(f, STATUS, 1), 0);
}

static void test_that_cannot_be(void **state)
{
	struct guest g;
	struct virtio_device dev = {.ops = &model_ops, .queue_count = 1, .dma = &g.dma};
	struct virtio_pci t;

	guest_init(&g, 4096);
	assert_int_equal(virtio_init(&dev, 16), 0);
	dev.config_len = 4097;
	assert_int_equal(virtio_pci_init(&t, &dev, on_message, NULL), -EINVAL);
	/* A device without configuration has no capability for it. */
	dev.config_len = 0;
	assert_int_equal(virtio_pci_init(&t, &dev, on_message, NULL), 0);
	for (unsigned int at = t.function.config[0x34]; at; at = t.function.config[at + 1])
		assert_false(t.function.config[at] == 9 && t.function.config[at + 3] == 4);
	virtio_pci_fini(&t);
	virtio_fini(&dev);
	guest_fini(&g);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_identity),
		test(test_initial_state),
		test(test_features),
		test(test_widths),
		test(test_vectors),
		test(test_requests),
		test(test_interrupt_status),
		test(test_interrupt_pin),
		test(test_reset),
		test(test_device_configuration),
		test(test_window),
		test(test_window_to_nowhere),
		test(test_reset_holds_nobody_up),
		cmocka_unit_test(test_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
