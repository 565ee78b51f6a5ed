/* SPDX-License-Identifier: Apache-2.0 */
/* See last_error.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "vmm/last_error.h"
#include "vmm/vm.h"

static _Thread_local struct {
	const struct catnap_vm *vm; /* with born, which VM: addresses are used again */
	uint64_t born;
	char text[512];
} last;

int vm_fail(const struct catnap_vm *vm, int ret, const char *format, ...)
{
	int used = vm && vm->name[0] ? snprintf(last.text, sizeof(last.text), "%s: ", vm->name) : 0;
	va_list args;

	va_start(args, format);
	vsnprintf(last.text + used, sizeof(last.text) - (size_t)used, format, args);
	va_end(args);
	last.vm = vm;
	last.born = vm ? vm->born : 0;
	return ret;
}

int vm_wrong_size(const struct catnap_vm *vm, const char *what)
{
	return vm_fail(vm, -EINVAL, "%s: the structure's size is not this library's, or it is NULL",
		       what);
}

int vm_no_place(const struct catnap_vm *vm, const char *what)
{
	return vm_fail(vm, -EINVAL, "%s: expected a pointer, not NULL", what);
}

const char *catnap_vm_last_error(const struct catnap_vm *vm)
{
	if (vm && (last.vm != vm || last.born != vm->born))
		return "";
	return last.text;
}
