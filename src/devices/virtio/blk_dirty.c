/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps notes of what a disk's page cache may have that the disk has not. See blk_dirty.h. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/virtio/blk_dirty.h"
#include "relaxed.h"

#define CHUNKS_MAX  8192u
#define CHUNK_LEAST (UINT64_C(1) << 20)

int blk_dirty_init(struct blk_dirty *d, uint64_t size)
{
	*d = (struct blk_dirty){.chunk = CHUNK_LEAST};
	blk_dirty_resize(d, size);
	while (size / d->chunk >= CHUNKS_MAX)
		d->chunk *= 2;
	d->bits = calloc(CHUNKS_MAX / 64, sizeof(*d->bits));
	return d->bits ? 0 : -ENOMEM;
}

void blk_dirty_fini(struct blk_dirty *d)
{
	free(d->bits);
	d->bits = NULL;
}

void blk_dirty_resize(struct blk_dirty *d, uint64_t size)
{
	relaxed_store(&d->size, size);
}

void blk_dirty_forget(struct blk_dirty *d, uint64_t size)
{
	blk_dirty_resize(d, size);
	for (unsigned int i = 0; i < CHUNKS_MAX / 64; i++)
		relaxed_store(&d->bits[i], 0);
	atomic_store(&d->bytes, 0);
	atomic_store(&d->owed, false);
}

/* Returns how far, at most, there are bits. */
static uint64_t covered(const struct blk_dirty *d)
{
	uint64_t size = relaxed_load(&d->size);

	return size < CHUNKS_MAX * d->chunk ? size : CHUNKS_MAX * d->chunk;
}

void blk_dirty_note(struct blk_dirty *d, uint64_t offset, uint64_t len)
{
	if (!len)
		return;
	atomic_fetch_add_explicit(&d->bytes, len, memory_order_relaxed);
	for (uint64_t i = offset / d->chunk; i <= (offset + len - 1) / d->chunk && i < CHUNKS_MAX;
	     i++) {
		uint64_t bit = UINT64_C(1) << i % 64;

		if (!(relaxed_load(&d->bits[i / 64]) & bit))
			atomic_fetch_or_explicit(&d->bits[i / 64], bit, memory_order_relaxed);
	}
}

bool blk_dirty_begin(struct blk_dirty *d, uint64_t most)
{
	uint64_t bytes = relaxed_load(&d->bytes);

	if (bytes)
		bytes = atomic_exchange(&d->bytes, 0);
	if (bytes <= most && !atomic_load(&d->pieces))
		return false;
	atomic_fetch_add(&d->pieces, 1);
	return true;
}

void blk_dirty_end(struct blk_dirty *d, bool done)
{
	/* The bytes that are left are for the next flush. */
	if (!done)
		atomic_fetch_add(&d->bytes, relaxed_load(&d->size));
	atomic_fetch_sub(&d->pieces, 1);
}

bool blk_dirty_next(struct blk_dirty *d, uint64_t *offset, uint64_t *len)
{
	uint64_t end = covered(d);

	for (uint64_t i = (*offset + d->chunk - 1) / d->chunk; i * d->chunk < end; i++) {
		uint64_t bit = UINT64_C(1) << i % 64;
		uint64_t bits = relaxed_load(&d->bits[i / 64]);

		if (!(bits >> i % 64)) {
			i |= 63; /* none up to the word's end */
			continue;
		}
		/* Two flushes share the work. */
		if (!(bits & bit) ||
		    !(atomic_fetch_and_explicit(&d->bits[i / 64], ~bit, memory_order_relaxed) &
		      bit))
			continue;
		*offset = i * d->chunk;
		*len = end - *offset < d->chunk ? end - *offset : d->chunk;
		return true;
	}
	return false;
}

int blk_dirty_sync(struct blk_dirty *d, int fd)
{
	int ret = fdatasync(fd) == 0 ? 0 : -errno;

	if (ret < 0)
		atomic_store(&d->owed, true);
	return ret;
}
