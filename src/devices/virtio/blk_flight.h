/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit of what a disk has under way at once. A pause or an end of the VM waits for that, and
 * the kernel takes little of it back. So the guest must not decide how much it is, or how long.
 * Requests beyond the limit wait in the virtqueue. A long request is done in pieces, and the VM may
 * end between two of them.
 *
 * The right limit depends on the disk, so it follows the time that operations take. It is halved
 * when one has taken longer than 200 ms, and grows when they are quick and there is no more room.
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
	/* Queues that found no room. Pairing: a queue sets its bit and then reads used; a thread
	 * that makes room changes used and then reads the bits. One of the two sees the other. */
	_Atomic uint32_t waiting;
};

void blk_flight_init(struct blk_flight *f);
/* Returns the length of the pieces of a long request. */
uint32_t blk_flight_piece(const struct blk_flight *f);
/* Returns whether there is no room for one more. Then blk_flight_end() will return queue @index. */
bool blk_flight_full(struct blk_flight *f, unsigned int index);
void blk_flight_begin(struct blk_flight *f, uint64_t cost);
/* Ends an operation that has taken @ns; 0: its time says nothing of the disk. Returns the queues
 * that have waited for room, if there is some. */
uint32_t blk_flight_end(struct blk_flight *f, uint64_t cost, uint64_t ns, uint64_t now);

#endif
