/* SPDX-License-Identifier: Apache-2.0 */
/* The front end's inside, between make.c (the device comes and goes), vhost.c (its life) and
 * exchange.c (what is said to a back end, and what it answers). */
#ifndef DEVICES_VHOST_VHOST_IMPL_H
#define DEVICES_VHOST_VHOST_IMPL_H

#include <unistd.h>

#include "container_of.h"
#include "devices/vhost/track.h"
#include "devices/vhost/vhost.h"

struct vhost_call {
	struct ring_handler handler;
	struct vhost *vhost;
	unsigned int index;
	int fd;			    /* the back end signals it */
	struct catnap_halter *home; /* who has it as a source; NULL: nobody */
	struct vhost_track track;   /* under the queue's lock */
};

/* A list of requests in flight that the back end keeps in a file. It is handed on, and never looked
 * into. */
struct vhost_inflight {
	int fd; /* -1: there is none */
	uint64_t size, offset;
};

struct vhost {
	struct virtio_device dev;
	/* Constant once made. */
	struct vhost_kind kind;
	char name[VHOST_NAME_MAX + 1];
	char path[VHOST_PATH_MAX + 1];
	bool reconnect, made, bypass; /* bypass: see vhost_may_bypass() */
	unsigned int queues;
	uint64_t patience_ns;
	int memory_fd;
	struct vhost_region regions[VHOST_REGIONS_MAX];
	unsigned int region_count;
	struct vhost_call calls[VHOST_QUEUES_MAX];
	int kick_fds[VHOST_QUEUES_MAX + 1]; /* the last one used may be the control queue's */
	struct ring_handler control;	    /* of that */
	struct ring_handler handler;	    /* of epoll_fd, which has all but the calls */
	struct halter_task task;	    /* goes on with it */
	int epoll_fd, timer_fd;
	int channel, channel_peer; /* for the back end's own requests */
	int ask_fd;		   /* who connects for us; -1: nobody */
	bool left;		   /* vhost_detach(): nothing is done any more */

	uint8_t config[VHOST_CONFIG_MAX]; /* under the device's lock */

	pthread_mutex_t lock;
	/* Under the lock. */
	int socket;		     /* -1: there is no back end */
	uint64_t features, protocol; /* the back end's; those that are used */
	unsigned int pairs;	     /* that the driver uses, the first ones; 0: no kind of pairs */
	bool wanted;		     /* the guest has a driver for it */
	bool started;		     /* a back end has had the rings since the guest began */
	uint32_t serial;
	uint64_t retry_ns;	    /* how long it waits before it connects again */
	uint64_t since_ns;	    /* when the last back end came */
	struct log_limit limits[2]; /* of messages: it has gone; it has come */
	struct vhost_inflight inflight;
};

/* The offer of a back end. */
struct vhost_offer {
	uint64_t features, protocol;
	unsigned int queues;
	uint8_t config[VHOST_CONFIG_MAX]; /* with the number of queues that the device has */
};

/* How long it waits at first before it connects again. */
#define VHOST_RETRY_FIRST_NS UINT64_C(50000000)

/* Returns the front end that a device is of. */
static inline struct vhost *vhost_from(struct virtio_device *dev)
{
	return container_of(dev, struct vhost, dev);
}

/* Returns how many queues the back end has for this kind of device. */
static inline unsigned int vhost_queues_of(const struct vhost *v, const struct vhost_offer *offer)
{
	const unsigned int one = v->kind.pairs ? 2 : 1;

	if (v->kind.mq && (!(offer->features >> v->kind.mq & 1) ||
			   (v->kind.pairs && !(offer->protocol >> VHOST_PROTOCOL_MQ & 1))))
		return one;
	return offer->queues < VHOST_QUEUES_MAX / one ? offer->queues * one : VHOST_QUEUES_MAX;
}

/* Returns whether there is a control queue: behind those of the back end. */
static inline bool vhost_has_control(const struct vhost *v)
{
	return v->kind.pairs && v->queues > 2;
}

/* Returns whether queue @i, of the back end's, is one that the driver has set up. Without MQ those
 * behind the first pair are nobody's. */
static inline bool vhost_is_set_up(const struct vhost *v, unsigned int i)
{
	return v->dev.queues[i].vq.enabled &&
	       (i < 2 || !vhost_has_control(v) || virtio_has(&v->dev, v->kind.mq));
}

/* Closes *@fd, if it is one; it is none then. */
static inline void vhost_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* vhost.c: gives @v the functions of its life, before it has a back end. */
void vhost_begin_life(struct vhost *v);

/*
 * exchange.c: each with the lock held, and v->socket open. 0, or -EPIPE, -ETIMEDOUT, -EPROTO,
 * -EREMOTEIO (it says that it has failed), or -errno of a system call; then the socket is of no use
 * any more.
 */
int vhost_negotiate(struct vhost *v, struct vhost_offer *offer);
/* Gives it the memory and the enabled queues. @again: another one has had them. */
int vhost_start_rings(struct vhost *v, bool again);
/* Has it use the first v->pairs of them, and leave the others be. */
int vhost_enable_rings(struct vhost *v);
/* Stops the rings: the back end uses them no more, when this has returned 0. */
int vhost_stop_rings(struct vhost *v);
int vhost_fetch_config(struct vhost *v, uint8_t config[VHOST_CONFIG_MAX]);
int vhost_put_config(struct vhost *v, uint32_t offset, const void *data, uint32_t len);
/* Reads and answers one request of its own. *@changed: its configuration has. 0 also if there is
 * none. */
int vhost_serve_request(struct vhost *v, bool *changed);

#endif
