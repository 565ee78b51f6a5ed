/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio memory device (virtio 1.2, section 5.15): a region of the guest's addresses, in blocks
 * that the guest plugs and unplugs, until as much is plugged as it is asked for. What it unplugs
 * goes back to the host.
 *
 * Who has the region, and what going back means, is the VM's business. A guest that touches what it
 * has not plugged finds zeroes there, and has that memory all the same: the region's size is what it
 * may have at most, and what it was asked for is what a guest has that does as it was told.
 */
#ifndef DEVICES_VIRTIO_MEM_H
#define DEVICES_VIRTIO_MEM_H

#include "devices/virtio/virtio.h"

#define MEM_BLOCK_LEAST (UINT64_C(2) << 20) /* bytes */
#define MEM_BLOCKS_MOST (UINT64_C(1) << 26) /* of a region */

struct mem_config {
	uint64_t start, size; /* of the region, in bytes; multiples of block */
	uint64_t block;	      /* a power of two of at least MEM_BLOCK_LEAST */
	uint64_t requested;   /* a multiple of block, size at most */
	/* Gives memory of the region back to the host: [offset, offset + len). It is zeroes from then
	 * on. Any vCPU's thread; the queue's lock is held. */
	void (*release)(void *ctx, uint64_t offset, uint64_t len);
	void *release_ctx;
	const struct dma *dma;
};

struct mem_state {
	uint64_t size, block, requested, plugged; /* bytes */
};

/* Makes the device. Returns 0, -EINVAL (a size is not as it has to be), or -ENOMEM. *@dev is the
 * caller's, for mem_destroy(). */
int mem_create(const struct mem_config *cfg, struct virtio_device **dev);
void mem_destroy(struct virtio_device *dev);
/* Asks the guest for another size, in bytes, as struct mem_config has it. Returns 0 or -EINVAL. Any
 * thread. */
int mem_request(struct virtio_device *dev, uint64_t bytes);
/* Stores what is asked for and what is plugged. Any thread. */
void mem_get_state(struct virtio_device *dev, struct mem_state *state);
/* Unplugs everything: the VM was reset. No driver uses it. */
void mem_restart(struct virtio_device *dev);

#endif
