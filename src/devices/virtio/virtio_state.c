/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a virtio device in a snapshot, as far as all devices have it: features, status,
 * queues. docs/snapshot-format.md has the bytes. */
#include <errno.h>
#include <stdlib.h>

#include "devices/virtio/virtio.h"
#include "relaxed.h"

#define SECTION STATE_ID('v', 'd', 'e', 'v')
#define VERSION 1

#define STATUS_KNOWN                                                                  \
	(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK | \
	 VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED)

static const char *name_of(const struct virtio_device *dev)
{
	return dev->name ? dev->name : "virtio";
}

/* -- saving ----------------------------------------------------------------------------------- */

static int save_core(struct virtio_device *dev, uint32_t instance, struct state_writer *w)
{
	state_begin(w, SECTION, instance, VERSION);
	pthread_mutex_lock(&dev->lock);
	state_put_u16(w, dev->id);
	state_put_u64(w, dev->offered);
	state_put_u64(w, relaxed_load(&dev->features));
	state_put_bool(w, dev->features_beyond);
	state_put_u8(w, virtio_status(dev));
	state_put_u32(w, atomic_load(&dev->generation));
	state_put_u16(w, (uint16_t)dev->queue_count);
	for (unsigned int i = 0; i < dev->queue_count; i++) {
		struct virtqueue *q = &dev->queues[i].vq;

		pthread_mutex_lock(&q->lock);
		vq_save(q, w);
		pthread_mutex_unlock(&q->lock);
	}
	pthread_mutex_unlock(&dev->lock);
	return state_end(w);
}

int virtio_save(struct virtio_device *dev, uint32_t instance, struct state_writer *w,
		struct error *err)
{
	int ret;

	if (!dev->ops->state_id)
		return error_fail(err, -ENOTSUP, "%s: a device of this kind cannot be saved",
				  name_of(dev));
	if (atomic_load(&dev->inflight) || atomic_load(&dev->resetting))
		return error_fail(err, -EBUSY, "%s: requests of the host are in flight",
				  name_of(dev));
	ret = save_core(dev, instance, w);
	if (ret < 0)
		return error_errno(err, ret, "%s", name_of(dev));
	state_begin(w, dev->ops->state_id, instance, dev->ops->state_version);
	ret = dev->ops->save(dev, w, err);
	if (ret < 0)
		return ret;
	ret = state_end(w);
	return ret < 0 ? error_errno(err, ret, "%s", name_of(dev)) : 0;
}

/* -- loading ---------------------------------------------------------------------------------- */

struct core {
	uint64_t offered, features;
	bool beyond;
	uint8_t status;
	uint32_t generation;
	struct vq_state queues[VIRTIO_QUEUES_MAX];
};

static void read_core(struct core *c, const struct virtio_device *dev, struct state_in *in)
{
	state_check(in, state_get_u16(in) == dev->id, "the kind of device");
	c->offered = state_get_u64(in);
	c->features = state_get_u64(in);
	c->beyond = state_get_bool(in);
	c->status = state_get_u8(in);
	state_check(in, !(c->status & ~STATUS_KNOWN), "the device status");
	state_check(in,
		    !(c->status & VIRTIO_STATUS_DRIVER_OK) ||
			    (c->status & VIRTIO_STATUS_FEATURES_OK),
		    "the device status");
	c->generation = state_get_u32(in);
	if (!state_check(in, state_get_u16(in) == dev->queue_count, "the number of queues"))
		return;
	for (unsigned int i = 0; i < dev->queue_count && state_good(in); i++)
		vq_read(&c->queues[i], dev->queues[i].size_max, in);
	/* A queue is enabled after that alone. */
	for (unsigned int i = 0; i < dev->queue_count && state_good(in); i++)
		state_check(in, !c->queues[i].enabled || (c->status & VIRTIO_STATUS_FEATURES_OK),
			    "an enabled queue");
}

/* Checks that the features that the driver has agreed on were offered, and still are. */
static int check_features(const struct virtio_device *dev, const struct core *c,
			  const struct state_in *in, struct error *err)
{
	uint64_t lost = c->features & ~(dev->offered | (c->offered & dev->ops->kept_features));

	if (!(c->status & VIRTIO_STATUS_FEATURES_OK))
		return 0;
	if (c->beyond || !(c->features >> VIRTIO_F_VERSION_1 & 1) || c->features & ~c->offered)
		return state_refuse(in, err, -EINVAL, "the features of %s cannot be as it says",
				    name_of(dev));
	if (lost)
		return state_refuse(in, err, -ENOTSUP,
				    "%s: the guest uses feature %d, which is not to be had here",
				    name_of(dev), __builtin_ctzll(lost));
	return 0;
}

static int take_queues(struct virtio_device *dev, const struct core *c, const struct state_in *in,
		       struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < dev->queue_count && ret == 0; i++) {
		struct virtqueue *q = &dev->queues[i].vq;

		pthread_mutex_lock(&q->lock);
		ret = vq_load(q, &c->queues[i], virtio_has(dev, VIRTIO_F_INDIRECT_DESC),
			      virtio_has(dev, VIRTIO_F_EVENT_IDX));
		pthread_mutex_unlock(&q->lock);
		if (ret < 0)
			return state_refuse(in, err, ret,
					    "the rings of queue %u of %s are not in memory", i,
					    name_of(dev));
	}
	return ret;
}

static int load_own(struct virtio_device *dev, uint32_t instance, struct state_reader *r,
		    struct error *err)
{
	struct state_in in;
	int ret = state_find(r, dev->ops->state_id, instance, dev->ops->state_version, &in, err);

	return ret < 0 ? ret : dev->ops->load(dev, &in, err);
}

static int load(struct virtio_device *dev, uint32_t instance, struct state_reader *r,
		struct core *c, struct error *err)
{
	struct state_in in;
	int ret = state_find(r, SECTION, instance, VERSION, &in, err);

	if (ret < 0)
		return ret;
	read_core(c, dev, &in);
	ret = state_finish(&in, err);
	if (ret == 0)
		ret = check_features(dev, c, &in, err);
	if (ret < 0)
		return ret;
	if (c->status & VIRTIO_STATUS_FEATURES_OK)
		dev->offered |= c->features & dev->ops->kept_features;
	relaxed_store(&dev->features, c->features);
	dev->features_beyond = c->beyond;
	atomic_store(&dev->generation, c->generation);
	atomic_store(&dev->status, c->status);
	ret = load_own(dev, instance, r, err);
	return ret < 0 ? ret : take_queues(dev, c, &in, err);
}

int virtio_load(struct virtio_device *dev, uint32_t instance, struct state_reader *r,
		struct error *err)
{
	struct core *c;
	int ret;

	if (!dev->ops->state_id)
		return error_fail(err, -ENOTSUP, "%s: a device of this kind cannot be restored",
				  name_of(dev));
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_errno(err, -ENOMEM, "%s", name_of(dev));
	ret = load(dev, instance, r, c, err);
	free(c);
	return ret;
}

int virtio_restored(struct virtio_device *dev, struct error *err)
{
	int ret = 0;

	if (!(virtio_status(dev) & VIRTIO_STATUS_DRIVER_OK))
		return 0;
	atomic_store(&dev->running, true);
	if (dev->ops->restored)
		ret = dev->ops->restored(dev, err);
	/* Kick for buffers that were added before, for what was held up, and for chains that are to
	 * be taken again. */
	for (unsigned int i = 0; ret == 0 && i < dev->queue_count; i++)
		virtio_kick(dev, i);
	return ret;
}
