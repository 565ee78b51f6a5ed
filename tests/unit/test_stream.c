/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network over a stream: packets keep their borders however the stream is cut, what could not be
 * sent at once follows, and a length that no packet has is the end. By itself, and behind the device.
 */
#include <arpa/inet.h>

#include "net_bench.h"
#include "devices/stream.h"

#define SHORT_LEN 60u

struct ends {
	struct stream *s;
	int theirs;
};

static struct ends begin(void)
{
	struct ends e;
	int fds[2], small = 4096;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(stream_create(fds[0], &e.s), 0);
	e.theirs = fds[1];
	return e;
}

static void end(struct ends *e)
{
	stream_destroy(e->s);
	if (e->theirs >= 0)
		close(e->theirs);
}

static size_t framed(uint8_t *to, size_t len, uint8_t first)
{
	uint32_t head = htonl((uint32_t)len);

	memcpy(to, &head, 4);
	for (size_t i = 0; i < len; i++)
		to[4 + i] = (uint8_t)(pattern(i) + first);
	return 4 + len;
}

static ssize_t take(struct ends *e, uint8_t *packet, size_t size)
{
	struct iovec iov = {packet, size};

	return stream_read(e->s, &iov, 1);
}

/* Two packets, cut after each byte. */
static void a_stream_may_be_cut_anywhere(void **state)
{
	uint8_t out[2 * (4 + SHORT_LEN)], in[200];
	size_t n = framed(out, SHORT_LEN, 0);

	n += framed(out + n, 14, 9);
	for (size_t cut = 0; cut <= n; cut++) {
		struct ends e = begin();
		unsigned int got = 0;

		for (int part = 0; part < 2; part++) {
			size_t from = part ? cut : 0, len = part ? n - cut : cut;

			if (len)
				assert_int_equal(send(e.theirs, out + from, len, 0), len);
			for (ssize_t r; (r = take(&e, in, sizeof(in))) >= 0; got++) {
				assert_int_equal(r, 12 + (got ? 14 : SHORT_LEN));
				assert_memory_equal(in + 12, out + (got ? 8 + SHORT_LEN : 4),
						    (size_t)r - 12);
				for (int i = 0; i < 12; i++)
					assert_int_equal(in[i], 0);
			}
			assert_int_equal(errno, EAGAIN);
		}
		assert_int_equal(got, 2);
		end(&e);
	}
}

static void a_length_that_cannot_be_is_the_end(void **state)
{
	static const uint32_t lengths[] = {0, 13, NET_PACKET_MAX + 1, 1u << 24, UINT32_MAX};
	uint8_t in[200];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct ends e = begin();
		uint32_t head = htonl(lengths[i]);

		assert_int_equal(send(e.theirs, &head, 4, 0), 4);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(take(&e, in, sizeof(in)), -1);
			assert_int_equal(errno, ENODEV);
		}
		end(&e);
	}
}

static void one_that_has_gone_is_the_end(void **state)
{
	struct ends e = begin();
	uint8_t in[200] = {0};
	struct iovec iov[2] = {{in, 12}, {in + 12, 20}};

	close(e.theirs);
	e.theirs = -1;
	assert_int_equal(take(&e, in, sizeof(in)), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(stream_write(e.s, iov, 2), -1); /* and no signal */
	assert_int_equal(errno, ENODEV);
	end(&e);
}

/* Reads what the other end has, until there is no more for now. */
static size_t drain(int fd, uint8_t *to, size_t size)
{
	size_t n = 0;
	ssize_t r;

	while (n < size && (r = recv(fd, to + n, size - n, MSG_DONTWAIT)) > 0)
		n += (size_t)r;
	return n;
}

/* The longest packets through a socket that takes a part of one at a time. */
static void what_is_left_of_a_packet_follows(void **state)
{
	static uint8_t packet[12 + NET_PACKET_MAX], got[8 * (4 + NET_PACKET_MAX)];
	struct ends e = begin();
	size_t n = 0, at = 0;
	int sent = 0;

	for (int turns = 0; turns < 100000 && at < 8; turns++) {
		struct iovec iov[2] = {{packet, 12}, {packet + 12, NET_PACKET_MAX}};

		for (size_t i = 0; i < NET_PACKET_MAX; i++)
			packet[12 + i] = (uint8_t)(pattern(i) + sent);
		if (sent < 8 && stream_write(e.s, iov, 2) > 0)
			sent++;
		n += drain(e.theirs, got + n, sizeof(got) - n);
		(void)stream_flush(e.s);
		at = n / (4 + NET_PACKET_MAX);
	}
	n += drain(e.theirs, got + n, sizeof(got) - n);
	assert_int_equal(n, sizeof(got));
	for (int k = 0; k < 8; k++) {
		static uint8_t want[4 + NET_PACKET_MAX];

		framed(want, NET_PACKET_MAX, (uint8_t)k);
		assert_memory_equal(got + (size_t)k * sizeof(want), want, sizeof(want));
	}
	assert_false(stream_flush(e.s));
	end(&e);
}

/* The device sends more than the other end takes, and goes on when that does. */
static void the_device_waits_for_a_full_stream(void **state)
{
	static uint8_t got[64 * 1504];
	struct ends e = begin();
	struct vdev *v = vdev_make(1 << 20);
	int fd = ((const int *)(const void *)e.s)[0];
	struct net_config cfg = {.pairs = 1, .mac = {2, 0, 0, 0, 0, 9}, .fds = &fd, .whole = true};
	struct net *net;
	unsigned int sent = 0;
	size_t n = 0;

	cfg.backend = (struct net_backend){
		.read = stream_read, .write = stream_write, .flush = stream_flush, .ctx = e.s};
	net = net_at_home(v, &cfg);
	assert_non_null(net);
	assert_int_equal(v->dev->offered & (BIT(0) | BIT(1) | BIT(7) | BIT(11)), 0);
	vdev_start(v, 0, 2, 64);
	for (; sent < 60; sent++) {
		uint64_t at = vdev_alloc(v, 12 + 1500);
		uint8_t *p = guest_ptr(&v->g, at);

		memset(p, 0, 12);
		for (size_t i = 0; i < 1500; i++)
			p[12 + i] = (uint8_t)(pattern(i) + sent);
		vdev_offer1(v, 1, at, 12 + 1500, false);
	}
	virtio_kick(v->dev, 1);
	for (int turns = 0; turns < 20000 && n < 60 * 1504; turns++) {
		n += drain(e.theirs, got + n, 700); /* never a whole packet at once */
		vdev_turn(v);
	}
	assert_int_equal(n, 60 * 1504);
	for (unsigned int k = 0; k < 60; k++) {
		uint8_t want[1504];

		framed(want, 1500, (uint8_t)k);
		assert_memory_equal(got + k * sizeof(want), want, sizeof(want));
	}
	net_destroy(&net);
	vdev_free(v);
	end(&e);
}

/* One that talks nonsense, or goes, leaves the guest with a cable that is unplugged. */
static void the_link_goes_down_with_the_other_end(void **state)
{
	for (int nonsense = 0; nonsense < 2; nonsense++) {
		struct ends e = begin();
		struct vdev *v = vdev_make(1 << 20);
		int fd = ((const int *)(const void *)e.s)[0];
		struct net_config cfg = {
			.pairs = 1, .mac = {2, 0, 0, 0, 0, 9}, .fds = &fd, .whole = true};
		struct net *net;
		uint16_t status = 0;

		cfg.backend = (struct net_backend){.read = stream_read,
						   .write = stream_write,
						   .flush = stream_flush,
						   .ctx = e.s};
		net = net_at_home(v, &cfg);
		assert_non_null(net);
		vdev_start(v, BIT(16), 2, 16);
		vdev_offer1(v, 0, vdev_alloc(v, 2048), 2048, true);
		virtio_kick(v->dev, 0);
		virtio_config_read(v->dev, 6, &status, 2);
		assert_int_equal(status, 1);
		if (nonsense)
			assert_int_equal(send(e.theirs, "GET / HTTP/1.1\r\n", 16, 0), 16);
		else
			close(e.theirs);
		e.theirs = nonsense ? e.theirs : -1;
		vdev_until(v, v->told[VIRTIO_EVENT_LINK] == 1);
		virtio_config_read(v->dev, 6, &status, 2);
		assert_int_equal(status, 0);
		net_destroy(&net);
		vdev_free(v);
		end(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_may_be_cut_anywhere),
		cmocka_unit_test(a_length_that_cannot_be_is_the_end),
		cmocka_unit_test(one_that_has_gone_is_the_end),
		cmocka_unit_test(what_is_left_of_a_packet_follows),
		cmocka_unit_test(the_device_waits_for_a_full_stream),
		cmocka_unit_test(the_link_goes_down_with_the_other_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
