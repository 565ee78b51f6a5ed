/* SPDX-License-Identifier: Apache-2.0 */
/* The network device over a packet socket pair: framing, buffers, the control queue, faults. */
#include "net_bench.h"

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

/* That the host has found a checksum right is told to those who have asked. */
static void flags_are_for_those_who_asked(void **state)
{
	struct bench *b = *state;
	uint8_t packet[112] = {2}, *p;
	uint64_t at;

	for (unsigned int asked = 0; asked < 2; asked++) {
		vdev_start(b->v, asked ? BIT(VIRTIO_NET_F_GUEST_CSUM) : 0, 2, 16);
		at = vdev_alloc(b->v, 1600);
		p = guest_ptr(&b->v->g, at);
		p[0] = 0xee;
		vdev_offer1(b->v, 0, at, 1600, true);
		virtio_kick(b->v->dev, 0);
		assert_int_equal(send(b->theirs[0], packet, sizeof(packet), 0), sizeof(packet));
		vdev_until(b->v, used(b, 0) == 112);
		assert_int_equal(p[0], asked ? 2 : 0);
		assert_int_equal(p[10], 1); /* num_buffers, mergeable or not */
	}
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

static void packets_in_come_at_their_rate(void **state)
{
	struct bench *b = *state;
	uint64_t begin = clock_monotonic_ns(), waits, ns;

	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	for (int i = 0; i < LIMITED; i++) {
		vdev_offer1(b->v, 0, vdev_alloc(b->v, 2048), 2048, true);
		arrive(b, 0, 60);
	}
	virtio_kick(b->v->dev, 0);
	virtio_kick(b->v->dev, 0); /* does not help */
	for (int i = 0; i < LIMITED; i++)
		vdev_until(b->v, used(b, 0) == 72);
	assert_true(clock_monotonic_ns() - begin >= (LIMITED - 1) * UINT64_C(10000000));
	throttle_get(b->v->dev->throttles[0], &waits, &ns);
	assert_true(waits >= 1 && ns > 0);
	throttle_get(b->v->dev->throttles[1], &waits, &ns);
	assert_int_equal(waits | ns, 0);
}

/* Each direction by itself; NULL is as before. */
static void limits_change_by_direction(void **state)
{
	struct bench *b = *state;
	uint64_t at;

	assert_int_equal(net_set_limits(b->net, NO_LIMITS, OPS(1, 1)), 0);
	vdev_start(b->v, BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	for (int i = 0; i < LIMITED; i++) {
		vdev_offer1(b->v, 0, vdev_alloc(b->v, 2048), 2048, true);
		arrive(b, 0, 60);
	}
	virtio_kick(b->v->dev, 0);
	for (int i = 0; i < LIMITED; i++)
		vdev_until(b->v, used(b, 0) == 72);
	at = vdev_alloc(b->v, 312);
	for (int i = 0; i < LIMITED; i++)
		vdev_offer1(b->v, 1, at, 312, false);
	virtio_kick(b->v->dev, 1);
	assert_int_equal(counters(b).tx_packets, 1);
	assert_int_equal(net_set_limits(b->net, OPS(1, 1), NULL), 0);
	home_turn(&b->v->home);
	assert_int_equal(counters(b).tx_packets, 1);
	assert_int_equal(net_set_limits(b->net, NULL, NO_LIMITS), 0);
	vdev_until(b->v, counters(b).tx_packets == LIMITED);
}

static void packets_out_go_at_their_rate(void **state)
{
	struct bench *b = *state;
	uint64_t begin = clock_monotonic_ns(), at;
	uint8_t got[400];

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 312);
	for (int i = 0; i < LIMITED; i++)
		vdev_offer1(b->v, 1, at, 312, false);
	virtio_kick(b->v->dev, 1);
	for (int i = 0; i < LIMITED; i++)
		vdev_until(b->v, used(b, 1) == 0);
	assert_true(clock_monotonic_ns() - begin >= (LIMITED - 1) * UINT64_C(10000000));
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
	assert_int_equal(b->v->told[VIRTIO_EVENT_LINK], 1);
	assert_int_equal(b->v->told_value, 0);
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
	assert_int_equal(b->v->told[VIRTIO_EVENT_LINK], 2);
	assert_int_equal(b->v->told_value, 1);
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

/* A driver that has put a packet's buffer back as it came, or that has not cleared its memory. */
static void what_does_not_count_in_a_header_is_ignored(void **state)
{
	static const struct {
		struct net_hdr given, expected;
	} headers[] = {
		{{.flags = 2}, {.flags = 0}}, /* a flag of the other direction */
		{{.flags = 0xfe, .csum_start = 0xffff, .csum_offset = 0xffff}, {.flags = 0}},
		{{.hdr_len = 0xffff, .gso_size = 9, .num_buffers = 3}, {.flags = 0}},
		{{.flags = 0x81, .csum_start = 34, .csum_offset = 16, .hdr_len = 101},
		 {.flags = 1, .csum_start = 34, .csum_offset = 16}},
		{{.flags = 1,
		  .csum_start = 34,
		  .csum_offset = 16,
		  .gso_type = 1,
		  .gso_size = 40,
		  .hdr_len = 101},
		 {.flags = 1,
		  .csum_start = 34,
		  .csum_offset = 16,
		  .gso_type = 1,
		  .gso_size = 40,
		  .hdr_len = 100}},
	};
	struct bench *b = *state;
	struct net_hdr got[20];
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 112);
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		memcpy(guest_ptr(&b->v->g, at), &headers[i].given, sizeof(headers[i].given));
		vdev_offer1(b->v, 1, at, 112, false);
		virtio_kick(b->v->dev, 1);
		assert_int_equal(used(b, 1), 0);
		assert_int_equal(recv(b->theirs[0], got, sizeof(got), 0), 112);
		assert_memory_equal(&got[0], &headers[i].expected, sizeof(got[0]));
	}
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
		T(flags_are_for_those_who_asked),
		T(buffers_shorter_than_a_header_need_a_reset),
		T(with_the_link_down_nothing_moves),
		LIMITED_T(packets_in_come_at_their_rate),
		LIMITED_T(limits_change_by_direction),
		LIMITED_T(packets_out_go_at_their_rate),
		T(packets_go_out),
		T(what_does_not_count_in_a_header_is_ignored),
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
