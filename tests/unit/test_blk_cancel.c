/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring ends a request with ECANCELED when it can make no worker for it, as happens where a
 * thread is sent signals all the time: that is no error of the disk's, and the guest is to have
 * what it asked for.
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
#include "virtio_fixture.h"

#define SIZE   8
#define MEMORY (1u << 20)
#define LENGTH (128u << 10) /* more than is done within a kick */

static unsigned int cancelled;
static void (*real_done)(struct ring_req *req, int res);

void __real_ring_queue(struct ring *r, struct io_uring_sqe *sqe, struct ring_req *req);
void __wrap_ring_queue(struct ring *r, struct io_uring_sqe *sqe, struct ring_req *req);

static void cancel(struct ring_req *req, int res)
{
	cancelled++;
	real_done(req, -ECANCELED);
}

/* Nothing is done, and that is said. */
void __wrap_ring_queue(struct ring *r, struct io_uring_sqe *sqe, struct ring_req *req)
{
	io_uring_prep_nop(sqe);
	real_done = req->done;
	req->done = cancel;
	__real_ring_queue(r, sqe, req);
}

static void test_cancelled(void **state)
{
	static const uint32_t types[] = {1 /* out */, 4 /* flush */, 0 /* in */, 13 /* zeroes */};
	struct blk_config cfg = {.queues = 1};
	struct catnap_halter_config hcfg;
	struct catnap_halter *halter;
	struct virtio_device *dev;
	struct fake_transport t = {0};
	struct driver d;
	struct guest g;
	uint64_t header, data;
	char path[] = "test_blk_cancel.XXXXXX", why[256];
	uint8_t *memory, *block = malloc(LENGTH);
	int file = mkstemp(path);

	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, 2 * LENGTH), 0);
	guest_init(&g, MEMORY);
	catnap_halter_config_init(&hcfg);
	assert_int_equal(catnap_halter_create(&hcfg, &halter), 0);
	halter_set_self(halter);
	cfg.path = path;
	assert_int_equal(blk_create(&cfg, &g.dma, &dev, why, sizeof(why)), 0);
	dev->transport = &t;
	dev->transport_ops = &fake_transport_ops;
	assert_true(driver_negotiate(dev, FEATURE(32) | FEATURE(9) | FEATURE(14)));
	header = driver_init(&d, &g, GUEST_BASE, SIZE);
	data = header + 4096;
	driver_enable(dev, 0, &d);
	driver_ok(dev);
	memory = guest_ptr(&g, data);
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		const uint32_t range[4] = {0, 0, LENGTH / 512, 0};
		uint32_t id, used, len = types[i] == 4 ? 0 : types[i] == 13 ? 16 : LENGTH;
		uint8_t *h = guest_ptr(&g, header);

		memset(h, 0, 16);
		memcpy(h, &types[i], 4);
		h[16] = 0xee;
		memset(memory, types[i] == 1 ? 0x5a : 0, LENGTH);
		if (types[i] == 13)
			memcpy(memory, range, sizeof(range));
		driver_desc(&d, 0, header, 16, F_NEXT, len ? 1 : 2);
		driver_desc(&d, 1, data, len, F_NEXT | (types[i] ? 0 : F_WRITE), 2);
		driver_desc(&d, 2, header + 16, 1, F_WRITE, 0);
		driver_offer(&d, 0);
		virtio_kick(dev, 0);
		assert_int_equal(halter_drain(halter), 0);
		assert_int_equal(dev->inflight, 0);
		assert_true(driver_used(&d, &id, &used));
		assert_int_equal(h[16], 0);
		/* Where files are memory, flushes do not come here. */
		assert_true(cancelled >= (i > 1 ? i : 1));
		assert_int_equal(pread(file, block, LENGTH, 0), LENGTH);
		for (uint32_t n = 0; n < LENGTH; n++)
			assert_int_equal(block[n], types[i] == 13 ? 0 : 0x5a);
		if (types[i] == 0)
			assert_memory_equal(memory, block, LENGTH);
	}
	assert_int_equal(dev->counters.errors, 0);
	virtio_set_status(dev, 0);
	blk_destroy(dev);
	halter_set_self(NULL);
	catnap_halter_destroy(&halter);
	guest_fini(&g);
	free(block);
	unlink(path);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cancelled)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
