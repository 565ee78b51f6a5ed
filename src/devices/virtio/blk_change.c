/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives a disk another image while its driver uses it.
 *
 * The new image is opened and locked, and the old one is written out, while requests go on. Then no
 * request is taken any more, and those that were are waited for: they, and nobody else, use the
 * image. Requests that the driver adds meanwhile stay in its queues; the threads that would have
 * taken them go on with their guests. Then the last writes are written out, the image is exchanged,
 * the capacity follows, and all queues are looked at again.
 *
 * So a write that the driver was told of is in the image that it was made to, and durable there: a
 * flush that comes later would not reach it. A failure before the exchange leaves the disk as it
 * was, and the exchange cannot fail. But for the capacity, all that the guest was told of the image
 * (block size, topology, whether it discards) stays, since drivers ask once; a request that the new
 * image cannot do is answered as one that its file system refuses.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "container_of.h"
#include "devices/virtio/blk_impl.h"
#include "relaxed.h"

static bool none_taken(struct virtio_device *dev)
{
	return atomic_load(&container_of(dev, struct blk, dev)->taken) == 0;
}

/* Lets all queues take requests again, and look for some. */
static void let_queues_go(struct blk *blk)
{
	atomic_store(&blk->changing, false);
	for (unsigned int i = 0; i < blk->dev.queue_count; i++) {
		struct catnap_halter *h = atomic_load(&blk->queues[i].waiter);

		if (!h)
			h = blk->dev.io ? blk->dev.io : blk->dev.home;
		if (h)
			halter_post(h, &blk->dev.queues[i].kick_task);
	}
}

/* Waits until all requests that were taken are complete, and keeps more from being taken. */
static bool hold_queues(struct blk *blk, uint64_t wait_ns)
{
	atomic_store(&blk->changing, true);
	/* A thread that takes a request with the lock held has seen that, or is counted now. */
	for (unsigned int i = 0; i < blk->dev.queue_count; i++) {
		pthread_mutex_lock(&blk->dev.queues[i].vq.lock);
		pthread_mutex_unlock(&blk->dev.queues[i].vq.lock);
	}
	if (virtio_wait(&blk->dev, none_taken, wait_ns))
		return true;
	let_queues_go(blk);
	return false;
}

static int write_out(struct blk *blk, struct error *err)
{
	int ret = 0;

	if (!blk->readonly && !blk->image.in_memory)
		ret = blk_dirty_sync(&blk->dirty, blk->image.fd);
	if (ret == 0)
		return 0;
	return error_fail(err, ret, "disk: its image so far cannot be written out: %s",
			  strerror(-ret));
}

static int check(const struct blk *blk, const struct blk_config *cfg, struct error *err)
{
	if (cfg->readonly != blk->readonly)
		return error_fail(err, -EINVAL, "disk: readonly: is %s: expected an image for that",
				  blk->readonly ? "on" : "off");
	if (cfg->block_size && cfg->block_size != blk->image.logical)
		return error_fail(
			err, -EINVAL,
			"disk: block-size: is %u, which the guest was told: expected that",
			blk->image.logical);
	return 0;
}

/* Exchanges the image. The queues are held. */
static void exchange(struct blk *blk, struct blk_image *img)
{
	struct virtio_device *dev = &blk->dev;
	struct blk_image old;

	pthread_mutex_lock(&dev->lock);
	blk_image_move(&old, &blk->image);
	blk_image_move(&blk->image, img);
	blk_dirty_forget(&blk->dirty, blk->image.sectors * BLK_SECTOR);
	blk->config.capacity = blk->image.sectors;
	virtio_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
	blk_image_move(img, &old);
}

static int change(struct blk *blk, const struct blk_config *cfg, uint64_t wait_ns,
		  struct error *err)
{
	struct blk_config with_size = *cfg;
	struct blk_image img;
	int ret;

	with_size.block_size = blk->image.logical;
	ret = blk_image_open(&img, &with_size, err);
	if (ret < 0)
		return ret;
	/* Most of it while requests go on, the rest while there are none. */
	ret = write_out(blk, err);
	if (ret == 0 && !hold_queues(blk, wait_ns)) {
		ret = error_fail(err, -ETIMEDOUT,
				 "disk: %s: requests to the image so far do not end", cfg->path);
	} else if (ret == 0) {
		ret = write_out(blk, err);
		if (ret == 0)
			exchange(blk, &img);
		let_queues_go(blk);
	}
	blk_image_close(&img); /* the one that is not the disk's */
	return ret;
}

int blk_change(struct virtio_device *dev, const struct blk_config *cfg, uint64_t wait_ns,
	       uint64_t *bytes, struct error *err)
{
	struct blk *blk = container_of(dev, struct blk, dev);
	int ret;

	pthread_mutex_lock(&blk->change_lock);
	ret = check(blk, cfg, err);
	if (ret == 0 && blk_image_is(&blk->image, cfg)) {
		ret = blk_update(dev, bytes, err);
	} else if (ret == 0) {
		ret = change(blk, cfg, wait_ns, err);
		*bytes = relaxed_load(&blk->image.sectors) * BLK_SECTOR;
	}
	pthread_mutex_unlock(&blk->change_lock);
	return ret;
}
