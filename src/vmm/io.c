/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vcpu/thread.h"
#include "vmm/vm.h"

static void failed(struct io_thread *io, const char *what, int ret)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = CATNAP_EXIT_HOST_ERROR, .code = ret};

	snprintf(e.report, sizeof(e.report), "%s of the I/O thread: %s%s\n", what, strerror(-ret),
		 io->halter.ring.made ? "" : ring_advice(ret));
	vm_end(io->vm, &e);
}

static void run(struct io_thread *io)
{
	struct catnap_halter *h = &io->halter;
	bool stop = false;
	int ret = 0;

	while (!stop) {
		uint32_t work = halter_take(h);
		int cause;

		/* Tasks begin things: not before a pause, nor at the end. */
		if (work & (IO_WORK_PAUSE | IO_WORK_STOP))
			work = halter_put_off_tasks(h, work);
		ret = halter_serve(h, work);
		if (work & IO_WORK_LOG)
			vm_log_hand_over(io->vm);
		if ((work & IO_WORK_PAUSE) && ret >= 0) {
			ret = halter_drain(h, false);
			vm_stand(io->vm);
		}
		if (work & IO_WORK_STOP)
			stop = true;
		else if (ret >= 0)
			ret = halter_halt(h, UINT64_MAX, &cause);
		if (ret < 0) {
			/* Nothing completes any more: the vCPUs go, and then this thread. */
			failed(io, "io_uring", ret);
			stop = true;
		}
	}
	halter_drain(h, true);
}

static void *thread(void *arg)
{
	struct io_thread *io = arg;
	const char *what = "thread_start";
	bool ran;
	int ret;

	cpu_time_begin(&io->cpu_time);
	thread_set_name(io->vm->host.name, "io");
	atomic_store(&io->tid, (int)syscall(SYS_gettid));
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	halter_set_self(&io->halter);
	ret = vm_begin_thread(io->vm, CATNAP_IO_THREAD_VCPU);
	if (ret == 0) {
		what = "the sandbox";
		ret = vm_confine(io->vm, &io->vm->own->io_filter);
	}
	ran = vm_ready(io->vm, "the I/O thread", what, ret);
	if (ran) {
		run(io);
		/* While this is still a thread of the VM's to a callback that asks for its end. */
		vm_log_hand_over(io->vm);
	}
	halter_set_self(NULL);
	atomic_store(&io->tid, 0);
	cpu_time_end(&io->cpu_time);
	if (ran) {
		vm_log_hand_over(io->vm);
		vm_left(io->vm);
	}
	return NULL;
}

int io_init(struct catnap_vm *vm)
{
	struct io_thread *io = aligned_alloc(_Alignof(struct io_thread), sizeof(*io));
	const struct halter_env env = {
		.clock = &vm->clock,
		.spin = &vm->spin,
		.budget = &vm->poll_budget,
		.pressure = vm->host.irqchip_user ? &vm->pressure : NULL,
	};
	struct catnap_halter_config cfg;
	int ret;

	if (!io)
		return -ENOMEM;
	memset(io, 0, sizeof(*io));
	io->vm = vm;
	catnap_halter_config_init(&cfg);
	cfg.halt_poll = vm->cfg.halt_poll;
	ret = halter_init(&io->halter, &cfg, &env, NULL);
	if (ret < 0) {
		free(io);
		return ret;
	}
	vm->io = io;
	return 0;
}

int io_start(struct io_thread *io)
{
	bool left;
	int ret = thread_create(&io->thread, -1, thread, io, &left);

	if (ret == 0)
		io->has_thread = true;
	return ret;
}

void io_join(struct io_thread *io)
{
	if (io->has_thread)
		thread_join(io->thread);
	io->has_thread = false;
}

void io_fini(struct catnap_vm *vm)
{
	struct io_thread *io = vm->io;

	if (!io)
		return;
	io_join(io);
	halter_fini(&io->halter);
	free(io);
	vm->io = NULL;
}
