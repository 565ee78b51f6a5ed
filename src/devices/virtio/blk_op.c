/* SPDX-License-Identifier: Apache-2.0 */
/* One operation on a disk image. See blk_op.h; preadv2(2), io_uring_enter(2). */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "devices/virtio/blk_op.h"
#include "relaxed.h"

#define WRITE_OUT (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

static bool cannot(const struct blk_image *img)
{
	return relaxed_load(&img->no_nowait);
}

static int result(ssize_t n)
{
	return n < 0 ? -errno : (int)n;
}

/* Reads what the page cache has of it, which may be less than was asked for. Returns false if it
 * has nothing, or cannot be asked. */
static bool read_cached(struct blk_image *img, const struct blk_op *op, int *res)
{
	/* Around the page cache there is nothing that would be there already. */
	if (op->fd != img->unaligned_fd || cannot(img))
		return false;
	*res = result(preadv2(op->fd, op->iov, (int)op->count, (off_t)op->offset, RWF_NOWAIT));
	if (*res == -EOPNOTSUPP || *res == -EINVAL || *res == -ENOSYS) {
		relaxed_store(&img->no_nowait, true);
		return false;
	}
	return *res != -EAGAIN;
}

bool blk_op_here(struct blk_image *img, const struct blk_op *op, uint32_t *budget, int *res)
{
	/* A flush of memory does nothing; holes may be long. */
	if (op->kind == BLK_OP_ALLOCATE || op->kind == BLK_OP_WRITE_OUT ||
	    (op->kind != BLK_OP_READ && !img->in_memory))
		return false;
	if (op->kind != BLK_OP_SYNC && (op->len > BLK_HERE_MAX || op->len > *budget))
		return false;
	if (img->in_memory)
		*res = blk_op_do(op);
	else if (!read_cached(img, op, res))
		return false;
	if (op->kind != BLK_OP_SYNC && *res > 0)
		*budget -= (uint32_t)*res < *budget ? (uint32_t)*res : *budget;
	return true;
}

int blk_op_queue(const struct blk_op *op, struct ring *ring, struct ring_req *req)
{
	struct io_uring_sqe *sqe;
	int err = 0;

	sqe = ring_get(ring, &err);
	if (!sqe)
		return err;
	switch (op->kind) {
	case BLK_OP_READ:
		io_uring_prep_readv(sqe, op->fd, op->iov, op->count, op->offset);
		break;
	case BLK_OP_WRITE:
		io_uring_prep_writev2(sqe, op->fd, op->iov, op->count, op->offset, op->flags);
		break;
	case BLK_OP_WRITE_OUT:
		io_uring_prep_sync_file_range(sqe, op->fd, (unsigned int)op->len, op->offset,
					      WRITE_OUT);
		break;
	case BLK_OP_SYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case BLK_OP_ALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, op->flags, (off_t)op->offset, (off_t)op->len);
		break;
	}
	ring_queue(ring, sqe, req);
	return 0;
}

int blk_op_do(const struct blk_op *op)
{
	ssize_t n = -1;

	switch (op->kind) {
	case BLK_OP_READ:
		n = preadv(op->fd, op->iov, (int)op->count, (off_t)op->offset);
		break;
	case BLK_OP_WRITE:
		n = pwritev2(op->fd, op->iov, (int)op->count, (off_t)op->offset, op->flags);
		break;
	case BLK_OP_WRITE_OUT:
		n = sync_file_range(op->fd, (off_t)op->offset, (off_t)op->len, WRITE_OUT);
		break;
	case BLK_OP_SYNC:
		n = fdatasync(op->fd);
		break;
	case BLK_OP_ALLOCATE:
		n = fallocate(op->fd, op->flags, (off_t)op->offset, (off_t)op->len);
		break;
	}
	return result(n);
}
