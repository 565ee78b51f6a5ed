/* SPDX-License-Identifier: Apache-2.0 */
/* The block device on real files, with io_uring and without. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
	char path[64], why[256];
	int file;
	uint64_t headers, data; /* headers: 16 bytes and a status, 32 apart */
};

static void make_file(struct fix *f, const char *dir, uint64_t size)
{
	snprintf(f->path, sizeof(f->path), "%s/test_blk.XXXXXX", dir);
	f->file = mkstemp(f->path);
	assert_true(f->file >= 0);
	assert_int_equal(ftruncate(f->file, (off_t)size), 0);
	f->cfg = (struct blk_config){.path = f->path, .queues = 1};
}

static void make_disk(struct fix *f, uint64_t features)
{
	uint64_t at;

	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &f->dev, f->why, sizeof(f->why)), 0);
	f->dev->transport_ops = &fake_transport_ops;
	f->dev->transport = &f->t;
	assert_true(driver_negotiate(f->dev, features & f->dev->offered));
	at = driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
	f->headers = at;
	f->data = at + 4096;
	driver_enable(f->dev, 0, &f->d);
	driver_ok(f->dev);
}

static void use_ring(struct fix *f)
{
	struct catnap_halter_config cfg;

	catnap_halter_config_init(&cfg);
	assert_int_equal(catnap_halter_create(&cfg, &f->halter), 0);
	halter_set_self(f->halter);
}

static int setup_file(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_init(&f->g, MEMORY);
	make_file(f, "/tmp", SECTORS * 512);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	setup_file(state);
	make_disk(*state, ALL);
	return 0;
}

static int setup_ring(void **state)
{
	setup_file(state);
	use_ring(*state);
	make_disk(*state, ALL);
	return 0;
}

/* An image that is memory: requests are complete when the kick is. */
static int setup_memory(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_init(&f->g, MEMORY);
	make_file(f, "/dev/shm", SECTORS * 512);
	use_ring(f);
	make_disk(f, ALL);
	*state = f;
	return 0;
}

static int teardown(void **state)
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
static void prepare(struct fix *f, uint16_t n, uint32_t type, uint64_t sector, uint32_t len)
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

static uint8_t status(struct fix *f, uint16_t n)
{
	return *((uint8_t *)guest_ptr(&f->g, f->headers + 32u * n) + 16);
}

static void finish(struct fix *f)
{
	if (f->halter) {
		assert_true(halter_reap(f->halter) >= 0);
		assert_int_equal(halter_drain(f->halter), 0);
	}
	assert_int_equal(f->dev->inflight, 0);
}

/* One request, done: its status. */
static uint8_t request(struct fix *f, uint32_t type, uint64_t sector, uint32_t len)
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

static uint8_t *data(struct fix *f, uint16_t n)
{
	return guest_ptr(&f->g, f->data + (uint64_t)n * 65536);
}

static void pattern(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 7 + i / 512 + seed) | 1);
}

static void check_file(struct fix *f, uint64_t at, const void *expected, size_t len)
{
	uint8_t *buf = malloc(len);

	assert_int_equal(pread(f->file, buf, len, (off_t)at), len);
	assert_memory_equal(buf, expected, len);
	free(buf);
}

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
		/* What is refused has no effect at all. */
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

	/* Whatever the driver has agreed to, data arrives; how durably is not to be seen here. */
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
	/* Who can set the mode, but cannot flush, finds write-through, and may change it. */
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

/* A request of @mib MiB into one place, over and over, by an indirect table of its own. */
static void prepare_long(struct fix *f, uint16_t n, uint32_t mib)
{
	uint64_t table = f->headers + 1024 * (n + 1u);

	prepare(f, n, T_IN, 0, 512);
	table_desc(&f->g, table, 0, f->headers + 32u * n, 16, F_NEXT, 1);
	for (uint16_t i = 1; i <= mib; i++)
		table_desc(&f->g, table, i, f->data, 1 << 20, F_NEXT | F_WRITE, i + 1u);
	table_desc(&f->g, table, (uint16_t)(mib + 1), f->headers + 32u * n + 16, 1, F_WRITE, 0);
	driver_desc(&f->d, (uint16_t)(3 * n), table, 16 * (mib + 2), F_INDIRECT, 0);
}

/*
 * A request may be as long as it likes: firmware reads a kernel at once, and FreeBSD's driver takes
 * no disk that tells it of a size_max below its own longest transfer.
 */
static void test_long(void **state)
{
	struct fix *f = *state;
	const uint32_t mib = 1 << 20;
	uint32_t id, used;

	assert_int_equal(ftruncate(f->file, 64 * (off_t)mib), 0);
	for (uint32_t i = 0; i < 64; i++)
		assert_int_equal(pwrite(f->file, &i, sizeof(i), i * (off_t)mib + 4 * i), 4);
	make_disk(f, ALL);
	assert_false(f->dev->offered & FEATURE(1));
	for (uint32_t size = 16; size <= 24; size += 4) {
		prepare_long(f, 0, size);
		driver_offer(&f->d, 0);
		virtio_kick(f->dev, 0);
		finish(f);
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(used, size * mib + 1);
		assert_int_equal(status(f, 0), OK);
		/* The last of them is what stays. */
		check_file(f, (size - 1) * (uint64_t)mib, guest_ptr(&f->g, f->data), mib);
	}
	/* Each within the kick, with no ring to wait for. */
	for (uint16_t i = 0; i < 2; i++) {
		prepare_long(f, i, 17);
		driver_offer(&f->d, (uint16_t)(3 * i));
	}
	virtio_kick(f->dev, 0);
	finish(f);
	for (uint16_t i = 0; i < 2; i++) {
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(id, 3 * i);
		assert_int_equal(status(f, i), OK);
	}
}

/* In one buffer, as firmware has it. */
static void test_long_buffer(void **state)
{
	const uint32_t len = (33 << 20) + 512;
	struct fix *f = *state;
	uint8_t *expected;

	guest_fini(&f->g);
	guest_init(&f->g, 34 << 20);
	assert_int_equal(ftruncate(f->file, 64 << 20), 0);
	use_ring(f);
	make_disk(f, ALL);
	pattern(data(f, 0), len, 3);
	expected = malloc(len);
	assert_non_null(expected);
	memcpy(expected, data(f, 0), len);
	assert_int_equal(request(f, T_OUT, 7, len), OK);
	check_file(f, 7 * 512, expected, len);
	memset(data(f, 0), 0, len);
	assert_int_equal(request(f, T_IN, 7, len), OK);
	assert_memory_equal(data(f, 0), expected, len);
	free(expected);
}

/* Whoever pauses the VM waits for what is in flight: of long ones, that is one for each queue. */
static void test_one_long_at_a_time(void **state)
{
	struct fix *f = *state;
	uint32_t id, used, type;

	assert_int_equal(ftruncate(f->file, 64 << 20), 0);
	use_ring(f);
	make_disk(f, ALL);
	prepare_long(f, 0, 17);
	prepare_long(f, 1, 17);
	driver_offer(&f->d, 0);
	driver_offer(&f->d, 3);
	virtio_kick(f->dev, 0);
	assert_int_equal(f->dev->inflight, 1);
	virtio_kick(f->dev, 0);
	assert_int_equal(f->dev->inflight, 1);
	/* No kick is needed for what comes meanwhile. */
	type = T_FLUSH;
	memcpy(guest_ptr(&f->g, f->headers + 64), &type, sizeof(type));
	driver_desc(&f->d, 6, f->headers + 64, 16, F_NEXT, 7);
	driver_desc(&f->d, 7, f->headers + 64 + 16, 1, F_WRITE, 0);
	driver_offer(&f->d, 6);
	for (unsigned int i = 0; i < 3; i++) {
		finish(f);
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(id, 3 * i);
		assert_int_equal(status(f, (uint16_t)i), OK);
		if (i == 1)
			assert_int_equal(f->dev->inflight, 0);
		halter_run_tasks(f->halter);
	}
	assert_false(driver_used(&f->d, &id, &used));
	/* A reset with one in flight and one behind it, and what was posted comes late. */
	driver_offer(&f->d, 0);
	driver_offer(&f->d, 3);
	virtio_kick(f->dev, 0);
	virtio_set_status(f->dev, 0);
	assert_int_equal(f->dev->inflight, 0);
	halter_run_tasks(f->halter);
	assert_int_equal(f->dev->inflight, 0);
	assert_int_equal(f->dev->counters.requests, 4);
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
	ret = blk_create(&f->cfg, &f->g.dma, &f->dev, f->why, sizeof(f->why));
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

	f->why[0] = '\0';
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &dev, f->why, sizeof(f->why)), ret);
	assert_null(dev);
	if (!strstr(f->why, what))
		fail_msg("\"%s\" lacks \"%s\"", f->why, what);
	assert_null(strchr(f->why, '\n'));
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
	char why[256];

	/* Readers share, a writer does not, and what is closed is free. */
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &first, why, sizeof(why)), 0);
	refused(f, -EBUSY, "in use");
	f->cfg.readonly = true;
	refused(f, -EBUSY, "in use");
	blk_destroy(first);
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &second, why, sizeof(why)), 0);
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &third, why, sizeof(why)), 0);
	f->cfg.readonly = false;
	refused(f, -EBUSY, "in use");
	blk_destroy(second);
	refused(f, -EBUSY, "in use");
	blk_destroy(third);
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &first, why, sizeof(why)), 0);
	blk_destroy(first);
}

/* ---- a rate limit ---- */

/* What has to wait is in the queue still, is not in flight, and ends with a reset. */
static void test_limit(void **state)
{
	struct fix *f = *state;
	uint64_t waits, ns;
	uint32_t id, used;
	int cause;

	f->cfg.limits = (struct rate_limits){.bw = 8192, .bw_burst = 1};
	make_disk(f, ALL);
	assert_int_equal(throttle_attach(f->dev->throttles[0], f->halter), 0);
	/* The first goes, and leaves a debt of half a second. */
	for (uint16_t i = 0; i < 2; i++) {
		prepare(f, i, T_OUT, i * 8, 4096);
		driver_offer(&f->d, (uint16_t)(3 * i));
	}
	virtio_kick(f->dev, 0);
	virtio_kick(f->dev, 0);
	finish(f);
	assert_true(driver_used(&f->d, &id, &used));
	assert_false(driver_used(&f->d, &id, &used));
	throttle_get(f->dev->throttles[0], &waits, &ns);
	assert_int_equal(waits, 1);
	assert_int_equal(status(f, 1), 0xee);
	while (!driver_used(&f->d, &id, &used)) {
		uint32_t work;

		assert_int_equal(halter_halt(f->halter, UINT64_MAX, &cause), 0);
		work = halter_take(f->halter);
		if (work & HALTER_WORK_SOURCES)
			atomic_fetch_or(&f->halter->pending, HALTER_WORK_SOURCES);
		if (work & HALTER_WORK_TASKS)
			halter_run_tasks(f->halter);
		finish(f);
	}
	assert_int_equal(status(f, 1), OK);
	/* A flush has no bytes, but the bucket has a debt. */
	prepare(f, 0, T_FLUSH, 0, 0);
	driver_offer(&f->d, 0);
	virtio_kick(f->dev, 0);
	assert_int_equal(f->dev->inflight, 0);
	assert_true(driver_negotiate(f->dev, ALL & f->dev->offered));
	throttle_get(f->dev->throttles[0], &waits, &ns);
	assert_int_equal(waits, 2);
	driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
	driver_enable(f->dev, 0, &f->d);
	driver_ok(f->dev);
	virtio_kick(f->dev, 0);
	assert_int_equal(f->dev->counters.requests, 2);
}

static int setup_limited(void **state)
{
	setup_file(state);
	use_ring(*state);
	return 0;
}

/* ---- in memory ---- */

/* Without the ring: what is short is done when the doorbell's exit is over, and what is long is
 * not, so that a vCPU is not held for long. */
static void test_within_kick(void **state)
{
	struct fix *f = *state;
	const struct {
		uint32_t type, len, inflight;
	} r[] = {
		{T_IN, 512, 0},	 {T_IN, 65536, 0},    {T_IN, 65536 + 512, 1}, {T_OUT, 65536, 0},
		{T_FLUSH, 0, 0}, {T_OUT, 1 << 20, 1}, {T_IN, 1 << 20, 1},     {T_GET_ID, 20, 0},
	};
	struct blk_image img;
	bool memory;

	f->cfg.readonly = true;
	blk_destroy(f->dev);
	assert_int_equal(blk_image_open(&img, &f->cfg, f->why, sizeof(f->why)), 0);
	memory = img.in_memory;
	blk_image_close(&img);
	f->cfg.readonly = false;
	make_disk(f, ALL);
	if (!memory)
		skip(); /* a host whose /dev/shm is something else */
	for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
		uint32_t id, used;

		prepare(f, 0, r[i].type, 0, r[i].len);
		driver_offer(&f->d, 0);
		virtio_kick(f->dev, 0);
		assert_int_equal(f->dev->inflight, r[i].inflight);
		assert_int_equal(f->halter->ring.inflight, r[i].inflight);
		finish(f);
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(status(f, 0), OK);
	}
	assert_int_equal(f->dev->counters.requests, sizeof(r) / sizeof(r[0]));
}

static void on_head(struct ring_req *req, int res)
{
	(void)req;
	assert_int_equal(res, -EBADF);
}

/* What the kernel has cancelled is done again: the disk has lost nothing, and the guest sees
 * nothing of it. Here it is the next in a chain whose head fails. */
static void test_cancelled(void **state)
{
	const struct {
		uint32_t type, len;
	} r[] = {{T_OUT, 8192}, {T_IN, 8192}, {T_FLUSH, 0}, {T_DISCARD, 16}, {T_OUT, 512}};
	struct fix *f = *state;
	struct ring *ring = &f->halter->ring;

	for (uint16_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
		struct ring_req head = {.done = on_head};
		uint64_t before = ring->completed;
		struct io_uring_sqe *sqe;
		uint32_t id, used;
		uint8_t expected[8192];
		int err = 0;

		prepare(f, 0, r[i].type, 0, r[i].len);
		pattern(data(f, 0), 8192, i);
		if (r[i].type == T_DISCARD)
			memcpy(data(f, 0), (uint32_t[]){64, 0, 8, 0}, 16);
		memcpy(expected, data(f, 0), 8192);
		if (r[i].type == T_IN)
			assert_int_equal(posix_fadvise(f->file, 0, 0, POSIX_FADV_DONTNEED), 0);
		sqe = ring_get(ring, &err);
		assert_non_null(sqe);
		io_uring_prep_readv(sqe, -1, NULL, 0, 0);
		sqe->flags |= IOSQE_IO_LINK;
		ring_queue(ring, sqe, &head);
		driver_offer(&f->d, 0);
		virtio_kick(f->dev, 0);
		finish(f);
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(status(f, 0), OK);
		/* The head, what was cancelled and that once more; a read may have found it in the
		 * page cache. */
		assert_in_range(ring->completed - before, r[i].type == T_IN ? 1 : 3, 3);
		if (r[i].type == T_OUT)
			check_file(f, 0, expected, r[i].len);
	}
	assert_int_equal(f->dev->counters.errors, 0);
}

/* Resets at random moments, with requests in the ring. */
static void test_reset(void **state)
{
	struct fix *f = *state;

	for (unsigned int round = 0; round < 300; round++) {
		for (uint16_t i = 0; i < 2; i++) {
			prepare(f, i, round & 1 ? T_IN : T_OUT, (round + i) * 8, 4096);
			driver_offer(&f->d, (uint16_t)(3 * i));
		}
		virtio_kick(f->dev, 0);
		if (round & 2)
			halter_reap(f->halter);
		assert_true(driver_negotiate(f->dev, ALL & f->dev->offered));
		assert_int_equal(f->dev->inflight, 0);
		driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
		driver_enable(f->dev, 0, &f->d);
		driver_ok(f->dev);
	}
	assert_int_equal(f->dev->counters.requests, 600);
	assert_int_equal(f->dev->counters.errors, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL_THREE(test_read_write),
		BOTH(test_bounds),
		BOTH(test_types),
		ALL_THREE(test_framing),
		BOTH(test_malformed),
		ALL_THREE(test_many),
		BOTH(test_get_id),
		ALL_THREE(test_ranges),
		ALL_THREE(test_shrunk),
		ALL_THREE(test_full),
		ALL_THREE(test_cache),
		BOTH(test_config),
		{"test_limit", test_limit, setup_limited, teardown, NULL},
		{"test_within_kick", test_within_kick, setup_memory, teardown, NULL},
		FILE_ONLY(test_readonly),
		FILE_ONLY(test_long),
		FILE_ONLY(test_long_buffer),
		FILE_ONLY(test_one_long_at_a_time),
		FILE_ONLY(test_direct),
		FILE_ONLY(test_refused),
		FILE_ONLY(test_lock),
		{"test_cancelled", test_cancelled, setup_ring, teardown, NULL},
		{"test_reset", test_reset, setup_ring, teardown, NULL},
		{"test_reset in memory", test_reset, setup_memory, teardown, NULL},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
