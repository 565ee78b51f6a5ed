/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst), and their way over
 * the socket. The back end is another process, which is not trusted: what it sends has a size that is
 * checked before it is read, descriptors that nobody asked for are closed, and nobody waits for it
 * beyond a deadline.
 */
#ifndef DEVICES_VHOST_WIRE_H
#define DEVICES_VHOST_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SET_BACKEND_REQ_FD = 21,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
};

/* The requests of a back end, over its own channel. */
enum vhost_backend_request { VHOST_BACKEND_CONFIG_CHANGE = 2 };

/* A feature bit of the protocol's own: there are protocol features. */
#define VHOST_F_PROTOCOL_FEATURES 30

enum vhost_protocol_feature {
	VHOST_PROTOCOL_MQ = 0,
	VHOST_PROTOCOL_REPLY_ACK = 3,
	VHOST_PROTOCOL_BACKEND_REQ = 5,
	VHOST_PROTOCOL_CONFIG = 9,
	VHOST_PROTOCOL_INFLIGHT_SHMFD = 12,
};

#define VHOST_VERSION	 1u
#define VHOST_VERSIONS	 3u /* bits of flags */
#define VHOST_REPLY	 4u
#define VHOST_NEED_REPLY 8u

#define VHOST_CONFIG_MAX  256 /* bytes of configuration space in a message */
#define VHOST_REGIONS_MAX 8
#define VHOST_FDS_MAX	  8

struct vhost_region {
	uint64_t gpa, size, user, offset;
};

struct vhost_header {
	uint32_t request, flags, size;
};

struct vhost_message {
	struct vhost_header head;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t count, padding;
			struct vhost_region regions[VHOST_REGIONS_MAX];
		} memory;
		struct {
			uint32_t offset, size, flags;
			uint8_t bytes[VHOST_CONFIG_MAX];
		} config;
		struct {
			uint64_t size, offset;
			uint16_t queues, queue_size;
		} inflight;
	} __attribute__((packed));
} __attribute__((packed));

#define VHOST_PAYLOAD_MAX (sizeof(struct vhost_message) - sizeof(struct vhost_header))
/* Without its bytes. */
#define VHOST_CONFIG_HEAD 12u
#define VHOST_STATE_SIZE  8u
#define VHOST_ADDR_SIZE	  40u
/* With the padding that the struct has in C, which back ends send and expect. */
#define VHOST_INFLIGHT_SIZE	24u
#define VHOST_INFLIGHT_SIZE_MIN 20u

_Static_assert(sizeof(struct vhost_header) == 12 && sizeof(struct vhost_region) == 32 &&
		       offsetof(struct vhost_message, u64) == 12 &&
		       offsetof(struct vhost_message, addr.log) == 12 + 32 &&
		       offsetof(struct vhost_message, memory.regions) == 12 + 8 &&
		       offsetof(struct vhost_message, config.bytes) == 12 + VHOST_CONFIG_HEAD &&
		       offsetof(struct vhost_message, inflight.queue_size) == 12 + 18,
	       "what two processes exchange");

/*
 * Sends @m, all of it, with @count descriptors, which stay the caller's. @deadline: of
 * clock_monotonic_ns(). Returns 0, -ETIMEDOUT, or -errno of sendmsg(2).
 */
int vhost_send(int socket, const struct vhost_message *m, const int *fds, unsigned int count,
	       uint64_t deadline);

/*
 * Receives one message into *@m. @fd: where a descriptor that comes along is stored, -1 if none does;
 * NULL: none may. Any other is closed. Returns 0, or
 *   -ETIMEDOUT  not all of it is there at the deadline
 *   -EPIPE      the other side has closed the socket
 *   -EPROTO     a version, a size or a descriptor that cannot be
 *   others      those of recvmsg(2)
 */
int vhost_receive(int socket, struct vhost_message *m, int *fd, uint64_t deadline);

/* Looks for something to read, or an end. Returns 1: something; 0: nothing so far; -EPIPE: an
 * end. */
int vhost_peek(int socket);

#endif
