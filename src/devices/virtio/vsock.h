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
#include "errors.h"

#define VIRTIO_ID_VSOCK 19

#define VSOCK_CONNS_MAX 1024u
#define VSOCK_CID_HOST	2u
#define VSOCK_CID_MIN	3u
#define VSOCK_CID_MAX	UINT32_C(0xfffffffe)
/* PATH_ and ten digits have to fit into sun_path. */
#define VSOCK_PATH_MAX (108 - 12)

struct vsock_config {
	uint64_t cid; /* of the guest: VSOCK_CID_MIN to VSOCK_CID_MAX */
	/* At most VSOCK_PATH_MAX bytes; copied. Made by vsock_create(), unless fd is given: then it is
	 * for PATH_P only, and may be "", where the guest reaches nobody. */
	const char *path;
	bool given; /* fd listens, of which a duplicate is used */
	int fd;
	const struct dma *dma;
	void (*log)(void *ctx, const char *message);
	void *log_ctx;
};

struct vsock;

/*
 * Returns 0, or -errno with a sentence: -EINVAL (cid), -ENAMETOOLONG, -EADDRINUSE (the socket
 * exists); without: -ENOMEM; and what socket(2) and bind(2) give.
 */
int vsock_create(const struct vsock_config *cfg, struct vsock **vsock, struct error *err);
/* Leaves the socket and the connections to the parent, as they are. Before vsock_destroy() in a
 * child of fork(2). */
void vsock_disown(struct vsock *vs);
/* Destroys it, and removes the socket. All threads that serve it have ended. */
void vsock_destroy(struct vsock **vsock);
/* Leaves it to somebody else to remove the socket. Before the threads start. */
void vsock_leave_socket(struct vsock *vsock);
/* Has another process asked over @fd, which it takes, to connect to PATH_P (handover.h). Returns 0
 * or -errno. Before the threads start. */
int vsock_ask_over(struct vsock *vsock, int fd);
struct virtio_device *vsock_device(struct vsock *vsock);
struct vsock *vsock_of(struct virtio_device *dev);
/* Makes @home the halter that serves it. Returns 0 or -errno of ring_add_source(). Once, before the
 * threads start. */
int vsock_attach(struct vsock *vsock, struct catnap_halter *home);

#endif
