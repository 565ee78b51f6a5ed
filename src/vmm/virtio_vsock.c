/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device in a VM. */
#include <errno.h>
#include <unistd.h>

#include "devices/virtio/vsock.h"
#include "sandbox/keeper.h"
#include "sized.h"
#include "vmm/vm.h"

void catnap_vsock_init_sized(struct catnap_vsock *vsock, size_t size)
{
	static const struct catnap_vsock defaults = {.fd = -1};

	sized_init(vsock, size, &defaults, sizeof(defaults));
}

void(catnap_vsock_init)(struct catnap_vsock *vsock)
{
	catnap_vsock_init_sized(vsock, sizeof(*vsock));
}

static void destroy(struct virtio_device *dev)
{
	struct vsock *vs = vsock_of(dev);

	vsock_destroy(&vs);
}

/* Hands over to the keeper, which connects for @vs, if there is a sandbox, and removes its socket
 * if that is ours. */
static int hand_over(struct catnap_vm *vm, struct vsock *vs, const char *path, bool given)
{
	int ret, fd;

	if (!path[0])
		return 0;
	ret = vm_need_keeper(vm);
	if (ret < 0 || !vm->keeper)
		return ret;
	if (!given) {
		ret = catnap_keeper_add_socket(vm->keeper, path);
		if (ret < 0)
			return ret;
		vsock_leave_socket(vs);
	}
	if (vm->cfg.sandbox == CATNAP_SANDBOX_OFF)
		return 0;
	ret = keeper_connector(vm->keeper, path, &fd);
	return ret < 0 ? ret : vsock_ask_over(vs, fd);
}

static int make(struct catnap_vm *vm, const struct vsock_config *cfg, struct vsock **vs,
		struct error *err)
{
	int ret = vsock_create(cfg, vs, err);

	if (ret < 0)
		return ret;
	ret = hand_over(vm, *vs, cfg->path, cfg->given);
	if (ret < 0) {
		error_errno(err, ret, "%s", cfg->path);
		vsock_destroy(vs);
	}
	return ret;
}

static int add(struct catnap_vm *vm, const struct catnap_vsock *given, struct error *err)
{
	struct vsock_config cfg = {.dma = &vm->dma};
	struct catnap_vsock v = {.fd = -1};
	struct vm_made made = {.place = NULL};
	struct vsock *vs;
	int ret = vm_may_add(vm, "vsock", &v, sizeof(v), given, offsetof(struct catnap_vsock, fd),
			     err);

	if (ret < 0)
		return ret;
	cfg.cid = v.cid;
	cfg.path = v.path ? v.path : "";
	cfg.given = v.fd >= 0;
	cfg.fd = v.fd;
	if (vm_find_virtio(vm, VIRTIO_ID_VSOCK))
		return error_fail(err, -EEXIST, "vsock: there is one already");
	ret = make(vm, &cfg, &vs, err);
	if (ret < 0)
		return error_is_set(err) ? error_prefix(err, ret, "vsock: ") : ret;
	made.vsock = v;
	made.place = (char *)v.path;
	ret = vm_add_virtio(vm, vsock_device(vs), destroy, &made, err);
	if (ret < 0) {
		vsock_destroy(&vs);
		return ret;
	}
	ret = vsock_attach(vs, vsock_device(vs)->home);
	if (ret == 0 && v.fd >= 0)
		close(v.fd); /* taken: the device has its duplicate */
	return ret;
}

int catnap_vm_set_vsock(struct catnap_vm *vm, const struct catnap_vsock *vsock)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "vsock"))
		return -EPERM;
	return vm_added(vm, "vsock", add(vm, vsock, &err), &err);
}
