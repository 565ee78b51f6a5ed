/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk's page cache may have that the disk has not: a flush of much of it is one
 * fdatasync(2) that lasts as long as the disk takes, and nothing takes it back. So much of it is
 * first written out piece by piece, between which there may be an end. What is noted is a hint: the
 * fdatasync comes in any case, and is what makes it durable.
 *
 * An error of writing out is told to one of those who wait for it by the kernel, once: so all
 * flushes that were under way when there was one have failed.
 */
#ifndef DEVICES_VIRTIO_BLK_DIRTY_H
#define DEVICES_VIRTIO_BLK_DIRTY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Any thread. */
struct blk_dirty {
	_Atomic uint64_t size; /* bytes */
	uint64_t chunk;	       /* bytes; constant */
	_Atomic uint64_t *bits;
	_Atomic uint64_t bytes;	 /* noted since the last flush began */
	_Atomic uint32_t pieces; /* flushes that write out piece by piece */
	_Atomic uint32_t errors; /* of writing out */
};

/* 0 or -ENOMEM. */
int blk_dirty_init(struct blk_dirty *d, uint64_t size);
void blk_dirty_fini(struct blk_dirty *d);
/* The disk has another size. What lies beyond 8192 chunks of the first one's is not noted: that is
 * written out by the fdatasync alone. */
void blk_dirty_resize(struct blk_dirty *d, uint64_t size);
void blk_dirty_note(struct blk_dirty *d, uint64_t offset, uint64_t len);
/* A flush begins: is it to write out piece by piece, since there are more than @most bytes, or
 * others are at it? Then blk_dirty_end() follows; @done: it came to its end. */
bool blk_dirty_begin(struct blk_dirty *d, uint64_t most);
void blk_dirty_end(struct blk_dirty *d, bool done);
/* The next range from *@offset on; it is clean from now on. False: there is none. */
bool blk_dirty_next(struct blk_dirty *d, uint64_t *offset, uint64_t *len);

#endif
