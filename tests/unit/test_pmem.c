/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent memory: each flush ends with the result of an fdatasync that has begun after it came.
 * The test stands in the place of the ring, and says how each fdatasync ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <cmocka.h>

#include "buckets.h"
#include "devices/virtio/blk_op.h"
#include "devices/virtio/pmem.h"
#include "poll/clock.h"
#include "snap.h"
#include "vdev.h"

#define BYTES (UINT64_C(2) << 20)
#define PLACE (UINT64_C(1) << 32)
#define EIO_  0xffffffffu

static struct ring_req *syncing; /* the fdatasync that is under way */
static unsigned int syncs;	 /* that have begun */
static bool no_ring;
static int sync_result; /* of those without a ring */

int __wrap_blk_op_queue(const struct blk_op *op, struct ring *ring, struct ring_req *req);
int __wrap_blk_op_do(const struct blk_op *op);

int __wrap_blk_op_queue(const struct blk_op *op, struct ring *ring, struct ring_req *req)
{
	assert_int_equal(op->kind, BLK_OP_SYNC);
	if (no_ring)
		return -EBUSY;
	assert_null(syncing);
	syncing = req;
	syncs++;
	return 0;
}

int __wrap_blk_op_do(const struct blk_op *op)
{
	assert_int_equal(op->kind, BLK_OP_SYNC);
	syncs++;
	return sync_result;
}

static void end_sync(int res)
{
	struct ring_req *req = syncing;

	assert_non_null(req);
	syncing = NULL;
	req->done(req, res);
}

static const char *folder;

/* Returns a folder that is not in memory, where a flush has nothing to do; NULL: there is none. */
static const char *find_folder(void)
{
	static const char *const folders[] = {"/var/tmp", ".", "/tmp"};
	struct statfs fs;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (statfs(folders[i], &fs) == 0 && fs.f_type != TMPFS_MAGIC &&
		    fs.f_type != RAMFS_MAGIC)
			return folders[i];
	return NULL;
}

struct bench {
	struct vdev *v;
	char path[64];
	uint64_t results[16];
};

static struct virtio_device *make(struct bench *b, bool readonly, uint64_t place)
{
	const struct pmem_config cfg = {.path = b->path, .readonly = readonly};
	struct error err = {.text = ""};
	struct virtio_device *dev;
	uint64_t bytes;

	assert_int_equal(pmem_create(&cfg, &b->v->g.dma, &dev, &err), 0);
	assert_true(pmem_file(dev, &bytes) >= 0);
	assert_int_equal(bytes, BYTES);
	pmem_place(dev, place, BYTES);
	dev->home = &b->v->home;
	vdev_use(b->v, dev);
	assert_int_equal(throttle_attach(dev->throttles[0], &b->v->home), 0);
	return dev;
}

static void unmake(struct bench *b)
{
	if (syncing)
		end_sync(0);
	virtio_set_status(b->v->dev, 0);
	throttle_detach(b->v->dev->throttles[0]);
	vdev_again(b->v);
	pmem_destroy(b->v->dev);
}

/* A driver begins, and has room for results. */
static void begin(struct bench *b)
{
	vdev_start(b->v, 0, 1, 16);
	for (int i = 0; i < 16; i++)
		b->results[i] = vdev_alloc(b->v, 4);
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	int fd;

	snprintf(b->path, sizeof(b->path), "%s/catnap-pmem-XXXXXX", folder);
	fd = mkstemp(b->path);
	if (fd < 0 || ftruncate(fd, BYTES) < 0)
		return -1;
	close(fd);
	b->v = vdev_make(1 << 20);
	syncing = NULL;
	syncs = 0;
	no_ring = false;
	sync_result = 0;
	make(b, false, PLACE);
	begin(b);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	unmake(b);
	unlink(b->path);
	vdev_free(b->v);
	free(b);
	return 0;
}

static void offer(struct bench *b, unsigned int n, uint32_t type)
{
	uint64_t at = vdev_alloc(b->v, 4);

	memcpy(guest_ptr(&b->v->g, at), &type, 4);
	memset(guest_ptr(&b->v->g, b->results[n]), 0xee, 4);
	vdev_offer(b->v, 0, (uint64_t[]){at, b->results[n]}, (uint32_t[]){4, 4}, 2, 1);
	virtio_kick(b->v->dev, 0);
}

static uint32_t result(struct bench *b, unsigned int n)
{
	uint32_t value;

	memcpy(&value, guest_ptr(&b->v->g, b->results[n]), 4);
	return value;
}

static unsigned int used(struct bench *b)
{
	unsigned int n = 0;
	uint32_t id, len;

	while (driver_used(&b->v->q[0], &id, &len)) {
		assert_int_equal(len, 4);
		n++;
	}
	return n;
}

static void the_guest_is_told_where_it_is(void **state)
{
	struct bench *b = *state;
	uint64_t config[2];

	virtio_config_read(b->v->dev, 0, config, sizeof(config));
	assert_int_equal(config[0], PLACE);
	assert_int_equal(config[1], BYTES);
}

/* Flushes that come while an fdatasync is under way are served by the next, all by one. */
static void flushes_wait_for_an_fdatasync_of_their_own(void **state)
{
	struct bench *b = *state;

	offer(b, 0, 0);
	assert_int_equal(used(b), 0);
	assert_int_equal(syncs, 1);
	for (unsigned int i = 1; i < 4; i++)
		offer(b, i, 0);
	assert_int_equal(syncs, 1);
	end_sync(0);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 0), 0);
	vdev_turn(b->v);
	assert_int_equal(syncs, 2);
	assert_int_equal(used(b), 0);
	end_sync(0);
	assert_int_equal(used(b), 3);
	vdev_turn(b->v);
	assert_int_equal(syncs, 2);
}

/* The kernel tells an error once: all that waited for that fdatasync have it, and those of the next
 * have not. */
static void an_error_is_told_to_all_that_waited(void **state)
{
	struct bench *b = *state;

	offer(b, 0, 0);
	offer(b, 1, 0);
	offer(b, 2, 0);
	end_sync(0);
	vdev_turn(b->v);
	offer(b, 3, 0);
	end_sync(-EIO);
	assert_int_equal(used(b), 3);
	assert_int_equal(result(b, 0), 0);
	assert_int_equal(result(b, 1), EIO_);
	assert_int_equal(result(b, 2), EIO_);
	vdev_turn(b->v);
	end_sync(0);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 3), 0);
	assert_int_equal(atomic_load(&b->v->dev->counters.errors), 2);
}

static void one_that_was_not_done_is_done_again(void **state)
{
	const int passes[] = {-EINTR, -EAGAIN, -ECANCELED};
	struct bench *b = *state;

	offer(b, 0, 0);
	for (unsigned int i = 0; i < 3; i++) {
		end_sync(passes[i]);
		assert_int_equal(used(b), 0);
		vdev_turn(b->v);
		assert_int_equal(syncs, 2 + i);
	}
	end_sync(0);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 0), 0);
	/* Not for ever. */
	offer(b, 1, 0);
	for (unsigned int i = 0; i < 200 && syncing; i++) {
		end_sync(-EINTR);
		vdev_turn(b->v);
	}
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 1), EIO_);
}

static void without_a_ring_the_thread_waits(void **state)
{
	struct bench *b = *state;

	no_ring = true;
	offer(b, 0, 0);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 0), 0);
	sync_result = -EIO;
	offer(b, 1, 0);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 1), EIO_);
	assert_int_equal(syncs, 2);
}

static void what_is_no_flush_fails(void **state)
{
	struct bench *b = *state;

	offer(b, 0, 1);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 0), EIO_);
	offer(b, 1, UINT32_MAX);
	assert_int_equal(used(b), 1);
	assert_int_equal(syncs, 0);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
	/* Two bytes of a type; and no room for a result. Flushes that wait are answered all the same. */
	offer(b, 2, 0);
	vdev_offer(b->v, 0, (uint64_t[]){b->results[3], b->results[4]}, (uint32_t[]){2, 4}, 2, 1);
	virtio_kick(b->v->dev, 0);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	end_sync(0);
	assert_int_equal(used(b), 1);
	begin(b);
	vdev_offer1(b->v, 0, b->results[0], 4, false);
	virtio_kick(b->v->dev, 0);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	begin(b);
	offer(b, 0, 0);
	end_sync(0);
	assert_int_equal(used(b), 1);
}

/* Nothing that comes late writes to the memory of a driver that has reset the device. */
static void a_reset_forgets_those_that_wait(void **state)
{
	struct bench *b = *state;

	offer(b, 0, 0);
	offer(b, 1, 0);
	end_sync(0); /* a reset waits for it */
	virtio_set_status(b->v->dev, 0);
	memset(guest_ptr(&b->v->g, b->results[1]), 0x11, 4);
	vdev_turn(b->v);
	assert_null(syncing);
	assert_int_equal(result(b, 1), 0x11111111);
	begin(b);
	vdev_turn(b->v);
	assert_int_equal(syncs, 1);
	assert_int_equal(used(b), 0);
}

static void flushes_come_at_their_rate(void **state)
{
	struct bench *b = *state;
	uint64_t begin = clock_monotonic_ns();

	no_ring = true;
	assert_int_equal(pmem_set_limits(b->v->dev, OPS(100, 1)), 0);
	for (unsigned int i = 0; i < 4; i++)
		offer(b, i, 0);
	for (unsigned int n = used(b); n < 4;)
		vdev_until(b->v, ({
				   unsigned int more = used(b);
				   n += more;
				   more > 0;
			   }));
	assert_true(clock_monotonic_ns() - begin >= UINT64_C(30000000));
}

static void one_that_is_only_read_has_nothing_to_flush(void **state)
{
	struct bench *b = *state;

	unmake(b);
	make(b, true, PLACE);
	begin(b);
	offer(b, 0, 0);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 0), 0);
	assert_int_equal(syncs, 0);
}

/* The device again, made as @readonly and @place say, with the state of @s. */
static int again(struct bench *b, struct snap *s, bool readonly, uint64_t place)
{
	unmake(b);
	make(b, readonly, place);
	s->err.text[0] = '\0';
	return virtio_load(b->v->dev, 0, &s->r, &s->err);
}

/* A flush that waits in a snapshot is done after it; a host that has another file is told. */
static void a_snapshot_keeps_flushes(void **state)
{
	struct bench *b = *state;
	struct snap s = {.err = {.text = ""}};

	state_writer_init(&s.w);
	assert_int_equal(pmem_set_limits(b->v->dev, OPS(1, 1)), 0);
	offer(b, 0, 0);
	offer(b, 1, 0);
	end_sync(0);
	assert_int_equal(used(b), 1);
	syncs = 0;
	assert_int_equal(virtio_save(b->v->dev, 0, &s.w, &s.err), 0);
	assert_int_equal(syncs, 1); /* what was written is durable */
	snap_open(&s);
	assert_int_equal(again(b, &s, true, PLACE), -EINVAL);
	assert_non_null(strstr(s.err.text, "readonly"));
	assert_int_equal(again(b, &s, false, 2 * PLACE), -EINVAL);
	assert_non_null(strstr(s.err.text, "the same size"));
	assert_int_equal(again(b, &s, false, PLACE), 0);
	assert_int_equal(virtio_restored(b->v->dev, &s.err), 0);
	assert_int_equal(pmem_set_limits(b->v->dev, NO_LIMITS), 0);
	vdev_until(b->v, syncing);
	end_sync(0);
	assert_int_equal(used(b), 1);
	assert_int_equal(result(b, 1), 0);
	snap_free(&s);
}

/* An error that only the snapshot was told of is the next flush's, too. */
static void an_error_of_a_snapshot_is_owed(void **state)
{
	struct bench *b = *state;
	struct snap s = {.err = {.text = ""}};

	state_writer_init(&s.w);
	sync_result = -EIO;
	assert_int_equal(virtio_save(b->v->dev, 0, &s.w, &s.err), -EIO);
	assert_non_null(strstr(s.err.text, "cannot be written out"));
	offer(b, 0, 0);
	end_sync(0);
	assert_int_equal(result(b, 0), EIO_);
	offer(b, 1, 0);
	end_sync(0);
	assert_int_equal(result(b, 1), 0);
	state_writer_fini(&s.w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_guest_is_told_where_it_is),
		T(flushes_wait_for_an_fdatasync_of_their_own),
		T(an_error_is_told_to_all_that_waited),
		T(one_that_was_not_done_is_done_again),
		T(without_a_ring_the_thread_waits),
		T(what_is_no_flush_fails),
		T(a_reset_forgets_those_that_wait),
		T(flushes_come_at_their_rate),
		T(one_that_is_only_read_has_nothing_to_flush),
		T(a_snapshot_keeps_flushes),
		T(an_error_of_a_snapshot_is_owed),
	};

	folder = find_folder();
	if (!folder)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
