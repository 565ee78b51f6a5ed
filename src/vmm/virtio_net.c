/* SPDX-License-Identifier: Apache-2.0 */
/* The network device in a VM: its TAP, its address, and who waits for its packets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "devices/tap.h"
#include "devices/virtio/net.h"
#include "sized.h"
#include "vmm/vm.h"

#define MTU_MIN 68

_Static_assert(CATNAP_MAX_NET_QUEUES == NET_PAIRS_MAX, "what the header says");

void catnap_net_init_sized(struct catnap_net *net, size_t size)
{
	static const struct catnap_net defaults = {.size = 0};

	sized_init(net, size, &defaults, sizeof(defaults));
}

void(catnap_net_init)(struct catnap_net *net)
{
	catnap_net_init_sized(net, sizeof(*net));
}

static int check(const struct catnap_net *net, struct kvm_error *err)
{
	if (!net->tap || !net->tap[0])
		snprintf(err->text, sizeof(err->text), "net: tap: no name");
	else if (net->queues > CATNAP_MAX_NET_QUEUES)
		snprintf(err->text, sizeof(err->text), "net: queues: %u: expected 1 to %u",
			 net->queues, CATNAP_MAX_NET_QUEUES);
	else if (net->mac[0] & 1)
		snprintf(err->text, sizeof(err->text),
			 "net: mac: %02x:%02x:%02x:%02x:%02x:%02x is a multicast address",
			 net->mac[0], net->mac[1], net->mac[2], net->mac[3], net->mac[4],
			 net->mac[5]);
	else if (net->mtu && net->mtu < MTU_MIN)
		snprintf(err->text, sizeof(err->text), "net: mtu: %u: expected %u to 65535",
			 net->mtu, MTU_MIN);
	else
		return 0;
	return -EINVAL;
}

/* An address of this machine's alone: locally administered, not multicast. */
static int choose_mac(uint8_t mac[6])
{
	static const uint8_t none[6];

	if (memcmp(mac, none, sizeof(none)) != 0)
		return 0;
	if (getrandom(mac, 6, 0) != 6)
		return -EIO;
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 2);
	return 0;
}

static void close_tap(void *tap)
{
	tap_close(tap);
	free(tap);
}

static void destroy(struct virtio_device *dev)
{
	struct net *net = net_of(dev);

	net_destroy(&net);
}

/* The interface is open; it is the device's once that is made. */
static int make(struct catnap_vm *vm, struct tap *tap, const struct catnap_net *n,
		const struct rate_limits *limits, struct kvm_error *err)
{
	struct net_config cfg = {.pairs = tap->queues,
				 .fds = tap->fds,
				 .mtu = n->mtu,
				 .limits = *limits,
				 .backend = {.set_offload = tap_set_offload,
					     .set_pairs = tap_set_pairs,
					     .close = close_tap,
					     .ctx = tap},
				 .dma = &vm->dma};
	struct catnap_halter *homes[NET_PAIRS_MAX];
	struct net *net = NULL;
	char name[64];
	int ret;

	memcpy(cfg.mac, n->mac, sizeof(cfg.mac));
	snprintf(name, sizeof(name), "net %s", n->tap);
	cfg.name = name;
	ret = choose_mac(cfg.mac);
	if (ret == 0)
		ret = net_create(&cfg, &net);
	if (ret < 0) {
		close_tap(tap);
		return ret;
	}
	ret = vm_add_virtio(vm, net_device(net), destroy, err);
	if (ret < 0) {
		net_destroy(&net);
		return ret;
	}
	for (unsigned int i = 0; i < cfg.pairs; i++)
		homes[i] = vm_home(vm, i % vm->vcpu_count);
	net_attach(net, homes);
	return 0;
}

/* What an older caller's structure lacks has its default. */
static int add(struct catnap_vm *vm, const struct catnap_net *given, struct kvm_error *err)
{
	struct catnap_net copy = {.size = 0}, *net = &copy;
	struct rate_limits limits;
	struct tap *tap;
	char why[192];
	int ret = vm_may_add(vm, "net", given->size, offsetof(struct catnap_net, limit), err);

	if (ret < 0)
		return ret;
	memcpy(&copy, given, given->size < sizeof(copy) ? given->size : sizeof(copy));
	ret = check(net, err);
	if (ret == 0)
		ret = vm_rate_limits(&limits, "net", &net->limit, err);
	if (ret < 0)
		return ret;
	tap = malloc(sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	ret = tap_open(tap, net->tap, net->queues ? net->queues : 1, why, sizeof(why));
	if (ret < 0) {
		snprintf(err->text, sizeof(err->text), "net: tap: %s", why);
		free(tap);
		return ret;
	}
	return make(vm, tap, net, &limits, err);
}

int catnap_vm_add_net(struct catnap_vm *vm, const struct catnap_net *net)
{
	struct kvm_error err = {.text = ""};

	return vm_added(vm, "net", add(vm, net, &err), &err);
}

int catnap_vm_set_link(struct catnap_vm *vm, uint32_t device, int up)
{
	if (device >= vm->virtio_count || vm->virtio[device]->dev->id != VIRTIO_ID_NET)
		return -EINVAL;
	net_set_link(net_of(vm->virtio[device]->dev), up != 0);
	return 0;
}
