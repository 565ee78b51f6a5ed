/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device whose back end is another process: the front end of the vhost-user protocol
 * (QEMU's docs/interop/vhost-user.rst). The device's own part - features, configuration space, the
 * life of its queues - is here; requests are between the guest and the back end, which has the
 * guest's memory.
 *
 * A doorbell is an eventfd of the back end's (kick_fds), which the VM has KVM signal; a call is an
 * eventfd that the back end signals, a source in the ring of the vCPU whose queue it is, and becomes
 * that queue's interrupt there.
 *
 * Threads. Messages are exchanged by whoever has a reason: the vCPU that starts or resets the device,
 * or writes its configuration; the home's thread when the back end has gone, comes back, or asks for
 * something. Each exchange holds `lock`, and ends within `patience_ns`, with whatever result.
 *
 * Locks: the device's, then `lock`.
 *
 * A back end that breaks the protocol, takes too long or goes is lost: its socket is closed. Then it
 * is taken back, or the device needs a reset. A back end that has gone may have had requests in
 * flight. One with INFLIGHT_SHMFD has kept a list, which the next one is given. Of one without, they
 * are known from the rings, which are looked at with each of its calls (track.h); where they are not,
 * the device needs a reset.
 */
#ifndef DEVICES_VHOST_VHOST_H
#define DEVICES_VHOST_VHOST_H

#include "devices/vhost/wire.h"
#include "devices/virtio/virtio.h"
#include "errors.h"

#define VHOST_QUEUES_MAX  64
#define VHOST_PATH_MAX	  107 /* sun_path with its end */
#define VHOST_NAME_MAX	  63
#define VHOST_PATIENCE_NS UINT64_C(5000000000)

/* The facts about a device's kind. */
struct vhost_kind {
	uint16_t id; /* virtio's number */
	/* Feature bits of the device type (0 to 23) that the back end may offer to the guest. */
	uint64_t features;
	/* The bits that are the front end's to offer. */
	uint64_t own;
	/* Its configuration space. remote: the back end has it (CONFIG); else it is the caller's. */
	uint32_t config_len;
	bool remote;
	/* The driver may write [write_at, write_at + write_len) of it. */
	uint32_t write_at, write_len;
	/*
	 * The features of a device that may cache writes: with all of them the byte at write_at says
	 * whether it does (virtio 1.2, 5.2.5.1), and is the driver's, 1 at first. Each back end is told;
	 * one that is waited for again when it has gone, that it must not.
	 * What it says itself is no help: qemu-storage-daemon caches, and says 0, by which the driver
	 * would leave out its flushes. flush: the feature of those.
	 */
	uint64_t caches, flush;
	/* Where the number of request queues is in it (16 bits); 0: nowhere. */
	uint32_t queues_at;
	/* A feature without which the device has one queue; 0: none. */
	uint32_t mq;
	/* Requests are used in the order in which they were made available. */
	bool in_order;
	/*
	 * Its queues come in pairs: the back end counts those. Of more than one pair the driver says by
	 * a control queue how many it uses (virtio 1.2, 5.1.6.5.5). That queue is behind them all, and
	 * the front end's own. The feature of that is mq.
	 */
	bool pairs;
};

struct vhost_config {
	const struct vhost_kind *kind;
	const char *name;    /* "disk vhost.sock", for messages; copied */
	const void *config;  /* config_len bytes, unless it is remote; copied */
	unsigned int queues; /* of the back end */
	bool fewer;	     /* or as many as the back end has */
	const char *path;    /* where to connect again; NULL: nowhere. Copied */
	int socket;	     /* connected, taken by vhost_create() on success */
	int memory_fd;	     /* stays the caller's */
	struct vhost_region regions[VHOST_REGIONS_MAX];
	unsigned int region_count;
	const struct dma *dma;
	void (*log)(void *ctx, const char *message);
	void *log_ctx;
	uint64_t patience_ns; /* 0: VHOST_PATIENCE_NS */
};

struct vhost;

/* Connects to @path. Stores a non-blocking socket. 0 or -errno. */
int vhost_connect(const char *path, int *socket);

/*
 * Makes the device, with the back end at the other end of cfg's socket. 0, or -errno with a sentence:
 * -EPROTO (it does not speak the protocol), -ETIMEDOUT, -EPIPE (it has closed the socket), -ENOTSUP
 * (it lacks something that is needed), -EINVAL (queues: it has fewer), -ENOMEM, -EMFILE.
 */
int vhost_create(const struct vhost_config *cfg, struct vhost **vhost, struct error *err);
/* Destroys it. All threads that serve it have ended. Also in a child of fork(2): the back end stays
 * the parent's. */
void vhost_destroy(struct vhost **vhost);
struct virtio_device *vhost_device(struct vhost *vhost);
struct vhost *vhost_of(struct virtio_device *dev);
/* Makes homes[i] wait for the calls of queue i, and the device's home for all else. Returns 0 or
 * -errno of halter_add_source(). Once; any thread. */
int vhost_attach(struct vhost *vhost, struct catnap_halter *const *homes);
/* Ends that, also what vhost_attach() has left half done: what is posted still runs, and does nothing.
 * While all threads that serve it stand. */
void vhost_detach(struct vhost *vhost);
/* Has another process asked over @fd, which it takes, to connect (handover.h). Returns 0 or -errno.
 * Before vhost_attach(). */
int vhost_ask_over(struct vhost *vhost, int fd);
/* Returns the eventfds of the doorbells, one for each of the device's queues; constant. */
const int *vhost_kick_fds(const struct vhost *vhost);

/* Returns how many queues the back end has, and the eventfd by which it calls for one of them;
 * constant. */
unsigned int vhost_queue_count(const struct vhost *vhost);
int vhost_call_fd(const struct vhost *vhost, unsigned int queue);
/* Returns whether calls need not be seen here: what is in flight is not known from them. Constant. */
bool vhost_may_bypass(const struct vhost *vhost);

/* Finds the back end's end, as the handler of its socket would. Any thread. For tests. */
void vhost_look(struct vhost *vhost);

#endif
