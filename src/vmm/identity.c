/* SPDX-License-Identifier: Apache-2.0 */
/* The identity of a VM: its state, name and configuration, and its threads' numbers. */
#include <errno.h>

#include "sized.h"
#include "vcpus.h"
#include "vmm/vm.h"

int catnap_vm_get_state(struct catnap_vm *vm)
{
	enum catnap_vm_state state = CATNAP_VM_RUNNING;

	if (vm_in_child(vm, "get_state"))
		return -EPERM;
	pthread_mutex_lock(&vm->lock);
	if (vm->ended)
		state = vm->running ? CATNAP_VM_ENDING : CATNAP_VM_ENDED;
	else if (!vm->started)
		state = CATNAP_VM_MADE;
	else if (vm->paused)
		state = CATNAP_VM_PAUSED;
	pthread_mutex_unlock(&vm->lock);
	return (int)state;
}

const char *catnap_vm_get_name(const struct catnap_vm *vm)
{
	return vm->name;
}

uint32_t catnap_vm_get_vcpu_count(const struct catnap_vm *vm)
{
	return vm->vcpu_count;
}

int catnap_vm_get_config(struct catnap_vm *vm, struct catnap_vm_config *cfg)
{
	if (vm_in_child(vm, "get_config"))
		return -EPERM;
	if (sized_out(cfg, &vm->cfg, sizeof(vm->cfg), sizeof(cfg->size)) < 0)
		return vm_wrong_size(vm, "get_config");
	return 0;
}

int catnap_vm_get_vcpu_tid(struct catnap_vm *vm, uint32_t vcpu)
{
	int tid;

	if (vm_in_child(vm, "get_vcpu_tid"))
		return -EPERM;
	if (vcpu >= vm->vcpu_count)
		return vm_fail(vm, -EINVAL, "get_vcpu_tid: there is no vCPU %u: the VM has %s",
			       vcpu, vcpus_words(vm->vcpu_count).text);
	tid = atomic_load_explicit(&vm->vcpus[vcpu]->tid, memory_order_acquire);
	if (tid)
		return tid;
	return vm_fail(vm, -ESRCH, "get_vcpu_tid: vCPU %u has no thread now", vcpu);
}

int catnap_vm_get_io_tid(struct catnap_vm *vm)
{
	int tid;

	if (vm_in_child(vm, "get_io_tid"))
		return -EPERM;
	if (!vm->io)
		return vm_fail(vm, -ENOENT, "get_io_tid: this VM has no I/O thread");
	tid = atomic_load(&vm->io->tid);
	return tid ? tid : vm_fail(vm, -ESRCH, "get_io_tid: the I/O thread does not run now");
}
