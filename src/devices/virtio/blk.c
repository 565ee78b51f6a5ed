/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device (virtio 1.2, section 5.2).
 *
 * A request is a sequence of operations on the image, each decided by what is left to do: what was
 * read or written short is continued, and so is what has to go through a buffer of ours in pieces.
 * An operation that waits for no device is done at once; others go into the ring of the thread that
 * runs the request; where there is none to be had, they are plain system calls (blk_op.h).
 *
 * Whoever pauses or ends the VM waits for operations, not for requests: between two operations a
 * request can be put off, as a task of the thread that runs it, which goes on after a pause. At the
 * end of the VM it never does, and the guest never hears that it was done. It uses no guest memory
 * meanwhile, so a reset does not wait for it, and it finds out when it would go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/blk_dirty.h"
#include "devices/virtio/blk_flight.h"
#include "devices/virtio/blk_op.h"

#define TYPE_BLOCK 2

#define F_SEG_MAX      2
#define F_RO	       5
#define F_BLK_SIZE     6
#define F_FLUSH	       9
#define F_TOPOLOGY     10
#define F_CONFIG_WCE   11
#define F_MQ	       12
#define F_DISCARD      13
#define F_WRITE_ZEROES 14

#define T_IN	       0u
#define T_OUT	       1u
#define T_FLUSH	       4u
#define T_GET_ID       8u
#define T_DISCARD      11u
#define T_WRITE_ZEROES 13u

#define S_OK	 0
#define S_IOERR	 1
#define S_UNSUPP 2

#define SEGMENT_UNMAP 1u

#define QUEUE_SIZE 256
#define SEG_MAX	   126
#define BUFFERS	   (SEG_MAX + 2) /* with header and status */
#define RANGES_MAX 16		 /* of one discard */
/*
 * A request may be as long as descriptors can say, which is 4 GiB: firmware reads a file at once.
 * Of those longer than this a queue has one at a time, and what is behind it waits.
 *
 * There is no size_max to keep drivers below: FreeBSD's refuses a disk whose size_max is less than
 * the longest transfer of its own, and others have not asked for the feature and could not know.
 */
#define LONG_TRANSFER (UINT32_C(16) << 20)
/* Holes cost little, so their pieces are longer than those of data; they end at a multiple of their
 * length, so that no block is left over between two. Zeroes that have to be written take their
 * time, and so are one range only. */
#define DISCARD_MAX	 0x400000u /* sectors: 2 GiB */
#define WRITE_ZEROES_MAX 0x8000u   /* 16 MiB */

#define BOUNCE_MAX  (UINT32_C(1) << 20)
#define BOUNCES_MAX 64 /* at a time; further requests go through the page cache */
#define PAGE	    4096u
#define RETRIES_MAX 64 /* of an operation that has to be repeated */
#define RING_TRIES  8  /* before it is done without the ring */

struct request_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

/* 5.2.4, as far as it is offered. */
struct config {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, geometry_sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
};

_Static_assert(sizeof(struct request_header) == 16, "5.2.6");
_Static_assert(sizeof(struct range) == 16, "5.2.6");
_Static_assert(sizeof(struct config) == 64 && offsetof(struct config, blk_size) == 20 &&
		       offsetof(struct config, opt_io_size) == 28 &&
		       offsetof(struct config, writeback) == 32 &&
		       offsetof(struct config, num_queues) == 34 &&
		       offsetof(struct config, max_write_zeroes_sectors) == 48 &&
		       offsetof(struct config, write_zeroes_may_unmap) == 56,
	       "5.2.4");

struct blk;

struct request {
	struct ring_req req;	 /* first */
	struct halter_task task; /* goes on with it */
	struct blk *blk;
	uint64_t began_ns, cost; /* of the operation in the ring */
	uint64_t op_len;	 /* of the present operation */
	uint32_t generation;	 /* the device's, when it was taken */
	uint32_t errors;	 /* of writing out, when the flush began */
	bool writes_out;	 /* the flush does so, piece by piece */
	uint8_t *status;	 /* in guest memory */
	void *bounce;		 /* NULL: not needed so far */
	struct iovec bounce_iov, piece;
	uint64_t offset; /* of what is left to read, write or zero */
	uint64_t left;
	struct iovec *iov; /* what is left of the guest's buffers */
	uint32_t count, type, written;
	uint16_t head, queue, slot;
	uint8_t result, retries;
	bool complete;
	uint8_t range, ranges_count; /* which one is under way */
	bool buffered;		     /* the present operation leaves it to the page cache */
	bool bounced;		     /* the present operation goes through the bounce buffer */
	bool zeroing;		     /* the present range is written, not deallocated */
	bool sync;		     /* what is left is to make it durable */
	bool is_long;		     /* longer than LONG_TRANSFER */
	struct range ranges[RANGES_MAX];
	struct iovec buffers[BUFFERS];
};

/* Requests are found by the lock's holder; those that are never used cost no memory. */
struct blk_queue {
	struct throttle_place place;
	struct request *requests; /* QUEUE_SIZE */
	uint16_t free[QUEUE_SIZE], free_count;
	bool has_long; /* one is in flight, and none is taken before it is complete */
	struct catnap_halter *_Atomic waiter; /* who goes on once there is room again */
};

struct blk {
	struct virtio_device dev; /* first */
	struct blk_image image;
	bool readonly;
	char name[64], id[BLK_ID_MAX + 1];
	struct config config; /* but for writeback, as long as the driver has not set it */
	bool writeback_set;   /* under the device's lock, as is config */
	_Atomic bool write_through;
	_Atomic unsigned int bounces; /* buffers of requests in flight */
	_Atomic uint32_t generation;  /* counts resets */
	struct blk_flight flight;
	struct blk_dirty dirty;
	struct throttle throttle;
	struct blk_queue queues[BLK_QUEUES_MAX];
};

/* -- one operation ---------------------------------------------------------------------------- */

static const _Alignas(4096) char zeroes[PAGE];

static bool buffers_aligned(const struct blk_image *img, const struct request *r)
{
	for (unsigned int i = 0; i < r->count; i++)
		if (((uintptr_t)r->iov[i].iov_base & (img->mem_align - 1)) ||
		    (r->iov[i].iov_len & (img->file_align - 1)))
			return false;
	return true;
}

/* Not as many as there can be requests: a guest does not choose how much memory its monitor has. */
static bool get_bounce(struct request *r, size_t len)
{
	_Atomic unsigned int *bounces = &r->blk->bounces;

	if (atomic_fetch_add_explicit(bounces, 1, memory_order_relaxed) < BOUNCES_MAX &&
	    posix_memalign(&r->bounce, PAGE, len) == 0)
		return true;
	r->bounce = NULL;
	atomic_fetch_sub_explicit(bounces, 1, memory_order_relaxed);
	return false;
}

/* Reading and writing. */
static void plan_transfer(struct request *r, struct blk_op *op)
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

/* As many whole buffers as there may be in a piece, or a part of the first. */
static void cut(struct request *r, struct blk_op *op)
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

#define HOLE_PIECES 16		    /* of those of data */
#define HOLE_ALIGN  UINT64_C(65536) /* a piece is a multiple of it */

static void plan_allocate(struct request *r, struct blk_op *op)
{
	bool unmap = r->type == T_DISCARD || (r->ranges[r->range].flags & SEGMENT_UNMAP);
	uint64_t most = blk_flight_piece(&r->blk->flight) * (uint64_t)(unmap ? HOLE_PIECES : 1);
	uint64_t end = r->offset + r->left;

	op->kind = BLK_OP_ALLOCATE;
	op->flags = (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
	op->offset = r->offset;
	if (end - r->offset > most)
		end = (r->offset + most) / HOLE_ALIGN * HOLE_ALIGN;
	op->len = end - r->offset;
}

static void plan_sync(struct request *r, struct blk_op *op)
{
	uint32_t most = blk_flight_piece(&r->blk->flight);

	op->kind = BLK_OP_SYNC;
	if (!r->writes_out || (!r->left && !blk_dirty_next(&r->blk->dirty, &r->offset, &r->left)))
		return;
	op->kind = BLK_OP_WRITE_OUT;
	op->offset = r->offset;
	op->len = r->left < most ? r->left : most;
}

/* A piece of zeroes, for file systems that cannot allocate them; all entries are the same page. */
static void plan_zeroes(struct request *r, struct blk_op *op)
{
	const struct blk_image *img = &r->blk->image;
	unsigned int n = 0;

	op->kind = BLK_OP_WRITE;
	op->offset = r->offset;
	op->fd = (r->offset | r->left) & (img->file_align - 1) ? img->unaligned_fd : img->fd;
	for (uint64_t left = r->left; left && n < BUFFERS; n++) {
		size_t len = left < PAGE ? left : PAGE;

		r->buffers[n] = (struct iovec){(char *)zeroes, len};
		left -= len;
		op->len += len;
	}
	op->iov = r->buffers;
	op->count = n;
}

static void plan(struct request *r, struct blk_op *op)
{
	bool through = atomic_load_explicit(&r->blk->write_through, memory_order_relaxed);

	*op = (struct blk_op){.fd = r->blk->image.fd};
	if (r->sync || r->type == T_FLUSH) {
		plan_sync(r, op);
	} else if (r->type == T_IN) {
		op->kind = BLK_OP_READ;
		plan_transfer(r, op);
		cut(r, op);
	} else if (r->type == T_OUT) {
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

/* Into the ring. False: it has to be done right here. */
static bool queue_op(struct request *r, const struct blk_op *op)
{
	struct catnap_halter *self = halter_self();

	if (!self || r->retries > RING_TRIES || blk_op_queue(op, &self->ring, &r->req) < 0)
		return false;
	r->cost = BLK_FLIGHT_OP;
	if (op->kind == BLK_OP_ALLOCATE)
		r->cost += op->len / HOLE_PIECES;
	else
		r->cost += op->len;
	r->began_ns = clock_monotonic_ns();
	blk_flight_begin(&r->blk->flight, r->cost);
	return true;
}

/* The operation in the ring is over. */
static void landed(struct request *r)
{
	struct blk *blk = r->blk;
	uint64_t now = clock_monotonic_ns();
	bool flush = (r->sync || r->type == T_FLUSH) && !r->left; /* as slow as its journal */
	uint32_t queues = blk_flight_end(&blk->flight, r->cost, flush ? 0 : now - r->began_ns, now);

	for (unsigned int i = 0; queues; i++, queues >>= 1) {
		struct catnap_halter *h = queues & 1 ? atomic_load(&blk->queues[i].waiter) : NULL;

		if (h)
			halter_post(h, &blk->dev.queues[i].kick_task);
	}
}

/* -- the sequence of them --------------------------------------------------------------------- */

static const char *const verbs[] = {[T_IN] = "reading",
				    [T_OUT] = "writing",
				    [T_FLUSH] = "flushing",
				    [T_DISCARD] = "discarding",
				    [T_WRITE_ZEROES] = "zeroing"};

/* The request is over. Returns true. */
static bool fail(struct request *r, int err)
{
	r->result = S_IOERR;
	virtio_log(&r->blk->dev, "%s at byte %llu: %s", verbs[r->type],
		   (unsigned long long)r->offset, strerror(-err));
	return true;
}

static void consume(struct request *r, uint64_t n)
{
	r->offset += n;
	r->left -= n;
	while (n && r->count) {
		uint64_t len = r->iov->iov_len < n ? r->iov->iov_len : n;

		r->iov->iov_base = (char *)r->iov->iov_base + len;
		r->iov->iov_len -= len;
		n -= len;
		if (r->iov->iov_len)
			break;
		r->iov++;
		r->count--;
	}
}

/* The next range that is not empty; false: there is none. */
static bool next_range(struct request *r)
{
	while (r->range < r->ranges_count && !r->ranges[r->range].sectors)
		r->range++;
	if (r->range == r->ranges_count)
		return false;
	r->offset = r->ranges[r->range].sector * BLK_SECTOR;
	r->left = (uint64_t)r->ranges[r->range].sectors * BLK_SECTOR;
	r->zeroing = false;
	return true;
}

/* Ranges are done; with write-through they are made durable, too. Returns whether that is all. */
static bool ranges_done(struct request *r)
{
	r->sync = r->type == T_WRITE_ZEROES &&
		  atomic_load_explicit(&r->blk->write_through, memory_order_relaxed);
	return !r->sync;
}

static bool advance_ranges(struct request *r, uint64_t done)
{
	r->offset += done;
	r->left -= done;
	if (r->left)
		return false;
	r->range++;
	return !next_range(r) && ranges_done(r);
}

/*
 * Has it not been done for a reason that passes? Nobody cancels requests here, but the kernel does:
 * before Linux 6.14, all that wait for the first of a thread's workers, if signals have kept it
 * from making that one three times; and a vCPU gets signals all the time.
 */
static bool passes(int res)
{
	return res == -EINTR || res == -EAGAIN || res == -ECANCELED;
}

static bool advance_sync(struct request *r, int res)
{
	struct blk_dirty *d = &r->blk->dirty;

	if (r->left) { /* it was a piece */
		if (res >= 0 || res == -EINVAL || res == -ESPIPE || res == -EOPNOTSUPP ||
		    res == -ENOSYS) {
			r->offset += r->op_len;
			r->left -= r->op_len;
			r->retries = 0;
			return false;
		}
		r->left = 0;
	}
	if (res < 0)
		atomic_fetch_add(&d->errors, 1);
	else if (atomic_load(&d->errors) != r->errors)
		res = -EIO; /* another one was told */
	return res < 0 ? fail(r, res) : true;
}

/* An operation has ended with @res: true if the request has. */
static bool advance(struct request *r, int res)
{
	if (passes(res) && r->retries++ < RETRIES_MAX)
		return false;
	if (r->sync || r->type == T_FLUSH)
		return advance_sync(r, res);
	if (res == -EOPNOTSUPP || res == -ENOSYS) {
		if (r->type == T_DISCARD) {
			r->result = S_UNSUPP;
			return true;
		}
		if (r->type == T_WRITE_ZEROES && !r->zeroing) {
			r->zeroing = true;
			return false;
		}
	}
	if (res < 0)
		return fail(r, res);
	if (r->type == T_DISCARD || (r->type == T_WRITE_ZEROES && !r->zeroing))
		return advance_ranges(r, r->op_len);
	/* The image has become shorter than it was. */
	if (res == 0 || (uint64_t)res > r->left)
		return fail(r, -ENODATA);
	r->retries = 0;
	if (r->type == T_WRITE_ZEROES) {
		blk_dirty_note(&r->blk->dirty, r->offset, (uint64_t)res);
		return advance_ranges(r, (uint64_t)res);
	}
	if (r->type == T_IN && r->bounced)
		iov_write(r->iov, r->count, 0, r->bounce, (size_t)res);
	if (r->type == T_OUT && r->buffered)
		blk_dirty_note(&r->blk->dirty, r->offset, (uint64_t)res);
	consume(r, (uint64_t)res);
	return r->left == 0;
}

static void release(struct blk_queue *bq, struct request *r)
{
	if (r->bounce)
		atomic_fetch_sub_explicit(&r->blk->bounces, 1, memory_order_relaxed);
	free(r->bounce);
	r->bounce = NULL;
	if (r->writes_out)
		blk_dirty_end(&r->blk->dirty, r->result == S_OK && r->complete);
	r->writes_out = false;
	bq->free[bq->free_count++] = r->slot;
}

static void complete(struct request *r)
{
	struct blk *blk = r->blk;
	struct virtqueue *q = &blk->dev.queues[r->queue].vq;
	unsigned int index = r->queue;

	if (r->result != S_OK)
		virtio_count(&blk->dev.counters.errors, 1);
	__atomic_store_n(r->status, r->result, __ATOMIC_RELAXED);
	r->complete = true;
	pthread_mutex_lock(&q->lock);
	vq_push(q, r->head, r->written);
	virtio_publish(&blk->dev, index);
	if (r->is_long) {
		blk->queues[index].has_long = false;
		/* What has waited behind it. With no ring it was done within its kick, which goes
		 * on by itself. */
		(void)virtio_kick_later(&blk->dev, index);
	}
	release(&blk->queues[index], r);
	pthread_mutex_unlock(&q->lock);
	virtio_request_end(&blk->dev);
}

static void go_on(struct request *r, uint32_t *budget);

/* Takes it up again, unless the device was reset meanwhile: then it is nobody's. */
static void resume(struct halter_task *task)
{
	struct request *r = (struct request *)((char *)task - offsetof(struct request, task));
	struct blk *blk = r->blk;
	struct virtqueue *q = &blk->dev.queues[r->queue].vq;
	uint32_t budget = BLK_HERE_MAX;
	bool its;

	pthread_mutex_lock(&q->lock);
	its = atomic_load(&blk->dev.running) && atomic_load(&blk->generation) == r->generation;
	if (its)
		virtio_request_begin(&blk->dev);
	else
		release(&blk->queues[r->queue], r);
	pthread_mutex_unlock(&q->lock);
	if (its)
		go_on(r, &budget);
}

static void put_off(struct request *r, struct catnap_halter *self)
{
	r->task.run = resume;
	virtio_request_end(&r->blk->dev);
	halter_post(self, &r->task);
}

/* Has the thread something else to do before the next operation? @first: of this turn. */
static bool has_to_stop(const struct request *r, struct catnap_halter *self, bool first)
{
	if (!self)
		return false;
	if (halter_draining(self) || (!first && !atomic_load(&r->blk->dev.running)))
		return true;
	/* Plain system calls: one after the other, with the loop's other work in between. */
	return self->ring.plain && (!first || halter_called(self));
}

/* Goes on with the request until it waits for the ring, is put off, or complete. *@budget: bytes
 * that this thread may copy by itself. */
static void go_on(struct request *r, uint32_t *budget)
{
	struct catnap_halter *self = halter_self();
	bool first = true;
	struct blk_op op;
	int res;

	do {
		if (has_to_stop(r, self, first)) {
			put_off(r, self);
			return;
		}
		first = false;
		plan(r, &op);
		r->op_len = op.len;
		r->buffered = op.fd == r->blk->image.unaligned_fd && !(op.flags & RWF_DSYNC) &&
			      !r->blk->image.in_memory;
		if (!blk_op_here(&r->blk->image, &op, budget, &res)) {
			if (queue_op(r, &op))
				return;
			res = blk_op_do(&op);
		}
	} while (!advance(r, res));
	complete(r);
}

static void on_done(struct ring_req *req, int res)
{
	struct request *r = (struct request *)req;
	uint32_t budget = BLK_HERE_MAX;

	landed(r);
	if (advance(r, res))
		complete(r);
	else
		go_on(r, &budget);
}

/* -- what a request asks for ------------------------------------------------------------------ */

/* Takes @n bytes off the front. */
static void skip(struct request *r, size_t n)
{
	while (n && r->count) {
		size_t len = r->iov->iov_len < n ? r->iov->iov_len : n;

		r->iov->iov_base = (char *)r->iov->iov_base + len;
		r->iov->iov_len -= len;
		n -= len;
		if (!r->iov->iov_len) {
			r->iov++;
			r->count--;
		}
	}
}

static bool in_image(const struct blk *blk, uint64_t sector, uint64_t sectors)
{
	uint64_t end = atomic_load_explicit(&blk->image.sectors, memory_order_relaxed);

	return sector <= end && sectors <= end - sector;
}

/* What follows return true if there is something to do; else the result is set. */

static bool parse_transfer(struct request *r, uint64_t sector, uint64_t len)
{
	if (len % BLK_SECTOR || !in_image(r->blk, sector, len / BLK_SECTOR) ||
	    (r->type == T_OUT && r->blk->readonly)) {
		r->result = S_IOERR;
		return false;
	}
	r->offset = sector * BLK_SECTOR;
	r->left = len;
	virtio_count(r->type == T_OUT ? &r->blk->dev.counters.written_bytes
				      : &r->blk->dev.counters.read_bytes,
		     len);
	return len != 0;
}

/* 5.2.6.2: which flags make a range unsupported. */
static uint8_t check_range(const struct request *r, const struct range *range)
{
	uint32_t flags = r->type == T_WRITE_ZEROES ? SEGMENT_UNMAP : 0;
	uint32_t most = r->type == T_WRITE_ZEROES ? WRITE_ZEROES_MAX : DISCARD_MAX;

	if (range->flags & ~flags)
		return S_UNSUPP;
	return range->sectors > most || !in_image(r->blk, range->sector, range->sectors) ? S_IOERR
											 : S_OK;
}

static bool parse_ranges(struct request *r, uint64_t len)
{
	struct blk *blk = r->blk;

	r->result = S_UNSUPP;
	if (r->type == T_DISCARD && !(blk->dev.offered >> F_DISCARD & 1))
		return false;
	r->result = S_IOERR;
	if (blk->readonly || !len || len % sizeof(struct range) || len > sizeof(r->ranges))
		return false;
	if (r->type == T_WRITE_ZEROES && len > sizeof(struct range))
		return false;
	iov_read(r->iov, r->count, 0, r->ranges, len);
	r->ranges_count = (uint8_t)(len / sizeof(struct range));
	r->range = 0;
	for (unsigned int i = 0; i < r->ranges_count; i++) {
		r->result = check_range(r, &r->ranges[i]);
		if (r->result != S_OK)
			return false;
	}
	return next_range(r);
}

static void parse_flush(struct request *r)
{
	struct blk_dirty *d = &r->blk->dirty;

	r->writes_out =
		!r->blk->image.in_memory && blk_dirty_begin(d, blk_flight_piece(&r->blk->flight));
}

static bool parse(struct request *r, const struct vq_chain *c)
{
	uint32_t in_data = c->in_len - 1, out_data = c->out_len - sizeof(struct request_header);
	struct request_header h;

	iov_read(r->iov, c->out, 0, &h, sizeof(h));
	r->type = h.type;
	r->count = c->out;
	skip(r, sizeof(h));
	if (h.type == T_IN || h.type == T_GET_ID) {
		r->iov = r->buffers + c->out;
		r->count = c->in;
		if (!--r->iov[c->in - 1].iov_len)
			r->count--; /* the status had a buffer of its own */
	}
	switch (h.type) {
	case T_IN:
		return parse_transfer(r, h.sector, in_data);
	case T_OUT:
		return parse_transfer(r, h.sector, out_data);
	case T_FLUSH:
		parse_flush(r);
		return true;
	case T_GET_ID:
		/* With no NUL behind it if it is as long as there is room. */
		iov_write(r->iov, r->count, 0, r->blk->id,
			  in_data < BLK_ID_MAX ? in_data : BLK_ID_MAX);
		return false;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return parse_ranges(r, out_data);
	default:
		r->result = S_UNSUPP;
		return false;
	}
}

/* -- queues ----------------------------------------------------------------------------------- */

/* Queue lock held. A request that was taken from the queue, and counts as in flight; NULL: there is
 * none, or *@ret < 0: the queue is broken. */
static struct request *take(struct blk *blk, unsigned int index, struct vq_chain *c, int *ret)
{
	struct blk_queue *bq = &blk->queues[index];
	struct virtqueue *q = &blk->dev.queues[index].vq;
	struct iovec *last;
	struct request *r;

	*ret = 0;
	if (!atomic_load(&blk->dev.running) || !bq->free_count)
		return NULL;
	r = &bq->requests[bq->free[bq->free_count - 1]];
	*c = (struct vq_chain){.iov = r->buffers, .max = BUFFERS};
	*ret = vq_pop(q, c);
	if (*ret <= 0)
		return NULL;
	/* There is no place to say what is wrong with it. */
	if (c->out_len < sizeof(struct request_header) || !c->in_len) {
		vq_push(q, c->head, 0);
		*ret = vq_break(q, "a request without header or status");
		return NULL;
	}
	bq->free_count--;
	r->req.done = on_done;
	r->blk = blk;
	r->slot = bq->free[bq->free_count];
	r->queue = (uint16_t)index;
	r->head = c->head;
	last = &c->iov[c->out + c->in - 1];
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r->written = c->in_len; /* up to the status, which is the last byte */
	r->iov = r->buffers;
	r->offset = r->left = 0;
	r->result = S_OK;
	r->retries = 0;
	r->zeroing = r->sync = r->complete = false;
	r->generation = atomic_load(&blk->generation);
	r->errors = atomic_load(&blk->dirty.errors);
	r->is_long = (uint64_t)c->out_len + c->in_len >
		     LONG_TRANSFER + sizeof(struct request_header) + 1;
	bq->has_long = r->is_long;
	virtio_request_begin(&blk->dev);
	return r;
}

/* Queue lock held. There is a request, which has to wait; the kick comes back when it need not. */
static bool has_to_wait(struct blk *blk, unsigned int index)
{
	struct blk_queue *bq = &blk->queues[index];
	struct virtqueue *q = &blk->dev.queues[index].vq;

	if (!atomic_load(&blk->dev.running))
		return false;
	if (halter_self() && blk_flight_full(&blk->flight, index)) {
		atomic_store(&bq->waiter, halter_self());
		if (blk_flight_full(&blk->flight,
				    index)) { /* who saw the bit sees the waiter, too */
			throttle_rest(&blk->throttle, &bq->place);
			vq_kicks(q, false);
			return true;
		}
	}
	if (bq->has_long) {
		throttle_rest(&blk->throttle, &bq->place);
		vq_kicks(q, false);
		return true;
	}
	if (!blk->throttle.on || !bq->free_count)
		return false;
	if (!vq_waiting(q)) {
		throttle_rest(&blk->throttle, &bq->place);
		return false;
	}
	if (throttle_pass(&blk->throttle, &bq->place, halter_self()))
		return false;
	vq_kicks(q, false);
	return true;
}

static uint64_t bytes_of(const struct request *r)
{
	if (r->type == T_IN || r->type == T_OUT)
		return r->left;
	return r->type == T_WRITE_ZEROES ? r->ranges[0].sectors * (uint64_t)BLK_SECTOR : 0;
}

/* Does what the request that was taken asks for. */
static void begin(struct request *r, const struct vq_chain *c, uint32_t *budget)
{
	bool something = parse(r, c);

	virtio_count(&r->blk->dev.counters.requests, 1);
	throttle_charge(&r->blk->throttle, 1, something ? bytes_of(r) : 0);
	if (something)
		go_on(r, budget);
	else
		complete(r);
}

/* Requests are done within the kick, and somebody wants the thread. */
static bool plain_called(void)
{
	struct catnap_halter *self = halter_self();

	return self && self->ring.plain && halter_called(self);
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct blk *blk = (struct blk *)dev;
	struct virtqueue *q = &dev->queues[index].vq;
	uint32_t budget = BLK_HERE_KICK_MAX;
	unsigned int limit = QUEUE_SIZE;
	struct request *r;
	struct vq_chain c;
	bool more;
	int ret;

	do {
		pthread_mutex_lock(&q->lock);
		if (has_to_wait(blk, index)) {
			pthread_mutex_unlock(&q->lock);
			return;
		}
		r = take(blk, index, &c, &ret);
		if (ret < 0)
			virtio_broken(dev, q->fault);
		more = r || (ret == 0 && vq_kicks(q, true));
		pthread_mutex_unlock(&q->lock);
		if (r)
			begin(r, &c, &budget);
		if (more && (!--limit || plain_called())) {
			more = !virtio_kick_later(dev, index);
			limit = QUEUE_SIZE;
		}
	} while (more && atomic_load(&dev->running));
}

/* -- configuration ---------------------------------------------------------------------------- */

/* 5.2.5.2: a driver that can set the cache mode, but not flush, begins with write-through. */
static uint8_t writeback(struct blk *blk)
{
	if (!blk->writeback_set && virtio_has(&blk->dev, F_CONFIG_WCE))
		return virtio_has(&blk->dev, F_FLUSH);
	return blk->config.writeback;
}

/* 5.2.6.2: without a flush to be had, writes are durable when they complete. */
static void set_cache(struct blk *blk)
{
	bool back = virtio_has(&blk->dev, F_CONFIG_WCE) ? writeback(blk)
							: virtio_has(&blk->dev, F_FLUSH);

	atomic_store_explicit(&blk->write_through, !back, memory_order_relaxed);
}

static void config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	struct blk *blk = (struct blk *)dev;
	struct config c = blk->config;

	c.writeback = writeback(blk);
	memcpy(data, (const char *)&c + offset, len);
}

static void config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	struct blk *blk = (struct blk *)dev;
	uint32_t at = offsetof(struct config, writeback);

	if (offset > at || at - offset >= len || !virtio_has(dev, F_CONFIG_WCE))
		return;
	blk->config.writeback = ((const uint8_t *)data)[at - offset] & 1;
	blk->writeback_set = true;
	set_cache(blk);
}

static void start(struct virtio_device *dev)
{
	set_cache((struct blk *)dev);
}

static void reset(struct virtio_device *dev)
{
	struct blk *blk = (struct blk *)dev;

	atomic_fetch_add(&blk->generation, 1);
	for (unsigned int i = 0; i < blk->dev.queue_count; i++) {
		pthread_mutex_lock(&blk->dev.queues[i].vq.lock);
		blk->queues[i].has_long = false;
		pthread_mutex_unlock(&blk->dev.queues[i].vq.lock);
	}
	blk->config.writeback = 1;
	blk->writeback_set = false;
	throttle_reset(&blk->throttle);
}

static const struct virtio_ops ops = {
	.config_read = config_read,
	.config_write = config_write,
	.start = start,
	.kick = kick,
	.reset = reset,
};

static uint8_t log2_of(uint32_t ratio)
{
	return (uint8_t)__builtin_ctz(ratio ? ratio : 1);
}

static void fill_config(struct blk *blk, uint16_t queues)
{
	const struct blk_image *img = &blk->image;
	uint32_t min = img->io_min ? img->io_min : img->physical;

	blk->config = (struct config){
		.capacity = atomic_load(&img->sectors),
		.seg_max = SEG_MAX,
		.blk_size = img->logical,
		.physical_block_exp = log2_of(img->physical / img->logical),
		.min_io_size = (uint16_t)(min / img->logical > UINT16_MAX ? 0 : min / img->logical),
		.opt_io_size = img->io_opt / img->logical,
		.writeback = 1,
		.num_queues = queues,
		.max_discard_sectors = DISCARD_MAX,
		.max_discard_seg = RANGES_MAX,
		.discard_sector_alignment = img->physical / BLK_SECTOR,
		.max_write_zeroes_sectors = WRITE_ZEROES_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = img->discard,
	};
	blk->dev.offered = UINT64_C(1) << F_SEG_MAX | UINT64_C(1) << F_BLK_SIZE |
			   UINT64_C(1) << F_TOPOLOGY | UINT64_C(1) << F_FLUSH;
	if (queues > 1)
		blk->dev.offered |= UINT64_C(1) << F_MQ;
	if (blk->readonly)
		blk->dev.offered |= UINT64_C(1) << F_RO;
	else
		blk->dev.offered |= UINT64_C(1) << F_CONFIG_WCE | UINT64_C(1) << F_WRITE_ZEROES;
	if (img->discard)
		blk->dev.offered |= UINT64_C(1) << F_DISCARD;
}

static int make_queues(struct blk *blk)
{
	for (unsigned int i = 0; i < blk->dev.queue_count; i++) {
		struct blk_queue *bq = &blk->queues[i];

		bq->requests = calloc(QUEUE_SIZE, sizeof(*bq->requests));
		if (!bq->requests)
			return -ENOMEM;
		/* Taken from the end: the first ones are used over and over. */
		for (uint16_t n = 0; n < QUEUE_SIZE; n++)
			bq->free[n] = (uint16_t)(QUEUE_SIZE - 1 - n);
		bq->free_count = QUEUE_SIZE;
	}
	return 0;
}

static void free_blk(struct blk *blk)
{
	for (unsigned int i = 0; i < BLK_QUEUES_MAX; i++) {
		struct request *r = blk->queues[i].requests;

		/* Those that were put off have buffers still. */
		for (unsigned int n = 0; r && n < QUEUE_SIZE; n++)
			free(r[n].bounce);
		free(r);
	}
	blk_dirty_fini(&blk->dirty);
	throttle_fini(&blk->throttle);
	blk_image_close(&blk->image);
	free(blk);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int blk_create(const struct blk_config *cfg, const struct dma *dma, struct virtio_device **out,
	       char *why, size_t size)
{
	struct blk *blk;
	int ret;

	if (cfg->queues < 1 || cfg->queues > BLK_QUEUES_MAX) {
		snprintf(why, size, "disk: queues: %u is out of range: 1 to %u", cfg->queues,
			 BLK_QUEUES_MAX);
		return -EINVAL;
	}
	if (cfg->id && strlen(cfg->id) > BLK_ID_MAX) {
		snprintf(why, size, "disk: id: \"%.40s\" has more than %u characters", cfg->id,
			 BLK_ID_MAX);
		return -EINVAL;
	}
	blk = calloc(1, sizeof(*blk));
	if (!blk) {
		snprintf(why, size, "disk: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	ret = blk_image_open(&blk->image, cfg, why, size);
	if (ret < 0) {
		free(blk);
		return ret;
	}
	blk->readonly = cfg->readonly;
	snprintf(blk->name, sizeof(blk->name), "disk %s", base_name(cfg->path));
	snprintf(blk->id, sizeof(blk->id), "%s", cfg->id ? cfg->id : "");
	blk->dev.ops = &ops;
	blk->dev.name = blk->name;
	blk->dev.id = TYPE_BLOCK;
	blk->dev.config = &blk->config;
	blk->dev.config_len = offsetof(struct config, unused1) + sizeof(blk->config.unused1);
	blk->dev.queue_count = cfg->queues;
	blk->dev.dma = dma;
	blk_flight_init(&blk->flight);
	fill_config(blk, cfg->queues);
	ret = make_queues(blk);
	if (ret == 0)
		ret = blk_dirty_init(&blk->dirty, blk->image.sectors * BLK_SECTOR);
	if (ret == 0)
		ret = throttle_init(&blk->throttle, &cfg->limits);
	if (ret == 0)
		ret = virtio_init(&blk->dev, QUEUE_SIZE);
	if (ret < 0) {
		snprintf(why, size, "disk: %s: %s", cfg->path, strerror(-ret));
		free_blk(blk);
		return ret;
	}
	for (unsigned int i = 0; i < cfg->queues; i++)
		blk->queues[i].place.task = &blk->dev.queues[i].kick_task;
	blk->dev.throttles[0] = &blk->throttle;
	*out = &blk->dev;
	return 0;
}

void blk_destroy(struct virtio_device *dev)
{
	virtio_fini(dev);
	free_blk((struct blk *)dev);
}

int blk_update(struct virtio_device *dev, uint64_t *bytes, char *why, size_t size)
{
	struct blk *blk = (struct blk *)dev;
	uint64_t sectors = 0, before;
	int ret;

	/* Within the lock, so that of two who look the later one's word stands. */
	pthread_mutex_lock(&dev->lock);
	ret = blk_image_sectors(&blk->image, blk->name + strlen("disk "), &sectors, why, size);
	before = atomic_load_explicit(&blk->image.sectors, memory_order_relaxed);
	if (ret == 0 && sectors != before) {
		/* First what is allowed, then what is told: nobody is refused what he was offered.
		 */
		blk_dirty_resize(&blk->dirty, sectors * BLK_SECTOR);
		atomic_store_explicit(&blk->image.sectors, sectors, memory_order_relaxed);
		blk->config.capacity = sectors;
		virtio_config_changed(dev);
	}
	pthread_mutex_unlock(&dev->lock);
	if (ret == 0 && sectors < before)
		virtio_log(dev, "%llu bytes, less than before: what lies behind them is lost",
			   (unsigned long long)sectors * BLK_SECTOR);
	*bytes = (ret == 0 ? sectors : before) * BLK_SECTOR;
	return ret;
}
