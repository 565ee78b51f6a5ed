/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core of a virtio device: status, features, configuration, queues, kicks, reset (virtio 1.2,
 * sections 2.1 to 2.6 and 3).
 *
 * How a reset waits. `running` is cleared, and each queue's lock is taken and left once: whoever
 * saw the device run, and begins requests with a queue's lock held, has counted them in `inflight`
 * by then; nobody begins one after that. The rest is waiting for inflight to become 0. Requests of
 * this thread's own ring are done by nobody else, so it reaps meanwhile; those of other threads end
 * where they are, since their completions end KVM_RUN and sleep alike, and no thread stands still
 * or ends with requests in its ring.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "container_of.h"
#include "devices/virtio/virtio.h"
#include "relaxed.h"

#define FEATURES_ALL                                                                 \
	(UINT64_C(1) << VIRTIO_F_INDIRECT_DESC | UINT64_C(1) << VIRTIO_F_EVENT_IDX | \
	 UINT64_C(1) << VIRTIO_F_VERSION_1)
#define STATUS_DRIVERS                                                                \
	(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK | \
	 VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED)

#define RESET_LOOK_NS	1000000 /* how often a waiting reset looks at its own ring */
#define RESET_REMIND_NS UINT64_C(10000000000)

/* -- making ----------------------------------------------------------------------------------- */

static void kick_task(struct halter_task *task);

static void fini_queues(struct virtio_device *dev, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		vq_fini(&dev->queues[i].vq);
	free(dev->queues);
	dev->queues = NULL;
}

static int init_queues(struct virtio_device *dev, uint16_t queue_size)
{
	dev->queues = calloc(dev->queue_count, sizeof(*dev->queues));
	if (!dev->queues)
		return -ENOMEM;
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		struct virtio_queue_state *q = &dev->queues[i];
		int ret = vq_init(&q->vq, dev->dma);

		if (ret < 0) {
			fini_queues(dev, i);
			return ret;
		}
		q->dev = dev;
		q->index = i;
		q->size_max = q->vq.size = queue_size;
		q->kick_task.run = kick_task;
	}
	return 0;
}

static int init_locks(struct virtio_device *dev)
{
	int ret = -pthread_mutex_init(&dev->lock, NULL);

	if (ret < 0)
		return ret;
	ret = -pthread_mutex_init(&dev->idle_lock, NULL);
	if (ret < 0) {
		pthread_mutex_destroy(&dev->lock);
		return ret;
	}
	ret = clock_cond_init(&dev->idle);
	if (ret < 0) {
		pthread_mutex_destroy(&dev->idle_lock);
		pthread_mutex_destroy(&dev->lock);
	}
	return ret;
}

static void fini_locks(struct virtio_device *dev)
{
	pthread_cond_destroy(&dev->idle);
	pthread_mutex_destroy(&dev->idle_lock);
	pthread_mutex_destroy(&dev->lock);
}

int virtio_init(struct virtio_device *dev, uint16_t queue_size)
{
	int ret;

	if (!dev->queue_count || dev->queue_count > VIRTIO_QUEUES_MAX || !queue_size ||
	    queue_size > VQ_SIZE_MAX || (queue_size & (queue_size - 1)))
		return -EINVAL;
	dev->offered |= FEATURES_ALL;
	ret = init_locks(dev);
	if (ret < 0)
		return ret;
	ret = init_queues(dev, queue_size);
	if (ret < 0)
		fini_locks(dev);
	return ret;
}

void virtio_fini(struct virtio_device *dev)
{
	fini_queues(dev, dev->queue_count);
	fini_locks(dev);
}

/* -- messages --------------------------------------------------------------------------------- */

void virtio_log(struct virtio_device *dev, const char *format, ...)
{
	char text[320];
	va_list args;
	int n;

	if (!dev->log)
		return;
	n = snprintf(text, sizeof(text), "%s: ", dev->name ? dev->name : "virtio");
	if (n < 0 || (size_t)n >= sizeof(text))
		return;
	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
	va_end(args);
	if (log_limit_pass(&dev->log_limit, text, sizeof(text)))
		dev->log(dev->log_ctx, text);
}

void virtio_tell(struct virtio_device *dev, enum virtio_event event, uint32_t value,
		 const char *text)
{
	if (dev->tell)
		dev->tell(dev->tell_ctx, event, value, text);
}

void virtio_fault(struct virtio_device *dev)
{
	atomic_fetch_add_explicit(&dev->faults, 1, memory_order_relaxed);
}

void virtio_broken(struct virtio_device *dev, const char *what)
{
	uint8_t old = atomic_fetch_or(&dev->status, VIRTIO_STATUS_NEEDS_RESET);

	/* Once, however often it is looked at until the reset. */
	if (old & VIRTIO_STATUS_NEEDS_RESET)
		return;
	virtio_fault(dev);
	virtio_log(dev, "the guest's driver has to reset it: %s", what);
	virtio_tell(dev, VIRTIO_EVENT_NEEDS_RESET, 0, what);
	if (old & VIRTIO_STATUS_DRIVER_OK)
		dev->transport_ops->interrupt_config(dev->transport);
}

/* -- features --------------------------------------------------------------------------------- */

uint32_t virtio_features_offered(struct virtio_device *dev, uint32_t select)
{
	return select < 2 ? (uint32_t)(dev->offered >> 32 * select) : 0;
}

void virtio_features_accept(struct virtio_device *dev, uint32_t select, uint32_t bits)
{
	uint64_t features;

	pthread_mutex_lock(&dev->lock);
	features = relaxed_load(&dev->features);
	if (virtio_status(dev) & VIRTIO_STATUS_FEATURES_OK) {
		virtio_fault(dev);
	} else if (select < 2) {
		features &= ~(UINT64_C(0xffffffff) << 32 * select);
		features |= (uint64_t)bits << 32 * select;
		relaxed_store(&dev->features, features);
	} else if (bits) {
		dev->features_beyond = true; /* of which there are none */
	}
	pthread_mutex_unlock(&dev->lock);
}

/* Returns whether the features can be served. 2.2.2, 6.2: a driver takes what is offered, and
 * version 1 with it. The lock is held. */
static bool features_ok(struct virtio_device *dev)
{
	uint64_t features = relaxed_load(&dev->features);

	return !(features & ~dev->offered) && !dev->features_beyond &&
	       (features >> VIRTIO_F_VERSION_1 & 1);
}

/* -- reset ------------------------------------------------------------------------------------ */

/* Does what no other thread would do for this one while it waits. */
static void serve_own_ring(void)
{
	struct catnap_halter *self = halter_self();

	if (!self)
		return;
	/* A failing ring is the owner's to report, when it comes back to its loop. */
	(void)halter_serve_pending(self);
}

/* Waits on idle for a while, unless done(dev). */
static void wait_idle(struct virtio_device *dev, bool (*done)(struct virtio_device *dev))
{
	const struct timespec until = clock_timespec_after(RESET_LOOK_NS);

	pthread_mutex_lock(&dev->idle_lock);
	if (!done(dev))
		pthread_cond_timedwait(&dev->idle, &dev->idle_lock, &until);
	pthread_mutex_unlock(&dev->idle_lock);
}

void virtio_tell_idle(struct virtio_device *dev)
{
	pthread_mutex_lock(&dev->idle_lock);
	pthread_cond_broadcast(&dev->idle);
	pthread_mutex_unlock(&dev->idle_lock);
}

bool virtio_wait(struct virtio_device *dev, bool (*done)(struct virtio_device *dev), uint64_t ns)
{
	const struct timespec until = clock_timespec_after(ns);
	bool holds;

	pthread_mutex_lock(&dev->idle_lock);
	while (!done(dev))
		if (pthread_cond_timedwait(&dev->idle, &dev->idle_lock, &until) == ETIMEDOUT)
			break;
	holds = done(dev);
	pthread_mutex_unlock(&dev->idle_lock);
	return holds;
}

static bool is_idle(struct virtio_device *dev)
{
	return atomic_load(&dev->inflight) == 0;
}

static bool is_not_resetting(struct virtio_device *dev)
{
	return !atomic_load(&dev->resetting);
}

static void wait_until(struct virtio_device *dev, bool (*done)(struct virtio_device *dev))
{
	uint64_t remind = clock_monotonic_ns() + RESET_REMIND_NS;

	for (;;) {
		serve_own_ring();
		if (done(dev))
			return;
		wait_idle(dev, done);
		if (clock_monotonic_ns() < remind)
			continue;
		virtio_log(dev, "a reset waits for %u requests of the host",
			   relaxed_load(&dev->inflight));
		remind = clock_monotonic_ns() + RESET_REMIND_NS;
	}
}

static void stop(struct virtio_device *dev)
{
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		pthread_mutex_lock(&dev->queues[i].vq.lock);
		pthread_mutex_unlock(&dev->queues[i].vq.lock);
	}
	if (dev->ops->stop)
		dev->ops->stop(dev);
	wait_until(dev, is_idle);
}

static void reset(struct virtio_device *dev)
{
	bool was_running;

	pthread_mutex_lock(&dev->lock);
	while (atomic_load(&dev->resetting)) { /* by another vCPU; then once more */
		pthread_mutex_unlock(&dev->lock);
		wait_until(dev, is_not_resetting);
		pthread_mutex_lock(&dev->lock);
	}
	atomic_store(&dev->resetting, true);
	was_running = atomic_exchange(&dev->running, false);
	pthread_mutex_unlock(&dev->lock);

	if (was_running)
		stop(dev);

	pthread_mutex_lock(&dev->lock);
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		struct virtio_queue_state *q = &dev->queues[i];

		pthread_mutex_lock(&q->vq.lock);
		vq_reset(&q->vq);
		q->vq.size = q->size_max;
		pthread_mutex_unlock(&q->vq.lock);
	}
	if (dev->ops->reset)
		dev->ops->reset(dev);
	atomic_store(&dev->features, 0);
	dev->features_beyond = false;
	atomic_store(&dev->status, 0);
	atomic_store(&dev->resetting, false);
	pthread_mutex_unlock(&dev->lock);
	virtio_tell_idle(dev);
}

void virtio_request_begin(struct virtio_device *dev)
{
	atomic_fetch_add_explicit(&dev->inflight, 1, memory_order_relaxed);
}

void virtio_request_end(struct virtio_device *dev)
{
	/*
	 * Pairs with reset(): it sets resetting and then reads inflight. And releases what the
	 * request has written to whoever sees it gone.
	 */
	if (atomic_fetch_sub(&dev->inflight, 1) == 1 && atomic_load(&dev->resetting))
		virtio_tell_idle(dev);
}

/* -- status ----------------------------------------------------------------------------------- */

void virtio_set_status(struct virtio_device *dev, uint8_t status)
{
	bool started = false;
	uint8_t old, added;

	if (!status) {
		reset(dev);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	old = virtio_status(dev);
	added = (uint8_t)(status & STATUS_DRIVERS & ~old);
	if (atomic_load(&dev->resetting) || (old & ~status & STATUS_DRIVERS))
		virtio_fault(dev); /* bits are cleared by reset alone */
	if (atomic_load(&dev->resetting))
		added = 0;
	if ((added & VIRTIO_STATUS_FEATURES_OK) && !features_ok(dev))
		added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if ((added & VIRTIO_STATUS_DRIVER_OK) && !((old | added) & VIRTIO_STATUS_FEATURES_OK)) {
		added &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
		virtio_fault(dev);
	}
	atomic_fetch_or(&dev->status, added);
	if (added & VIRTIO_STATUS_DRIVER_OK) {
		if (dev->ops->start)
			dev->ops->start(dev);
		atomic_store(&dev->running, true);
		started = true;
	}
	pthread_mutex_unlock(&dev->lock);
	/* Kick for buffers that the driver has added before, and for input queues. */
	for (unsigned int i = 0; started && i < dev->queue_count; i++)
		virtio_kick(dev, i);
}

/* -- configuration ---------------------------------------------------------------------------- */

/* Returns how much of [offset, offset + len) there is. */
static uint32_t clip(const struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	if (offset >= dev->config_len)
		return 0;
	return len < dev->config_len - offset ? len : dev->config_len - offset;
}

void virtio_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	uint32_t n = clip(dev, offset, len);

	memset(data, 0, len);
	if (!n)
		return;
	pthread_mutex_lock(&dev->lock);
	if (dev->ops->config_read)
		dev->ops->config_read(dev, offset, data, n);
	else
		memcpy(data, (const char *)dev->config + offset, n);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	uint32_t n = clip(dev, offset, len);

	if (!n)
		return;
	if (dev->ops->config_write) {
		pthread_mutex_lock(&dev->lock);
		dev->ops->config_write(dev, offset, data, n);
		pthread_mutex_unlock(&dev->lock);
	}
	if (dev->ops->config_written)
		dev->ops->config_written(dev, offset, data, n);
}

void virtio_config_changed(struct virtio_device *dev)
{
	atomic_fetch_add(&dev->generation, 1);
	if (virtio_status(dev) & VIRTIO_STATUS_DRIVER_OK)
		dev->transport_ops->interrupt_config(dev->transport);
}

/* -- queues ----------------------------------------------------------------------------------- */

struct virtio_queue_state *virtio_queue(struct virtio_device *dev, unsigned int index)
{
	return index < dev->queue_count ? &dev->queues[index] : NULL;
}

/* Takes the device's lock and returns the queue if it may be set up now; else NULL, no lock. */
static struct virtio_queue_state *setup_begin(struct virtio_device *dev, unsigned int index)
{
	struct virtio_queue_state *q = virtio_queue(dev, index);

	pthread_mutex_lock(&dev->lock);
	if (q && !q->vq.enabled && !atomic_load(&dev->resetting) &&
	    !(virtio_status(dev) & VIRTIO_STATUS_DRIVER_OK))
		return q;
	virtio_fault(dev);
	pthread_mutex_unlock(&dev->lock);
	return NULL;
}

void virtio_queue_set_size(struct virtio_device *dev, unsigned int index, uint16_t size)
{
	struct virtio_queue_state *q = setup_begin(dev, index);

	if (!q)
		return;
	q->vq.size = size;
	pthread_mutex_unlock(&dev->lock);
}

void virtio_queue_set_addr(struct virtio_device *dev, unsigned int index,
			   enum virtio_ring_part part, bool high, uint32_t half)
{
	struct virtio_queue_state *q = setup_begin(dev, index);
	unsigned int shift = high ? 32 : 0;
	uint64_t *gpa;

	if (!q)
		return;
	gpa = part == VIRTIO_RING_DESC	  ? &q->vq.desc_gpa
	      : part == VIRTIO_RING_AVAIL ? &q->vq.avail_gpa
					  : &q->vq.used_gpa;
	*gpa = (*gpa & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)half << shift;
	pthread_mutex_unlock(&dev->lock);
}

void virtio_queue_enable(struct virtio_device *dev, unsigned int index)
{
	struct virtio_queue_state *q = setup_begin(dev, index);
	int ret;

	if (!q)
		return;
	/* Which kind of queue it is, is agreed on with the features. */
	if (!(virtio_status(dev) & VIRTIO_STATUS_FEATURES_OK) || q->vq.size > q->size_max) {
		ret = -EINVAL;
	} else {
		pthread_mutex_lock(&q->vq.lock);
		ret = vq_enable(&q->vq, virtio_has(dev, VIRTIO_F_INDIRECT_DESC),
				virtio_has(dev, VIRTIO_F_EVENT_IDX));
		pthread_mutex_unlock(&q->vq.lock);
	}
	pthread_mutex_unlock(&dev->lock);
	if (ret < 0)
		virtio_broken(dev, "a queue that was enabled with a size, addresses or at a time "
				   "that cannot be");
}

void virtio_queue_disable(struct virtio_device *dev, unsigned int index)
{
	struct virtio_queue_state *q = virtio_queue(dev, index);

	pthread_mutex_lock(&dev->lock);
	if (!q || atomic_load(&dev->resetting) || (virtio_status(dev) & VIRTIO_STATUS_DRIVER_OK)) {
		virtio_fault(dev);
	} else {
		pthread_mutex_lock(&q->vq.lock);
		vq_reset(&q->vq);
		q->vq.size = q->size_max;
		pthread_mutex_unlock(&q->vq.lock);
	}
	pthread_mutex_unlock(&dev->lock);
}

static bool may_kick(struct virtio_device *dev, unsigned int index)
{
	return index < dev->queue_count && atomic_load(&dev->running);
}

static void kick_task(struct halter_task *task)
{
	struct virtio_queue_state *q = container_of(task, struct virtio_queue_state, kick_task);

	if (may_kick(q->dev, q->index))
		q->dev->ops->kick(q->dev, q->index);
}

void virtio_kick(struct virtio_device *dev, unsigned int index)
{
	struct catnap_halter *self = halter_self(), *where = dev->io;

	if (!may_kick(dev, index))
		return;
	if (!where && !self)
		where = dev->home; /* a thread with no ring */
	if (where && where != self)
		halter_post(where, &dev->queues[index].kick_task);
	else
		dev->ops->kick(dev, index);
}

bool virtio_kick_later(struct virtio_device *dev, unsigned int index)
{
	struct catnap_halter *self = halter_self();

	if (self)
		halter_post(self, &dev->queues[index].kick_task);
	return self;
}

void virtio_publish(struct virtio_device *dev, unsigned int index)
{
	if (vq_publish(&dev->queues[index].vq))
		dev->transport_ops->interrupt_queue(dev->transport, index);
}
