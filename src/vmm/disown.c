/* SPDX-License-Identifier: Apache-2.0 */
/* Takes off a child's copy of a VM (fork.h) what is the parent's, before the rest is freed. */
#include "devices/virtio/vsock.h"
#include "vmm/telling.h"
#include "vmm/vm.h"

void vm_disown(struct catnap_vm *vm)
{
	struct virtio_device *vsock = vm_find_virtio(vm, VIRTIO_ID_VSOCK);

	/* A callback may have forked, on a thread of the VM's. */
	telling_forget(vm);
	if (vm_is_own_thread(vm)) {
		kick_take(NULL);
		halter_set_self(NULL);
	}
	vm->gone_fd = -1;
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_disown(vm->vcpus[i]);
	if (vm->io) {
		vm->io->has_thread = false;
		halt_trace_drop(&vm->io->halter.trace);
	}
	if (vsock)
		vsock_disown(vsock_of(vsock));
	memory_disown(&vm->memory);
}
