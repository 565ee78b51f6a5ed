/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input sets a queue up, fills guest memory, and is then a list of what driver and device do:
 * the driver writes anywhere, at any moment. Beside what the sanitizers see: each buffer lies in
 * memory, the sums are right, what is in flight is what was popped and not pushed, and a broken
 * queue stays broken.
 */
#include <errno.h>

#include "fuzz.h"
#include "../unit/virtio_fixture.h"

#define MEMORY 0x1400

struct state {
	struct guest g;
	struct virtqueue q;
	const uint8_t *data;
	size_t size;
	bool inflight[VQ_SIZE_MAX];
	unsigned int count;
	uint32_t rounds;
};

static uint8_t byte(struct state *s)
{
	return (uint8_t)fuzz_take(&s->data, &s->size, 1);
}

static uint16_t word(struct state *s)
{
	return (uint16_t)fuzz_take(&s->data, &s->size, 2);
}

/* In the middle of a pop, too. */
static void driver_writes(struct state *s)
{
	uint64_t at = word(s) % MEMORY;
	uint8_t len = byte(s) & 31;

	for (unsigned int i = 0; i < len && at + i < MEMORY; i++)
		s->g.mem[at + i] = byte(s);
}

static void hook(struct guest *g, uint64_t gpa, uint64_t len)
{
	struct state *s = g->hook_ctx;

	if (s->size && (s->data[0] & 7) == 7)
		driver_writes(s);
}

static void pop(struct state *s)
{
	struct iovec iov[64];
	struct vq_chain c = {.iov = iov, .max = 1 + (byte(s) & 63)};
	bool was_broken = s->q.broken;
	uint64_t out = 0, in = 0;
	int ret = vq_pop(&s->q, &c);

	check(!was_broken || ret == -EPROTO);
	check((ret == -EPROTO) == s->q.broken);
	check(!s->q.broken == !s->q.fault);
	if (ret <= 0)
		return;
	check(ret == 1 && c.head < s->q.size && !s->inflight[c.head]);
	check(c.out + c.in <= c.max);
	for (unsigned int i = 0; i < (unsigned int)c.out + c.in; i++) {
		uint8_t *p = iov[i].iov_base;

		check(iov[i].iov_len && p >= s->g.mem);
		check(p + iov[i].iov_len <= s->g.mem + MEMORY);
		*(i < c.out ? &out : &in) += iov[i].iov_len;
		if (i >= c.out)
			memset(p, byte(s), iov[i].iov_len);
	}
	check(out == c.out_len && in == c.in_len);
	if (byte(s) & 1) {
		vq_unpop(&s->q);
	} else {
		s->inflight[c.head] = true;
		s->count++;
	}
}

static void push(struct state *s)
{
	uint16_t head = byte(s);

	vq_push(&s->q, head, word(s));
	if (s->inflight[head]) {
		s->inflight[head] = false;
		s->count--;
	}
}

static void enable(struct state *s)
{
	vq_reset(&s->q);
	memset(s->inflight, 0, sizeof(s->inflight));
	s->count = 0;
	s->q.size = byte(s) & 1 ? (uint16_t)(1u << (byte(s) % 10)) : word(s);
	s->q.desc_gpa = GUEST_BASE + (uint64_t)(word(s) & ~15u) % (2 * MEMORY);
	s->q.avail_gpa = GUEST_BASE + (uint64_t)(word(s) & ~1u) % (2 * MEMORY);
	s->q.used_gpa = GUEST_BASE + (uint64_t)(word(s) & ~3u) % (2 * MEMORY);
	if (vq_enable(&s->q, byte(s) & 1, byte(s) & 1) < 0)
		check(!s->q.enabled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state s;

	memset(&s, 0, sizeof(s));
	s.data = data;
	s.size = size;
	guest_init(&s.g, MEMORY);
	s.g.hook = hook;
	s.g.hook_ctx = &s;
	check(vq_init(&s.q, &s.g.dma) == 0);
	while (s.size) {
		uint16_t published = s.q.published, next = s.q.next_used;

		switch (byte(&s) & 7) {
		case 0:
			enable(&s);
			break;
		case 1:
		case 2:
			driver_writes(&s);
			break;
		case 3:
		case 4:
			pop(&s);
			break;
		case 5:
			push(&s);
			break;
		case 6:
			if (vq_publish(&s.q))
				check(published != next);
			check(s.q.published == s.q.next_used);
			break;
		case 7:
			if (vq_kicks(&s.q, byte(&s) & 1))
				check(vq_waiting(&s.q));
			break;
		}
		check(s.q.inflight == s.count && s.count <= s.q.size);
	}
	vq_fini(&s.q);
	guest_fini(&s.g);
	return 0;
}
