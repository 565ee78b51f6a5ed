/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-mmio's registers, as a driver sees them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/virtio/mmio.h"
#include "virtio_fixture.h"

#define BASE UINT64_C(0xc0000000)

struct fix {
	struct guest g;
	struct driver d;
	struct virtio_device dev;
	struct virtio_mmio m;
	struct bus bus;
	uint8_t config[6];
	unsigned int kicks[2];
	_Atomic unsigned int edges;
	_Atomic bool level;
	/* Called once, while the pin is up. */
	void (*_Atomic while_up)(struct fix *f);
	pthread_t other;
};

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct fix *f = (struct fix *)((char *)dev - offsetof(struct fix, dev));

	f->kicks[index]++;
}

static void config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	memcpy((char *)dev->config + offset, data, len);
}

static const struct virtio_ops ops = {.kick = kick, .config_write = config_write};

static void set_pin(void *ctx, bool level)
{
	struct fix *f = ctx;
	void (*while_up)(struct fix * f);

	if (level && !f->level)
		f->edges++;
	f->level = level;
	while_up = level ? atomic_exchange(&f->while_up, NULL) : NULL;
	if (while_up)
		while_up(f);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_init(&f->g, 0x4000);
	memcpy(f->config, "\1\2\3\4\5\6", 6);
	f->dev.ops = &ops;
	f->dev.id = 2;
	f->dev.offered = FEATURE(9);
	f->dev.config = f->config;
	f->dev.config_len = sizeof(f->config);
	f->dev.queue_count = 2;
	f->dev.dma = &f->g.dma;
	assert_int_equal(virtio_init(&f->dev, 64), 0);
	virtio_mmio_init(&f->m, &f->dev, set_pin, f);
	assert_int_equal(bus_add(&f->bus, BASE, VIRTIO_MMIO_SIZE, &virtio_mmio_ops, &f->m), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	virtio_fini(&f->dev);
	guest_fini(&f->g);
	free(f);
	return 0;
}

static uint32_t rd(struct fix *f, uint32_t reg)
{
	uint32_t value;

	assert_true(bus_read(&f->bus, BASE + reg, &value, 4));
	return value;
}

static void wr(struct fix *f, uint32_t reg, uint32_t value)
{
	assert_true(bus_write(&f->bus, BASE + reg, &value, 4));
}

static void up(struct fix *f)
{
	driver_init(&f->d, &f->g, GUEST_BASE, 8);
	wr(f, 0x70, 0);
	wr(f, 0x70, 1);
	wr(f, 0x70, 3);
	wr(f, 0x24, 1);
	wr(f, 0x20, 1);
	wr(f, 0x24, 0);
	wr(f, 0x20, 1 << 9);
	wr(f, 0x70, 11);
	assert_int_equal(rd(f, 0x70), 11);
	wr(f, 0x30, 1);
	assert_int_equal(rd(f, 0x44), 0);
	wr(f, 0x38, 8);
	wr(f, 0x80, (uint32_t)f->d.desc);
	wr(f, 0x84, (uint32_t)(f->d.desc >> 32));
	wr(f, 0x90, (uint32_t)f->d.avail);
	wr(f, 0x94, (uint32_t)(f->d.avail >> 32));
	wr(f, 0xa0, (uint32_t)f->d.used);
	wr(f, 0xa4, (uint32_t)(f->d.used >> 32));
	wr(f, 0x44, 1);
	assert_int_equal(rd(f, 0x44), 1);
	wr(f, 0x70, 15);
}

static void test_identity(void **state)
{
	struct fix *f = *state;

	assert_int_equal(rd(f, 0x00), 0x74726976);
	assert_int_equal(rd(f, 0x04), 2);
	assert_int_equal(rd(f, 0x08), 2);
	assert_int_not_equal(rd(f, 0x0c), 0);
	assert_int_equal(rd(f, 0x10), 3u << 28 | 1 << 9);
	wr(f, 0x14, 1);
	assert_int_equal(rd(f, 0x10), 1);
	wr(f, 0x14, UINT32_MAX);
	assert_int_equal(rd(f, 0x10), 0);
	/* No shared memory regions. */
	wr(f, 0xac, 0);
	assert_int_equal(rd(f, 0xb0), UINT32_MAX);
	assert_int_equal(rd(f, 0xb4), UINT32_MAX);
	/* Registers that can only be written, or that are not there. */
	assert_int_equal(rd(f, 0x50), 0);
	assert_int_equal(rd(f, 0xc0), 0);
	wr(f, 0x00, 7);
	assert_int_equal(rd(f, 0x00), 0x74726976);
}

static void test_queue(void **state)
{
	struct fix *f = *state;

	up(f);
	assert_int_equal(f->dev.queues[1].vq.size, 8);
	assert_int_equal(f->kicks[1], 1); /* of the start */
	wr(f, 0x50, 1);
	assert_int_equal(f->kicks[1], 2);
	wr(f, 0x50, 2);
	wr(f, 0x50, UINT32_MAX);
	assert_int_equal(f->kicks[1], 2);
	assert_int_equal(f->kicks[0], 1);
	wr(f, 0x30, 0);
	assert_int_equal(rd(f, 0x34), 64);
	assert_int_equal(rd(f, 0x44), 0);
	wr(f, 0x30, 2);
	assert_int_equal(rd(f, 0x34), 0);
	assert_int_equal(rd(f, 0x44), 0);
	wr(f, 0x44, 1);
	assert_int_equal(rd(f, 0x70), 15);
	wr(f, 0x70, 0);
	assert_int_equal(rd(f, 0x70), 0);
	wr(f, 0x30, 1);
	assert_int_equal(rd(f, 0x44), 0);
	/* A driver that takes its queue back before it has begun; Linux holds it against the
	 * device if that shows no effect. */
	up(f);
	wr(f, 0x70, 0);
	wr(f, 0x70, 3);
	wr(f, 0x24, 1);
	wr(f, 0x20, 1);
	wr(f, 0x70, 11);
	wr(f, 0x38, 0x10008); /* is not 8 */
	wr(f, 0x44, 1);
	assert_int_equal(rd(f, 0x70), 11 | VIRTIO_STATUS_NEEDS_RESET);
}

static void test_interrupt(void **state)
{
	struct fix *f = *state;
	struct virtqueue *q = &f->dev.queues[1].vq;
	struct iovec iov[1];
	struct vq_chain c = {.iov = iov, .max = 1};

	up(f);
	for (uint16_t i = 0; i < 3; i++) {
		driver_desc(&f->d, i, GUEST_BASE, 1, 0, 0);
		driver_offer(&f->d, i);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vq_pop(q, &c), 1);
		vq_push(q, c.head, 0);
		virtio_publish(&f->dev, 1);
		/* One edge until it is acknowledged, and as long up. */
		assert_int_equal(f->edges, 1);
		assert_true(f->level);
		assert_int_equal(rd(f, 0x60), 1);
	}
	wr(f, 0x64, 2);
	assert_int_equal(rd(f, 0x60), 1);
	assert_true(f->level);
	wr(f, 0x64, 1);
	assert_int_equal(rd(f, 0x60), 0);
	assert_false(f->level);
	assert_int_equal(vq_pop(q, &c), 1);
	vq_push(q, c.head, 0);
	virtio_publish(&f->dev, 1);
	assert_int_equal(f->edges, 2);
	/* The other cause has an edge of its own. */
	pthread_mutex_lock(&f->dev.lock);
	virtio_config_changed(&f->dev);
	pthread_mutex_unlock(&f->dev.lock);
	assert_int_equal(f->edges, 3);
	assert_int_equal(rd(f, 0x60), 3);
	assert_int_equal(rd(f, 0xfc), 1);
	/* And who takes levels is told as long as there is one left. */
	wr(f, 0x64, 1);
	assert_true(f->level);
	wr(f, 0x70, 0);
	assert_int_equal(rd(f, 0x60), 0);
	assert_false(f->level);
}

static void *acknowledge(void *arg)
{
	wr(arg, 0x64, 1);
	return NULL;
}

/* The driver is quick: it acknowledges on another processor, while the pin goes up. */
static void acknowledge_meanwhile(struct fix *f)
{
	assert_int_equal(pthread_create(&f->other, NULL, acknowledge, f), 0);
	/* Time for it to come as far as it does. */
	usleep(20000);
}

static void test_acknowledged_at_once(void **state)
{
	struct fix *f = *state;

	up(f);
	for (unsigned int i = 1; i <= 2; i++) {
		atomic_store(&f->while_up, acknowledge_meanwhile);
		f->dev.transport_ops->interrupt_queue(f->dev.transport, 1);
		pthread_join(f->other, NULL);
		assert_int_equal(rd(f, 0x60), 0);
		assert_int_equal(f->edges, i);
		assert_false(f->level);
	}
}

#define ROUNDS 20000

static void *driver(void *arg)
{
	struct fix *f = arg;

	for (unsigned int i = 0; i < ROUNDS; i++)
		wr(f, 0x64, rd(f, 0x60));
	return NULL;
}

static void *device(void *arg)
{
	struct fix *f = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		f->dev.transport_ops->interrupt_queue(f->dev.transport, i & 1);
		f->dev.transport_ops->interrupt_config(f->dev.transport);
	}
	return NULL;
}

/* However they meet, the pin ends up where the register says. */
static void test_interrupts_at_once(void **state)
{
	struct fix *f = *state;
	pthread_t threads[3];

	up(f);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i ? device : driver, f), 0);
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(f->level, rd(f, 0x60) != 0);
	wr(f, 0x64, UINT32_MAX);
	assert_false(f->level);
	f->dev.transport_ops->interrupt_queue(f->dev.transport, 1);
	assert_true(f->level);
}

static void test_config(void **state)
{
	struct fix *f = *state;
	uint8_t b[8];
	uint16_t two;

	assert_int_equal(rd(f, 0x100), 0x04030201);
	assert_int_equal(rd(f, 0x104), 0x00000605);
	assert_int_equal(rd(f, 0xffc), 0);
	assert_true(bus_read(&f->bus, BASE + 0x103, b, 1));
	assert_int_equal(b[0], 4);
	assert_true(bus_read(&f->bus, BASE + 0x102, &two, 2));
	assert_int_equal(two, 0x0403);
	assert_true(bus_read(&f->bus, BASE + 0x100, b, 8));
	assert_memory_equal(b, "\1\2\3\4\5\6\0\0", 8);
	two = 0x7788;
	assert_true(bus_write(&f->bus, BASE + 0x101, &two, 2));
	assert_int_equal(rd(f, 0x100), 0x04778801);
	wr(f, 0x104, 0xffffffff);
	assert_int_equal(rd(f, 0x104), 0x0000ffff);
}

/* Accesses that registers do not take. */
static void test_access(void **state)
{
	struct fix *f = *state;
	uint64_t eight = UINT64_MAX;
	uint8_t one = 0xff;

	assert_true(bus_read(&f->bus, BASE, &eight, 8));
	assert_int_equal(eight, 0);
	assert_true(bus_read(&f->bus, BASE, &one, 1));
	assert_int_equal(one, 0);
	eight = 3;
	one = 3;
	assert_true(bus_write(&f->bus, BASE + 0x70, &eight, 8));
	assert_true(bus_write(&f->bus, BASE + 0x70, &one, 1));
	assert_true(bus_write(&f->bus, BASE + 0x6e, &eight, 4));
	assert_int_equal(rd(f, 0x70), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity),
		T(test_queue),
		T(test_interrupt),
		T(test_acknowledged_at_once),
		T(test_interrupts_at_once),
		T(test_config),
		T(test_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
