/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's life after it was made: start, wait, pause, resume, stop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/keeper.h"
#include "vmm/vm.h"

static void tell(int eventfd)
{
	ssize_t n = write(eventfd, &(uint64_t){1}, sizeof(uint64_t));

	(void)n;
}

void vm_tell_rest(struct catnap_vm *vm)
{
	/* Not before: whoever finds it readable finds the VM at rest. */
	if (vm->ended && !vm->running)
		tell(vm->end_fd);
}

/* Under the lock: the I/O thread is the last to go. */
static void stop_io(struct catnap_vm *vm)
{
	if (vm->ended && vm->io_runs && vm->running == 1)
		halter_wake(&vm->io->halter, IO_WORK_STOP);
}

bool vm_owns(struct catnap_vm *vm, const struct catnap_halter *h)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		if (&vm->vcpus[i]->halter == h)
			return true;
	return vm->io && &vm->io->halter == h;
}

bool vm_from_inside(struct catnap_vm *vm, const char *what)
{
	const struct catnap_halter *self = halter_self();

	if (!self || !vm_owns(vm, self))
		return false;
	snprintf(vm->error.text, sizeof(vm->error.text),
		 "%s: would wait for the thread that calls it: one of the VM's own, in a callback",
		 what);
	return true;
}

void vm_left(struct catnap_vm *vm, uint32_t count)
{
	pthread_mutex_lock(&vm->lock);
	vm->running -= count;
	stop_io(vm);
	pthread_cond_broadcast(&vm->changed);
	vm_tell_rest(vm);
	pthread_mutex_unlock(&vm->lock);
}

void vm_stand(struct catnap_vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->standing++;
	pthread_cond_broadcast(&vm->changed);
	while (vm->paused && !vm->ended)
		pthread_cond_wait(&vm->changed, &vm->lock);
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
		tell(vm->stopping_fd);
		vm_tell_rest(vm); /* one that was never started */
		stop_io(vm);
		pthread_cond_broadcast(&vm->changed);
	}
	pthread_mutex_unlock(&vm->lock);
	if (first)
		for (uint32_t i = 0; i < vm->vcpu_count; i++)
			vcpu_wake(vm->vcpus[i], VCPU_WORK_STOP);
}

static void make_filters(struct catnap_vm *vm)
{
	enum catnap_sandbox_mode mode = (enum catnap_sandbox_mode)vm->cfg.sandbox;

	if (mode == CATNAP_SANDBOX_OFF)
		return;
	sandbox_filter_make(&vm->vcpu_filter, SANDBOX_VCPU, vm->sandbox_features, mode, getpid());
	if (vm->io)
		sandbox_filter_make(&vm->io_filter, SANDBOX_IO, vm->sandbox_features, mode,
				    getpid());
}

int vm_confine(struct catnap_vm *vm, const struct sandbox_filter *f)
{
	return vm->cfg.sandbox == CATNAP_SANDBOX_OFF ? 0 : sandbox_filter_install(f);
}

/* Nobody in there may be able to give the keeper orders. */
static int close_keeper_in(struct catnap_vm *vm)
{
	int ret = vm->keeper ? keeper_seal(vm->keeper) : 0;

	if (ret < 0)
		snprintf(vm->error.text, sizeof(vm->error.text),
			 "the process that connects and tidies up for this one: %s",
			 strerror(-ret));
	return ret;
}

int catnap_vm_start(struct catnap_vm *vm)
{
	int ret = close_keeper_in(vm);

	if (ret < 0)
		return ret;
	ret = vcpu_install_kick_handler(vm->host.kick_signal);

	if (ret < 0) {
		snprintf(vm->error.text, sizeof(vm->error.text), "kick signal %d: %s",
			 vm->host.kick_signal, strerror(-ret));
		return ret;
	}
	pthread_mutex_lock(&vm->lock);
	if (vm->started) {
		pthread_mutex_unlock(&vm->lock);
		snprintf(vm->error.text, sizeof(vm->error.text), "the VM was started before");
		return -EALREADY;
	}
	vm->started = true;
	vm->io_runs = vm->io;
	vm->running = vm->vcpu_count + vm->io_runs; /* before any of them can leave */
	pthread_mutex_unlock(&vm->lock);

	atomic_store(&vm->log.deferred, true);
	make_filters(vm);
	if (vm->cfg.halt_trace_fd >= 0 && vm->host.irqchip_user)
		halt_trace_begin(vm_trace_fd(vm));
	if (vm->io) {
		ret = io_start(vm->io);
		if (ret < 0) {
			snprintf(vm->error.text, sizeof(vm->error.text),
				 "starting the I/O thread: %s", strerror(-ret));
			pthread_mutex_lock(&vm->lock);
			vm->io_runs = false;
			pthread_mutex_unlock(&vm->lock);
			vm_left(vm, vm->vcpu_count + 1);
			catnap_vm_stop(vm);
			return ret;
		}
	}
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		ret = vcpu_start(vm->vcpus[i], vm->affinity[i]);
		if (ret == 0)
			continue;
		snprintf(vm->error.text, sizeof(vm->error.text),
			 "starting the thread of vCPU %u: %s", i, strerror(-ret));
		vm_left(vm, vm->vcpu_count - i);
		catnap_vm_stop(vm);
		return ret;
	}
	return 0;
}

int catnap_vm_sandbox_thread(struct catnap_vm *vm, uint32_t allow)
{
	const uint32_t known = CATNAP_SANDBOX_ALLOW_SOCKETS | CATNAP_SANDBOX_ALLOW_UNLINK;
	uint32_t features = vm->sandbox_features;
	struct sandbox_filter f;
	const char *what = NULL;
	bool started;
	int ret = 0;

	pthread_mutex_lock(&vm->lock);
	started = vm->started;
	pthread_mutex_unlock(&vm->lock);
	if (!started)
		what = "the VM was not started";
	else if (allow & ~known)
		what = "sandbox: allow: not one that is known";
	if (what) {
		snprintf(vm->error.text, sizeof(vm->error.text), "%s", what);
		return -EINVAL;
	}
	if (!vm->cfg.sandbox)
		return 0;
	if (allow & CATNAP_SANDBOX_ALLOW_SOCKETS)
		features |= SANDBOX_BIT(SANDBOX_SOCKETS);
	if (allow & CATNAP_SANDBOX_ALLOW_UNLINK)
		features |= SANDBOX_BIT(SANDBOX_UNLINK);
	sandbox_filter_make(&f, SANDBOX_MAIN, features, (enum catnap_sandbox_mode)vm->cfg.sandbox,
			    getpid());
	ret = sandbox_filter_install(&f);
	if (ret < 0)
		snprintf(vm->error.text, sizeof(vm->error.text), "sandbox: %s", strerror(-ret));
	return ret;
}

static struct timespec after(uint64_t ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (ns > UINT64_C(1000000000) * 1000000000)
		ns = UINT64_C(1000000000) * 1000000000; /* 31 years */
	ts.tv_sec += (time_t)(ns / 1000000000u);
	ts.tv_nsec += (long)(ns % 1000000000u);
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	return ts;
}

/* Under the lock: waits until ended and at rest, at most until *deadline (NULL: for ever). */
static int wait_at_rest(struct catnap_vm *vm, const struct timespec *deadline)
{
	int ret = 0;

	while (!(vm->ended && vm->running == 0) && ret == 0)
		ret = deadline ? pthread_cond_timedwait(&vm->changed, &vm->lock, deadline)
			       : pthread_cond_wait(&vm->changed, &vm->lock);
	return -ret;
}

/* Under the lock: the sentence of a wait that was in vain. */
static void say_who_stays(struct catnap_vm *vm)
{
	struct kvm_error *err = &vm->error;
	size_t used;

	if (!vm->ended) {
		snprintf(err->text, sizeof(err->text), "wait: the VM runs");
		return;
	}
	snprintf(err->text, sizeof(err->text),
		 "wait: the VM is to end, but the host holds up or a callback has not returned to");
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		used = strlen(err->text);
		if (atomic_load_explicit(&vm->vcpus[i]->tid, memory_order_relaxed))
			snprintf(err->text + used, sizeof(err->text) - used, " vCPU %u", i);
	}
	used = strlen(err->text);
	if (vm->io_runs && vm->running)
		snprintf(err->text + used, sizeof(err->text) - used, " the I/O thread");
}

int catnap_vm_wait(struct catnap_vm *vm, uint64_t timeout_ns, struct catnap_exit *exit)
{
	struct timespec deadline = after(timeout_ns);
	int ret;

	if (exit && exit->size < offsetof(struct catnap_exit, report))
		return -EINVAL;
	if (timeout_ns && vm_from_inside(vm, "wait"))
		return -EDEADLK;
	pthread_mutex_lock(&vm->lock);
	ret = wait_at_rest(vm, timeout_ns == UINT64_MAX ? NULL : &deadline);
	/* All zeroes, which is CATNAP_EXIT_NONE, until it is known. */
	if (exit && (ret == 0 || ret == -ETIMEDOUT)) {
		uint32_t size = exit->size < sizeof(*exit) ? exit->size : sizeof(*exit);

		memcpy(exit, &vm->exit, size);
		exit->size = size;
	}
	if (ret == -ETIMEDOUT)
		say_who_stays(vm);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int catnap_vm_flush_halt_trace(struct catnap_vm *vm, uint64_t *lost)
{
	bool at_rest;
	int ret = 0;

	*lost = 0;
	pthread_mutex_lock(&vm->lock);
	at_rest = vm->ended && vm->running == 0;
	pthread_mutex_unlock(&vm->lock);
	if (!at_rest)
		return -EBUSY;
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		struct halt_trace *t = vm->vcpus[i]->halter.trace;
		int one = t ? halt_trace_flush(t) : 0;

		if (one < 0 && (ret == 0 || ret == -EAGAIN))
			ret = one;
		*lost += t ? halt_trace_lost(t) : 0;
	}
	return ret;
}

int catnap_vm_get_fd(struct catnap_vm *vm)
{
	return vm->end_fd;
}

int catnap_vm_get_stopping_fd(struct catnap_vm *vm)
{
	return vm->stopping_fd;
}

int catnap_vm_request_stop(struct catnap_vm *vm)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = CATNAP_EXIT_STOPPED};

	vm_end(vm, &e);
	return 0;
}

int catnap_vm_stop(struct catnap_vm *vm)
{
	int ret;

	if (vm_from_inside(vm, "stop"))
		return -EDEADLK;
	catnap_vm_request_stop(vm);
	pthread_mutex_lock(&vm->lock);
	ret = wait_at_rest(vm, NULL);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int catnap_vm_pause(struct catnap_vm *vm)
{
	uint32_t resumes;
	int ret = 0;

	if (vm_from_inside(vm, "pause"))
		return -EDEADLK;
	pthread_mutex_lock(&vm->lock);
	if (!vm->started || vm->ended)
		ret = -EINVAL;
	else
		vm->paused = true;
	resumes = vm->resumes;
	pthread_mutex_unlock(&vm->lock);
	if (ret < 0) {
		snprintf(vm->error.text, sizeof(vm->error.text), "the VM does not run");
		return ret;
	}
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_wake(vm->vcpus[i], VCPU_WORK_PAUSE);
	if (vm->io)
		halter_wake(&vm->io->halter, IO_WORK_PAUSE);
	pthread_mutex_lock(&vm->lock);
	while (vm->resumes == resumes && !vm->ended && vm->standing < vm->vcpu_count + vm->io_runs)
		pthread_cond_wait(&vm->changed, &vm->lock);
	ret = vm->ended ? -EINVAL : vm->resumes != resumes ? -ECANCELED : 0;
	pthread_mutex_unlock(&vm->lock);
	if (ret < 0)
		snprintf(vm->error.text, sizeof(vm->error.text),
			 ret == -EINVAL ? "the VM has ended" : "another thread resumed the VM");
	return ret;
}

int catnap_vm_resume(struct catnap_vm *vm)
{
	int ret = 0;

	pthread_mutex_lock(&vm->lock);
	if (!vm->started || vm->ended)
		ret = -EINVAL;
	vm->paused = false;
	vm->resumes++;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	if (ret < 0)
		snprintf(vm->error.text, sizeof(vm->error.text), "the VM does not run");
	return ret;
}
