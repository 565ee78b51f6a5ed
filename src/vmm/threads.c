/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's life as its own threads tell it: this one stands in a pause, that one has left, the guest
 * has ended. The functions that wait for that, from outside, are in life.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/telling.h"
#include "vmm/vm.h"

#define ERRNO_MAX 4095 /* the largest number that a system call may return, negative */

struct catnap_halter *vm_home(struct catnap_vm *vm, uint32_t vcpu)
{
	return vm->io ? &vm->io->halter : &vm->vcpus[vcpu]->halter;
}

bool vm_owns(struct catnap_vm *vm, const struct catnap_halter *h)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		if (&vm->vcpus[i]->halter == h)
			return true;
	return vm->io && &vm->io->halter == h;
}

uint32_t vm_current_vcpu(struct catnap_vm *vm)
{
	const struct catnap_halter *self = halter_self();

	for (uint32_t i = 0; self && i < vm->vcpu_count; i++)
		if (&vm->vcpus[i]->halter == self)
			return i;
	return UINT32_MAX;
}

bool vm_is_own_thread(struct catnap_vm *vm)
{
	const struct catnap_halter *self = halter_self();

	return self && vm_owns(vm, self);
}

const char *vm_inside(struct catnap_vm *vm)
{
	if (telling_runs(vm))
		return "not from the VM's log callback";
	if (vm_is_own_thread(vm))
		return "not from a callback, on one of the VM's own threads";
	return NULL;
}

bool vm_from_inside(struct catnap_vm *vm, const char *what)
{
	const char *where = vm_inside(vm);

	if (where)
		vm_fail(vm, -EDEADLK, "%s: %s", what, where);
	return where != NULL;
}

void vm_tell(int eventfd)
{
	ssize_t n = write(eventfd, &(uint64_t){1}, sizeof(uint64_t));

	(void)n;
}

static void add_ended(struct catnap_vm *vm)
{
	struct catnap_event e = history_event(CATNAP_EVENT_ENDED);

	e.value = vm->exit.reason;
	e.code = vm->exit.code;
	e.vcpu = vm->exit.vcpu;
	snprintf(e.text, sizeof(e.text), "%.*s", (int)strcspn(vm->exit.report, "\n"),
		 vm->exit.report);
	history_add(&vm->history, &e);
}

void vm_tell_rest(struct catnap_vm *vm)
{
	/* Not before: whoever finds it readable finds the VM at rest. */
	if (!vm->ended || vm->running)
		return;
	add_ended(vm);
	vm_tell(vm->end_fd);
}

/* Stops the I/O thread, which is the last to go. Under the lock. */
static void stop_io(struct catnap_vm *vm)
{
	if (vm->ended && vm->io_runs && vm->running == 1)
		halter_wake(&vm->io->halter, IO_WORK_STOP);
}

bool vm_ready(struct catnap_vm *vm, const char *who, const char *what, int error)
{
	const bool odd = error > 0 || error < -ERRNO_MAX; /* by a thread_start */
	struct vm_start *s = &vm->start;
	struct catnap_event started;
	bool go;

	pthread_mutex_lock(&vm->lock);
	if (error && s->error == 0) {
		s->error = odd ? -EINVAL : error;
		s->odd = odd ? error : 0;
		s->what = what;
		snprintf(s->who, sizeof(s->who), "%s", who);
	}
	s->ready++;
	/* The last of them lets all go, and does not wait for the one that starts them. */
	if (s->ready == vm_threads(vm) && s->error == 0) {
		s->gate = VM_GATE_OPEN;
		started = history_event(CATNAP_EVENT_STARTED);
		history_add(&vm->history, &started);
	}
	if (s->gate == VM_GATE_OPEN || s->error < 0)
		pthread_cond_broadcast(&vm->changed);
	while (s->gate == VM_GATE_CLOSED)
		pthread_cond_wait(&vm->changed, &vm->lock);
	go = s->gate == VM_GATE_OPEN;
	pthread_mutex_unlock(&vm->lock);
	return go;
}

void vm_left(struct catnap_vm *vm)
{
	bool last;

	pthread_mutex_lock(&vm->lock);
	vm->running--;
	stop_io(vm);
	pthread_cond_broadcast(&vm->changed);
	vm_tell_rest(vm);
	last = vm_is_left(vm);
	pthread_mutex_unlock(&vm->lock);
	if (last)
		vm->take_apart(vm);
}

bool vm_stands(const struct catnap_vm *vm)
{
	return vm->ended || (vm->started && vm->paused && !vm->reset.wanted && !vm->leaving &&
			     vm->standing == vm_threads(vm));
}

void vm_call_together(struct catnap_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_wake(vm->vcpus[i], VCPU_WORK_PAUSE);
	if (vm->io)
		halter_wake(&vm->io->halter, IO_WORK_PAUSE);
}

void vm_tell_stands(struct catnap_vm *vm)
{
	struct catnap_event e = history_event(CATNAP_EVENT_PAUSED);

	if (!vm_stands(vm))
		return;
	if (!vm->ended && !vm->told_paused) {
		vm->told_paused = true;
		history_add(&vm->history, &e);
	}
	if (vm->paused_fd >= 0)
		vm_tell(vm->paused_fd);
}

/* Makes *@fd if it is not there, readable if @is says so already. It, or -errno of eventfd(2). */
static int make_fd(struct catnap_vm *vm, int *fd, bool (*is)(const struct catnap_vm *vm))
{
	int ret = 0;

	pthread_mutex_lock(&vm->lock);
	if (*fd < 0) {
		*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ret = *fd < 0 ? -errno : 0;
		if (ret == 0 && is(vm))
			vm_tell(*fd);
	}
	if (ret == 0)
		ret = *fd;
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int vm_make_paused_fd(struct catnap_vm *vm)
{
	return make_fd(vm, &vm->paused_fd, vm_stands);
}

static bool is_to_end(const struct catnap_vm *vm)
{
	return vm->ended;
}

int vm_make_stopping_fd(struct catnap_vm *vm)
{
	return make_fd(vm, &vm->stopping_fd, is_to_end);
}

void vm_stand(struct catnap_vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->standing++;
	vm_tell_stands(vm);
	pthread_cond_broadcast(&vm->changed);
	/* A reset works on all vCPUs: until it is done nobody goes on, not even to the end. */
	while (((vm->paused || vm->reset.wanted || vm->leaving) && !vm->ended) || vm->held ||
	       vm->reset.runs) {
		if ((vm->reset.wanted || vm->leaving) && !vm->reset.runs && !vm->held &&
		    vm->standing == vm_threads(vm) && vm_current_vcpu(vm) != UINT32_MAX)
			vm->run_reset(vm);
		else
			pthread_cond_wait(&vm->changed, &vm->lock);
	}
	vm->standing--;
	pthread_mutex_unlock(&vm->lock);
}

void vm_end(struct catnap_vm *vm, const struct catnap_exit *exit)
{
	bool first;

	pthread_mutex_lock(&vm->lock);
	first = !vm->ended;
	if (first) {
		vm->exit = *exit;
		vm->ended = true;
		if (vm->stopping_fd >= 0)
			vm_tell(vm->stopping_fd);
		if (vm->paused_fd >= 0)
			vm_tell(vm->paused_fd);
		vm_tell_rest(vm); /* one that was never started */
		stop_io(vm);
		/* Before anybody leaves a pause: of a guest that stands nothing more is run. */
		for (uint32_t i = 0; i < vm->vcpu_count; i++)
			vcpu_wake(vm->vcpus[i], VCPU_WORK_STOP);
		pthread_cond_broadcast(&vm->changed);
		/* Nobody waits for a page any more. */
		uffd_release(&vm->uffd, &vm->memory);
	}
	pthread_mutex_unlock(&vm->lock);
}

int vm_begin_thread(struct catnap_vm *vm, uint32_t vcpu)
{
	return vm->cfg.thread_start ? vm->cfg.thread_start(vm->cfg.thread_ctx, vcpu) : 0;
}

int vm_confine(struct catnap_vm *vm, const struct sandbox_filter *f)
{
	return vm->cfg.sandbox == CATNAP_SANDBOX_OFF ? 0 : sandbox_filter_install(f);
}
