/* SPDX-License-Identifier: Apache-2.0 */
/* The block device's requests under way: long ones, those that a limit holds back, what is done
 * within the kick, what the kernel cancels, and resets in the midst of them. */
#include <errno.h>
#include <fcntl.h>

#include "blk_bench.h"
#include "buckets.h"
#include "devices/virtio/blk_dirty.h"
#include "home.h"
#include "uring.h"

/* ---- long ones ---- */

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

/* A pause waits for the requests in flight: of long ones, that is one for each queue. */
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
	finish(f);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(id, 3 * i);
		assert_int_equal(status(f, (uint16_t)i), OK);
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

/* ---- how much is under way, and what an end or a pause waits for ---- */

#define MANY 8
#define MIB  (UINT32_C(1) << 20)

/* Requests of 8 MiB into one place, by one indirect table. */
static void offer_many(struct fix *f)
{
	uint64_t table = f->headers + 1024;

	prepare_long(f, 0, 8);
	for (uint16_t i = 0; i < MANY; i++) {
		driver_desc(&f->d, i, table, 16 * (8 + 2), F_INDIRECT, 0);
		driver_offer(&f->d, i);
	}
	virtio_kick(f->dev, 0);
}

static struct fix *with_many(void **state)
{
	struct fix *f = *state;

	assert_int_equal(ftruncate(f->file, 64 << 20), 0);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(pwrite(f->file, &i, sizeof(i), i * (off_t)MIB + 4 * i), 4);
	use_ring(f);
	f->cfg.direct = true; /* or else what is in the page cache is there at once */
	make_disk(f, ALL);
	offer_many(f);
	return f;
}

/* Not all that is offered is begun, what was begun is not finished once it is to stop, and nothing
 * of it is reported; after a pause all of it is done, once. */
static void put_off(void **state, bool cancel)
{
	struct fix *f = with_many(state);
	uint32_t id, used;

	assert_in_range(f->dev->inflight, 1, MANY - 1);
	assert_int_equal(f->halter->ring.inflight, f->dev->inflight);
	assert_int_equal(f->dev->counters.requests, f->dev->inflight);
	assert_int_equal(halter_drain(f->halter, cancel), 0);
	assert_int_equal(f->dev->inflight, 0);
	assert_in_range(f->dev->counters.requests, 1, MANY - 1);
	assert_false(driver_used(&f->d, &id, &used));
	finish(f);
	for (unsigned int i = 0; i < MANY; i++) {
		assert_true(driver_used(&f->d, &id, &used));
		assert_int_equal(used, 8 * MIB + 1);
	}
	assert_false(driver_used(&f->d, &id, &used));
	assert_int_equal(status(f, 0), OK);
	assert_int_equal(f->dev->counters.requests, MANY);
}

static void test_put_off_by_a_pause(void **state)
{
	put_off(state, false);
}

static void test_put_off_at_the_end(void **state)
{
	put_off(state, true);
}

/* A reset does not wait for what was put off, which is nobody's then, and neither does the end. */
static void test_reset_of_what_was_put_off(void **state)
{
	struct fix *f = with_many(state);
	uint32_t id, used;

	assert_int_equal(halter_drain(f->halter, false), 0);
	virtio_set_status(f->dev, 0);
	assert_int_equal(f->dev->inflight, 0);
	for (int round = 0; round < 2; round++) {
		assert_true(driver_negotiate(f->dev, ALL & f->dev->offered));
		driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
		driver_enable(f->dev, 0, &f->d);
		driver_ok(f->dev);
		if (round == 0) {
			finish(f); /* they find out */
			assert_false(driver_used(&f->d, &id, &used));
			assert_int_equal(request(f, T_IN, 0, 4096), OK);
			offer_many(f);
			assert_int_equal(halter_drain(f->halter, true), 0);
			virtio_set_status(f->dev, 0);
		}
	}
	/* The end of all, with some of them put off. */
}

static bool is_memory(struct fix *f)
{
	struct blk_image img;
	bool memory;

	f->cfg.no_lock = true;
	assert_int_equal(blk_image_open(&img, &f->cfg, &f->err), 0);
	memory = img.in_memory;
	blk_image_close(&img);
	return memory;
}

/* A flush that would be one long call, which nothing takes back, is many. */
static void test_flush_in_pieces(void **state)
{
	struct fix *f = *state;
	uint64_t before;

	assert_int_equal(ftruncate(f->file, 64 << 20), 0);
	if (is_memory(f))
		skip();
	use_ring(f);
	make_disk(f, ALL);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(request(f, T_OUT, 4096 * i, MIB), OK);
	before = f->halter->ring.completed;
	assert_int_equal(request(f, T_FLUSH, 0, 0), OK);
	assert_in_range(f->halter->ring.completed - before, 3, 64);
	/* Little, or nothing. */
	for (int i = 0; i < 2; i++) {
		before = f->halter->ring.completed;
		assert_int_equal(request(f, T_FLUSH, 0, 0), OK);
		assert_int_equal(f->halter->ring.completed - before, 1);
		assert_int_equal(request(f, T_OUT, 8, 4096), OK);
	}
	assert_int_equal(f->dev->counters.errors, 0);
}

/* The disk grows: what is written there is noted as far as there are bits, and nowhere else. */
static void test_dirty_grows(void **state)
{
	const uint64_t mib = UINT64_C(1) << 20, last = 8191 * mib;
	uint64_t offset = 0, len;
	struct blk_dirty d;

	assert_int_equal(blk_dirty_init(&d, 10 * mib), 0);
	blk_dirty_note(&d, 20 * mib, 1);
	assert_false(blk_dirty_next(&d, &offset, &len));
	blk_dirty_resize(&d, UINT64_C(1) << 50);
	blk_dirty_note(&d, last, 5 * mib);
	blk_dirty_note(&d, last + mib, 1);
	blk_dirty_note(&d, (UINT64_C(1) << 50) - 512, 512);
	assert_true(blk_dirty_next(&d, &offset, &len));
	assert_true(offset == 20 * mib && len == mib);
	offset += len;
	assert_true(blk_dirty_next(&d, &offset, &len));
	assert_true(offset == last && len == mib);
	offset += len;
	assert_false(blk_dirty_next(&d, &offset, &len));
	/* And shrinks. */
	blk_dirty_note(&d, 20 * mib, 1);
	blk_dirty_resize(&d, mib);
	offset = 0;
	assert_false(blk_dirty_next(&d, &offset, &len));
	blk_dirty_fini(&d);
}

static void test_holes_in_pieces(void **state)
{
	struct fix *f = *state;
	const struct {
		uint32_t type, sectors;
	} r[] = {{T_DISCARD, 0x400000 - 7}, {T_WRITE_ZEROES, 0x8000 - 7}};
	const char mark[3] = "xyz";

	assert_int_equal(ftruncate(f->file, INT64_C(3) << 30), 0);
	use_ring(f);
	make_disk(f, ALL);
	if (!(f->dev->offered & FEATURE(13)))
		skip();
	for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
		struct {
			uint64_t sector;
			uint32_t sectors, flags;
		} range = {3, r[i].sectors, 0};
		const uint64_t end = (3 + (uint64_t)r[i].sectors) * 512;
		const uint64_t at[] = {0, 1535, 1536, end / 2, end - 1, end};
		uint64_t before = f->halter->ring.completed;

		for (size_t n = 0; n < 6; n++)
			assert_int_equal(pwrite(f->file, mark, 1, (off_t)at[n]), 1);
		memcpy(data(f, 0), &range, sizeof(range));
		assert_int_equal(request(f, r[i].type, 0, sizeof(range)), OK);
		assert_true(f->halter->ring.completed - before > 8);
		for (size_t n = 0; n < 6; n++) {
			char c = 1;

			assert_int_equal(pread(f->file, &c, 1, (off_t)at[n]), 1);
			assert_int_equal(c, n < 2 || n == 5 ? 'x' : 0);
		}
	}
}

/* ---- a rate limit ---- */

/* A request that has to wait is in the queue still, is not in flight, and ends with a reset. */
static void test_limit(void **state)
{
	struct fix *f = *state;
	uint64_t waits, ns;
	uint32_t id, used;
	int cause;

	f->cfg.limits = *BW(8192, 1);
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
		assert_int_equal(halter_halt(f->halter, UINT64_MAX, &cause), 0);
		home_turn(f->halter);
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
	assert_int_equal(blk_image_open(&img, &f->cfg, &f->err), 0);
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

/* An operation that the kernel has cancelled is done again: the disk has lost nothing, and the
 * guest sees nothing of it. Here it is the next in a chain whose head fails. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"test_limit", test_limit, setup_limited, teardown, NULL},
		{"test_within_kick", test_within_kick, setup_memory, teardown, NULL},
		FILE_ONLY(test_long),
		FILE_ONLY(test_long_buffer),
		FILE_ONLY(test_one_long_at_a_time),
		FILE_ONLY(test_put_off_by_a_pause),
		FILE_ONLY(test_put_off_at_the_end),
		FILE_ONLY(test_reset_of_what_was_put_off),
		FILE_ONLY(test_flush_in_pieces),
		FILE_ONLY(test_holes_in_pieces),
		cmocka_unit_test(test_dirty_grows),
		{"test_cancelled", test_cancelled, setup_ring, teardown, NULL},
		{"test_reset", test_reset, setup_ring, teardown, NULL},
		{"test_reset in memory", test_reset, setup_memory, teardown, NULL},
	};

	return has_uring() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
