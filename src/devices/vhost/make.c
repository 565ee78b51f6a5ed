/* SPDX-License-Identifier: Apache-2.0 */
/* Making the device, see vhost.h, with its first back end, and taking it apart. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "devices/vhost/vhost_impl.h"

#define BIT(n) (UINT64_C(1) << (n))

/* Of virtio's own, what a back end may take part in: it sees the rings, and nothing of the transport
 * (6). */
#define RING_FEATURES \
	(BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1))

static int watch(struct vhost *v, int fd, void *what, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = what};

	return epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int open_all(struct vhost *v)
{
	int pair[2], ret;

	v->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	v->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (v->epoll_fd < 0 || v->timer_fd < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	v->channel = pair[0];
	v->channel_peer = pair[1];
	for (unsigned int i = 0; i < v->queues; i++) {
		v->calls[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		v->kick_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->calls[i].fd < 0 || v->kick_fds[i] < 0)
			return -errno;
	}
	if (vhost_has_control(v)) {
		v->kick_fds[v->queues] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->kick_fds[v->queues] < 0)
			return -errno;
	}
	ret = watch(v, v->timer_fd, &v->timer_fd, EPOLLIN);
	if (ret == 0)
		ret = watch(v, v->channel, &v->channel, EPOLLIN);
	return ret;
}

static void close_all(struct vhost *v)
{
	vhost_close_fd(&v->socket);
	vhost_close_fd(&v->channel);
	vhost_close_fd(&v->channel_peer);
	vhost_close_fd(&v->timer_fd);
	vhost_close_fd(&v->ask_fd);
	vhost_close_fd(&v->epoll_fd);
	vhost_close_fd(&v->inflight.fd);
	for (unsigned int i = 0; i < VHOST_QUEUES_MAX; i++) {
		vhost_close_fd(&v->calls[i].fd);
		vhost_close_fd(&v->kick_fds[i]);
	}
	vhost_close_fd(&v->kick_fds[VHOST_QUEUES_MAX]);
}

static int fail_negotiation(int ret, struct error *err)
{
	switch (ret) {
	case -EPIPE:
		return error_fail(
			err, ret,
			"the back end has closed the connection: expected one that speaks "
			"vhost-user, for this type of device");
	case -ETIMEDOUT:
		return error_fail(
			err, ret,
			"the back end does not answer: expected one that speaks vhost-user "
			"and has no other front end");
	case -EPROTO:
		return error_fail(err, ret, "the back end's answers are not those of vhost-user");
	default:
		return error_errno(err, ret, "the back end");
	}
}

/* Checks that what the back end has is enough for this device. */
static int check_offer(const struct vhost *v, const struct vhost_offer *offer, struct error *err)
{
	if (!(offer->features & BIT(VIRTIO_F_VERSION_1)))
		return error_fail(err, -ENOTSUP, "the back end knows no virtio 1 (VERSION_1)");
	if (v->kind.remote && v->kind.config_len && !(offer->protocol & BIT(VHOST_PROTOCOL_CONFIG)))
		return error_fail(err, -ENOTSUP,
				  "the back end does not tell the configuration (CONFIG)");
	if (vhost_queues_of(v, offer) < v->queues)
		return error_fail(err, -EINVAL, "queues: %u: the back end has %u",
				  v->queues / (v->kind.pairs ? 2 : 1),
				  vhost_queues_of(v, offer) / (v->kind.pairs ? 2 : 1));
	return 0;
}

static int first_negotiation(struct vhost *v, bool fewer, struct error *err)
{
	struct vhost_offer offer;
	uint16_t queues;
	int ret = vhost_negotiate(v, &offer);

	if (ret < 0)
		return fail_negotiation(ret, err);
	if (fewer && vhost_queues_of(v, &offer) < v->queues && vhost_queues_of(v, &offer))
		v->queues = vhost_queues_of(v, &offer);
	queues = (uint16_t)v->queues;
	if (v->kind.queues_at)
		memcpy(offer.config + v->kind.queues_at, &queues, sizeof(queues));
	ret = check_offer(v, &offer, err);
	if (ret < 0)
		return ret;
	v->features = offer.features;
	v->protocol = offer.protocol;
	if (v->kind.remote)
		memcpy(v->config, offer.config, v->kind.config_len);
	v->bypass = !v->reconnect || v->kind.in_order ||
		    (offer.protocol & BIT(VHOST_PROTOCOL_INFLIGHT_SHMFD));
	return 0;
}

static int make(struct vhost *v, const struct vhost_config *cfg, struct error *err)
{
	int ret = open_all(v);

	if (ret == 0)
		ret = first_negotiation(v, cfg->fewer, err);
	if (ret == 0)
		ret = watch(v, v->socket, &v->socket, EPOLLIN | EPOLLRDHUP);
	if (ret < 0)
		return ret;
	v->dev.name = v->name;
	v->dev.id = v->kind.id;
	v->dev.external = true;
	v->dev.config = v->config;
	v->dev.config_len = v->kind.config_len;
	v->dev.queue_count = v->queues + vhost_has_control(v);
	v->dev.dma = cfg->dma;
	v->dev.log = cfg->log;
	v->dev.log_ctx = cfg->log_ctx;
	ret = virtio_init(&v->dev, VQ_SIZE_MAX);
	if (ret < 0)
		return ret;
	v->made = true;
	v->dev.offered = (v->features & (v->kind.features | RING_FEATURES)) | v->kind.own;
	if (v->queues == (v->kind.pairs ? 2 : 1) && v->kind.mq)
		v->dev.offered &= ~BIT(v->kind.mq);
	return 0;
}

int vhost_create(const struct vhost_config *cfg, struct vhost **out, struct error *err)
{
	struct vhost *v;
	int ret;

	if (!cfg->queues || cfg->queues > VHOST_QUEUES_MAX ||
	    cfg->kind->config_len > VHOST_CONFIG_MAX)
		return error_fail(err, -EINVAL, "queues: %u: expected 1 to %u", cfg->queues,
				  VHOST_QUEUES_MAX);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	ret = -pthread_mutex_init(&v->lock, NULL);
	if (ret < 0) {
		free(v);
		return ret;
	}
	v->kind = *cfg->kind;
	v->queues = cfg->queues;
	v->patience_ns = cfg->patience_ns ? cfg->patience_ns : VHOST_PATIENCE_NS;
	v->memory_fd = cfg->memory_fd;
	v->region_count = cfg->region_count;
	memcpy(v->regions, cfg->regions, sizeof(v->regions));
	strncpy(v->name, cfg->name, VHOST_NAME_MAX);
	if (cfg->path)
		strncpy(v->path, cfg->path, VHOST_PATH_MAX);
	v->reconnect = cfg->path;
	v->retry_ns = VHOST_RETRY_FIRST_NS;
	if (cfg->config && !v->kind.remote)
		memcpy(v->config, cfg->config, v->kind.config_len);
	v->epoll_fd = v->timer_fd = v->channel = v->channel_peer = v->ask_fd = v->inflight.fd = -1;
	for (unsigned int i = 0; i < VHOST_QUEUES_MAX; i++) {
		v->calls[i] = (struct vhost_call){.vhost = v, .index = i, .fd = -1};
		v->kick_fds[i] = -1;
	}
	v->kick_fds[VHOST_QUEUES_MAX] = -1;
	vhost_begin_life(v);
	v->socket = cfg->socket;
	ret = make(v, cfg, err);
	if (ret < 0) {
		v->socket = -1; /* still the caller's */
		vhost_destroy(&v);
		return ret;
	}
	*out = v;
	return 0;
}

void vhost_destroy(struct vhost **vp)
{
	struct vhost *v = *vp;

	if (!v)
		return;
	*vp = NULL;
	close_all(v);
	if (v->made)
		virtio_fini(&v->dev);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

struct virtio_device *vhost_device(struct vhost *v)
{
	return &v->dev;
}

struct vhost *vhost_of(struct virtio_device *dev)
{
	return vhost_from(dev);
}

const int *vhost_kick_fds(const struct vhost *v)
{
	return v->kick_fds;
}

unsigned int vhost_queue_count(const struct vhost *v)
{
	return v->queues;
}

int vhost_call_fd(const struct vhost *v, unsigned int queue)
{
	return v->calls[queue].fd;
}

bool vhost_may_bypass(const struct vhost *v)
{
	return v->bypass;
}
