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

bool vsock_ask(struct vsock *vs, const struct vsock_hdr *h)
{
	struct vsock_asks *a = &vs->ask;
	const struct handover_ask ask = {++a->serial, h->dst_port};

	if (a->count == VSOCK_ASKS_MAX || vs->conn_count + a->count >= VSOCK_CONNS_MAX ||
	    send(a->fd, &ask, sizeof(ask), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(ask))
		return false;
	a->asked[a->count++] = (struct vsock_asked){.serial = ask.serial,
						    .guest_port = h->src_port,
						    .host_port = h->dst_port,
						    .peer_alloc = h->buf_alloc,
						    .peer_taken = h->fwd_cnt};
	return true;
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

/* Finds whose answer it is. Returns false if it is nobody's any more. */
static bool find(struct vsock_asks *a, uint32_t serial, struct vsock_asked *of)
{
	for (unsigned int i = 0; i < a->count; i++)
		if (a->asked[i].serial == serial) {
			*of = a->asked[i];
			forget(a, i);
			return true;
		}
	return false;
}

/* Receives an answer. Returns 1: an answer, with its descriptor or -1; 0: none is there; -1: nobody
 * will answer any more. */
static int receive(int from, struct handover_answer *answer, int *fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {answer, sizeof(*answer)};
	const struct cmsghdr *c;
	struct msghdr msg;
	ssize_t n;

	*fd = -1;
	do {
		msg = (struct msghdr){.msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control.room)};
		n = recvmsg(from, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while ((n < 0 && errno == EINTR) || (n > 0 && n != sizeof(*answer)));
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	/* Without one, though there was no error: this process has no descriptor left. */
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return 1;
}

bool vsock_ask_next(struct vsock *vs, struct vsock_asked *of, int *fd)
{
	struct vsock_asks *a = &vs->ask;
	struct handover_answer answer;
	int ret;

	while ((ret = receive(a->fd, &answer, fd)) > 0) {
		if (find(a, answer.serial, of))
			return true;
		if (*fd >= 0)
			close(*fd);
	}
	if (ret == 0 || !a->count)
		return false;
	*of = a->asked[--a->count];
	return true;
}
