/* SPDX-License-Identifier: Apache-2.0 */
/* A block device on a real file, and a driver that puts requests into three descriptors each. */
#ifndef TESTS_UNIT_BLK_BENCH_H
#define TESTS_UNIT_BLK_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/virtio/blk.h"
#include "virtio_fixture.h"

#define SIZE	8
#define MEMORY	(3u << 20)
#define SECTORS 4096u /* of the image */

#define T_IN	       0
#define T_OUT	       1
#define T_FLUSH	       4
#define T_GET_ID       8
#define T_DISCARD      11
#define T_WRITE_ZEROES 13
#define OK	       0
#define IOERR	       1
#define UNSUPP	       2

#define ALL                                                                               \
	(FEATURE(32) | FEATURE(28) | FEATURE(2) | FEATURE(6) | FEATURE(9) | FEATURE(10) | \
	 FEATURE(11) | FEATURE(13) | FEATURE(14))

struct fix {
	struct guest g;
	struct driver d;
	struct virtio_device *dev;
	struct fake_transport t;
	struct catnap_halter *halter;
	struct blk_config cfg;
	char path[64];
	struct error err;
	int file;
	uint64_t headers, data; /* headers: 16 bytes and a status, 32 apart */
};

static inline void make_file(struct fix *f, const char *dir, uint64_t size)
{
	snprintf(f->path, sizeof(f->path), "%s/test_blk.XXXXXX", dir);
	f->file = mkstemp(f->path);
	assert_true(f->file >= 0);
	assert_int_equal(ftruncate(f->file, (off_t)size), 0);
	f->cfg = (struct blk_config){.path = f->path, .queues = 1};
}

static inline void make_disk(struct fix *f, uint64_t features)
{
	uint64_t at;

	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &f->dev, &f->err), 0);
	f->dev->transport_ops = &fake_transport_ops;
	f->dev->transport = &f->t;
	assert_true(driver_negotiate(f->dev, features & f->dev->offered));
	at = driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
	f->headers = at;
	f->data = at + 4096;
	driver_enable(f->dev, 0, &f->d);
	driver_ok(f->dev);
}

static inline void use_halter(struct fix *f, uint32_t flags)
{
	struct catnap_halter_config cfg;

	catnap_halter_config_init(&cfg);
	cfg.flags = flags;
	assert_int_equal(catnap_halter_create(&cfg, &f->halter), 0);
	halter_set_self(f->halter);
}

static inline void use_ring(struct fix *f)
{
	use_halter(f, 0);
}

static inline int setup_file(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_init(&f->g, MEMORY);
	make_file(f, "/tmp", SECTORS * 512);
	*state = f;
	return 0;
}

static inline int setup(void **state)
{
	setup_file(state);
	make_disk(*state, ALL);
	return 0;
}

static inline int setup_ring(void **state)
{
	setup_file(state);
	use_ring(*state);
	make_disk(*state, ALL);
	return 0;
}

/* As an I/O thread where there is no io_uring. */
static inline int setup_plain(void **state)
{
	setup_file(state);
	use_halter(*state, CATNAP_HALTER_NO_RING);
	assert_int_equal(ring_prepare(&((struct fix *)*state)->halter->ring, true), 0);
	make_disk(*state, ALL);
	return 0;
}

/* An image that is memory: requests are complete when the kick is. */
static inline int setup_memory(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_init(&f->g, MEMORY);
	make_file(f, "/dev/shm", SECTORS * 512);
	use_ring(f);
	make_disk(f, ALL);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fix *f = *state;

	if (f->dev) {
		virtio_set_status(f->dev, 0);
		blk_destroy(f->dev);
	}
	halter_set_self(NULL);
	catnap_halter_destroy(&f->halter);
	close(f->file);
	unlink(f->path);
	guest_fini(&f->g);
	free(f);
	return 0;
}

/* Puts the request's header and status into slot @n; descriptors 3n to 3n + 2. */
static inline void prepare(struct fix *f, uint16_t n, uint32_t type, uint64_t sector, uint32_t len)
{
	uint64_t at = f->headers + 32u * n, data = f->data + (uint64_t)n * 65536;
	uint8_t *h = guest_ptr(&f->g, at);
	uint16_t write = type == T_IN || type == T_GET_ID ? F_WRITE : 0;

	memset(h, 0, 16);
	memcpy(h, &type, 4);
	memcpy(h + 8, &sector, 8);
	h[16] = 0xee;
	driver_desc(&f->d, (uint16_t)(3 * n), at, 16, F_NEXT, (uint16_t)(3 * n + (len ? 1 : 2)));
	driver_desc(&f->d, (uint16_t)(3 * n + 1), data, len, F_NEXT | write, (uint16_t)(3 * n + 2));
	driver_desc(&f->d, (uint16_t)(3 * n + 2), at + 16, 1, F_WRITE, 0);
}

static inline uint8_t status(struct fix *f, uint16_t n)
{
	return *((uint8_t *)guest_ptr(&f->g, f->headers + 32u * n) + 16);
}

static inline void finish(struct fix *f)
{
	bool more = f->halter;

	/* A long request is put off between its pieces. */
	while (more) {
		assert_true(halter_reap(f->halter) >= 0);
		assert_int_equal(halter_drain(f->halter, false), 0);
		more = atomic_load(&f->halter->wake.tasks);
		halter_run_tasks(f->halter);
	}
	assert_int_equal(f->dev->inflight, 0);
}

/* One request, done: its status. */
static inline uint8_t request(struct fix *f, uint32_t type, uint64_t sector, uint32_t len)
{
	uint32_t id, used;

	prepare(f, 0, type, sector, len);
	driver_offer(&f->d, 0);
	virtio_kick(f->dev, 0);
	finish(f);
	assert_true(driver_used(&f->d, &id, &used));
	assert_int_equal(id, 0);
	assert_int_equal(used, type == T_IN || type == T_GET_ID ? len + 1 : 1);
	return status(f, 0);
}

static inline uint8_t *data(struct fix *f, uint16_t n)
{
	return guest_ptr(&f->g, f->data + (uint64_t)n * 65536);
}

static inline void pattern(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 7 + i / 512 + seed) | 1);
}

static inline void check_file(struct fix *f, uint64_t at, const void *expected, size_t len)
{
	uint8_t *buf = malloc(len);

	assert_int_equal(pread(f->file, buf, len, (off_t)at), len);
	assert_memory_equal(buf, expected, len);
	free(buf);
}

#define BOTH(name)                                                       \
	{#name, name, setup, teardown, NULL},                            \
	{                                                                \
#name " with io_uring", name, setup_ring, teardown, NULL \
	}
#define ALL_THREE(name)                                                \
	BOTH(name),                                                    \
	{                                                              \
#name " in memory", name, setup_memory, teardown, NULL \
	}
#define FILE_ONLY(name)                                 \
	{                                               \
#name, name, setup_file, teardown, NULL \
	}

#endif
