/* SPDX-License-Identifier: Apache-2.0 */
/* Devices whose back end is another process: from the public structure to the front end. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vhost/vhost.h"
#include "sandbox/keeper.h"
#include "sized.h"
#include "vmm/vm.h"

#define BIT(n)	   (UINT64_C(1) << (n))
#define BITS(a, b) (BIT((b) + 1) - BIT(a))

#define FS_F_NOTIFICATION 0 /* another queue, which nobody here knows */
#define BLK_QUEUES	  16u
#define BLK_CONFIG	  60u /* up to write zeroes (virtio 1.2, 5.2.4) */

struct fs_space {
	char tag[CATNAP_MAX_TAG];
	uint32_t queues;
};

struct net_space {
	uint8_t mac[6];
	uint16_t status, pairs, mtu;
};

_Static_assert(sizeof(struct fs_space) == 40 && sizeof(struct net_space) == 12,
	       "virtio 1.2, 5.11.4 and 5.1.4");
_Static_assert(CATNAP_MAX_VHOST_QUEUES == VHOST_QUEUES_MAX, "what the header says");

static const struct vhost_kind blk_kind = {
	.id = VIRTIO_ID_BLOCK,
	.features = BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
		    BIT(VIRTIO_BLK_F_GEOMETRY) | BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
		    BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
		    BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ) |
		    BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES),
	.config_len = BLK_CONFIG,
	.remote = true,
	.write_at = offsetof(struct virtio_blk_config, wce),
	.write_len = 1,
	.caches = BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE),
	.flush = BIT(VIRTIO_BLK_F_FLUSH),
	.queues_at = offsetof(struct virtio_blk_config, num_queues),
	.mq = VIRTIO_BLK_F_MQ,
};

/* Offloads and large buffers. The control queue, by which several pairs are switched, is the front
 * end's own. */
static const struct vhost_kind net_kind = {
	.id = VIRTIO_ID_NET,
	.features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
		    BITS(VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_UFO) |
		    BIT(VIRTIO_NET_F_MRG_RXBUF),
	.own = BIT(VIRTIO_NET_F_MAC),
	.in_order = true,
	.pairs = true,
	.config_len = sizeof(struct net_space),
};

static const struct vhost_kind fs_kind = {
	.id = VIRTIO_ID_FS,
	.config_len = sizeof(struct fs_space),
};

/* Of a type that is not known: all that is the type's own, and one word of virtio to pass on. */
static const struct vhost_kind other_kind = {
	.features = BITS(0, 23) | ~BITS(0, 49),
	.remote = true,
};

/* The parts that the front end takes of a structure of the caller's. */
struct plan {
	struct vhost_kind kind;
	struct vhost_config cfg;
	char name[VHOST_NAME_MAX + 1];
	const char *what; /* "disk", as options call it */
	union {
		struct fs_space fs;
		struct net_space net;
	} space;
};

void catnap_vhost_init_sized(struct catnap_vhost *vhost, size_t size)
{
	static const struct catnap_vhost defaults = {.fd = -1};

	sized_init(vhost, size, &defaults, sizeof(defaults));
}

void(catnap_vhost_init)(struct catnap_vhost *vhost)
{
	catnap_vhost_init_sized(vhost, sizeof(*vhost));
}

static int wrong_queues(const struct catnap_vhost *given, const char *what, unsigned int most,
			struct error *err)
{
	return error_fail(err, -EINVAL, "%s: queues: %u: expected 1 to %u", what, given->queues,
			  most);
}

static int plan_blk(struct plan *p, const struct catnap_vhost *given, uint32_t vcpus,
		    struct error *err)
{
	p->kind = blk_kind;
	p->cfg.queues = given->queues ? given->queues : vcpus < BLK_QUEUES ? vcpus : BLK_QUEUES;
	p->cfg.fewer = !given->queues;
	return p->cfg.queues > BLK_QUEUES ? wrong_queues(given, p->what, BLK_QUEUES, err) : 0;
}

static int plan_net(struct plan *p, const struct catnap_vhost *given, struct error *err)
{
	static const uint8_t none[6];
	struct net_space *space = &p->space.net;
	const unsigned int pairs = given->queues ? given->queues : 1;

	p->kind = net_kind;
	p->cfg.queues = 2 * pairs;
	p->cfg.config = space;
	memcpy(space->mac, given->mac, sizeof(space->mac));
	if (pairs > CATNAP_MAX_NET_QUEUES)
		return wrong_queues(given, p->what, CATNAP_MAX_NET_QUEUES, err);
	if (pairs > 1) {
		p->kind.mq = VIRTIO_NET_F_MQ;
		p->kind.features |= BIT(VIRTIO_NET_F_MQ);
		p->kind.own |= BIT(VIRTIO_NET_F_CTRL_VQ);
	}
	if (given->mac[0] & 1)
		return error_fail(err, -EINVAL, "net: mac: is a multicast address");
	if (given->mtu && given->mtu < CATNAP_MIN_MTU)
		return error_fail(err, -EINVAL, "net: mtu: %u: expected %u to 65535", given->mtu,
				  CATNAP_MIN_MTU);
	if (memcmp(given->mac, none, sizeof(none)) == 0) {
		if (getrandom(space->mac, sizeof(space->mac), 0) != (ssize_t)sizeof(space->mac))
			return -EIO;
		space->mac[0] = (uint8_t)((space->mac[0] & 0xfc) | 2);
	}
	space->pairs = (uint16_t)pairs;
	space->mtu = given->mtu;
	if (given->mtu)
		p->kind.own |= BIT(VIRTIO_NET_F_MTU);
	return 0;
}

/* Returns whether a folder of the VM has this tag. A guest mounts by that, and would find one. */
static bool is_taken(struct catnap_vm *vm, const char tag[CATNAP_MAX_TAG])
{
	bool found = false;

	for (uint32_t i = 0; i < VM_VIRTIO_MAX && !found; i++) {
		struct vm_virtio *v = vm_get_device(vm, i);

		if (!v)
			continue;
		found = v->dev->id == VIRTIO_ID_FS &&
			memcmp(v->dev->config, tag, CATNAP_MAX_TAG) == 0;
		vm_put(v);
	}
	return found;
}

static int plan_fs(struct plan *p, const struct catnap_vhost *given, struct catnap_vm *vm,
		   struct error *err)
{
	const unsigned int most = VHOST_QUEUES_MAX - 1;
	size_t len = given->tag ? strlen(given->tag) : 0;

	if (!len || len > CATNAP_MAX_TAG)
		return error_fail(err, -EINVAL, "fs: tag: expected 1 to %d bytes", CATNAP_MAX_TAG);
	if (given->queues > most)
		return wrong_queues(given, p->what, most, err);
	p->kind = fs_kind;
	p->space.fs.queues = given->queues ? given->queues : 1;
	p->cfg.queues = 1 + p->space.fs.queues; /* the first is for what is urgent */
	memcpy(p->space.fs.tag, given->tag, len);
	if (is_taken(vm, p->space.fs.tag))
		return error_fail(err, -EEXIST, "fs: tag: \"%s\" is that of another folder",
				  given->tag);
	p->cfg.config = &p->space.fs;
	return 0;
}

static int plan_other(struct plan *p, const struct catnap_vhost *given, struct error *err)
{
	p->kind = other_kind;
	if (!given->type || given->type > UINT16_MAX - 0x1040)
		return error_fail(err, -EINVAL, "vhost: type: %u is none: expected virtio's number",
				  given->type);
	if (given->config_size > VHOST_CONFIG_MAX)
		return error_fail(err, -EINVAL, "vhost: config: %u: expected at most %u bytes",
				  given->config_size, VHOST_CONFIG_MAX);
	if (given->queues > VHOST_QUEUES_MAX)
		return wrong_queues(given, p->what, VHOST_QUEUES_MAX, err);
	p->kind.id = (uint16_t)given->type;
	p->kind.config_len = p->kind.write_len = given->config_size;
	p->cfg.queues = given->queues ? given->queues : 1;
	return 0;
}

static int make_plan(struct plan *p, const struct catnap_vhost *given, struct catnap_vm *vm,
		     struct error *err)
{
	int ret;

	p->what = given->type == VIRTIO_ID_BLOCK ? "disk"
		  : given->type == VIRTIO_ID_NET ? "net"
		  : given->type == VIRTIO_ID_FS	 ? "fs"
						 : "vhost";
	if (!given->socket == (given->fd < 0))
		return error_fail(err, -EINVAL,
				  given->socket ? "%s: either a socket or fd, not both"
						: "%s: no socket of a back end",
				  p->what);
	if (!vm->cfg.memory_shared)
		return error_fail(
			err, -EINVAL,
			"%s: a back end needs the guest's memory: expected memory that is "
			"shared",
			p->what);
	if (given->type == VIRTIO_ID_BLOCK)
		ret = plan_blk(p, given, vm->cfg.vcpus, err);
	else if (given->type == VIRTIO_ID_NET)
		ret = plan_net(p, given, err);
	else if (given->type == VIRTIO_ID_FS)
		ret = plan_fs(p, given, vm, err);
	else
		ret = plan_other(p, given, err);
	if (given->socket)
		snprintf(p->name, sizeof(p->name), "%s %s", p->what, given->socket);
	else
		snprintf(p->name, sizeof(p->name), "%s descriptor %d", p->what, given->fd);
	return ret;
}

static void give_memory(struct vhost_config *cfg, const struct catnap_vm *vm)
{
	uint64_t offset = 0;

	cfg->memory_fd = vm->memory.map.fd;
	cfg->region_count = vm->memory.count;
	for (unsigned int i = 0; i < vm->memory.count; i++) {
		const struct memory_region *r = &vm->memory.regions[i];

		cfg->regions[i] =
			(struct vhost_region){r->gpa, r->size, (uintptr_t)r->host, offset};
		offset += r->size;
	}
}

/* Opens a duplicate of the caller's descriptor, or a connection. */
static int open_socket(const struct catnap_vhost *given, const struct plan *p, int *fd,
		       struct error *err)
{
	int type, ret;
	socklen_t len = sizeof(type);

	if (given->socket) {
		ret = vhost_connect(given->socket, fd);
		return ret < 0 ? error_fail(err, ret,
					    "%s: %s: %s: expected a back end that listens", p->what,
					    given->socket, strerror(-ret))
			       : 0;
	}
	if (getsockopt(given->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return error_errno(err, -errno, "%s: fd: %d", p->what, given->fd);
	if (type != SOCK_STREAM)
		return error_fail(err, -EINVAL, "%s: fd: %d is no stream socket", p->what,
				  given->fd);
	*fd = fcntl(given->fd, F_DUPFD_CLOEXEC, 3);
	return *fd < 0 ? error_errno(err, -errno, "%s: fd: %d", p->what, given->fd) : 0;
}

static void destroy(struct virtio_device *dev)
{
	struct vhost *v = vhost_of(dev);

	vhost_destroy(&v);
}

static bool is_started(struct catnap_vm *vm)
{
	bool started;

	pthread_mutex_lock(&vm->lock);
	started = vm->started;
	pthread_mutex_unlock(&vm->lock);
	return started;
}

/* Hands over to somebody else, who connects again in a sandbox. That one takes no orders after the
 * start. */
static int hand_over(struct catnap_vm *vm, struct vhost *v, const char *path, struct error *err)
{
	int ret, fd = -1;

	if (!path || vm->cfg.sandbox == CATNAP_SANDBOX_OFF)
		return 0;
	if (is_started(vm))
		return error_fail(err, -ENOTSUP,
				  "%s: in a sandbox nobody takes back a back end that has come "
				  "after the start: expected no_reconnect",
				  vhost_device(v)->name);
	ret = vm_need_keeper(vm);
	if (ret == 0)
		ret = keeper_connector_to(vm->keeper, path, &fd);
	return ret < 0 ? ret : vhost_ask_over(v, fd);
}

/* Attaches each queue where the vCPU is whose it is. */
static int attach(struct catnap_vm *vm, struct vhost *v)
{
	struct catnap_halter *homes[VHOST_QUEUES_MAX];
	const struct virtio_device *dev = vhost_device(v);

	for (unsigned int i = 0; i < dev->queue_count && i < VHOST_QUEUES_MAX; i++) {
		unsigned int vcpu = i;

		if (dev->id == VIRTIO_ID_NET) /* a pair is one vCPU's */
			vcpu = i / 2;
		else if (dev->id == VIRTIO_ID_FS) /* the first is nobody's own */
			vcpu = i ? i - 1 : 0;
		homes[i] = vm_home(vm, vcpu % vm->vcpu_count);
	}
	return vhost_attach(v, homes);
}

static int make(struct catnap_vm *vm, const struct catnap_vhost *given, struct plan *p,
		struct error *err)
{
	const char *again = given->no_reconnect ? NULL : given->socket;
	struct vm_virtio *held;
	struct vhost *v;
	int ret;

	p->cfg.kind = &p->kind;
	p->cfg.name = p->name;
	p->cfg.path = again;
	p->cfg.dma = &vm->dma;
	give_memory(&p->cfg, vm);
	ret = vhost_create(&p->cfg, &v, err);
	if (ret < 0) {
		close(p->cfg.socket);
		return error_is_set(err) ? error_prefix(err, ret, "%s: ", p->name) : ret;
	}
	ret = hand_over(vm, v, again, err);
	if (ret < 0 && !error_is_set(err))
		error_errno(err, ret, "%s: the keeper", p->name);
	if (ret >= 0)
		ret = vm_add_and_hold(vm, vhost_device(v), destroy, NULL, &held, err);
	if (ret < 0) {
		vhost_destroy(&v);
		return ret;
	}
	/* The guest may have found it by now, and then it goes as if the guest had let go of it. */
	ret = attach(vm, v);
	if (ret < 0 && is_started(vm))
		hotplug_take_back(vm, held);
	vm_put(held);
	return ret;
}

static int add(struct catnap_vm *vm, const struct catnap_vhost *given, struct error *err)
{
	struct catnap_vhost vhost = {.fd = -1};
	struct plan p;
	int ret = vm_may_plug(vm, "vhost", &vhost, sizeof(vhost), given, sizeof(vhost), err);

	memset(&p, 0, sizeof(p));
	if (ret == 0)
		ret = make_plan(&p, &vhost, vm, err);
	if (ret == 0)
		ret = open_socket(&vhost, &p, &p.cfg.socket, err);
	if (ret == 0)
		ret = make(vm, &vhost, &p, err);
	if (ret == 0 && vhost.fd >= 0)
		close(vhost.fd); /* taken: the device has its duplicate */
	return ret;
}

int catnap_vm_add_vhost(struct catnap_vm *vm, const struct catnap_vhost *vhost)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "vhost"))
		return -EPERM;
	return vm_added(vm, "vhost", add(vm, vhost, &err), &err);
}
