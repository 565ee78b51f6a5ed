/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The start of a VM, which is all or nothing: its threads are made first. Each does what may fail
 * of its own, its timer and its filter, and then waits at a gate (vm_ready()), which the last of
 * them opens. If one cannot be made, or is not ready, those that are there end again, nothing of
 * the guest has run, and the VM is as before.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/keeper.h"
#include "vmm/vm.h"

static void make_filters(struct catnap_vm *vm)
{
	enum catnap_sandbox_mode mode = (enum catnap_sandbox_mode)vm->cfg.sandbox;

	if (mode == CATNAP_SANDBOX_OFF)
		return;
	sandbox_filter_make(&vm->own->vcpu_filter, SANDBOX_VCPU, vm->sandbox_features, mode,
			    getpid());
	if (vm->io)
		sandbox_filter_make(&vm->own->io_filter, SANDBOX_IO, vm->sandbox_features, mode,
				    getpid());
}

/* Seals the keeper: nobody in the sandbox may be able to give it orders. */
static int close_keeper_in(struct catnap_vm *vm)
{
	int ret = vm->keeper ? keeper_seal(vm->keeper) : 0;

	if (ret < 0)
		return vm_fail(vm, ret, "the process that connects and tidies up for this one: %s",
			       strerror(-ret));
	return 0;
}

/* Begins the start: it is started, for all others, from here on. */
static int begin(struct catnap_vm *vm)
{
	struct error err = {.text = ""};
	int ret = 0;

	if (vm_memory_is_lost(vm, &err))
		return vm_fail(vm, -EIO, "start: %s", err.text);
	pthread_mutex_lock(&vm->lock);
	if (vm->started) {
		ret = vm_fail(vm, -EALREADY, "start: the VM was started before");
	} else if (vm->ended) {
		ret = vm_fail(vm, -ECANCELED, "start: the VM was stopped before it was started");
	} else {
		vm->started = true;
		vm->io_runs = vm->io;
		vm->running = vm_threads(vm); /* before any of them can leave */
		vm->start = (struct vm_start){.under_way = true};
		vm->paused = vm->starts_paused;
	}
	pthread_mutex_unlock(&vm->lock);
	/* They find it before they run the guest. */
	if (ret == 0 && vm->starts_paused)
		vm_call_together(vm);
	return ret;
}

/* Prepares what threads need before they are there. */
static void prepare(struct catnap_vm *vm)
{
	atomic_store(&vm->log.deferred, true);
	make_filters(vm);
	if (vm->cfg.halt_trace_fd >= 0 && vm->host.irqchip_user && !vm->trace_begun)
		halt_trace_begin(vm_trace_fd(vm));
	vm->trace_begun = true;
}

static int make_threads(struct catnap_vm *vm)
{
	int ret = vm->io ? io_start(vm->io) : 0;

	if (ret < 0)
		return vm_fail(vm, ret, "start: making the I/O thread: %s", strerror(-ret));
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		ret = vcpu_start(vm->vcpus[i], vm->affinity[i]);
		if (ret < 0)
			return vm_fail(vm, ret, "start: making the thread of vCPU %u: %s", i,
				       strerror(-ret));
	}
	return 0;
}

/* Waits until they have all been let go, or one could not. */
static int wait_for_threads(struct catnap_vm *vm)
{
	struct vm_start *s = &vm->start;
	int ret;

	pthread_mutex_lock(&vm->lock);
	while (s->gate == VM_GATE_CLOSED && s->error == 0)
		pthread_cond_wait(&vm->changed, &vm->lock);
	ret = s->error;
	if (ret < 0 && s->odd)
		vm_fail(vm, ret,
			"start: %s of %s: expected 0 or a negative errno value, it returned %d",
			s->what, s->who, s->odd);
	else if (ret < 0)
		vm_fail(vm, ret, "start: %s of %s: %s", s->what, s->who, strerror(-ret));
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

/* Sends home who waits at the gate. */
static void give_up(struct catnap_vm *vm)
{
	struct error ignored;

	pthread_mutex_lock(&vm->lock);
	vm->start.gate = VM_GATE_GIVEN_UP;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	if (vm->io)
		io_join(vm->io);
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		vcpu_join(vm->vcpus[i]);
		/* If somebody else has taken its place, the next start says so. */
		if (!vm->vcpus[i]->timer_made)
			(void)vcpu_reserve_timer(vm->vcpus[i], &ignored);
	}
	atomic_store(&vm->log.deferred, false);
	vm_log_hand_over(vm);
	pthread_mutex_lock(&vm->lock);
	vm->started = vm->paused = vm->io_runs = false;
	vm->running = 0;
	vm_tell_rest(vm); /* it was stopped meanwhile */
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

/* Finishes the start. A callback may have given the VM up already. */
static void finish(struct catnap_vm *vm)
{
	bool last;

	pthread_mutex_lock(&vm->lock);
	vm->start.under_way = false;
	last = vm_is_left(vm);
	pthread_mutex_unlock(&vm->lock);
	if (last)
		vm->take_apart(vm);
}

int catnap_vm_start(struct catnap_vm *vm)
{
	struct error err = {.text = ""};
	int ret;

	if (vm_in_child(vm, "start"))
		return -EPERM;
	if (vm_from_inside(vm, "start"))
		return -EDEADLK;
	ret = close_keeper_in(vm);
	if (ret < 0)
		return ret;
	ret = kick_install(vm->host.kick_signal, &err);
	if (ret < 0)
		return vm_fail(vm, ret, "%s", err.text);
	ret = begin(vm);
	if (ret < 0)
		return ret;
	vm_memory_say(vm);
	prepare(vm);
	ret = make_threads(vm);
	if (ret == 0)
		ret = wait_for_threads(vm);
	if (ret < 0)
		give_up(vm);
	finish(vm);
	return ret;
}
