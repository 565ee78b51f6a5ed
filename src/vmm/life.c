/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's life from outside, once it was started (start.c): wait, pause, resume, and its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sized.h"
#include "vmm/telling.h"
#include "vmm/vm.h"

int catnap_vm_sandbox_thread(struct catnap_vm *vm, uint32_t allow)
{
	const uint32_t known = CATNAP_SANDBOX_ALLOW_SOCKETS | CATNAP_SANDBOX_ALLOW_UNLINK |
			       CATNAP_SANDBOX_ALLOW_CONTROL | CATNAP_SANDBOX_ALLOW_IMAGES |
			       CATNAP_SANDBOX_ALLOW_SNAPSHOTS;
	uint32_t features = vm->sandbox_features;
	struct sandbox_filter f;
	bool started;
	int ret;

	if (vm_in_child(vm, "sandbox_thread"))
		return -EPERM;
	if (vm_from_inside(vm, "sandbox_thread"))
		return -EDEADLK;
	pthread_mutex_lock(&vm->lock);
	started = vm->started;
	pthread_mutex_unlock(&vm->lock);
	if (!started)
		return vm_fail(vm, -EINVAL, "sandbox_thread: the VM was not started");
	if (allow & ~known)
		return vm_fail(vm, -EINVAL, "sandbox_thread: allow: 0x%x is not known",
			       allow & ~known);
	if (!vm->cfg.sandbox)
		return 0;
	if (allow & CATNAP_SANDBOX_ALLOW_SOCKETS)
		features |= SANDBOX_BIT(SANDBOX_SOCKETS);
	if (allow & CATNAP_SANDBOX_ALLOW_UNLINK)
		features |= SANDBOX_BIT(SANDBOX_UNLINK);
	if (allow & CATNAP_SANDBOX_ALLOW_CONTROL)
		features |= SANDBOX_BIT(SANDBOX_SOCKETS) | SANDBOX_BIT(SANDBOX_CONTROL);
	if (allow & CATNAP_SANDBOX_ALLOW_IMAGES)
		features |= SANDBOX_BIT(SANDBOX_OPEN) | SANDBOX_BIT(SANDBOX_FILES);
	if (allow & CATNAP_SANDBOX_ALLOW_SNAPSHOTS)
		features |= SANDBOX_BIT(SANDBOX_SNAPSHOT);
	sandbox_filter_make(&f, SANDBOX_MAIN, features, (enum catnap_sandbox_mode)vm->cfg.sandbox,
			    getpid());
	ret = sandbox_filter_install(&f);
	return ret < 0 ? vm_fail(vm, ret, "sandbox_thread: %s", strerror(-ret)) : 0;
}

/* Waits until ended and at rest, at most until *deadline (NULL: for ever). Under the lock. */
static int wait_at_rest(struct catnap_vm *vm, const struct timespec *deadline)
{
	int ret = 0;

	while (!(vm->ended && vm->running == 0) && ret == 0)
		ret = deadline ? pthread_cond_timedwait(&vm->changed, &vm->lock, deadline)
			       : pthread_cond_wait(&vm->changed, &vm->lock);
	return -ret;
}

/* Makes the sentence of a wait that was in vain. Under the lock. */
static void say_who_stays(struct catnap_vm *vm, const char *what)
{
	char who[400] = "";
	size_t used = 0;

	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		if (atomic_load_explicit(&vm->vcpus[i]->tid, memory_order_relaxed))
			snprintf(who + used, sizeof(who) - used, " vCPU %u", i);
		used += strlen(who + used);
	}
	if (vm->io_runs && vm->running)
		snprintf(who + used, sizeof(who) - used, " the I/O thread");
	if (vm->ended)
		vm_fail(vm, -ETIMEDOUT,
			"%s: the VM is to end, but the host holds up or a callback has not "
			"returned to%s",
			what, who);
	else
		vm_fail(vm, -ETIMEDOUT, "%s: the VM %s", what,
			vm->started ? "runs" : "was not started");
}

int catnap_vm_wait(struct catnap_vm *vm, uint64_t timeout_ns, struct catnap_exit *exit)
{
	struct timespec deadline = clock_timespec_after(timeout_ns);
	int ret;

	if (vm_in_child(vm, "wait"))
		return -EPERM;
	if (exit && exit->size < offsetof(struct catnap_exit, report))
		return vm_wrong_size(vm, "wait");
	if (timeout_ns && vm_from_inside(vm, "wait"))
		return -EDEADLK;
	pthread_mutex_lock(&vm->lock);
	ret = wait_at_rest(vm, timeout_ns == UINT64_MAX ? NULL : &deadline);
	/* All zeroes, which is CATNAP_EXIT_NONE, until it is known. */
	if (exit && (ret == 0 || ret == -ETIMEDOUT))
		sized_out(exit, &vm->exit, sizeof(vm->exit), sizeof(exit->size));
	if (ret == -ETIMEDOUT)
		say_who_stays(vm, "wait");
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int catnap_vm_flush_halt_trace(struct catnap_vm *vm, uint64_t *lost)
{
	bool at_rest;
	int ret = 0;

	if (vm_in_child(vm, "flush_halt_trace"))
		return -EPERM;
	if (!lost)
		return vm_no_place(vm, "flush_halt_trace: lost");
	*lost = 0;
	pthread_mutex_lock(&vm->lock);
	at_rest = vm->ended && vm->running == 0;
	pthread_mutex_unlock(&vm->lock);
	if (!at_rest)
		return vm_fail(vm, -EBUSY, "flush_halt_trace: the VM has not ended");
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		struct halt_trace *t = vm->vcpus[i]->halter.trace;
		int one = t ? halt_trace_flush(t) : 0;

		if (one < 0 && (ret == 0 || ret == -EAGAIN))
			ret = one;
		*lost += t ? halt_trace_lost(t) : 0;
	}
	if (ret == -EAGAIN)
		return vm_fail(vm, ret,
			       "flush_halt_trace: the reader of the pipe has not read all");
	return ret < 0 ? vm_fail(vm, ret, "flush_halt_trace: writing: %s", strerror(-ret)) : 0;
}

int catnap_vm_get_fd(struct catnap_vm *vm)
{
	if (vm_in_child(vm, "get_fd"))
		return -EPERM;
	return vm->end_fd;
}

int catnap_vm_get_stopping_fd(struct catnap_vm *vm)
{
	int ret;

	if (vm_in_child(vm, "get_stopping_fd"))
		return -EPERM;
	ret = vm_make_stopping_fd(vm);
	return ret < 0 ? vm_fail(vm, ret, "get_stopping_fd: eventfd: %s", strerror(-ret)) : ret;
}

int catnap_vm_get_paused_fd(struct catnap_vm *vm)
{
	int ret;

	if (vm_in_child(vm, "get_paused_fd"))
		return -EPERM;
	ret = vm_make_paused_fd(vm);
	return ret < 0 ? vm_fail(vm, ret, "get_paused_fd: eventfd: %s", strerror(-ret)) : ret;
}

int catnap_vm_request_stop(struct catnap_vm *vm)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = CATNAP_EXIT_STOPPED};

	if (vm_in_child(vm, "request_stop"))
		return -EPERM;
	vm_end(vm, &e);
	return 0;
}

int catnap_vm_stop(struct catnap_vm *vm)
{
	struct timespec limit = clock_timespec_after(CATNAP_STOP_LIMIT_NS);
	int ret;

	if (vm_in_child(vm, "stop"))
		return -EPERM;
	if (vm_from_inside(vm, "stop"))
		return -EDEADLK;
	catnap_vm_request_stop(vm);
	pthread_mutex_lock(&vm->lock);
	ret = wait_at_rest(vm, &limit);
	if (ret < 0)
		say_who_stays(vm, "stop");
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

/* Begins a pause. *resumes: how often it was resumed until then. */
static int begin_pause(struct catnap_vm *vm, const char *what, uint32_t *resumes)
{
	bool runs, again;

	pthread_mutex_lock(&vm->lock);
	runs = vm->started && !vm->ended;
	again = vm->paused;
	if (runs)
		vm->paused = true;
	/* Threads that it was resumed from may not have gone on yet. */
	if (runs && !again)
		vm_tell_stands(vm);
	*resumes = vm->resumes;
	pthread_mutex_unlock(&vm->lock);
	if (!runs)
		return vm_fail(vm, -EINVAL, "%s: the VM does not run", what);
	vm_call_together(vm);
	return 0;
}

int catnap_vm_request_pause(struct catnap_vm *vm)
{
	uint32_t resumes;

	if (vm_in_child(vm, "request_pause"))
		return -EPERM;
	return begin_pause(vm, "request_pause", &resumes);
}

/* Waits until it stands still, or cannot any more. Under the lock. */
static int wait_until_it_stands(struct catnap_vm *vm, uint32_t resumes)
{
	struct timespec limit = clock_timespec_after(CATNAP_STOP_LIMIT_NS);
	int ret = 0;

	while (vm->resumes == resumes && vm->started && !vm_stands(vm) && ret == 0)
		ret = pthread_cond_timedwait(&vm->changed, &vm->lock, &limit);
	if (vm->ended || !vm->started)
		return vm_fail(vm, -EINVAL, "pause: the VM has ended");
	if (vm->resumes != resumes)
		return vm_fail(vm, -ECANCELED, "pause: another thread resumed the VM");
	if (vm_stands(vm))
		return 0;
	return vm_fail(vm, -ETIMEDOUT,
		       "pause: %u of %u threads do not stand yet: the host holds them up or a "
		       "callback has not returned to them",
		       vm_threads(vm) - vm->standing, vm_threads(vm));
}

int catnap_vm_pause(struct catnap_vm *vm)
{
	uint32_t resumes;
	int ret;

	if (vm_in_child(vm, "pause"))
		return -EPERM;
	if (vm_from_inside(vm, "pause"))
		return -EDEADLK;
	ret = begin_pause(vm, "pause", &resumes);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&vm->lock);
	ret = wait_until_it_stands(vm, resumes);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int catnap_vm_resume(struct catnap_vm *vm)
{
	uint64_t n;
	bool runs;

	if (vm_in_child(vm, "resume"))
		return -EPERM;
	pthread_mutex_lock(&vm->lock);
	runs = vm->started && !vm->ended;
	if (runs) {
		vm->paused = false;
		vm->resumes++;
		if (vm->told_paused) {
			struct catnap_event e = history_event(CATNAP_EVENT_RESUMED);

			vm->told_paused = false;
			history_add(&vm->history, &e);
		}
		/* Not readable any more; it does not block. */
		if (vm->paused_fd >= 0 && read(vm->paused_fd, &n, sizeof(n)) < 0)
			n = 0;
		pthread_cond_broadcast(&vm->changed);
	}
	pthread_mutex_unlock(&vm->lock);
	return runs ? 0 : vm_fail(vm, -EINVAL, "resume: the VM does not run");
}

/*
 * Returns whether @fd is an eventfd. It calls nothing but write(2), which threads in the sandbox
 * may call. An eventfd takes 8 bytes and no fewer, and 0 changes nothing in it (eventfd(2)). A
 * descriptor that takes no bytes at once, as a file or a pipe does, is not asked further.
 */
static bool is_eventfd(int fd)
{
	static const uint64_t nothing;

	return write(fd, &nothing, 0) < 0 && errno == EINVAL &&
	       write(fd, &nothing, sizeof(nothing)) == sizeof(nothing);
}

int catnap_vm_request_destroy(struct catnap_vm *vm, int eventfd)
{
	bool first, last;

	if (vm_in_child(vm, "request_destroy"))
		return -EPERM;
	/* On a thread that is not the VM's, the call around it goes on with the VM. */
	if (telling_runs(vm) && !vm_is_own_thread(vm))
		return vm_fail(vm, -EDEADLK,
			       "request_destroy: not from the VM's log callback, within another "
			       "call");
	if (eventfd != -1 && fcntl(eventfd, F_GETFD) < 0)
		return vm_fail(vm, -EBADF, "request_destroy: descriptor %d is not open", eventfd);
	if (eventfd != -1 && !is_eventfd(eventfd))
		return vm_fail(vm, -EBADF, "request_destroy: descriptor %d is no eventfd", eventfd);
	catnap_vm_request_stop(vm);
	pthread_mutex_lock(&vm->lock);
	first = !vm->doomed;
	if (first) {
		vm->doomed = true;
		vm->gone_fd = eventfd;
	}
	last = first && vm_is_left(vm);
	pthread_mutex_unlock(&vm->lock);
	if (!first)
		return vm_fail(vm, -EALREADY, "request_destroy: it was asked for before");
	if (last)
		vm->take_apart(vm);
	return 0;
}
