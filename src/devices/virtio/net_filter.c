/* SPDX-License-Identifier: Apache-2.0 */
/* See net_filter.h. */
#include <errno.h>
#include <string.h>

#include "devices/virtio/net_filter.h"

#define MAC_LEN	  6
#define BROADCAST UINT64_C(0xffffffffffff)
#define GROUP_BIT (UINT64_C(1) << 40) /* of the first byte */

uint64_t net_mac(const uint8_t mac[6])
{
	uint64_t n = 0;

	for (int i = 0; i < MAC_LEN; i++)
		n = n << 8 | mac[i];
	return n;
}

void net_filter_reset(struct net_filter *f, uint64_t own)
{
	memset(f, 0, sizeof(*f));
	f->mode[NET_RX_PROMISC] = true;
	f->own = own;
}

/* Takes a table: a number of entries, and as many addresses. *@offset moves behind them. */
static int take_table(struct net_filter_table *t, const struct vq_chain *c, size_t *offset)
{
	uint8_t macs[NET_FILTER_MACS][MAC_LEN];
	uint32_t count;
	uint64_t len;

	if (iov_read(c->iov, c->out, *offset, &count, sizeof(count)) < sizeof(count))
		return -EINVAL;
	*offset += sizeof(count);
	len = (uint64_t)count * MAC_LEN;
	if (*offset > c->out_len || len > c->out_len - *offset)
		return -EINVAL;
	t->all = count > NET_FILTER_MACS;
	t->count = t->all ? 0 : count;
	if (iov_read(c->iov, c->out, *offset, macs, (size_t)t->count * MAC_LEN) <
	    (size_t)t->count * MAC_LEN)
		return -EINVAL;
	for (uint32_t i = 0; i < t->count; i++)
		t->macs[i] = net_mac(macs[i]);
	*offset += len;
	return 0;
}

int net_filter_set_tables(struct net_filter *f, const struct vq_chain *c, size_t offset)
{
	struct net_filter_table unicast, multicast;

	if (take_table(&unicast, c, &offset) < 0 || take_table(&multicast, c, &offset) < 0 ||
	    offset != c->out_len)
		return -EINVAL;
	f->unicast = unicast;
	f->multicast = multicast;
	return 0;
}

static bool has(const struct net_filter_table *t, uint64_t mac)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (t->macs[i] == mac)
			return true;
	return t->all;
}

bool net_filter_passes(const struct net_filter *f, const uint8_t to[6])
{
	uint64_t mac = net_mac(to);

	if (f->mode[NET_RX_PROMISC])
		return true;
	if (mac == BROADCAST)
		return !f->mode[NET_RX_NOBCAST];
	/* A mode that lets all pass is stronger than one that lets none. */
	if (mac & GROUP_BIT)
		return f->mode[NET_RX_ALLMULTI] ||
		       (!f->mode[NET_RX_NOMULTI] && has(&f->multicast, mac));
	return f->mode[NET_RX_ALLUNI] ||
	       (!f->mode[NET_RX_NOUNI] && (mac == f->own || has(&f->unicast, mac)));
}
