/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver that follows the fuzzer's bytes: it sets the device up in all ways and none, offers
 * chains, sane ones and wild ones, writes over its rings, kicks, and resets in the middle. Guest
 * memory is a block of its own, so that the address sanitizer sees every step beside it; and after
 * a reset it must stay as it is, whatever still comes from the host.
 */
#ifndef TESTS_FUZZ_FUZZ_VDEV_H
#define TESTS_FUZZ_FUZZ_VDEV_H

#include "fuzz.h"
#include "fuzz_limits.h"
#include "../unit/vdev.h"

#define FUZZ_MEMORY (128u << 10)

struct fuzz {
	const uint8_t *data;
	size_t size;
	struct vdev *v;
	uint64_t features; /* those of the device that are worth a bit of the input each */
	unsigned int queues;
	bool reset; /* nobody writes to guest memory now */
	/* Something from the host's side. */
	void (*host)(struct fuzz *f, void *ctx);
	void *ctx;
};

/* Made once: making a ring takes longer than a run. */
static inline struct vdev *fuzz_vdev(void)
{
	static struct vdev *v;

	if (!v)
		v = vdev_make(FUZZ_MEMORY);
	memset(v->g.mem, 0, FUZZ_MEMORY);
	memset(v->q, 0, sizeof(v->q));
	memset(v->next_desc, 0, sizeof(v->next_desc));
	return v;
}

static inline uint8_t fuzz_u8(struct fuzz *f)
{
	return (uint8_t)fuzz_take(&f->data, &f->size, 1);
}

static inline uint16_t fuzz_u16(struct fuzz *f)
{
	return (uint16_t)fuzz_take(&f->data, &f->size, 2);
}

/* Memory, mostly; its edges and beyond, sometimes. */
static inline uint64_t fuzz_gpa(struct fuzz *f)
{
	uint16_t r = fuzz_u16(f);

	switch (r >> 12) {
	case 0:
		return GUEST_BASE + FUZZ_MEMORY - (r & 0xff);
	case 1:
		return (uint64_t)r << 52;
	default:
		return GUEST_BASE + (uint64_t)r * 2;
	}
}

static inline uint32_t fuzz_len(struct fuzz *f)
{
	uint8_t r = fuzz_u8(f);

	return r < 100	 ? r
	       : r < 200 ? (uint32_t)(r - 100) * 64
	       : r < 250 ? r * 300u
			 : UINT32_MAX - r;
}

static inline void fuzz_start(struct fuzz *f)
{
	uint8_t choice = fuzz_u8(f), size = fuzz_u8(f);
	uint64_t features = 0, rest = f->features;

	for (unsigned int i = 0; rest; i++) {
		uint64_t bit = rest & -rest;

		if (choice & 0x80 || choice >> i % 7 & 1)
			features |= bit;
		rest &= ~bit;
	}
	features |= (uint64_t)(size >> 6) << VIRTIO_F_INDIRECT_DESC;
	vdev_start(f->v, features, f->queues, (uint16_t)(1u << (size & 7)));
}

static inline void fuzz_offer(struct fuzz *f)
{
	unsigned int queue = fuzz_u8(f) % f->queues, count = 1 + fuzz_u8(f) % 4, out;
	uint64_t at[4];
	uint32_t len[4];

	if (!f->v->q[queue].size)
		return;
	out = fuzz_u8(f) % (count + 1);
	for (unsigned int i = 0; i < count; i++) {
		at[i] = fuzz_gpa(f);
		len[i] = fuzz_len(f);
	}
	vdev_offer(f->v, queue, at, len, count, out);
}

static inline void fuzz_write(struct fuzz *f)
{
	uint32_t at = fuzz_u16(f) * 2u % FUZZ_MEMORY, n = fuzz_u8(f) % 64;

	for (uint32_t i = 0; i < n; i++)
		f->v->g.mem[(at + i) % FUZZ_MEMORY] = fuzz_u8(f);
}

static inline void fuzz_reset(struct fuzz *f)
{
	uint8_t *before = malloc(FUZZ_MEMORY);

	check(before);
	virtio_set_status(f->v->dev, 0);
	f->reset = true;
	memcpy(before, f->v->g.mem, FUZZ_MEMORY);
	for (int i = 0; i < 2; i++) {
		f->host(f, f->ctx);
		for (unsigned int q = 0; q < f->queues; q++)
			virtio_kick(f->v->dev, q);
		vdev_turn(f->v);
	}
	check(memcmp(before, f->v->g.mem, FUZZ_MEMORY) == 0);
	check(virtio_status(f->v->dev) == 0);
	f->reset = false;
	free(before);
}

static inline void fuzz_config(struct fuzz *f)
{
	uint8_t data[8], n = fuzz_u8(f) % 8;
	uint32_t at = fuzz_u8(f);

	for (uint8_t i = 0; i < n; i++)
		data[i] = fuzz_u8(f);
	virtio_config_write(f->v->dev, at, data, n);
	virtio_config_read(f->v->dev, at, data, n);
}

static inline void fuzz_run(struct fuzz *f)
{
	fuzz_start(f);
	while (f->size) {
		switch (fuzz_u8(f) % 16) {
		case 0:
			fuzz_start(f);
			break;
		case 1:
			fuzz_reset(f);
			break;
		case 2:
			fuzz_write(f);
			break;
		case 3:
			fuzz_config(f);
			break;
		case 4:
		case 5:
		case 6:
			f->host(f, f->ctx);
			break;
		case 7:
		case 8:
			vdev_turn(f->v);
			break;
		case 9:
		case 10:
			virtio_kick(f->v->dev, fuzz_u8(f) % (f->queues + 1));
			break;
		default:
			fuzz_offer(f);
			break;
		}
	}
	fuzz_reset(f);
	check(atomic_load(&f->v->dev->inflight) == 0);
}

#endif
