/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resets a VM in place: the guest begins anew, from its image, in the same VM. All threads stand,
 * as in a pause, with nothing in flight; the vCPU that finds that they do takes the machine back to
 * what it was at power-on, and lets them go. So it can be asked for by anybody, the guest among
 * them, and no thread of the library's is there for it.
 *
 * All that is the host's stays: the VM and its threads, devices and what they are on, sockets,
 * eventfds, doorbells, settings that were changed, statistics, and what halt polling has learned.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/irq.h"
#include "vmm/vm.h"

/* -- the machine ------------------------------------------------------------------------------ */

static void reset_devices(struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < VM_VIRTIO_MAX; i++) {
		struct vm_virtio *v = vm_standing(vm, i);

		if (v && v->pci)
			virtio_pci_reset(v->pci);
		else if (v)
			virtio_mmio_reset(&v->mmio);
	}
	if (vm->pci_made)
		pci_bus_reset(&vm->pci);
	serial_reset(&vm->com1);
	vm->control.reset_register = 0;
	atomic_store(&vm->power.status, 0);
}

static int reset_machine(struct catnap_vm *vm, struct error *err)
{
	int ret = 0;

	reset_devices(vm);
	for (uint32_t i = 0; i < vm->vcpu_count && ret == 0; i++)
		ret = vcpu_reset(vm->vcpus[i], err);
	/* After the devices, which hold their pins down now, and the local APICs. */
	if (ret == 0)
		ret = irq_reset(vm, err);
	vm_unplug(vm);
	if (ret == 0)
		ret = memory_clear(&vm->memory, err);
	return ret == 0 ? vm_load(vm, err) : ret;
}

static void failed(struct catnap_vm *vm, int ret, const struct error *err)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = CATNAP_EXIT_HOST_ERROR, .code = ret};

	snprintf(e.report, sizeof(e.report), "the reset: %s\n",
		 err->text[0] ? err->text : strerror(-ret));
	vm_end(vm, &e);
}

void vm_run_reset(struct catnap_vm *vm)
{
	struct catnap_event e = history_event(CATNAP_EVENT_RESTARTED);
	const bool resets = vm->reset.wanted;
	struct error err = {.text = ""};
	int ret = 0;

	vm->reset.runs = true;
	vm->leaving = false;
	pthread_mutex_unlock(&vm->lock);
	hotplug_let_go(vm, resets);
	if (resets)
		ret = reset_machine(vm, &err);
	if (ret < 0)
		failed(vm, ret, &err);
	pthread_mutex_lock(&vm->lock);
	vm->reset.runs = false;
	if (resets)
		vm->reset.wanted = false;
	if (ret == 0 && resets) {
		vm->reset.done++;
		history_add(&vm->history, &e);
	}
	vm_tell_stands(vm);
	pthread_cond_broadcast(&vm->changed);
}

/* -- asking for it ---------------------------------------------------------------------------- */

/* Asks for a reset. *done: how many there have been until then. */
static int ask(struct catnap_vm *vm, const char *what, uint64_t *done)
{
	bool runs;

	if (vm->cfg.on_reset == CATNAP_ON_RESET_END)
		return vm_fail(vm, -ENOTSUP,
			       "%s: the VM has not kept its image: expected on_reset to be "
			       "CATNAP_ON_RESET_RESTART",
			       what);
	pthread_mutex_lock(&vm->lock);
	runs = vm->started && !vm->ended;
	if (runs)
		vm->reset.wanted = true;
	*done = vm->reset.done;
	pthread_cond_broadcast(&vm->changed); /* those that stand */
	pthread_mutex_unlock(&vm->lock);
	if (!runs)
		return vm_fail(vm, -EINVAL, "%s: the VM does not run", what);
	vm_call_together(vm);
	return 0;
}

bool vm_guest_resets(struct catnap_vm *vm)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = CATNAP_EXIT_RESET};
	struct catnap_event asked = history_event(CATNAP_EVENT_RESET);
	uint64_t done = 0;

	asked.vcpu = e.vcpu = vm_current_vcpu(vm);
	history_add(&vm->history, &asked);
	if (vm->cfg.on_reset == CATNAP_ON_RESET_RESTART)
		return ask(vm, "reset", &done) == 0;
	vm_end(vm, &e);
	return false;
}

int catnap_vm_request_reset(struct catnap_vm *vm)
{
	uint64_t done = 0;

	if (vm_in_child(vm, "request_reset"))
		return -EPERM;
	return ask(vm, "request_reset", &done);
}

int catnap_vm_reset(struct catnap_vm *vm)
{
	struct timespec limit = clock_timespec_after(CATNAP_STOP_LIMIT_NS);
	uint64_t done = 0;
	bool ended;
	int ret;

	if (vm_in_child(vm, "reset"))
		return -EPERM;
	if (vm_from_inside(vm, "reset"))
		return -EDEADLK;
	ret = ask(vm, "reset", &done);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&vm->lock);
	while (vm->reset.done == done && !vm->ended && ret == 0)
		ret = -pthread_cond_timedwait(&vm->changed, &vm->lock, &limit);
	ended = vm->reset.done == done && vm->ended;
	if (vm->reset.done != done)
		ret = 0;
	pthread_mutex_unlock(&vm->lock);
	if (ended)
		return vm_fail(vm, -EINVAL, "reset: the VM has ended");
	if (ret < 0)
		return vm_fail(vm, ret,
			       "reset: not all threads stand yet: the host holds them up or a "
			       "callback has not returned to them");
	return 0;
}
