/* SPDX-License-Identifier: Apache-2.0 */
/* Takes off a child's copy of a VM (fork.h) what is the parent's, before the rest is freed. */
#include "devices/virtio/vsock.h"
#include "vmm/telling.h"
#include "vmm/vm.h"

void vm_disown(struct catnap_vm *vm)
{

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
	/* No lock is to be had: its holder is not here. */
	for (unsigned int i = 0; i < vm->virtio_count; i++)
		if (vm->virtio[i] && vm->virtio[i]->dev->id == VIRTIO_ID_VSOCK &&
		    !vm->virtio[i]->dev->external)
			vsock_disown(vsock_of(vm->virtio[i]->dev));
	memory_disown(&vm->memory);
}
