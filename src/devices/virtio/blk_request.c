/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to a disk is a sequence of operations on the image. One that waits for no device is
 * done at once; others go into the ring of the thread that runs the request; where there is none to
 * be had, they are plain system calls (blk_op.h).
 *
 * A thread that pauses or ends the VM waits for operations, not for requests: between two
 * operations a request can be put off, as a task of the thread that runs it, which goes on after a
 * pause. At the end of the VM it never does, and the guest never hears that it was done. It uses no
 * guest memory meanwhile, so a reset does not wait for it, and it finds out when it would go on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "devices/virtio/blk_impl.h"
#include "relaxed.h"

#define RETRIES_MAX 64 /* of an operation that has to be repeated */
#define RING_TRIES  8  /* before it is done without the ring */

static const char *const verbs[] = {[BLK_T_IN] = "reading",
				    [BLK_T_OUT] = "writing",
				    [BLK_T_FLUSH] = "flushing",
				    [BLK_T_DISCARD] = "discarding",
				    [BLK_T_WRITE_ZEROES] = "zeroing"};

/* Ends the request with an error. Returns true. */
static bool fail(struct blk_request *r, int err)
{
	r->result = BLK_S_IOERR;
	virtio_log(&r->blk->dev, "%s at byte %llu: %s", verbs[r->type],
		   (unsigned long long)r->offset, strerror(-err));
	return true;
}

bool blk_request_next_range(struct blk_request *r)
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

/* Ends a request whose ranges are done; with write-through they are made durable, too. Returns
 * whether that is all. */
static bool ranges_done(struct blk_request *r)
{
	r->sync = r->type == BLK_T_WRITE_ZEROES && relaxed_load(&r->blk->write_through);
	return !r->sync;
}

static bool advance_ranges(struct blk_request *r, uint64_t done)
{
	r->offset += done;
	r->left -= done;
	if (r->left)
		return false;
	r->range++;
	return !blk_request_next_range(r) && ranges_done(r);
}

/*
 * Returns whether it has not been done for a reason that passes. Nobody cancels requests here, but
 * the kernel does: before Linux 6.14, all that wait for the first of a thread's workers, if signals
 * have kept it from making that one three times; and a vCPU gets signals all the time.
 */
static bool passes(int res)
{
	return res == -EINTR || res == -EAGAIN || res == -ECANCELED;
}

static bool advance_sync(struct blk_request *r, int res)
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
	else if (relaxed_load(&d->owed) && atomic_exchange(&d->owed, false))
		res = -EIO; /* somebody was told who had not asked for it */
	return res < 0 ? fail(r, res) : true;
}

/* Goes on after an operation that has ended with @res. Returns true if the request has ended. */
static bool advance(struct blk_request *r, int res)
{
	if (passes(res) && r->retries++ < RETRIES_MAX)
		return false;
	if (r->sync || r->type == BLK_T_FLUSH)
		return advance_sync(r, res);
	if (res == -EOPNOTSUPP || res == -ENOSYS) {
		if (r->type == BLK_T_DISCARD) {
			r->result = BLK_S_UNSUPP;
			return true;
		}
		if (r->type == BLK_T_WRITE_ZEROES && !r->zeroing) {
			r->zeroing = true;
			return false;
		}
	}
	if (res < 0)
		return fail(r, res);
	if (r->type == BLK_T_DISCARD || (r->type == BLK_T_WRITE_ZEROES && !r->zeroing))
		return advance_ranges(r, r->op_len);
	/* The image has become shorter than it was. */
	if (res == 0 || (uint64_t)res > r->left)
		return fail(r, -ENODATA);
	r->retries = 0;
	if (r->type == BLK_T_WRITE_ZEROES) {
		blk_dirty_note(&r->blk->dirty, r->offset, (uint64_t)res);
		return advance_ranges(r, (uint64_t)res);
	}
	if (r->type == BLK_T_IN && r->bounced)
		iov_write(r->iov, r->count, 0, r->bounce, (size_t)res);
	if (r->type == BLK_T_OUT && r->buffered)
		blk_dirty_note(&r->blk->dirty, r->offset, (uint64_t)res);
	r->offset += (uint64_t)res;
	r->left -= (uint64_t)res;
	r->count = iov_skip(&r->iov, r->count, (size_t)res);
	return r->left == 0;
}

static void release(struct blk_queue *bq, struct blk_request *r)
{
	if (r->bounce)
		atomic_fetch_sub_explicit(&r->blk->bounces, 1, memory_order_relaxed);
	free(r->bounce);
	r->bounce = NULL;
	if (r->writes_out)
		blk_dirty_end(&r->blk->dirty, r->result == BLK_S_OK && r->complete);
	r->writes_out = false;
	bq->free[bq->free_count++] = r->slot;
	/* Pairs with whoever changes the image: it sets changing and then reads taken. */
	if (atomic_fetch_sub(&r->blk->taken, 1) == 1 && atomic_load(&r->blk->changing))
		virtio_tell_idle(&r->blk->dev);
}

void blk_request_complete(struct blk_request *r)
{
	struct blk *blk = r->blk;
	struct virtqueue *q = &blk->dev.queues[r->queue].vq;
	unsigned int index = r->queue;

	if (r->result != BLK_S_OK)
		virtio_count(&blk->dev.counters.errors, 1);
	__atomic_store_n(r->status, r->result, __ATOMIC_RELAXED);
	r->complete = true;
	pthread_mutex_lock(&q->lock);
	vq_push(q, r->head, r->written);
	virtio_publish(&blk->dev, index);
	if (r->is_long) {
		blk->queues[index].has_long = false;
		/* Requests have waited behind it. With no ring it was done within its kick, which
		 * goes on by itself. */
		(void)virtio_kick_later(&blk->dev, index);
	}
	release(&blk->queues[index], r);
	pthread_mutex_unlock(&q->lock);
	virtio_request_end(&blk->dev);
}

/* Takes it up again, unless the device was reset meanwhile: then it is nobody's. */
static void resume(struct halter_task *task)
{
	struct blk_request *r = container_of(task, struct blk_request, task);
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
		blk_request_run(r, halter_self(), &budget);
}

static void put_off(struct blk_request *r, struct catnap_halter *self)
{
	r->task.run = resume;
	virtio_request_end(&r->blk->dev);
	halter_post(self, &r->task);
}

/* Returns whether one operation does what is left. One that changes holes has a length that says
 * little of its time. */
static bool is_small(const struct blk_request *r)
{
	return r->type != BLK_T_DISCARD && r->type != BLK_T_WRITE_ZEROES &&
	       r->left <= blk_flight_piece(&r->blk->flight);
}

/* Returns whether the thread has something else to do before the next operation. @first: of this
 * turn. What is small is rather done: it would be neither done nor to be taken back in a pause. */
static bool has_to_stop(const struct blk_request *r, struct catnap_halter *self, bool first)
{
	if (!self)
		return false;
	if (halter_draining(self) || (!first && !atomic_load(&r->blk->dev.running)))
		return true;
	/* Plain system calls: one after the other, with the loop's other work in between. */
	return self->ring.plain && (!first || (halter_called(self) && !is_small(r)));
}

static void on_done(struct ring_req *req, int res);

/* Puts the operation into the ring. Returns false if it has to be done right here. */
static bool queue_op(struct blk_request *r, const struct blk_op *op, struct catnap_halter *self)
{
	r->req.done = on_done;
	if (!self || r->retries > RING_TRIES || blk_op_queue(op, &self->ring, &r->req) < 0)
		return false;
	r->cost = BLK_FLIGHT_OP;
	if (op->kind == BLK_OP_ALLOCATE)
		r->cost += op->len / BLK_HOLE_PIECES;
	else
		r->cost += op->len;
	r->began_ns = clock_monotonic_ns();
	blk_flight_begin(&r->blk->flight, r->cost);
	return true;
}

void blk_request_run(struct blk_request *r, struct catnap_halter *self, uint32_t *budget)
{
	bool first = true;
	struct blk_op op;
	int res;

	do {
		if (has_to_stop(r, self, first)) {
			put_off(r, self);
			return;
		}
		first = false;
		blk_plan(r, &op);
		r->op_len = op.len;
		r->buffered = op.fd == r->blk->image.unaligned_fd && !(op.flags & RWF_DSYNC) &&
			      !r->blk->image.in_memory;
		if (op.kind == BLK_OP_WRITE && dma_lost(r->blk->dev.dma)) {
			res = -EFAULT;
		} else if (!blk_op_here(&r->blk->image, &op, budget, &res)) {
			if (queue_op(r, &op, self))
				return;
			res = blk_op_do(&op);
		}
	} while (!advance(r, res));
	blk_request_complete(r);
}

/* Takes note that the operation in the ring is over. */
static void landed(struct blk_request *r)
{
	struct blk *blk = r->blk;
	uint64_t now = clock_monotonic_ns();
	bool flush = (r->sync || r->type == BLK_T_FLUSH) && !r->left; /* as slow as its journal */
	uint32_t queues = blk_flight_end(&blk->flight, r->cost, flush ? 0 : now - r->began_ns, now);

	for (unsigned int i = 0; queues; i++, queues >>= 1) {
		struct catnap_halter *h = queues & 1 ? atomic_load(&blk->queues[i].waiter) : NULL;

		if (h)
			halter_post(h, &blk->dev.queues[i].kick_task);
	}
}

static void on_done(struct ring_req *req, int res)
{
	struct blk_request *r = container_of(req, struct blk_request, req);
	uint32_t budget = BLK_HERE_MAX;

	landed(r);
	if (advance(r, res))
		blk_request_complete(r);
	else
		blk_request_run(r, halter_self(), &budget);
}
