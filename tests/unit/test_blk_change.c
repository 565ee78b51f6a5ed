/* SPDX-License-Identifier: Apache-2.0 */
/* Another image for a block device whose driver goes on, and what keeps it from being taken. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "blk_bench.h"
#include "devices/virtio/blk_impl.h"
#include "home.h"
#include "uring.h"

#define CHANGES 200

/* Image number @n: each byte of it says so. */
static void make_image(char path[64], unsigned int n, uint64_t size)
{
	uint8_t *bytes = malloc(size);
	int fd;

	memset(bytes, (int)(1 + n % 255), size);
	snprintf(path, 64, "/tmp/test_blk_change.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	close(fd);
	free(bytes);
}

static int change(struct fix *f, const char *path, uint64_t wait_ns)
{
	struct blk_config cfg = f->cfg;
	uint64_t bytes = 0;

	f->err.text[0] = '\0';
	cfg.path = path;
	return blk_change(f->dev, &cfg, wait_ns, &bytes, &f->err);
}

static uint64_t capacity(struct fix *f)
{
	uint64_t sectors = 0;

	virtio_config_read(f->dev, 0, &sectors, sizeof(sectors));
	return sectors;
}

/* The driver reads the new one, of its own size, and is told; what it wrote is in the old one. */
static void test_change(void **state)
{
	struct fix *f = *state;
	uint32_t generation = f->dev->generation;
	char path[64];

	make_image(path, 6, 8192);
	memset(data(f, 0), 0x55, 4096);
	assert_int_equal(request(f, T_OUT, 8, 4096), OK);
	assert_int_equal(change(f, path, 0), 0);
	assert_int_equal(capacity(f), 16);
	assert_int_equal(f->dev->generation, generation + 1);
	check_file(f, 4096, data(f, 0), 4096);
	assert_int_equal(request(f, T_IN, 8, 512), OK);
	assert_int_equal(data(f, 0)[0], 7);
	assert_int_equal(data(f, 0)[511], 7);
	/* Beyond its end there is nothing, though the one before was longer. */
	assert_int_equal(request(f, T_IN, 16, 512), IOERR);
	assert_int_equal(request(f, T_FLUSH, 0, 0), OK);
	/* The same again, by another name, is looked at only. */
	assert_int_equal(truncate(path, 16384), 0);
	assert_int_equal(change(f, path, 0), 0);
	assert_int_equal(capacity(f), 32);
	assert_int_equal(request(f, T_IN, 31, 512), OK);
	unlink(path);
}

/* All is as it was. */
static void test_refused(void **state)
{
	struct fix *f = *state;
	struct blk_config cfg = f->cfg;
	uint64_t bytes;
	char path[64];

	make_image(path, 1, 4096);
	cfg.path = path;
	cfg.readonly = true;
	assert_int_equal(blk_change(f->dev, &cfg, 0, &bytes, &f->err), -EINVAL);
	assert_non_null(strstr(f->err.text, "readonly"));
	cfg.readonly = false;
	cfg.block_size = 4096;
	assert_int_equal(blk_change(f->dev, &cfg, 0, &bytes, &f->err), -EINVAL);
	assert_non_null(strstr(f->err.text, "block-size"));
	assert_int_equal(change(f, "/nonexistent", 0), -ENOENT);
	assert_int_equal(change(f, "/tmp", 0), -EISDIR);
	assert_int_equal(truncate(path, 4097), 0);
	assert_int_equal(change(f, path, 0), -EINVAL);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(change(f, path, 0), -EINVAL);
	assert_int_equal(capacity(f), SECTORS);
	assert_int_equal(request(f, T_OUT, SECTORS - 1, 512), OK);
	unlink(path);
}

/* A request that is under way keeps the image, and goes on; then the change goes through. */
static void test_under_way(void **state)
{
	struct fix *f = *state;
	uint32_t id, used;
	char path[64];

	NEED_URING(); /* without, it is done at once */
	make_image(path, 6, 8192);
	memset(data(f, 0), 0x77, 4096);
	memset(data(f, 1), 0x78, 512);
	prepare(f, 0, T_OUT, 0, 4096);
	driver_offer(&f->d, 0);
	virtio_kick(f->dev, 0);
	assert_int_equal(change(f, path, 1000000), -ETIMEDOUT);
	assert_non_null(strstr(f->err.text, "do not end"));
	prepare(f, 1, T_OUT, 8, 512);
	driver_offer(&f->d, 3);
	virtio_kick(f->dev, 0);
	finish(f);
	assert_true(driver_used(&f->d, &id, &used) && driver_used(&f->d, &id, &used));
	check_file(f, 0, data(f, 0), 4096);
	check_file(f, 4096, data(f, 1), 512);
	assert_int_equal(capacity(f), SECTORS);
	assert_int_equal(change(f, path, 0), 0);
	assert_int_equal(capacity(f), 16);
	unlink(path);
}

/* Without io_uring a small request is done in its kick, also while the thread is called to stand
 * still: nothing keeps the image in a pause. */
static void test_called(void **state)
{
	struct fix *f = *state;
	uint32_t id, used;
	char path[64];

	make_image(path, 6, 8192);
	memset(data(f, 0), 0x79, 4096);
	prepare(f, 0, T_OUT, 0, 4096);
	driver_offer(&f->d, 0);
	catnap_halter_wake(f->halter, 1);
	virtio_kick(f->dev, 0);
	assert_int_equal(change(f, path, 0), 0);
	assert_true(driver_used(&f->d, &id, &used));
	assert_int_equal(status(f, 0), OK);
	check_file(f, 0, data(f, 0), 4096);
	unlink(path);
}

/* The guest's next flush is told, once, of what the host could not write out. */
static void test_owed(void **state)
{
	struct fix *f = *state;
	struct blk *blk = (struct blk *)f->dev;

	atomic_store(&blk->dirty.owed, true);
	assert_int_equal(request(f, T_OUT, 0, 512), OK);
	assert_int_equal(request(f, T_FLUSH, 0, 0), IOERR);
	assert_int_equal(request(f, T_FLUSH, 0, 0), OK);
}

struct changer {
	struct fix *f;
	_Atomic unsigned int last; /* the image that is put in */
	_Atomic bool done;
	int ret;
};

static void *change_all_the_time(void *arg)
{
	struct changer *c = arg;
	char before[64] = "", path[64];

	for (unsigned int n = 1; n <= CHANGES; n++) {
		make_image(path, n, 16384);
		atomic_store(&c->last, n);
		c->ret = change(c->f, path, UINT64_C(60000000000));
		if (c->ret < 0)
			break;
		unlink(before);
		memcpy(before, path, sizeof(path));
	}
	unlink(before);
	atomic_store(&c->done, true);
	return NULL;
}

/* Another thread changes the image as fast as it can: what is read is whole, of the image or the
 * next, never of one before. */
static void test_all_the_time(void **state)
{
	struct fix *f = *state;
	static struct changer c;
	unsigned int image = 0;
	pthread_t thread;
	uint32_t id, used;

	c = (struct changer){.f = f};
	assert_int_equal(pthread_create(&thread, NULL, change_all_the_time, &c), 0);
	while (!atomic_load(&c.done)) {
		prepare(f, 0, T_IN, 0, 16384);
		prepare(f, 1, T_FLUSH, 0, 0);
		driver_offer(&f->d, 0);
		driver_offer(&f->d, 3);
		virtio_kick(f->dev, 0);
		for (int n = 0; n < 2;) {
			home_turn(f->halter);
			while (driver_used(&f->d, &id, &used))
				n++;
		}
		assert_int_equal(status(f, 0), OK);
		assert_int_equal(status(f, 1), OK);
		for (unsigned int i = 1; i < 16384; i++)
			assert_int_equal(data(f, 0)[i], data(f, 0)[0]);
		if (data(f, 0)[0]) {
			unsigned int now = data(f, 0)[0] - 1u;

			assert_in_range(now, image, atomic_load(&c.last));
			image = now;
		}
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (c.ret < 0)
		fail_msg("%s", f->err.text);
	assert_int_equal(request(f, T_IN, 0, 512), OK);
	assert_int_equal(data(f, 0)[0], CHANGES + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_change, setup_ring, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup_ring, teardown),
		cmocka_unit_test_setup_teardown(test_under_way, setup_ring, teardown),
		cmocka_unit_test_setup_teardown(test_called, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_owed, setup_ring, teardown),
		cmocka_unit_test_setup_teardown(test_all_the_time, setup_ring, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
