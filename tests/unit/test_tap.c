/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device over a real TAP, in a network namespace of the test's own: what the kernel
 * makes of our headers and offloads, and what it says to wrong names.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "buckets.h"
#include "devices/tap.h"
#include "net_home.h"

#define BIT(n)	(UINT64_C(1) << (n))
#define TCP_LEN 5000 /* a segment to be cut: 14 + 20 + 20 bytes of headers, and this */
#define FRAME	(54 + TCP_LEN)
#define MSS	1000

/* The kernel's own packets, which come a while after an interface is up, are none that is counted
 * on. */
static void no_ipv6(const char *name)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* it has none */
	(void)!write(fd, "1", 1);
	close(fd);
}

static int make_tap(const char *name, short flags)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = {.ifr_flags = (short)(IFF_NO_PI | flags)};
	int sock, ret;

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ret = ioctl(fd, TUNSETIFF, &ifr);
	if (ret == 0)
		ret = ioctl(fd, TUNSETPERSIST, 1);
	close(fd);
	if (ret < 0)
		return -errno;
	no_ipv6(name);
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ifr.ifr_flags = IFF_UP;
	ret = ioctl(sock, SIOCSIFFLAGS, &ifr);
	close(sock);
	return ret;
}

/* -- names ------------------------------------------------------------------------------------ */

static void wrong_interfaces_are_told_apart(void **state)
{
	struct tap a, b;
	struct error err;

	assert_int_equal(tap_open(&a, "nosuch0", 1, &err), -ENODEV);
	assert_string_equal(err.text, "nosuch0: no such interface");
	assert_int_equal(if_nametoindex("nosuch0"), 0); /* and none was made */
	assert_int_equal(tap_open(&a, "a-name-of-16-byt", 1, &err), -ENAMETOOLONG);
	assert_int_equal(tap_open(&a, "", 1, &err), -ENODEV);
	assert_int_equal(tap_open(&a, "lo", 1, &err), -EINVAL);
	assert_string_equal(err.text, "lo: not a TAP interface");
	assert_int_equal(tap_open(&a, "tun0", 1, &err), -EINVAL);
	assert_int_equal(tap_open(&a, "tap0", 2, &err), -EINVAL);
	assert_string_equal(err.text, "tap0: not a TAP interface that was made with multi_queue");
	assert_int_equal(tap_open(&a, "tap0", 1, &err), 0);
	assert_int_equal(tap_open(&b, "tap0", 1, &err), -EBUSY);
	assert_string_equal(err.text, "tap0: another program has it");
	tap_close(&a);
	assert_int_equal(tap_open(&a, "tap0", 1, &err), 0);
	tap_close(&a);
	/* One queue of an interface that can have several. */
	assert_int_equal(tap_open(&a, "tapm0", 1, &err), 0);
	tap_close(&a);
}

static void queues_are_attached_as_told(void **state)
{
	struct tap t;
	struct error err;

	assert_int_equal(tap_open(&t, "tapm0", 4, &err), 0);
	assert_int_equal(tap_set_pairs(&t, 1), 0);
	assert_int_equal(tap_set_pairs(&t, 4), 0);
	assert_int_equal(tap_set_pairs(&t, 2), 0);
	assert_int_equal(tap_set_pairs(&t, 2), 0);
	tap_close(&t);
}

/* -- packets ---------------------------------------------------------------------------------- */

struct bench {
	struct vdev *v;
	struct net *net;
	struct tap tap;
	int packet; /* a packet socket on the interface, with virtio headers */
};

/*
 * The kernel begins some time after an interface got its first queue to keep packets for it. Until
 * then it throws them away, and says nothing to who sends them. So: sends until one has come.
 */
static int wait_until_it_carries(struct bench *b)
{
	const uint8_t probe[10 + 60] = {[10] = 2, [10 + 12] = 0x88, 0xb5};
	uint8_t got[256];

	for (int i = 0; i < 2000; i++) {
		if (send(b->packet, probe, sizeof(probe), 0) != sizeof(probe))
			return -1;
		for (unsigned int q = 0; q < b->tap.queues; q++)
			if (read(b->tap.fds[q], got, sizeof(got)) > 0)
				return 0;
		poll(NULL, 0, 10);
	}
	return -1;
}

static int set_up_with(void **state, const char *name, unsigned int pairs,
		       const struct rate_limits *limits)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct net_config cfg = {
		.pairs = pairs, .fds = b->tap.fds, .rx_limits = *limits, .tx_limits = *limits};
	struct error err;

	b->v = vdev_make(2 << 20);
	if (tap_open(&b->tap, name, pairs, &err) < 0)
		return -1;
	cfg.backend = (struct net_backend){
		.set_offload = tap_set_offload, .set_pairs = tap_set_pairs, .ctx = &b->tap};
	b->net = net_at_home(b->v, &cfg);
	if (!b->net)
		return -1;
	b->packet = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_IP));
	at.sll_ifindex = (int)if_nametoindex(name);
	if (b->packet < 0 || bind(b->packet, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    setsockopt(b->packet, SOL_PACKET, PACKET_VNET_HDR, &(int){1}, sizeof(int)) < 0 ||
	    wait_until_it_carries(b) < 0)
		return -1;
	*state = b;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, "tap0", 1, NO_LIMITS);
}

#define RATE   200000u
#define BURST  20000u
#define PACKET 1000u

static int set_up_limited(void **state)
{
	return set_up_with(state, "tap0", 1, BW(RATE, BURST));
}

static int set_up_multi(void **state)
{
	return set_up_with(state, "tapm0", 2, NO_LIMITS);
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	close(b->packet);
	net_destroy(&b->net);
	vdev_free(b->v);
	tap_close(&b->tap);
	free(b);
	return 0;
}

/* A TCP segment over IPv4 with TCP_LEN bytes, its checksum left to be filled in. */
static void make_frame(uint8_t *p)
{
	uint32_t sum = 0;

	memset(p, 0, FRAME);
	memcpy(p, (uint8_t[]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, 14);
	p[14] = 0x45;
	p[16] = (FRAME - 14) >> 8;
	p[17] = (FRAME - 14) & 0xff;
	p[22] = 64;
	p[23] = IPPROTO_TCP;
	memcpy(p + 26, (uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2}, 8);
	for (int i = 14; i < 34; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	p[24] = (uint8_t)(~sum >> 8);
	p[25] = (uint8_t)~sum;
	p[34 + 12] = 5 << 4; /* data offset */
	p[34 + 13] = 0x10;   /* ACK */
	/* The pseudo header's sum, as whoever leaves the checksum to others stores it. */
	sum = 0;
	for (int i = 26; i < 34; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum += IPPROTO_TCP + FRAME - 34;
	sum = (sum & 0xffff) + (sum >> 16);
	p[34 + 16] = (uint8_t)(sum >> 8);
	p[34 + 17] = (uint8_t)sum;
	for (int i = 54; i < FRAME; i++)
		p[i] = (uint8_t)(i * 11);
}

static const struct net_hdr segments = {.flags = NET_HDR_NEEDS_CSUM,
					.gso_type = NET_HDR_GSO_TCPV4,
					.gso_size = MSS,
					.hdr_len = 54,
					.csum_start = 34,
					.csum_offset = 16};

/* The host sends one large segment; a packet socket's header has ten bytes. */
static void host_sends(struct bench *b)
{
	uint8_t p[10 + FRAME];

	memcpy(p, &segments, 10);
	make_frame(p + 10);
	assert_int_equal(send(b->packet, p, sizeof(p), 0), sizeof(p));
}

static uint64_t offer_buffers(struct bench *b, unsigned int queue, unsigned int n)
{
	uint64_t at = vdev_alloc(b->v, 2048 * n);

	for (unsigned int i = 0; i < n; i++)
		vdev_offer1(b->v, queue, at + i * 2048, 2048, true);
	virtio_kick(b->v->dev, queue);
	return at;
}

static void segments_come_in_one(void **state)
{
	struct bench *b = *state;
	uint8_t frame[FRAME], got[3 * 2048];
	struct net_counters c;
	uint32_t id = 0, len = 0, sum = 0;
	struct net_hdr h;
	uint64_t at;

	vdev_start(b->v,
		   BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
			   BIT(VIRTIO_NET_F_GUEST_TSO4),
		   2, 16);
	at = offer_buffers(b, 0, 16);
	host_sends(b);
	vdev_until(b->v, (net_get_counters(b->net, 0, &c), c.rx_packets) == 1);
	for (int i = 0; i < 3; i++) {
		assert_true(driver_used(&b->v->q[0], &id, &len));
		memcpy(got + sum, guest_ptr(&b->v->g, at + 2048u * id), len);
		sum += len;
	}
	assert_int_equal(sum, sizeof(h) + FRAME);
	memcpy(&h, got, sizeof(h));
	assert_int_equal(h.gso_type, NET_HDR_GSO_TCPV4);
	assert_int_equal(h.gso_size, MSS);
	assert_int_equal(h.flags & NET_HDR_NEEDS_CSUM, NET_HDR_NEEDS_CSUM);
	assert_int_equal(h.num_buffers, 3);
	make_frame(frame);
	assert_memory_equal(got + sizeof(h), frame, FRAME);
}

static void a_driver_without_offloads_gets_what_it_can_take(void **state)
{
	struct bench *b = *state;
	uint8_t frame[FRAME];
	struct net_counters c;
	uint32_t id = 0, len = 0, sum = 0;
	struct net_hdr h;
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	at = offer_buffers(b, 0, 16);
	host_sends(b);
	vdev_until(b->v, (net_get_counters(b->net, 0, &c), c.rx_packets) == TCP_LEN / MSS);
	make_frame(frame);
	for (int i = 0; i < TCP_LEN / MSS; i++) {
		uint8_t *p;

		assert_true(driver_used(&b->v->q[0], &id, &len));
		p = guest_ptr(&b->v->g, at + 2048u * id);
		memcpy(&h, p, sizeof(h));
		assert_int_equal(h.flags & NET_HDR_NEEDS_CSUM, 0);
		assert_int_equal(h.gso_type, NET_HDR_GSO_NONE);
		assert_int_equal(h.num_buffers, 1);
		assert_int_equal(len, sizeof(h) + 54 + MSS);
		assert_memory_equal(p + sizeof(h) + 54, frame + 54 + sum, MSS);
		sum += MSS;
	}
}

static void the_host_takes_segments(void **state)
{
	struct bench *b = *state;
	uint8_t got[10 + FRAME + 100], frame[FRAME];
	struct net_hdr h;
	ssize_t n = -1;
	uint64_t at;

	vdev_start(b->v, BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4), 2, 16);
	at = vdev_alloc(b->v, 12 + FRAME);
	make_frame(frame);
	memcpy(guest_ptr(&b->v->g, at), &segments, 12);
	memcpy(guest_ptr(&b->v->g, at + 12), frame, FRAME);
	vdev_offer1(b->v, 1, at, 12 + FRAME, false);
	virtio_kick(b->v->dev, 1);
	vdev_until(b->v, (n = recv(b->packet, got, sizeof(got), 0)) > 0);
	assert_int_equal(n, 10 + FRAME);
	memset(&h, 0, sizeof(h));
	memcpy(&h, got, 10);
	assert_int_equal(h.gso_type, NET_HDR_GSO_TCPV4);
	assert_int_equal(h.gso_size, MSS);
	assert_memory_equal(got + 10, frame, FRAME);
}

/* Headers that we let pass and the kernel does not, or makes the best of. Nothing may break. */
static void lies_are_the_kernels_to_find(void **state)
{
	struct bench *b = *state;
	struct net_counters c;
	uint32_t seed = 1;
	uint64_t at;

	vdev_start(b->v, 0, 2, 16);
	at = vdev_alloc(b->v, 12 + FRAME);
	for (int i = 0; i < 5000; i++) {
		struct net_hdr h = segments;
		uint32_t len = 12 + FRAME, id, used;

		make_frame(guest_ptr(&b->v->g, at + 12));
		seed = seed * 1664525 + 1013904223;
		switch (seed >> 29) {
		case 0:
			h.hdr_len = (uint16_t)(seed >> 8);
			break;
		case 1:
			h.csum_start = (uint16_t)((seed >> 8) % FRAME);
			break;
		case 2:
			h.csum_offset = (uint16_t)((seed >> 8) % FRAME);
			break;
		case 3:
			h.gso_size = (uint16_t)(seed >> 8);
			break;
		case 4:
			len = 12 + 14 + (seed >> 8) % FRAME;
			break;
		case 5:
			h.gso_type = NET_HDR_GSO_TCPV6;
			break;
		default:
			*(uint8_t *)guest_ptr(&b->v->g, at + 12 + (seed >> 8) % 54) ^=
				(uint8_t)(seed >> 16);
			break;
		}
		if (len > 12 + FRAME)
			len = 12 + FRAME;
		memcpy(guest_ptr(&b->v->g, at), &h, 12);
		vdev_offer1(b->v, 1, at, len, false);
		virtio_kick(b->v->dev, 1);
		assert_true(driver_used(&b->v->q[1], &id, &used));
	}
	net_get_counters(b->net, 0, &c);
	assert_int_equal(c.tx_packets + c.tx_dropped, 5000);
	assert_true(c.tx_packets > 100 && c.tx_dropped > 100);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

/* Both sides send as much as they can for a while, the interface's queue is always full: no more
 * goes either way than the rate, the burst, and the packet that was begun with the last byte. */
static void a_rate_holds_both_ways(void **state)
{
	struct bench *b = *state;
	uint64_t begin = clock_monotonic_ns(), at, in, out, ns, waits, most;
	uint8_t packet[10 + PACKET] = {0};
	struct net_counters c;
	uint32_t id, len;

	vdev_start(b->v, 0, 2, 64);
	/* Towards the guest, and from it; not IP, so nobody else has a part in it. */
	memcpy(packet + 10, (uint8_t[]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5}, 14);
	at = vdev_alloc(b->v, 12 + PACKET);
	memset(guest_ptr(&b->v->g, at), 0, 12);
	memcpy(guest_ptr(&b->v->g, at + 12), packet + 10, PACKET);
	for (int i = 0; i < 64; i++) {
		vdev_offer1(b->v, 0, vdev_alloc(b->v, 1100), 1100, true);
		vdev_offer1(b->v, 1, at, 12 + PACKET, false);
	}
	virtio_kick(b->v->dev, 0);
	virtio_kick(b->v->dev, 1);
	/* However slow the machine is, it gets to where both have to wait. */
	while (clock_monotonic_ns() - begin < UINT64_C(600000000) ||
	       (clock_monotonic_ns() - begin < UINT64_C(20000000000) &&
		(net_get_counters(b->net, 0, &c), c.rx_bytes < BURST || c.tx_bytes < BURST))) {
		for (int i = 0; i < 16; i++)
			(void)!send(b->packet, packet, sizeof(packet), 0);
		vdev_turn(b->v);
		/* Each buffer is given again as soon as it has come back. */
		while (driver_used(&b->v->q[0], &id, &len)) {
			driver_offer(&b->v->q[0], (uint16_t)id);
			virtio_kick(b->v->dev, 0);
		}
		while (driver_used(&b->v->q[1], &id, &len)) {
			driver_offer(&b->v->q[1], (uint16_t)id);
			virtio_kick(b->v->dev, 1);
		}
		poll(NULL, 0, 1);
	}
	net_get_counters(b->net, 0, &c);
	ns = clock_monotonic_ns() - begin;
	most = BURST + PACKET + RATE * ns / 1000000000u + 1;
	in = c.rx_bytes;
	out = c.tx_bytes;
	assert_in_range(in, BURST, most);
	assert_in_range(out, BURST, most);
	assert_int_equal(c.rx_dropped + c.tx_dropped, 0);
	for (int i = 0; i < 2; i++) {
		throttle_get(b->v->dev->throttles[i], &waits, &ns);
		assert_true(waits > 0 && ns > 0);
	}
}

/* Each pair gets its share of flows, and a pair that was switched off and on again hears. */
static void both_pairs_receive(void **state)
{
	struct bench *b = *state;
	unsigned int got[2] = {0, 0};
	uint32_t id = 0, len = 0;

	for (int round = 0; round < 2; round++) {
		uint64_t at;

		got[0] = got[1] = 0;
		vdev_start(b->v, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ), 5, 256);
		at = vdev_alloc(b->v, 16);
		memcpy(guest_ptr(&b->v->g, at), (uint8_t[]){4, 0, 2, 0, 0xff}, 5);
		vdev_offer(b->v, 4, (uint64_t[]){at, at + 4}, (uint32_t[]){4, 1}, 2, 1);
		virtio_kick(b->v->dev, 4);
		assert_int_equal(*(uint8_t *)guest_ptr(&b->v->g, at + 4), 0);
		for (int i = 0; i < 5; i++)
			vdev_turn(b->v); /* polls for what was attached */
		for (unsigned int q = 0; q < 4; q += 2)
			offer_buffers(b, q, 128);
		for (int i = 0; i < 64; i++) {
			uint8_t p[10 + 60] = {0};

			memcpy(p + 10, (uint8_t[]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, 14);
			memcpy(p + 24, (uint8_t[]){0x45, 0, 0,	46, 0, 0, 0,  0, 64, 17,
						   0,	 0, 10, 0,  0, 1, 10, 0, 0,  2},
			       20);
			p[10 + 34] = (uint8_t)i; /* another source port: another flow */
			p[10 + 36] = 9;
			p[10 + 39] = 26;
			assert_int_equal(send(b->packet, p, sizeof(p), 0), sizeof(p));
		}
		vdev_until(b->v,
			   (got[0] += driver_used(&b->v->q[0], &id, &len),
			    got[1] += driver_used(&b->v->q[2], &id, &len), got[0] + got[1] == 64));
		assert_true(got[0] > 4 && got[1] > 4);
	}
}

/* As whoever hands queues over has made them. */
static int open_queue(const char *name, short flags)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static void given_queues_are_taken(void **state)
{
	const int multi = IFF_VNET_HDR | IFF_MULTI_QUEUE;
	int fds[2] = {open_queue("tapm0", multi), open_queue("tapm0", multi)}, mixed[2];
	char name[IFNAMSIZ];
	struct error err;
	struct tap tap;
	int header = 0;

	assert_int_equal(tap_take(&tap, fds, 2, name, &err), 0);
	assert_string_equal(name, "tapm0");
	assert_int_equal(tap.queues, 2);
	close(fds[0]);
	close(fds[1]);
	assert_true(fcntl(tap.fds[1], F_GETFL) & O_NONBLOCK);
	assert_int_equal(ioctl(tap.fds[0], TUNGETVNETHDRSZ, &header), 0);
	assert_int_equal(header, 12);
	assert_int_equal(tap_set_pairs(&tap, 1), 0);
	tap_close(&tap);

	fds[0] = open_queue("tap0", 0);
	assert_int_equal(tap_take(&tap, fds, 1, name, &err), -EINVAL);
	assert_non_null(strstr(err.text, "IFF_VNET_HDR"));
	close(fds[0]);
	mixed[0] = open_queue("tapm0", multi);
	mixed[1] = open_queue("tapx0", multi);
	assert_int_equal(tap_take(&tap, mixed, 2, name, &err), -EINVAL);
	assert_non_null(strstr(err.text, "another interface"));
	assert_int_equal(tap.queues, 0);
	close(mixed[0]);
	close(mixed[1]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_interfaces_are_told_apart),
		cmocka_unit_test(queues_are_attached_as_told),
		cmocka_unit_test(given_queues_are_taken),
		T(segments_come_in_one),
		T(a_driver_without_offloads_gets_what_it_can_take),
		T(the_host_takes_segments),
		T(lies_are_the_kernels_to_find),
		cmocka_unit_test_setup_teardown(a_rate_holds_both_ways, set_up_limited, tear_down),
		cmocka_unit_test_setup_teardown(both_pairs_receive, set_up_multi, tear_down),
	};

	if ((unshare(CLONE_NEWNET) < 0 &&
	     (unshare(CLONE_NEWUSER) < 0 || unshare(CLONE_NEWNET) < 0)) ||
	    make_tap("tap0", IFF_TAP) < 0 || make_tap("tapm0", IFF_TAP | IFF_MULTI_QUEUE) < 0 ||
	    make_tap("tun0", IFF_TUN) < 0) {
		printf("no network namespace, or no /dev/net/tun: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
