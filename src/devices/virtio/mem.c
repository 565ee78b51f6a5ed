/* SPDX-License-Identifier: Apache-2.0 */
/* See mem.h. A device's reset changes nothing of what is plugged (5.15.5): only the VM's does. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "devices/virtio/mem.h"

#define F_UNPLUGGED_INACCESSIBLE 1

#define QUEUE_SIZE 64
#define BUFFERS	   8  /* of a request; drivers have two */
#define BATCH	   16 /* requests before others on the thread have their turn */

/* Requests and responses, 5.15.6. */
enum { REQ_PLUG, REQ_UNPLUG, REQ_UNPLUG_ALL, REQ_STATE };
enum { RESP_ACK, RESP_NACK, RESP_BUSY, RESP_ERROR };
enum { STATE_PLUGGED, STATE_UNPLUGGED, STATE_MIXED };

struct request {
	uint16_t type, padding[3];
	uint64_t addr;
	uint16_t blocks, padding2[3];
};

struct response {
	uint16_t type, padding[3], state;
};

_Static_assert(sizeof(struct request) == 24 && sizeof(struct response) == 10, "5.15.6");

struct config_space { /* 5.15.4 */
	uint64_t block;
	uint16_t node_id;
	uint8_t padding[6];
	uint64_t addr, region, usable, plugged, requested;
};

_Static_assert(sizeof(struct config_space) == 56 && offsetof(struct config_space, addr) == 16,
	       "5.15.4");

struct mem {
	struct virtio_device dev;
	void (*release)(void *ctx, uint64_t offset, uint64_t len);
	void *release_ctx;
	uint64_t block, start, size;
	uint64_t blocks;

	_Atomic uint64_t requested; /* bytes; any thread writes */
	_Atomic uint64_t plugged;   /* bytes; written under the queue's lock */
	uint64_t *map; /* a bit for each block: it is plugged. Under the queue's lock */
};

static struct mem *to_mem(struct virtio_device *dev)
{
	return container_of(dev, struct mem, dev);
}

/* -- blocks ----------------------------------------------------------------------------------- */

static size_t map_bytes(uint64_t blocks)
{
	return (size_t)((blocks + 63) / 64 * sizeof(uint64_t));
}

static bool is_plugged(const struct mem *m, uint64_t n)
{
	return m->map[n / 64] >> n % 64 & 1;
}

/* Returns how many of the @n blocks from @first on are plugged. */
static uint64_t count(const struct mem *m, uint64_t first, uint64_t n)
{
	uint64_t plugged = 0;

	for (uint64_t i = first; i < first + n; i++)
		plugged += is_plugged(m, i);
	return plugged;
}

static void set(struct mem *m, uint64_t first, uint64_t n, bool plugged)
{
	for (uint64_t i = first; i < first + n; i++) {
		uint64_t bit = UINT64_C(1) << i % 64;

		if (plugged)
			m->map[i / 64] |= bit;
		else
			m->map[i / 64] &= ~bit;
	}
}

static void change(struct mem *m, uint64_t bytes, bool plugged)
{
	uint64_t now = atomic_load(&m->plugged);

	atomic_store(&m->plugged, plugged ? now + bytes : now - bytes);
}

/* Finds the blocks of a request. Returns false if they are not all in the region. */
static bool find(const struct mem *m, const struct request *r, uint64_t *first)
{
	uint64_t offset = r->addr - m->start;

	if (!r->blocks || r->addr < m->start || offset % m->block)
		return false;
	*first = offset / m->block;
	return *first < m->blocks && r->blocks <= m->blocks - *first;
}

static uint16_t plug(struct mem *m, const struct request *r)
{
	uint64_t first, bytes = r->blocks * m->block;

	if (!find(m, r, &first) || count(m, first, r->blocks))
		return RESP_ERROR;
	if (atomic_load(&m->plugged) + bytes > atomic_load(&m->requested))
		return RESP_NACK;
	set(m, first, r->blocks, true);
	change(m, bytes, true);
	return RESP_ACK;
}

static uint16_t unplug(struct mem *m, const struct request *r)
{
	uint64_t first, bytes = r->blocks * m->block;

	if (!find(m, r, &first) || count(m, first, r->blocks) != r->blocks)
		return RESP_ERROR;
	set(m, first, r->blocks, false);
	change(m, bytes, false);
	m->release(m->release_ctx, first * m->block, bytes);
	return RESP_ACK;
}

/* Unplugs everything. What a guest has touched without plugging it goes, too. */
static void unplug_all(struct mem *m)
{
	memset(m->map, 0, map_bytes(m->blocks));
	atomic_store(&m->plugged, 0);
	m->release(m->release_ctx, 0, m->size);
}

static uint16_t tell(const struct mem *m, const struct request *r, uint16_t *state)
{
	uint64_t first, plugged;

	if (!find(m, r, &first))
		return RESP_ERROR;
	plugged = count(m, first, r->blocks);
	*state = plugged == r->blocks ? STATE_PLUGGED : plugged ? STATE_MIXED : STATE_UNPLUGGED;
	return RESP_ACK;
}

/* -- the queue -------------------------------------------------------------------------------- */

static void serve(struct mem *m, const struct request *r, struct response *resp)
{
	switch (r->type) {
	case REQ_PLUG:
		resp->type = plug(m, r);
		break;
	case REQ_UNPLUG:
		resp->type = unplug(m, r);
		break;
	case REQ_UNPLUG_ALL:
		unplug_all(m);
		resp->type = RESP_ACK;
		break;
	case REQ_STATE:
		resp->type = tell(m, r, &resp->state);
		break;
	default:
		resp->type = RESP_ERROR;
	}
	if (resp->type != RESP_ERROR)
		return;
	virtio_fault(&m->dev);
	virtio_count(&m->dev.counters.errors, 1);
}

/* Takes a chain, and answers it. Returns false, with the queue broken, if it is too short. */
static bool take(struct mem *m, const struct vq_chain *c)
{
	struct virtqueue *q = &m->dev.queues[0].vq;
	struct response resp = {.type = RESP_ERROR};
	struct request r;

	if (iov_read(c->iov, c->out, 0, &r, sizeof(r)) < sizeof(r) || c->in_len < sizeof(resp)) {
		vq_break(q, "a request that is too short, or has no room for its response");
		return false;
	}
	virtio_count(&m->dev.counters.requests, 1);
	serve(m, &r, &resp);
	vq_push(q, c->head, (uint32_t)iov_write(c->iov + c->out, c->in, 0, &resp, sizeof(resp)));
	return true;
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct mem *m = to_mem(dev);
	struct virtqueue *q = &dev->queues[index].vq;
	struct iovec iov[BUFFERS];
	struct vq_chain c = {.iov = iov, .max = BUFFERS};
	unsigned int limit = BATCH;
	bool more = true;
	int ret = 0;

	pthread_mutex_lock(&q->lock);
	while (more && atomic_load(&dev->running)) {
		ret = vq_pop(q, &c);
		if (ret > 0 && !take(m, &c))
			ret = -EPROTO;
		more = ret > 0 || (ret == 0 && vq_kicks(q, true));
		/* Each may be a long system call, and another vCPU may be adding all the time. */
		if (more && !--limit) {
			more = !virtio_kick_later(dev, index);
			limit = BATCH;
		}
	}
	virtio_publish(dev, index);
	if (ret < 0)
		virtio_broken(dev, q->fault);
	pthread_mutex_unlock(&q->lock);
}

/* -- the device ------------------------------------------------------------------------------- */

static void config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	const struct mem *m = to_mem(dev);
	const struct config_space c = {.block = m->block,
				       .addr = m->start,
				       .region = m->size,
				       .usable = m->size,
				       .plugged = atomic_load(&m->plugged),
				       .requested = atomic_load(&m->requested)};

	memcpy(data, (const char *)&c + offset, len);
}

static void config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
}

/* No state_id: what is plugged is not in a snapshot's memory, so such a VM cannot be saved. */
static const struct virtio_ops ops = {
	.config_read = config_read, .config_write = config_write, .kick = kick};

int mem_create(const struct mem_config *cfg, struct virtio_device **out)
{
	struct mem *m;
	int ret;

	if (cfg->block < MEM_BLOCK_LEAST || cfg->block & (cfg->block - 1) || !cfg->size ||
	    (cfg->start | cfg->size | cfg->requested) % cfg->block || cfg->requested > cfg->size ||
	    cfg->size / cfg->block > MEM_BLOCKS_MOST)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->block = cfg->block;
	m->start = cfg->start;
	m->size = cfg->size;
	m->blocks = cfg->size / cfg->block;
	m->release = cfg->release;
	m->release_ctx = cfg->release_ctx;
	atomic_store(&m->requested, cfg->requested);
	m->map = calloc(1, map_bytes(m->blocks));
	m->dev.ops = &ops;
	m->dev.name = "memory";
	m->dev.id = VIRTIO_ID_MEM;
	m->dev.offered = UINT64_C(1) << F_UNPLUGGED_INACCESSIBLE;
	m->dev.config_len = sizeof(struct config_space);
	m->dev.queue_count = 1;
	m->dev.dma = cfg->dma;
	ret = m->map ? virtio_init(&m->dev, QUEUE_SIZE) : -ENOMEM;
	if (ret < 0) {
		free(m->map);
		free(m);
		return ret;
	}
	*out = &m->dev;
	return 0;
}

void mem_destroy(struct virtio_device *dev)
{
	struct mem *m = to_mem(dev);

	virtio_fini(dev);
	free(m->map);
	free(m);
}

int mem_request(struct virtio_device *dev, uint64_t bytes)
{
	struct mem *m = to_mem(dev);

	if (bytes % m->block || bytes > m->size)
		return -EINVAL;
	pthread_mutex_lock(&dev->lock);
	if (atomic_exchange(&m->requested, bytes) != bytes)
		virtio_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
	return 0;
}

void mem_get_state(struct virtio_device *dev, struct mem_state *state)
{
	struct mem *m = to_mem(dev);

	state->size = m->size;
	state->block = m->block;
	state->requested = atomic_load(&m->requested);
	state->plugged = atomic_load(&m->plugged);
}

void mem_restart(struct virtio_device *dev)
{
	struct mem *m = to_mem(dev);

	pthread_mutex_lock(&dev->queues[0].vq.lock);
	unplug_all(m);
	pthread_mutex_unlock(&dev->queues[0].vq.lock);
}
