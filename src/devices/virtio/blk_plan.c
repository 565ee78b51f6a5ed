/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next operation of a request on a disk: what was read or written short is continued, and so is
 * what has to go through a buffer of ours, or is long, in pieces.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/blk_impl.h"
#include "relaxed.h"

#define BOUNCE_MAX  (UINT32_C(1) << 20)
#define BOUNCES_MAX 64 /* at a time; further requests go through the page cache */
#define PAGE	    4096u
#define HOLE_ALIGN  UINT64_C(65536) /* a piece is a multiple of it */

static const _Alignas(4096) char zeroes[PAGE];

static bool buffers_aligned(const struct blk_image *img, const struct blk_request *r)
{
	for (unsigned int i = 0; i < r->count; i++)
		if (((uintptr_t)r->iov[i].iov_base & (img->mem_align - 1)) ||
		    (r->iov[i].iov_len & (img->file_align - 1)))
			return false;
	return true;
}

/* Gets a bounce buffer, if there may be another. There are fewer than there can be requests: a
 * guest does not choose how much memory its monitor has. */
static bool get_bounce(struct blk_request *r, size_t len)
{
	_Atomic unsigned int *bounces = &r->blk->bounces;

	if (atomic_fetch_add_explicit(bounces, 1, memory_order_relaxed) < BOUNCES_MAX &&
	    posix_memalign(&r->bounce, PAGE, len) == 0)
		return true;
	r->bounce = NULL;
	atomic_fetch_sub_explicit(bounces, 1, memory_order_relaxed);
	return false;
}

/* Plans reading and writing. */
static void plan_transfer(struct blk_request *r, struct blk_op *op)
{
	const struct blk_image *img = &r->blk->image;
	uint64_t piece = r->left < BOUNCE_MAX ? r->left : BOUNCE_MAX;

	op->offset = r->offset;
	op->len = r->left;
	op->iov = r->iov;
	op->count = r->count;
	op->fd = img->fd;
	r->bounced = false;
	if ((r->offset | r->left) & (img->file_align - 1)) {
		op->fd = img->unaligned_fd;
		return;
	}
	if (img->mem_align == 1 || buffers_aligned(img, r))
		return;
	/* The first piece is the longest. */
	if (!r->bounce && !get_bounce(r, piece)) {
		op->fd = img->unaligned_fd;
		return;
	}
	op->len = piece;
	if (op->kind == BLK_OP_WRITE)
		iov_read(r->iov, r->count, 0, r->bounce, op->len);
	r->bounced = true;
	r->bounce_iov = (struct iovec){r->bounce, op->len};
	op->iov = &r->bounce_iov;
	op->count = 1;
}

/* Cuts a piece off: as many whole buffers as there may be in one, or a part of the first. */
static void cut(struct blk_request *r, struct blk_op *op)
{
	uint32_t most = blk_flight_piece(&r->blk->flight);

	if (op->len <= most || r->bounced)
		return;
	op->len = 0;
	op->count = 0;
	while (op->len + r->iov[op->count].iov_len <= most)
		op->len += r->iov[op->count++].iov_len;
	if (op->count)
		return;
	r->piece = (struct iovec){r->iov->iov_base, most};
	op->iov = &r->piece;
	op->count = 1;
	op->len = most;
}

static void plan_allocate(struct blk_request *r, struct blk_op *op)
{
	bool unmap = r->type == BLK_T_DISCARD || (r->ranges[r->range].flags & BLK_SEGMENT_UNMAP);
	uint64_t most = blk_flight_piece(&r->blk->flight) * (uint64_t)(unmap ? BLK_HOLE_PIECES : 1);
	uint64_t end = r->offset + r->left;

	op->kind = BLK_OP_ALLOCATE;
	op->flags = (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
	op->offset = r->offset;
	if (end - r->offset > most)
		end = (r->offset + most) / HOLE_ALIGN * HOLE_ALIGN;
	op->len = end - r->offset;
}

static void plan_sync(struct blk_request *r, struct blk_op *op)
{
	uint32_t most = blk_flight_piece(&r->blk->flight);

	op->kind = BLK_OP_SYNC;
	if (!r->writes_out || (!r->left && !blk_dirty_next(&r->blk->dirty, &r->offset, &r->left)))
		return;
	op->kind = BLK_OP_WRITE_OUT;
	op->offset = r->offset;
	op->len = r->left < most ? r->left : most;
}

/* Plans a piece of zeroes, for file systems that cannot allocate them; all entries are the same
 * page. */
static void plan_zeroes(struct blk_request *r, struct blk_op *op)
{
	const struct blk_image *img = &r->blk->image;
	unsigned int n = 0;

	op->kind = BLK_OP_WRITE;
	op->offset = r->offset;
	op->fd = (r->offset | r->left) & (img->file_align - 1) ? img->unaligned_fd : img->fd;
	for (uint64_t left = r->left; left && n < BLK_BUFFERS; n++) {
		size_t len = left < PAGE ? left : PAGE;

		r->buffers[n] = (struct iovec){(char *)zeroes, len};
		left -= len;
		op->len += len;
	}
	op->iov = r->buffers;
	op->count = n;
}

void blk_plan(struct blk_request *r, struct blk_op *op)
{
	bool through = relaxed_load(&r->blk->write_through);

	*op = (struct blk_op){.fd = r->blk->image.fd};
	if (r->sync || r->type == BLK_T_FLUSH) {
		plan_sync(r, op);
	} else if (r->type == BLK_T_IN) {
		op->kind = BLK_OP_READ;
		plan_transfer(r, op);
		cut(r, op);
	} else if (r->type == BLK_T_OUT) {
		op->kind = BLK_OP_WRITE;
		op->flags = through ? RWF_DSYNC : 0;
		plan_transfer(r, op);
		cut(r, op);
	} else if (r->zeroing) {
		plan_zeroes(r, op);
	} else {
		plan_allocate(r, op);
	}
}
