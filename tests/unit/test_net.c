/* SPDX-License-Identifier: Apache-2.0 */
/* The network device over a packet socket pair: framing, buffers, the control queue, faults. */
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

#include "devices/virtio/net_impl.h"
#include "vdev.h"

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

static int set_offload(void *ctx, uint32_t offloads)
{
	((struct bench *)ctx)->offloads = offloads;
	return ((struct bench *)ctx)->fail;
}

static int set_pairs(void *ctx, unsigned int pairs)
{
	((struct bench *)ctx)->pairs = pairs;
	return ((struct bench *)ctx)->fail;
}

static int set_up_limited(void **state, const struct rate_limits *limits)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct net_config cfg = {
		.pairs = PAIRS, .mac = {2, 0, 0, 0, 0, 9}, .mtu = 1400, .limits = *limits};
	struct catnap_halter *homes[PAIRS];

	b->v = vdev_make(1 << 20);
	for (int i = 0; i < PAIRS; i++) {
		int fds[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
			return -1;
		b->ours[i] = fds[0];
		b->theirs[i] = fds[1];
		homes[i] = &b->v->home;
	}
	cfg.fds = b->ours;
	cfg.dma = &b->v->g.dma;
	cfg.backend =
		(struct net_backend){.set_offload = set_offload, .set_pairs = set_pairs, .ctx = b};
	if (net_create(&cfg, &b->net) < 0)
		return -1;
	vdev_use(b->v, net_device(b->net));
	net_attach(b->net, homes);
	for (int i = 0; i < 2; i++)
		if (throttle_attach(b->v->dev->throttles[i], &b->v->home) < 0)
			return -1;
	*state = b;
	return 0;
}

static int set_up(void **state)
{
	return set_up_limited(state, &(struct rate_limits){.bw = 0});
}

/* One packet each 10 ms, each way. */
static int set_up_100_a_second(void **state)
{
	return set_up_limited(state, &(struct rate_limits){.ops = 100, .ops_burst = 1});
}

static int tear_down(void **state)
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

static struct net_counters counters(struct bench *b)
{
	struct net_counters c;

	net_get_counters(b->net, &c);
	return c;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 256);
}

/* A packet of @len bytes from outside. */
static void arrive(struct bench *b, int pair, size_t len)
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
static long used(struct bench *b, unsigned int queue)
{
	uint32_t id, len;

	return driver_used(&b->v->q[queue], &id, &len) ? (long)len : -1;
}

/* -- to the guest ----------------------------------------------------------------------------- */

static void a_packet_comes_in(void **state)
{
	struct bench *b = *state;
	struct net_hdr h;
	uint64_t at;
	long len;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	at = vdev_alloc(b->v, 2048);
	vdev_offer1(b->v, 0, at, 2048, true);
	virtio_kick(b->v->dev, 0);
	arrive(b, 0, 60);
	vdev_until(b->v, (len = used(b, 0)) >= 0);
	assert_int_equal(len, 72);
	memcpy(&h, guest_ptr(&b->v->g, at), sizeof(h));
	assert_int_equal(h.num_buffers, 1);
	for (size_t i = 0; i < 60; i++)
		assert_int_equal(((uint8_t *)guest_ptr(&b->v->g, at))[12 + i], pattern(i));
	assert_int_equal(b->v->queue_irqs[0], 1);
	assert_int_equal(counters(b).rx_packets, 1);
	assert_int_equal(counters(b).rx_bytes, 60);
}

static void without_buffers_packets_wait(void **state)
{
	struct bench *b = *state;
	uint64_t at;
	long len;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	for (int i = 0; i < 5; i++)
		arrive(b, 0, 60 + (size_t)i);
	for (int i = 0; i < 20; i++)
		vdev_turn(b->v);
	assert_int_equal(used(b, 0), -1);
	at = vdev_alloc(b->v, 2048);
	for (int i = 0; i < 5; i++) {
		vdev_offer1(b->v, 0, at, 2048, true);
		virtio_kick(b->v->dev, 0);
		vdev_until(b->v, (len = used(b, 0)) >= 0);
		assert_int_equal(len, 72 + i);
		assert_int_equal(used(b, 0), -1);
	}
}

static void a_long_packet_takes_several_chains(void **state)
{
	struct bench *b = *state;
	const size_t size = 5000, chain = 2000;
	uint64_t at[3];
	uint16_t buffers;
	long len;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	for (int i = 0; i < 3; i++)
		at[i] = vdev_alloc(b->v, chain);
	/* Two of the three that it needs: nothing is seen of it yet. */
	vdev_offer1(b->v, 0, at[0], (uint32_t)chain, true);
	vdev_offer1(b->v, 0, at[1], (uint32_t)chain, true);
	virtio_kick(b->v->dev, 0);
	arrive(b, 0, size);
	vdev_until(b->v, counters(b).rx_starved == 1);
	assert_int_equal(used(b, 0), -1);
	assert_int_equal(b->v->queue_irqs[0], 0);
	vdev_offer1(b->v, 0, at[2], (uint32_t)chain, true);
	virtio_kick(b->v->dev, 0);
	for (int i = 0; i < 3; i++) {
		len = used(b, 0);
		assert_int_equal(len, i < 2 ? 2000 : 1012);
	}
	memcpy(&buffers, (uint8_t *)guest_ptr(&b->v->g, at[0]) + 10, 2);
	assert_int_equal(buffers, 3);
	for (size_t i = 0; i < size; i++) {
		size_t p = i + 12;

		assert_int_equal(((uint8_t *)guest_ptr(&b->v->g, at[p / chain]))[p % chain],
				 pattern(i));
	}
	/* And the next is whole again. */
	arrive(b, 0, 100);
	vdev_offer1(b->v, 0, at[0], (uint32_t)chain, true);
	virtio_kick(b->v->dev, 0);
	vdev_until(b->v, (len = used(b, 0)) >= 0);
	assert_int_equal(len, 112);
}

static void the_longest_packet_fits(void **state)
{
	struct bench *b = *state;
	uint64_t at;
	long len, sum = 0;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 64);
	at = vdev_alloc(b->v, 64 * 1536);
	for (unsigned int i = 0; i < 64; i++)
		vdev_offer1(b->v, 0, at + i * 1536, 1536, true);
	virtio_kick(b->v->dev, 0);
	arrive(b, 0, NET_PACKET_MAX);
	vdev_until(b->v, counters(b).rx_packets == 1);
	while ((len = used(b, 0)) >= 0)
		sum += len;
	assert_int_equal(sum, NET_PACKET_MAX + 12);
}

static void a_packet_that_does_not_fit_is_dropped(void **state)
{
	struct bench *b = *state;
	uint64_t at;
	long len;

	vdev_start(b->v, 0, 2, 16); /* buffers are not mergeable */
	at = vdev_alloc(b->v, 1514 + 12);
	vdev_offer1(b->v, 0, at, 1514 + 12, true);
	virtio_kick(b->v->dev, 0);
	arrive(b, 0, 1515);
	arrive(b, 0, 1514);
	vdev_until(b->v, (len = used(b, 0)) >= 0);
	assert_int_equal(len, 1526);
	assert_int_equal(counters(b).rx_dropped, 1);
	assert_int_equal(counters(b).rx_packets, 1);
}

static void reset_forgets_the_packet_in_hand(void **state)
{
	struct bench *b = *state;
	uint64_t at;
	long len;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	at = vdev_alloc(b->v, 1000);
	vdev_offer1(b->v, 0, at, 1000, true);
	virtio_kick(b->v->dev, 0);
	arrive(b, 0, 3000);
	vdev_until(b->v, counters(b).rx_starved == 1);
	/* This one came for the driver before. */
	arrive(b, 0, 500);
	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	at = vdev_alloc(b->v, 1000);
	vdev_offer1(b->v, 0, at, 1000, true);
	virtio_kick(b->v->dev, 0);
	arrive(b, 0, 80);
	vdev_until(b->v, (len = used(b, 0)) >= 0);
	assert_int_equal(len, 92);
}

static void buffers_shorter_than_a_header_need_a_reset(void **state)
{
	struct bench *b = *state;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	vdev_offer1(b->v, 0, vdev_alloc(b->v, 16), 11, true);
	arrive(b, 0, 60);
	virtio_kick(b->v->dev, 0);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(used(b, 0), -1);
}

/* -- rate limits ------------------------------------------------------------------------------ */

#define LIMITED 6

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void packets_in_come_at_their_rate(void **state)
{
	struct bench *b = *state;
	uint64_t begin = now_ns(), waits, ns;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	for (int i = 0; i < LIMITED; i++) {
		vdev_offer1(b->v, 0, vdev_alloc(b->v, 2048), 2048, true);
		arrive(b, 0, 60);
	}
	virtio_kick(b->v->dev, 0);
	virtio_kick(b->v->dev, 0); /* does not help */
	for (int i = 0; i < LIMITED; i++)
		vdev_until(b->v, used(b, 0) == 72);
	assert_true(now_ns() - begin >= (LIMITED - 1) * UINT64_C(10000000));
	throttle_get(b->v->dev->throttles[0], &waits, &ns);
	assert_true(waits >= 1 && ns > 0);
	throttle_get(b->v->dev->throttles[1], &waits, &ns);
	assert_int_equal(waits | ns, 0);
}

static void packets_out_go_at_their_rate(void **state)
{
	struct bench *b = *state;
	uint64_t begin = now_ns(), at;
	uint8_t got[400];

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 312);
	for (int i = 0; i < LIMITED; i++)
		vdev_offer1(b->v, 1, at, 312, false);
	virtio_kick(b->v->dev, 1);
	for (int i = 0; i < LIMITED; i++)
		vdev_until(b->v, used(b, 1) == 0);
	assert_true(now_ns() - begin >= (LIMITED - 1) * UINT64_C(10000000));
	for (int i = 0; i < LIMITED; i++)
		assert_int_equal(recv(b->theirs[0], got, sizeof(got), 0), 312);
	assert_int_equal(counters(b).tx_packets, LIMITED);
	/* And a reset while one waits. */
	throttle_charge(b->v->dev->throttles[1], 50, 0);
	vdev_offer1(b->v, 1, at, 312, false);
	virtio_kick(b->v->dev, 1);
	assert_true(b->net->pairs[0].tx_place.waiting);
	vdev_start(b->v, 0, 2, 16);
	assert_false(b->net->pairs[0].tx_place.waiting);
	vdev_offer1(b->v, 1, vdev_alloc(b->v, 312), 312, false);
	virtio_kick(b->v->dev, 1);
	vdev_until(b->v, used(b, 1) == 0);
}

static void with_the_link_down_nothing_moves(void **state)
{
	struct bench *b = *state;
	uint16_t status = 1;
	uint64_t at;

	vdev_start(b->v, BIT(VIRTIO_NET_F_STATUS), 2, 16);
	virtio_config_read(b->v->dev, 6, &status, 2);
	assert_int_equal(status, 1);
	net_set_link(b->net, false);
	assert_int_equal(b->v->config_irqs, 1);
	net_set_link(b->net, false);
	assert_int_equal(b->v->config_irqs, 1);
	virtio_config_read(b->v->dev, 6, &status, 2);
	assert_int_equal(status, 0);
	at = vdev_alloc(b->v, 2000);
	vdev_offer1(b->v, 0, at, 2000, true);
	virtio_kick(b->v->dev, 0);
	arrive(b, 0, 60);
	for (int i = 0; i < 20; i++)
		vdev_turn(b->v);
	assert_int_equal(used(b, 0), -1);
	vdev_offer1(b->v, 1, at, 200, false);
	virtio_kick(b->v->dev, 1);
	assert_int_equal(used(b, 1), 0);
	assert_int_equal(counters(b).tx_dropped, 1);
	net_set_link(b->net, true);
	vdev_until(b->v, used(b, 0) == 72);
}

/* -- from the guest --------------------------------------------------------------------------- */

static void packets_go_out(void **state)
{
	struct bench *b = *state;
	struct net_hdr h = {.flags = NET_HDR_NEEDS_CSUM,
			    .gso_type = NET_HDR_GSO_TCPV4,
			    .gso_size = 1000,
			    .hdr_len = 54,
			    .csum_start = 34,
			    .csum_offset = 16,
			    .num_buffers = 7};
	/* However the driver cuts it. */
	static const uint32_t cuts[][4] = {
		{312, 0, 0, 0}, {12, 300, 0, 0}, {5, 7, 100, 200}, {13, 299, 0, 0}, {1, 1, 1, 309}};
	uint8_t got[400];

	vdev_start(b->v, 0, 2, 16);
	for (size_t n = 0; n < sizeof(cuts) / sizeof(cuts[0]); n++) {
		uint64_t at[4], base = vdev_alloc(b->v, 312);
		uint8_t *p = guest_ptr(&b->v->g, base);
		unsigned int count = 0;
		uint32_t done = 0;

		memcpy(p, &h, sizeof(h));
		for (size_t i = 0; i < 300; i++)
			p[12 + i] = pattern(i);
		while (count < 4 && cuts[n][count]) {
			at[count] = base + done;
			done += cuts[n][count++];
		}
		vdev_offer(b->v, 1, at, cuts[n], count, count);
		virtio_kick(b->v->dev, 1);
		assert_int_equal(used(b, 1), 0);
		assert_int_equal(recv(b->theirs[0], got, sizeof(got), 0), 312);
		assert_memory_equal(got, &h, 10);
		assert_memory_equal(got + 12, p + 12, 300);
	}
	assert_int_equal(counters(b).tx_packets, 5);
	assert_int_equal(counters(b).tx_bytes, 1500);
}

static void malformed_packets_are_dropped(void **state)
{
	static const struct {
		struct net_hdr h;
		uint32_t len;
	} bad[] = {
		{{.flags = 0}, 5},			 /* no header */
		{{.flags = 0}, 12},			 /* no packet */
		{{.flags = 0}, 12 + 13},		 /* no Ethernet header */
		{{.flags = 0}, 12 + NET_PACKET_MAX + 1}, /* too long */
		{{.flags = 2}, 112},			 /* a flag of the other direction */
		{{.flags = 0x80}, 112},
		{{.gso_type = 2, .gso_size = 100}, 112},
		{{.gso_type = 3, .gso_size = 100, .flags = 1}, 112},
		{{.gso_type = 0x80}, 112},
		{{.gso_type = 1, .gso_size = 100}, 112}, /* segments without a checksum */
		{{.gso_type = 1, .flags = 1}, 112},	 /* of size 0 */
		{{.flags = 1, .csum_start = 99}, 112},	 /* a checksum behind the end */
		{{.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff}, 112},
	};
	struct bench *b = *state;
	uint64_t at;
	char c;

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 70000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(guest_ptr(&b->v->g, at), &bad[i].h, sizeof(bad[i].h));
		vdev_offer1(b->v, 1, at, bad[i].len, false);
		virtio_kick(b->v->dev, 1);
		assert_int_equal(used(b, 1), 0);
		assert_int_equal(counters(b).tx_dropped, i + 1);
	}
	assert_int_equal(counters(b).tx_packets, 0);
	assert_int_equal(recv(b->theirs[0], &c, 1, 0), -1);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

static void a_full_other_side_is_waited_for(void **state)
{
	struct bench *b = *state;
	uint8_t got[2000];
	unsigned int sent = 0, came = 0;
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 1500);
	memset(guest_ptr(&b->v->g, at), 0, 1500);
	while (!counters(b).tx_blocked) {
		vdev_offer1(b->v, 1, at, 1500, false);
		virtio_kick(b->v->dev, 1);
		sent++;
		assert_true(sent < 100000);
		if (!counters(b).tx_blocked)
			assert_int_equal(used(b, 1), 0);
	}
	assert_int_equal(used(b, 1), -1);
	for (int i = 0; i < 20; i++)
		vdev_turn(b->v);
	assert_int_equal(used(b, 1), -1);
	while (recv(b->theirs[0], got, sizeof(got), 0) == 1500)
		came++;
	vdev_until(b->v, used(b, 1) == 0);
	while (recv(b->theirs[0], got, sizeof(got), 0) == 1500)
		came++;
	assert_int_equal(came, sent);
	assert_int_equal(counters(b).tx_dropped, 0);
	/* Nothing waits for it any more, and it blocks a second time as the first. */
	for (unsigned int i = 0; i < sent; i++) {
		vdev_offer1(b->v, 1, at, 1500, false);
		virtio_kick(b->v->dev, 1);
	}
	assert_int_equal(counters(b).tx_blocked, 2);
	/* The next driver finds it free. */
	while (recv(b->theirs[0], got, sizeof(got), 0) == 1500)
		;
	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 1500);
	vdev_offer1(b->v, 1, at, 1500, false);
	virtio_kick(b->v->dev, 1);
	assert_int_equal(used(b, 1), 0);
}

static void a_malformed_ring_needs_a_reset(void **state)
{
	struct bench *b = *state;

	for (unsigned int queue = 0; queue < 2; queue++) {
		vdev_start(b->v, 0, 2, 16);
		vdev_offer1(b->v, queue, UINT64_C(1) << 40, 100, queue == 0);
		virtio_kick(b->v->dev, queue);
		assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	}
	vdev_start(b->v, 0, 2, 16);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

static unsigned int locked; /* times that the device was found broken with the queue's lock held */

static void broken_irq(void *ctx)
{
	struct vdev *v = ctx;

	for (unsigned int queue = 0; queue < 2; queue++) {
		if (pthread_mutex_trylock(&v->dev->queues[queue].vq.lock) == EBUSY)
			locked++;
		else
			pthread_mutex_unlock(&v->dev->queues[queue].vq.lock);
	}
}

/* Else it could be found broken after a reset, by what its driver before has done. */
static void it_is_broken_before_a_reset(void **state)
{
	static const struct virtio_transport_ops ops = {vdev_irq_queue, broken_irq};
	struct bench *b = *state;

	b->v->dev->transport_ops = &ops;
	locked = 0;
	for (unsigned int queue = 0; queue < 2; queue++) {
		vdev_start(b->v, 0, 2, 16);
		vdev_offer1(b->v, queue, UINT64_C(1) << 40, 100, queue == 0);
		virtio_kick(b->v->dev, queue);
		assert_int_equal(locked, queue + 1);
	}
}

/* -- control ---------------------------------------------------------------------------------- */

static uint8_t control(struct bench *b, unsigned int queue, uint8_t class, uint8_t cmd,
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

static void pairs_are_switched(void **state)
{
	struct bench *b = *state;
	uint16_t n;
	uint64_t at;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ), 5, 16);
	assert_int_equal(b->pairs, 1);
	for (n = 0; n < 5; n++)
		assert_int_equal(control(b, 4, 4, 0, &n, 2), n == 1 || n == 2 ? 0 : 1);
	n = 2;
	assert_int_equal(control(b, 4, 4, 0, &n, 1), 1); /* cut short */
	assert_int_equal(control(b, 4, 4, 1, &n, 2), 1);
	assert_int_equal(control(b, 4, 9, 0, &n, 2), 1);
	assert_int_equal(control(b, 4, 4, 0, &n, 2), 0);
	assert_int_equal(b->pairs, 2);
	at = vdev_alloc(b->v, 2000);
	vdev_offer1(b->v, 2, at, 2000, true);
	virtio_kick(b->v->dev, 2);
	arrive(b, 1, 60);
	vdev_until(b->v, used(b, 2) == 72);
	b->fail = -EBUSY;
	assert_int_equal(control(b, 4, 4, 0, &n, 2), 1);
}

/* With the event index a driver kicks only where it was asked to. */
static void every_command_is_asked_for(void **state)
{
	struct bench *b = *state;
	uint16_t n = 1;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_F_EVENT_IDX),
		   5, 16);
	for (int i = 0; i < 5; i++) {
		assert_true(vdev_asks_for_kick(b->v, 4));
		assert_int_equal(control(b, 4, 4, 0, &n, 2), 0);
	}
	assert_true(vdev_asks_for_kick(b->v, 4));
}

static void a_malformed_control_queue_needs_a_reset(void **state)
{
	struct bench *b = *state;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ), 5, 16);
	vdev_offer1(b->v, 4, UINT64_C(1) << 40, 4, false);
	virtio_kick(b->v->dev, 4);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
}

static void without_multiqueue_control_is_the_third_queue(void **state)
{
	struct bench *b = *state;
	uint64_t offloads = 0;
	uint16_t n = 1;

	vdev_start(b->v, BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), 3, 16);
	assert_int_equal(control(b, 2, 5, 0, &offloads, 8), 0);
	assert_int_equal(control(b, 2, 4, 0, &n, 2), 1);
}

/* Nobody looks for packets there. */
static void the_control_queue_is_no_receive_queue(void **state)
{
	struct bench *b = *state;
	uint64_t at, offloads = 0;

	vdev_start(b->v, BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), 4, 16);
	at = vdev_alloc(b->v, 100);
	vdev_offer1(b->v, 2, at, 100, true);
	arrive(b, 1, 60);
	net_set_link(b->net, false);
	net_set_link(b->net, true);
	for (int i = 0; i < 5; i++)
		vdev_turn(b->v);
	assert_int_equal(used(b, 2), -1);
	/* Nor for any to send behind it. */
	vdev_offer1(b->v, 3, at, 100, false);
	virtio_kick(b->v->dev, 3);
	assert_int_equal(used(b, 3), -1);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
	virtio_kick(b->v->dev, 2);
	assert_int_equal(used(b, 2), 1); /* a command without a word in it */
	assert_int_equal(control(b, 2, 5, 0, &offloads, 8), 0);
}

static void offloads_are_those_agreed_on(void **state)
{
	struct bench *b = *state;
	uint64_t all = BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4), some;

	vdev_start(b->v, all | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), 3,
		   16);
	assert_int_equal(b->offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	some = BIT(VIRTIO_NET_F_GUEST_CSUM);
	assert_int_equal(control(b, 2, 5, 0, &some, 8), 0);
	assert_int_equal(b->offloads, NET_OFFLOAD_CSUM);
	some = all | BIT(VIRTIO_NET_F_GUEST_TSO6);
	assert_int_equal(control(b, 2, 5, 0, &some, 8), 1); /* not agreed on */
	assert_int_equal(b->offloads, NET_OFFLOAD_CSUM);
	virtio_set_status(b->v->dev, 0);
	assert_int_equal(b->offloads, 0);
	vdev_start(b->v, BIT(VIRTIO_NET_F_GUEST_TSO4), 2, 16); /* which needs GUEST_CSUM */
	assert_int_equal(b->offloads, 0);
}

/* -- filters ---------------------------------------------------------------------------------- */

#define RX_FEATURES                                                                                \
	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
	 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

static const uint8_t own[6] = {2, 0, 0, 0, 0, 9}, other[6] = {2, 0, 0, 0, 0, 10},
		     group[6] = {1, 0, 0x5e, 0, 0, 1}, group2[6] = {0x33, 0x33, 0, 0, 0, 1},
		     everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static uint64_t arrived(struct bench *b)
{
	struct net_counters c = counters(b);

	return c.rx_packets + c.rx_unwanted;
}

/* Sends a packet for @to to @pair: did the driver get it? */
static bool gets(struct bench *b, int pair, const uint8_t to[6])
{
	uint8_t p[sizeof(struct net_hdr) + 60] = {0};
	unsigned int queue = 2 * (unsigned int)pair;
	struct driver *q = &b->v->q[queue];
	struct net_counters before = counters(b);
	uint64_t had = arrived(b);

	memcpy(p + sizeof(struct net_hdr), to, 6);
	/* What an unwanted packet did not use is still there. */
	if (q->idx == q->seen) {
		vdev_offer1(b->v, queue, vdev_alloc(b->v, 256), 256, true);
		virtio_kick(b->v->dev, queue);
	}
	assert_int_equal(send(b->theirs[pair], p, sizeof(p), 0), sizeof(p));
	vdev_until(b->v, arrived(b) != had);
	if (counters(b).rx_packets == before.rx_packets) {
		assert_int_equal(used(b, queue), -1);
		return false;
	}
	assert_int_equal(used(b, queue), sizeof(p));
	return true;
}

/* Which of the five it gets, a bit each. */
static unsigned int gets_which(struct bench *b)
{
	return gets(b, 0, own) | (unsigned int)gets(b, 0, other) << 1 |
	       (unsigned int)gets(b, 0, group) << 2 | (unsigned int)gets(b, 0, group2) << 3 |
	       (unsigned int)gets(b, 0, everybody) << 4;
}

enum { OWN = 1, OTHER = 2, GROUP = 4, GROUP2 = 8, EVERYBODY = 16, ALL = 31 };

static uint8_t mode(struct bench *b, uint8_t cmd, uint8_t on)
{
	return control(b, 2, 0, cmd, &on, 1);
}

static void modes_say_what_is_wanted(void **state)
{
	static const struct {
		uint8_t on[NET_RX_MODES]; /* promisc, allmulti, alluni, nomulti, nouni, nobcast */
		unsigned int gets;
	} cases[] = {
		{{1, 0, 0, 0, 0, 0}, ALL},
		{{1, 0, 0, 1, 1, 1}, ALL},
		{{0, 0, 0, 0, 0, 0}, OWN | EVERYBODY},
		{{0, 1, 0, 0, 0, 0}, OWN | GROUP | GROUP2 | EVERYBODY},
		{{0, 1, 0, 1, 0, 0}, OWN | GROUP | GROUP2 | EVERYBODY},
		{{0, 0, 1, 0, 0, 0}, OWN | OTHER | EVERYBODY},
		{{0, 0, 1, 0, 1, 0}, OWN | OTHER | EVERYBODY},
		{{0, 0, 0, 1, 0, 0}, OWN | EVERYBODY},
		{{0, 0, 0, 0, 1, 0}, EVERYBODY},
		{{0, 1, 0, 0, 0, 1}, OWN | GROUP | GROUP2},
		{{0, 0, 0, 1, 1, 1}, 0},
	};
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		vdev_start(b->v, RX_FEATURES | BIT(VIRTIO_NET_F_MRG_RXBUF), 3, 16);
		assert_int_equal(gets_which(b), ALL); /* until something else is said */
		for (uint8_t m = 0; m < NET_RX_MODES; m++)
			assert_int_equal(mode(b, m, cases[i].on[m]), 0);
		assert_int_equal(gets_which(b), cases[i].gets);
	}
	/* And the last one is forgotten. */
	vdev_start(b->v, 0, 2, 16);
	assert_int_equal(gets_which(b), ALL);
	vdev_start(b->v, RX_FEATURES, 3, 16);
	assert_int_equal(mode(b, NET_RX_PROMISC, 2), 1);
	assert_int_equal(mode(b, NET_RX_MODES, 1), 1);
	assert_int_equal(mode(b, 255, 1), 1);
	assert_int_equal(control(b, 2, 0, 0, NULL, 0), 1); /* neither on nor off */
	assert_int_equal(gets_which(b), ALL);
}

/* A command: the tables of @uni and @multi addresses, each number @n more than there are, cut by
 * @cut bytes. */
static uint8_t tables(struct bench *b, const uint8_t (*uni)[6], uint32_t unis,
		      const uint8_t (*multi)[6], uint32_t multis, uint32_t more, size_t cut)
{
	static uint8_t data[8 + 200 * 6];
	uint32_t n = unis + more;
	size_t at = 0;

	memcpy(data, &n, 4);
	at = 4;
	if (unis)
		memcpy(data + at, uni, 6 * unis);
	at += 6 * unis;
	n = multis + more;
	memcpy(data + at, &n, 4);
	at += 4;
	if (multis)
		memcpy(data + at, multi, 6 * multis);
	at += 6 * multis;
	return control(b, 2, 1, 0, data, at - cut);
}

static void tables_say_who_is_wanted(void **state)
{
	struct bench *b = *state;
	uint8_t many[100][6];

	vdev_start(b->v, RX_FEATURES | BIT(VIRTIO_NET_F_MRG_RXBUF), 3, 16);
	assert_int_equal(mode(b, NET_RX_PROMISC, 0), 0);
	assert_int_equal(tables(b, &other, 1, &group, 1, 0, 0), 0);
	assert_int_equal(gets_which(b), OWN | OTHER | GROUP | EVERYBODY);
	/* What is malformed changes nothing. */
	for (uint32_t cut = 1; cut <= 20; cut++)
		assert_int_equal(tables(b, &other, 1, &group, 1, 0, cut), 1);
	assert_int_equal(tables(b, NULL, 0, NULL, 0, 1, 0), 1);
	assert_int_equal(tables(b, &group2, 1, &group2, 1, 1, 0), 1);
	for (int bit = 0; bit < 32; bit++)
		assert_int_equal(tables(b, &group2, 1, &group2, 1, UINT32_C(1) << bit, 0), 1);
	assert_int_equal(tables(b, &group2, 1, &group2, 1, UINT32_MAX, 0), 1);
	/* 2^32 bytes and a few, which are not there. */
	assert_int_equal(tables(b, NULL, 0, NULL, 0, 0x2aaaaaab, 0), 1);
	assert_int_equal(gets_which(b), OWN | OTHER | GROUP | EVERYBODY);
	assert_int_equal(mode(b, NET_RX_NOMULTI, 1), 0);
	assert_int_equal(gets_which(b), OWN | OTHER | EVERYBODY);
	assert_int_equal(mode(b, NET_RX_NOMULTI, 0), 0);
	/* The last of as many as are kept, and more than those. */
	for (int i = 0; i < 100; i++)
		memcpy(many[i], (uint8_t[]){2, 1, 1, 1, 1, (uint8_t)i}, 6);
	memcpy(many[NET_FILTER_MACS - 1], other, 6);
	assert_int_equal(tables(b, many, NET_FILTER_MACS, NULL, 0, 0, 0), 0);
	assert_int_equal(gets_which(b), OWN | OTHER | EVERYBODY);
	memset(many, 2, sizeof(many));
	assert_int_equal(tables(b, many, NET_FILTER_MACS, NULL, 0, 0, 0), 0);
	assert_int_equal(gets_which(b), OWN | EVERYBODY);
	assert_int_equal(tables(b, many, NET_FILTER_MACS + 1, NULL, 0, 0, 0), 0);
	assert_int_equal(gets_which(b), OWN | OTHER | EVERYBODY);
	assert_int_equal(tables(b, NULL, 0, many, 100, 0, 0), 0);
	assert_int_equal(gets_which(b), OWN | GROUP | GROUP2 | EVERYBODY);
	assert_int_equal(tables(b, NULL, 0, NULL, 0, 0, 0), 0);
	assert_int_equal(gets_which(b), OWN | EVERYBODY);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

/* However the driver cuts a command. */
static void tables_come_in_pieces(void **state)
{
	static const uint8_t command[] = {1, 0, 1, 0, 0,    0,	  2, 0, 0, 0, 0, 10,
					  1, 0, 0, 0, 0x33, 0x33, 0, 0, 0, 1, 0, 0};
	struct bench *b = *state;

	for (uint32_t first = 1; first < 22; first++) {
		uint64_t at[3];
		uint32_t lens[3] = {first, 22 - first, 1};

		vdev_start(b->v, RX_FEATURES | BIT(VIRTIO_NET_F_MRG_RXBUF), 3, 16);
		assert_int_equal(mode(b, NET_RX_PROMISC, 0), 0);
		for (int i = 0; i < 3; i++)
			at[i] = vdev_alloc(b->v, 32);
		memcpy(guest_ptr(&b->v->g, at[0]), command, first);
		memcpy(guest_ptr(&b->v->g, at[1]), command + first, 22 - first);
		vdev_offer(b->v, 2, at, lens, 3, 2);
		virtio_kick(b->v->dev, 2);
		assert_int_equal(used(b, 2), 1);
		assert_int_equal(*(uint8_t *)guest_ptr(&b->v->g, at[2]), 0);
		assert_int_equal(gets_which(b), OWN | OTHER | GROUP2 | EVERYBODY);
	}
}

static void the_address_is_the_drivers_to_choose(void **state)
{
	struct bench *b = *state;
	uint32_t generation;
	uint8_t mac[6];

	vdev_start(b->v, RX_FEATURES | BIT(VIRTIO_NET_F_MRG_RXBUF), 3, 16);
	assert_int_equal(mode(b, NET_RX_PROMISC, 0), 0);
	generation = atomic_load(&b->v->dev->generation);
	assert_int_equal(control(b, 2, 1, 1, group, 6), 1);
	assert_int_equal(control(b, 2, 1, 1, (uint8_t[6]){0}, 6), 1);
	assert_int_equal(control(b, 2, 1, 1, other, 5), 1);
	assert_int_equal(control(b, 2, 1, 2, other, 6), 1);
	assert_int_equal(gets_which(b), OWN | EVERYBODY);
	assert_int_equal(atomic_load(&b->v->dev->generation), generation);
	assert_int_equal(control(b, 2, 1, 1, other, 6), 0);
	assert_int_equal(gets_which(b), OTHER | EVERYBODY);
	assert_int_not_equal(atomic_load(&b->v->dev->generation), generation);
	virtio_config_read(b->v->dev, 0, mac, 6);
	assert_memory_equal(mac, other, 6);
	/* The rest of the configuration is as before, from wherever it is read. */
	memset(mac, 0xee, 6);
	virtio_config_read(b->v->dev, 4, mac, 6);
	assert_memory_equal(mac, ((uint8_t[]){0, 10, NET_STATUS_LINK_UP, 0, PAIRS, 0}), 6);
	/* A reset brings the first one back. */
	virtio_set_status(b->v->dev, 0);
	virtio_config_read(b->v->dev, 0, mac, 6);
	assert_memory_equal(mac, own, 6);
}

static void filters_are_agreed_on(void **state)
{
	struct bench *b = *state;

	vdev_start(b->v, BIT(VIRTIO_NET_F_CTRL_VQ), 3, 16);
	for (uint8_t m = 0; m < NET_RX_MODES; m++)
		assert_int_equal(mode(b, m, 0), 1);
	assert_int_equal(tables(b, NULL, 0, NULL, 0, 0, 0), 1);
	assert_int_equal(control(b, 2, 1, 1, other, 6), 1);
	vdev_start(b->v, BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX), 3, 16);
	for (uint8_t m = 0; m < NET_RX_MODES; m++)
		assert_int_equal(mode(b, m, 0), m <= NET_RX_ALLMULTI ? 0 : 1);
	assert_int_equal(tables(b, NULL, 0, NULL, 0, 0, 0), 0);
}

static void each_pair_filters(void **state)
{
	struct bench *b = *state;
	uint16_t n = 2;
	uint8_t off = 0;

	vdev_start(b->v, RX_FEATURES | BIT(VIRTIO_NET_F_MQ), 5, 16);
	assert_int_equal(control(b, 4, 0, NET_RX_PROMISC, &off, 1), 0);
	assert_int_equal(control(b, 4, 4, 0, &n, 2), 0);
	for (int pair = 0; pair < PAIRS; pair++) {
		assert_true(gets(b, pair, own));
		assert_false(gets(b, pair, other));
	}
	assert_int_equal(control(b, 4, 1, 1, other, 6), 0);
	for (int pair = 0; pair < PAIRS; pair++) {
		assert_false(gets(b, pair, own));
		assert_true(gets(b, pair, other));
	}
}

/* The address is found wherever the first buffers end, also behind all of them. */
static void the_address_may_be_in_pieces(void **state)
{
	static const uint32_t sizes[] = {12, 13, 15, 17, 18, 19};
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t p[sizeof(struct net_hdr) + 60] = {0};
		uint8_t off = 0;

		vdev_start(b->v, RX_FEATURES | BIT(VIRTIO_NET_F_MRG_RXBUF), 3, 16);
		assert_int_equal(mode(b, NET_RX_PROMISC, off), 0);
		vdev_offer1(b->v, 0, vdev_alloc(b->v, sizes[i]), sizes[i], true);
		vdev_offer1(b->v, 0, vdev_alloc(b->v, 100), 100, true);
		virtio_kick(b->v->dev, 0);
		for (int n = 0; n < 3; n++) {
			memcpy(p + sizeof(struct net_hdr), n == 1 ? own : other, 6);
			assert_int_equal(send(b->theirs[0], p, sizeof(p), 0), sizeof(p));
		}
		/* Too short to be for anybody. */
		assert_int_equal(send(b->theirs[0], p, sizeof(struct net_hdr) + 5, 0),
				 sizeof(struct net_hdr) + 5);
		vdev_until(b->v, used(b, 0) == (long)sizes[i]);
		assert_int_equal(used(b, 0), (long)sizeof(p) - (long)sizes[i]);
		assert_int_equal(counters(b).rx_packets, i + 1);
	}
}

static void the_configuration_is_told(void **state)
{
	struct bench *b = *state;
	struct net_config_space c;

	virtio_config_read(b->v->dev, 0, &c, sizeof(c));
	assert_memory_equal(c.mac, ((uint8_t[]){2, 0, 0, 0, 0, 9}), 6);
	assert_int_equal(c.max_pairs, PAIRS);
	assert_int_equal(c.mtu, 1400);
	assert_true(b->v->dev->offered & BIT(VIRTIO_NET_F_MQ));
	assert_true(b->v->dev->offered & BIT(VIRTIO_NET_F_MTU));
}

int main(void)
{
#define T(name)		cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define LIMITED_T(name) cmocka_unit_test_setup_teardown(name, set_up_100_a_second, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_packet_comes_in),
		T(without_buffers_packets_wait),
		T(a_long_packet_takes_several_chains),
		T(the_longest_packet_fits),
		T(a_packet_that_does_not_fit_is_dropped),
		T(reset_forgets_the_packet_in_hand),
		T(buffers_shorter_than_a_header_need_a_reset),
		T(with_the_link_down_nothing_moves),
		LIMITED_T(packets_in_come_at_their_rate),
		LIMITED_T(packets_out_go_at_their_rate),
		T(packets_go_out),
		T(malformed_packets_are_dropped),
		T(a_full_other_side_is_waited_for),
		T(a_malformed_ring_needs_a_reset),
		T(it_is_broken_before_a_reset),
		T(pairs_are_switched),
		T(every_command_is_asked_for),
		T(a_malformed_control_queue_needs_a_reset),
		T(without_multiqueue_control_is_the_third_queue),
		T(the_control_queue_is_no_receive_queue),
		T(offloads_are_those_agreed_on),
		T(modes_say_what_is_wanted),
		T(tables_say_who_is_wanted),
		T(tables_come_in_pieces),
		T(the_address_is_the_drivers_to_choose),
		T(filters_are_agreed_on),
		T(each_pair_filters),
		T(the_address_may_be_in_pieces),
		T(the_configuration_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
