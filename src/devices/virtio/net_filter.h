/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which packets a network driver wants to have, by their destination (virtio 1.2, sections
 * 5.1.6.5.1 and 5.1.6.5.2): modes, a table of addresses, and the device's own address. Knows no
 * queue.
 *
 * It is done here and not by the interface (TUNSETTXFILTER, which would be the right direction):
 * what an interface is told outlives the process, as the interface does, and the next one to use it
 * would be deaf without knowing why.
 */
#ifndef DEVICES_VIRTIO_NET_FILTER_H
#define DEVICES_VIRTIO_NET_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/queue.h"

#define NET_FILTER_MACS 64 /* of a table; one with more lets all of its kind pass */

/* VIRTIO_NET_CTRL_RX: the commands, and the modes by their numbers. */
enum net_rx_mode {
	NET_RX_PROMISC,
	NET_RX_ALLMULTI,
	NET_RX_ALLUNI,
	NET_RX_NOMULTI,
	NET_RX_NOUNI,
	NET_RX_NOBCAST,
	NET_RX_MODES,
};

/* The addresses of a kind; more than there is room for: all of them. */
struct net_filter_table {
	uint32_t count;
	bool all;
	uint64_t macs[NET_FILTER_MACS];
};

struct net_filter {
	bool mode[NET_RX_MODES];
	uint64_t own;
	struct net_filter_table unicast, multicast;
};

/* Returns six bytes as a number, to compare. */
uint64_t net_mac(const uint8_t mac[6]);

/* Lets everything pass, as after a reset, until the driver says otherwise. (The standard leaves
 * that open; drivers that never use the control queue do not get less for having agreed on it.) */
void net_filter_reset(struct net_filter *f, uint64_t own);
/* Takes, for VIRTIO_NET_CTRL_MAC_TABLE_SET, the two tables that begin at @offset of the buffers.
 * Returns 0, or -EINVAL if they do not end where the command does; nothing has changed then. */
int net_filter_set_tables(struct net_filter *f, const struct vq_chain *c, size_t offset);
/* Returns whether a packet for @to is wanted. */
bool net_filter_passes(const struct net_filter *f, const uint8_t to[6]);

#endif
