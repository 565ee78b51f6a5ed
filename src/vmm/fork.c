/* SPDX-License-Identifier: Apache-2.0 */
/* See fork.h. */
#include <errno.h>

#include "fork_mark.h"
#include "vmm/vm.h"

int vm_own_init(struct catnap_vm *vm)
{
	vm->own = fork_mark_alloc(sizeof(*vm->own));
	if (!vm->own)
		return -errno;
	vm->own->here = 1;
	return 0;
}

void vm_own_fini(struct catnap_vm *vm)
{
	fork_mark_free(vm->own, sizeof(*vm->own));
	vm->own = NULL;
}

bool vm_is_copy(const struct catnap_vm *vm)
{
	/* One that has no mark yet is being made, by this process. */
	return vm->own && !vm->own->here;
}

bool vm_in_child(const struct catnap_vm *vm, const char *what)
{
	if (!vm_is_copy(vm))
		return false;
	vm_fail(vm, -EPERM,
		"%s: the VM is not this process's, which is a child of the one that made it", what);
	return true;
}
