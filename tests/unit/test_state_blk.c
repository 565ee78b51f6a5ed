/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in a snapshot: requests that were put off are done once more, and what the driver knows of
 * the disk stays true. */
#include "blk_bench.h"
#include "buckets.h"
#include "devices/virtio/blk_impl.h"
#include "home.h"
#include "snap.h"

/* Another disk, in the place of the first one and with the same driver. */
static void again(struct fix *f, struct snap *s)
{
	virtio_set_status(f->dev, 0);
	finish(f);
	blk_destroy(f->dev);
	assert_int_equal(blk_create(&f->cfg, &f->g.dma, &f->dev, &f->err), 0);
	f->dev->transport_ops = &fake_transport_ops;
	f->dev->transport = &f->t;
	f->dev->home = f->halter;
	if (s)
		snap_restore(s, f->dev);
}

static void test_it_goes_on(void **state)
{
	struct fix *f = *state;
	struct snap s;
	uint8_t on = 1;

	virtio_config_write(f->dev, offsetof(struct blk_space, writeback), &on, 1);
	pattern(data(f, 0), 4096, 1);
	assert_int_equal(request(f, T_OUT, 8, 4096), OK);
	snap_device(&s, f->dev);
	again(f, &s);
	finish(f);
	check_file(f, 4096, data(f, 0), 4096);
	memset(data(f, 0), 0, 4096);
	for (int i = 0; i < 20; i++)
		assert_int_equal(request(f, T_IN, 8, 512), OK);
	assert_int_equal(data(f, 0)[0], 1);
	assert_int_equal(request(f, T_FLUSH, 0, 0), OK);
	assert_int_equal(f->t.config, 0);
	snap_free(&s);
}

/* Requests that a pause has put off are in no ring, and have not been answered. */
static void test_requests_that_were_put_off_are_done(void **state)
{
	struct fix *f = *state;
	struct snap s;
	uint32_t id, used;

	pattern(data(f, 0), 4096, 1);
	pattern(data(f, 1), 4096, 2);
	prepare(f, 0, T_OUT, 0, 4096);
	prepare(f, 1, T_OUT, 64, 4096);
	driver_offer(&f->d, 3);
	driver_offer(&f->d, 0);
	f->halter->draining = true;
	virtio_kick(f->dev, 0);
	f->halter->draining = false;
	assert_int_equal(f->dev->inflight, 0);
	assert_int_equal(status(f, 0), 0xee);
	snap_device(&s, f->dev);
	again(f, &s);
	finish(f);
	assert_int_equal(status(f, 0), OK);
	assert_int_equal(status(f, 1), OK);
	check_file(f, 0, data(f, 0), 4096);
	check_file(f, 64 * 512, data(f, 1), 4096);
	assert_true(driver_used(&f->d, &id, &used));
	assert_true(driver_used(&f->d, &id, &used));
	assert_false(driver_used(&f->d, &id, &used));
	assert_int_equal(request(f, T_IN, 0, 512), OK);
	snap_free(&s);
}

static void test_the_same_id_and_cache(void **state)
{
	struct fix *f = *state;
	uint8_t off = 0, back = 9;
	struct snap s;

	f->cfg.id = "a disk's serial no.";
	again(f, NULL);
	assert_true(driver_negotiate(f->dev, ALL & f->dev->offered));
	f->headers = driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
	driver_enable(f->dev, 0, &f->d);
	driver_ok(f->dev);
	virtio_config_write(f->dev, offsetof(struct blk_space, writeback), &off, 1);
	snap_device(&s, f->dev);
	f->cfg.id = NULL;
	again(f, &s);
	virtio_config_read(f->dev, offsetof(struct blk_space, writeback), &back, 1);
	assert_int_equal(back, 0);
	assert_true(((struct blk *)f->dev)->write_through);
	assert_int_equal(request(f, T_GET_ID, 0, 20), OK);
	assert_string_equal((char *)data(f, 0), "a disk's serial no.");
	snap_free(&s);
}

static void test_another_size_is_told(void **state)
{
	struct fix *f = *state;
	uint64_t sectors = 0;
	struct snap s, t;

	snap_device(&s, f->dev);
	assert_int_equal(ftruncate(f->file, 2 * SECTORS * 512), 0);
	again(f, NULL);
	assert_int_equal(virtio_load(f->dev, 0, &s.r, &s.err), 0);
	assert_int_equal(f->t.config, 0);
	assert_int_equal(virtio_restored(f->dev, &s.err), 0);
	assert_int_equal(f->t.config, 1);
	virtio_config_read(f->dev, 0, &sectors, sizeof(sectors));
	assert_int_equal(sectors, 2 * SECTORS);
	assert_int_equal(request(f, T_IN, 2 * SECTORS - 1, 512), OK);
	/* Once. */
	snap_device(&t, f->dev);
	again(f, &t);
	assert_int_equal(f->t.config, 1);
	snap_free(&s);
	snap_free(&t);
}

static void test_what_the_driver_was_told_has_to_be(void **state)
{
	struct fix *f = *state;
	struct snap s;

	snap_device(&s, f->dev);
	f->cfg.readonly = true;
	again(f, NULL);
	assert_int_equal(virtio_load(f->dev, 0, &s.r, &s.err), -ENOTSUP);
	assert_non_null(strstr(s.err.text, "feature 11"));
	f->cfg.readonly = false;
	f->cfg.block_size = 4096;
	again(f, NULL);
	assert_int_equal(virtio_load(f->dev, 0, &s.r, &s.err), -EINVAL);
	assert_non_null(strstr(s.err.text, "block-size: the guest was told that it is 512"));
	snap_free(&s);
	/* With no feature that tells, it is said by name. */
	f->cfg.block_size = 0;
	again(f, NULL);
	assert_true(driver_negotiate(f->dev, FEATURE(32)));
	snap_device(&s, f->dev);
	f->cfg.readonly = true;
	again(f, NULL);
	assert_int_equal(virtio_load(f->dev, 0, &s.r, &s.err), -EINVAL);
	assert_non_null(strstr(s.err.text, "readonly: the guest was told that it is off"));
	snap_free(&s);
}

/* The limit is used up, and stays it. */
static void test_its_limit_goes_on(void **state)
{
	struct fix *f = *state;
	struct blk *blk;
	struct snap s;
	uint32_t id, used;

	assert_int_equal(blk_set_limits(f->dev, OPS(10, 1)), 0);
	assert_int_equal(request(f, T_IN, 0, 512), OK);
	snap_device(&s, f->dev);
	again(f, NULL);
	assert_int_equal(throttle_attach(f->dev->throttles[0], f->halter), 0);
	assert_int_equal(virtio_load(f->dev, 0, &s.r, &s.err), 0);
	assert_int_equal(virtio_restored(f->dev, &s.err), 0);
	blk = (struct blk *)f->dev;
	assert_true(throttle_on(&blk->throttle));
	prepare(f, 0, T_IN, 0, 512);
	driver_offer(&f->d, 0);
	virtio_kick(f->dev, 0);
	finish(f);
	assert_false(driver_used(&f->d, &id, &used));
	for (int i = 0; i < 2000 && !driver_used(&f->d, &id, &used); i++) {
		usleep(1000);
		home_turn(f->halter);
	}
	assert_int_equal(status(f, 0), OK);
	/* Not after the first look, but when it was due. */
	virtio_set_status(f->dev, 0);
	throttle_detach(f->dev->throttles[0]);
	home_turn(f->halter);
	snap_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL_THREE(test_it_goes_on),
		{"put off", test_requests_that_were_put_off_are_done, setup_ring, teardown, NULL},
		BOTH(test_the_same_id_and_cache),
		BOTH(test_another_size_is_told),
		BOTH(test_what_the_driver_was_told_has_to_be),
		{"limit", test_its_limit_goes_on, setup_ring, teardown, NULL},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
