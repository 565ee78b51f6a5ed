/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio block device (virtio 1.2, section 5.2): its queues and its configuration. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "devices/virtio/blk_impl.h"
#include "relaxed.h"

#define TYPE_BLOCK 2

/*
 * A request may be as long as descriptors can say, which is 4 GiB: firmware reads a file at once.
 * Of those longer than this a queue has one at a time, and what is behind it waits.
 *
 * There is no size_max to keep drivers below: FreeBSD's refuses a disk whose size_max is less than
 * the longest transfer of its own, and others have not asked for the feature and could not know.
 */
#define LONG_TRANSFER (UINT32_C(16) << 20)

/* -- queues ----------------------------------------------------------------------------------- */

/* Takes a request from the queue, which counts as in flight then. Returns NULL if there is none,
 * or, with *@ret < 0, if the queue is broken. The queue's lock is held. */
static struct blk_request *take(struct blk *blk, unsigned int index, struct vq_chain *c, int *ret)
{
	struct blk_queue *bq = &blk->queues[index];
	struct virtqueue *q = &blk->dev.queues[index].vq;
	struct iovec *last;
	struct blk_request *r;

	*ret = 0;
	if (!atomic_load(&blk->dev.running) || atomic_load(&blk->changing) || !bq->free_count)
		return NULL;
	r = &bq->requests[bq->free[bq->free_count - 1]];
	*c = (struct vq_chain){.iov = r->buffers, .max = BLK_BUFFERS};
	*ret = vq_pop(q, c);
	if (*ret <= 0)
		return NULL;
	/* There is no place to say what is wrong with it. */
	if (c->out_len < sizeof(struct blk_header) || !c->in_len) {
		vq_push(q, c->head, 0);
		*ret = vq_break(q, "a request without header or status");
		return NULL;
	}
	bq->free_count--;
	atomic_fetch_add(&blk->taken, 1);
	r->blk = blk;
	r->slot = bq->free[bq->free_count];
	r->queue = (uint16_t)index;
	r->head = c->head;
	last = &c->iov[c->out + c->in - 1];
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r->written = c->in_len; /* up to the status, which is the last byte */
	r->iov = r->buffers;
	r->offset = r->left = 0;
	r->result = BLK_S_OK;
	r->retries = 0;
	r->zeroing = r->sync = r->complete = false;
	r->generation = atomic_load(&blk->generation);
	r->errors = atomic_load(&blk->dirty.errors);
	r->is_long =
		(uint64_t)c->out_len + c->in_len > LONG_TRANSFER + sizeof(struct blk_header) + 1;
	bq->has_long = r->is_long;
	virtio_request_begin(&blk->dev);
	return r;
}

/* Returns whether there is a request that has to wait; the kick comes back when it need not. The
 * queue's lock is held. */
static bool has_to_wait(struct blk *blk, unsigned int index, struct catnap_halter *self)
{
	struct blk_queue *bq = &blk->queues[index];
	struct virtqueue *q = &blk->dev.queues[index].vq;

	if (!atomic_load(&blk->dev.running))
		return false;
	if (atomic_load(&blk->changing)) {
		if (self)
			atomic_store(&bq->waiter, self);
		vq_kicks(q, false);
		return true;
	}
	if (self && blk_flight_full(&blk->flight, index)) {
		atomic_store(&bq->waiter, self);
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
	if (!throttle_on(&blk->throttle) || !bq->free_count)
		return false;
	if (!vq_waiting(q)) {
		throttle_rest(&blk->throttle, &bq->place);
		return false;
	}
	if (throttle_pass(&blk->throttle, &bq->place, self))
		return false;
	vq_kicks(q, false);
	return true;
}

static uint64_t bytes_of(const struct blk_request *r)
{
	if (r->type == BLK_T_IN || r->type == BLK_T_OUT)
		return r->left;
	return r->type == BLK_T_WRITE_ZEROES ? r->ranges[0].sectors * (uint64_t)BLK_SECTOR : 0;
}

/* Does what the request that was taken asks for. */
static void begin(struct blk_request *r, const struct vq_chain *c, struct catnap_halter *self,
		  uint32_t *budget)
{
	bool something = blk_parse(r, c);

	virtio_count(&r->blk->dev.counters.requests, 1);
	throttle_charge(&r->blk->throttle, 1, something ? bytes_of(r) : 0);
	if (something)
		blk_request_run(r, self, budget);
	else
		blk_request_complete(r);
}

/* Requests are done within the kick, and somebody wants the thread. */
static bool plain_called(struct catnap_halter *self)
{
	return self && self->ring.plain && halter_called(self);
}

static struct blk *to_blk(struct virtio_device *dev)
{
	return container_of(dev, struct blk, dev);
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct blk *blk = to_blk(dev);
	struct virtqueue *q = &dev->queues[index].vq;
	struct catnap_halter *self = halter_self();
	uint32_t budget = BLK_HERE_KICK_MAX;
	unsigned int limit = BLK_QUEUE_SIZE;
	struct blk_request *r;
	struct vq_chain c;
	bool more;
	int ret;

	do {
		pthread_mutex_lock(&q->lock);
		if (has_to_wait(blk, index, self)) {
			pthread_mutex_unlock(&q->lock);
			return;
		}
		r = take(blk, index, &c, &ret);
		if (ret < 0)
			virtio_broken(dev, q->fault);
		more = r || (ret == 0 && vq_kicks(q, true));
		pthread_mutex_unlock(&q->lock);
		if (r)
			begin(r, &c, self, &budget);
		if (more && (!--limit || plain_called(self))) {
			more = !virtio_kick_later(dev, index);
			limit = BLK_QUEUE_SIZE;
		}
	} while (more && atomic_load(&dev->running));
}

/* -- configuration ---------------------------------------------------------------------------- */

/* Returns the cache mode. 5.2.5.2: a driver that can set it, but not flush, begins with
 * write-through. */
static uint8_t writeback(struct blk *blk)
{
	if (!blk->writeback_set && virtio_has(&blk->dev, BLK_F_CONFIG_WCE))
		return virtio_has(&blk->dev, BLK_F_FLUSH);
	return blk->config.writeback;
}

/* Sets the cache mode. 5.2.6.2: without a flush to be had, writes are durable when they
 * complete. */
static void set_cache(struct blk *blk)
{
	bool back = virtio_has(&blk->dev, BLK_F_CONFIG_WCE) ? writeback(blk)
							    : virtio_has(&blk->dev, BLK_F_FLUSH);

	relaxed_store(&blk->write_through, !back);
}

static void config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	struct blk *blk = to_blk(dev);
	struct blk_space c = blk->config;

	c.writeback = writeback(blk);
	memcpy(data, (const char *)&c + offset, len);
}

static void config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	struct blk *blk = to_blk(dev);
	uint32_t at = offsetof(struct blk_space, writeback);

	if (offset > at || at - offset >= len || !virtio_has(dev, BLK_F_CONFIG_WCE))
		return;
	blk->config.writeback = ((const uint8_t *)data)[at - offset] & 1;
	blk->writeback_set = true;
	set_cache(blk);
}

static void start(struct virtio_device *dev)
{
	set_cache(to_blk(dev));
}

static void reset(struct virtio_device *dev)
{
	struct blk *blk = to_blk(dev);

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

/* -- snapshots -------------------------------------------------------------------------------- */

/*
 * Saves the state. Requests that were put off are chains that will be taken again, from their
 * beginning: the part of them that was done may be done twice, as nobody was told of it. Data that
 * was written is made durable, so that a host that fails after the snapshot has the disk that
 * belongs to it.
 */
static int save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct blk *blk = to_blk(dev);
	int ret = 0;

	if (!blk->readonly && !blk->image.in_memory)
		ret = blk_dirty_sync(&blk->dirty, blk->image.fd);
	if (ret < 0)
		return error_fail(err, ret, "%s: its image cannot be written out: %s", blk->name,
				  strerror(-ret));
	pthread_mutex_lock(&dev->lock);
	state_put_bool(w, blk->readonly);
	state_put_u64(w, blk->config.capacity);
	state_put_u32(w, blk->image.logical);
	state_put_bool(w, blk->config.writeback);
	state_put_bool(w, blk->writeback_set);
	state_put_bool(w, atomic_load(&blk->dirty.owed));
	state_put_text(w, blk->id);
	pthread_mutex_unlock(&dev->lock);
	throttle_save(&blk->throttle, w);
	return 0;
}

struct state {
	bool readonly, writeback, writeback_set, owed;
	uint64_t sectors;
	uint32_t logical;
	char id[BLK_ID_MAX + 1];
	struct rate rate;
};

static void read_state(struct state *s, struct state_in *in)
{
	s->readonly = state_get_bool(in);
	s->sectors = state_get_u64(in);
	s->logical = state_get_u32(in);
	s->writeback = state_get_bool(in);
	s->writeback_set = state_get_bool(in);
	s->owed = state_get_bool(in);
	state_get_text(in, s->id, sizeof(s->id));
	rate_load(&s->rate, clock_monotonic_ns(), in);
}

static int load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	struct blk *blk = to_blk(dev);
	struct state s;
	int ret;

	read_state(&s, in);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	if (s.readonly != blk->readonly)
		return state_refuse(in, err, -EINVAL,
				    "%s: readonly: the guest was told that it is %s: expected that",
				    blk->name, s.readonly ? "on" : "off");
	if (s.logical != blk->image.logical)
		return state_refuse(
			in, err, -EINVAL,
			"%s: block-size: the guest was told that it is %u: expected that",
			blk->name, s.logical);
	ret = throttle_load(&blk->throttle, &s.rate);
	if (ret < 0)
		return state_refuse(in, err, ret, "%s: the limit: %s", blk->name, strerror(-ret));
	blk->config.writeback = s.writeback;
	blk->writeback_set = s.writeback_set;
	memcpy(blk->id, s.id, sizeof(blk->id));
	atomic_store(&blk->dirty.owed, s.owed);
	blk->resized = s.sectors != blk->config.capacity;
	if (blk->config.capacity < s.sectors)
		virtio_log(dev,
			   "%llu bytes, less than the snapshot's: what lies behind them is lost",
			   (unsigned long long)blk->config.capacity * BLK_SECTOR);
	set_cache(blk);
	return 0;
}

static int restored(struct virtio_device *dev, struct error *err)
{
	struct blk *blk = to_blk(dev);

	if (!blk->resized)
		return 0;
	blk->resized = false;
	pthread_mutex_lock(&dev->lock);
	virtio_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
	return 0;
}

static const struct virtio_ops ops = {
	.config_read = config_read,
	.config_write = config_write,
	.start = start,
	.kick = kick,
	.reset = reset,
	.state_id = STATE_ID('v', 'b', 'l', 'k'),
	.state_version = 1,
	.save = save,
	.load = load,
	.restored = restored,
	/* Drivers ask once. A request that the image cannot do is answered so. */
	.kept_features = UINT64_C(1) << BLK_F_DISCARD,
};

static uint8_t log2_of(uint32_t ratio)
{
	return (uint8_t)__builtin_ctz(ratio ? ratio : 1);
}

static void fill_config(struct blk *blk, uint16_t queues)
{
	const struct blk_image *img = &blk->image;
	uint32_t min = img->io_min ? img->io_min : img->physical;

	blk->config = (struct blk_space){
		.capacity = atomic_load(&img->sectors),
		.seg_max = BLK_SEG_MAX,
		.blk_size = img->logical,
		.physical_block_exp = log2_of(img->physical / img->logical),
		.min_io_size = (uint16_t)(min / img->logical > UINT16_MAX ? 0 : min / img->logical),
		.opt_io_size = img->io_opt / img->logical,
		.writeback = 1,
		.num_queues = queues,
		.max_discard_sectors = BLK_DISCARD_MAX,
		.max_discard_seg = BLK_RANGES_MAX,
		.discard_sector_alignment = img->physical / BLK_SECTOR,
		.max_write_zeroes_sectors = BLK_WRITE_ZEROES_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = img->discard,
	};
	blk->dev.offered = UINT64_C(1) << BLK_F_SEG_MAX | UINT64_C(1) << BLK_F_BLK_SIZE |
			   UINT64_C(1) << BLK_F_TOPOLOGY | UINT64_C(1) << BLK_F_FLUSH;
	if (queues > 1)
		blk->dev.offered |= UINT64_C(1) << BLK_F_MQ;
	if (blk->readonly)
		blk->dev.offered |= UINT64_C(1) << BLK_F_RO;
	else
		blk->dev.offered |= UINT64_C(1) << BLK_F_CONFIG_WCE | UINT64_C(1)
									      << BLK_F_WRITE_ZEROES;
	if (img->discard)
		blk->dev.offered |= UINT64_C(1) << BLK_F_DISCARD;
}

static int make_queues(struct blk *blk)
{
	for (unsigned int i = 0; i < blk->dev.queue_count; i++) {
		struct blk_queue *bq = &blk->queues[i];

		bq->requests = calloc(BLK_QUEUE_SIZE, sizeof(*bq->requests));
		if (!bq->requests)
			return -ENOMEM;
		/* Taken from the end: the first ones are used over and over. */
		for (uint16_t n = 0; n < BLK_QUEUE_SIZE; n++)
			bq->free[n] = (uint16_t)(BLK_QUEUE_SIZE - 1 - n);
		bq->free_count = BLK_QUEUE_SIZE;
	}
	return 0;
}

static void free_blk(struct blk *blk)
{
	for (unsigned int i = 0; i < BLK_QUEUES_MAX; i++) {
		struct blk_request *r = blk->queues[i].requests;

		/* Requests that were put off have buffers still. */
		for (unsigned int n = 0; r && n < BLK_QUEUE_SIZE; n++)
			free(r[n].bounce);
		free(r);
	}
	blk_dirty_fini(&blk->dirty);
	throttle_fini(&blk->throttle);
	blk_image_close(&blk->image);
	pthread_mutex_destroy(&blk->change_lock);
	free(blk);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int blk_create(const struct blk_config *cfg, const struct dma *dma, struct virtio_device **out,
	       struct error *err)
{
	struct blk *blk;
	int ret;

	if (cfg->queues < 1 || cfg->queues > BLK_QUEUES_MAX)
		return error_fail(err, -EINVAL, "disk: queues: %u is out of range: 1 to %u",
				  cfg->queues, BLK_QUEUES_MAX);
	if (cfg->id && strlen(cfg->id) > BLK_ID_MAX)
		return error_fail(err, -EINVAL, "disk: id: \"%.40s\" has more than %u characters",
				  cfg->id, BLK_ID_MAX);
	blk = calloc(1, sizeof(*blk));
	if (!blk)
		return error_fail(err, -ENOMEM, "disk: %s", strerror(ENOMEM));
	ret = blk_image_open(&blk->image, cfg, err);
	if (ret < 0) {
		free(blk);
		return ret;
	}
	pthread_mutex_init(&blk->change_lock, NULL); /* of Linux's errors it has none */
	blk->readonly = cfg->readonly;
	snprintf(blk->name, sizeof(blk->name), "disk %s", base_name(cfg->path));
	snprintf(blk->id, sizeof(blk->id), "%s", cfg->id ? cfg->id : "");
	blk->dev.ops = &ops;
	blk->dev.name = blk->name;
	blk->dev.id = TYPE_BLOCK;
	blk->dev.config = &blk->config;
	blk->dev.config_len = offsetof(struct blk_space, unused1) + sizeof(blk->config.unused1);
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
		ret = virtio_init(&blk->dev, BLK_QUEUE_SIZE);
	if (ret < 0) {
		error_errno(err, ret, "disk: %s", cfg->path);
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
	free_blk(to_blk(dev));
}

int blk_set_limits(struct virtio_device *dev, const struct rate_limits *limits)
{
	return throttle_change(&to_blk(dev)->throttle, limits, NULL);
}

int blk_update(struct virtio_device *dev, uint64_t *bytes, struct error *err)
{
	struct blk *blk = to_blk(dev);
	uint64_t sectors = 0, before;
	int ret;

	/* Within the lock, so that of two who look the later one's word stands. */
	pthread_mutex_lock(&dev->lock);
	ret = blk_image_sectors(&blk->image, blk->name + strlen("disk "), &sectors, err);
	before = relaxed_load(&blk->image.sectors);
	if (ret == 0 && sectors != before) {
		/* First what is allowed, then what is told: nobody is refused what he was
		 * offered. */
		blk_dirty_resize(&blk->dirty, sectors * BLK_SECTOR);
		relaxed_store(&blk->image.sectors, sectors);
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
