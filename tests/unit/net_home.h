/* SPDX-License-Identifier: Apache-2.0 */
/* A network device all of whose queues belong to the bench's own halter. */
#ifndef TESTS_UNIT_NET_HOME_H
#define TESTS_UNIT_NET_HOME_H

#include "devices/virtio/net_impl.h"
#include "vdev.h"

/* NULL: it cannot be made. @cfg is complete but for dma. */
static inline struct net *net_at_home(struct vdev *v, struct net_config *cfg)
{
	struct catnap_halter *homes[NET_PAIRS_MAX];
	struct net *net;

	cfg->dma = &v->g.dma;
	for (unsigned int i = 0; i < cfg->pairs; i++)
		homes[i] = &v->home;
	if (net_create(cfg, &net) < 0)
		return NULL;
	vdev_use(v, net_device(net));
	net_attach(net, homes);
	for (int i = 0; i < 2; i++)
		if (throttle_attach(v->dev->throttles[i], &v->home) < 0)
			return NULL;
	return net;
}

#endif
