/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device in a VM. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/virtio/vsock.h"
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
	ret = vsock_create(&cfg, &vs, why, sizeof(why));
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
