/* SPDX-License-Identifier: Apache-2.0 */
/* See balloon.h. Nothing in here holds two queues' locks, or a queue's and then the device's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "devices/virtio/balloon.h"
#include "relaxed.h"

#define F_STATS		 1
#define F_DEFLATE_ON_OOM 2
#define F_HINT		 3
#define F_REPORTING	 5

#define CHAIN_MAX  VQ_SIZE_MAX /* buffers in one chain */
#define PFNS_MAX   (64u << 10) /* page numbers that are taken from one chain */
#define PFNS_READ  256	       /* at a time */
#define BATCH	   64	       /* chains before others on the thread have their turn */
#define PFNS_TURN  (64u << 10) /* page numbers, likewise: each may be a system call */
#define STAT_BYTES 10	       /* a tag of two bytes, and the value */
#define STATS_READ 32	       /* how many of them are looked at */
#define STAT_KILLS 10	       /* programs that were ended for want of memory (Linux 6.12) */

enum {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS_QUEUE,
	BALLOON_HINT,
	BALLOON_REPORT,
	BALLOON_QUEUES
};

struct config_space {
	uint32_t target, actual; /* pages */
	uint32_t hint, poison;
};

_Static_assert(sizeof(struct config_space) == 16 && offsetof(struct config_space, actual) == 4,
	       "the driver sees this");

struct balloon {
	struct virtio_device dev;
	struct config_space config; /* under the device's lock, as the next two */
	uint32_t seen;		    /* the target that the driver has read last */
	bool told_short;	    /* that it took pages back: until things are as they were */
	void (*release)(void *ctx, void *host, uint64_t len);
	void *release_ctx;
	struct halter_task tasks[BALLOON_QUEUES];
	_Atomic uint64_t released, reported;

	/* Under the statistics queue's lock. */
	uint64_t stats[BALLOON_STATS];
	bool stats_held; /* the driver's buffer is here until statistics are asked for */
	uint16_t stats_head;
	uint64_t kills; /* since the guest was started, as it says */
};

static struct balloon *to_balloon(struct virtio_device *dev)
{
	return container_of(dev, struct balloon, dev);
}

static void give(struct balloon *b, uint64_t gpa, uint64_t len, _Atomic uint64_t *counter)
{
	void *host = dma_at(b->dev.dma, gpa, len);

	if (!host) {
		virtio_fault(&b->dev);
		return;
	}
	b->release(b->release_ctx, host, len);
	atomic_fetch_add_explicit(counter, len, memory_order_relaxed);
}

/* Gives back a list of pages by their numbers; neighbours go in one. */
static void inflate(struct balloon *b, const struct vq_chain *c)
{
	uint64_t start = 0, count = 0;
	uint32_t pfns[PFNS_READ];

	for (uint32_t done = 0; done < PFNS_MAX; done += PFNS_READ) {
		size_t n = iov_read(c->iov, c->out, (size_t)done * 4, pfns, sizeof(pfns)) / 4;

		for (size_t i = 0; i < n; i++) {
			if (count && pfns[i] == start + count) {
				count++;
			} else if (count && pfns[i] + UINT64_C(1) == start) {
				start--;
				count++;
			} else {
				if (count)
					give(b, start * BALLOON_PAGE, count * BALLOON_PAGE,
					     &b->released);
				start = pfns[i];
				count = 1;
			}
		}
		if (n < PFNS_READ)
			break;
	}
	if (count)
		give(b, start * BALLOON_PAGE, count * BALLOON_PAGE, &b->released);
}

/* Gives back reported pages: the buffers are the free pages themselves. */
static void report(struct balloon *b, const struct vq_chain *c)
{
	for (unsigned int i = c->out; i < (unsigned int)c->out + c->in; i++) {
		uintptr_t at = (uintptr_t)c->iov[i].iov_base;
		size_t len = c->iov[i].iov_len;

		/* Guest memory begins at a page's start, so what is aligned here is there, too. */
		if (at % BALLOON_PAGE || len % BALLOON_PAGE) {
			virtio_fault(&b->dev);
			continue;
		}
		b->release(b->release_ctx, c->iov[i].iov_base, len);
		atomic_fetch_add_explicit(&b->released, len, memory_order_relaxed);
		atomic_fetch_add_explicit(&b->reported, len, memory_order_relaxed);
	}
}

static void read_stats(struct balloon *b, const struct vq_chain *c)
{
	uint8_t bytes[STATS_READ * STAT_BYTES];
	size_t n = iov_read(c->iov, c->out, 0, bytes, sizeof(bytes)) / STAT_BYTES;

	for (size_t i = 0; i < n; i++) {
		uint16_t tag;

		memcpy(&tag, bytes + i * STAT_BYTES, 2);
		if (tag < BALLOON_STATS)
			memcpy(&b->stats[tag], bytes + i * STAT_BYTES + 2, 8);
		if (tag == STAT_KILLS) {
			uint64_t kills;

			memcpy(&kills, bytes + i * STAT_BYTES + 2, 8);
			if (kills > b->kills)
				virtio_tell(&b->dev, VIRTIO_EVENT_NO_MEMORY, 0,
					    "the guest has ended programs for want of memory");
			b->kills = kills;
		}
	}
}

/* Serves one chain of queue @index. Returns true if it is to be given back now. */
static bool serve_chain(struct balloon *b, unsigned int index, const struct vq_chain *c)
{
	switch (index) {
	case BALLOON_INFLATE:
		inflate(b, c);
		return true;
	case BALLOON_STATS_QUEUE:
		read_stats(b, c);
		b->stats_held = true;
		b->stats_head = c->head;
		return false;
	case BALLOON_HINT:
		/* Without hints, this is where older drivers have their reports. */
		if (!virtio_has(&b->dev, F_HINT) && virtio_has(&b->dev, F_REPORTING))
			report(b, c);
		return true;
	case BALLOON_REPORT:
		report(b, c);
		return true;
	default: /* pages that are taken back are touched, that is all */
		return true;
	}
}

/*
 * Returns whether buffers for statistics wait. One is here at a time, and others in their queue
 * wait until that one has gone, see balloon_get_state(). The queue's lock is held.
 */
static bool stats_wait(const struct balloon *b, unsigned int index)
{
	return index == BALLOON_STATS_QUEUE && b->stats_held;
}

static void serve(struct balloon *b, unsigned int index)
{
	struct virtqueue *vq = &b->dev.queues[index].vq;
	struct iovec iov[CHAIN_MAX];
	unsigned int batch = 0;
	uint64_t pfns = 0;
	int ret = 0;

	pthread_mutex_lock(&vq->lock);
	while (atomic_load(&b->dev.running) && vq->enabled && !stats_wait(b, index)) {
		struct vq_chain c = {.iov = iov, .max = CHAIN_MAX};

		if (batch++ == BATCH || pfns >= PFNS_TURN) {
			halter_post(b->dev.home, &b->tasks[index]);
			break;
		}
		ret = vq_pop(vq, &c);
		/* The event index moves on, so that the next one brings a kick. */
		if (ret == 0 && vq_kicks(vq, true))
			continue;
		if (ret <= 0)
			break;
		virtio_count(&b->dev.counters.requests, 1);
		if (index == BALLOON_INFLATE)
			pfns += c.out_len / 4;
		if (serve_chain(b, index, &c))
			vq_push(vq, c.head, 0);
	}
	virtio_publish(&b->dev, index);
	if (ret < 0)
		virtio_broken(&b->dev, vq->fault);
	pthread_mutex_unlock(&vq->lock);
}

/* Serves queue @index again. Each queue has a function for it, so that a task knows its own. */
static void again(struct halter_task *task, unsigned int index)
{
	serve(container_of(task - index, struct balloon, tasks[0]), index);
}

static void inflate_again(struct halter_task *task)
{
	again(task, BALLOON_INFLATE);
}

static void deflate_again(struct halter_task *task)
{
	again(task, BALLOON_DEFLATE);
}

static void stats_again(struct halter_task *task)
{
	again(task, BALLOON_STATS_QUEUE);
}

static void hint_again(struct halter_task *task)
{
	again(task, BALLOON_HINT);
}

static void report_again(struct halter_task *task)
{
	again(task, BALLOON_REPORT);
}

/* -- the device ------------------------------------------------------------------------------- */

static void config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	struct balloon *b = to_balloon(dev);

	memcpy(data, (const char *)&b->config + offset, len);
	if (offset < sizeof(b->config.target))
		b->seen = b->config.target;
}

/*
 * Looks whether the guest wants memory, when the driver says how much the balloon holds now. It is
 * asked for no less than the target that it has read: when it holds less than that, and less than
 * before, it took pages back by itself, for want of memory.
 */
static void look_for_want(struct balloon *b, uint32_t before)
{
	if (b->config.actual >= b->seen) {
		b->told_short = false;
	} else if (b->config.actual < before && !b->told_short &&
		   virtio_has(&b->dev, F_DEFLATE_ON_OOM)) {
		b->told_short = true;
		virtio_tell(&b->dev, VIRTIO_EVENT_NO_MEMORY, 0,
			    "the guest has taken memory back, for want of it");
	}
}

static void config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	struct balloon *b = to_balloon(dev);
	uint32_t at = offsetof(struct config_space, actual), end = at + sizeof(b->config.actual);
	uint32_t before = b->config.actual;

	/* Drivers have written it byte by byte. */
	if (offset >= at && offset < end && len <= end - offset)
		memcpy((char *)&b->config + offset, data, len);
	if (offset == at && len == sizeof(b->config.actual))
		look_for_want(b, before);
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	serve(to_balloon(dev), index);
}

static void forget_stats(struct balloon *b)
{
	memset(b->stats, 0xff, sizeof(b->stats));
	b->stats_held = false;
}

static void reset(struct virtio_device *dev)
{
	struct balloon *b = to_balloon(dev);
	struct virtqueue *vq = &dev->queues[BALLOON_STATS_QUEUE].vq;

	b->config.actual = b->seen = 0;
	b->told_short = false;
	pthread_mutex_lock(&vq->lock);
	forget_stats(b);
	pthread_mutex_unlock(&vq->lock);
}

/* Saves the state. The statistics' buffer that is held is one of the chains that will be taken
 * again. */
static int save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct balloon *b = to_balloon(dev);
	struct virtqueue *vq = &dev->queues[BALLOON_STATS_QUEUE].vq;

	pthread_mutex_lock(&dev->lock);
	state_put_u32(w, b->config.target);
	state_put_u32(w, b->config.actual);
	state_put_u32(w, b->seen);
	state_put_bool(w, b->told_short);
	pthread_mutex_unlock(&dev->lock);
	pthread_mutex_lock(&vq->lock);
	state_put_u8(w, BALLOON_STATS);
	for (int i = 0; i < BALLOON_STATS; i++)
		state_put_u64(w, b->stats[i]);
	state_put_u64(w, b->kills);
	pthread_mutex_unlock(&vq->lock);
	return 0;
}

static int load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	struct balloon *b = to_balloon(dev);
	uint32_t target = state_get_u32(in), actual = state_get_u32(in), seen = state_get_u32(in);
	bool told_short = state_get_bool(in);
	uint64_t stats[BALLOON_STATS], kills;
	int ret;

	state_check(in, state_get_u8(in) == BALLOON_STATS, "the number of statistics");
	for (int i = 0; i < BALLOON_STATS; i++)
		stats[i] = state_get_u64(in);
	kills = state_get_u64(in);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	b->config.target = target;
	b->config.actual = actual;
	b->seen = seen;
	b->told_short = told_short;
	memcpy(b->stats, stats, sizeof(b->stats));
	b->kills = kills;
	return 0;
}

static const struct virtio_ops ops = {.config_read = config_read,
				      .config_write = config_write,
				      .kick = kick,
				      .reset = reset,
				      .state_id = STATE_ID('v', 'b', 'a', 'l'),
				      .state_version = 1,
				      .save = save,
				      .load = load};

static bool target_ok(uint64_t bytes)
{
	return bytes % BALLOON_PAGE == 0 && bytes / BALLOON_PAGE <= UINT32_MAX;
}

int balloon_create(const struct balloon_config *cfg, struct balloon **out)
{
	struct balloon *b;
	int ret;

	if (!target_ok(cfg->target))
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->config.target = (uint32_t)(cfg->target / BALLOON_PAGE);
	b->release = cfg->release;
	b->release_ctx = cfg->release_ctx;
	b->tasks[BALLOON_INFLATE].run = inflate_again;
	b->tasks[BALLOON_DEFLATE].run = deflate_again;
	b->tasks[BALLOON_STATS_QUEUE].run = stats_again;
	b->tasks[BALLOON_HINT].run = hint_again;
	b->tasks[BALLOON_REPORT].run = report_again;
	b->dev.ops = &ops;
	b->dev.name = "balloon";
	b->dev.id = VIRTIO_ID_BALLOON;
	b->dev.offered =
		UINT64_C(1) << F_STATS | UINT64_C(1) << F_HINT | UINT64_C(1) << F_REPORTING;
	if (cfg->deflate_on_oom)
		b->dev.offered |= UINT64_C(1) << F_DEFLATE_ON_OOM;
	b->dev.config = &b->config;
	b->dev.config_len = sizeof(b->config);
	b->dev.queue_count = BALLOON_QUEUES;
	b->dev.dma = cfg->dma;
	b->dev.log = cfg->log;
	b->dev.log_ctx = cfg->log_ctx;
	forget_stats(b);
	ret = virtio_init(&b->dev, VQ_SIZE_MAX);
	if (ret < 0) {
		free(b);
		return ret;
	}
	*out = b;
	return 0;
}

void balloon_destroy(struct balloon **bp)
{
	struct balloon *b = *bp;

	if (!b)
		return;
	*bp = NULL;
	virtio_fini(&b->dev);
	free(b);
}

struct virtio_device *balloon_device(struct balloon *b)
{
	return &b->dev;
}

struct balloon *balloon_of(struct virtio_device *dev)
{
	return to_balloon(dev);
}

void balloon_attach(struct balloon *b, struct catnap_halter *home)
{
	b->dev.home = home;
}

int balloon_set_target(struct balloon *b, uint64_t bytes)
{
	if (!target_ok(bytes))
		return -EINVAL;
	pthread_mutex_lock(&b->dev.lock);
	if (b->config.target != bytes / BALLOON_PAGE) {
		b->config.target = (uint32_t)(bytes / BALLOON_PAGE);
		b->told_short = false;
		virtio_config_changed(&b->dev);
	}
	pthread_mutex_unlock(&b->dev.lock);
	return 0;
}

void balloon_get_state(struct balloon *b, struct balloon_state *s)
{
	struct virtqueue *vq = &b->dev.queues[BALLOON_STATS_QUEUE].vq;

	pthread_mutex_lock(&b->dev.lock);
	s->target = (uint64_t)b->config.target * BALLOON_PAGE;
	s->actual = (uint64_t)b->config.actual * BALLOON_PAGE;
	pthread_mutex_unlock(&b->dev.lock);
	s->released = relaxed_load(&b->released);
	s->reported = relaxed_load(&b->reported);
	pthread_mutex_lock(&vq->lock);
	memcpy(s->stats, b->stats, sizeof(s->stats));
	if (atomic_load(&b->dev.running) && b->stats_held) {
		b->stats_held = false;
		vq_push(vq, b->stats_head, 0);
		/* Before the driver sees it: its next buffer is to bring a kick. */
		if (vq_kicks(vq, true))
			halter_post(b->dev.home, &b->tasks[BALLOON_STATS_QUEUE]);
		virtio_publish(&b->dev, BALLOON_STATS_QUEUE);
	}
	pthread_mutex_unlock(&vq->lock);
}
