/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to the host that somebody else makes (handover.h), because this process may not: a
 * guest's request is handed on, and what it becomes is known when the answer is there. Nobody waits
 * for that but the guest.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/vsock_impl.h"
#include "handover.h"

int vsock_ask_over(struct vsock *vs, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &vs->ask};

	vs->ask.fd = fd;
	return epoll_ctl(vs->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static void forget(struct vsock_asks *a, unsigned int i)
{
	a->asked[i] = a->asked[--a->count];
}

void vsock_ask(struct vsock *vs, const struct vsock_hdr *h)
{
	struct vsock_asks *a = &vs->ask;
	const struct handover_ask ask = {++a->serial, h->dst_port};

	if (a->count == VSOCK_ASKS_MAX || vs->conn_count + a->count >= VSOCK_CONNS_MAX ||
	    send(a->fd, &ask, sizeof(ask), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(ask)) {
		vsock_conn_connected(vs, -1, h->src_port, h->dst_port, 0, 0);
		return;
	}
	a->asked[a->count++] = (struct vsock_asked){.serial = ask.serial,
						    .guest_port = h->src_port,
						    .host_port = h->dst_port,
						    .peer_alloc = h->buf_alloc,
						    .peer_taken = h->fwd_cnt};
}

bool vsock_ask_drop(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_asks *a = &vs->ask;

	for (unsigned int i = 0; i < a->count; i++)
		if (a->asked[i].guest_port == guest_port && a->asked[i].host_port == host_port) {
			forget(a, i);
			return true;
		}
	return false;
}

void vsock_ask_reset(struct vsock *vs)
{
	vs->ask.count = 0; /* answers that still come are nobody's */
}

/* @fd is taken. */
static void answered(struct vsock *vs, const struct handover_answer *answer, int fd)
{
	struct vsock_asks *a = &vs->ask;

	for (unsigned int i = 0; i < a->count; i++) {
		const struct vsock_asked of = a->asked[i];

		if (of.serial != answer->serial)
			continue;
		forget(a, i);
		vsock_conn_connected(vs, fd, of.guest_port, of.host_port, of.peer_alloc,
				     of.peer_taken);
		return;
	}
	if (fd >= 0)
		close(fd);
}

/* False: nobody will answer any more. */
static bool take(struct vsock *vs, bool *more)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct handover_answer answer;
	struct iovec iov = {&answer, sizeof(answer)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control.room)};
	ssize_t n = recvmsg(vs->ask.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c;
	int fd = -1;

	*more = !(n < 0 && errno == EAGAIN);
	if (n != sizeof(answer))
		return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
	/* Without one, though there was no error: this process has no descriptor left. */
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	answered(vs, &answer, fd);
	return true;
}

void vsock_ask_ready(struct vsock *vs)
{
	struct vsock_asks *a = &vs->ask;
	bool more = true;

	/* As many as were asked for, which is not many. */
	while (more && take(vs, &more))
		;
	if (!more)
		return;
	while (a->count) {
		const struct vsock_asked of = a->asked[--a->count];

		vsock_conn_connected(vs, -1, of.guest_port, of.host_port, 0, 0);
	}
}
