/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user back end in a thread: one that does what it is told, or does one thing wrong at the
 * message of a number that the test chooses. Its requests are of one buffer that it writes to, and it
 * fills that with 0x5a.
 */
#ifndef TESTS_UNIT_BACK_END_H
#define TESTS_UNIT_BACK_END_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/vhost/wire.h"

#define BACK_QUEUES 4
#define BACK_BYTE   0x5a

/* The mistakes that it makes. */
enum back_fault {
	BACK_FINE,
	BACK_CLOSES,	    /* the socket, instead of an answer */
	BACK_IS_SILENT,	    /* no answer, and none any more */
	BACK_OTHER_REQUEST, /* the answer to another one */
	BACK_NO_REPLY_FLAG,
	BACK_OTHER_VERSION,
	BACK_SHORT,    /* an answer that has less than it must */
	BACK_LONG,     /* and more */
	BACK_HUGE,     /* a size that no message has */
	BACK_CUT,      /* only half of the head */
	BACK_REFUSES,  /* what it is told to */
	BACK_FD,       /* a descriptor comes along */
	BACK_FDS,      /* as many as go into a message */
	BACK_TALKS,    /* an answer to nothing follows */
	BACK_ALL_ONES, /* the value is that */
	BACK_FAULTS
};

struct back_queue {
	uint32_t num, base;
	uint64_t desc, avail, used; /* the front end's addresses */
	int kick, call;
	bool enabled, started;
	uint16_t next, done;
};

struct back {
	pthread_t thread;
	int listen, socket; /* listen -1: there is a connection */
	/* With twice set before back_begin(): the connection once more, for the test to write to, and
	 * the test's to close. */
	bool twice;
	int again;
	enum back_fault fault;
	unsigned int at; /* the number of the message, from 1 */
	_Atomic unsigned int messages, requests;
	_Atomic bool quit;
	_Atomic uint32_t bases[BACK_QUEUES];	   /* as it was told */
	_Atomic uint32_t config_writes, inflights; /* that it was given */
	_Atomic uint32_t written_at;		   /* where the last of them was, and of what */
	_Atomic uint8_t written;
	_Atomic bool holds;	/* it takes requests, and gives none back */
	_Atomic bool backwards; /* it gives back the last first */
	uint64_t features, protocol, acked;
	uint8_t config[VHOST_CONFIG_MAX];
	int inflight_fd, channel;
	unsigned int regions;
	struct vhost_region region[VHOST_REGIONS_MAX];
	uint8_t *mapped[VHOST_REGIONS_MAX];
	struct back_queue q[BACK_QUEUES];
};

#define BACK_FEATURES (UINT64_C(1) << 32 | UINT64_C(1) << 30 | 1u << 9 | 1u << 11 | 1u << 12)
#define BACK_PROTOCOL                                                        \
	(UINT64_C(1) << VHOST_PROTOCOL_MQ | 1u << VHOST_PROTOCOL_REPLY_ACK | \
	 1u << VHOST_PROTOCOL_BACKEND_REQ | 1u << VHOST_PROTOCOL_CONFIG)

static inline void *back_at(struct back *b, uint64_t user, bool guest)
{
	for (unsigned int i = 0; i < b->regions; i++) {
		uint64_t base = guest ? b->region[i].gpa : b->region[i].user;

		if (user >= base && user - base < b->region[i].size)
			return b->mapped[i] + (user - base);
	}
	return NULL;
}

static inline void back_use(struct back *b, struct back_queue *q, uint16_t head)
{
	uint8_t *d = back_at(b, q->desc, false);
	uint8_t *used = back_at(b, q->used, false);
	uint64_t addr;
	uint32_t elem[2] = {head, 0}, len;
	void *data;

	memcpy(&addr, d + 16 * head, 8);
	memcpy(&len, d + 16 * head + 8, 4);
	data = back_at(b, addr, true);
	if (data)
		memset(data, BACK_BYTE, len);
	elem[1] = len;
	memcpy(used + 4 + 8 * (q->done % q->num), elem, 8);
	q->done++;
	__atomic_store_n((uint16_t *)(void *)(used + 2), q->done, __ATOMIC_RELEASE);
	atomic_fetch_add(&b->requests, 1);
}

static inline void back_serve(struct back *b, struct back_queue *q)
{
	const uint64_t one = 1;
	uint16_t *avail, heads[256];
	unsigned int n = 0;

	if (!q->started || !q->enabled || !b->regions || atomic_load(&b->holds))
		return;
	avail = back_at(b, q->avail, false);
	while (avail && q->next != __atomic_load_n(&avail[1], __ATOMIC_ACQUIRE) && n < 256)
		heads[n++] = avail[2 + q->next++ % q->num];
	for (unsigned int i = 0; i < n; i++) {
		back_use(b, q, heads[atomic_load(&b->backwards) ? n - 1 - i : i]);
		/* One that dies in the middle. */
		if (atomic_load(&b->backwards) && n > 1)
			break;
	}
	if (n && write(q->call, &one, sizeof(one)) < 0)
		return;
}

static inline void back_answer(struct back *b, struct vhost_message *m, uint32_t size, int fd)
{
	enum back_fault fault = b->messages == b->at ? b->fault : BACK_FINE;
	int fds[VHOST_FDS_MAX] = {fd};
	unsigned int count = fd >= 0;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(fds))];
	} control = {.room = ""};
	struct iovec iov = {m, 0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	uint8_t bytes[sizeof(*m) + 64] = {0};

	m->head.flags = VHOST_VERSION | VHOST_REPLY;
	m->head.size = size;
	switch (fault) {
	case BACK_OTHER_REQUEST:
		m->head.request++;
		break;
	case BACK_NO_REPLY_FLAG:
		m->head.flags &= ~VHOST_REPLY;
		break;
	case BACK_OTHER_VERSION:
		m->head.flags = 2 | VHOST_REPLY;
		break;
	case BACK_SHORT:
		m->head.size = size - 4;
		break;
	case BACK_LONG:
		m->head.size = size + 8;
		break;
	case BACK_HUGE:
		m->head.size = UINT32_MAX;
		break;
	case BACK_REFUSES:
		m->u64 = 7;
		break;
	case BACK_ALL_ONES:
		memset((char *)m + sizeof(m->head), 0xff, size);
		break;
	case BACK_FD:
		fds[count++] = 0;
		break;
	case BACK_FDS:
		while (count < VHOST_FDS_MAX)
			fds[count++] = 0;
		break;
	case BACK_FINE:
	case BACK_CLOSES:
	case BACK_IS_SILENT:
	case BACK_CUT:
	case BACK_TALKS:
	case BACK_FAULTS:
		break;
	}
	memcpy(bytes, m, sizeof(*m));
	iov.iov_base = bytes;
	iov.iov_len = sizeof(m->head) + (fault == BACK_HUGE ? sizeof(*m) - 12 : m->head.size);
	if (fault == BACK_CUT)
		iov.iov_len = 6;
	if (fault == BACK_TALKS)
		iov.iov_len += 20;
	if (count) {
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	(void)sendmsg(b->socket, &msg, MSG_NOSIGNAL);
}

static inline void back_map(struct back *b, const struct vhost_message *m, const int *fds,
			    unsigned int n)
{
	b->regions = m->memory.count;
	for (unsigned int i = 0; i < b->regions && i < n; i++) {
		b->region[i] = m->memory.regions[i];
		b->mapped[i] = mmap(NULL, b->region[i].size, PROT_READ | PROT_WRITE, MAP_SHARED,
				    fds[i], (off_t)b->region[i].offset);
		close(fds[i]);
	}
}

static inline void back_obey(struct back *b, struct vhost_message *m, const int *fds,
			     unsigned int n)
{
	const bool ack = (m->head.flags & VHOST_NEED_REPLY) != 0;
	uint32_t i = m->state.index % BACK_QUEUES, k = (uint32_t)m->u64 % BACK_QUEUES;
	int fd = -1;

	switch (m->head.request) {
	case VHOST_GET_FEATURES:
		m->u64 = b->features;
		back_answer(b, m, 8, -1);
		return;
	case VHOST_GET_PROTOCOL_FEATURES:
		m->u64 = b->protocol;
		back_answer(b, m, 8, -1);
		return;
	case VHOST_GET_QUEUE_NUM:
		m->u64 = BACK_QUEUES;
		back_answer(b, m, 8, -1);
		return;
	case VHOST_GET_CONFIG:
		memcpy(m->config.bytes, b->config, m->config.size);
		back_answer(b, m, m->head.size, -1);
		return;
	case VHOST_GET_VRING_BASE:
		m->state.num = b->q[i].next;
		b->q[i].started = false;
		back_answer(b, m, 8, -1);
		return;
	case VHOST_GET_INFLIGHT_FD:
		fd = memfd_create("inflight", MFD_CLOEXEC);
		m->inflight.size = 4096;
		back_answer(b, m, m->head.size, fd);
		close(fd);
		return;
	case VHOST_SET_INFLIGHT_FD:
		b->inflight_fd = fds[0];
		atomic_fetch_add(&b->inflights, 1);
		break;
	case VHOST_SET_FEATURES:
		b->acked = m->u64;
		break;
	case VHOST_SET_CONFIG:
		atomic_store(&b->written_at, m->config.offset);
		atomic_store(&b->written, m->config.bytes[0]);
		atomic_fetch_add(&b->config_writes, 1);
		break;
	case VHOST_SET_BACKEND_REQ_FD:
		b->channel = fds[0];
		break;
	case VHOST_SET_MEM_TABLE:
		back_map(b, m, fds, n);
		break;
	case VHOST_SET_VRING_NUM:
		b->q[i].num = m->state.num;
		break;
	case VHOST_SET_VRING_BASE:
		b->q[i].next = b->q[i].done = (uint16_t)m->state.num;
		atomic_store(&b->bases[i], m->state.num);
		break;
	case VHOST_SET_VRING_ADDR:
		b->q[i].desc = m->addr.desc;
		b->q[i].avail = m->addr.avail;
		b->q[i].used = m->addr.used;
		break;
	case VHOST_SET_VRING_CALL:
		b->q[k].call = fds[0];
		break;
	case VHOST_SET_VRING_KICK:
		b->q[k].kick = fds[0];
		b->q[k].started = true;
		break;
	case VHOST_SET_VRING_ENABLE:
		b->q[i].enabled = m->state.num;
		break;
	default:
		break;
	}
	if (ack) {
		m->u64 = 0;
		back_answer(b, m, 8, -1);
	}
}

/* One message; false: the other side has gone, or this one does. */
static inline bool back_take(struct back *b)
{
	struct vhost_message m;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
	} control;
	int fds[VHOST_FDS_MAX] = {-1, -1, -1, -1, -1, -1, -1, -1};
	struct iovec iov = {&m.head, sizeof(m.head)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	const struct cmsghdr *c;
	unsigned int n = 0;

	memset(&m, 0, sizeof(m));
	if (recvmsg(b->socket, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof(m.head))
		return false;
	c = CMSG_FIRSTHDR(&msg);
	if (c) {
		n = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	if (m.head.size &&
	    recv(b->socket, &m.u64, m.head.size, MSG_WAITALL) != (ssize_t)m.head.size)
		return false;
	atomic_fetch_add(&b->messages, 1);
	if (b->messages == b->at && (b->fault == BACK_CLOSES || b->fault == BACK_IS_SILENT)) {
		for (unsigned int i = 0; i < n; i++)
			close(fds[i]);
		if (b->fault == BACK_IS_SILENT)
			while (!atomic_load(&b->quit))
				usleep(1000);
		return false;
	}
	back_obey(b, &m, fds, n);
	return true;
}

static inline void back_forget(struct back *b)
{
	for (unsigned int i = 0; i < BACK_QUEUES; i++) {
		if (b->q[i].kick > 0)
			close(b->q[i].kick);
		if (b->q[i].call > 0)
			close(b->q[i].call);
	}
	for (unsigned int i = 0; i < b->regions; i++)
		munmap(b->mapped[i], b->region[i].size);
	if (b->inflight_fd >= 0)
		close(b->inflight_fd);
	if (b->channel >= 0)
		close(b->channel);
	if (b->socket >= 0)
		close(b->socket);
	if (b->listen >= 0)
		close(b->listen);
}

static inline void *back_run(void *arg)
{
	struct back *b = arg;

	while (b->listen >= 0 && b->socket < 0 && !atomic_load(&b->quit)) {
		struct pollfd p = {.fd = b->listen, .events = POLLIN};

		if (poll(&p, 1, 5) == 1)
			b->socket = accept4(b->listen, NULL, NULL, SOCK_CLOEXEC);
	}
	while (b->socket >= 0 && !atomic_load(&b->quit)) {
		struct pollfd p[1 + BACK_QUEUES] = {{.fd = b->socket, .events = POLLIN}};
		uint64_t count;

		for (unsigned int i = 0; i < BACK_QUEUES; i++)
			p[1 + i] = (struct pollfd){.fd = b->q[i].kick > 0 ? b->q[i].kick : -1,
						   .events = POLLIN};
		if (poll(p, 1 + BACK_QUEUES, 2) < 0)
			continue;
		if (p[0].revents && !back_take(b))
			break;
		for (unsigned int i = 0; i < BACK_QUEUES; i++) {
			if (p[1 + i].revents && read(p[1 + i].fd, &count, sizeof(count)) < 0)
				continue;
			back_serve(b, &b->q[i]);
		}
	}
	back_forget(b);
	return NULL;
}

static inline void back_init(struct back *b)
{
	memset(b, 0, sizeof(*b));
	b->listen = b->socket = b->inflight_fd = b->channel = -1;
	b->features = BACK_FEATURES;
	b->protocol = BACK_PROTOCOL;
	b->config[0] = 8; /* sectors */
}

/* With a socket pair, of which the front end's end is returned. */
static inline int back_begin(struct back *b)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	if (fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
		abort();
	b->socket = pair[1];
	b->again = b->twice ? dup(pair[1]) : -1;
	if (pthread_create(&b->thread, NULL, back_run, b) != 0)
		abort();
	return pair[0];
}

/* Listens at @path. */
static inline void back_listen(struct back *b, const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	b->listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (b->listen < 0 || bind(b->listen, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(b->listen, 4) < 0 || pthread_create(&b->thread, NULL, back_run, b) != 0)
		abort();
}

static inline void back_end(struct back *b)
{
	atomic_store(&b->quit, true);
	pthread_join(b->thread, NULL);
}

#endif
