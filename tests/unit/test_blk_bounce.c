/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many buffers a guest can make its monitor allocate, by requests whose own buffers are not
 * aligned for direct I/O: 64 at a time, and what is beyond goes through the page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/virtio/blk.h"
#include "uring.h"
#include "virtio_fixture.h"

#define SIZE	 256
#define REQUESTS 100
#define BUFFERS	 64
#define LENGTH	 4096u
#define MEMORY	 (2u << 20)

static unsigned int made; /* buffers, since it was last set to 0 */

int __real_posix_memalign(void **p, size_t align, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size);

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
	made++;
	return __real_posix_memalign(p, align, size);
}

/* One indirect descriptor for each request: its table, header and status are 96 bytes. */
static void request(struct driver *d, struct guest *g, uint64_t headers, uint64_t data, uint16_t n)
{
	uint64_t at = headers + 96u * n, sector = 8u * n;

	memset(guest_ptr(g, at), 0, 16);
	memcpy((uint8_t *)guest_ptr(g, at) + 8, &sector, 8);
	*((uint8_t *)guest_ptr(g, at) + 16) = 0xee;
	table_desc(g, at + 48, 0, at, 16, F_NEXT, 1);
	table_desc(g, at + 48, 1, data + n * (LENGTH + 8u), LENGTH, F_NEXT | F_WRITE, 2);
	table_desc(g, at + 48, 2, at + 16, 1, F_WRITE, 0);
	driver_desc(d, n, at + 48, 48, F_INDIRECT, 0);
	driver_offer(d, n);
}

static void test_cap(void **state)
{
	struct blk_config cfg = {.direct = true, .queues = 1};
	struct catnap_halter_config hcfg;
	struct catnap_halter *halter;
	struct virtio_device *dev = NULL;
	struct fake_transport t = {0};
	struct driver d;
	struct guest g;
	uint64_t headers, data;
	char path[] = "test_blk_bounce.XXXXXX";
	struct error err;
	int file = mkstemp(path), ret;
	uint8_t block[LENGTH];

	assert_true(file >= 0);
	for (uint16_t n = 0; n < REQUESTS; n++) {
		memset(block, n + 1, sizeof(block));
		assert_int_equal(write(file, block, sizeof(block)), sizeof(block));
	}
	guest_init(&g, MEMORY);
	cfg.path = path;
	ret = blk_create(&cfg, &g.dma, &dev, &err);
	if (ret < 0) {
		guest_fini(&g);
		unlink(path);
		close(file);
		skip(); /* a file system without direct I/O */
	}
	catnap_halter_config_init(&hcfg);
	assert_int_equal(catnap_halter_create(&hcfg, &halter), 0);
	halter_set_self(halter);
	dev->transport_ops = &fake_transport_ops;
	dev->transport = &t;

	for (int round = 0; round < 3; round++) {
		uint32_t id, used, n = 0;

		assert_true(driver_negotiate(dev, FEATURE(32) | FEATURE(28)));
		headers = driver_init(&d, &g, GUEST_BASE, SIZE);
		data = headers + 96 * REQUESTS + 4; /* aligned for nothing */
		driver_enable(dev, 0, &d);
		driver_ok(dev);
		made = 0;
		for (uint16_t i = 0; i < REQUESTS; i++)
			request(&d, &g, headers, data, i);
		virtio_kick(dev, 0);
		/* Nothing was reaped: all that went by the ring has its buffer still. Where the
		 * file system is memory, or takes any buffer, there is none. */
		assert_true(made <= BUFFERS);
		assert_true(made == BUFFERS || made == 0 || dev->inflight < BUFFERS);
		if (round == 2)
			break; /* reset in the midst of it */
		do {
			assert_true(halter_reap(halter) >= 0);
			assert_int_equal(halter_drain(halter, false), 0);
			halter_run_tasks(halter);
		} while (dev->inflight);
		while (driver_used(&d, &id, &used))
			n++;
		assert_int_equal(n, REQUESTS);
		for (uint16_t i = 0; i < REQUESTS; i++) {
			memset(block, i + 1, sizeof(block));
			assert_int_equal(*((uint8_t *)guest_ptr(&g, headers + 96u * i) + 16), 0);
			assert_memory_equal(guest_ptr(&g, data + i * (LENGTH + 8u)), block, LENGTH);
		}
		/* Memory that was given back can be had again: as much as in the first round. */
	}
	virtio_set_status(dev, 0);
	assert_int_equal(dev->inflight, 0);
	blk_destroy(dev);
	halter_set_self(NULL);
	catnap_halter_destroy(&halter);
	guest_fini(&g);
	close(file);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cap)};

	return has_uring() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
