/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a worker and the contents of sectors: stream.h. */
#include "stream.h"

#define MAGIC	   UINT64_C(0x6b7369642d746163) /* "cat-disk" */
#define PAGE_SECT  8u
#define HEAD_WORDS (sizeof(struct sector_head) / 8)
#define HEAD_SEQ   3

/* Splitmix64's finalizer: each bit of the argument reaches each bit of the result. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t mix3(const struct stream *s, uint64_t a, uint64_t b)
{
	return mix(mix(mix(s->seed + s->worker) ^ a) ^ b);
}

bool stream_init(struct stream *s, uint64_t seed, uint32_t worker, uint32_t workers,
		 uint64_t sectors, uint32_t longest)
{
	uint64_t each = workers ? sectors / workers / PAGE_SECT * PAGE_SECT : 0;

	*s = (struct stream){.seed = seed,
			     .worker = worker,
			     .buffered = worker & 1,
			     .first = each * worker,
			     .sectors = each,
			     .longest = longest};
	return workers <= WORKERS_MAX && worker < workers && each >= REGION_MIN && longest &&
	       longest <= OP_SECTORS && longest % PAGE_SECT == 0;
}

struct op stream_op(const struct stream *s, uint64_t seq)
{
	uint64_t kind = mix3(s, seq, 1), where = mix3(s, seq, 2), size = mix3(s, seq, 3);
	struct op op;

	switch (kind % 32) {
	case 0 ... 1:
		op.type = OP_FLUSH;
		break;
	case 2:
		op.type = OP_DISCARD;
		break;
	case 3:
		op.type = OP_ZERO;
		break;
	case 4 ... 7:
		op.type = OP_READ;
		break;
	default:
		op.type = OP_WRITE;
	}
	if (op.type == OP_FLUSH) {
		op.sector = op.count = 0;
	} else if (s->buffered) {
		op.count = (uint32_t)(size % (s->longest / PAGE_SECT) + 1) * PAGE_SECT;
		op.sector = where % ((s->sectors - op.count) / PAGE_SECT + 1) * PAGE_SECT;
	} else {
		op.count = (uint32_t)(size % s->longest + 1);
		op.sector = where % (s->sectors - op.count + 1);
	}
	if (op.type != OP_FLUSH)
		op.sector += s->first;
	return op;
}

void stream_fill(const struct stream *s, uint64_t sector, uint64_t seq, uint64_t *data)
{
	const uint64_t head[] = {MAGIC, s->seed, sector, seq, s->worker, 0};
	uint64_t x = mix3(s, sector, seq), sum = 0;

	_Static_assert(sizeof(head) == sizeof(struct sector_head), "in this order");
	for (unsigned int i = 0; i < SECTOR_WORDS; i++) {
		x ^= x << 13; /* xorshift64 */
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = i < HEAD_WORDS ? head[i] : x;
		sum = (sum ^ data[i]) * UINT64_C(0x100000001b3); /* FNV-1a, by words */
	}
	data[HEAD_WORDS - 1] = sum;
}

/* The write that a sector is of; 0: none that there is. */
static uint64_t written_by(const struct stream *s, uint64_t sector, const uint64_t *data)
{
	uint64_t want[SECTOR_WORDS], seq = data[HEAD_SEQ];
	struct op op;

	if (data[0] != MAGIC || !seq)
		return 0;
	op = stream_op(s, seq);
	if (op.type != OP_WRITE || sector < op.sector || sector - op.sector >= op.count)
		return 0;
	stream_fill(s, sector, seq, want);
	for (unsigned int i = 0; i < SECTOR_WORDS; i++)
		if (data[i] != want[i])
			return 0;
	return seq;
}

void stream_apply(const struct stream *s, struct known *region, uint64_t seq)
{
	struct op op = stream_op(s, seq);

	for (uint32_t i = 0; i < op.count; i++) {
		struct known *k = &region[op.sector + i - s->first];

		if (op.type == OP_WRITE || op.type == OP_ZERO) {
			k->seq = op.type == OP_WRITE ? seq : 0;
			k->maybe_zero = false;
		} else if (op.type == OP_DISCARD) {
			k->maybe_zero = true;
		}
	}
}

const char *stream_compare(const struct stream *s, const struct known *region, uint64_t sector,
			   const uint64_t *data, uint64_t later, uint64_t *seq)
{
	const struct known *k = &region[sector - s->first];
	uint64_t any = 0;

	*seq = 0;
	for (unsigned int i = 0; i < SECTOR_WORDS; i++)
		any |= data[i];
	if (!any)
		return k->seq && !k->maybe_zero ? "zeroes" : 0;
	*seq = written_by(s, sector, data);
	if (!*seq)
		return "what was never written there, or torn";
	return *seq == k->seq || *seq > later ? 0 : "an old write";
}
