/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a worker and the contents of sectors: stream.h. */
#include <string.h>

#include "stream.h"

#define MAGIC	  UINT64_C(0x6b7369642d746163) /* "cat-disk" */
#define PAGE_SECT 8u

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

/* CRC-32 (IEEE 802.3), four bits at a time. */
static uint32_t crc32(const void *data, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	const uint8_t *p = data;
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *p++;
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}

bool stream_init(struct stream *s, uint64_t seed, uint32_t worker, uint32_t workers,
		 uint64_t sectors)
{
	uint64_t each = workers ? sectors / workers / PAGE_SECT * PAGE_SECT : 0;

	*s = (struct stream){.seed = seed,
			     .worker = worker,
			     .buffered = worker & 1,
			     .first = each * worker,
			     .sectors = each};
	return workers <= WORKERS_MAX && worker < workers && each >= REGION_MIN;
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
		op.count = (uint32_t)(size % (OP_SECTORS / PAGE_SECT) + 1) * PAGE_SECT;
		op.sector = where % ((s->sectors - op.count) / PAGE_SECT + 1) * PAGE_SECT;
	} else {
		op.count = (uint32_t)(size % OP_SECTORS + 1);
		op.sector = where % (s->sectors - op.count + 1);
	}
	if (op.type != OP_FLUSH)
		op.sector += s->first;
	return op;
}

void stream_fill(const struct stream *s, uint64_t sector, uint64_t seq, void *data)
{
	struct sector_head head = {
		.magic = MAGIC, .seed = s->seed, .sector = sector, .seq = seq, .worker = s->worker};
	uint64_t words[SECTOR / 8], x = mix3(s, sector, seq);

	for (unsigned int i = 0; i < SECTOR / 8; i++) {
		x ^= x << 13; /* xorshift64 */
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
	memcpy(words, &head, sizeof(head));
	head.crc = crc32(words, SECTOR);
	memcpy(words, &head, sizeof(head));
	memcpy(data, words, SECTOR);
}

enum sector_kind stream_look(const struct stream *s, uint64_t sector, const void *data,
			     uint64_t *seq)
{
	static const char zero[SECTOR];
	char want[SECTOR];
	struct sector_head head;
	struct op op;

	if (!memcmp(data, zero, SECTOR))
		return SECTOR_ZERO;
	memcpy(&head, data, sizeof(head));
	if (head.magic != MAGIC || !head.seq)
		return SECTOR_FOREIGN;
	op = stream_op(s, head.seq);
	if (op.type != OP_WRITE || sector < op.sector || sector - op.sector >= op.count)
		return SECTOR_FOREIGN;
	stream_fill(s, sector, head.seq, want);
	if (memcmp(data, want, SECTOR) != 0)
		return SECTOR_FOREIGN;
	*seq = head.seq;
	return SECTOR_WRITTEN;
}
