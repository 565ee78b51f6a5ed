/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue (virtio 1.2, section 2.7).
 *
 * Everything behind desc, avail and used is written by the guest while we read it. Each word is
 * loaded once, into a variable of ours, then checked, then used; each descriptor is copied whole.
 *
 * Ordering, with the driver's half in brackets:
 *
 *   avail->idx	 acquire load [2.7.13.3: the ring entries and descriptors are written, a barrier,
 *		 then idx]: what the index covers is there to be read.
 *   used->idx	 release store [2.7.14: idx is read, a barrier, then the entries]: the entries, and
 *		 what was written into the buffers, are there before the index covers them.
 *   suppression each side publishes its index, full fence, then reads what the other asked for;
 *		 and asks, full fence, then looks at the index once more. One of the two sees the
 *		 other, so that no notification is lost (2.7.7, 2.7.10).
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "devices/virtio/queue.h"

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY	   1u

struct vq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* ring[size], then used_event: up to where the driver has seen used entries. */
struct vq_avail {
	uint16_t flags, idx;
	uint16_t ring[];
};

struct vq_used_elem {
	uint32_t id, len;
};

/* ring[size], then avail_event, a uint16_t: where the device wants to be kicked. */
struct vq_used {
	uint16_t flags, idx;
	struct vq_used_elem ring[];
};

_Static_assert(sizeof(struct vq_desc) == 16 && offsetof(struct vq_desc, len) == 8 &&
		       offsetof(struct vq_desc, flags) == 12 &&
		       offsetof(struct vq_desc, next) == 14,
	       "2.7.5");
_Static_assert(offsetof(struct vq_avail, idx) == 2 && offsetof(struct vq_avail, ring) == 4,
	       "2.7.6");
_Static_assert(offsetof(struct vq_used, idx) == 2 && offsetof(struct vq_used, ring) == 4 &&
		       sizeof(struct vq_used_elem) == 8,
	       "2.7.8");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the rings are little-endian");

static uint16_t get16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void put16(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

static uint16_t *used_event(const struct virtqueue *q)
{
	return &q->avail->ring[q->size];
}

static uint16_t *avail_event(const struct virtqueue *q)
{
	return (uint16_t *)&q->used->ring[q->size];
}

static uint16_t mask(const struct virtqueue *q)
{
	return (uint16_t)(q->size - 1);
}

/* Notes that the device's side has written @len bytes at @at, in the used ring. */
static void wrote_used(const struct virtqueue *q, const void *at, uint64_t len)
{
	dma_wrote(q->dma, q->used_gpa + (uint64_t)((const char *)at - (const char *)q->used), len);
}

/* -- setup ------------------------------------------------------------------------------------ */

int vq_init(struct virtqueue *q, const struct dma *dma)
{
	memset(q, 0, sizeof(*q));
	q->dma = dma;
	return -pthread_mutex_init(&q->lock, NULL);
}

void vq_fini(struct virtqueue *q)
{
	pthread_mutex_destroy(&q->lock);
}

void vq_reset(struct virtqueue *q)
{
	q->size = 0;
	q->desc_gpa = q->avail_gpa = q->used_gpa = 0;
	q->enabled = q->indirect = q->event_idx = q->broken = q->kicks_wanted = false;
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
	q->fault = NULL;
	q->next_avail = q->next_used = q->published = q->inflight = q->last_head = 0;
	memset(q->busy, 0, sizeof(q->busy));
	memset(q->again, 0, sizeof(q->again));
	q->again_count = 0;
}

int vq_enable(struct virtqueue *q, bool indirect, bool event_idx)
{
	struct vq_desc *desc;
	struct vq_avail *avail;
	struct vq_used *used;
	uint64_t n = q->size;

	if (!n || n > VQ_SIZE_MAX || (n & (n - 1)))
		return -EINVAL;
	if (q->desc_gpa & 15 || q->avail_gpa & 1 || q->used_gpa & 3)
		return -EINVAL;
	/* The words of the event index belong to the rings, negotiated or not. */
	desc = dma_at(q->dma, q->desc_gpa, sizeof(*desc) * n);
	avail = dma_at(q->dma, q->avail_gpa, sizeof(*avail) + 2 * n + 2);
	used = dma_at(q->dma, q->used_gpa, sizeof(*used) + sizeof(used->ring[0]) * n + 2);
	if (!desc || !avail || !used)
		return -EINVAL;
	q->desc = desc;
	q->avail = avail;
	q->used = used;
	q->indirect = indirect;
	q->event_idx = event_idx;
	q->broken = false;
	q->fault = NULL;
	/* A driver has zeroed its rings, which says: kicks are wanted. */
	q->kicks_wanted = true;
	q->next_avail = q->next_used = q->published = q->inflight = q->last_head = 0;
	memset(q->busy, 0, sizeof(q->busy));
	memset(q->again, 0, sizeof(q->again));
	q->again_count = 0;
	q->enabled = true;
	return 0;
}

/* -- taking ----------------------------------------------------------------------------------- */

int vq_break(struct virtqueue *q, const char *why)
{
	q->broken = true;
	q->fault = why;
	return -EPROTO;
}

static bool test_head(const uint64_t *heads, uint16_t head)
{
	return heads[head / 64] >> head % 64 & 1;
}

static void set_head(uint64_t *heads, uint16_t head, bool on)
{
	uint64_t bit = UINT64_C(1) << head % 64;

	if (on)
		heads[head / 64] |= bit;
	else
		heads[head / 64] &= ~bit;
}

static bool busy(const struct virtqueue *q, uint16_t head)
{
	return test_head(q->busy, head);
}

static void set_busy(struct virtqueue *q, uint16_t head, bool on)
{
	set_head(q->busy, head, on);
}

/* Returns a copy of a descriptor. Indirect tables need not be aligned, so no load of a whole word
 * will do. */
static struct vq_desc copy_desc(const struct vq_desc *table, unsigned int index)
{
	struct vq_desc d;

	memcpy(&d, (const char *)table + (size_t)index * sizeof(d), sizeof(d));
	/* All that follows uses the copy: the compiler may not go back to the table. */
	__asm__ volatile("" ::: "memory");
	return d;
}

static int add_buffer(struct virtqueue *q, struct vq_chain *c, const struct vq_desc *d)
{
	bool write = d->flags & DESC_WRITE;
	uint32_t *sum = write ? &c->in_len : &c->out_len;
	unsigned int count = (unsigned int)c->out + c->in;
	void *host;

	/* Nothing to read or to write, wherever it is: some drivers leave a place of a chain so. */
	if (!d->len)
		return 0;
	if (!write && c->in)
		return vq_break(q, "a readable buffer after a writable one");
	if (count >= c->max)
		return vq_break(q, "a chain with too many buffers");
	if (d->len > UINT32_MAX - *sum)
		return vq_break(q, "a chain of more than 4 GiB");
	host = dma_at(q->dma, d->addr, d->len);
	if (!host)
		return vq_break(q, "a buffer outside memory");
	c->iov[count] = (struct iovec){host, d->len};
	*sum += d->len;
	if (write) {
		c->in++;
		dma_wrote(q->dma, d->addr, d->len); /* it will be */
	} else {
		c->out++;
	}
	return 0;
}

/*
 * Follows the descriptors of @table from @index. No more steps than there are entries: a longer
 * walk has come by one of them twice; nor more than the longest queue has, as a table may be as
 * large as memory. The last of the ring's own descriptors may name an indirect
 * table (*@indirect is set to it), inside of one there may be none (@indirect is NULL).
 */
static int walk(struct virtqueue *q, struct vq_chain *c, const struct vq_desc *table,
		uint32_t entries, uint32_t index, struct vq_desc *indirect)
{
	for (uint32_t steps = 0; steps < entries; steps++) {
		struct vq_desc d;
		int ret;

		if (index >= entries)
			return vq_break(q, "a descriptor out of range");
		if (steps == VQ_SIZE_MAX)
			return vq_break(q, "a chain with too many buffers");
		d = copy_desc(table, index);
		if (d.flags & DESC_INDIRECT) {
			if (!indirect)
				return vq_break(q, "an indirect table in an indirect table");
			if (!q->indirect)
				return vq_break(q, "an indirect table that was not negotiated");
			if (d.flags & DESC_NEXT)
				return vq_break(q, "a descriptor after an indirect table");
			*indirect = d;
			return 0;
		}
		ret = add_buffer(q, c, &d);
		if (ret < 0 || !(d.flags & DESC_NEXT))
			return ret;
		index = d.next;
	}
	return vq_break(q, "a loop of descriptors");
}

static int walk_indirect(struct virtqueue *q, struct vq_chain *c, const struct vq_desc *d)
{
	const struct vq_desc *table;

	if (!d->len || d->len % sizeof(*d))
		return vq_break(q, "an indirect table of the wrong size");
	table = dma_at(q->dma, d->addr, d->len);
	if (!table)
		return vq_break(q, "an indirect table outside memory");
	return walk(q, c, table, d->len / (uint32_t)sizeof(*d), 0, NULL);
}

/* Finds the next head of the available ring. Returns 1: there is one; 0: none; -EPROTO. */
static int next_head(struct virtqueue *q, uint16_t *head)
{
	uint16_t idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);

	if (idx == q->next_avail)
		return 0;
	if ((uint16_t)(idx - q->next_avail) > q->size)
		return vq_break(q, "an index that is ahead by more than the size");
	if (q->inflight == q->size)
		return vq_break(q, "more chains than the size");
	*head = get16(&q->avail->ring[q->next_avail & mask(q)]);
	if (*head >= q->size)
		return vq_break(q, "a chain's head out of range");
	/* Then whoever keeps a table of requests by head may rely on it. */
	if (busy(q, *head))
		return vq_break(q, "a chain that is in flight already");
	return 1;
}

static uint16_t first_again(const struct virtqueue *q)
{
	unsigned int word = 0;

	while (!q->again[word])
		word++;
	return (uint16_t)(word * 64 + (unsigned int)__builtin_ctzll(q->again[word]));
}

/* Takes the chain at @head, which is in flight from now on. */
static void take_head(struct virtqueue *q, uint16_t head, bool again)
{
	q->last_head = head;
	q->last_again = again;
	set_busy(q, head, true);
	q->inflight++;
	if (again) {
		set_head(q->again, head, false);
		q->again_count--;
	} else {
		q->next_avail++;
	}
}

int vq_pop(struct virtqueue *q, struct vq_chain *c)
{
	struct vq_desc indirect = {.len = 0, .flags = 0};
	bool again = __builtin_expect(q->again_count != 0, 0);
	uint16_t head = 0;
	int ret = 1;

	c->out = c->in = 0;
	c->out_len = c->in_len = 0;
	if (q->broken)
		return -EPROTO;
	if (!q->enabled)
		return 0;
	if (again)
		head = first_again(q);
	else
		ret = next_head(q, &head);
	if (ret <= 0)
		return ret;
	ret = walk(q, c, q->desc, q->size, head, &indirect);
	if (ret == 0 && indirect.flags)
		ret = walk_indirect(q, c, &indirect);
	if (ret < 0)
		return ret;
	c->head = head;
	take_head(q, head, again);
	return 1;
}

void vq_unpop(struct virtqueue *q)
{
	if (!q->inflight || !busy(q, q->last_head))
		return;
	set_busy(q, q->last_head, false);
	q->inflight--;
	if (q->last_again) {
		set_head(q->again, q->last_head, true);
		q->again_count++;
	} else {
		q->next_avail--;
	}
}

bool vq_waiting(const struct virtqueue *q)
{
	return q->enabled && !q->broken &&
	       (q->again_count || get16(&q->avail->idx) != q->next_avail);
}

/* -- giving back ------------------------------------------------------------------------------ */

void vq_push(struct virtqueue *q, uint16_t head, uint32_t written)
{
	struct vq_used_elem *e;

	if (head >= VQ_SIZE_MAX || !busy(q, head))
		return;
	set_busy(q, head, false);
	q->inflight--;
	e = &q->used->ring[q->next_used & mask(q)];
	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, written, __ATOMIC_RELAXED);
	wrote_used(q, e, sizeof(*e));
	q->next_used++;
}

bool vq_publish(struct virtqueue *q)
{
	uint16_t old = q->published, new = q->next_used;

	if (new == old)
		return false;
	__atomic_store_n(&q->used->idx, new, __ATOMIC_RELEASE);
	wrote_used(q, &q->used->idx, sizeof(q->used->idx));
	q->published = new;
	/* Full: the index before what the driver asked for, see the head of this file. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(get16(&q->avail->flags) & AVAIL_NO_INTERRUPT);
	/* Returns whether used_event is one of the entries old to new - 1. */
	return (uint16_t)(new - get16(used_event(q)) - 1) < (uint16_t)(new - old);
}

bool vq_kicks(struct virtqueue *q, bool wanted)
{
	if (!q->enabled || q->broken)
		return false;
	if (q->event_idx) {
		/* Unwanted, the word stays where it is: behind, at the latest after one more
		 * kick. */
		if (wanted) {
			put16(avail_event(q), q->next_avail);
			wrote_used(q, avail_event(q), sizeof(uint16_t));
		}
	} else if (wanted != q->kicks_wanted) {
		put16(&q->used->flags, wanted ? 0 : USED_NO_NOTIFY);
		wrote_used(q, &q->used->flags, sizeof(q->used->flags));
	}
	q->kicks_wanted = wanted;
	if (!wanted)
		return false;
	/* Full: the request before the index. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return vq_waiting(q);
}

/* -- snapshots -------------------------------------------------------------------------------- */

void vq_save(const struct virtqueue *q, struct state_writer *w)
{
	state_put_u16(w, q->size);
	state_put_u64(w, q->desc_gpa);
	state_put_u64(w, q->avail_gpa);
	state_put_u64(w, q->used_gpa);
	state_put_bool(w, q->enabled);
	if (!q->enabled)
		return;
	state_put_bool(w, q->broken);
	state_put_bool(w, q->kicks_wanted);
	state_put_u16(w, q->next_avail);
	state_put_u16(w, q->next_used);
	state_put_u16(w, q->published);
	state_put_u16(w, (uint16_t)(q->inflight + q->again_count));
	for (uint16_t head = 0; head < VQ_SIZE_MAX; head++)
		if (busy(q, head) || test_head(q->again, head))
			state_put_u16(w, head);
}

static void read_heads(struct vq_state *s, struct state_in *in)
{
	for (uint16_t i = 0; i < s->count && state_good(in); i++) {
		uint16_t head = state_get_u16(in);

		if (state_check(in, head < s->size && !test_head(s->heads, head),
				"a chain in flight"))
			set_head(s->heads, head, true);
	}
}

void vq_read(struct vq_state *s, uint16_t size_max, struct state_in *in)
{
	*s = (struct vq_state){.size = state_get_u16(in)};
	s->desc_gpa = state_get_u64(in);
	s->avail_gpa = state_get_u64(in);
	s->used_gpa = state_get_u64(in);
	s->enabled = state_get_bool(in);
	if (!s->enabled || !state_good(in))
		return;
	state_check(in, s->size && s->size <= size_max && !(s->size & (s->size - 1)),
		    "a queue's size");
	s->broken = state_get_bool(in);
	s->kicks_wanted = state_get_bool(in);
	s->next_avail = state_get_u16(in);
	s->next_used = state_get_u16(in);
	s->published = state_get_u16(in);
	s->count = state_get_u16(in);
	/* Each chain that was taken was given back, or is in flight. */
	state_check(in, s->count <= s->size && (uint16_t)(s->next_avail - s->next_used) == s->count,
		    "how many of a queue's chains are in flight");
	state_check(in, (uint16_t)(s->next_used - s->published) <= s->size,
		    "a queue's index of used chains");
	read_heads(s, in);
}

int vq_load(struct virtqueue *q, const struct vq_state *s, bool indirect, bool event_idx)
{
	int ret = 0;

	q->size = s->size;
	q->desc_gpa = s->desc_gpa;
	q->avail_gpa = s->avail_gpa;
	q->used_gpa = s->used_gpa;
	if (s->enabled)
		ret = vq_enable(q, indirect, event_idx);
	if (ret < 0 || !s->enabled)
		return ret;
	q->kicks_wanted = s->kicks_wanted;
	q->next_avail = s->next_avail;
	q->next_used = s->next_used;
	q->published = s->published;
	memcpy(q->again, s->heads, sizeof(q->again));
	q->again_count = s->count;
	if (s->broken)
		(void)vq_break(q, "what broke it before a snapshot");
	return 0;
}

/* -- somebody else uses it -------------------------------------------------------------------- */

uint16_t vq_shared_avail(const struct virtqueue *q)
{
	return __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
}

uint16_t vq_shared_used(const struct virtqueue *q)
{
	return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
}

uint16_t vq_shared_avail_at(const struct virtqueue *q, uint16_t at)
{
	return get16(&q->avail->ring[at & mask(q)]);
}

uint32_t vq_shared_used_at(const struct virtqueue *q, uint16_t at)
{
	return __atomic_load_n(&q->used->ring[at & mask(q)].id, __ATOMIC_RELAXED);
}

void vq_shared_set_avail(struct virtqueue *q, uint16_t at, uint16_t head)
{
	put16(&q->avail->ring[at & mask(q)], head);
}

/* -- what is still to come -------------------------------------------------------------------- */

/* Marks the buffers of a table, from @index on; no more than there are entries. The driver may have
 * changed it, and then tells of other pages of its own. */
static void mark_buffers(const struct virtqueue *q, const struct vq_desc *table, uint32_t entries,
			 uint32_t index, bool inside)
{
	for (uint32_t steps = 0; steps < entries && steps < VQ_SIZE_MAX && index < entries;
	     steps++) {
		struct vq_desc d = copy_desc(table, index);

		if (d.flags & DESC_INDIRECT) {
			const struct vq_desc *more = inside ? NULL : dma_at(q->dma, d.addr, d.len);

			if (more)
				mark_buffers(q, more, d.len / (uint32_t)sizeof(d), 0, true);
			return;
		}
		if ((d.flags & DESC_WRITE) && dma_at(q->dma, d.addr, d.len))
			dma_wrote(q->dma, d.addr, d.len);
		if (!(d.flags & DESC_NEXT))
			return;
		index = d.next;
	}
}

void vq_will_write(struct virtqueue *q)
{
	for (uint16_t head = 0; q->enabled && q->inflight && head < q->size; head++)
		if (busy(q, head))
			mark_buffers(q, q->desc, q->size, head, false);
}

/* -- buffers ---------------------------------------------------------------------------------- */

static size_t copy(const struct iovec *iov, unsigned int count, size_t offset, char *ours,
		   size_t len, bool to_iov)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < len; i++) {
		size_t n = iov[i].iov_len;
		char *p;

		if (offset >= n) {
			offset -= n;
			continue;
		}
		p = (char *)iov[i].iov_base + offset;
		n -= offset;
		offset = 0;
		if (n > len - done)
			n = len - done;
		if (to_iov)
			memcpy(p, ours + done, n);
		else
			memcpy(ours + done, p, n);
		done += n;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len)
{
	return copy(iov, count, offset, to, len, false);
}

size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len)
{
	return copy(iov, count, offset, (char *)from, len, true);
}

unsigned int iov_skip(struct iovec **iov, unsigned int count, size_t len)
{
	while (count && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		count--;
	}
	if (count) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
	return count;
}
