/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of a disk is under way at once. Whoever pauses or ends the VM waits for that, and the
 * kernel takes little of it back: so a guest does not decide how much it is, or how long. What
 * exceeds it waits in the virtqueue, and what is long is done in pieces, between which there may be
 * an end.
 *
 * How much is right depends on the disk: the limit follows how long operations take. Half as much
 * when one has taken longer than 200 ms, more when they are quick and there is no more room.
 */
#ifndef DEVICES_VIRTIO_BLK_FLIGHT_H
#define DEVICES_VIRTIO_BLK_FLIGHT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* An operation costs its bytes, and this for a disk that seeks. */
#define BLK_FLIGHT_OP (UINT32_C(16) << 10)

/* Any thread. */
struct blk_flight {
	_Atomic uint64_t limit, used;
	_Atomic uint64_t shrunk_ns; /* when the limit has last become less */
	/* Queues that found no room. Set before used is read, as used is changed before it is read
	 * by who makes room: one of the two sees the other. */
	_Atomic uint32_t waiting;
};

void blk_flight_init(struct blk_flight *f);
/* The longest piece of what is long. */
uint32_t blk_flight_piece(const struct blk_flight *f);
/* Is there no room for one more? Then queue @index is among those that blk_flight_end() returns. */
bool blk_flight_full(struct blk_flight *f, unsigned int index);
void blk_flight_begin(struct blk_flight *f, uint64_t cost);
/* An operation has taken that long; @ns 0: it says nothing of the disk. Returns the queues that
 * have waited for room, if there is some. */
uint32_t blk_flight_end(struct blk_flight *f, uint64_t cost, uint64_t ns, uint64_t now);

#endif
