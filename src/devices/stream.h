/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network over a stream socket: before each packet its length, 32 bits in network order, as in
 * QEMU's stream back ends, which passt(1) and others speak. To the network device it is what a TAP's
 * queue is: a read and a write take one packet, with a virtio_net_hdr before it, which is all zeroes
 * here, since nobody at the other end leaves checksums or segments to us.
 *
 * What the other end sends is checked: a length that no packet has ends the connection.
 *
 * Threads: one that receives and one that sends at a time.
 */
#ifndef DEVICES_STREAM_H
#define DEVICES_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream;

/* Takes @fd on success, a connected stream socket with O_NONBLOCK. 0 or -ENOMEM. */
int stream_create(int fd, struct stream **stream);
void stream_destroy(struct stream *stream);
/*
 * Read and write as readv(2) and writev(2): the length with the header, or -1 and errno, EAGAIN
 * among them; ENODEV: there is no other end any more. A packet of which only a part could be sent
 * counts as sent. stream_write() uses @iov for its own ends.
 */
ssize_t stream_read(void *stream, struct iovec *iov, int count);
ssize_t stream_write(void *stream, struct iovec *iov, int count);
/* Sends what is left of a packet. True: there still is something, which goes once the socket can be
 * written to. */
bool stream_flush(void *stream);

#endif
