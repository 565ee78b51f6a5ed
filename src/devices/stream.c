/* SPDX-License-Identifier: Apache-2.0 */
/* See stream.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/stream.h"
#include "devices/virtio/net_impl.h"

#define HEAD	 sizeof(uint32_t)
#define IN_SIZE	 (2 * (HEAD + NET_PACKET_MAX))
#define OUT_SIZE (HEAD + NET_PACKET_MAX)

struct stream {
	int fd;
	/* The bytes that were received, from in_at to in_end. */
	size_t in_at, in_end;
	/* The rest of a packet that was sent, from out_at to out_end. */
	size_t out_at, out_end;
	uint8_t in[IN_SIZE], out[OUT_SIZE];
};

int stream_create(int fd, struct stream **out)
{
	struct stream *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->fd = fd;
	s->in_at = s->in_end = s->out_at = s->out_end = 0;
	*out = s;
	return 0;
}

void stream_destroy(struct stream *s)
{
	close(s->fd);
	free(s);
}

/* Returns -1, with what a device takes for the end of its interface. */
static ssize_t gone(void)
{
	errno = ENODEV;
	return -1;
}

static size_t received(const struct stream *s)
{
	return s->in_end - s->in_at;
}

/* Receives more of what has come; as recv(2). */
static ssize_t receive(struct stream *s)
{
	ssize_t n;

	if (s->in_at) {
		memmove(s->in, s->in + s->in_at, received(s));
		s->in_end -= s->in_at;
		s->in_at = 0;
	}
	do
		n = recv(s->fd, s->in + s->in_end, IN_SIZE - s->in_end, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		s->in_end += (size_t)n;
	return n;
}

ssize_t stream_read(void *stream, struct iovec *iov, int count)
{
	static const struct net_hdr none;
	struct stream *s = stream;
	uint32_t len;

	for (;;) {
		ssize_t n;

		if (received(s) >= HEAD) {
			memcpy(&len, s->in + s->in_at, HEAD);
			len = ntohl(len);
			if (len < NET_ETH_HLEN || len > NET_PACKET_MAX)
				return gone();
			if (received(s) >= HEAD + len)
				break;
		}
		n = receive(s);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return gone();
		if (n < 0)
			return -1;
	}
	iov_write(iov, (unsigned int)count, 0, &none, sizeof(none));
	iov_write(iov, (unsigned int)count, sizeof(none), s->in + s->in_at + HEAD, len);
	s->in_at += HEAD + len;
	return (ssize_t)(sizeof(none) + len);
}

bool stream_flush(void *stream)
{
	struct stream *s = stream;

	while (s->out_at < s->out_end) {
		ssize_t n = send(s->fd, s->out + s->out_at, s->out_end - s->out_at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) /* the next write says so */
			break;
		s->out_at += (size_t)n;
	}
	s->out_at = s->out_end = 0;
	return false;
}

ssize_t stream_write(void *stream, struct iovec *iov, int count)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
	struct stream *s = stream;
	size_t len = 0;
	uint32_t head;
	ssize_t n;

	if (stream_flush(s)) {
		errno = EAGAIN;
		return -1;
	}
	for (int i = 1; i < count; i++)
		len += iov[i].iov_len;
	head = htonl((uint32_t)len);
	iov[0] = (struct iovec){&head, HEAD};
	do
		n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -1 : gone();
	if ((size_t)n < HEAD + len)
		s->out_end = iov_read(iov, (unsigned int)count, (size_t)n, s->out, OUT_SIZE);
	return (ssize_t)(sizeof(struct net_hdr) + len);
}
