/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device (virtio 1.2, section 5.10), stream sockets, with Unix sockets as the host's
 * side. With PATH the name that it was given:
 *
 *	guest connects to CID 2, port P		the host's PATH_P is connected to
 *	host connects to PATH, sends "CONNECT P\n"	the guest's port P is; "OK <host port>\n"
 *						comes back, then what the guest sends
 *
 * All connections are served by the device's home: their descriptors are in an epoll instance of
 * the device, and that is what is armed in the home's ring.
 */
#ifndef DEVICES_VIRTIO_VSOCK_H
#define DEVICES_VIRTIO_VSOCK_H

#include "devices/virtio/virtio.h"

#define VIRTIO_ID_VSOCK 19

#define VSOCK_CONNS_MAX 1024u
#define VSOCK_CID_HOST	2u
#define VSOCK_CID_MIN	3u
#define VSOCK_CID_MAX	UINT32_C(0xfffffffe)
/* PATH_ and ten digits have to fit into sun_path. */
#define VSOCK_PATH_MAX (108 - 12)

struct vsock_config {
	uint64_t cid;	  /* of the guest: VSOCK_CID_MIN to VSOCK_CID_MAX */
	const char *path; /* at most VSOCK_PATH_MAX bytes; copied; made by vsock_create() */
	const struct dma *dma;
	void (*log)(void *ctx, const char *message);
	void *log_ctx;
};

struct vsock_counters {
	uint64_t connections;	     /* that came about, from either side */
	uint64_t refused;	     /* that did not */
	uint64_t rx_bytes, tx_bytes; /* to and from the guest */
	uint64_t credit_violations;  /* connections cut because the guest sent too much */
	uint64_t accept_waits;	     /* times that the host had no descriptor for a connection */
};

struct vsock;

/*
 * 0, or -errno with a sentence in @why: -EINVAL (cid), -ENAMETOOLONG, -EADDRINUSE (the socket
 * exists), -ENOMEM, and what socket(2) and bind(2) give.
 */
int vsock_create(const struct vsock_config *cfg, struct vsock **vsock, char *why, size_t len);
/* All threads that serve it have ended. Removes the socket. */
void vsock_destroy(struct vsock **vsock);
/* Before the threads start: it is somebody else who removes the socket. */
void vsock_leave_socket(struct vsock *vsock);
/* Likewise: another process is asked over @fd, which it takes, to connect to PATH_P (handover.h). 0
 * or -errno. */
int vsock_ask_over(struct vsock *vsock, int fd);
struct virtio_device *vsock_device(struct vsock *vsock);
struct vsock *vsock_of(struct virtio_device *dev);
/* Before the threads start, once. 0 or -errno of ring_add_watch(). */
int vsock_attach(struct vsock *vsock, struct catnap_halter *home);
/* Any thread. */
void vsock_get_counters(struct vsock *vsock, struct vsock_counters *counters);

#endif
