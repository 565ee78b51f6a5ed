/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One operation on a disk image, and the three ways to carry it out:
 *
 * - here: by the thread itself, at once, where that can wait for no device: what the page cache
 *   has (preadv2(2) with RWF_NOWAIT), and anything on a file system that is memory. There the ring
 *   would only be a detour: io_uring cannot read tmpfs without waiting, and so gives each request
 *   to a worker thread, which on an idle machine has to be woken on another processor.
 * - queued: in the ring of the thread, which goes on meanwhile.
 * - done: a plain system call, however long it takes, for a thread that has no ring.
 *
 * All three end with the same results. blk.c decides what is tried, and in which order.
 */
#ifndef DEVICES_VIRTIO_BLK_OP_H
#define DEVICES_VIRTIO_BLK_OP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "devices/virtio/blk.h"
#include "poll/ring.h"

/*
 * How many bytes a thread may copy by itself: for a request, and for all of one kick together.
 * Copying 64 KiB takes 4 to 6 us, so 256 KiB hold a vCPU for as long as a sleep and its wake-up
 * would. Others do longer requests better, while the vCPU runs its guest.
 */
#define BLK_HERE_MAX	  (UINT32_C(64) << 10)
#define BLK_HERE_KICK_MAX (UINT32_C(256) << 10)

/* WRITE_OUT: what the page cache has of a range goes to the disk, which makes nothing durable. */
enum blk_op_kind { BLK_OP_READ, BLK_OP_WRITE, BLK_OP_WRITE_OUT, BLK_OP_SYNC, BLK_OP_ALLOCATE };

struct blk_op {
	enum blk_op_kind kind;
	int fd;
	int flags;	      /* write: RWF_*; allocate: FALLOC_FL_* */
	uint64_t offset, len; /* bytes; read, write: len is that of iov */
	const struct iovec *iov;
	unsigned int count;
};

/*
 * Carries @op out on the calling thread, if that cannot take long. *@budget: bytes that the thread
 * may still copy. *@res: the result of the system call, or -errno. Returns false if nothing was
 * done, and another way has to be taken. Notes in @img what its file system cannot do. Any thread.
 */
bool blk_op_here(struct blk_image *img, const struct blk_op *op, uint32_t *budget, int *res);
/* Queues @op in @ring; @req is done when the operation is. Owner of @ring.
 * Errors:
 *   -EBUSY  there is no room just now
 *   others  those of io_uring_setup(2) */
int blk_op_queue(const struct blk_op *op, struct ring *ring, struct ring_req *req);
/* Carries @op out by a plain system call. Returns its result, or -errno. */
int blk_op_do(const struct blk_op *op);

#endif
