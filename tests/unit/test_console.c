/* SPDX-License-Identifier: Apache-2.0 */
/* The console device: what is written comes out, what is typed goes in, the size is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "devices/virtio/console.h"
#include "vdev.h"

enum { RX, TX };

struct bench {
	struct vdev *v;
	struct console *c;
	char out[200000];
	size_t len;
	unsigned int calls;
	_Atomic int inside;
	void (*during)(struct bench *b); /* called once, by the first output() */
	pthread_t other;
};

static void output(void *ctx, const void *data, size_t len)
{
	struct bench *b = ctx;
	void (*during)(struct bench * b) = b->during;

	assert_int_equal(atomic_fetch_add(&b->inside, 1), 0);
	b->during = NULL;
	if (during)
		during(b);
	assert_true(len > 0);
	assert_true(b->len + len <= sizeof(b->out));
	memcpy(b->out + b->len, data, len);
	b->len += len;
	b->calls++;
	atomic_fetch_sub(&b->inside, 1);
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct console_config cfg = {.output = output, .output_ctx = b, .cols = 80, .rows = 25};

	b->v = vdev_make(1 << 20);
	cfg.dma = &b->v->g.dma;
	if (console_create(&cfg, &b->c) < 0)
		return -1;
	vdev_use(b->v, console_device(b->c));
	console_attach(b->c, &b->v->home);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	console_destroy(&b->c);
	vdev_free(b->v);
	free(b);
	return 0;
}

static long used(struct bench *b, unsigned int queue)
{
	uint32_t id, len;

	return driver_used(&b->v->q[queue], &id, &len) ? (long)len : -1;
}

static void what_is_written_comes_out(void **state)
{
	struct bench *b = *state;
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 100);
	memcpy(guest_ptr(&b->v->g, at), "one two three", 13);
	vdev_offer(b->v, TX, (uint64_t[]){at, at + 4, at + 8}, (uint32_t[]){4, 4, 5}, 3, 3);
	virtio_kick(b->v->dev, TX);
	assert_int_equal(used(b, TX), 0);
	assert_int_equal(b->len, 13);
	assert_memory_equal(b->out, "one two three", 13);
}

/* A guest with much to say does not hold its own thread for ever. */
static void long_output_takes_turns(void **state)
{
	struct bench *b = *state;
	const uint32_t size = 150000;
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, size);
	for (uint32_t i = 0; i < size; i++)
		((uint8_t *)guest_ptr(&b->v->g, at))[i] = (uint8_t)(i % 253);
	vdev_offer(b->v, TX, (uint64_t[]){at, at + 50000}, (uint32_t[]){50000, size - 50000}, 2, 2);
	virtio_kick(b->v->dev, TX);
	assert_true(b->len > 0 && b->len < size);
	assert_int_equal(used(b, TX), -1);
	vdev_until(b->v, used(b, TX) == 0);
	assert_int_equal(b->len, size);
	for (uint32_t i = 0; i < size; i++)
		assert_int_equal((uint8_t)b->out[i], i % 253);
	/* A reset in the middle of it. */
	b->len = 0;
	vdev_offer1(b->v, TX, at, size, false);
	virtio_kick(b->v->dev, TX);
	vdev_start(b->v, 0, 2, 16);
	b->len = 0;
	for (int i = 0; i < 5; i++)
		vdev_turn(b->v);
	assert_int_equal(b->len, 0);
}

static void what_is_typed_goes_in(void **state)
{
	struct bench *b = *state;
	uint64_t at;

	assert_int_equal(console_input(b->c, "x", 1), 0); /* nobody is there */
	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 64);
	assert_int_equal(console_input(b->c, "hello", 5), 5);
	vdev_turn(b->v);
	/* It waits for buffers, and takes as many as it needs. */
	vdev_offer1(b->v, RX, at, 3, true);
	vdev_offer1(b->v, RX, at + 16, 3, true);
	virtio_kick(b->v->dev, RX);
	assert_int_equal(used(b, RX), 3);
	assert_int_equal(used(b, RX), 2);
	assert_memory_equal(guest_ptr(&b->v->g, at), "hel", 3);
	assert_memory_equal(guest_ptr(&b->v->g, at + 16), "lo", 2);
	vdev_offer1(b->v, RX, at, 16, true);
	virtio_kick(b->v->dev, RX);
	assert_int_equal(used(b, RX), -1);
	assert_int_equal(console_input(b->c, "again", 5), 5);
	vdev_until(b->v, used(b, RX) == 5);
}

static void input_is_bounded_and_in_order(void **state)
{
	struct bench *b = *state;
	uint8_t many[3000];
	size_t given = 0, taken = 0;
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 1024);
	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < sizeof(many); i++)
			many[i] = (uint8_t)((given + i) % 251);
		given += console_input(b->c, many, sizeof(many));
		assert_true(given - taken <= CONSOLE_INPUT);
		for (int i = 0; i < 2; i++) {
			long n;

			vdev_offer1(b->v, RX, at, 1000, true);
			virtio_kick(b->v->dev, RX);
			n = used(b, RX);
			assert_true(n > 0);
			for (long k = 0; k < n; k++)
				assert_int_equal(((uint8_t *)guest_ptr(&b->v->g, at))[k],
						 (taken + (size_t)k) % 251);
			taken += (size_t)n;
		}
	}
	assert_true(taken > 50000);
}

static void reset_forgets_input(void **state)
{
	struct bench *b = *state;

	vdev_start(b->v, 0, 2, 16);
	assert_int_equal(console_input(b->c, "secret", 6), 6);
	vdev_start(b->v, 0, 2, 16);
	vdev_offer1(b->v, RX, vdev_alloc(b->v, 16), 16, true);
	virtio_kick(b->v->dev, RX);
	vdev_turn(b->v);
	assert_int_equal(used(b, RX), -1);
}

static void the_size_is_told(void **state)
{
	struct bench *b = *state;
	uint16_t size[2];
	uint32_t generation;

	vdev_start(b->v, 1, 2, 16);
	virtio_config_read(b->v->dev, 0, size, 4);
	assert_int_equal(size[0], 80);
	assert_int_equal(size[1], 25);
	generation = atomic_load(&b->v->dev->generation);
	console_resize(b->c, 132, 50);
	assert_int_equal(b->v->config_irqs, 1);
	assert_true(atomic_load(&b->v->dev->generation) != generation);
	console_resize(b->c, 132, 50);
	assert_int_equal(b->v->config_irqs, 1);
	virtio_config_read(b->v->dev, 0, size, 4);
	assert_int_equal(size[0], 132);
	assert_int_equal(size[1], 50);
	/* Which is not for the driver to say. */
	virtio_config_write(b->v->dev, 0, "\1\1\1\1", 4);
	virtio_config_read(b->v->dev, 0, size, 4);
	assert_int_equal(size[0], 132);
}

static void a_last_word(void **state)
{
	struct bench *b = *state;

	/* Also the first, of a driver that has not begun. */
	virtio_config_write(b->v->dev, 8, "?\0\0\0", 4);
	vdev_start(b->v, 1u << 2, 0, 16);
	virtio_config_write(b->v->dev, 8, "!\0\0\0", 4);
	assert_int_equal(b->len, 2);
	assert_memory_equal(b->out, "?!", 2);
}

/* Buffers of a byte each, more of them than are filled in one turn. */
static void small_buffers_are_filled(void **state)
{
	struct bench *b = *state;
	char many[300];
	uint64_t at;

	vdev_start(b->v, UINT64_C(1) << VIRTIO_F_EVENT_IDX, 2, 256);
	at = vdev_alloc(b->v, 1);
	for (int i = 0; i < 256; i++)
		vdev_offer1(b->v, RX, at, 1, true);
	virtio_kick(b->v->dev, RX);
	memset(many, 'x', sizeof(many));
	assert_int_equal(console_input(b->c, many, sizeof(many)), sizeof(many));
	for (int i = 0; i < 256; i++)
		vdev_until(b->v, used(b, RX) == 1);
	for (int i = 0; i < 5; i++)
		vdev_turn(b->v);
	/* The rest has not come yet: the next buffer is asked for. */
	assert_true(vdev_asks_for_kick(b->v, RX));
}

static void *write_on(void *arg)
{
	struct bench *b = arg;

	halter_set_self(&b->v->home);
	virtio_kick(b->v->dev, TX);
	halter_set_self(NULL);
	return NULL;
}

static void start_writing(struct bench *b)
{
	assert_int_equal(pthread_create(&b->other, NULL, write_on, b), 0);
	/* Time for it to come as far as it does. */
	poll(NULL, 0, 20);
}

/* A last word in the middle of another processor's output. */
static void output_is_one_at_a_time(void **state)
{
	struct bench *b = *state;

	vdev_start(b->v, 1u << 2, 2, 16);
	vdev_offer1(b->v, TX, vdev_alloc(b->v, 5), 5, false);
	b->during = start_writing;
	virtio_config_write(b->v->dev, 8, "!\0\0\0", 4);
	pthread_join(b->other, NULL);
	assert_int_equal(b->len, 6);
}

static void call_the_device(struct bench *b)
{
	uint16_t size[2];

	console_resize(b->c, 132, 50);
	virtio_config_read(b->v->dev, 0, size, 4);
	assert_int_equal(size[0], 132);
	assert_int_equal(console_input(b->c, "x", 1), 1);
	virtio_kick(b->v->dev, TX); /* finds that somebody is at it */
}

/* Output may take its time: nothing of the device is locked meanwhile. */
static void output_holds_nothing(void **state)
{
	struct bench *b = *state;

	vdev_start(b->v, 1u << 2, 2, 16);
	b->during = call_the_device;
	virtio_config_write(b->v->dev, 8, "!\0\0\0", 4);
	b->during = call_the_device;
	vdev_offer1(b->v, TX, vdev_alloc(b->v, 5), 5, false);
	virtio_kick(b->v->dev, TX);
	assert_int_equal(used(b, TX), 0);
	assert_int_equal(b->len, 6);
}

static void start_again(struct bench *b)
{
	vdev_start(b->v, 0, 2, 16);
}

/* The driver goes, and another comes, in the middle of a long output: what belongs to the old one
 * is not given to the new one. */
static void reset_during_output(void **state)
{
	struct bench *b = *state;
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	vdev_offer1(b->v, TX, vdev_alloc(b->v, 20000), 20000, false);
	b->during = start_again;
	virtio_kick(b->v->dev, TX);
	for (int i = 0; i < 5; i++)
		vdev_turn(b->v);
	assert_true(b->len < 20000);
	assert_int_equal(used(b, TX), -1);
	b->len = 0;
	at = vdev_alloc(b->v, 3);
	memcpy(guest_ptr(&b->v->g, at), "new", 3);
	vdev_offer1(b->v, TX, at, 3, false);
	virtio_kick(b->v->dev, TX);
	assert_int_equal(used(b, TX), 0);
	assert_int_equal(b->len, 3);
	assert_memory_equal(b->out, "new", 3);
}

static void malformed_queues_need_a_reset(void **state)
{
	struct bench *b = *state;

	for (unsigned int queue = 0; queue < 2; queue++) {
		vdev_start(b->v, 0, 2, 16);
		console_input(b->c, "x", 1);
		vdev_offer1(b->v, queue, UINT64_C(1) << 40, 5, queue == RX);
		virtio_kick(b->v->dev, queue);
		assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_is_written_comes_out),
		T(long_output_takes_turns),
		T(what_is_typed_goes_in),
		T(input_is_bounded_and_in_order),
		T(reset_forgets_input),
		T(the_size_is_told),
		T(a_last_word),
		T(small_buffers_are_filled),
		T(output_is_one_at_a_time),
		T(output_holds_nothing),
		T(reset_during_output),
		T(malformed_queues_need_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
