/* SPDX-License-Identifier: Apache-2.0 */
/* See wire.h. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vhost/wire.h"
#include "poll/clock.h"

#define NS_PER_MS UINT64_C(1000000)

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
};

/* Waits until the socket can be read or written. Returns 0 or -ETIMEDOUT. */
static int wait_for(int socket, short events, uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_monotonic_ns();
		struct pollfd p = {.fd = socket, .events = events};
		int n = poll(&p, 1,
			     now >= deadline ? 0 : (int)((deadline - now) / NS_PER_MS % 60000) + 1);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (now >= deadline)
			return -ETIMEDOUT;
	}
}

int vhost_send(int socket, const struct vhost_message *m, const int *fds, unsigned int count,
	       uint64_t deadline)
{
	size_t len = sizeof(m->head) + m->head.size, done = 0;
	union control control = {.room = ""};

	while (done < len) {
		struct iovec iov = {(char *)(uintptr_t)m + done, len - done};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t n;
		int ret;

		/* With the first byte. */
		if (count && !done) {
			control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(*fds)),
							.cmsg_level = SOL_SOCKET,
							.cmsg_type = SCM_RIGHTS};
			memcpy(CMSG_DATA(&control.head), fds, count * sizeof(*fds));
			msg.msg_control = &control;
			msg.msg_controllen = CMSG_SPACE(count * sizeof(*fds));
		}
		n = sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		ret = wait_for(socket, POLLOUT, deadline);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Takes the descriptors that came along: one into *@fd if that may be, and closes the others.
 * Returns false if there is one too many. */
static bool take_fds(struct msghdr *msg, int *fd)
{
	bool fine = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(got), sizeof(got));
			if (fd && *fd < 0) {
				*fd = got;
			} else {
				close(got);
				fine = false;
			}
		}
	}
	return fine;
}

static int read_all(int socket, void *to, size_t len, int *fd, uint64_t deadline)
{
	for (size_t done = 0; done < len;) {
		union control control;
		struct iovec iov = {(char *)to + done, len - done};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int ret;

		if (n == 0)
			return -EPIPE;
		if (n > 0) {
			done += (size_t)n;
			if (!take_fds(&msg, fd))
				return -EPROTO;
			continue;
		}
		if (errno == ECONNRESET)
			return -EPIPE;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		ret = wait_for(socket, POLLIN, deadline);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int vhost_receive(int socket, struct vhost_message *m, int *fd, uint64_t deadline)
{
	int ret;

	if (fd)
		*fd = -1;
	ret = read_all(socket, &m->head, sizeof(m->head), fd, deadline);
	if (ret == 0 &&
	    ((m->head.flags & VHOST_VERSIONS) != VHOST_VERSION || m->head.size > VHOST_PAYLOAD_MAX))
		ret = -EPROTO;
	if (ret == 0)
		ret = read_all(socket, (char *)m + sizeof(m->head), m->head.size, fd, deadline);
	if (ret < 0 && fd && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	return ret;
}

int vhost_peek(int socket)
{
	char byte;
	ssize_t n;

	do
		n = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return 1;
	return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
}
