/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device's inside, between vsock.c (queues, events) and vsock_conn.c (connections). All
 * of it is under the device's own lock, vsock.lock, which comes before the queues' locks.
 */
#ifndef DEVICES_VIRTIO_VSOCK_IMPL_H
#define DEVICES_VIRTIO_VSOCK_IMPL_H

#include <stddef.h>

#include "devices/virtio/vsock.h"

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

/* Before every packet (5.10.6). */
struct vsock_hdr {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len;
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt;
} __attribute__((packed));

_Static_assert(sizeof(struct vsock_hdr) == 44 && offsetof(struct vsock_hdr, type) == 28 &&
		       offsetof(struct vsock_hdr, buf_alloc) == 36,
	       "the driver sees this");

#define VSOCK_TYPE_STREAM 1

/* An event of the event queue (5.10.6.7). */
struct vsock_event {
	uint32_t id;
};

_Static_assert(sizeof(struct vsock_event) == 4, "the driver sees this");

#define VSOCK_EVENT_TRANSPORT_RESET 0u

enum vsock_op {
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE = 2,
	VSOCK_OP_RST = 3,
	VSOCK_OP_SHUTDOWN = 4,
	VSOCK_OP_RW = 5,
	VSOCK_OP_CREDIT_UPDATE = 6,
	VSOCK_OP_CREDIT_REQUEST = 7,
};

#define VSOCK_SHUT_RECEIVE 1u
#define VSOCK_SHUT_SEND	   2u
#define VSOCK_SHUT_BOTH	   3u

/* The buffer for a host that does not read; allocated only then. */
#define VSOCK_BUFFER	 (128u << 10)
#define VSOCK_PACKET_MAX (64u << 10) /* bytes in a packet to the guest */
#define VSOCK_RST_MAX	 256u
#define VSOCK_HASH	 256u
#define VSOCK_IOV	 VQ_SIZE_MAX
#define VSOCK_HOST_PORTS (UINT32_C(1) << 30) /* ours are above */

/* How long a host that takes nothing more is waited for, once the guest has done with a connection
 * or does not answer; and by the end of the VM, all of them together. */
#define VSOCK_PATIENCE_S 120u
#define VSOCK_END_MS	 250u
/* Descriptors of the process that are not for connections: a quarter of its limit, at most
 * these. */
#define VSOCK_FDS_SPARED 64u

enum conn_state {
	CONN_HANDSHAKE, /* from the host: its line is awaited; not in the table yet */
	CONN_REQUESTED, /* from the host: the guest has not answered */
	CONN_OPEN,
	CONN_PARTED, /* the guest has done with it, and the host not taken all; not in the table */
};

/* Packets that are to be sent to the guest, beside data; in the order in which they go. */
enum conn_want {
	WANT_RST = 1, /* and then the connection is gone */
	WANT_REQUEST = 2,
	WANT_RESPONSE = 4,
	WANT_CREDIT_REQUEST = 8,
	WANT_CREDIT_UPDATE = 16,
	WANT_SHUTDOWN = 32, /* shut_told says what of it; after all data */
};

struct vsock_conn {
	struct vsock_conn *next;	   /* of the same hash */
	struct vsock_conn *after, *before; /* the list of those that wait for receive buffers */
	bool listed;
	enum conn_state state;
	uint32_t guest_port, host_port;
	int fd; /* -1: the host has seen the end, and only the guest is still to be told */
	uint32_t want;
	uint64_t give_up_ns; /* on CLOCK_MONOTONIC: when it is waited for no longer; 0: for ever */
	/* The descriptor: what epoll has said, edge by edge. */
	bool readable, hung_up;
	bool eof;      /* all of it was read */
	bool deaf;     /* the host does not take any more */
	bool torn;     /* bytes of the guest's were lost: no clean end */
	uint32_t shut; /* the directions that the guest has shut down, VSOCK_SHUT_* */
	uint32_t shut_told;
	/* To the guest: what it can hold, has taken, and was sent. */
	uint32_t peer_alloc, peer_taken, sent;
	/* From the guest: what came, what the host has taken of it, and what the guest knows of
	 * that. The difference of the first two is in the buffer. */
	uint32_t came, taken, taken_told;
	uint8_t *buffer; /* VSOCK_BUFFER bytes, a ring; NULL: empty */
};

struct vsock_rst {
	uint32_t guest_port, host_port;
};

/* Requests for which somebody else is asked to connect. */
#define VSOCK_ASKS_MAX 64u

struct vsock_asked {
	uint32_t serial, guest_port, host_port;
	uint32_t peer_alloc, peer_taken; /* as the request had them */
};

struct vsock_asks {
	int fd; /* -1: we connect ourselves */
	uint32_t serial;
	unsigned int count;
	struct vsock_asked asked[VSOCK_ASKS_MAX];
};

struct vsock {
	struct virtio_device dev;
	uint64_t cid; /* the configuration space */
	char *name;
	char path[VSOCK_PATH_MAX + 1];
	dev_t socket_dev; /* of the file that was made there */
	ino_t socket_ino;
	bool kept; /* it is somebody else who removes it */
	struct vsock_asks ask;
	int fd_limit; /* a descriptor from here on is one that is spared */
	struct ring_handler handler;
	struct halter_task task;

	pthread_mutex_t lock;
	int epoll_fd, listen_fd;
	int timer_fd; /* in the epoll set, too: when to accept again, whom to give up */
	bool accept_waits, flush_waits; /* until the timer fires */
	struct vsock_conn *table[VSOCK_HASH];
	struct vsock_conn *handshakes; /* linked by next, like: */
	struct vsock_conn *parted;
	unsigned int conn_count; /* all of them */
	unsigned int timed;	 /* those with give_up_ns */
	uint32_t next_port;
	struct vsock_conn *first, *last; /* those with something for the guest */
	/* A snapshot had connections that are not here: the driver is to be told, by the event queue. */
	bool reset_owed;
	/* Answers to packets that belong to no connection; a full list holds transmission up. */
	struct vsock_rst rst[VSOCK_RST_MAX];
	unsigned int rst_first, rst_count;
	struct iovec iov[VSOCK_IOV];
};

/* vsock_conn.c */

/* Takes a packet of the guest's: its header, checked but for what belongs to connections, and @iov
 * with exactly hdr->len bytes. */
void vsock_conn_packet(struct vsock *vs, const struct vsock_hdr *hdr, struct iovec *iov,
		       unsigned int count);
/* Gives the guest something from @c, if there is anything: the header in *hdr, data into @iov.
 * Returns false if there is nothing (any more). @c may be gone afterwards. */
bool vsock_conn_next(struct vsock *vs, struct vsock_conn *c, struct vsock_hdr *hdr,
		     struct iovec *iov, unsigned int count);
/* Deals with events of epoll's for @c. */
void vsock_conn_event(struct vsock *vs, struct vsock_conn *c, uint32_t events);
/* Makes a connection of a host's program that has connected. Takes @fd. */
void vsock_conn_accept(struct vsock *vs, int fd);
/*
 * Makes a connection to the host, for a guest's request with these ports and credit, of @fd, which
 * it takes; -1: there is none to be had, and the guest is told.
 */
void vsock_conn_connected(struct vsock *vs, int fd, uint32_t guest_port, uint32_t host_port,
			  uint32_t buf_alloc, uint32_t fwd_cnt);
/* Ends all connections for the guest: the device is reset. */
void vsock_conn_reset(struct vsock *vs);
/* Closes all connections as the device is destroyed. The host first gets what it takes within
 * VSOCK_END_MS. */
void vsock_conn_close_all(struct vsock *vs);
/* Drops all connections of a child's copy of the device: in the parent they stay as they are. */
void vsock_conn_drop_all(struct vsock *vs);
/* Gives up those whose time is over at @now_ns. */
void vsock_conn_tick(struct vsock *vs, uint64_t now_ns);
/* vsock.c: sees to it that the time is watched: some connection is waited for from now on. */
void vsock_watch_time(struct vsock *vs);
/* vsock.c: puts @c on the list of those who have something for the guest, if it has. */
void vsock_list(struct vsock *vs, struct vsock_conn *c);
void vsock_unlist(struct vsock *vs, struct vsock_conn *c);
bool vsock_conn_has_output(const struct vsock_conn *c);

/* Returns whether there is no place left for another answer to the guest. Its packets are taken
 * only while there is one. */
static inline bool vsock_full(const struct vsock *vs)
{
	return vs->rst_count + vs->ask.count >= VSOCK_RST_MAX;
}

/* vsock_ask.c: under the lock. */
/* Asks for the connection of a guest's request. Returns false if nobody can be asked. */
bool vsock_ask(struct vsock *vs, const struct vsock_hdr *hdr);
/* Makes a request void. Returns false if there is none. */
bool vsock_ask_drop(struct vsock *vs, uint32_t guest_port, uint32_t host_port);
void vsock_ask_reset(struct vsock *vs);
/*
 * Finds the next request that has an answer, and its connection, or -1 where there is none to be
 * had. Returns false if there is no more. For when epoll says that there are answers.
 */
bool vsock_ask_next(struct vsock *vs, struct vsock_asked *of, int *fd);

#endif
