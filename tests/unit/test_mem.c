/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is plugged: what is unplugged is given back, exactly that, and no more is plugged than
 * is asked for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "devices/virtio/mem.h"
#include "snap.h"
#include "vdev.h"

enum { PLUG, UNPLUG, UNPLUG_ALL, STATE };
enum { ACK, NACK, BUSY, ERROR };
enum { PLUGGED, UNPLUGGED, MIXED };

#define BLOCK  (UINT64_C(2) << 20)
#define BLOCKS 200u
#define START  (UINT64_C(5) << 30)

struct bench {
	struct vdev *v;
	uint64_t offset, len; /* of the last release */
	unsigned int releases;
	uint16_t state; /* of the last answer */
};

static void release(void *ctx, uint64_t offset, uint64_t len)
{
	struct bench *b = ctx;

	assert_true(len && len <= BLOCKS * BLOCK && offset <= BLOCKS * BLOCK - len);
	b->offset = offset;
	b->len = len;
	b->releases++;
}

static struct mem_config config(struct bench *b)
{
	return (struct mem_config){.start = START,
				   .size = BLOCKS * BLOCK,
				   .block = BLOCK,
				   .requested = 100 * BLOCK,
				   .release = release,
				   .release_ctx = b,
				   .dma = &b->v->g.dma};
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct virtio_device *dev;
	struct mem_config cfg;

	b->v = vdev_make(1 << 20);
	cfg = config(b);
	if (mem_create(&cfg, &dev) < 0)
		return -1;
	dev->home = &b->v->home;
	vdev_use(b->v, dev);
	vdev_start(b->v, 0, 1, 16);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	virtio_set_status(b->v->dev, 0);
	mem_destroy(b->v->dev);
	vdev_free(b->v);
	free(b);
	return 0;
}

static uint16_t ask_at(struct bench *b, uint16_t type, uint64_t addr, uint16_t blocks)
{
	uint64_t at = vdev_alloc(b->v, 24), into = vdev_alloc(b->v, 10);
	uint8_t request[24] = {0}, response[10];
	uint32_t id, len;

	memcpy(request, &type, 2);
	memcpy(request + 8, &addr, 8);
	memcpy(request + 16, &blocks, 2);
	memcpy(guest_ptr(&b->v->g, at), request, sizeof(request));
	/* In pieces, as a driver may. */
	vdev_offer(b->v, 0, (uint64_t[]){at, at + 9, into, into + 3}, (uint32_t[]){9, 15, 3, 7}, 4,
		   2);
	virtio_kick(b->v->dev, 0);
	assert_true(driver_used(&b->v->q[0], &id, &len));
	assert_int_equal(len, 10);
	memcpy(response, guest_ptr(&b->v->g, into), sizeof(response));
	memcpy(&type, response, 2);
	memcpy(&b->state, response + 8, 2);
	return type;
}

static uint16_t ask(struct bench *b, uint16_t type, uint64_t first, uint16_t blocks)
{
	return ask_at(b, type, START + first * BLOCK, blocks);
}

static uint64_t plugged(struct bench *b)
{
	struct mem_state s;
	uint64_t told;

	mem_get_state(b->v->dev, &s);
	virtio_config_read(b->v->dev, 40, &told, 8);
	assert_int_equal(told, s.plugged);
	assert_int_equal(told % BLOCK, 0);
	return told / BLOCK;
}

static void the_guest_is_told_of_the_region(void **state)
{
	struct bench *b = *state;
	const uint64_t want[7] = {BLOCK, 0, START, BLOCKS * BLOCK, BLOCKS * BLOCK, 0, 100 * BLOCK};
	uint64_t space[7];

	virtio_config_read(b->v->dev, 0, space, sizeof(space));
	assert_memory_equal(space, want, sizeof(space));
}

static void what_is_unplugged_is_given_back(void **state)
{
	struct bench *b = *state;

	assert_int_equal(ask(b, PLUG, 60, 10), ACK);
	assert_int_equal(plugged(b), 10);
	assert_int_equal(b->releases, 0);
	assert_int_equal(ask(b, UNPLUG, 62, 7), ACK);
	assert_int_equal(plugged(b), 3);
	assert_int_equal(b->releases, 1);
	assert_int_equal(b->offset, 62 * BLOCK);
	assert_int_equal(b->len, 7 * BLOCK);
	assert_int_equal(ask(b, STATE, 60, 2), ACK);
	assert_int_equal(b->state, PLUGGED);
	assert_int_equal(ask(b, STATE, 62, 7), ACK);
	assert_int_equal(b->state, UNPLUGGED);
	assert_int_equal(ask(b, STATE, 61, 2), ACK);
	assert_int_equal(b->state, MIXED);
	assert_int_equal(ask(b, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(plugged(b), 0);
	assert_int_equal(b->len, BLOCKS * BLOCK);
}

static void no_more_is_plugged_than_is_asked_for(void **state)
{
	struct bench *b = *state;

	assert_int_equal(ask(b, PLUG, 0, 101), NACK);
	assert_int_equal(ask(b, PLUG, 0, 100), ACK);
	assert_int_equal(ask(b, PLUG, 150, 1), NACK);
	assert_int_equal(mem_request(b->v->dev, 101 * BLOCK), 0);
	assert_int_equal(b->v->config_irqs, 1);
	assert_int_equal(ask(b, PLUG, 150, 1), ACK);
	/* Less than there is: nothing is taken, the guest is asked. */
	assert_int_equal(mem_request(b->v->dev, 0), 0);
	assert_int_equal(b->v->config_irqs, 2);
	assert_int_equal(mem_request(b->v->dev, 0), 0);
	assert_int_equal(b->v->config_irqs, 2);
	assert_int_equal(plugged(b), 101);
	assert_int_equal(ask(b, PLUG, 151, 1), NACK);
	assert_int_equal(ask(b, UNPLUG, 0, 100), ACK);
	assert_int_equal(mem_request(b->v->dev, BLOCK + 1), -EINVAL);
	assert_int_equal(mem_request(b->v->dev, (BLOCKS + 1) * BLOCK), -EINVAL);
	assert_int_equal(mem_request(b->v->dev, BLOCKS * BLOCK), 0);
}

static void requests_that_cannot_be_are_errors(void **state)
{
	const struct {
		uint64_t addr;
		uint16_t type, blocks;
	} wrong[] = {
		{START, PLUG, 0},
		{START + 1, PLUG, 1},
		{START + 4096, STATE, 1},
		{START - BLOCK, PLUG, 1},
		{0, PLUG, 1},
		{UINT64_MAX - BLOCK + 1, PLUG, 2},
		{START + BLOCKS * BLOCK, STATE, 1},
		{START + (BLOCKS - 1) * BLOCK, PLUG, 2},
		{START, STATE, BLOCKS + 1},
		{START, UNPLUG, 1},	      /* it is not plugged */
		{START + 9 * BLOCK, PLUG, 2}, /* the second is */
		{START + 9 * BLOCK, UNPLUG, 2},
		{START, 4, 1},
		{START, UINT16_MAX, 1},
	};
	struct bench *b = *state;

	assert_int_equal(ask(b, PLUG, 10, 1), ACK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(ask_at(b, wrong[i].type, wrong[i].addr, wrong[i].blocks), ERROR);
	assert_int_equal(plugged(b), 1);
	assert_int_equal(b->releases, 0);
	assert_int_equal(atomic_load(&b->v->dev->counters.errors), 14);
	/* Without room. */
	vdev_offer(b->v, 0, (uint64_t[]){GUEST_BASE + 0x8000, GUEST_BASE + 0x9000},
		   (uint32_t[]){24, 9}, 2, 1);
	virtio_kick(b->v->dev, 0);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	vdev_start(b->v, 0, 1, 16);
	vdev_offer(b->v, 0, (uint64_t[]){GUEST_BASE + 0x8000, GUEST_BASE + 0x9000},
		   (uint32_t[]){23, 10}, 2, 1);
	virtio_kick(b->v->dev, 0);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
}

/* A driver's reset leaves what is plugged, and the VM's does not. */
static void only_the_vm_s_reset_unplugs(void **state)
{
	struct bench *b = *state;

	assert_int_equal(ask(b, PLUG, 0, 5), ACK);
	virtio_set_status(b->v->dev, 0);
	vdev_start(b->v, 2, 1, 16);
	assert_int_equal(plugged(b), 5);
	virtio_set_status(b->v->dev, 0);
	mem_restart(b->v->dev);
	assert_int_equal(plugged(b), 0);
	assert_int_equal(b->len, BLOCKS * BLOCK);
	vdev_start(b->v, 2, 1, 16);
	assert_int_equal(ask(b, PLUG, 0, 5), ACK);
}

static void one_that_cannot_be_is_refused(void **state)
{
	struct bench *b = *state;
	struct virtio_device *dev;
	struct snap s = {.err = {.text = ""}};
	struct mem_config cfg;

	for (int i = 0; i < 6; i++) {
		cfg = config(b);
		switch (i) {
		case 0:
			cfg.block = 1 << 20;
			break;
		case 1:
			cfg.block = 3 << 20;
			break;
		case 2:
			cfg.size = 0;
			break;
		case 3:
			cfg.size += 4096;
			break;
		case 4:
			cfg.requested = cfg.size + BLOCK;
			break;
		default:
			cfg.start += 4096;
		}
		assert_int_equal(mem_create(&cfg, &dev), -EINVAL);
	}
	state_writer_init(&s.w);
	assert_int_equal(virtio_save(b->v->dev, 0, &s.w, &s.err), -ENOTSUP);
	assert_non_null(strstr(s.err.text, "memory: a device of this kind cannot be saved"));
	state_writer_fini(&s.w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_guest_is_told_of_the_region),	 T(what_is_unplugged_is_given_back),
		T(no_more_is_plugged_than_is_asked_for), T(requests_that_cannot_be_are_errors),
		T(only_the_vm_s_reset_unplugs),		 T(one_that_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
