/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device: what it gives, and its limit, which may come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "buckets.h"
#include "devices/virtio/rng.h"
#include "poll/clock.h"
#include "vdev.h"

#define BYTES 64u

static int set_up(void **state)
{
	struct vdev *v = vdev_make(1 << 20);
	struct virtio_device *dev;

	if (rng_create(&v->g.dma, true, &dev) < 0)
		return -1;
	dev->home = &v->home;
	vdev_use(v, dev);
	if (throttle_attach(dev->throttles[0], &v->home) < 0)
		return -1;
	vdev_start(v, 0, 1, 16);
	*state = v;
	return 0;
}

static int tear_down(void **state)
{
	struct vdev *v = *state;

	virtio_set_status(v->dev, 0);
	throttle_detach(v->dev->throttles[0]);
	rng_destroy(v->dev);
	vdev_free(v);
	return 0;
}

static bool filled(struct vdev *v)
{
	uint32_t id, len;

	if (!driver_used(&v->q[0], &id, &len))
		return false;
	assert_int_equal(len, BYTES);
	return true;
}

static void it_gives_what_there_is_room_for(void **state)
{
	struct vdev *v = *state;
	uint64_t at = vdev_alloc(v, BYTES);
	uint8_t none[BYTES] = {0};

	vdev_offer1(v, 0, at, BYTES, true);
	virtio_kick(v->dev, 0);
	assert_true(filled(v));
	assert_memory_not_equal(guest_ptr(&v->g, at), none, BYTES);
}

static void buffers_are_filled_at_their_rate(void **state)
{
	struct vdev *v = *state;
	uint64_t begin = clock_monotonic_ns(), waits, ns;

	assert_int_equal(rng_set_limits(v->dev, OPS(100, 1)), 0);
	for (int i = 0; i < 5; i++)
		vdev_offer1(v, 0, vdev_alloc(v, BYTES), BYTES, true);
	virtio_kick(v->dev, 0);
	virtio_kick(v->dev, 0); /* does not help */
	for (int i = 0; i < 5; i++)
		vdev_until(v, filled(v));
	assert_true(clock_monotonic_ns() - begin >= UINT64_C(40000000));
	throttle_get(v->dev->throttles[0], &waits, &ns);
	assert_true(waits >= 1 && ns > 0);
}

/* A buffer that waits for hours is filled at once when the limit goes; and a reset drops the
 * wait. */
static void a_limit_comes_and_goes(void **state)
{
	struct vdev *v = *state;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(rng_set_limits(v->dev, BW(1, 1)), 0);
		vdev_offer1(v, 0, vdev_alloc(v, BYTES), BYTES, true);
		vdev_offer1(v, 0, vdev_alloc(v, BYTES), BYTES, true);
		virtio_kick(v->dev, 0);
		assert_true(filled(v));
		for (int n = 0; n < 3; n++)
			home_turn(&v->home);
		assert_false(filled(v));
		assert_int_equal(rng_set_limits(v->dev, i ? OPS(1000, 10) : NO_LIMITS), 0);
		vdev_until(v, filled(v));
	}
	assert_int_equal(rng_set_limits(v->dev, BW(1, 1)), 0);
	vdev_offer1(v, 0, vdev_alloc(v, BYTES), BYTES, true);
	vdev_offer1(v, 0, vdev_alloc(v, BYTES), BYTES, true);
	virtio_kick(v->dev, 0);
	assert_true(filled(v));
	virtio_set_status(v->dev, 0);
	assert_int_equal(rng_set_limits(v->dev, NO_LIMITS), 0);
	for (int n = 0; n < 3; n++)
		home_turn(&v->home);
	assert_false(filled(v));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_gives_what_there_is_room_for),
		T(buffers_are_filled_at_their_rate),
		T(a_limit_comes_and_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
