/* SPDX-License-Identifier: Apache-2.0 */
/* Which packets the network device lets through, as its driver says; and its address and
 * configuration. */
#include "net_bench.h"

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
	/* A buffer that an unwanted packet did not use is still there. */
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
	/* A malformed command changes nothing. */
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
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(modes_say_what_is_wanted),	 T(tables_say_who_is_wanted),
		T(tables_come_in_pieces),	 T(the_address_is_the_drivers_to_choose),
		T(filters_are_agreed_on),	 T(each_pair_filters),
		T(the_address_may_be_in_pieces), T(the_configuration_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
