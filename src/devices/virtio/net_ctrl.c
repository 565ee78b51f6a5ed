/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device's control queue (virtio 1.2, section 5.1.6.5): which packets are wanted, the
 * device's address, how many pairs are in use, and offloads that are switched while it runs.
 *
 * A guest that goes on from a snapshot is perhaps at another place in its network, and is asked to
 * announce itself there (5.1.6.5.4). A link that was down comes up on the same interface, where
 * bridges have learned the address or forget it by themselves: there it is not asked.
 */
#include <errno.h>

#include "devices/virtio/net_impl.h"
#include "relaxed.h"

#define CTRL_RX		  0 /* its commands: enum net_rx_mode */
#define CTRL_MAC	  1
#define CTRL_MAC_TABLE	  0
#define CTRL_MAC_ADDR	  1
#define CTRL_ANNOUNCE	  3
#define CTRL_ANNOUNCE_ACK 0
#define CTRL_MQ		  4
#define CTRL_MQ_PAIRS_SET 0
#define CTRL_OFFLOADS	  5
#define CTRL_OFFLOADS_SET 0
#define CTRL_OK		  0
#define CTRL_ERR	  1
#define CTRL_HEADER	  2 /* class, command */
#define CTRL_BATCH	  VQ_SIZE_MAX

/* The features that a driver may switch, as far as it has agreed to them. */
static const uint64_t switched =
	UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |
	UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN;

/* Brings the pairs' filters in line. Without multiqueue this queue is where the second pair would
 * receive. */
static void filter_changed(struct net *net)
{
	net_set_filter(net, virtio_has(&net->dev, VIRTIO_NET_F_MQ) ? net->pair_count : 1);
}

/* Takes a command of one byte: on or off. */
static int set_mode(struct net *net, const struct vq_chain *c, unsigned int mode)
{
	unsigned int feature =
		mode <= NET_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (mode >= NET_RX_MODES || !virtio_has(&net->dev, feature) ||
	    iov_read(c->iov, c->out, CTRL_HEADER, &on, sizeof(on)) < sizeof(on) || on > 1)
		return -EINVAL;
	net->filter.mode[mode] = on;
	filter_changed(net);
	return 0;
}

static int set_table(struct net *net, const struct vq_chain *c)
{
	if (!virtio_has(&net->dev, VIRTIO_NET_F_CTRL_RX) ||
	    net_filter_set_tables(&net->filter, c, CTRL_HEADER) < 0)
		return -EINVAL;
	filter_changed(net);
	return 0;
}

/* Takes another address, which the configuration has, too, from now on. */
static int set_address(struct net *net, const struct vq_chain *c)
{
	uint8_t mac[6];

	if (!virtio_has(&net->dev, VIRTIO_NET_F_CTRL_MAC_ADDR) ||
	    iov_read(c->iov, c->out, CTRL_HEADER, mac, sizeof(mac)) < sizeof(mac) || mac[0] & 1 ||
	    !net_mac(mac))
		return -EINVAL;
	net->filter.own = net_mac(mac);
	filter_changed(net);
	relaxed_store(&net->mac, net->filter.own);
	atomic_fetch_add(&net->dev.generation, 1);
	return 0;
}

static int set_pairs(struct net *net, const struct vq_chain *c)
{
	uint16_t pairs;

	if (!virtio_has(&net->dev, VIRTIO_NET_F_MQ) ||
	    iov_read(c->iov, c->out, CTRL_HEADER, &pairs, sizeof(pairs)) < sizeof(pairs) ||
	    pairs < 1 || pairs > net->pair_count)
		return -EINVAL;
	return net_set_pairs(net, pairs);
}

static int set_offloads(struct net *net, const struct vq_chain *c)
{
	uint64_t offloads, allowed = switched & atomic_load(&net->dev.features);

	if (!virtio_has(&net->dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    iov_read(c->iov, c->out, CTRL_HEADER, &offloads, sizeof(offloads)) < sizeof(offloads) ||
	    offloads & ~allowed)
		return -EINVAL;
	return net_set_offloads(net, offloads);
}

/* Takes note that the driver has seen that it is to announce itself. */
static int acknowledge_announce(struct net *net)
{
	if (!virtio_has(&net->dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return -EINVAL;
	relaxed_store(&net->announce, false);
	atomic_fetch_add(&net->dev.generation, 1);
	return 0;
}

static int command(struct net *net, const struct vq_chain *c)
{
	uint8_t header[CTRL_HEADER];

	if (iov_read(c->iov, c->out, 0, header, sizeof(header)) < sizeof(header))
		return -EINVAL;
	if (header[0] == CTRL_RX)
		return set_mode(net, c, header[1]);
	if (header[0] == CTRL_MAC && header[1] == CTRL_MAC_TABLE)
		return set_table(net, c);
	if (header[0] == CTRL_MAC && header[1] == CTRL_MAC_ADDR)
		return set_address(net, c);
	if (header[0] == CTRL_ANNOUNCE && header[1] == CTRL_ANNOUNCE_ACK)
		return acknowledge_announce(net);
	if (header[0] == CTRL_MQ && header[1] == CTRL_MQ_PAIRS_SET)
		return set_pairs(net, c);
	if (header[0] == CTRL_OFFLOADS && header[1] == CTRL_OFFLOADS_SET)
		return set_offloads(net, c);
	return -EINVAL;
}

void net_control(struct net *net)
{
	unsigned int index = net_ctrl_index(net), batch = 0;
	struct virtqueue *vq = &net->dev.queues[index].vq;
	struct iovec iov[NET_CTRL_IOV];
	int ret = 0;

	pthread_mutex_lock(&vq->lock);
	while (atomic_load(&net->dev.running) && vq->enabled && !vq->broken) {
		struct vq_chain c = {.iov = iov, .max = NET_CTRL_IOV};
		uint8_t ack;
		size_t n;

		ret = vq_pop(vq, &c);
		/* The event index moves on, so that the next command brings a kick. */
		if (ret == 0 && vq_kicks(vq, true))
			continue;
		if (ret <= 0)
			break;
		ack = command(net, &c) < 0 ? CTRL_ERR : CTRL_OK;
		n = iov_write(c.iov + c.out, c.in, 0, &ack, sizeof(ack));
		vq_push(vq, c.head, (uint32_t)n);
		/* Another vCPU may be adding all the time. */
		if (++batch == CTRL_BATCH && virtio_kick_later(&net->dev, index))
			break;
	}
	virtio_publish(&net->dev, index);
	if (ret < 0)
		virtio_broken(&net->dev, vq->fault);
	pthread_mutex_unlock(&vq->lock);
}
