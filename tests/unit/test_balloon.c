/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon: what is given away is released, exactly that, and what the guest says is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "devices/virtio/balloon.h"
#include "vdev.h"

enum { INFLATE, DEFLATE, STATS, HINT, REPORT };

#define PAGES 256u
#define ALL   (1u << 1 | 1u << 2 | 1u << 3 | 1u << 5)

struct bench {
	struct vdev *v;
	struct balloon *b;
	bool released[PAGES];
	unsigned int calls;
};

static void release(void *ctx, void *host, uint64_t len)
{
	struct bench *b = ctx;
	uint64_t first = (uint64_t)((uint8_t *)host - b->v->g.mem) / BALLOON_PAGE;

	assert_int_equal(len % BALLOON_PAGE, 0);
	assert_true((uint8_t *)host >= b->v->g.mem);
	for (uint64_t i = first; i < first + len / BALLOON_PAGE; i++) {
		assert_true(i < PAGES);
		b->released[i] = true;
	}
	b->calls++;
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct balloon_config cfg = {
		.release = release, .release_ctx = b, .deflate_on_oom = true, .target = 1 << 20};

	b->v = vdev_make(PAGES * BALLOON_PAGE);
	cfg.dma = &b->v->g.dma;
	if (balloon_create(&cfg, &b->b) < 0)
		return -1;
	vdev_use(b->v, balloon_device(b->b));
	balloon_attach(b->b, &b->v->home);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	balloon_destroy(&b->b);
	vdev_free(b->v);
	free(b);
	return 0;
}

static long used(struct bench *b, unsigned int queue)
{
	uint32_t id, len;

	return driver_used(&b->v->q[queue], &id, &len) ? (long)len : -1;
}

/* Page @i of guest memory, by its number. */
static uint32_t pfn(unsigned int i)
{
	return (uint32_t)(GUEST_BASE / BALLOON_PAGE + i);
}

static unsigned int count(struct bench *b)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < PAGES; i++)
		n += b->released[i];
	return n;
}

static void give(struct bench *b, const uint32_t *pfns, unsigned int n)
{
	uint64_t at = vdev_alloc(b->v, 4 * n);

	memcpy(guest_ptr(&b->v->g, at), pfns, 4 * n);
	vdev_offer1(b->v, INFLATE, at, 4 * n, false);
	virtio_kick(b->v->dev, INFLATE);
	assert_int_equal(used(b, INFLATE), 0);
}

static void pages_that_are_given_are_released(void **state)
{
	struct bench *b = *state;
	const uint32_t pfns[] = {pfn(100), pfn(101), pfn(102), pfn(99),
				 pfn(120), pfn(200), pfn(199), pfn(198)};
	struct balloon_state s;

	vdev_start(b->v, ALL, 5, 16);
	give(b, pfns, 8);
	assert_int_equal(count(b), 8);
	for (unsigned int i = 0; i < 8; i++)
		assert_true(b->released[pfns[i] - pfn(0)]);
	assert_int_equal(b->calls, 3); /* neighbours in one */
	balloon_get_state(b->b, &s);
	assert_int_equal(s.released, 8 * BALLOON_PAGE);
	/* Taking them back is nobody's work. */
	vdev_offer1(b->v, DEFLATE, vdev_alloc(b->v, 32), 32, false);
	virtio_kick(b->v->dev, DEFLATE);
	assert_int_equal(used(b, DEFLATE), 0);
	assert_int_equal(b->calls, 3);
}

static void pages_that_are_none_are_ignored(void **state)
{
	struct bench *b = *state;
	const uint32_t pfns[] = {0, pfn(0) - 1, pfn(PAGES), UINT32_MAX, UINT32_MAX - 1, pfn(50)};

	vdev_start(b->v, ALL, 5, 16);
	give(b, pfns, 6);
	assert_int_equal(count(b), 1);
	assert_true(b->released[50]);
	assert_true(atomic_load(&b->v->dev->faults) > 0);
	/* A list that ends within a number. */
	vdev_offer1(b->v, INFLATE, vdev_alloc(b->v, 4), 3, false);
	virtio_kick(b->v->dev, INFLATE);
	assert_int_equal(used(b, INFLATE), 0);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

static void a_long_list_is_taken_whole(void **state)
{
	struct bench *b = *state;
	uint32_t pfns[600];

	vdev_start(b->v, ALL, 5, 16);
	for (unsigned int i = 0; i < 600; i++)
		pfns[i] = pfn(100 + i / 6);
	give(b, pfns, 600);
	assert_int_equal(count(b), 100);
}

static void free_pages_are_reported(void **state)
{
	struct bench *b = *state;
	struct balloon_state s;

	vdev_start(b->v, ALL, 5, 16);
	vdev_offer(b->v, REPORT,
		   (uint64_t[]){GUEST_BASE + 64 * BALLOON_PAGE, GUEST_BASE + 128 * BALLOON_PAGE},
		   (uint32_t[]){8 * BALLOON_PAGE, 4 * BALLOON_PAGE}, 2, 0);
	virtio_kick(b->v->dev, REPORT);
	assert_int_equal(used(b, REPORT), 0);
	assert_int_equal(count(b), 12);
	balloon_get_state(b->b, &s);
	assert_int_equal(s.reported, 12 * BALLOON_PAGE);
	/* Parts of pages stay. */
	vdev_offer(b->v, REPORT, (uint64_t[]){GUEST_BASE + 200 * BALLOON_PAGE + 16},
		   (uint32_t[]){BALLOON_PAGE}, 1, 0);
	vdev_offer(b->v, REPORT, (uint64_t[]){GUEST_BASE + 210 * BALLOON_PAGE},
		   (uint32_t[]){BALLOON_PAGE - 1}, 1, 0);
	virtio_kick(b->v->dev, REPORT);
	assert_int_equal(used(b, REPORT), 0);
	assert_int_equal(used(b, REPORT), 0);
	assert_int_equal(count(b), 12);
}

/* Drivers that number their queues without gaps report on the fourth. */
static void reports_without_hints(void **state)
{
	struct bench *b = *state;

	vdev_start(b->v, 1u << 1 | 1u << 5, 4, 16);
	vdev_offer1(b->v, HINT, GUEST_BASE + 64 * BALLOON_PAGE, BALLOON_PAGE, true);
	virtio_kick(b->v->dev, HINT);
	assert_int_equal(used(b, HINT), 0);
	assert_int_equal(count(b), 1);
	vdev_start(b->v, ALL, 5, 16);
	vdev_offer1(b->v, HINT, GUEST_BASE + 65 * BALLOON_PAGE, BALLOON_PAGE, true);
	virtio_kick(b->v->dev, HINT);
	assert_int_equal(used(b, HINT), 0);
	assert_int_equal(count(b), 1);
}

static void the_size_is_agreed_on(void **state)
{
	struct bench *b = *state;
	const uint8_t none[8] = {0};
	struct balloon_state s;
	uint8_t hint[8];
	uint32_t pages;

	vdev_start(b->v, ALL, 5, 16);
	virtio_config_read(b->v->dev, 0, &pages, 4);
	assert_int_equal(pages, 256);
	assert_int_equal(balloon_set_target(b->b, 4096 * 3), 0);
	assert_int_equal(b->v->config_irqs, 1);
	virtio_config_read(b->v->dev, 0, &pages, 4);
	assert_int_equal(pages, 3);
	assert_int_equal(balloon_set_target(b->b, 4096 * 3), 0);
	assert_int_equal(b->v->config_irqs, 1);
	assert_int_equal(balloon_set_target(b->b, 4097), -EINVAL);
	assert_int_equal(balloon_set_target(b->b, UINT64_C(1) << 50), -EINVAL);
	pages = 2;
	virtio_config_write(b->v->dev, 4, &pages, 4);
	pages = 77;
	virtio_config_write(b->v->dev, 0, &pages, 4);
	virtio_config_write(b->v->dev, 5, &pages, 4);
	virtio_config_write(b->v->dev, 8, &pages, 4);
	virtio_config_write(b->v->dev, 9, &pages, 4);
	virtio_config_read(b->v->dev, 8, hint, 8);
	assert_memory_equal(hint, none, 8);
	balloon_get_state(b->b, &s);
	assert_int_equal(s.target, 4096 * 3);
	assert_int_equal(s.actual, 4096 * 2);
	/* Byte by byte, as some drivers do. */
	pages = 0x10203;
	for (uint32_t i = 0; i < 4; i++)
		virtio_config_write(b->v->dev, 4 + i, (const char *)&pages + i, 1);
	balloon_get_state(b->b, &s);
	assert_int_equal(s.actual, UINT64_C(4096) * 0x10203);
	/* The next driver begins with none. */
	virtio_set_status(b->v->dev, 0);
	balloon_get_state(b->b, &s);
	assert_int_equal(s.actual, 0);
	assert_int_equal(s.target, 4096 * 3);
}

static void holds(struct bench *b, uint32_t pages)
{
	uint32_t asked;

	virtio_config_read(b->v->dev, 0, &asked, 4);
	virtio_config_write(b->v->dev, 4, &pages, 4);
}

/* If the balloon has less than was asked for, and less than before, pages were taken back. */
static void want_of_memory_is_told(void **state)
{
	struct bench *b = *state;
	unsigned int *told = &b->v->told[VIRTIO_EVENT_NO_MEMORY];
	uint32_t pages = 30;

	vdev_start(b->v, ALL, 5, 16);
	assert_int_equal(balloon_set_target(b->b, 100 * BALLOON_PAGE), 0);
	for (uint32_t n = 20; n <= 100; n += 20)
		holds(b, n);
	assert_int_equal(*told, 0);
	holds(b, 80);
	assert_int_equal(*told, 1);
	holds(b, 60);
	assert_int_equal(*told, 1); /* it is known */
	holds(b, 100);
	holds(b, 99);
	assert_int_equal(*told, 2);
	/* Pages that the host wants back are not meant, and nor are steps on the way there. */
	assert_int_equal(balloon_set_target(b->b, 10 * BALLOON_PAGE), 0);
	for (uint32_t n = 70; n > 10; n -= 20)
		holds(b, n);
	assert_int_equal(balloon_set_target(b->b, 50 * BALLOON_PAGE), 0);
	holds(b, 40);
	assert_int_equal(balloon_set_target(b->b, 30 * BALLOON_PAGE), 0);
	holds(b, 40);
	assert_int_equal(balloon_set_target(b->b, 50 * BALLOON_PAGE), 0);
	virtio_config_write(b->v->dev, 4, &pages, 4); /* it has not read that yet */
	assert_int_equal(*told, 2);
	holds(b, 5);
	assert_int_equal(*told, 3);
	/* A driver that did not agree to take any. */
	vdev_start(b->v, ALL & ~4u, 5, 16);
	holds(b, 50);
	holds(b, 5);
	assert_int_equal(*told, 3);
}

static void put_stat(uint8_t *p, uint16_t tag, uint64_t value)
{
	memcpy(p, &tag, 2);
	memcpy(p + 2, &value, 8);
}

static void statistics_are_asked_for(void **state)
{
	struct bench *b = *state;
	struct balloon_state s;
	uint64_t at;
	uint8_t *p;

	vdev_start(b->v, ALL, 5, 16);
	balloon_get_state(b->b, &s);
	assert_true(s.stats[BALLOON_FREE] == UINT64_MAX);
	at = vdev_alloc(b->v, 40);
	p = guest_ptr(&b->v->g, at);
	put_stat(p, BALLOON_FREE, 12345);
	put_stat(p + 10, BALLOON_TOTAL, 99999);
	put_stat(p + 20, 5000, 1); /* a tag of the future */
	vdev_offer1(b->v, STATS, at, 33, false);
	virtio_kick(b->v->dev, STATS);
	assert_int_equal(used(b, STATS), -1); /* kept until it is asked for */
	balloon_get_state(b->b, &s);
	assert_int_equal(s.stats[BALLOON_FREE], 12345);
	assert_int_equal(s.stats[BALLOON_TOTAL], 99999);
	assert_true(s.stats[BALLOON_CACHES] == UINT64_MAX);
	assert_int_equal(used(b, STATS), 0);
	balloon_get_state(b->b, &s); /* asked for already */
	assert_int_equal(used(b, STATS), -1);
	put_stat(p, BALLOON_FREE, 54321);
	vdev_offer1(b->v, STATS, at, 30, false);
	virtio_kick(b->v->dev, STATS);
	balloon_get_state(b->b, &s);
	assert_int_equal(s.stats[BALLOON_FREE], 54321);
	/* A driver that goes takes its buffer along. */
	vdev_offer1(b->v, STATS, at, 30, false);
	virtio_kick(b->v->dev, STATS);
	virtio_set_status(b->v->dev, 0);
	balloon_get_state(b->b, &s);
	assert_true(s.stats[BALLOON_FREE] == UINT64_MAX);
}

static void killed_programs_are_told(void **state)
{
	static const struct {
		uint64_t kills;
		unsigned int told;
	} steps[] = {{0, 0}, {2, 1}, {2, 1}, {3, 2}, {0, 2}, {1, 3}};
	struct bench *b = *state;
	struct balloon_state s;
	uint64_t at;

	vdev_start(b->v, ALL, 5, 16);
	at = vdev_alloc(b->v, 10);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		put_stat(guest_ptr(&b->v->g, at), 10, steps[i].kills);
		vdev_offer1(b->v, STATS, at, 10, false);
		virtio_kick(b->v->dev, STATS);
		balloon_get_state(b->b, &s);
		assert_int_equal(used(b, STATS), 0);
		assert_int_equal(b->v->told[VIRTIO_EVENT_NO_MEMORY], steps[i].told);
	}
}

/* With the event index a driver kicks only where it was asked to. */
static void statistics_are_asked_for_again(void **state)
{
	struct bench *b = *state;
	struct balloon_state s;
	uint64_t at;

	vdev_start(b->v, ALL | UINT64_C(1) << VIRTIO_F_EVENT_IDX, 5, 16);
	at = vdev_alloc(b->v, 10);
	for (uint64_t i = 1; i < 5; i++) {
		put_stat(guest_ptr(&b->v->g, at), BALLOON_FREE, i);
		assert_true(vdev_asks_for_kick(b->v, STATS));
		vdev_offer1(b->v, STATS, at, 10, false);
		virtio_kick(b->v->dev, STATS);
		balloon_get_state(b->b, &s);
		assert_int_equal(s.stats[BALLOON_FREE], i);
		assert_int_equal(used(b, STATS), 0);
	}
}

/* More buffers than the one that is kept: nobody is kept busy by them. */
static void further_statistics_wait(void **state)
{
	struct bench *b = *state;
	struct balloon_state s;
	uint64_t at;

	vdev_start(b->v, ALL, 5, 16);
	at = vdev_alloc(b->v, 10);
	for (int i = 0; i < 3; i++) {
		put_stat(guest_ptr(&b->v->g, at), BALLOON_FREE, 7);
		vdev_offer1(b->v, STATS, at, 10, false);
		virtio_kick(b->v->dev, STATS);
	}
	for (int i = 0; i < 3; i++) {
		vdev_turn(b->v);
		assert_false(halter_pending(&b->v->home));
		assert_int_equal(used(b, STATS), -1);
		balloon_get_state(b->b, &s);
		assert_int_equal(used(b, STATS), 0);
	}
}

/* A guest with much to give does not hold its own thread for ever. */
static void long_lists_take_turns(void **state)
{
	struct bench *b = *state;
	const uint32_t len = 60 * BALLOON_PAGE;
	unsigned int calls;
	uint64_t at;

	vdev_start(b->v, ALL, 5, 64);
	at = vdev_alloc(b->v, len);
	for (uint32_t i = 0; i < len; i += 4) {
		uint32_t page = pfn(200 + (i / 4 & 1) * 2);

		memcpy(guest_ptr(&b->v->g, at + i), &page, 4);
	}
	for (int i = 0; i < 8; i++)
		vdev_offer1(b->v, INFLATE, at, len, false);
	virtio_kick(b->v->dev, INFLATE);
	calls = b->calls;
	assert_true(calls < 2 * len / 4 + (64 << 10));
	for (int i = 0; i < 8; i++)
		vdev_until(b->v, used(b, INFLATE) == 0);
	assert_int_equal(b->calls, 8 * len / 4);
}

static void malformed_queues_need_a_reset(void **state)
{
	struct bench *b = *state;

	for (unsigned int queue = 0; queue < 5; queue++) {
		vdev_start(b->v, ALL, 5, 16);
		vdev_offer1(b->v, queue, UINT64_C(1) << 40, 4096, queue >= HINT);
		virtio_kick(b->v->dev, queue);
		assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
		/* Once each time, whatever comes then. */
		virtio_kick(b->v->dev, queue);
		assert_int_equal(b->v->told[VIRTIO_EVENT_NEEDS_RESET], queue + 1);
	}
	assert_int_equal(b->calls, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(pages_that_are_given_are_released),
		T(pages_that_are_none_are_ignored),
		T(a_long_list_is_taken_whole),
		T(free_pages_are_reported),
		T(reports_without_hints),
		T(the_size_is_agreed_on),
		T(want_of_memory_is_told),
		T(statistics_are_asked_for),
		T(killed_programs_are_told),
		T(statistics_are_asked_for_again),
		T(further_statistics_wait),
		T(long_lists_take_turns),
		T(malformed_queues_need_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
