/* SPDX-License-Identifier: Apache-2.0 */
/* What a program does with a VM that is there, beside its life: halt polling, guest memory, input. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "sized.h"
#include "vcpus.h"
#include "vmm/config.h"
#include "vmm/vm.h"

int catnap_vm_set_halt_poll(struct catnap_vm *vm, int32_t vcpu,
			    const struct catnap_halt_poll *params)
{
	int ret;

	if (vm_in_child(vm, "set_halt_poll"))
		return -EPERM;
	if (catnap_halt_poll_check(params) < 0)
		return vm_fail(vm, -EINVAL, "set_halt_poll: " HALT_POLL_WRONG);
	if (vcpu < -1 || vcpu >= (int32_t)vm->vcpu_count)
		return vm_fail(vm, -EINVAL,
			       "set_halt_poll: there is no vCPU %d: the VM has %s; -1: all", vcpu,
			       vcpus_words(vm->vcpu_count).text);
	if (!vm->host.irqchip_user) { /* KVM has one setting per VM */
		ret = kernel_poll_set(vm, params);
		if (ret < 0)
			return vm_fail(vm, ret, "set_halt_poll: KVM_CAP_HALT_POLL: %s",
				       strerror(-ret));
		vcpu = -1;
	}
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		if (vcpu < 0 || (uint32_t)vcpu == i)
			vcpu_set_halt_poll(vm->vcpus[i], params);
	if (vm->io && vcpu < 0)
		policy_set(&vm->io->halter.policy, params);
	return 0;
}

int catnap_vm_get_halt_poll(struct catnap_vm *vm, uint32_t vcpu, struct catnap_halt_poll *params)
{
	struct catnap_halt_poll p;

	if (vm_in_child(vm, "get_halt_poll"))
		return -EPERM;
	if (vcpu >= vm->vcpu_count)
		return vm_fail(vm, -EINVAL, "get_halt_poll: there is no vCPU %u: the VM has %s",
			       vcpu, vcpus_words(vm->vcpu_count).text);
	vcpu_get_halt_poll(vm->vcpus[vcpu], &p);
	if (sized_out(params, &p, sizeof(p), offsetof(struct catnap_halt_poll, bias)) < 0)
		return vm_wrong_size(vm, "get_halt_poll");
	return 0;
}

int catnap_vm_guest_memory(struct catnap_vm *vm, uint64_t gpa, size_t len, void **ptr)
{
	if (vm_in_child(vm, "guest_memory"))
		return -EPERM;
	if (!ptr)
		return vm_no_place(vm, "guest_memory: ptr");
	*ptr = memory_at(&vm->memory, gpa, len);
	if (*ptr) {
		memory_wrote(&vm->memory, gpa, len, true);
		return 0;
	}
	return vm_fail(vm, -EFAULT, "guest_memory: not all of 0x%zx bytes at 0x%llx is memory", len,
		       (unsigned long long)gpa);
}

int catnap_vm_get_memory_fd(struct catnap_vm *vm)
{
	if (vm_in_child(vm, "get_memory_fd"))
		return -EPERM;
	if (vm->memory.map.fd < 0)
		return vm_fail(vm, -ENOTSUP,
			       "get_memory_fd: the memory is private: expected memory_shared");
	return vm->memory.map.fd;
}

size_t catnap_vm_serial_input(struct catnap_vm *vm, const void *data, size_t len)
{
	if (vm_in_child(vm, "serial_input"))
		return 0;
	return serial_input(&vm->com1, data, len);
}
