/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O thread. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "vcpu/realtime.h"
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
			atomic_fetch_or(&h->pending, work & HALTER_WORK_TASKS);
		else if (work & HALTER_WORK_TASKS)
			halter_run_tasks(h);
		if (work & HALTER_WORK_SOURCES)
			atomic_fetch_or(&h->pending, HALTER_WORK_SOURCES);
		if (ret >= 0)
			ret = halter_reap(h);
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
	int ret;

	cpu_time_begin(&io->cpu_time);
	pthread_setname_np(pthread_self(), "catnap-io");
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	halter_set_self(&io->halter);
	ret = vm_confine(io->vm, &io->vm->io_filter);
	if (ret < 0)
		failed(io, "sandbox", ret);
	else
		run(io);
	halter_set_self(NULL);
	cpu_time_end(&io->cpu_time);
	vm_log_hand_over(io->vm);
	vm_left(io->vm, 1);
	return NULL;
}

int io_init(struct catnap_vm *vm)
{
	struct io_thread *io = aligned_alloc(_Alignof(struct io_thread), sizeof(*io));
	struct catnap_halter_config cfg;
	int ret;

	if (!io)
		return -ENOMEM;
	memset(io, 0, sizeof(*io));
	io->vm = vm;
	catnap_halter_config_init(&cfg);
	cfg.halt_poll = vm->cfg.halt_poll;
	ret = halter_init(&io->halter, &cfg, &vm->clock);
	if (ret < 0) {
		free(io);
		return ret;
	}
	io->halter.budget = &vm->poll_budget;
	if (vm->host.irqchip_user)
		io->halter.pressure = &vm->pressure;
	vm->io = io;
	return 0;
}

int io_start(struct io_thread *io)
{
	pthread_attr_t attr;
	sigset_t all, old;
	bool left;
	int ret;

	ret = pthread_attr_init(&attr);
	if (ret)
		return -ret;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = realtime_create(&io->thread, &attr, thread, io, &left);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (ret < 0)
		return ret;
	io->has_thread = true;
	return 0;
}

void io_fini(struct catnap_vm *vm)
{
	struct io_thread *io = vm->io;

	if (!io)
		return;
	if (io->has_thread)
		pthread_join(io->thread, NULL);
	halter_fini(&io->halter);
	free(io);
	vm->io = NULL;
}
