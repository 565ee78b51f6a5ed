/* SPDX-License-Identifier: Apache-2.0 */
/* The network device in a VM: its TAP, its address, and who waits for its packets. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/stream.h"
#include "devices/tap.h"
#include "devices/vhost/vhost.h"
#include "devices/virtio/net.h"
#include "sized.h"
#include "vmm/vm.h"

_Static_assert(CATNAP_MAX_NET_QUEUES == NET_PAIRS_MAX, "what the header says");

void catnap_net_init_sized(struct catnap_net *net, size_t size)
{
	static const struct catnap_net defaults = {.stream_fd = -1};

	sized_init(net, size, &defaults, sizeof(defaults));
}

void(catnap_net_init)(struct catnap_net *net)
{
	catnap_net_init_sized(net, sizeof(*net));
}

static int check(const struct catnap_net *net, struct error *err)
{
	const bool stream = net->stream || net->stream_fd >= 0;

	if (net->tap && net->tap_fds)
		error_set(err, "net: either tap or tap_fds, not both");
	else if (stream && (net->tap || net->tap_fds || (net->stream && net->stream_fd >= 0)))
		error_set(err, "net: one of tap, tap_fds, stream and stream_fd, not several");
	else if (!stream && !net->tap_fds && (!net->tap || !net->tap[0]))
		error_set(err, "net: tap: no name");
	else if (stream && net->queues > 1)
		error_set(err, "net: queues: %u: expected 1 with a stream", net->queues);
	else if (net->queues > CATNAP_MAX_NET_QUEUES)
		error_set(err, "net: queues: %u: expected 1 to %u", net->queues,
			  CATNAP_MAX_NET_QUEUES);
	else if (net->mac[0] & 1)
		error_set(err, "net: mac: %02x:%02x:%02x:%02x:%02x:%02x is a multicast address",
			  net->mac[0], net->mac[1], net->mac[2], net->mac[3], net->mac[4],
			  net->mac[5]);
	else if (net->mtu && net->mtu < CATNAP_MIN_MTU)
		error_set(err, "net: mtu: %u: expected %u to 65535", net->mtu, CATNAP_MIN_MTU);
	else
		return 0;
	return -EINVAL;
}

/* Chooses an address of this machine's alone: locally administered, not multicast. */
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

static void close_stream(void *stream)
{
	stream_destroy(stream);
}

/* Makes the device. The other side is open, as cfg's backend; it is the device's once that is made. */
static int make(struct catnap_vm *vm, struct net_config *cfg, const struct catnap_net *n,
		struct error *err)
{
	struct catnap_halter *homes[NET_PAIRS_MAX];
	struct vm_made made = {.net = *n};
	struct net *net = NULL;
	char name[64];
	int ret;

	memcpy(cfg->mac, n->mac, sizeof(cfg->mac));
	cfg->mtu = n->mtu;
	cfg->dma = &vm->dma;
	if (n->stream_fd >= 0)
		snprintf(name, sizeof(name), "net descriptor %d", n->stream_fd);
	else
		snprintf(name, sizeof(name), "net %s", n->stream ? n->stream : n->tap);
	cfg->name = name;
	ret = choose_mac(cfg->mac);
	if (ret == 0)
		ret = net_create(cfg, &net);
	if (ret < 0) {
		cfg->backend.close(cfg->backend.ctx);
		return ret;
	}
	net_device(net)->sockets = cfg->backend.read;
	/* Of a stream nothing is left that could be opened again. */
	made.place = (char *)n->tap;
	made.net.tap = made.net.stream = NULL;
	made.net.tap_fds = NULL;
	made.net.stream_fd = -1;
	memcpy(made.net.mac, cfg->mac, sizeof(cfg->mac));
	/* Before a guest may find it. */
	for (unsigned int i = 0; i < cfg->pairs; i++)
		homes[i] = vm_home(vm, i % vm->vcpu_count);
	net_attach(net, homes);
	ret = vm_add_virtio(vm, net_device(net), destroy, &made, err);
	if (ret < 0)
		net_destroy(&net);
	return ret;
}

static int add_tap(struct catnap_vm *vm, struct catnap_net *net, struct net_config *cfg,
		   struct error *err)
{
	unsigned int queues = net->queues ? net->queues : 1;
	struct tap *tap = malloc(sizeof(*tap));
	char name[IFNAMSIZ + 1] = "";
	int ret;

	if (!tap)
		return -ENOMEM;
	ret = net->tap_fds ? tap_take(tap, net->tap_fds, queues, name, err)
			   : tap_open(tap, net->tap, queues, err);
	if (ret < 0) {
		free(tap);
		return error_prefix(err, ret, "net: tap: ");
	}
	if (net->tap_fds)
		net->tap = name;
	cfg->pairs = tap->queues;
	cfg->fds = tap->fds;
	cfg->backend = (struct net_backend){.set_offload = tap_set_offload,
					    .set_pairs = tap_set_pairs,
					    .close = close_tap,
					    .ctx = tap};
	ret = make(vm, cfg, net, err);
	if (net->tap_fds)
		net->tap = NULL;
	/* Taken: the device has its duplicates. */
	for (unsigned int i = 0; ret == 0 && net->tap_fds && i < queues; i++)
		close(net->tap_fds[i]);
	return ret;
}

/* Opens a connection, or a duplicate of one that was given. */
static int open_stream(const struct catnap_net *net, int *fd, struct error *err)
{
	int type, flags, ret;
	socklen_t len = sizeof(type);

	if (net->stream) {
		ret = vhost_connect(net->stream, fd);
		return ret < 0 ? error_errno(err, ret, "net: stream: %s", net->stream) : 0;
	}
	if (getsockopt(net->stream_fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return error_errno(err, -errno, "net: stream_fd: %d", net->stream_fd);
	if (type != SOCK_STREAM)
		return error_fail(err, -EINVAL, "net: stream_fd: %d is no stream socket",
				  net->stream_fd);
	*fd = fcntl(net->stream_fd, F_DUPFD_CLOEXEC, 3);
	if (*fd < 0)
		return error_errno(err, -errno, "net: stream_fd: %d", net->stream_fd);
	flags = fcntl(*fd, F_GETFL);
	/* As of a TAP's descriptor. */
	if (!(flags & O_NONBLOCK))
		fcntl(*fd, F_SETFL, flags | O_NONBLOCK);
	return 0;
}

static int add_stream(struct catnap_vm *vm, const struct catnap_net *net, struct net_config *cfg,
		      struct error *err)
{
	struct stream *stream;
	int fd = -1, ret = open_stream(net, &fd, err);

	if (ret < 0)
		return ret;
	ret = stream_create(fd, &stream);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	cfg->pairs = 1;
	cfg->fds = &fd;
	cfg->whole = true;
	cfg->backend = (struct net_backend){.read = stream_read,
					    .write = stream_write,
					    .flush = stream_flush,
					    .close = close_stream,
					    .ctx = stream};
	ret = make(vm, cfg, net, err);
	if (ret == 0 && net->stream_fd >= 0)
		close(net->stream_fd);
	return ret;
}

static int add(struct catnap_vm *vm, const struct catnap_net *given, struct error *err)
{
	struct catnap_net net = {.stream_fd = -1};
	struct net_config cfg;
	int ret = vm_may_plug(vm, "net", &net, sizeof(net), given,
			      offsetof(struct catnap_net, rx_limit), err);

	memset(&cfg, 0, sizeof(cfg));
	if (ret == 0)
		ret = check(&net, err);
	if (ret == 0)
		ret = vm_rate_limits(&cfg.rx_limits, "net: rx", &net.rx_limit, err);
	if (ret == 0)
		ret = vm_rate_limits(&cfg.tx_limits, "net: tx", &net.tx_limit, err);
	if (ret < 0)
		return ret;
	if (net.stream || net.stream_fd >= 0)
		return add_stream(vm, &net, &cfg, err);
	return add_tap(vm, &net, &cfg, err);
}

int catnap_vm_add_net(struct catnap_vm *vm, const struct catnap_net *net)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "net"))
		return -EPERM;
	return vm_added(vm, "net", add(vm, net, &err), &err);
}

int catnap_vm_set_link(struct catnap_vm *vm, uint32_t device, int up)
{
	struct vm_virtio *v;
	bool is_net;

	if (vm_in_child(vm, "set_link"))
		return -EPERM;
	v = vm_get_device(vm, device);
	is_net = v && v->dev->id == VIRTIO_ID_NET && !v->dev->external;
	if (is_net)
		net_set_link(net_of(v->dev), up != 0);
	if (v)
		vm_put(v);
	if (is_net)
		return 0;
	return vm_fail(vm, -EINVAL, "set_link: device %u is no network device", device);
}

static int set_limits(struct vm_virtio *v, const struct catnap_rate_limit *rx,
		      const struct catnap_rate_limit *tx, struct error *err)
{
	struct rate_limits limits[2];
	int ret = 0;

	if (rx)
		ret = vm_rate_limits(&limits[0], "net: rx", rx, err);
	if (ret == 0 && tx)
		ret = vm_rate_limits(&limits[1], "net: tx", tx, err);
	if (ret < 0)
		return ret;
	ret = net_set_limits(net_of(v->dev), rx ? &limits[0] : NULL, tx ? &limits[1] : NULL);
	if (ret == 0 && rx)
		v->made.net.rx_limit = *rx;
	if (ret == 0 && tx)
		v->made.net.tx_limit = *tx;
	return ret;
}

int catnap_vm_set_net_limit(struct catnap_vm *vm, uint32_t net, const struct catnap_rate_limit *rx,
			    const struct catnap_rate_limit *tx)
{
	struct error err = {.text = ""};
	struct vm_virtio *v;
	int ret;

	if (vm_in_child(vm, "set_net_limit"))
		return -EPERM;
	v = vm_get(vm, VIRTIO_ID_NET, net);
	if (!v)
		return vm_fail(vm, -ENOENT, "net: there is none of number %u", net);
	ret = set_limits(v, rx, tx, &err);
	vm_put(v);
	return vm_added(vm, "net", ret, &err);
}
