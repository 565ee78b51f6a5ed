/* SPDX-License-Identifier: Apache-2.0 */
/* Tests what the block device does to real files, with io_uring and without. Its requests under way
 * are in test_blk_flight.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "blk_bench.h"

/* ---- data ---- */

static void test_read_write(void **state)
{
	struct fix *f = *state;
	uint8_t expected[8192];

	pattern(data(f, 0), 8192, 1);
	memcpy(expected, data(f, 0), 8192);
	assert_int_equal(request(f, T_OUT, 10, 8192), OK);
	check_file(f, 5120, expected, 8192);
	memset(data(f, 0), 0, 8192);
	assert_int_equal(request(f, T_IN, 10, 8192), OK);
	assert_memory_equal(data(f, 0), expected, 8192);
	/* The last sector, and nothing. */
	assert_int_equal(request(f, T_OUT, SECTORS - 1, 512), OK);
	check_file(f, (SECTORS - 1) * 512u, expected, 512);
	assert_int_equal(request(f, T_IN, SECTORS, 0), OK);
	assert_int_equal(f->dev->counters.errors, 0);
	assert_int_equal(f->dev->counters.written_bytes, 8192 + 512);
	assert_int_equal(request(f, T_FLUSH, 0, 0), OK);
	assert_int_equal(request(f, T_FLUSH, UINT64_MAX, 0), OK);
	assert_true(f->t.queue[0] > 0);
}

static void test_bounds(void **state)
{
	struct fix *f = *state;
	const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{SECTORS, 512},
		{SECTORS - 1, 1024},
		{UINT64_MAX, 512},
		{UINT64_MAX / 512, 512},
		{UINT64_MAX / 512 + 1, 512},
		{SECTORS + 1, 0},
		{0, 1},
		{0, 511},
		{0, 513},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(request(f, T_IN, bad[i].sector, bad[i].len), IOERR);
		assert_int_equal(request(f, T_OUT, bad[i].sector, bad[i].len), IOERR);
	}
	assert_int_equal(f->dev->counters.errors, 2 * sizeof(bad) / sizeof(bad[0]));
	assert_int_equal(virtio_status(f->dev), 15);
}

static void test_types(void **state)
{
	struct fix *f = *state;
	const uint32_t none[] = {2, 3, 5, 7, 9, 10, 12, 14, 0x80000000, UINT32_MAX};

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(request(f, none[i], 0, 512), UNSUPP);
	assert_int_equal(request(f, T_OUT, 0, 512), OK);
}

/* Headers, data and status may be cut into buffers anywhere. */
static void test_framing(void **state)
{
	struct fix *f = *state;
	uint64_t table = f->headers + 1024, at;
	uint8_t expected[1024];
	uint32_t id, used;
	uint16_t n = 0;

	pattern(expected, 1024, 5);
	assert_int_equal(pwrite(f->file, expected, 1024, 512), 1024);
	prepare(f, 0, T_IN, 1, 512);
	for (int i = 0; i < 16; i++)
		table_desc(&f->g, table, n++, f->headers + (uint64_t)i, 1, F_NEXT,
			   (uint16_t)(i + 1));
	/* Data, and the status in the buffer of the last of it. */
	at = f->data;
	table_desc(&f->g, table, n, at, 3, F_NEXT | F_WRITE, (uint16_t)(n + 1));
	n++;
	table_desc(&f->g, table, n, at + 3, 1000, F_NEXT | F_WRITE, (uint16_t)(n + 1));
	n++;
	table_desc(&f->g, table, n, at + 1003, 22, F_WRITE, 0);
	n++;
	driver_desc(&f->d, 0, table, 16u * n, F_INDIRECT, 0);
	data(f, 0)[1024] = 0xee;
	driver_offer(&f->d, 0);
	virtio_kick(f->dev, 0);
	finish(f);
	assert_true(driver_used(&f->d, &id, &used));
	assert_int_equal(used, 1025);
	assert_memory_equal(data(f, 0), expected, 1024);
	assert_int_equal(data(f, 0)[1024], OK);

	/* Written: the header and the data in one buffer. */
	prepare(f, 0, T_OUT, 5, 512);
	memcpy(guest_ptr(&f->g, f->data), guest_ptr(&f->g, f->headers), 16);
	pattern(data(f, 0) + 16, 512, 9);
	driver_desc(&f->d, 0, f->data, 528, F_NEXT, 1);
	driver_desc(&f->d, 1, f->headers + 16, 1, F_WRITE, 0);
	driver_offer(&f->d, 0);
	virtio_kick(f->dev, 0);
	finish(f);
	assert_int_equal(status(f, 0), OK);
	check_file(f, 5 * 512, data(f, 0) + 16, 512);

	/* A flush with a place for data, which there is none: hypervisor firmware's. */
	prepare(f, 0, T_FLUSH, 0, 512);
	driver_desc(&f->d, 1, 0, 0, F_NEXT, 2);
	driver_offer(&f->d, 0);
	virtio_kick(f->dev, 0);
	finish(f);
	assert_int_equal(status(f, 0), OK);
}

/* Without a header, or without a place for the status, there is no answer. */
static void test_malformed(void **state)
{
	struct fix *f = *state;

	for (int i = 0; i < 2; i++) {
		if (i == 0)
			driver_desc(&f->d, 0, f->headers, 15, F_NEXT, 1);
		else
			driver_desc(&f->d, 0, f->headers, 16, 0, 1);
		driver_desc(&f->d, 1, f->headers + 16, 1, F_WRITE, 0);
		driver_offer(&f->d, 0);
		virtio_kick(f->dev, 0);
		assert_int_equal(virtio_status(f->dev), 15 | VIRTIO_STATUS_NEEDS_RESET);
		assert_int_equal(f->dev->inflight, 0);
		assert_true(driver_negotiate(f->dev, ALL & f->dev->offered));
		driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
		driver_enable(f->dev, 0, &f->d);
		driver_ok(f->dev);
		assert_int_equal(request(f, T_OUT, 0, 512), OK);
	}
}

static void test_many(void **state)
{
	struct fix *f = *state;
	uint32_t id, used;

	for (unsigned int round = 0; round < 200; round++) {
		/* Two at a time is what eight descriptors hold. */
		for (uint16_t i = 0; i < 2; i++) {
			pattern(data(f, i), 4096, round + i);
			prepare(f, i, T_OUT, round * 16 + i * 8, 4096);
			driver_offer(&f->d, (uint16_t)(3 * i));
		}
		virtio_kick(f->dev, 0);
		finish(f);
		for (uint16_t i = 0; i < 2; i++) {
			assert_true(driver_used(&f->d, &id, &used));
			assert_int_equal(status(f, i), OK);
			check_file(f, (round * 16 + i * 8) * 512u, data(f, i), 4096);
		}
	}
	assert_int_equal(f->dev->counters.requests, 400);
}

static void test_get_id(void **state)
{
	struct fix *f = *state;

	blk_destroy(f->dev);
	f->cfg.id = "an id of 20 letters.";
	make_disk(f, ALL);
	memset(data(f, 0), 0xee, 64);
	assert_int_equal(request(f, T_GET_ID, 0, 20), OK);
	assert_memory_equal(data(f, 0), "an id of 20 letters.\xee", 21);
	assert_int_equal(request(f, T_GET_ID, 0, 40), OK);
	assert_memory_equal(data(f, 0), "an id of 20 letters.\xee", 21);
	memset(data(f, 0), 0xee, 64);
	assert_int_equal(request(f, T_GET_ID, 0, 2), OK);
	assert_memory_equal(data(f, 0), "an\xee", 3);
	blk_destroy(f->dev);
	f->cfg.id = "x";
	make_disk(f, ALL);
	assert_int_equal(request(f, T_GET_ID, 0, 20), OK);
	assert_memory_equal(data(f, 0), "x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
}

/* ---- discard, write zeroes ---- */

static uint8_t ranges(struct fix *f, uint32_t type, unsigned int n, const uint32_t (*r)[3])
{
	for (unsigned int i = 0; i < n; i++) {
		uint64_t sector = r[i][0];

		memcpy(data(f, 0) + 16 * i, &sector, 8);
		memcpy(data(f, 0) + 16 * i + 8, &r[i][1], 4);
		memcpy(data(f, 0) + 16 * i + 12, &r[i][2], 4);
	}
	return request(f, type, 0, 16 * n);
}

static void test_ranges(void **state)
{
	static const uint8_t zero[65536];
	struct fix *f = *state;
	uint8_t *all = malloc(SECTORS * 512);
	const uint32_t types[] = {T_DISCARD, T_WRITE_ZEROES};
	struct stat before, after;

	pattern(all, SECTORS * 512, 3);
	for (int t = 0; t < 2; t++) {
		uint32_t type = types[t];
		const uint32_t one[][3] = {{16, 8, 0}},
			       two[][3] = {{64, 128, 0}, {0, 0, 0}, {300, 1, 0}};
		const uint32_t end[][3] = {{SECTORS - 1, 1, 0}},
			       beyond[][3] = {{SECTORS - 1, 2, 0}};
		const uint32_t flag[][3] = {{0, 8, 2}}, unmap[][3] = {{1024, 128, 1}};
		const uint32_t mixed[][3] = {{512, 8, 0}, {SECTORS, 1, 0}}, none[][3] = {{0, 0, 0}};

		assert_int_equal(pwrite(f->file, all, SECTORS * 512, 0), SECTORS * 512);
		assert_int_equal(ranges(f, type, 1, one), OK);
		check_file(f, 16 * 512, zero, 8 * 512);
		check_file(f, 24 * 512, all + 24 * 512, 512);
		check_file(f, 15 * 512, all + 15 * 512, 512);
		/* Zeroes may have to be written: one range at a time. */
		if (type == T_WRITE_ZEROES) {
			assert_int_equal(ranges(f, type, 3, two), IOERR);
			assert_int_equal(ranges(f, type, 1, two), OK);
			assert_int_equal(ranges(f, type, 1, two + 2), OK);
		} else {
			assert_int_equal(ranges(f, type, 3, two), OK);
		}
		check_file(f, 64 * 512, zero, 65536);
		check_file(f, 300 * 512, zero, 512);
		check_file(f, 301 * 512, all + 301 * 512, 512);
		assert_int_equal(ranges(f, type, 1, end), OK);
		check_file(f, (SECTORS - 1) * 512, zero, 512);
		assert_int_equal(ranges(f, type, 1, none), OK);
		/* A refused request has no effect at all. */
		assert_int_equal(ranges(f, type, 1, beyond), IOERR);
		assert_int_equal(ranges(f, type, 2, mixed), IOERR);
		check_file(f, 512 * 512, all + 512 * 512, 8 * 512);
		assert_int_equal(ranges(f, type, 1, flag), UNSUPP);
		check_file(f, 0, all, 8 * 512);
		assert_int_equal(request(f, type, 0, 0), IOERR);
		assert_int_equal(request(f, type, 0, 15), IOERR);
		assert_int_equal(request(f, type, 0, 17 * 16), IOERR);
		fstat(f->file, &before);
		assert_int_equal(ranges(f, type, 1, unmap), type == T_DISCARD ? UNSUPP : OK);
		if (type == T_WRITE_ZEROES) {
			check_file(f, 1024 * 512, zero, 65536);
			fstat(f->file, &after);
			assert_true(after.st_blocks < before.st_blocks);
		}
		fstat(f->file, &after);
		assert_int_equal(after.st_size, SECTORS * 512);
	}
	free(all);
}

/* ---- what the host does ---- */

static void test_shrunk(void **state)
{
	struct fix *f = *state;

	assert_int_equal(ftruncate(f->file, 1000), 0);
	assert_int_equal(request(f, T_IN, 0, 512), OK);
	assert_int_equal(request(f, T_IN, 1, 512), IOERR);
	assert_int_equal(request(f, T_IN, 100, 512), IOERR);
	assert_int_equal(f->dev->counters.errors, 2);
	assert_int_equal(ftruncate(f->file, SECTORS * 512), 0);
	assert_int_equal(request(f, T_IN, 100, 512), OK);
}

/* A host that takes no more: as when the disk is full. */
static void test_full(void **state)
{
	struct fix *f = *state;
	struct rlimit old, low;
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

	getrlimit(RLIMIT_FSIZE, &old);
	low = old;
	low.rlim_cur = 4096;
	pattern(data(f, 0), 8192, 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_int_equal(request(f, T_OUT, 0, 4096), OK);
	assert_int_equal(request(f, T_OUT, 8, 4096), IOERR);
	/* The part that it takes is not enough. */
	assert_int_equal(request(f, T_OUT, 4, 4096), IOERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, handler);
	assert_int_equal(request(f, T_OUT, 8, 4096), OK);
	check_file(f, 4096, data(f, 0), 4096);
	assert_int_equal(virtio_status(f->dev), 15);
}

static void test_readonly(void **state)
{
	struct fix *f = *state;
	const uint32_t one[][3] = {{0, 8, 0}};
	uint8_t expected[512];

	pattern(expected, 512, 1);
	assert_int_equal(pwrite(f->file, expected, 512, 0), 512);
	assert_int_equal(fchmod(f->file, 0400), 0);
	f->cfg.readonly = true;
	make_disk(f, ALL | FEATURE(5));
	assert_true(virtio_has(f->dev, 5));
	assert_false(virtio_has(f->dev, 13));
	assert_int_equal(request(f, T_OUT, 0, 512), IOERR);
	assert_int_equal(ranges(f, T_WRITE_ZEROES, 1, one), IOERR);
	assert_int_equal(ranges(f, T_DISCARD, 1, one), UNSUPP);
	assert_int_equal(request(f, T_FLUSH, 0, 0), OK);
	assert_int_equal(request(f, T_IN, 0, 512), OK);
	assert_memory_equal(data(f, 0), expected, 512);
	check_file(f, 0, expected, 512);
}

/* ---- the cache ---- */

static void test_cache(void **state)
{
	struct fix *f = *state;
	const uint32_t one[][3] = {{0, 8, 0}};
	uint8_t mode = 0;

	/* Data arrives with all that the driver has agreed to; how durably is not to be seen
	 * here. */
	assert_int_equal(request(f, T_OUT, 0, 4096), OK);
	virtio_config_read(f->dev, 32, &mode, 1);
	assert_int_equal(mode, 1);
	mode = 0;
	virtio_config_write(f->dev, 32, &mode, 1);
	virtio_config_read(f->dev, 32, &mode, 1);
	assert_int_equal(mode, 0);
	assert_int_equal(request(f, T_OUT, 0, 4096), OK);
	assert_int_equal(ranges(f, T_WRITE_ZEROES, 1, one), OK);
	/* Reset gives write-back again; and without the feature the field is not the driver's. */
	assert_true(driver_negotiate(f->dev, FEATURE(32)));
	virtio_config_read(f->dev, 32, &mode, 1);
	assert_int_equal(mode, 1);
	mode = 0;
	virtio_config_write(f->dev, 32, &mode, 1);
	virtio_config_read(f->dev, 32, &mode, 1);
	assert_int_equal(mode, 1);
	driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
	driver_enable(f->dev, 0, &f->d);
	driver_ok(f->dev);
	assert_int_equal(request(f, T_OUT, 0, 4096), OK);
	/* A driver that can set the mode, but cannot flush, finds write-through, and may change
	 * it. */
	assert_true(driver_negotiate(f->dev, FEATURE(32) | FEATURE(11)));
	virtio_config_read(f->dev, 32, &mode, 1);
	assert_int_equal(mode, 0);
	mode = 1;
	virtio_config_write(f->dev, 32, &mode, 1);
	mode = 0;
	virtio_config_read(f->dev, 32, &mode, 1);
	assert_int_equal(mode, 1);
}

static void test_config(void **state)
{
	struct fix *f = *state;
	uint64_t capacity;
	uint32_t word;

	virtio_config_read(f->dev, 0, &capacity, 8);
	assert_int_equal(capacity, SECTORS);
	virtio_config_read(f->dev, 12, &word, 4);
	assert_int_equal(word, 126);
	virtio_config_read(f->dev, 20, &word, 4);
	assert_int_equal(word, 512);
	virtio_config_read(f->dev, 52, &word, 4);
	assert_int_equal(word, 1);
	/* Only the one field can be written. */
	capacity = UINT64_MAX;
	virtio_config_write(f->dev, 0, &capacity, 8);
	virtio_config_read(f->dev, 0, &capacity, 8);
	assert_int_equal(capacity, SECTORS);
}

/* The block size is told, and kept to: what begins or ends within a block is an error. The capacity
 * stays in sectors of 512 bytes (5.2.4). */
static void test_block_size(void **state)
{
	struct fix *f = *state;
	const uint32_t whole[][3] = {{8, 16, 0}}, begins[][3] = {{4, 8, 0}},
		       ends[][3] = {{8, 12, 0}};
	const uint32_t types[] = {T_IN, T_OUT}, holes[] = {T_DISCARD, T_WRITE_ZEROES};
	uint64_t capacity;
	uint32_t word;
	uint8_t exponent;

	f->cfg.block_size = 4096;
	make_disk(f, ALL);
	virtio_config_read(f->dev, 0, &capacity, 8);
	assert_int_equal(capacity, SECTORS);
	virtio_config_read(f->dev, 20, &word, 4);
	assert_int_equal(word, 4096);
	virtio_config_read(f->dev, 24, &exponent, 1);
	assert_true(exponent <= 4); /* of a physical block, at least as large */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(request(f, types[i], 8, 4096), OK);
		assert_int_equal(request(f, types[i], SECTORS - 8, 4096), OK);
		assert_int_equal(request(f, types[i], 1, 4096), IOERR);
		assert_int_equal(request(f, types[i], 8, 512), IOERR);
		assert_int_equal(request(f, types[i], 8, 4096 + 512), IOERR);
		assert_int_equal(ranges(f, holes[i], 1, whole), OK);
		assert_int_equal(ranges(f, holes[i], 1, begins), IOERR);
		assert_int_equal(ranges(f, holes[i], 1, ends), IOERR);
	}
	assert_int_equal(request(f, T_GET_ID, 0, 20), OK);
}

/* ---- direct ---- */

static void test_direct(void **state)
{
	struct fix *f = *state;
	uint8_t *all = malloc(SECTORS * 512);
	int ret;

	/* Not on tmpfs of old kernels: in the folder in which the test runs. */
	close(f->file);
	unlink(f->path);
	make_file(f, ".", SECTORS * 512);
	f->cfg.direct = true;
	ret = blk_create(&f->cfg, &f->g.dma, &f->dev, &f->err);
	if (ret == -EINVAL) {
		free(all);
		skip();
	}
	assert_int_equal(ret, 0);
	blk_destroy(f->dev);
	pattern(all, SECTORS * 512, 2);
	assert_int_equal(pwrite(f->file, all, SECTORS * 512, 0), SECTORS * 512);
	use_ring(f);
	make_disk(f, ALL);
	/* Aligned; aligned in the file only; in memory only; not at all. */
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t sector = i & 1 ? 8 + 1 : 8, shift = i & 2 ? 513 : 0;
		uint32_t len = 8192, id, used;

		f->data += shift;
		assert_int_equal(request(f, T_IN, sector, len), OK);
		assert_memory_equal(data(f, 0), all + sector * 512, len);
		pattern(data(f, 0), len, 100 + i);
		memcpy(all + sector * 512, data(f, 0), len);
		assert_int_equal(request(f, T_OUT, sector, len), OK);
		memset(data(f, 0), 0, len);
		assert_int_equal(request(f, T_IN, sector, len), OK);
		assert_memory_equal(data(f, 0), all + sector * 512, len);

		/* Longer than the bounce buffer, in one go. */
		len = 1536 * 1024;
		prepare(f, 0, T_IN, sector, len);
		driver_offer(&f->d, 0);
		virtio_kick(f->dev, 0);
		finish(f);
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(status(f, 0), OK);
		assert_memory_equal(data(f, 0), all + sector * 512, len);
		f->data -= shift;
	}
	assert_int_equal(fsync(f->file), 0);
	check_file(f, 0, all, SECTORS * 512);
	free(all);
}

/* ---- opening ---- */

static void refused(struct fix *f, int ret, const char *what)
{
	struct virtio_device *dev = NULL;

	f->err.text[0] = '\0';
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &dev, &f->err), ret);
	assert_null(dev);
	if (!strstr(f->err.text, what))
		fail_msg("\"%s\" lacks \"%s\"", f->err.text, what);
	assert_null(strchr(f->err.text, '\n'));
}

static void test_refused(void **state)
{
	struct fix *f = *state;
	char fifo[80];

	f->cfg.path = "/nonexistent/disk";
	refused(f, -ENOENT, "/nonexistent/disk");
	f->cfg.path = "/tmp";
	refused(f, -EISDIR, "directory");
	f->cfg.path = "/dev/null";
	refused(f, -EINVAL, "neither");
	snprintf(fifo, sizeof(fifo), "%s.fifo", f->path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	f->cfg.path = fifo;
	refused(f, -EINVAL, "neither");
	unlink(fifo);
	f->cfg.path = f->path;
	assert_int_equal(ftruncate(f->file, 0), 0);
	refused(f, -EINVAL, "empty");
	assert_int_equal(ftruncate(f->file, 1000), 0);
	refused(f, -EINVAL, "multiple of 512");
	assert_int_equal(ftruncate(f->file, 4096 + 512), 0);
	f->cfg.block_size = 4096;
	refused(f, -EINVAL, "has 4608 bytes: expected a multiple of 4096");
	f->cfg.block_size = 0;
	assert_int_equal(ftruncate(f->file, SECTORS * 512), 0);
	f->cfg.queues = 0;
	refused(f, -EINVAL, "queues");
	f->cfg.queues = 17;
	refused(f, -EINVAL, "queues");
	f->cfg.queues = 1;
	f->cfg.id = "21 letters are a few.";
	refused(f, -EINVAL, "id");
	f->cfg.id = NULL;
	if (geteuid() != 0) {
		assert_int_equal(fchmod(f->file, 0400), 0);
		refused(f, -EACCES, "readonly=on");
	}
}

static void test_lock(void **state)
{
	struct fix *f = *state;
	struct virtio_device *first, *second, *third;
	struct error err;

	/* Readers share, a writer does not, and what is closed is free. */
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &first, &err), 0);
	refused(f, -EBUSY, "in use");
	f->cfg.readonly = true;
	refused(f, -EBUSY, "in use");
	blk_destroy(first);
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &second, &err), 0);
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &third, &err), 0);
	f->cfg.readonly = false;
	refused(f, -EBUSY, "in use");
	blk_destroy(second);
	refused(f, -EBUSY, "in use");
	blk_destroy(third);
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &first, &err), 0);
	blk_destroy(first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL_THREE(test_read_write), BOTH(test_bounds),		BOTH(test_types),
		ALL_THREE(test_framing),    BOTH(test_malformed),	ALL_THREE(test_many),
		BOTH(test_get_id),	    ALL_THREE(test_ranges),	ALL_THREE(test_shrunk),
		ALL_THREE(test_full),	    ALL_THREE(test_cache),	BOTH(test_config),
		FILE_ONLY(test_readonly),   FILE_ONLY(test_direct),	FILE_ONLY(test_refused),
		FILE_ONLY(test_lock),	    FILE_ONLY(test_block_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
