/* SPDX-License-Identifier: Apache-2.0 */
/* The split virtqueue, driven by a driver that keeps to the specification and by one that does
 * not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "virtio_fixture.h"

#define SIZE   8
#define MEMORY 0x8000
#define END    (GUEST_BASE + MEMORY)

struct fix {
	struct guest g;
	struct driver d;
	struct virtqueue q;
	struct vq_chain c;
	struct iovec iov[16];
	uint64_t data; /* free memory behind the rings */
};

static void fix_enable(struct fix *f, bool indirect, bool event_idx)
{
	f->data = driver_init(&f->d, &f->g, GUEST_BASE, SIZE);
	vq_reset(&f->q);
	f->q.size = SIZE;
	f->q.desc_gpa = f->d.desc;
	f->q.avail_gpa = f->d.avail;
	f->q.used_gpa = f->d.used;
	assert_int_equal(vq_enable(&f->q, indirect, event_idx), 0);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_init(&f->g, MEMORY);
	assert_int_equal(vq_init(&f->q, &f->g.dma), 0);
	f->c.iov = f->iov;
	f->c.max = 16;
	fix_enable(f, true, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	vq_fini(&f->q);
	guest_fini(&f->g);
	free(f);
	return 0;
}

static void *at(struct fix *f, uint64_t gpa)
{
	return guest_ptr(&f->g, gpa);
}

static void test_enable(void **state)
{
	struct fix *f = *state;
	struct virtqueue *q = &f->q;
	/* Where each ring of 8 entries just fits. */
	const uint64_t desc = END - 128, avail = END - 22, used = END - 72;
	const struct {
		uint16_t size;
		uint64_t desc, avail, used;
		int ret;
	} cases[] = {
		{8, desc, GUEST_BASE, GUEST_BASE, 0},
		{8, GUEST_BASE, avail, GUEST_BASE, 0},
		{8, GUEST_BASE, GUEST_BASE, used, 0},
		{1, GUEST_BASE, GUEST_BASE, GUEST_BASE, 0},
		{VQ_SIZE_MAX, GUEST_BASE, GUEST_BASE, GUEST_BASE, 0},
		{8, desc + 16, GUEST_BASE, GUEST_BASE, -EINVAL},
		{8, GUEST_BASE, avail + 2, GUEST_BASE, -EINVAL},
		{8, GUEST_BASE, GUEST_BASE, used + 4, -EINVAL},
		{8, GUEST_BASE + 8, GUEST_BASE, GUEST_BASE, -EINVAL},
		{8, GUEST_BASE, GUEST_BASE + 1, GUEST_BASE, -EINVAL},
		{8, GUEST_BASE, GUEST_BASE, GUEST_BASE + 2, -EINVAL},
		{8, 0, GUEST_BASE, GUEST_BASE, -EINVAL},
		{8, GUEST_BASE - 16, GUEST_BASE, GUEST_BASE, -EINVAL},
		{8, UINT64_MAX - 15, GUEST_BASE, GUEST_BASE, -EINVAL},
		{8, GUEST_BASE, UINT64_MAX - 1, GUEST_BASE, -EINVAL},
		{8, GUEST_BASE, GUEST_BASE, UINT64_MAX - 3, -EINVAL},
		{0, GUEST_BASE, GUEST_BASE, GUEST_BASE, -EINVAL},
		{3, GUEST_BASE, GUEST_BASE, GUEST_BASE, -EINVAL},
		{255, GUEST_BASE, GUEST_BASE, GUEST_BASE, -EINVAL},
		{512, GUEST_BASE, GUEST_BASE, GUEST_BASE, -EINVAL},
		{0x8000, GUEST_BASE, GUEST_BASE, GUEST_BASE, -EINVAL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		vq_reset(q);
		q->size = cases[i].size;
		q->desc_gpa = cases[i].desc;
		q->avail_gpa = cases[i].avail;
		q->used_gpa = cases[i].used;
		assert_int_equal(vq_enable(q, true, true), cases[i].ret);
		assert_int_equal(q->enabled, cases[i].ret == 0);
		if (cases[i].ret == 0) {
			assert_int_equal(vq_pop(q, &f->c), 0);
			assert_false(vq_kicks(q, true));
			assert_false(vq_publish(q));
		}
	}
	vq_reset(q);
	assert_int_equal(vq_pop(q, &f->c), 0);
	assert_false(vq_waiting(q));
}

static void test_chain(void **state)
{
	struct fix *f = *state;
	uint32_t id, len;

	assert_int_equal(vq_pop(&f->q, &f->c), 0);
	driver_desc(&f->d, 3, f->data, 16, F_NEXT, 1);
	driver_desc(&f->d, 1, f->data + 100, 20, F_NEXT, 6);
	driver_desc(&f->d, 6, END - 512, 512, F_NEXT | F_WRITE, 0);
	driver_desc(&f->d, 0, f->data + 200, 1, F_WRITE, 3);
	driver_offer(&f->d, 3);
	assert_true(vq_waiting(&f->q));
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_false(vq_waiting(&f->q));
	assert_int_equal(f->c.head, 3);
	assert_int_equal(f->c.out, 2);
	assert_int_equal(f->c.in, 2);
	assert_int_equal(f->c.out_len, 36);
	assert_int_equal(f->c.in_len, 513);
	assert_ptr_equal(f->iov[0].iov_base, at(f, f->data));
	assert_ptr_equal(f->iov[1].iov_base, at(f, f->data + 100));
	assert_ptr_equal(f->iov[2].iov_base, at(f, END - 512));
	assert_int_equal(f->iov[2].iov_len, 512);
	assert_ptr_equal(f->iov[3].iov_base, at(f, f->data + 200));
	assert_int_equal(f->q.inflight, 1);
	vq_push(&f->q, 3, 77);
	/* Not before it is published. */
	assert_false(driver_used(&f->d, &id, &len));
	assert_true(vq_publish(&f->q));
	assert_false(vq_publish(&f->q));
	assert_true(driver_used(&f->d, &id, &len));
	assert_int_equal(id, 3);
	assert_int_equal(len, 77);
	assert_int_equal(f->q.inflight, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 0);
}

/* Indices are free-running 16-bit numbers: well past their end, and pushes out of order. */
static void test_wrap(void **state)
{
	struct fix *f = *state;

	for (uint32_t round = 0; round < 3 * 65536 / 4; round++) {
		uint16_t heads[4];
		uint32_t id, len;

		for (uint16_t i = 0; i < 4; i++) {
			driver_desc(&f->d, i, f->data + i, 1, F_WRITE, 0);
			driver_offer(&f->d, i);
		}
		for (int i = 0; i < 4; i++) {
			assert_int_equal(vq_pop(&f->q, &f->c), 1);
			heads[i] = f->c.head;
		}
		assert_int_equal(vq_pop(&f->q, &f->c), 0);
		for (int i = 3; i >= 0; i--)
			vq_push(&f->q, heads[i], (uint32_t)i);
		assert_true(vq_publish(&f->q));
		for (uint32_t i = 4; i-- > 0;) {
			assert_true(driver_used(&f->d, &id, &len));
			assert_int_equal(id, i);
			assert_int_equal(len, i);
		}
		assert_false(driver_used(&f->d, &id, &len));
	}
}

static void test_unpop(void **state)
{
	struct fix *f = *state;

	driver_desc(&f->d, 0, f->data, 1, 0, 0);
	driver_desc(&f->d, 1, f->data, 2, 0, 0);
	driver_offer(&f->d, 0);
	driver_offer(&f->d, 1);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.head, 1);
	vq_unpop(&f->q);
	assert_int_equal(f->q.inflight, 1);
	assert_true(vq_waiting(&f->q));
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.head, 1);
	assert_int_equal(f->c.out_len, 2);
}

static void test_indirect(void **state)
{
	struct fix *f = *state;
	uint64_t table = f->data + 1; /* a table need not be aligned */

	table_desc(&f->g, table, 0, f->data + 1024, 10, F_NEXT, 2);
	table_desc(&f->g, table, 2, f->data + 2048, 20, F_WRITE | F_NEXT, 1);
	table_desc(&f->g, table, 1, f->data + 3072, 30, F_WRITE, 0);
	/* Plain ones may come before it; its own write flag means nothing. */
	driver_desc(&f->d, 5, f->data + 512, 5, F_NEXT, 4);
	driver_desc(&f->d, 4, table, 48, F_INDIRECT | F_WRITE, 0);
	driver_offer(&f->d, 5);
	driver_offer(&f->d, 4);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.head, 5);
	assert_int_equal(f->c.out, 2);
	assert_int_equal(f->c.in, 2);
	assert_int_equal(f->c.out_len, 15);
	assert_int_equal(f->c.in_len, 50);
	assert_ptr_equal(f->iov[3].iov_base, at(f, f->data + 3072));
	vq_push(&f->q, 5, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.out_len, 10);
}

/* ---- a driver that misbehaves ---- */

static void done(struct fix *f, uint16_t head)
{
	vq_push(&f->q, head, 0);
	vq_publish(&f->q);
}

static void expect_broken(struct fix *f)
{
	memset(f->iov, 0xff, sizeof(f->iov));
	assert_int_equal(vq_pop(&f->q, &f->c), -EPROTO);
	assert_true(f->q.broken);
	assert_non_null(f->q.fault);
	assert_int_equal(f->q.inflight, 0);
	/* For ever, whatever the driver does. */
	guest_put16(&f->g, f->d.avail + 2, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), -EPROTO);
	assert_false(vq_kicks(&f->q, true));
	assert_false(vq_publish(&f->q));
	fix_enable(f, true, false);
	assert_null(f->q.fault);
}

static void test_index(void **state)
{
	struct fix *f = *state;

	/* As many as there are places is the most; one more is not possible. */
	for (uint16_t i = 0; i < SIZE; i++) {
		driver_desc(&f->d, i, f->data, 1, 0, 0);
		driver_offer(&f->d, i);
	}
	for (uint16_t i = 0; i < SIZE; i++)
		assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(vq_pop(&f->q, &f->c), 0);
	/* Nothing is done yet, and there is another. */
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), -EPROTO);
	/* Chains in flight can be given back all the same. */
	for (uint16_t i = 0; i < SIZE; i++)
		vq_push(&f->q, i, 0);
	assert_true(vq_publish(&f->q));
	assert_int_equal(f->q.inflight, 0);
	assert_int_equal(guest_get16(&f->g, f->d.used + 2), SIZE);
	fix_enable(f, true, false);

	for (uint32_t ahead = SIZE + 1; ahead < 65536; ahead = ahead * 2 + 1) {
		driver_desc(&f->d, 0, f->data, 1, 0, 0);
		guest_put16(&f->g, f->d.avail + 2, (uint16_t)ahead);
		expect_broken(f);
	}
	/* Going back. */
	driver_desc(&f->d, 0, f->data, 1, 0, 0);
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	done(f, 0);
	guest_put16(&f->g, f->d.avail + 2, 0);
	expect_broken(f);
}

static void test_head(void **state)
{
	struct fix *f = *state;
	const uint16_t heads[] = {SIZE, SIZE + 1, 0x7fff, 0xffff};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		driver_offer(&f->d, heads[i]);
		expect_broken(f);
		driver_desc(&f->d, 0, f->data, 1, F_NEXT, heads[i]);
		driver_offer(&f->d, 0);
		expect_broken(f);
	}
	/* The same chain twice, before the first is done. */
	driver_desc(&f->d, 0, f->data, 1, 0, 0);
	driver_offer(&f->d, 0);
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(vq_pop(&f->q, &f->c), -EPROTO);
	vq_push(&f->q, 0, 0);
	/* A second time is nothing. */
	vq_push(&f->q, 0, 0);
	assert_int_equal(f->q.inflight, 0);
	assert_int_equal(f->q.next_used, 1);
}

static void test_loop(void **state)
{
	struct fix *f = *state;

	f->c.max = 16;
	driver_desc(&f->d, 0, f->data, 1, F_NEXT, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
	driver_desc(&f->d, 0, f->data, 1, F_NEXT, 1);
	driver_desc(&f->d, 1, f->data, 1, F_NEXT, 2);
	driver_desc(&f->d, 2, f->data, 1, F_NEXT, 1);
	driver_offer(&f->d, 0);
	expect_broken(f);
	/* All there are, in a line, is no loop. */
	for (uint16_t i = 0; i < SIZE; i++)
		driver_desc(&f->d, i, f->data, 1, i < SIZE - 1 ? F_NEXT : 0, (uint16_t)(i + 1));
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.out, SIZE);
	done(f, 0);
	/* In an indirect table. */
	table_desc(&f->g, f->data, 0, f->data, 1, F_NEXT, 1);
	table_desc(&f->g, f->data, 1, f->data, 1, F_NEXT, 0);
	driver_desc(&f->d, 0, f->data, 32, F_INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
}

static void test_too_long(void **state)
{
	struct fix *f = *state;

	f->c.max = 4;
	for (uint16_t i = 0; i < 5; i++)
		driver_desc(&f->d, i, f->data, 1, i < 3 ? F_NEXT : 0, (uint16_t)(i + 1));
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.out, 4);
	done(f, 0);
	driver_desc(&f->d, 3, f->data, 1, F_NEXT, 4);
	driver_offer(&f->d, 0);
	expect_broken(f);
}

static void test_buffers(void **state)
{
	struct fix *f = *state;
	const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{0, 1},
		{GUEST_BASE - 1, 1},
		{GUEST_BASE - 1, 2},
		{END, 1},
		{END - 1, 2},
		{GUEST_BASE, MEMORY + 1},
		{GUEST_BASE, UINT32_MAX},
		{UINT64_MAX, 1},
		{UINT64_MAX, UINT32_MAX},
		{UINT64_MAX - 0xffff, 0x20000},
		{(uint64_t)1 << 63, 4096},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		driver_desc(&f->d, 0, bad[i].addr, bad[i].len, 0, 0);
		driver_offer(&f->d, 0);
		expect_broken(f);
		driver_desc(&f->d, 0, f->data, 1, F_NEXT, 1);
		driver_desc(&f->d, 1, bad[i].addr, bad[i].len, F_WRITE, 0);
		driver_offer(&f->d, 0);
		expect_broken(f);
		table_desc(&f->g, f->data, 0, bad[i].addr, bad[i].len, F_WRITE, 0);
		driver_desc(&f->d, 0, f->data, 16, F_INDIRECT, 0);
		driver_offer(&f->d, 0);
		expect_broken(f);
		/* As the table itself. */
		driver_desc(&f->d, 0, bad[i].addr, bad[i].len & ~15u, F_INDIRECT, 0);
		driver_offer(&f->d, 0);
		expect_broken(f);
	}
	/* The whole of memory, with the rings in it, is a buffer like another. */
	driver_desc(&f->d, 0, GUEST_BASE, MEMORY, F_NEXT, 1);
	driver_desc(&f->d, 1, GUEST_BASE, MEMORY, F_WRITE, 0);
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.out_len, MEMORY);
	assert_int_equal(f->c.in_len, MEMORY);
}

/* A place of a chain that a driver leaves empty is no buffer, and where it is does not matter. */
static void test_empty(void **state)
{
	struct fix *f = *state;
	uint16_t i;

	driver_desc(&f->d, 0, 0, 0, F_NEXT, 1);
	driver_desc(&f->d, 1, f->data, 3, F_NEXT, 2);
	driver_desc(&f->d, 2, UINT64_MAX, 0, F_NEXT | F_WRITE, 3);
	driver_desc(&f->d, 3, f->data, 5, F_NEXT, 4);
	driver_desc(&f->d, 4, f->data, 7, F_NEXT | F_WRITE, 5);
	driver_desc(&f->d, 5, 0, 0, 0, 0);
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.out, 2);
	assert_int_equal(f->c.in, 1);
	assert_int_equal(f->c.out_len, 8);
	assert_int_equal(f->c.in_len, 7);
	done(f, 0);
	driver_desc(&f->d, 0, f->data, 0, 0, 0);
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.out + f->c.in, 0);
	done(f, 0);
	/* But there is an end to them. */
	for (i = 0; i < VQ_SIZE_MAX; i++)
		table_desc(&f->g, f->data, i, 0, 0, i < VQ_SIZE_MAX - 1 ? F_NEXT : 0, i + 1u);
	driver_desc(&f->d, 0, f->data, 16 * VQ_SIZE_MAX, F_INDIRECT, 0);
	driver_offer(&f->d, 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	done(f, 0);
	table_desc(&f->g, f->data, VQ_SIZE_MAX - 1, 0, 0, F_NEXT, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
	driver_desc(&f->d, 0, f->data, 16 * (VQ_SIZE_MAX + 1), F_INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
}

static void test_order(void **state)
{
	struct fix *f = *state;

	driver_desc(&f->d, 0, f->data, 1, F_WRITE | F_NEXT, 1);
	driver_desc(&f->d, 1, f->data, 1, 0, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
}

static void test_indirect_bad(void **state)
{
	struct fix *f = *state;
	const uint32_t sizes[] = {0, 1, 15, 17, 31, 0xffffffff};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		table_desc(&f->g, f->data, 0, f->data, 1, 0, 0);
		driver_desc(&f->d, 0, f->data, sizes[i], F_INDIRECT, 0);
		driver_offer(&f->d, 0);
		expect_broken(f);
	}
	/* Indirect in indirect. */
	table_desc(&f->g, f->data, 0, f->data + 64, 16, F_INDIRECT, 0);
	table_desc(&f->g, f->data + 64, 0, f->data, 1, 0, 0);
	driver_desc(&f->d, 0, f->data, 16, F_INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
	/* Something after it. */
	table_desc(&f->g, f->data, 0, f->data, 1, 0, 0);
	driver_desc(&f->d, 0, f->data, 16, F_INDIRECT | F_NEXT, 1);
	driver_desc(&f->d, 1, f->data, 1, 0, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
	/* Out of its table. */
	table_desc(&f->g, f->data, 0, f->data, 1, F_NEXT, 1);
	driver_desc(&f->d, 0, f->data, 16, F_INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
	/* Not agreed on. */
	fix_enable(f, false, false);
	table_desc(&f->g, f->data, 0, f->data, 1, 0, 0);
	driver_desc(&f->d, 0, f->data, 16, F_INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_broken(f);
}

/* A chain of more than 4 GiB, in memory that is smaller: the same buffer over and over. */
static void test_total(void **state)
{
	struct fix *f = *state;
	struct virtqueue big;
	struct guest g;
	struct driver d;
	struct iovec iov[VQ_SIZE_MAX];
	struct vq_chain c = {.iov = iov, .max = VQ_SIZE_MAX};
	const uint32_t len = 32u << 20;

	guest_init(&g, 40u << 20);
	driver_init(&d, &g, GUEST_BASE, VQ_SIZE_MAX);
	assert_int_equal(vq_init(&big, &g.dma), 0);
	big.size = VQ_SIZE_MAX;
	big.desc_gpa = d.desc;
	big.avail_gpa = d.avail;
	big.used_gpa = d.used;
	assert_int_equal(vq_enable(&big, false, false), 0);
	for (uint16_t i = 0; i < 128; i++)
		driver_desc(&d, i, GUEST_BASE, i == 127 ? len - 1 : len, i < 127 ? F_NEXT : 0,
			    (uint16_t)(i + 1));
	driver_offer(&d, 0);
	assert_int_equal(vq_pop(&big, &c), 1);
	assert_int_equal(c.out_len, UINT32_MAX);
	vq_push(&big, 0, 0);
	driver_desc(&d, 127, GUEST_BASE, len, 0, 0);
	driver_offer(&d, 0);
	assert_int_equal(vq_pop(&big, &c), -EPROTO);
	vq_fini(&big);
	guest_fini(&g);
	(void)f;
}

/* The driver changes a descriptor the moment it has been looked at. */
static void spoil(struct guest *g, uint64_t gpa, uint64_t len)
{
	struct fix *f = g->hook_ctx;

	for (uint16_t i = 0; i < SIZE; i++)
		driver_desc(&f->d, i, 0, UINT32_MAX, F_NEXT | F_WRITE | F_INDIRECT, 0xffff);
	table_desc(g, f->data, 0, 0, UINT32_MAX, F_NEXT, 0xffff);
	guest_put16(g, f->d.avail + 2, 0x8000);
}

static void test_changes(void **state)
{
	struct fix *f = *state;

	f->g.hook_ctx = f;
	driver_desc(&f->d, 0, f->data, 100, F_WRITE, 0);
	driver_offer(&f->d, 0);
	f->g.hook = spoil;
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_int_equal(f->c.out + f->c.in, 1);
	assert_int_equal(f->iov[0].iov_len, 100);
	assert_ptr_equal(f->iov[0].iov_base, at(f, f->data));
	vq_push(&f->q, 0, 1);
	f->g.hook = NULL;
	fix_enable(f, true, false);
	/* The table has been spoilt by the time that it is read, not its place and length. */
	table_desc(&f->g, f->data, 0, f->data, 1, 0, 0);
	driver_desc(&f->d, 0, f->data, 16, F_INDIRECT, 0);
	driver_offer(&f->d, 0);
	f->g.hook = spoil;
	assert_int_equal(vq_pop(&f->q, &f->c), -EPROTO);
	f->g.hook = NULL;
}

/* ---- who is told of what ---- */

static void one(struct fix *f, uint16_t head)
{
	driver_desc(&f->d, head, f->data, 1, 0, 0);
	driver_offer(&f->d, head);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	vq_push(&f->q, head, 0);
}

static void test_no_interrupt(void **state)
{
	struct fix *f = *state;

	guest_put16(&f->g, f->d.avail, 1);
	one(f, 0);
	assert_false(vq_publish(&f->q));
	guest_put16(&f->g, f->d.avail, 0);
	/* Nothing new: the flag alone is no reason. */
	assert_false(vq_publish(&f->q));
	one(f, 0);
	assert_true(vq_publish(&f->q));
}

static void test_used_event(void **state)
{
	struct fix *f = *state;

	fix_enable(f, true, true);
	/* The flag does not count now. */
	guest_put16(&f->g, f->d.avail, 1);
	guest_put16(&f->g, driver_used_event(&f->d), 2);
	one(f, 0); /* entry 0 */
	assert_false(vq_publish(&f->q));
	one(f, 0);
	assert_false(vq_publish(&f->q));
	one(f, 0);
	assert_true(vq_publish(&f->q));
	one(f, 0);
	assert_false(vq_publish(&f->q));
	/* Several at once, with the wanted one in the middle. */
	guest_put16(&f->g, driver_used_event(&f->d), 5);
	for (uint16_t i = 0; i < 4; i++)
		one(f, i); /* 4 to 7 */
	assert_true(vq_publish(&f->q));
	/* Over the end of the numbers. */
	guest_put16(&f->g, driver_used_event(&f->d), 0xffff);
	for (uint32_t i = 8; i < 0xffff; i++) {
		one(f, 0);
		assert_false(vq_publish(&f->q));
	}
	one(f, 0);
	one(f, 0);
	assert_true(vq_publish(&f->q));
}

static void test_kicks(void **state)
{
	struct fix *f = *state;

	assert_false(vq_kicks(&f->q, false));
	assert_int_equal(guest_get16(&f->g, f->d.used), 1);
	driver_desc(&f->d, 0, f->data, 1, 0, 0);
	driver_offer(&f->d, 0);
	assert_false(vq_kicks(&f->q, false));
	/* It came before the driver could know. */
	assert_true(vq_kicks(&f->q, true));
	assert_int_equal(guest_get16(&f->g, f->d.used), 0);
	assert_int_equal(vq_pop(&f->q, &f->c), 1);
	assert_false(vq_kicks(&f->q, true));
}

static void test_avail_event(void **state)
{
	struct fix *f = *state;

	fix_enable(f, true, true);
	for (uint16_t i = 0; i < 5; i++)
		one(f, 0);
	assert_false(vq_kicks(&f->q, true));
	assert_int_equal(guest_get16(&f->g, driver_avail_event(&f->d)), 5);
	one(f, 0);
	vq_kicks(&f->q, false);
	assert_int_equal(guest_get16(&f->g, driver_avail_event(&f->d)), 5);
	driver_offer(&f->d, 0);
	assert_true(vq_kicks(&f->q, true));
	assert_int_equal(guest_get16(&f->g, driver_avail_event(&f->d)), 6);
	/* The flags are not used. */
	assert_int_equal(guest_get16(&f->g, f->d.used), 0);
}

/* ---- copying ---- */

static void test_iov(void **state)
{
	char a[] = "abc", b[] = "defgh", c[] = "i";
	const struct iovec iov[] = {{a, 3}, {b, 5}, {b, 0}, {c, 1}};
	char buf[16];

	assert_int_equal(iov_read(iov, 4, 0, buf, 16), 9);
	assert_memory_equal(buf, "abcdefghi", 9);
	assert_int_equal(iov_read(iov, 4, 2, buf, 3), 3);
	assert_memory_equal(buf, "cde", 3);
	assert_int_equal(iov_read(iov, 4, 3, buf, 5), 5);
	assert_memory_equal(buf, "defgh", 5);
	assert_int_equal(iov_read(iov, 4, 8, buf, 5), 1);
	assert_int_equal(iov_read(iov, 4, 9, buf, 5), 0);
	assert_int_equal(iov_read(iov, 4, SIZE_MAX, buf, 5), 0);
	assert_int_equal(iov_read(iov, 0, 0, buf, 5), 0);
	assert_int_equal(iov_write(iov, 4, 2, "CDEFGHIJK", 9), 7);
	assert_string_equal(a, "abC");
	assert_string_equal(b, "DEFGH");
	assert_string_equal(c, "I");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_enable),	      T(test_chain),
		T(test_wrap),	      T(test_unpop),
		T(test_indirect),     T(test_index),
		T(test_head),	      T(test_loop),
		T(test_too_long),     T(test_buffers),
		T(test_empty),	      T(test_order),
		T(test_indirect_bad), T(test_total),
		T(test_changes),      T(test_no_interrupt),
		T(test_used_event),   T(test_kicks),
		T(test_avail_event),  cmocka_unit_test(test_iov),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
