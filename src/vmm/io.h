/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O thread (config io=thread): it runs the devices of a VM, for guests that compute on all
 * their vCPUs, and as what vCPUs that run their devices themselves are measured against. A halter
 * with a thread: kicks are posted to it as tasks, requests complete in its ring, and it polls and
 * sleeps by the VM's parameters as a halted vCPU does.
 *
 * It ends after the last vCPU, which may be waiting for a request of its own until then.
 */
#ifndef VMM_IO_H
#define VMM_IO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "poll/halter.h"
#include "vcpu/cpu_time.h"
#include "vcpu/vcpu.h"

/* Work bits. */
#define IO_WORK_PAUSE (UINT32_C(1) << 2)
#define IO_WORK_STOP  (UINT32_C(1) << 3)
#define IO_WORK_LOG   VCPU_WORK_LOG

struct catnap_vm;

struct io_thread {
	struct catnap_halter halter; /* first: it is aligned to cache lines */
	struct catnap_vm *vm;
	pthread_t thread;
	bool has_thread;
	_Atomic int tid; /* 0: not running */
	struct cpu_time cpu_time;
};

/* Makes vm->io, without a thread. 0 or -errno. */
int io_init(struct catnap_vm *vm);
/* Makes the thread; see vm_ready(). -errno of pthread_create(3). */
int io_start(struct io_thread *io);
/* Waits for the thread, as vcpu_join() does. */
void io_join(struct io_thread *io);
/* Joins the thread if there is one, and frees. */
void io_fini(struct catnap_vm *vm);

#endif
