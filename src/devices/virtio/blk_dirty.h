/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notes of what the page cache may have that the disk has not. A flush of much data is one
 * fdatasync(2), which lasts as long as the disk takes, and which nothing takes back. So much data
 * is first written out piece by piece, and the VM may end between two pieces. The notes are a hint:
 * the fdatasync comes in any case, and makes the data durable.
 *
 * The kernel tells an error of writing out once, to one of those that wait for it. So all flushes
 * that were under way then have failed. Where none was, as when an image is written out to be
 * changed, the next one has.
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
	_Atomic bool owed;	 /* one of them was told to nobody who has asked for a flush */
};

/* Returns 0 or -ENOMEM. */
int blk_dirty_init(struct blk_dirty *d, uint64_t size);
void blk_dirty_fini(struct blk_dirty *d);
/* Takes note of another size of the disk. Data beyond 8192 chunks of the first size is not noted:
 * the fdatasync alone writes it out. */
void blk_dirty_resize(struct blk_dirty *d, uint64_t size);
/* Begins anew, for another image of @size bytes; chunks are as before. Nobody uses it meanwhile. */
void blk_dirty_forget(struct blk_dirty *d, uint64_t size);
void blk_dirty_note(struct blk_dirty *d, uint64_t offset, uint64_t len);
/* Begins a flush. Returns whether it is to write out piece by piece, because there are more than
 * @most bytes, or because another flush does so. Then blk_dirty_end() follows; @done: the flush
 * came to its end. */
bool blk_dirty_begin(struct blk_dirty *d, uint64_t most);
void blk_dirty_end(struct blk_dirty *d, bool done);
/*
 * Makes durable what was written to @fd, all at once, though no driver asks for it. The kernel tells
 * an error once, so the next flush has it, too. Returns 0 or -errno of fdatasync(2).
 */
int blk_dirty_sync(struct blk_dirty *d, int fd);
/* Stores the next range from *@offset on, and marks it clean. Returns false if there is none. */
bool blk_dirty_next(struct blk_dirty *d, uint64_t *offset, uint64_t *len);

#endif
