/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio entropy device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "container_of.h"
#include "devices/virtio/rng.h"

#define TYPE_ENTROPY 4
#define QUEUE_SIZE   64
#define BUFFERS_MAX  QUEUE_SIZE

struct rng {
	struct virtio_device dev;
	struct throttle throttle;
	struct throttle_place place;
};

static struct rng *to_rng(struct virtio_device *dev)
{
	return container_of(dev, struct rng, dev);
}

/* Fills a chain. Fewer bytes than there is room for are allowed, none are not. The queue's lock is
 * held. */
static uint32_t fill(const struct vq_chain *c)
{
	uint8_t bytes[RNG_BYTES_MAX];
	size_t want = c->in_len < sizeof(bytes) ? c->in_len : sizeof(bytes);
	ssize_t n;

	/* Up to 256 bytes come whole, once the host's generator is seeded. */
	do
		n = getrandom(bytes, want, 0);
	while (n < 0 && errno == EINTR);
	return n > 0 ? (uint32_t)iov_write(c->iov + c->out, c->in, 0, bytes, (size_t)n) : 0;
}

/* Returns whether there is a buffer that has to wait; the kick comes back when it need not. The
 * queue's lock is held. */
static bool has_to_wait(struct rng *rng, struct virtqueue *q)
{
	if (!throttle_on(&rng->throttle))
		return false;
	if (!vq_waiting(q)) {
		throttle_rest(&rng->throttle, &rng->place);
		return false;
	}
	if (throttle_pass(&rng->throttle, &rng->place, halter_self()))
		return false;
	vq_kicks(q, false);
	return true;
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct rng *rng = to_rng(dev);
	struct virtqueue *q = &dev->queues[index].vq;
	struct iovec iov[BUFFERS_MAX];
	struct vq_chain c = {.iov = iov, .max = BUFFERS_MAX};
	unsigned int limit = QUEUE_SIZE;
	bool more = true;
	int ret = 0;

	pthread_mutex_lock(&q->lock);
	while (more && atomic_load(&dev->running) && !has_to_wait(rng, q)) {
		ret = vq_pop(q, &c);
		if (ret > 0) {
			uint32_t n = fill(&c);

			virtio_count(&dev->counters.requests, 1);
			virtio_count(&dev->counters.read_bytes, n);
			vq_push(q, c.head, n);
			throttle_charge(&rng->throttle, 1, n);
		}
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
	pthread_mutex_unlock(&q->lock);
}

static void reset(struct virtio_device *dev)
{
	if (dev->throttles[0])
		throttle_reset(&to_rng(dev)->throttle);
}

static int save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct rate none = {.at_ns = 0};

	if (dev->throttles[0])
		throttle_save(&to_rng(dev)->throttle, w);
	else
		rate_save(&none, 0, w);
	return 0;
}

static int load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	struct rate rate;
	int ret;

	rate_load(&rate, clock_monotonic_ns(), in);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	if (dev->throttles[0])
		ret = throttle_load(&to_rng(dev)->throttle, &rate);
	else if (rate_bucket_limits(&rate.bw.bucket) || rate_bucket_limits(&rate.ops.bucket))
		return state_refuse(in, err, -ENOTSUP, "the limit: the VM is made without rings");
	return ret < 0 ? state_refuse(in, err, ret, "the limit: %s", strerror(-ret)) : 0;
}

static const struct virtio_ops ops = {.kick = kick,
				      .reset = reset,
				      .state_id = STATE_ID('v', 'r', 'n', 'g'),
				      .state_version = 1,
				      .save = save,
				      .load = load};

int rng_create(const struct dma *dma, bool limited, struct virtio_device **out)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	int ret = 0;

	if (!rng)
		return -ENOMEM;
	rng->dev.ops = &ops;
	rng->dev.name = "rng";
	rng->dev.id = TYPE_ENTROPY;
	rng->dev.queue_count = 1;
	rng->dev.dma = dma;
	if (limited)
		ret = throttle_init(&rng->throttle, &(struct rate_limits){.bw = {0}});
	if (ret == 0)
		ret = virtio_init(&rng->dev, QUEUE_SIZE);
	if (ret < 0) {
		throttle_fini(&rng->throttle);
		free(rng);
		return ret;
	}
	if (limited)
		rng->dev.throttles[0] = &rng->throttle;
	rng->place.task = &rng->dev.queues[0].kick_task;
	*out = &rng->dev;
	return 0;
}

void rng_destroy(struct virtio_device *dev)
{
	virtio_fini(dev);
	throttle_fini(&to_rng(dev)->throttle);
	free(to_rng(dev));
}

int rng_set_limits(struct virtio_device *dev, const struct rate_limits *limits)
{
	if (!dev->throttles[0])
		return rate_limits_any(limits) ? -EINVAL : 0;
	return throttle_change(&to_rng(dev)->throttle, limits, NULL);
}
