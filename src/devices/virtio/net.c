/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network device: its life and its two paths. The control queue is in net_ctrl.c.
 *
 * Receiving. How long the next packet is shows only when it has been read, and with segmentation
 * offload it may take 64 KiB, or 17 of the buffers that a driver typically gives. So it is read
 * into the first chain, with a spill buffer of ours behind it: a short packet goes straight to
 * where it belongs, and what spilled is copied into further chains, at once or when there are some.
 *
 * Sending. The header is copied out and checked for what the standard says of it; that it fits the
 * packet is for the kernel to check against bytes that the guest can no longer change.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container_of.h"
#include "devices/virtio/net_impl.h"
#include "relaxed.h"

static const uint64_t features =
	UINT64_C(1) << VIRTIO_NET_F_CSUM | UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM |
	UINT64_C(1) << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS | UINT64_C(1) << VIRTIO_NET_F_MAC |
	UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 |
	UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4 |
	UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_HOST_ECN |
	UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF | UINT64_C(1) << VIRTIO_NET_F_STATUS |
	UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ | UINT64_C(1) << VIRTIO_NET_F_CTRL_RX |
	UINT64_C(1) << VIRTIO_NET_F_CTRL_RX_EXTRA | UINT64_C(1) << VIRTIO_NET_F_CTRL_MAC_ADDR |
	UINT64_C(1) << VIRTIO_NET_F_GUEST_ANNOUNCE;

/* Those by which work is left to the other side. */
static const uint64_t offloading =
	UINT64_C(1) << VIRTIO_NET_F_CSUM | UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM |
	UINT64_C(1) << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |
	UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN |
	UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4 | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6 |
	UINT64_C(1) << VIRTIO_NET_F_HOST_ECN;

/* Returns whether the queue can be used as one of the pair. Without multiqueue the control queue is
 * where the second pair would receive. The queue's lock is held. */
static bool usable(struct net *net, const struct net_pair *p, const struct virtqueue *vq)
{
	return atomic_load(&net->dev.running) && vq->enabled && !vq->broken &&
	       p < net->pairs + relaxed_load(&net->pairs_in_use);
}

static struct net *to_net(struct virtio_device *dev)
{
	return container_of(dev, struct net, dev);
}

static ssize_t packet_read(struct net_pair *p, struct iovec *iov, int count)
{
	const struct net_backend *b = &p->net->backend;

	return b->read ? b->read(b->ctx, iov, count) : readv(p->fd, iov, count);
}

static ssize_t packet_write(struct net_pair *p, struct iovec *iov, int count)
{
	const struct net_backend *b = &p->net->backend;

	return b->write ? b->write(b->ctx, iov, count) : writev(p->fd, iov, count);
}

/* Returns whether something is left over that has to go first. Transmit queue's lock held. */
static bool left_over(struct net_pair *p)
{
	const struct net_backend *b = &p->net->backend;

	return b->flush && b->flush(b->ctx);
}

/* -- to the guest ----------------------------------------------------------------------------- */

/*
 * Gives the packet in hand to the driver: the first p->rest bytes are where they belong, the others
 * wait in the spill buffer. 1; 0: there are not enough chains yet; -errno.
 */
static int spread(struct net_pair *p)
{
	struct virtqueue *vq = &p->rx->vq;
	uint16_t buffers;
	uint8_t none = 0;

	while (p->rest < p->len) {
		struct vq_chain more = {.iov = p->more, .max = NET_CHAIN_MAX};
		int ret = p->used < VQ_SIZE_MAX ? vq_pop(vq, &more) : -EPROTO;
		size_t n;

		if (ret <= 0)
			return ret;
		n = iov_write(more.iov + more.out, more.in, 0, p->spill + p->rest - p->direct,
			      p->len - p->rest);
		/* With more chains than it has entries, or chains that take nothing, a queue has no
		 * end. */
		if (n == 0)
			return -EPROTO;
		p->heads[p->used] = more.head;
		p->written[p->used++] = (uint32_t)n;
		p->rest += n;
	}
	buffers = (uint16_t)p->used;
	iov_write(p->first.iov + p->first.out, p->first.in, offsetof(struct net_hdr, num_buffers),
		  &buffers, sizeof(buffers));
	/* 5.1.6.4.1: that a checksum has been looked at is news for those who have asked alone. */
	if (!virtio_has(p->rx->dev, VIRTIO_NET_F_GUEST_CSUM))
		iov_write(p->first.iov + p->first.out, p->first.in, offsetof(struct net_hdr, flags),
			  &none, sizeof(none));
	for (unsigned int i = 0; i < p->used; i++)
		vq_push(vq, p->heads[i], p->written[i]);
	p->used = 0;
	virtio_count(&p->rx_packets, 1);
	virtio_count(&p->rx_bytes, p->len - sizeof(struct net_hdr));
	virtio_count(&p->rx->dev->counters.requests, 1);
	virtio_count(&p->rx->dev->counters.read_bytes, p->len - sizeof(struct net_hdr));
	throttle_charge(&p->net->rx_throttle, 1, p->len - sizeof(struct net_hdr));
	return 1;
}

/* The results of receive_one(). LIMITED: it has to wait, and p->rx_task comes back. */
enum rx { RX_DONE, RX_EMPTY, RX_STARVED, RX_BROKEN, RX_LIMITED, RX_GONE };

/* Returns whether @err, errno of a read or write, says that there is no such interface any more. */
static bool is_gone(int err)
{
	return err == EBADFD || err == ENODEV || err == ENXIO;
}

/*
 * Stops waiting for the interface, since a file that has an error is always ready, and lets the
 * guest see the cable unplugged. No lock held, any halter's thread.
 */
static void interface_gone(struct net *net)
{
	if (atomic_exchange(&net->gone, true))
		return;
	virtio_log(&net->dev,
		   net->backend.read ? "the other end is gone: the guest's link is down"
				     : "the interface is gone: was it deleted? The guest's link is "
				       "down");
	for (unsigned int i = 0; i < net->pair_count; i++) {
		struct net_pair *p = &net->pairs[i];

		halter_del_source(p->home, p->fd, &p->rx_handler);
		halter_del_source(p->home, p->fd, &p->tx_handler);
	}
	net_set_link(net, false);
}

/* Returns whether the guest wants the packet in hand, where it was read to. The guest may change it
 * meanwhile: then it has chosen. */
static bool wanted(struct net_pair *p)
{
	uint8_t to[6];

	return p->filter.mode[NET_RX_PROMISC] ||
	       (p->len >= sizeof(struct net_hdr) + sizeof(to) &&
		iov_read(p->first.iov + p->first.out, p->first.in + 1u, sizeof(struct net_hdr), to,
			 sizeof(to)) == sizeof(to) &&
		net_filter_passes(&p->filter, to));
}

/* Reads a packet: into the first chain, and what does not fit into the spill buffer. */
static enum rx read_packet(struct net *net, struct net_pair *p)
{
	struct virtqueue *vq = &p->rx->vq;
	struct iovec *iov;
	ssize_t n;
	int ret;

	p->first = (struct vq_chain){.iov = p->iov, .max = NET_CHAIN_MAX};
	ret = vq_pop(vq, &p->first);
	if (ret <= 0)
		return ret ? RX_BROKEN : RX_STARVED;
	if (p->first.in_len < sizeof(struct net_hdr))
		return RX_BROKEN;
	iov = p->first.iov + p->first.out;
	iov[p->first.in].iov_base = p->spill;
	iov[p->first.in].iov_len = sizeof(p->spill);
	n = packet_read(p, iov, p->first.in + 1);
	if (n < (ssize_t)sizeof(struct net_hdr)) {
		vq_unpop(vq);
		return n < 0 && is_gone(errno) ? RX_GONE : RX_EMPTY;
	}
	p->len = (size_t)n;
	if (!wanted(p)) {
		vq_unpop(vq);
		virtio_count(&p->rx_unwanted, 1);
		return RX_DONE;
	}
	p->direct = p->len < p->first.in_len ? p->len : p->first.in_len;
	if (p->direct < p->len && !virtio_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF)) {
		vq_unpop(vq);
		virtio_count(&p->rx_dropped, 1);
		virtio_count(&net->dev.counters.errors, 1);
		return RX_DONE;
	}
	p->rest = p->direct;
	p->heads[0] = p->first.head;
	p->written[0] = (uint32_t)p->direct;
	p->used = 1;
	return RX_DONE;
}

static enum rx receive_one(struct net *net, struct net_pair *p)
{
	enum rx what = RX_DONE;
	int ret;

	if (!p->used)
		what = read_packet(net, p);
	if (what != RX_DONE || !p->used)
		return what;
	ret = spread(p);
	return ret > 0 ? RX_DONE : ret == 0 ? RX_STARVED : RX_BROKEN;
}

/* Reads until there is nothing more, or no buffer. Returns whether there was nothing at all. Any
 * halter's thread. */
static bool receive(struct net *net, struct net_pair *p)
{
	struct virtqueue *vq = &p->rx->vq;
	unsigned int batch = 0;
	size_t len = 0;
	enum rx what = RX_DONE;

	pthread_mutex_lock(&vq->lock);
	if (!usable(net, p, vq) || !relaxed_load(&net->link_up)) {
		pthread_mutex_unlock(&vq->lock);
		return false;
	}
	while (what == RX_DONE && batch++ < NET_BATCH && len < NET_BATCH_LEN) {
		if (throttle_pass(&net->rx_throttle, &p->rx_place, p->home))
			what = receive_one(net, p);
		else
			what = RX_LIMITED;
		len += what == RX_DONE ? p->len : 0;
		if (what == RX_STARVED) {
			if (vq_kicks(vq, true))
				what = RX_DONE; /* it has just added some */
			else
				virtio_count(&p->rx_starved, 1);
		}
	}
	if (what == RX_EMPTY || what == RX_LIMITED)
		vq_kicks(vq, false);
	if (what == RX_EMPTY || what == RX_STARVED)
		throttle_rest(&net->rx_throttle, &p->rx_place);
	virtio_publish(&net->dev, p->rx->index);
	if (what == RX_BROKEN) {
		vq->broken = true;
		virtio_broken(&net->dev, "the receive queue is malformed");
	}
	pthread_mutex_unlock(&vq->lock);
	if (what == RX_GONE)
		interface_gone(net);
	/* Others on this thread want their turn, the guest among them. */
	if (what == RX_DONE)
		halter_post(p->home, &p->rx_task);
	return what == RX_EMPTY && batch == 1;
}

/*
 * Looks whether there is no such interface any more, also where the guest has no buffer for a packet,
 * and so none is read. A TAP that is being deleted has an error, and says so once, before it is gone
 * to read(2): it is looked for again then, until it is.
 */
static void look_for_end(struct net_pair *p)
{
	const bool gone = read(p->fd, NULL, 0) < 0 && is_gone(errno);
	const bool ends = !gone && !p->net->backend.read && !atomic_load(&p->net->gone);

	if (gone)
		interface_gone(p->net);
	relaxed_store(&p->ends, ends);
	if (ends)
		halter_post(p->home, &p->rx_task);
}

static void rx_ready(struct ring_handler *handler, uint32_t events)
{
	struct net_pair *p = container_of(handler, struct net_pair, rx_handler);

	if (events & POLLERR)
		look_for_end(p);
	/*
	 * The kernel tells that a TAP is deleted by what tells of a packet, just before read(2) knows: who
	 * looks in between finds nothing, and is told no more. A new poll has the error.
	 */
	if (receive(p->net, p) && !(events & POLLERR) && !p->net->backend.read) {
		halter_del_source(p->home, p->fd, handler);
		halter_add_source(p->home, p->fd, POLLIN, handler);
	}
}

static void rx_again(struct halter_task *task)
{
	struct net_pair *p = container_of(task, struct net_pair, rx_task);

	if (relaxed_load(&p->ends))
		look_for_end(p);
	receive(p->net, p);
}

/* -- from the guest --------------------------------------------------------------------------- */

/*
 * Makes zero what does not count, whatever the driver has left there (5.1.6.2.2): flags that are
 * not for this direction, fields that no flag or type asks for. The kernel would look at them.
 */
static void tidy_header(struct net_hdr *h, size_t payload)
{
	h->flags &= NET_HDR_NEEDS_CSUM;
	if (!h->flags)
		h->csum_start = h->csum_offset = 0;
	if (h->gso_type == NET_HDR_GSO_NONE)
		h->hdr_len = h->gso_size = 0;
	/* A hint, and need not be right. */
	if (h->hdr_len > payload)
		h->hdr_len = (uint16_t)payload;
	h->num_buffers = 0;
}

/* Returns whether the standard allows the header (5.1.6.2), which is little-endian as all of it. */
static bool header_is_sane(const struct net_hdr *h, size_t payload)
{
	uint8_t gso = h->gso_type & (uint8_t)~NET_HDR_GSO_ECN;

	if (h->flags & NET_HDR_NEEDS_CSUM &&
	    (uint32_t)h->csum_start + h->csum_offset + 2u > payload)
		return false;
	if (gso == NET_HDR_GSO_NONE)
		return h->gso_type == NET_HDR_GSO_NONE;
	return (gso == NET_HDR_GSO_TCPV4 || gso == NET_HDR_GSO_TCPV6) && h->gso_size &&
	       h->flags & NET_HDR_NEEDS_CSUM;
}

/* Sends one packet. 0: it is done with, sent or not; -EAGAIN: not now; -ENODEV: it is dropped, and
 * the interface is gone. */
static int send_one(struct net *net, struct net_pair *p, struct vq_chain *chain)
{
	struct iovec *iov = chain->iov, *end = chain->iov + chain->out;
	size_t len;
	struct net_hdr h;
	bool gone = false;
	ssize_t n;

	if (iov_read(iov, chain->out, 0, &h, sizeof(h)) < sizeof(h))
		goto drop;
	len = chain->out_len - sizeof(h);
	tidy_header(&h, len);
	if (len < NET_ETH_HLEN || len > NET_PACKET_MAX || !header_is_sane(&h, len))
		goto drop;
	if (!relaxed_load(&net->link_up))
		goto drop;
	(void)iov_skip(&iov, chain->out, sizeof(h));
	/* iov[-1] is either the header's own place, which is done with, or one kept free. */
	iov--;
	iov->iov_base = &h;
	iov->iov_len = sizeof(h);
	do {
		n = packet_write(p, iov, (int)(end - iov));
	} while (n < 0 && errno == EINTR);
	if (n >= 0) {
		virtio_count(&p->tx_packets, 1);
		virtio_count(&p->tx_bytes, len);
		virtio_count(&net->dev.counters.requests, 1);
		virtio_count(&net->dev.counters.written_bytes, len);
		throttle_charge(&net->tx_throttle, 1, len);
		return 0;
	}
	if (errno == EAGAIN)
		return -EAGAIN;
	gone = is_gone(errno);
drop:
	virtio_count(&p->tx_dropped, 1);
	virtio_count(&net->dev.counters.errors, 1);
	return gone ? -ENODEV : 0;
}

/* Returns whether there is a packet that has to wait; p->tx_task comes back then. The queue's lock
 * is held. */
static bool has_to_wait(struct net *net, struct net_pair *p)
{
	if (!throttle_on(&net->tx_throttle))
		return false;
	if (vq_waiting(&p->tx->vq))
		return !throttle_pass(&net->tx_throttle, &p->tx_place, p->home);
	throttle_rest(&net->tx_throttle, &p->tx_place);
	return false;
}

static void transmit(struct net *net, struct net_pair *p)
{
	struct virtqueue *vq = &p->tx->vq;
	unsigned int batch = 0;
	size_t len = 0;
	bool again = false, blocked = false, gone = false;
	int ret = 0, sent;

	pthread_mutex_lock(&vq->lock);
	if (!usable(net, p, vq) || p->tx_blocked) {
		pthread_mutex_unlock(&vq->lock);
		return;
	}
	vq_kicks(vq, false);
	do {
		struct vq_chain chain = {.iov = p->tx_iov + 1, .max = NET_CHAIN_MAX};

		if (has_to_wait(net, p))
			break;
		ret = vq_pop(vq, &chain);
		if (ret == 0 && vq_kicks(vq, true))
			continue;
		if (ret <= 0)
			break;
		sent = send_one(net, p, &chain);
		gone = gone || sent == -ENODEV;
		if (sent == -EAGAIN) {
			vq_unpop(vq);
			blocked = true;
			break;
		}
		vq_push(vq, chain.head, 0);
		blocked = left_over(p);
		if (blocked)
			break;
		len += chain.out_len;
		again = ++batch == NET_BATCH || len >= NET_BATCH_LEN;
	} while (!again);
	if (blocked) {
		p->tx_blocked = true;
		virtio_count(&p->tx_blocks, 1);
	}
	virtio_publish(&net->dev, p->tx->index);
	if (ret < 0)
		virtio_broken(&net->dev, "the transmit queue is malformed");
	pthread_mutex_unlock(&vq->lock);
	if (gone)
		interface_gone(net);
	/* A source that cannot be had (no place left in the ring) must not stop the queue for ever:
	 * the home tries again, after all else that it has to do. */
	if (blocked && halter_add_source(p->home, p->fd, POLLOUT, &p->tx_handler) < 0) {
		pthread_mutex_lock(&vq->lock);
		p->tx_blocked = false;
		pthread_mutex_unlock(&vq->lock);
		again = true;
	}
	if (again)
		halter_post(p->home, &p->tx_task);
}

static void tx_ready(struct ring_handler *handler, uint32_t events)
{
	struct net_pair *p = container_of(handler, struct net_pair, tx_handler);
	bool still;

	halter_del_source(p->home, p->fd, handler);
	pthread_mutex_lock(&p->tx->vq.lock);
	p->tx_blocked = left_over(p);
	still = p->tx_blocked;
	pthread_mutex_unlock(&p->tx->vq.lock);
	if (still && halter_add_source(p->home, p->fd, POLLOUT, &p->tx_handler) == 0)
		return;
	if (still) {
		pthread_mutex_lock(&p->tx->vq.lock);
		p->tx_blocked = false;
		pthread_mutex_unlock(&p->tx->vq.lock);
	}
	transmit(p->net, p);
}

static void tx_again(struct halter_task *task)
{
	struct net_pair *p = container_of(task, struct net_pair, tx_task);

	transmit(p->net, p);
}

/* -- the device ------------------------------------------------------------------------------- */

int net_set_offloads(struct net *net, uint64_t guest)
{
	uint32_t offloads = 0;

	relaxed_store(&net->offloads, guest);
	if (guest >> VIRTIO_NET_F_GUEST_CSUM & 1)
		offloads |= NET_OFFLOAD_CSUM;
	if (guest >> VIRTIO_NET_F_GUEST_TSO4 & 1)
		offloads |= NET_OFFLOAD_TSO4;
	if (guest >> VIRTIO_NET_F_GUEST_TSO6 & 1)
		offloads |= NET_OFFLOAD_TSO6;
	if (guest >> VIRTIO_NET_F_GUEST_ECN & 1)
		offloads |= NET_OFFLOAD_ECN;
	/* Segments that are not checked cannot be: the checksum is what is left to be done. */
	if (!(offloads & NET_OFFLOAD_CSUM))
		offloads = 0;
	return net->backend.set_offload ? net->backend.set_offload(net->backend.ctx, offloads) : 0;
}

int net_set_pairs(struct net *net, unsigned int pairs)
{
	int ret = net->backend.set_pairs ? net->backend.set_pairs(net->backend.ctx, pairs) : 0;

	if (ret < 0)
		return ret;
	relaxed_store(&net->pairs_in_use, pairs);
	for (unsigned int i = 0; i < net->pair_count; i++) {
		struct net_pair *p = &net->pairs[i];

		if (atomic_load(&net->gone))
			break;
		/* A poll of a TAP's queue that was not attached is deaf for ever: a new one. */
		halter_del_source(p->home, p->fd, &p->rx_handler);
		if (i >= pairs)
			continue;
		ret = halter_add_source(p->home, p->fd, POLLIN, &p->rx_handler);
		if (ret < 0)
			return ret;
		halter_post(p->home, &p->rx_task);
		halter_post(p->home, &p->tx_task); /* what was added before */
	}
	return 0;
}

void net_set_filter(struct net *net, unsigned int pairs)
{
	for (unsigned int i = 0; i < pairs; i++) {
		struct net_pair *p = &net->pairs[i];

		pthread_mutex_lock(&p->rx->vq.lock);
		p->filter = net->filter;
		pthread_mutex_unlock(&p->rx->vq.lock);
	}
}

/* Reads the configuration. The driver may have changed the address, with no lock of the
 * device's. */
static void config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	struct net *net = to_net(dev);
	struct net_config_space c = net->config;
	uint64_t mac = relaxed_load(&net->mac);

	for (unsigned int i = 0; i < sizeof(c.mac); i++)
		c.mac[i] = (uint8_t)(mac >> 8 * (sizeof(c.mac) - 1 - i));
	if (relaxed_load(&net->announce))
		c.status |= NET_STATUS_ANNOUNCE;
	memcpy(data, (const char *)&c + offset, len);
}

static void forget_filter(struct net *net)
{
	uint64_t mac = net_mac(net->config.mac);

	relaxed_store(&net->mac, mac);
	net_filter_reset(&net->filter, mac);
	net_set_filter(net, net->pair_count);
}

void net_drop_waiting(struct net *net)
{
	for (unsigned int i = 0; i < net->pair_count; i++) {
		struct net_pair *p = &net->pairs[i];

		pthread_mutex_lock(&p->rx->vq.lock);
		for (int n = 0; n < 65536; n++)
			if (packet_read(p, &(struct iovec){p->spill, sizeof(p->spill)}, 1) <= 0)
				break;
		p->used = 0;
		pthread_mutex_unlock(&p->rx->vq.lock);
	}
}

static void start(struct virtio_device *dev)
{
	struct net *net = to_net(dev);

	net_set_offloads(net, atomic_load(&dev->features));
	net_drop_waiting(net);
	net_set_pairs(net, 1);
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	struct net *net = to_net(dev);

	if (index == net_ctrl_index(net))
		net_control(net);
	else if (index >= 2 * net->pair_count)
		return;
	else if (index & 1)
		transmit(net, &net->pairs[index / 2]);
	else
		receive(net, &net->pairs[index / 2]);
}

static void reset(struct virtio_device *dev)
{
	struct net *net = to_net(dev);

	net_set_offloads(net, 0);
	forget_filter(net);
	relaxed_store(&net->announce, false);
	if (net->backend.set_pairs)
		net->backend.set_pairs(net->backend.ctx, 1);
	throttle_reset(&net->rx_throttle);
	throttle_reset(&net->tx_throttle);
	/* Nobody is to be woken for what no driver takes. */
	for (unsigned int i = 0; i < net->pair_count; i++) {
		struct net_pair *p = &net->pairs[i];

		halter_del_source(p->home, p->fd, &p->rx_handler);
		halter_del_source(p->home, p->fd, &p->tx_handler);
		pthread_mutex_lock(&p->tx->vq.lock);
		p->tx_blocked = false;
		pthread_mutex_unlock(&p->tx->vq.lock);
	}
}

static const struct virtio_ops net_ops = {.config_read = config_read,
					  .start = start,
					  .kick = kick,
					  .reset = reset,
					  .state_id = NET_STATE_ID,
					  .state_version = NET_STATE_VERSION,
					  .save = net_save,
					  .load = net_load,
					  .restored = net_restored};

int net_create(const struct net_config *cfg, struct net **out)
{
	struct net *net;
	int ret = -ENOMEM;

	if (cfg->pairs < 1 || cfg->pairs > NET_PAIRS_MAX)
		return -EINVAL;
	net = calloc(1, sizeof(*net));
	if (!net)
		return -ENOMEM;
	net->pair_count = cfg->pairs;
	net->backend = cfg->backend;
	net->dev.queue_count = 2 * cfg->pairs + 1;
	net->pairs = calloc(cfg->pairs, sizeof(*net->pairs));
	net->name = strdup(cfg->name ? cfg->name : "net");
	if (!net->pairs || !net->name)
		goto fail;
	memcpy(net->config.mac, cfg->mac, sizeof(cfg->mac));
	net->config.status = NET_STATUS_LINK_UP;
	net->config.max_pairs = (uint16_t)cfg->pairs;
	net->config.mtu = cfg->mtu;
	atomic_init(&net->link_up, true);
	net->dev.ops = &net_ops;
	net->dev.name = net->name;
	net->dev.id = VIRTIO_ID_NET;
	net->dev.offered = cfg->whole ? features & ~offloading : features;
	if (cfg->pairs > 1)
		net->dev.offered |= UINT64_C(1) << VIRTIO_NET_F_MQ;
	if (cfg->mtu)
		net->dev.offered |= UINT64_C(1) << VIRTIO_NET_F_MTU;
	net->dev.config = &net->config;
	net->dev.config_len = sizeof(net->config);
	net->dev.dma = cfg->dma;
	net->dev.log = cfg->log;
	net->dev.log_ctx = cfg->log_ctx;
	ret = throttle_init(&net->rx_throttle, &cfg->rx_limits);
	if (ret == 0)
		ret = throttle_init(&net->tx_throttle, &cfg->tx_limits);
	if (ret == 0)
		ret = virtio_init(&net->dev, VQ_SIZE_MAX);
	if (ret < 0)
		goto fail;
	net->dev.throttles[0] = &net->rx_throttle;
	net->dev.throttles[1] = &net->tx_throttle;
	for (unsigned int i = 0; i < cfg->pairs; i++) {
		struct net_pair *p = &net->pairs[i];

		p->net = net;
		p->fd = cfg->fds[i];
		p->rx = &net->dev.queues[2 * i];
		p->tx = &net->dev.queues[2 * i + 1];
		p->rx_handler.ready = rx_ready;
		p->tx_handler.ready = tx_ready;
		p->rx_task.run = rx_again;
		p->tx_task.run = tx_again;
		p->rx_place.task = &p->rx_task;
		p->tx_place.task = &p->tx_task;
	}
	forget_filter(net);
	*out = net;
	return 0;
fail:
	throttle_fini(&net->rx_throttle);
	throttle_fini(&net->tx_throttle);
	free(net->name);
	free(net->pairs);
	free(net);
	return ret;
}

void net_destroy(struct net **netp)
{
	struct net *net = *netp;

	if (!net)
		return;
	*netp = NULL;
	virtio_fini(&net->dev);
	throttle_fini(&net->rx_throttle);
	throttle_fini(&net->tx_throttle);
	if (net->backend.close)
		net->backend.close(net->backend.ctx);
	free(net->name);
	free(net->pairs);
	free(net);
}

struct virtio_device *net_device(struct net *net)
{
	return &net->dev;
}

struct net *net_of(struct virtio_device *dev)
{
	return to_net(dev);
}

void net_attach(struct net *net, struct catnap_halter *const *homes)
{
	net->dev.home = homes[0];
	for (unsigned int i = 0; i < net->pair_count; i++)
		net->pairs[i].home = homes[i];
}

int net_set_limits(struct net *net, const struct rate_limits *rx, const struct rate_limits *tx)
{
	struct rate_limits before;
	int ret = 0;

	if (rx)
		ret = throttle_change(&net->rx_throttle, rx, &before);
	if (ret < 0 || !tx)
		return ret;
	ret = throttle_change(&net->tx_throttle, tx, NULL);
	/* All or nothing: taking one back never needs a place that was not there. */
	if (ret < 0 && rx)
		throttle_change(&net->rx_throttle, &before, NULL);
	return ret;
}

void net_set_link(struct net *net, bool up)
{
	pthread_mutex_lock(&net->dev.lock);
	up = up && !atomic_load(&net->gone);
	if (atomic_exchange(&net->link_up, up) != up) {
		net->config.status = up ? NET_STATUS_LINK_UP : 0;
		virtio_config_changed(&net->dev);
		virtio_tell(&net->dev, VIRTIO_EVENT_LINK, up,
			    up			      ? "the link is up"
			    : atomic_load(&net->gone) ? "the link is down: its interface is gone"
						      : "the link is down");
		for (unsigned int i = 0; up && i < net->pair_count; i++)
			halter_post(net->pairs[i].home, &net->pairs[i].rx_task);
	}
	pthread_mutex_unlock(&net->dev.lock);
}

bool net_get_counters(const struct net *net, unsigned int pair, struct net_counters *c)
{
	const struct net_pair *p;

	if (pair >= net->pair_count)
		return false;
	p = &net->pairs[pair];
	*c = (struct net_counters){.rx_packets = relaxed_load(&p->rx_packets),
				   .rx_bytes = relaxed_load(&p->rx_bytes),
				   .rx_dropped = relaxed_load(&p->rx_dropped),
				   .rx_unwanted = relaxed_load(&p->rx_unwanted),
				   .rx_starved = relaxed_load(&p->rx_starved),
				   .tx_packets = relaxed_load(&p->tx_packets),
				   .tx_bytes = relaxed_load(&p->tx_bytes),
				   .tx_dropped = relaxed_load(&p->tx_dropped),
				   .tx_blocked = relaxed_load(&p->tx_blocks)};
	return true;
}
