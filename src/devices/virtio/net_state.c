/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a network device in a snapshot, and how it goes on from there.
 * docs/snapshot-format.md has the bytes.
 *
 * A packet that was on its way to the guest, and that had not enough buffers yet, is lost, as in a
 * network: its buffers are chains that will be taken again. The guest's driver is asked to announce
 * itself, since bridges have not heard of it at the place where it is now.
 */
#include <string.h>

#include "container_of.h"
#include "devices/virtio/net_impl.h"
#include "relaxed.h"

#define MAC_LIMIT (UINT64_C(1) << 48)

/* The features that a driver may switch, see net_ctrl.c; it begins with its own. */
static const uint64_t guest_offloads =
	UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |
	UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN;

static struct net *to_net(struct virtio_device *dev)
{
	return container_of(dev, struct net, dev);
}

/* -- saving ----------------------------------------------------------------------------------- */

static void save_table(const struct net_filter_table *t, struct state_writer *w)
{
	state_put_bool(w, t->all);
	state_put_u8(w, (uint8_t)t->count);
	for (uint32_t i = 0; i < t->count; i++)
		state_put_u64(w, t->macs[i]);
}

static void save_filter(const struct net_filter *f, struct state_writer *w)
{
	for (int i = 0; i < NET_RX_MODES; i++)
		state_put_bool(w, f->mode[i]);
	state_put_u64(w, f->own);
	save_table(&f->unicast, w);
	save_table(&f->multicast, w);
}

int net_save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct net *net = to_net(dev);

	pthread_mutex_lock(&dev->lock);
	state_put_bytes(w, net->config.mac, sizeof(net->config.mac));
	state_put_u16(w, net->config.mtu);
	state_put_bool(w, net->config.status & NET_STATUS_LINK_UP);
	/* An interface that was deleted is no wish of anybody's: another one is there. */
	state_put_bool(w, atomic_load(&net->link_up) || atomic_load(&net->gone));
	state_put_bool(w, relaxed_load(&net->announce));
	state_put_u64(w, relaxed_load(&net->mac));
	state_put_u64(w, relaxed_load(&net->offloads) & guest_offloads);
	state_put_u16(w, (uint16_t)relaxed_load(&net->pairs_in_use));
	save_filter(&net->filter, w);
	pthread_mutex_unlock(&dev->lock);
	throttle_save(&net->rx_throttle, w);
	throttle_save(&net->tx_throttle, w);
	return 0;
}

/* -- loading ---------------------------------------------------------------------------------- */

struct state {
	uint8_t first_mac[6];
	uint16_t mtu, pairs;
	bool told_up, link_up, announce;
	uint64_t mac, offloads;
	struct net_filter filter;
	struct rate rx, tx;
};

static void read_table(struct net_filter_table *t, struct state_in *in)
{
	t->all = state_get_bool(in);
	t->count = state_get_u8(in);
	if (!state_check(in, t->count <= NET_FILTER_MACS && !(t->all && t->count),
			 "the number of addresses in a table"))
		t->count = 0;
	for (uint32_t i = 0; i < t->count; i++) {
		t->macs[i] = state_get_u64(in);
		state_check(in, t->macs[i] < MAC_LIMIT, "an address in a table");
	}
}

static void read_state(const struct net *net, struct state *s, struct state_in *in)
{
	uint64_t features = relaxed_load(&net->dev.features);

	memset(s, 0, sizeof(*s));
	state_get_bytes(in, s->first_mac, sizeof(s->first_mac));
	s->mtu = state_get_u16(in);
	s->told_up = state_get_bool(in);
	s->link_up = state_get_bool(in);
	s->announce = state_get_bool(in);
	s->mac = state_get_u64(in);
	state_check(in, s->mac < MAC_LIMIT, "the address");
	s->offloads = state_get_u64(in);
	state_check(in, !(s->offloads & ~(guest_offloads & features)), "the offloads");
	s->pairs = state_get_u16(in);
	state_check(in, s->pairs <= net->pair_count, "the number of pairs in use");
	state_check(in, s->pairs <= 1 || virtio_has(&net->dev, VIRTIO_NET_F_MQ),
		    "the number of pairs in use");
	for (int i = 0; i < NET_RX_MODES; i++)
		s->filter.mode[i] = state_get_bool(in);
	s->filter.own = state_get_u64(in);
	state_check(in, s->filter.own < MAC_LIMIT, "the address of the filter");
	read_table(&s->filter.unicast, in);
	read_table(&s->filter.multicast, in);
	rate_load(&s->rx, clock_monotonic_ns(), in);
	rate_load(&s->tx, clock_monotonic_ns(), in);
}

/* Lets the driver find the address that the interface has here, if it is not the one that it was
 * made with then. Until it takes that, packets for the one that it has pass. */
static void take_address(struct net *net, const struct state *s)
{
	bool moved = memcmp(net->config.mac, s->first_mac, sizeof(s->first_mac)) != 0;

	if (!moved)
		relaxed_store(&net->mac, s->mac);
	net->restore_changed = moved;
	net->filter = s->filter;
	net_set_filter(net, net->pair_count);
}

int net_load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	struct net *net = to_net(dev);
	struct state s;
	int ret;

	read_state(net, &s, in);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	if (s.mtu != net->config.mtu && virtio_has(dev, VIRTIO_NET_F_MTU))
		return state_refuse(in, err, -EINVAL,
				    "%s: mtu: the guest was told that it is %u: expected that",
				    net->name, s.mtu);
	ret = throttle_load(&net->rx_throttle, &s.rx);
	if (ret == 0)
		ret = throttle_load(&net->tx_throttle, &s.tx);
	if (ret < 0)
		return state_refuse(in, err, ret, "%s: the limit: %s", net->name, strerror(-ret));
	take_address(net, &s);
	net->restore_changed = net->restore_changed || s.told_up != s.link_up;
	net->config.status = s.link_up ? NET_STATUS_LINK_UP : 0;
	atomic_store(&net->link_up, s.link_up);
	relaxed_store(&net->announce, s.announce);
	relaxed_store(&net->offloads, s.offloads);
	relaxed_store(&net->pairs_in_use, s.pairs);
	return 0;
}

/* -- going on --------------------------------------------------------------------------------- */

int net_restored(struct virtio_device *dev, struct error *err)
{
	struct net *net = to_net(dev);
	unsigned int pairs = relaxed_load(&net->pairs_in_use);
	int ret;

	net_drop_waiting(net);
	ret = net_set_offloads(net, relaxed_load(&net->offloads));
	if (ret < 0)
		return error_errno(err, ret, "%s: setting the guest's offloads", net->name);
	ret = net_set_pairs(net, pairs ? pairs : 1);
	if (ret < 0)
		return error_errno(err, ret, "%s: using %u pairs of queues", net->name, pairs);
	pthread_mutex_lock(&dev->lock);
	if (virtio_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		relaxed_store(&net->announce, true);
	if (virtio_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE) || net->restore_changed)
		virtio_config_changed(dev);
	net->restore_changed = false;
	pthread_mutex_unlock(&dev->lock);
	return 0;
}
