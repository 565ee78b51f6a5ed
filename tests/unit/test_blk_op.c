/* SPDX-License-Identifier: Apache-2.0 */
/* Tests which of a disk's operations a thread does by itself, on files in memory and in the page
 * cache. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/virtio/blk_op.h"

#define SIZE (1u << 20)

struct fix {
	char path[64];
	int file;
	uint8_t *buf;
	struct iovec iov;
	struct blk_image img;
};

static void open_image(struct fix *f, const char *dir, bool direct)
{
	struct blk_config cfg = {.queues = 1, .direct = direct};
	struct error err;

	snprintf(f->path, sizeof(f->path), "%s/test_blk_op.XXXXXX", dir);
	f->file = mkstemp(f->path);
	assert_true(f->file >= 0);
	f->buf = aligned_alloc(4096, SIZE);
	for (size_t i = 0; i < SIZE; i++)
		f->buf[i] = (uint8_t)(i >> 9);
	assert_int_equal(write(f->file, f->buf, SIZE), SIZE);
	cfg.path = f->path;
	if (blk_image_open(&f->img, &cfg, &err) < 0) {
		unlink(f->path);
		skip();
	}
}

static int teardown(void **state)
{
	struct fix *f = *state;

	blk_image_close(&f->img);
	close(f->file);
	unlink(f->path);
	free(f->buf);
	free(f);
	return 0;
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	f->img.fd = f->img.unaligned_fd = f->file = -1;
	*state = f;
	return 0;
}

static struct blk_op *op(struct fix *f, struct blk_op *o, enum blk_op_kind kind, uint64_t offset,
			 uint32_t len)
{
	f->iov = (struct iovec){f->buf, len};
	*o = (struct blk_op){.kind = kind,
			     .fd = f->img.fd,
			     .offset = offset,
			     .len = len,
			     .iov = &f->iov,
			     .count = 1};
	return o;
}

static void test_memory(void **state)
{
	struct fix *f = *state;
	uint32_t budget = BLK_HERE_KICK_MAX;
	struct blk_op o;
	char seen[512];
	int res = 0;

	open_image(f, "/dev/shm", false);
	if (!f->img.in_memory)
		skip();
	memset(f->buf, 0, 512);
	assert_true(blk_op_here(&f->img, op(f, &o, BLK_OP_READ, 5 * 512, 512), &budget, &res));
	assert_int_equal(res, 512);
	assert_int_equal(f->buf[0], 5);
	assert_int_equal(budget, BLK_HERE_KICK_MAX - 512);
	memset(f->buf, 0xaa, 512);
	assert_true(blk_op_here(&f->img, op(f, &o, BLK_OP_WRITE, 512, 512), &budget, &res));
	assert_int_equal(res, 512);
	assert_int_equal(pread(f->file, seen, 512, 512), 512);
	assert_memory_equal(seen, f->buf, 512);
	/* Results as those of any way: short at the end of the file, nothing behind it, errors. */
	assert_true(blk_op_here(&f->img, op(f, &o, BLK_OP_READ, SIZE - 512, 4096), &budget, &res));
	assert_int_equal(res, 512);
	assert_true(blk_op_here(&f->img, op(f, &o, BLK_OP_READ, SIZE, 512), &budget, &res));
	assert_int_equal(res, 0);
	op(f, &o, BLK_OP_READ, 0, 512);
	f->iov.iov_base = (void *)(uintptr_t)1;
	assert_true(blk_op_here(&f->img, &o, &budget, &res));
	assert_int_equal(res, -EFAULT);
	budget = 0;
	assert_true(blk_op_here(&f->img, op(f, &o, BLK_OP_SYNC, 0, 0), &budget, &res));
	assert_int_equal(res, 0);
	/* Holes may be long. */
	assert_false(blk_op_here(&f->img, op(f, &o, BLK_OP_ALLOCATE, 0, 512), &budget, &res));
}

/* No more than one request may have, and all of a kick together. */
static void test_budget(void **state)
{
	struct fix *f = *state;
	uint32_t budget = BLK_HERE_KICK_MAX, n = 0;
	struct blk_op o;
	int res;

	open_image(f, "/dev/shm", false);
	if (!f->img.in_memory)
		skip();
	assert_false(
		blk_op_here(&f->img, op(f, &o, BLK_OP_READ, 0, BLK_HERE_MAX + 512), &budget, &res));
	assert_int_equal(budget, BLK_HERE_KICK_MAX);
	while (blk_op_here(&f->img, op(f, &o, BLK_OP_READ, 0, 4096), &budget, &res))
		n++;
	assert_int_equal(n, BLK_HERE_KICK_MAX / 4096);
	assert_int_equal(budget, 0);
}

/* A file with a device behind it: reads of what is in the page cache, and nothing else. */
static void test_cached(void **state)
{
	struct fix *f = *state;
	uint32_t budget = BLK_HERE_KICK_MAX;
	struct blk_op o;
	bool here;
	int res;

	open_image(f, ".", false);
	if (f->img.in_memory)
		skip();
	assert_false(blk_op_here(&f->img, op(f, &o, BLK_OP_WRITE, 0, 512), &budget, &res));
	assert_false(blk_op_here(&f->img, op(f, &o, BLK_OP_SYNC, 0, 0), &budget, &res));
	memset(f->buf, 0, 512);
	here = blk_op_here(&f->img, op(f, &o, BLK_OP_READ, 7 * 512, 512), &budget, &res);
	if (here) {
		assert_int_equal(res, 512);
		assert_int_equal(f->buf[0], 7);
		assert_false(f->img.no_nowait);
	}
	/* A file system that cannot is not asked again. */
	f->img.no_nowait = true;
	assert_false(blk_op_here(&f->img, op(f, &o, BLK_OP_READ, 7 * 512, 512), &budget, &res));
	assert_int_equal(budget, BLK_HERE_KICK_MAX - (here ? 512 : 0));
}

/* Around the page cache, a read always waits. */
static void test_direct(void **state)
{
	struct fix *f = *state;
	uint32_t budget = BLK_HERE_KICK_MAX;
	struct blk_op o;
	int res;

	open_image(f, ".", true);
	if (f->img.in_memory)
		skip();
	assert_false(blk_op_here(&f->img, op(f, &o, BLK_OP_READ, 0, 4096), &budget, &res));
	assert_false(f->img.no_nowait);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cached, setup, teardown),
		cmocka_unit_test_setup_teardown(test_direct, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
