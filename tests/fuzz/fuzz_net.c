/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device over packet sockets, with packets of all lengths from outside, some of them
 * for addresses that the driver has asked for; with commands that are right, or nearly; with rate
 * limits, and without.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/net_impl.h"
#include "fuzz_vdev.h"

#define PAIRS 2

#define CTRL (GUEST_BASE + 0x1f000) /* a page for commands */

/* A command that is right, or nearly; not while nobody may write to memory. */
static void control(struct fuzz *f)
{
	static const uint8_t commands[][2] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5},
					      {1, 0}, {1, 0}, {1, 0}, {1, 1}, {4, 0}, {5, 0}};
	unsigned int queue = virtio_has(f->v->dev, VIRTIO_NET_F_MQ) ? 2 * PAIRS : 2;
	uint8_t *p = guest_ptr(&f->v->g, CTRL), which = fuzz_u8(f), count = fuzz_u8(f);
	uint32_t len = fuzz_u16(f) % 2048, entries = fuzz_u8(f);
	uint64_t at[] = {CTRL, CTRL + 2, CTRL + 0xff0};
	uint32_t lens[] = {2, len ? len : 1, 1};

	if (f->reset || !f->v->q[queue].size)
		return;
	memcpy(p, commands[which % 12], 2);
	if (which >= 240)
		p[1] = which;
	memset(p + 2, count, 2046);
	if (p[0] == 1 && p[1] == 0) {
		/* Tables that end where the command does, give or take a byte. */
		memcpy(p + 2, &entries, 4);
		if (entries < 100) {
			uint32_t rest = count % 100;

			memcpy(p + 6 + 6 * entries, &rest, 4);
			lens[1] = 8 + 6 * (entries + rest) + (len & 3) - (len >> 2 & 1);
		}
	}
	vdev_offer(f->v, queue, at, lens, 3, 2);
	virtio_kick(f->v->dev, queue);
}

/* Traffic as it should be: buffers that fit, packets both ways. */
static void work(struct fuzz *f)
{
	uint64_t at = CTRL + 0x800;

	if (f->reset || !f->v->q[0].size || !f->v->q[1].size)
		return;
	memset(guest_ptr(&f->v->g, at), 0, 128);
	for (int i = 0; i < 2; i++) {
		vdev_offer1(f->v, 0, CTRL - 0x1000, 2048, true);
		vdev_offer1(f->v, 1, at, 12 + 60, false);
	}
	virtio_kick(f->v->dev, 0);
	virtio_kick(f->v->dev, 1);
	vdev_turn(f->v);
}

static void from_host(struct fuzz *f, void *ctx)
{
	static uint8_t packet[NET_SPILL];
	const int *theirs = ctx;
	uint8_t what = fuzz_u8(f), drop;
	uint32_t len = fuzz_len(f);

	if (len > sizeof(packet))
		len = sizeof(packet);
	if ((what & 0x18) == 0x18)
		control(f);
	else if (what & 0x20)
		work(f);
	memset(packet + sizeof(struct net_hdr), what >> 5, 6);
	packet[sizeof(struct net_hdr)] = (uint8_t)(what >> 3);
	if (what & 1)
		(void)!send(theirs[what >> 1 & 1], packet, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (int i = 0; i < PAIRS && what & 4; i++)
		while (recv(theirs[i], &drop, 1, MSG_DONTWAIT) > 0)
			;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_config cfg = {.pairs = PAIRS, .mtu = 1500};
	struct catnap_halter *homes[PAIRS];
	int ours[PAIRS], theirs[PAIRS];
	struct net_counters c;
	struct net *net;
	struct fuzz f = {.data = data,
			 .size = size,
			 .v = fuzz_vdev(),
			 .queues = 2 * PAIRS + 1,
			 .host = from_host,
			 .ctx = theirs};

	for (int i = 0; i < PAIRS; i++) {
		int fds[2];

		check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) ==
		      0);
		ours[i] = fds[0];
		theirs[i] = fds[1];
		homes[i] = &f.v->home;
	}
	cfg.fds = ours;
	cfg.dma = &f.v->g.dma;
	cfg.rx_limits = cfg.tx_limits = fuzz_limits(fuzz_u8(&f));
	check(net_create(&cfg, &net) == 0);
	vdev_use(f.v, net_device(net));
	net_attach(net, homes);
	for (int i = 0; i < 2; i++)
		check(throttle_attach(f.v->dev->throttles[i], &f.v->home) == 0);
	f.features = net_device(net)->offered & 0xfffffff;
	fuzz_run(&f);
	for (int i = 0; i < 2; i++)
		throttle_detach(f.v->dev->throttles[i]);
	vdev_again(f.v);
	for (unsigned int i = 0; net_get_counters(net, i, &c); i++)
		check(c.rx_bytes <= c.rx_packets * NET_SPILL &&
		      c.tx_bytes <= c.tx_packets * NET_PACKET_MAX);
	net_destroy(&net);
	for (int i = 0; i < PAIRS; i++) {
		close(ours[i]);
		close(theirs[i]);
	}
	return 0;
}
