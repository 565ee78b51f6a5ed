/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2, section 5.1) over file descriptors that each read and write take
 * one packet with a virtio_net_hdr before it: the queues of a TAP (tap.h), or, for tests, a packet
 * socket pair; or over what the backend makes of them (stream.h). Checksums and segmentation are left to whoever is on the other side of them.
 *
 * Queue pair i has descriptor i. Its packets to the guest are waited for in the ring of its own
 * home, so that each vCPU can serve a pair; packets from the guest go out on the thread that kicks.
 * With no buffers to receive into, a pair stops reading, and goes on when the driver adds some.
 */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H

#include "devices/rate.h"
#include "devices/virtio/virtio.h"

#define VIRTIO_ID_NET 1

#define NET_PAIRS_MAX 32

/* Offloads that the other side is to use towards the guest. */
#define NET_OFFLOAD_CSUM 1u
#define NET_OFFLOAD_TSO4 2u
#define NET_OFFLOAD_TSO6 4u
#define NET_OFFLOAD_ECN	 8u

struct net_backend {
	/* 0 or -errno. Any thread; one call at a time. Each may be NULL. */
	int (*set_offload)(void *ctx, uint32_t offloads);
	/* The first @pairs descriptors are in use from now on. */
	int (*set_pairs)(void *ctx, unsigned int pairs);
	/* One packet with its header, as readv(2) and writev(2) on a pair's descriptor; they may use
	 * @iov for their own ends. NULL: those calls. */
	ssize_t (*read)(void *ctx, struct iovec *iov, int count);
	ssize_t (*write)(void *ctx, struct iovec *iov, int count);
	/* With write: sends what that has left over. True: there is still something, and the
	 * descriptor is to be waited for. */
	bool (*flush)(void *ctx);
	/* The device is destroyed; not called if it was not made. */
	void (*close)(void *ctx);
	void *ctx;
};

struct net_config {
	unsigned int pairs; /* 1 to NET_PAIRS_MAX */
	const int
		*fds; /* one for each pair, O_NONBLOCK; they stay the caller's, or the backend's */
	uint8_t mac[6];
	uint16_t mtu; /* 0: not told */
	bool whole;   /* packets are whole and checked: nothing is left to the other side */
	struct rate_limits rx_limits, tx_limits; /* an operation is a packet */
	struct net_backend backend;
	const char *name; /* for messages; copied */
	const struct dma *dma;
	void (*log)(void *ctx, const char *message);
	void *log_ctx;
};

/* Of one pair of queues. */
struct net_counters {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint64_t rx_dropped;  /* did not fit in the buffers that the driver gave */
	uint64_t rx_unwanted; /* not for an address that the driver has asked for */
	uint64_t tx_dropped;  /* refused by the other side, or malformed */
	uint64_t rx_starved;  /* times a pair stopped reading for want of buffers */
	uint64_t tx_blocked;  /* times a pair stopped sending because the other side was full */
};

struct net;

/* Makes an interface. Returns 0, -EINVAL (pairs) or -ENOMEM. */
int net_create(const struct net_config *cfg, struct net **net);
/* Destroys it. All threads that serve it have ended. */
void net_destroy(struct net **net);
struct virtio_device *net_device(struct net *net);
struct net *net_of(struct virtio_device *dev);
/* Makes @homes[i] the halter that waits for the packets of pair i. Once, before the threads
 * start. */
void net_attach(struct net *net, struct catnap_halter *const *homes);
/* Sets the link. While it is down nothing is received, and what is sent is lost. Any thread. */
void net_set_link(struct net *net, bool up);
/* Changes the limits of what is received and what is sent, as throttle_change(); NULL: not that one.
 * All or nothing. Any thread. */
int net_set_limits(struct net *net, const struct rate_limits *rx, const struct rate_limits *tx);
/* Gets what pair @pair has counted since the device was made. False: there is no such pair. Any
 * thread. */
bool net_get_counters(const struct net *net, unsigned int pair, struct net_counters *counters);

#endif
