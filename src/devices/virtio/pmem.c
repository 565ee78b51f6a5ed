/* SPDX-License-Identifier: Apache-2.0 */
/* See pmem.h. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "devices/virtio/blk_op.h"
#include "devices/virtio/pmem.h"
#include "devices/virtio/throttle.h"
#include "relaxed.h"

#define QUEUE_SIZE 64 /* a bit of a word each */
#define BUFFERS	   8  /* of a request; drivers have two */
#define TRIES	   64 /* of an fdatasync that ends for a reason that passes */

#define TYPE_FLUSH 0u
#define RESULT_OK  0u
#define RESULT_EIO UINT32_MAX /* 5.19.6 */

struct config_space {
	uint64_t start, size; /* bytes */
};

_Static_assert(sizeof(struct config_space) == 16, "5.19.4");
_Static_assert(sizeof(uint64_t) * 8 >= QUEUE_SIZE, "a bit for each chain");

struct pmem {
	struct virtio_device dev;
	struct blk_image image;
	struct config_space config;
	bool readonly;
	char name[64];
	struct throttle throttle;
	struct throttle_place place;
	struct ring_req req;	 /* the fdatasync that is under way */
	struct halter_task task; /* begins one that was put off; posted to the home */

	/* Under the queue's lock. Chains, a bit for each head. */
	uint64_t waiting; /* for the next fdatasync */
	uint64_t served;  /* by the one under way */
	bool syncing;	  /* there is one */
	unsigned int tries;
	uint8_t *results[QUEUE_SIZE]; /* in guest memory, by head; four bytes each */

	_Atomic bool owed; /* an error that no flush was told of; a snapshot's */
};

static struct pmem *to_pmem(struct virtio_device *dev)
{
	return container_of(dev, struct pmem, dev);
}

/* -- flushes ---------------------------------------------------------------------------------- */

/* Writes results in guest memory, which need not be aligned. */
static void answer(struct pmem *p, unsigned int head, uint32_t result)
{
	memcpy(p->results[head], &result, sizeof(result));
	vq_push(&p->dev.queues[0].vq, (uint16_t)head, sizeof(result));
}

/* Answers all that were served with the result of an fdatasync. The queue's lock is held. */
static void answer_served(struct pmem *p, int res)
{
	if (res >= 0 && relaxed_load(&p->owed) && atomic_exchange(&p->owed, false))
		res = -EIO;
	if (res < 0)
		virtio_log(&p->dev, "flushing: %s", strerror(-res));
	for (; p->served; p->served &= p->served - 1) {
		if (res < 0)
			virtio_count(&p->dev.counters.errors, 1);
		answer(p, (unsigned int)__builtin_ctzll(p->served),
		       res < 0 ? RESULT_EIO : RESULT_OK);
	}
	virtio_publish(&p->dev, 0);
}

static void on_synced(struct ring_req *req, int res);

/* Puts an fdatasync into the ring of this thread. Returns false if there is none. */
static bool queue_sync(struct pmem *p, struct catnap_halter *self)
{
	const struct blk_op op = {.kind = BLK_OP_SYNC, .fd = p->image.fd};

	p->req.done = on_synced;
	return self && blk_op_queue(&op, &self->ring, &p->req) == 0;
}

/* Returns whether an fdatasync can be done at once: there is nothing to make durable. */
static bool is_quick(const struct pmem *p)
{
	return p->readonly || p->image.in_memory;
}

/*
 * Serves those that wait, if no fdatasync is under way. Without a ring the thread waits for it
 * itself. The queue's lock is held, and let go meanwhile.
 */
static void serve(struct pmem *p, struct catnap_halter *self)
{
	const struct blk_op op = {.kind = BLK_OP_SYNC, .fd = p->image.fd};
	struct virtqueue *q = &p->dev.queues[0].vq;

	if (!p->waiting || p->syncing || !atomic_load(&p->dev.running))
		return;
	if (self && halter_draining(self)) {
		halter_post(p->dev.home, &p->task);
		return;
	}
	p->served = p->waiting;
	p->waiting = 0;
	if (is_quick(p)) {
		answer_served(p, 0);
		return;
	}
	p->syncing = true;
	virtio_request_begin(&p->dev);
	if (queue_sync(p, self))
		return;
	pthread_mutex_unlock(&q->lock);
	on_synced(&p->req, blk_op_do(&op));
	pthread_mutex_lock(&q->lock);
}

/* Returns whether the fdatasync has not been done for a reason that passes. */
static bool passes(int res)
{
	return res == -EINTR || res == -EAGAIN || res == -ECANCELED;
}

/* Takes the result of an fdatasync, and has the next one begin. */
static void on_synced(struct ring_req *req, int res)
{
	struct pmem *p = container_of(req, struct pmem, req);
	struct virtqueue *q = &p->dev.queues[0].vq;

	pthread_mutex_lock(&q->lock);
	p->syncing = false;
	if (passes(res) && p->tries++ < TRIES) {
		/* It was not done: they wait again, unless a reset has come. */
		p->waiting |= p->served;
		p->served = 0;
	} else {
		p->tries = 0;
		answer_served(p, res);
	}
	if (p->waiting && atomic_load(&p->dev.running))
		halter_post(p->dev.home, &p->task);
	pthread_mutex_unlock(&q->lock);
	virtio_request_end(&p->dev);
}

static void serve_again(struct halter_task *task)
{
	struct pmem *p = container_of(task, struct pmem, task);
	struct virtqueue *q = &p->dev.queues[0].vq;

	pthread_mutex_lock(&q->lock);
	serve(p, halter_self());
	pthread_mutex_unlock(&q->lock);
}

/* -- the queue -------------------------------------------------------------------------------- */

/* Takes a request. Returns false, with the queue broken, if it has no room for its result. */
static bool take(struct pmem *p, const struct vq_chain *c)
{
	struct virtqueue *q = &p->dev.queues[0].vq;
	uint32_t type;

	/* The result is in one buffer: drivers have never cut it up. */
	if (!c->in || c->iov[c->out].iov_len < sizeof(uint32_t) ||
	    iov_read(c->iov, c->out, 0, &type, sizeof(type)) < sizeof(type)) {
		vq_break(q, "a request without room for its type or its result");
		return false;
	}
	p->results[c->head] = c->iov[c->out].iov_base;
	virtio_count(&p->dev.counters.requests, 1);
	if (type == TYPE_FLUSH) {
		p->waiting |= UINT64_C(1) << c->head;
	} else {
		virtio_fault(&p->dev);
		virtio_count(&p->dev.counters.errors, 1);
		answer(p, c->head, RESULT_EIO);
	}
	return true;
}

/* Returns whether there is a flush that has to wait for the limit; the kick comes back when it need
 * not. The queue's lock is held. */
static bool has_to_wait(struct pmem *p, struct virtqueue *q)
{
	if (!throttle_on(&p->throttle))
		return false;
	if (!vq_waiting(q)) {
		throttle_rest(&p->throttle, &p->place);
		return false;
	}
	if (throttle_pass(&p->throttle, &p->place, halter_self()))
		return false;
	vq_kicks(q, false);
	return true;
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct pmem *p = to_pmem(dev);
	struct virtqueue *q = &dev->queues[index].vq;
	struct iovec iov[BUFFERS];
	struct vq_chain c = {.iov = iov, .max = BUFFERS};
	unsigned int limit = QUEUE_SIZE;
	bool more = true;
	int ret = 0;

	pthread_mutex_lock(&q->lock);
	while (more && atomic_load(&dev->running) && !has_to_wait(p, q)) {
		ret = vq_pop(q, &c);
		if (ret > 0 && !take(p, &c))
			ret = -EPROTO;
		if (ret > 0)
			throttle_charge(&p->throttle, 1,
					relaxed_load(&p->image.sectors) * BLK_SECTOR);
		more = ret > 0 || (ret == 0 && vq_kicks(q, true));
		/* Another vCPU may be adding all the time. */
		if (more && !--limit) {
			more = !virtio_kick_later(dev, index);
			limit = QUEUE_SIZE;
		}
	}
	virtio_publish(dev, index);
	if (ret < 0)
		virtio_broken(dev, q->fault);
	serve(p, halter_self());
	pthread_mutex_unlock(&q->lock);
}

/* -- the device ------------------------------------------------------------------------------- */

static void reset(struct virtio_device *dev)
{
	struct pmem *p = to_pmem(dev);

	pthread_mutex_lock(&dev->queues[0].vq.lock);
	p->waiting = p->served = 0;
	pthread_mutex_unlock(&dev->queues[0].vq.lock);
	throttle_reset(&p->throttle);
}

/* Saves the state. Flushes that wait are chains that will be taken again. What was written is made
 * durable, so that a host that fails after the snapshot has the file that belongs to it. */
static int save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct pmem *p = to_pmem(dev);
	const struct blk_op op = {.kind = BLK_OP_SYNC, .fd = p->image.fd};
	int ret = is_quick(p) ? 0 : blk_op_do(&op);

	if (ret < 0) {
		atomic_store(&p->owed, true);
		return error_fail(err, ret, "%s: its file cannot be written out: %s", p->name,
				  strerror(-ret));
	}
	state_put_bool(w, p->readonly);
	state_put_u64(w, p->config.start);
	state_put_u64(w, p->config.size);
	state_put_bool(w, atomic_load(&p->owed));
	throttle_save(&p->throttle, w);
	return 0;
}

static int load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	struct pmem *p = to_pmem(dev);
	bool readonly = state_get_bool(in), owed;
	struct config_space config = {.start = state_get_u64(in)};
	struct rate rate;
	int ret;

	config.size = state_get_u64(in);
	owed = state_get_bool(in);
	rate_load(&rate, clock_monotonic_ns(), in);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	if (readonly != p->readonly)
		return state_refuse(in, err, -EINVAL,
				    "%s: readonly: the guest was told that it is %s: expected that",
				    p->name, readonly ? "on" : "off");
	if (config.start != p->config.start || config.size != p->config.size)
		return state_refuse(in, err, -EINVAL,
				    "%s: the guest has %llu bytes of it at 0x%llx, and not %llu at "
				    "0x%llx: expected a file of the same size",
				    p->name, (unsigned long long)config.size,
				    (unsigned long long)config.start,
				    (unsigned long long)p->config.size,
				    (unsigned long long)p->config.start);
	ret = throttle_load(&p->throttle, &rate);
	if (ret < 0)
		return state_refuse(in, err, ret, "%s: the limit: %s", p->name, strerror(-ret));
	atomic_store(&p->owed, owed);
	return 0;
}

static const struct virtio_ops ops = {.kick = kick,
				      .reset = reset,
				      .state_id = STATE_ID('v', 'p', 'm', 'm'),
				      .state_version = 1,
				      .save = save,
				      .load = load};

static int open_file(struct pmem *p, const struct pmem_config *cfg, struct error *err)
{
	const struct blk_config file = {.path = cfg->path,
					.what = "pmem",
					.given = cfg->given,
					.fd = cfg->fd,
					.readonly = cfg->readonly,
					.raw = cfg->raw,
					.no_lock = cfg->no_lock};

	return blk_image_open(&p->image, &file, err);
}

int pmem_create(const struct pmem_config *cfg, const struct dma *dma, struct virtio_device **out,
		struct error *err)
{
	struct pmem *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	ret = open_file(p, cfg, err);
	if (ret < 0) {
		free(p);
		return ret;
	}
	snprintf(p->name, sizeof(p->name), "pmem %s", cfg->path);
	p->readonly = cfg->readonly;
	p->task.run = serve_again;
	p->dev.ops = &ops;
	p->dev.name = p->name;
	p->dev.id = VIRTIO_ID_PMEM;
	p->dev.config = &p->config;
	p->dev.config_len = sizeof(p->config);
	p->dev.queue_count = 1;
	p->dev.dma = dma;
	ret = throttle_init(&p->throttle, &cfg->limits);
	if (ret == 0)
		ret = virtio_init(&p->dev, QUEUE_SIZE);
	if (ret < 0) {
		throttle_fini(&p->throttle);
		blk_image_close(&p->image);
		free(p);
		return ret;
	}
	p->dev.throttles[0] = &p->throttle;
	p->place.task = &p->dev.queues[0].kick_task;
	*out = &p->dev;
	return 0;
}

void pmem_destroy(struct virtio_device *dev)
{
	struct pmem *p = to_pmem(dev);

	virtio_fini(dev);
	throttle_fini(&p->throttle);
	blk_image_close(&p->image);
	free(p);
}

int pmem_file(struct virtio_device *dev, uint64_t *bytes)
{
	const struct pmem *p = to_pmem(dev);

	*bytes = relaxed_load(&p->image.sectors) * BLK_SECTOR;
	return p->image.fd;
}

void pmem_place(struct virtio_device *dev, uint64_t start, uint64_t size)
{
	to_pmem(dev)->config = (struct config_space){.start = start, .size = size};
}

int pmem_set_limits(struct virtio_device *dev, const struct rate_limits *limits)
{
	return throttle_change(&to_pmem(dev)->throttle, limits, NULL);
}
