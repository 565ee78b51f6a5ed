/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio entropy device. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "devices/virtio/rng.h"

#define TYPE_ENTROPY 4
#define QUEUE_SIZE   64
#define BUFFERS_MAX  QUEUE_SIZE

/* With the queue's lock held. Fewer bytes than there is room for are allowed, none are not. */
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

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct virtqueue *q = &dev->queues[index].vq;
	struct iovec iov[BUFFERS_MAX];
	struct vq_chain c = {.iov = iov, .max = BUFFERS_MAX};
	unsigned int limit = QUEUE_SIZE;
	bool more = true;
	int ret = 0;

	pthread_mutex_lock(&q->lock);
	while (more && atomic_load(&dev->running)) {
		ret = vq_pop(q, &c);
		if (ret > 0) {
			uint32_t n = fill(&c);

			virtio_count(&dev->counters.requests, 1);
			virtio_count(&dev->counters.read_bytes, n);
			vq_push(q, c.head, n);
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

static const struct virtio_ops ops = {.kick = kick};

int rng_create(const struct dma *dma, struct virtio_device **out)
{
	struct virtio_device *dev = calloc(1, sizeof(*dev));
	int ret;

	if (!dev)
		return -ENOMEM;
	dev->ops = &ops;
	dev->name = "rng";
	dev->id = TYPE_ENTROPY;
	dev->queue_count = 1;
	dev->dma = dma;
	ret = virtio_init(dev, QUEUE_SIZE);
	if (ret < 0) {
		free(dev);
		return ret;
	}
	*out = dev;
	return 0;
}

void rng_destroy(struct virtio_device *dev)
{
	virtio_fini(dev);
	free(dev);
}
