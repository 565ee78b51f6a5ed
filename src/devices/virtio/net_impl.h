/* SPDX-License-Identifier: Apache-2.0 */
/* The network device's inside, between net.c and net_ctrl.c, and what its driver sees (5.1). */
#ifndef DEVICES_VIRTIO_NET_IMPL_H
#define DEVICES_VIRTIO_NET_IMPL_H

#include <stddef.h>

#include "devices/virtio/net.h"
#include "devices/virtio/net_filter.h"

/* Feature bits (5.1.3). */
#define VIRTIO_NET_F_CSUM		 0
#define VIRTIO_NET_F_GUEST_CSUM		 1
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS 2
#define VIRTIO_NET_F_MTU		 3
#define VIRTIO_NET_F_MAC		 5
#define VIRTIO_NET_F_GUEST_TSO4		 7
#define VIRTIO_NET_F_GUEST_TSO6		 8
#define VIRTIO_NET_F_GUEST_ECN		 9
#define VIRTIO_NET_F_HOST_TSO4		 11
#define VIRTIO_NET_F_HOST_TSO6		 12
#define VIRTIO_NET_F_HOST_ECN		 13
#define VIRTIO_NET_F_MRG_RXBUF		 15
#define VIRTIO_NET_F_STATUS		 16
#define VIRTIO_NET_F_CTRL_VQ		 17
#define VIRTIO_NET_F_CTRL_RX		 18
#define VIRTIO_NET_F_CTRL_RX_EXTRA	 20
#define VIRTIO_NET_F_GUEST_ANNOUNCE	 21
#define VIRTIO_NET_F_MQ			 22
#define VIRTIO_NET_F_CTRL_MAC_ADDR	 23

#define NET_STATUS_LINK_UP  1u
#define NET_STATUS_ANNOUNCE 2u /* the driver is to say where it is now; until it says that it has */

struct net_config_space {
	uint8_t mac[6];
	uint16_t status;
	uint16_t max_pairs;
	uint16_t mtu;
};

_Static_assert(sizeof(struct net_config_space) == 12 &&
		       offsetof(struct net_config_space, mtu) == 10,
	       "the driver sees this");

/* Before every packet (5.1.6). */
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
	uint16_t num_buffers;
};

_Static_assert(sizeof(struct net_hdr) == 12 && offsetof(struct net_hdr, num_buffers) == 10,
	       "the driver sees this");

#define NET_HDR_NEEDS_CSUM 1u
#define NET_HDR_GSO_NONE   0u
#define NET_HDR_GSO_TCPV4  1u
#define NET_HDR_GSO_TCPV6  4u
#define NET_HDR_GSO_ECN	   0x80u

#define NET_ETH_HLEN   14
#define NET_PACKET_MAX (65535 + 18) /* an IP packet, Ethernet's header and a VLAN tag */
#define NET_SPILL      (NET_PACKET_MAX + 128)
#define NET_CHAIN_MAX  VQ_SIZE_MAX /* buffers in one chain */
#define NET_BATCH      VQ_SIZE_MAX /* packets before others have their turn */
#define NET_BATCH_LEN  (1u << 20)  /* bytes, likewise */
#define NET_CTRL_IOV   64

struct net_pair {
	struct net *net;
	struct catnap_halter *home;
	int fd;
	struct virtio_queue_state *rx, *tx;
	struct ring_handler rx_handler, tx_handler;
	struct halter_task rx_task, tx_task;
	struct throttle_place rx_place, tx_place; /* in net->rx_throttle, net->tx_throttle */
	_Atomic bool ends; /* its interface is about to go: net.c look_for_end() */

	/*
	 * Under the receive queue's lock. The packet in hand, if used is not 0: of its len bytes,
	 * header included, direct are in the first chain, rest are given out, and all but the
	 * direct ones came to the spill buffer.
	 */
	struct net_filter filter; /* a copy of the device's */
	unsigned int used;	  /* chains, popped and not pushed yet */
	size_t len, direct, rest;
	struct vq_chain first;
	uint16_t heads[VQ_SIZE_MAX];
	uint32_t written[VQ_SIZE_MAX];
	struct iovec iov[NET_CHAIN_MAX + 1]; /* the first chain's, and the spill buffer */
	struct iovec more[NET_CHAIN_MAX];    /* a further one's */
	uint8_t spill[NET_SPILL];

	/* Under the transmit queue's lock. */
	bool tx_blocked;			/* POLLOUT is waited for */
	struct iovec tx_iov[NET_CHAIN_MAX + 1]; /* the first entry is free for a header */

	_Atomic uint64_t rx_packets, rx_bytes, rx_dropped, rx_starved, rx_unwanted;
	_Atomic uint64_t tx_packets, tx_bytes, tx_dropped, tx_blocks;
};

struct net {
	struct virtio_device dev;
	struct net_config_space config; /* under the device's lock, once made; its mac is the one
					   at reset */
	_Atomic uint64_t mac;		/* net_mac() of the one in use */
	_Atomic uint64_t offloads;	/* the last word to net_set_offloads() */
	_Atomic bool announce;		/* NET_STATUS_ANNOUNCE */
	bool restore_changed;	  /* net_state.c: the configuration is another one than it was */
	struct net_filter filter; /* as net_set_filter() */
	struct net_backend backend;
	unsigned int pair_count;
	_Atomic unsigned int pairs_in_use; /* the first of them; of the others the queues rest */
	struct net_pair *pairs;
	char *name;
	_Atomic bool link_up;
	_Atomic bool gone; /* the interface was deleted: it does not come back */
	struct throttle rx_throttle, tx_throttle;
};

/* Returns which queue is the control queue: the one after all pairs, or, without MQ, after the
 * first. */
static inline unsigned int net_ctrl_index(const struct net *net)
{
	return virtio_has(&net->dev, VIRTIO_NET_F_MQ) ? 2 * net->pair_count : 2;
}

/* Sets the offloads to @guest: features, GUEST_*. Returns 0 or -errno. Under the device's lock or
 * the control queue's: never both at once. */
int net_set_offloads(struct net *net, uint64_t guest);
int net_set_pairs(struct net *net, unsigned int pairs);
/* Gives net->filter to the first @pairs. Takes their receive queues' locks, one after another: with
 * the control queue's held, that is the order, and none of them may be it. */
void net_set_filter(struct net *net, unsigned int pairs);
/* Drops what has come before the driver's offloads are told to the backend: it may be in a form
 * that the driver has not agreed to. */
void net_drop_waiting(struct net *net);
/* net_ctrl.c: serves the control queue, which was kicked. */
void net_control(struct net *net);

/* net_state.c: for struct virtio_ops. */
#define NET_STATE_ID	  STATE_ID('v', 'n', 'e', 't')
#define NET_STATE_VERSION 1
int net_save(struct virtio_device *dev, struct state_writer *w, struct error *err);
int net_load(struct virtio_device *dev, struct state_in *in, struct error *err);
int net_restored(struct virtio_device *dev, struct error *err);

#endif
