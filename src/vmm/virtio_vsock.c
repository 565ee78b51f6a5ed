/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device in a VM. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/virtio/vsock.h"
#include "sandbox/keeper.h"
#include "sized.h"
#include "vmm/vm.h"

void catnap_vsock_init_sized(struct catnap_vsock *vsock, size_t size)
{
	static const struct catnap_vsock defaults = {.size = 0};

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

/* Who will do what the sandbox forbids: the caller's keeper, or one of our own. */
static int need_keeper(struct catnap_vm *vm)
{
	int ret;

	if (vm->keeper || vm->cfg.sandbox == CATNAP_SANDBOX_OFF)
		return 0;
	/* A copy of the guest's memory is the last thing that it needs. */
	memory_inherit(&vm->memory, false);
	ret = catnap_keeper_start(&vm->keeper, vm->cfg.sandbox, -1, NULL, NULL);
	memory_inherit(&vm->memory, true);
	vm->keeper_own = ret == 0;
	return ret;
}

/* The keeper connects for @vs, if there is a sandbox, and removes its socket. */
static int hand_over(struct catnap_vm *vm, struct vsock *vs, const char *path)
{
	int ret = need_keeper(vm), fd;

	if (ret < 0 || !vm->keeper)
		return ret;
	ret = catnap_keeper_add_socket(vm->keeper, path);
	if (ret < 0)
		return ret;
	vsock_leave_socket(vs);
	if (vm->cfg.sandbox == CATNAP_SANDBOX_OFF)
		return 0;
	ret = keeper_connector(vm->keeper, path, &fd);
	return ret < 0 ? ret : vsock_ask_over(vs, fd);
}

static int make(struct catnap_vm *vm, const struct vsock_config *cfg, struct vsock **vs, char *why,
		size_t len)
{
	int ret = vsock_create(cfg, vs, why, len);

	if (ret < 0)
		return ret;
	ret = hand_over(vm, *vs, cfg->path);
	if (ret < 0) {
		snprintf(why, len, "%s: %s", cfg->path, strerror(-ret));
		vsock_destroy(vs);
	}
	return ret;
}

static int add(struct catnap_vm *vm, const struct catnap_vsock *v, struct kvm_error *err)
{
	struct vsock_config cfg = {.cid = v->cid, .path = v->path ? v->path : "", .dma = &vm->dma};
	struct vsock *vs;
	char why[192];
	int ret = vm_may_add(vm, "vsock", v->size, sizeof(*v), err);

	if (ret < 0)
		return ret;
	if (vm_find_virtio(vm, VIRTIO_ID_VSOCK))
		return -EEXIST;
	ret = make(vm, &cfg, &vs, why, sizeof(why));
	if (ret < 0) {
		if (ret != -ENOMEM)
			snprintf(err->text, sizeof(err->text), "vsock: %s", why);
		return ret;
	}
	ret = vm_add_virtio(vm, vsock_device(vs), destroy, err);
	if (ret < 0) {
		vsock_destroy(&vs);
		return ret;
	}
	return vsock_attach(vs, vsock_device(vs)->home);
}

int catnap_vm_set_vsock(struct catnap_vm *vm, const struct catnap_vsock *vsock)
{
	struct kvm_error err = {.text = ""};

	return vm_added(vm, "vsock", add(vm, vsock, &err), &err);
}
