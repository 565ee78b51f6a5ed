/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By what a VM's devices wait: made with the VM, so that what is not to be had is known then, and
 * because a process that has closed itself in may neither make an io_uring nor lock memory for one.
 * Threads may use them only if there is something that does. Where there is none
 * for each vCPU, the I/O thread runs the devices: it needs one only, and where there is not even
 * that, it sleeps in poll(2), which would not end a vCPU's stay in its guest.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/vm.h"

static int prepare_vcpus(struct catnap_vm *vm)
{
	int ret = 0;

	for (uint32_t i = 0; i < vm->vcpu_count && ret == 0; i++)
		ret = ring_prepare(&vm->vcpus[i]->halter.ring, false);
	return ret;
}

/* Gives the I/O thread one of the rings that were made: the memory of a ring is not free at once
 * when it is gone. */
static void take_from_vcpus(struct catnap_vm *vm)
{
	if (vm->vcpus[0]->halter.ring.made)
		ring_move(&vm->io->halter.ring, &vm->vcpus[0]->halter.ring);
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		ring_unprepare(&vm->vcpus[i]->halter.ring);
}

static void tell(struct catnap_vm *vm, int ret)
{
	char text[320];

	if (vm->io->halter.ring.plain)
		snprintf(text, sizeof(text),
			 "without io_uring: %s%s: the I/O thread runs the devices by poll(2) and "
			 "plain reads and writes, which is slower",
			 strerror(-ret), ring_advice(ret));
	else
		snprintf(text, sizeof(text),
			 "no io_uring for each vCPU: %s%s: the I/O thread runs the devices",
			 strerror(-ret), ring_advice(ret));
	vm_log(vm, CATNAP_LOG_WARN, text);
}

static int prepare_io(struct catnap_vm *vm, int why)
{
	int ret = vm->io ? 0 : io_init(vm);
	struct ring *ring;

	if (ret < 0)
		return ret;
	if (why < 0)
		take_from_vcpus(vm);
	ring = &vm->io->halter.ring;
	ret = ring_prepare(ring, false);
	if (ret < 0) {
		why = ret;
		ret = ring_prepare(ring, true);
	}
	if (ret == 0 && why < 0)
		tell(vm, why);
	return ret;
}

int vm_make_rings(struct catnap_vm *vm)
{
	int ret = 0;

	if (vm->cfg.no_rings)
		return 0;
	if (!vm->io)
		ret = prepare_vcpus(vm);
	if (vm->io || ret < 0)
		ret = prepare_io(vm, ret);
	vm->rings_made = ret == 0;
	return ret;
}

int vm_use_rings(struct catnap_vm *vm, const char *what, struct error *err)
{
	if (!vm->rings_made)
		return error_fail(err, -EINVAL, "%s: the VM was made with no_rings", what);
	vm->sandbox_features |= vm->io && vm->io->halter.ring.plain
					? SANDBOX_BIT(SANDBOX_POLL) | SANDBOX_BIT(SANDBOX_EPOLL)
					: SANDBOX_BIT(SANDBOX_RING);
	return 0;
}
