/* SPDX-License-Identifier: Apache-2.0 */
/* The network device over packet sockets, with packets of all lengths from outside. */
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/net_impl.h"
#include "fuzz_vdev.h"

#define PAIRS 2

static void from_host(struct fuzz *f, void *ctx)
{
	static uint8_t packet[NET_SPILL];
	const int *theirs = ctx;
	uint8_t what = fuzz_u8(f), drop;
	uint32_t len = fuzz_len(f);

	if (len > sizeof(packet))
		len = sizeof(packet);
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
	check(net_create(&cfg, &net) == 0);
	vdev_use(f.v, net_device(net));
	net_attach(net, homes);
	f.features = net_device(net)->offered & 0xfffffff;
	fuzz_run(&f);
	vdev_again(f.v);
	net_get_counters(net, &c);
	check(c.rx_bytes <= c.rx_packets * NET_SPILL &&
	      c.tx_bytes <= c.tx_packets * NET_PACKET_MAX);
	net_destroy(&net);
	for (int i = 0; i < PAIRS; i++) {
		close(ours[i]);
		close(theirs[i]);
	}
	return 0;
}
