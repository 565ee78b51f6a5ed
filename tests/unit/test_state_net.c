/* SPDX-License-Identifier: Apache-2.0 */
/* A network device in a snapshot: filters, pairs and offloads are as they were, packets go on, and the
 * driver is asked to announce itself. */
#include "net_bench.h"
#include "snap.h"

#define ALL                                                                                    \
	(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | \
	 BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                   \
	 BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |  \
	 BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_F_STATUS))
#define ANNOUNCE   BIT(VIRTIO_NET_F_GUEST_ANNOUNCE)
#define CONTROL	   4
#define UP	   1u
#define UP_AND_SAY 3u

/* Another device in the place of the first one, with the same driver and the same other ends. */
static void again(struct bench *b, uint8_t mac, uint16_t mtu)
{
	struct net_config cfg = {.pairs = PAIRS, .mac = {2, 0, 0, 0, 0, mac}, .mtu = mtu};

	virtio_set_status(b->v->dev, 0);
	vdev_again(b->v);
	for (int i = 0; i < 2; i++)
		throttle_detach(b->v->dev->throttles[i]);
	vdev_again(b->v);
	net_destroy(&b->net);
	b->offloads = 99;
	b->pairs = 99;
	cfg.fds = b->ours;
	cfg.backend =
		(struct net_backend){.set_offload = set_offload, .set_pairs = set_pairs, .ctx = b};
	b->net = net_at_home(b->v, &cfg);
	assert_non_null(b->net);
}

static uint16_t link_status(struct bench *b)
{
	uint16_t value = 0;

	virtio_config_read(b->v->dev, offsetof(struct net_config_space, status), &value, 2);
	return value;
}

static uint64_t give_buffer(struct bench *b, unsigned int queue, uint32_t len)
{
	uint64_t at = vdev_alloc(b->v, len);

	vdev_offer1(b->v, queue, at, len, true);
	virtio_kick(b->v->dev, queue);
	return at;
}

static void send_packet(struct bench *b, unsigned int queue)
{
	uint64_t at = vdev_alloc(b->v, 72);

	memset(guest_ptr(&b->v->g, at), 0, 72);
	vdev_offer1(b->v, queue, at, 72, false);
	virtio_kick(b->v->dev, queue);
}

static void what_the_driver_has_set_stays(void **state)
{
	struct bench *b = *state;
	const uint8_t own[] = {2, 1, 1, 1, 1, 1};
	const uint8_t tables[] = {1, 0, 0, 0,	 2, 2, 2, 2, 2, 2,    2, 0, 0,
				  0, 1, 0, 0x5e, 0, 0, 1, 1, 0, 0x5e, 0, 0, 2};
	const uint64_t offloads = BIT(VIRTIO_NET_F_GUEST_CSUM);
	const uint16_t pairs = 2;
	uint8_t off = 0, packet[72] = {0}, mac[6];
	struct snap s;
	long len;

	vdev_start(b->v, ALL, 5, 16);
	assert_int_equal(control(b, CONTROL, 0, 0, &off, 1), 0); /* not all */
	assert_int_equal(control(b, CONTROL, 1, 0, tables, sizeof(tables)), 0);
	assert_int_equal(control(b, CONTROL, 1, 1, own, 6), 0);
	assert_int_equal(control(b, CONTROL, 4, 0, &pairs, 2), 0);
	assert_int_equal(control(b, CONTROL, 5, 0, &offloads, 8), 0);
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	snap_restore(&s, b->v->dev);
	assert_int_equal(b->pairs, 2);
	assert_int_equal(b->offloads, NET_OFFLOAD_CSUM);
	virtio_config_read(b->v->dev, 0, mac, 6);
	assert_memory_equal(mac, own, 6);
	/* Nobody who knows of no announcements is asked. */
	assert_int_equal(b->v->config_irqs, 0);
	assert_int_equal(link_status(b), UP);
	/* For somebody else, for the own address, for one of the table, on the second pair. */
	give_buffer(b, 2, 2048);
	give_buffer(b, 2, 2048);
	packet[12] = 4;
	assert_int_equal(send(b->theirs[1], packet, 72, 0), 72);
	memcpy(packet + 12, own, 6);
	assert_int_equal(send(b->theirs[1], packet, 72, 0), 72);
	memset(packet + 12, 2, 6);
	assert_int_equal(send(b->theirs[1], packet, 72, 0), 72);
	vdev_until(b->v, (len = used(b, 2)) == 72);
	vdev_until(b->v, (len = used(b, 2)) == 72);
	assert_int_equal(counters(b).rx_unwanted, 1);
	/* A reset goes back to what it was made with. */
	virtio_set_status(b->v->dev, 0);
	virtio_config_read(b->v->dev, 0, mac, 6);
	assert_int_equal(mac[5], 9);
	snap_free(&s);
}

static void the_driver_is_asked_to_announce(void **state)
{
	struct bench *b = *state;
	uint32_t generation;
	struct snap s;

	vdev_start(b->v, ALL | ANNOUNCE, 5, 16);
	/* Nobody has asked so far. */
	assert_int_equal(link_status(b), UP);
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	snap_restore(&s, b->v->dev);
	snap_free(&s);
	assert_int_equal(b->v->config_irqs, 1);
	assert_int_equal(link_status(b), UP_AND_SAY);
	/* Saved before it could answer: it is asked again. */
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	snap_restore(&s, b->v->dev);
	assert_int_equal(b->v->config_irqs, 2);
	assert_int_equal(link_status(b), UP_AND_SAY);
	generation = atomic_load(&b->v->dev->generation);
	assert_int_equal(control(b, CONTROL, 3, 1, NULL, 0), 1); /* no such command */
	assert_int_equal(link_status(b), UP_AND_SAY);
	assert_int_equal(control(b, CONTROL, 3, 0, NULL, 0), 0);
	assert_int_equal(link_status(b), UP);
	assert_true(atomic_load(&b->v->dev->generation) != generation);
	snap_free(&s);
	/* Without the feature there is no such class. */
	vdev_start(b->v, ALL, 5, 16);
	assert_int_equal(control(b, CONTROL, 3, 0, NULL, 0), 1);
}

static void a_reset_ends_the_announcement(void **state)
{
	struct bench *b = *state;
	struct snap s;

	vdev_start(b->v, ALL | ANNOUNCE, 5, 16);
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	snap_restore(&s, b->v->dev);
	assert_int_equal(link_status(b), UP_AND_SAY);
	vdev_start(b->v, ALL | ANNOUNCE, 5, 16);
	assert_int_equal(link_status(b), UP);
	snap_free(&s);
}

/* Half a packet is lost; the buffers that it had are the first to be used. */
static void a_packet_under_way_is_lost(void **state)
{
	struct bench *b = *state;
	uint64_t at[2];
	struct snap s;
	long len;

	vdev_start(b->v, ALL, 5, 16);
	at[0] = give_buffer(b, 0, 100);
	at[1] = give_buffer(b, 0, 100);
	arrive(b, 0, 1000);
	vdev_until(b->v, counters(b).rx_starved == 1);
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	/* The packets that wait at the interface are in a form that nobody has agreed to. */
	arrive(b, 0, 33);
	snap_restore(&s, b->v->dev);
	for (int i = 0; i < 10; i++)
		vdev_turn(b->v);
	assert_int_equal(used(b, 0), -1);
	for (int i = 0; i < 2; i++) {
		arrive(b, 0, 60 + (size_t)i);
		vdev_until(b->v, (len = used(b, 0)) >= 0);
		assert_int_equal(len, 72 + i);
		assert_int_equal(((uint8_t *)guest_ptr(&b->v->g, at[i]))[12 + 7], pattern(7));
	}
	give_buffer(b, 0, 100);
	arrive(b, 0, 62);
	vdev_until(b->v, (len = used(b, 0)) >= 0);
	assert_int_equal(len, 74);
	snap_free(&s);
}

static void packets_that_wait_are_sent(void **state)
{
	struct bench *b = *state;
	uint8_t got[100];
	struct snap s;

	vdev_start(b->v, ALL, 5, 16);
	send_packet(b, 1);
	assert_int_equal(used(b, 1), 0);
	assert_int_equal(recv(b->theirs[0], got, sizeof(got), 0), 72);
	/* Offered, and nobody was kicked. */
	vdev_offer1(b->v, 1, vdev_alloc(b->v, 72), 72, false);
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	snap_restore(&s, b->v->dev);
	assert_int_equal(recv(b->theirs[0], got, sizeof(got), 0), 72);
	assert_int_equal(used(b, 1), 0);
	send_packet(b, 1);
	assert_int_equal(used(b, 1), 0);
	assert_int_equal(recv(b->theirs[0], got, sizeof(got), 0), 72);
	snap_free(&s);
}

static void the_link_is_as_it_was(void **state)
{
	struct bench *b = *state;
	struct snap s;

	vdev_start(b->v, ALL, 5, 16);
	net_set_link(b->net, false);
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	snap_restore(&s, b->v->dev);
	assert_int_equal(link_status(b), 0);
	net_set_link(b->net, true);
	assert_int_equal(link_status(b), UP);
	snap_free(&s);
	/* Its interface was deleted, which nobody wanted: here is another one. */
	atomic_store(&b->net->gone, true);
	net_set_link(b->net, false);
	snap_device(&s, b->v->dev);
	again(b, 9, 1400);
	b->v->config_irqs = 0;
	assert_int_equal(virtio_load(b->v->dev, 0, &s.r, &s.err), 0);
	assert_int_equal(virtio_restored(b->v->dev, &s.err), 0);
	assert_int_equal(b->v->config_irqs, 1);
	assert_int_equal(link_status(b), UP);
	snap_free(&s);
}

static void another_address_is_for_the_driver_to_find(void **state)
{
	struct bench *b = *state;
	uint8_t mac[6], off = 0, packet[72] = {0};
	struct snap s;
	long len;

	vdev_start(b->v, ALL, 5, 16);
	assert_int_equal(control(b, CONTROL, 0, 0, &off, 1), 0);
	snap_device(&s, b->v->dev);
	again(b, 7, 1400);
	assert_int_equal(virtio_load(b->v->dev, 0, &s.r, &s.err), 0);
	assert_int_equal(virtio_restored(b->v->dev, &s.err), 0);
	assert_int_equal(b->v->config_irqs, 1);
	virtio_config_read(b->v->dev, 0, mac, 6);
	assert_int_equal(mac[5], 7);
	/* Until then it has the one that it had. */
	give_buffer(b, 0, 2048);
	memcpy(packet + 12, (uint8_t[]){2, 0, 0, 0, 0, 9}, 6);
	assert_int_equal(send(b->theirs[0], packet, 72, 0), 72);
	vdev_until(b->v, (len = used(b, 0)) == 72);
	snap_free(&s);
}

/* See net_state.c. */
enum {
	AT_MTU = 6,
	AT_MAC = 11,
	AT_OFFLOADS = 19,
	AT_PAIRS = 27,
	AT_OWN = 35,
	AT_COUNT = 44,
};

static void what_cannot_be_is_refused(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *what;
	} wrong[] = {
		{AT_MTU, 2, 9000, "mtu: the guest was told that it is 9000"},
		{AT_MAC, 8, BIT(48), "the address"},
		{AT_OFFLOADS, 8, BIT(VIRTIO_NET_F_GUEST_TSO6), "offloads"}, /* not agreed on */
		{AT_OFFLOADS, 8, UINT64_MAX, "offloads"},
		{AT_PAIRS, 2, 3, "pairs in use"},
		{AT_PAIRS, 2, 65535, "pairs in use"},
		{AT_OWN, 8, UINT64_MAX, "address of the filter"},
		{AT_COUNT, 1, 65, "addresses in a table"},
		{AT_COUNT, 1, 255, "addresses in a table"},
	};
	struct bench *b = *state;
	struct snap s, t;

	vdev_start(b->v, ALL, 5, 16);
	snap_device(&s, b->v->dev);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		again(b, 9, 1400);
		assert_int_equal(snap_load_with(&t, &s, b->v->dev, wrong[i].at, wrong[i].value,
						wrong[i].len),
				 -EINVAL);
		if (!strstr(t.err.text, wrong[i].what))
			fail_msg("%zu: \"%s\", not of \"%s\"", i, t.err.text, wrong[i].what);
		snap_free(&t);
	}
	/* A host whose interface cannot do what the driver has agreed on. */
	again(b, 9, 1400);
	assert_int_equal(virtio_load(b->v->dev, 0, &s.r, &s.err), 0);
	b->fail = -EINVAL;
	assert_int_equal(virtio_restored(b->v->dev, &s.err), -EINVAL);
	assert_non_null(strstr(s.err.text, "offloads"));
	b->fail = 0;
	snap_free(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_driver_has_set_stays),
		TEST(the_driver_is_asked_to_announce),
		TEST(a_reset_ends_the_announcement),
		TEST(a_packet_under_way_is_lost),
		TEST(packets_that_wait_are_sent),
		TEST(the_link_is_as_it_was),
		TEST(another_address_is_for_the_driver_to_find),
		TEST(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
