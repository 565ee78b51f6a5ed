/* SPDX-License-Identifier: Apache-2.0 */
/* A network device on a bench: two pairs of queues, and the other end of each, a packet socket. */
#ifndef TESTS_UNIT_NET_BENCH_H
#define TESTS_UNIT_NET_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "buckets.h"
#include "net_home.h"

#define PAIRS  2
#define BIT(n) (UINT64_C(1) << (n))

struct bench {
	struct vdev *v;
	struct net *net;
	int ours[PAIRS], theirs[PAIRS];
	uint32_t offloads;
	unsigned int pairs;
	int fail; /* what the backend answers */
};

static inline int set_offload(void *ctx, uint32_t offloads)
{
	((struct bench *)ctx)->offloads = offloads;
	return ((struct bench *)ctx)->fail;
}

static inline int set_pairs(void *ctx, unsigned int pairs)
{
	((struct bench *)ctx)->pairs = pairs;
	return ((struct bench *)ctx)->fail;
}

static inline int set_up_limited(void **state, const struct rate_limits *limits)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct net_config cfg = {.pairs = PAIRS,
				 .mac = {2, 0, 0, 0, 0, 9},
				 .mtu = 1400,
				 .rx_limits = *limits,
				 .tx_limits = *limits};

	b->v = vdev_make(1 << 20);
	for (int i = 0; i < PAIRS; i++) {
		int fds[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
			return -1;
		b->ours[i] = fds[0];
		b->theirs[i] = fds[1];
	}
	cfg.fds = b->ours;
	cfg.backend =
		(struct net_backend){.set_offload = set_offload, .set_pairs = set_pairs, .ctx = b};
	b->net = net_at_home(b->v, &cfg);
	*state = b;
	return b->net ? 0 : -1;
}

static inline int set_up(void **state)
{
	return set_up_limited(state, NO_LIMITS);
}

/* One packet each 10 ms, each way. */
static inline int set_up_100_a_second(void **state)
{
	return set_up_limited(state, OPS(100, 1));
}

static inline int tear_down(void **state)
{
	struct bench *b = *state;

	net_destroy(&b->net);
	vdev_free(b->v);
	for (int i = 0; i < PAIRS; i++) {
		close(b->ours[i]);
		close(b->theirs[i]);
	}
	free(b);
	return 0;
}

/* Of all pairs. */
static inline struct net_counters counters(struct bench *b)
{
	struct net_counters c, sum = {0};

	for (unsigned int i = 0; net_get_counters(b->net, i, &c); i++) {
		sum.rx_packets += c.rx_packets;
		sum.rx_bytes += c.rx_bytes;
		sum.rx_dropped += c.rx_dropped;
		sum.rx_unwanted += c.rx_unwanted;
		sum.rx_starved += c.rx_starved;
		sum.tx_packets += c.tx_packets;
		sum.tx_bytes += c.tx_bytes;
		sum.tx_dropped += c.tx_dropped;
		sum.tx_blocked += c.tx_blocked;
	}
	return sum;
}

static inline uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 256);
}

/* A packet of @len bytes from outside. */
static inline void arrive(struct bench *b, int pair, size_t len)
{
	static uint8_t p[80000];

	memset(p, 0, sizeof(struct net_hdr));
	p[10] = 0xee; /* num_buffers is ours to write */
	for (size_t i = 0; i < len; i++)
		p[sizeof(struct net_hdr) + i] = pattern(i);
	len += sizeof(struct net_hdr);
	assert_int_equal(send(b->theirs[pair], p, len, 0), len);
}

/* Takes the next used chain of @queue: its length, or -1. */
static inline long used(struct bench *b, unsigned int queue)
{
	uint32_t id, len;

	return driver_used(&b->v->q[queue], &id, &len) ? (long)len : -1;
}

/* A command on the control queue: its answer. */
static inline uint8_t control(struct bench *b, unsigned int queue, uint8_t class, uint8_t cmd,
			      const void *data, size_t len)
{
	uint64_t at[2] = {vdev_alloc(b->v, 2 + len), vdev_alloc(b->v, 1)};
	uint32_t lens[2] = {(uint32_t)(2 + len), 1};
	uint8_t *p = guest_ptr(&b->v->g, at[0]), *ack = guest_ptr(&b->v->g, at[1]);

	p[0] = class;
	p[1] = cmd;
	if (len)
		memcpy(p + 2, data, len);
	*ack = 0xff;
	vdev_offer(b->v, queue, at, lens, 2, 1);
	virtio_kick(b->v->dev, queue);
	assert_int_equal(used(b, queue), 1);
	return *ack;
}

#endif
