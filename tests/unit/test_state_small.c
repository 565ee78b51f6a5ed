/* SPDX-License-Identifier: Apache-2.0 */
/* Console, balloon, entropy and socket device in a snapshot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "buckets.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/console.h"
#include "devices/virtio/rng.h"
#include "vsock_bench.h"
#include "snap.h"

/* The driver's queue @queue has something: its length, or -1. */
static long used_by(struct vdev *v, unsigned int queue)
{
	uint32_t id, len;

	return driver_used(&v->q[queue], &id, &len) ? (long)len : -1;
}

/* -- console ---------------------------------------------------------------------------------- */

enum { RX, TX };

static struct {
	char text[300000];
	size_t len;
} told;

static void output(void *ctx, const void *data, size_t len)
{
	assert_true(told.len + len <= sizeof(told.text));
	memcpy(told.text + told.len, data, len);
	told.len += len;
}

static struct console *console_on(struct vdev *v)
{
	struct console_config cfg = {.output = output, .cols = 80, .rows = 25, .dma = &v->g.dma};
	struct console *c;

	assert_int_equal(console_create(&cfg, &c), 0);
	vdev_use(v, console_device(c));
	console_attach(c, &v->home);
	return c;
}

static void console_again(struct vdev *v, struct console **c)
{
	virtio_set_status(v->dev, 0);
	vdev_again(v);
	console_destroy(c);
	*c = console_on(v);
}

static void test_console(void **state)
{
	const uint32_t size = 150000;
	struct vdev *v = vdev_make(1 << 20);
	struct console *c = console_on(v);
	uint16_t cells[2];
	struct snap s;
	uint64_t at;
	long len;

	told.len = 0;
	vdev_start(v, 1, 2, 16);
	at = vdev_alloc(v, size);
	for (uint32_t i = 0; i < size; i++)
		((uint8_t *)guest_ptr(&v->g, at))[i] = (uint8_t)(i % 251);
	console_resize(c, 132, 50);
	assert_int_equal(console_input(c, "typed before", 12), 12);
	/* Some of the output, in the middle of a chain; another chain waits. */
	vdev_offer1(v, TX, at, size, false);
	vdev_offer1(v, TX, at, 7, false);
	virtio_kick(v->dev, TX);
	assert_true(told.len > 0 && told.len < size);
	v->config_irqs = 0;
	snap_device(&s, v->dev);
	console_again(v, &c);
	snap_restore(&s, v->dev);
	/* No byte is lost, none comes twice. */
	vdev_until(v, used_by(v, TX) == 0);
	vdev_until(v, used_by(v, TX) == 0);
	assert_int_equal(told.len, size + 7);
	for (uint32_t i = 0; i < size; i++)
		assert_int_equal((uint8_t)told.text[i], i % 251);
	assert_int_equal((uint8_t)told.text[size + 6], 6);
	vdev_offer1(v, RX, at, 100, true);
	virtio_kick(v->dev, RX);
	vdev_until(v, (len = used_by(v, RX)) >= 0);
	assert_int_equal(len, 12);
	assert_memory_equal(guest_ptr(&v->g, at), "typed before", 12);
	virtio_config_read(v->dev, 0, cells, 4);
	assert_int_equal(cells[0], 132);
	assert_int_equal(cells[1], 50);
	/* A terminal of that size is no news, another one is. */
	console_resize(c, 132, 50);
	assert_int_equal(v->config_irqs, 0);
	console_resize(c, 80, 25);
	assert_int_equal(v->config_irqs, 1);
	snap_free(&s);
	console_destroy(&c);
	vdev_free(v);
}

static void test_console_refuses(void **state)
{
	struct vdev *v = vdev_make(1 << 20);
	struct console *c = console_on(v);
	struct snap s, t;

	vdev_start(v, 1, 2, 16);
	snap_device(&s, v->dev);
	console_again(v, &c);
	/* More input than there is room for; how far in a chain that there is not. */
	assert_int_equal(snap_load_with(&t, &s, v->dev, 9, CONSOLE_INPUT + 1, 2), -EINVAL);
	assert_non_null(strstr(t.err.text, "bytes of input"));
	snap_free(&t);
	console_again(v, &c);
	assert_int_equal(snap_load_with(&t, &s, v->dev, 5, 1, 4), -EINVAL);
	assert_non_null(strstr(t.err.text, "was output"));
	snap_free(&t);
	/* Farther than a chain is long: then it is done. */
	console_again(v, &c);
	told.len = 0;
	assert_int_equal(snap_load_with(&t, &s, v->dev, 4, UINT64_C(0xffffffff01), 5), 0);
	assert_int_equal(virtio_restored(v->dev, &t.err), 0);
	vdev_offer1(v, TX, vdev_alloc(v, 8), 8, false);
	virtio_kick(v->dev, TX);
	vdev_until(v, used_by(v, TX) == 0);
	assert_int_equal(told.len, 0);
	snap_free(&t);
	snap_free(&s);
	console_destroy(&c);
	vdev_free(v);
}

/* -- balloon ---------------------------------------------------------------------------------- */

enum { INFLATE, DEFLATE, STATS };

static uint64_t released;

static void release(void *ctx, void *host, uint64_t len)
{
	released += len;
}

static struct balloon *balloon_on(struct vdev *v)
{
	struct balloon_config cfg = {
		.release = release, .deflate_on_oom = true, .target = 1 << 20, .dma = &v->g.dma};
	struct balloon *b;

	assert_int_equal(balloon_create(&cfg, &b), 0);
	vdev_use(v, balloon_device(b));
	balloon_attach(b, &v->home);
	return b;
}

static void give_stats(struct vdev *v, uint64_t at, uint64_t value)
{
	uint8_t stat[10] = {BALLOON_FREE};

	memcpy(stat + 2, &value, 8);
	memcpy(guest_ptr(&v->g, at), stat, sizeof(stat));
	vdev_offer1(v, STATS, at, sizeof(stat), false);
	virtio_kick(v->dev, STATS);
}

static void test_balloon(void **state)
{
	struct vdev *v = vdev_make(1 << 20);
	struct balloon *b = balloon_on(v);
	struct balloon_state st;
	uint32_t pages = 77, pfn = GUEST_BASE / BALLOON_PAGE + 200;
	struct snap s;
	uint64_t at;

	vdev_start(v, 1 << 1 | 1 << 2, 5, 16);
	at = vdev_alloc(v, 64);
	virtio_config_write(v->dev, 4, &pages, 4);
	assert_int_equal(balloon_set_target(b, 8 << 20), 0);
	give_stats(v, at, 4711);
	assert_int_equal(used_by(v, STATS), -1); /* held until they are asked for */
	v->config_irqs = 0;
	snap_device(&s, v->dev);
	virtio_set_status(v->dev, 0);
	vdev_again(v);
	balloon_destroy(&b);
	b = balloon_on(v);
	snap_restore(&s, v->dev);
	assert_int_equal(v->config_irqs, 0);
	balloon_get_state(b, &st);
	assert_int_equal(st.target, 8 << 20);
	assert_int_equal(st.actual, 77 * BALLOON_PAGE);
	assert_int_equal(st.stats[BALLOON_FREE], 4711);
	/* Asking for them has given the buffer back, and the next one is taken. */
	assert_int_equal(used_by(v, STATS), 0);
	give_stats(v, at, 5000);
	balloon_get_state(b, &st);
	assert_int_equal(st.stats[BALLOON_FREE], 5000);
	released = 0;
	memcpy(guest_ptr(&v->g, at), &pfn, 4);
	vdev_offer1(v, INFLATE, at, 4, false);
	virtio_kick(v->dev, INFLATE);
	assert_int_equal(released, BALLOON_PAGE);
	snap_free(&s);
	balloon_destroy(&b);
	vdev_free(v);
}

/* -- entropy ---------------------------------------------------------------------------------- */

static struct virtio_device *rng_on(struct vdev *v)
{
	struct virtio_device *dev;

	assert_int_equal(rng_create(&v->g.dma, true, &dev), 0);
	dev->home = &v->home;
	vdev_use(v, dev);
	assert_int_equal(throttle_attach(dev->throttles[0], &v->home), 0);
	return dev;
}

static void test_rng(void **state)
{
	struct vdev *v = vdev_make(1 << 20);
	struct virtio_device *dev = rng_on(v);
	struct snap s;
	uint64_t at;

	vdev_start(v, 0, 1, 16);
	at = vdev_alloc(v, 64);
	/* One each 100 ms, of which one is taken and another one waits. */
	assert_int_equal(rng_set_limits(dev, OPS(10, 1)), 0);
	vdev_offer1(v, 0, at, 64, true);
	virtio_kick(dev, 0);
	vdev_until(v, used_by(v, 0) == 64);
	vdev_offer1(v, 0, at, 64, true);
	virtio_kick(dev, 0);
	assert_int_equal(used_by(v, 0), -1);
	snap_device(&s, dev);
	virtio_set_status(dev, 0);
	throttle_detach(dev->throttles[0]);
	vdev_again(v);
	rng_destroy(dev);
	dev = rng_on(v);
	assert_int_equal(virtio_load(dev, 0, &s.r, &s.err), 0);
	assert_int_equal(virtio_restored(dev, &s.err), 0);
	assert_true(throttle_on(dev->throttles[0]));
	assert_int_equal(used_by(v, 0), -1);
	vdev_until(v, used_by(v, 0) == 64);
	snap_free(&s);
	virtio_set_status(dev, 0);
	throttle_detach(dev->throttles[0]);
	rng_destroy(dev);
	vdev_free(v);
}

/* Where there is no ring no limit can be kept. */
static void test_rng_without_rings(void **state)
{
	struct vdev *v = vdev_make(1 << 20);
	struct virtio_device *dev;
	struct snap s;

	assert_int_equal(rng_create(&v->g.dma, false, &dev), 0);
	vdev_use(v, dev);
	vdev_start(v, 0, 1, 16);
	snap_device(&s, dev);
	rng_destroy(dev);
	assert_int_equal(rng_create(&v->g.dma, false, &dev), 0);
	vdev_use(v, dev);
	snap_restore(&s, dev);
	snap_free(&s);
	rng_destroy(dev);
	dev = rng_on(v);
	assert_int_equal(rng_set_limits(dev, OPS(10, 1)), 0);
	snap_device(&s, dev);
	throttle_detach(dev->throttles[0]);
	vdev_again(v);
	rng_destroy(dev);
	assert_int_equal(rng_create(&v->g.dma, false, &dev), 0);
	vdev_use(v, dev);
	assert_int_equal(virtio_load(dev, 0, &s.r, &s.err), -ENOTSUP);
	assert_non_null(strstr(s.err.text, "the limit"));
	snap_free(&s);
	rng_destroy(dev);
	vdev_free(v);
}

/* -- sockets ---------------------------------------------------------------------------------- */

/* Another device, which listens at the same place. */
static void vsock_again(struct bench *b, uint64_t cid)
{
	struct vsock_config cfg = {.cid = cid, .path = b->path, .dma = &b->v->g.dma};
	struct error err;

	virtio_set_status(b->v->dev, 0);
	halter_del_source(&b->v->home, b->vs->epoll_fd, &b->vs->handler);
	vdev_again(b->v);
	vsock_destroy(&b->vs);
	assert_int_equal(vsock_create(&cfg, &b->vs, &err), 0);
	vdev_use(b->v, vsock_device(b->vs));
	assert_int_equal(vsock_attach(b->vs, &b->v->home), 0);
}

static uint64_t offer_event(struct bench *b, uint32_t len)
{
	uint64_t at = vdev_alloc(b->v, 16);

	memset(guest_ptr(&b->v->g, at), 0xff, 16);
	vdev_offer1(b->v, VSOCK_EVENT, at, len, true);
	virtio_kick(b->v->dev, VSOCK_EVENT);
	return at;
}

static void test_vsock_connections_are_reset(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	uint32_t event;
	int fd, l, dialed;
	struct snap s;
	uint64_t at;
	char line[32];

	start(b, 32);
	at = offer_event(b, 4);
	fd = open_conn(b, &l);
	snap_device(&s, b->v->dev);
	/* Where it was saved nobody is told of anything. */
	assert_int_equal(used_by(b->v, VSOCK_EVENT), -1);
	vsock_again(b, CID);
	snap_restore(&s, b->v->dev);
	assert_int_equal(used_by(b->v, VSOCK_EVENT), 4);
	memcpy(&event, guest_ptr(&b->v->g, at), 4);
	assert_int_equal(event, VSOCK_EVENT_TRANSPORT_RESET);
	assert_true(b->v->queue_irqs[VSOCK_EVENT] > 0);
	/* Once. */
	offer_event(b, 4);
	assert_int_equal(used_by(b->v, VSOCK_EVENT), -1);
	/* Packets that still come for the old one are nobody's. */
	say_data(b, 1000, 52, "late", 4);
	expect(b, 1000, 52, VSOCK_OP_RST);
	close(fd);
	/* New ones, from both sides. */
	say(b, 1001, 52, VSOCK_OP_REQUEST);
	expect(b, 1001, 52, VSOCK_OP_RESPONSE);
	fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	dialed = dial(b);
	assert_int_equal(send(dialed, "CONNECT 70\n", 11, 0), 11);
	vdev_until(b->v, hear(b, &h, NULL));
	assert_int_equal(h.op, VSOCK_OP_REQUEST);
	assert_int_equal(h.dst_port, 70);
	say(b, 70, h.src_port, VSOCK_OP_RESPONSE);
	vdev_until(b->v, recv(dialed, line, sizeof(line), MSG_DONTWAIT) > 0);
	assert_memory_equal(line, "OK ", 3);
	close(dialed);
	close(fd);
	close_listener(b, l, 52);
	snap_free(&s);
}

/* The driver's buffer for events comes late, and there is a snapshot meanwhile. */
static void test_vsock_the_event_waits(void **state)
{
	struct bench *b = *state;
	struct snap s, t;

	start(b, 32);
	snap_device(&s, b->v->dev);
	vsock_again(b, CID + 1);
	snap_restore(&s, b->v->dev);
	assert_int_equal(((uint32_t *)b->v->dev->config)[0], CID + 1);
	snap_device(&t, b->v->dev);
	vsock_again(b, CID);
	snap_restore(&t, b->v->dev);
	offer_event(b, 16);
	assert_int_equal(used_by(b->v, VSOCK_EVENT), 4);
	snap_free(&s);
	snap_free(&t);
	/* One that is too short. */
	start(b, 32);
	snap_device(&s, b->v->dev);
	vsock_again(b, CID);
	snap_restore(&s, b->v->dev);
	offer_event(b, 3);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	snap_free(&s);
	/* A driver that begins anew has no connections to give up. */
	start(b, 32);
	offer_event(b, 4);
	assert_int_equal(used_by(b->v, VSOCK_EVENT), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_console_refuses),
		cmocka_unit_test(test_balloon),
		cmocka_unit_test(test_rng),
		cmocka_unit_test(test_rng_without_rings),
		cmocka_unit_test_setup_teardown(test_vsock_connections_are_reset, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_vsock_the_event_waits, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
