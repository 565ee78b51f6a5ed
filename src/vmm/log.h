/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on their way to the VM's user. A thread with something to say may hold any lock, and the
 * user's function may take its time, or call the library. So the thread puts a message down, and is
 * told (VCPU_WORK_LOG) to hand it over when it holds nothing. Before there are threads, it is
 * handed over at once.
 */
#ifndef VMM_LOG_H
#define VMM_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>

#define VM_LOG_LINES 32
#define VM_LOG_LINE  320

struct vm_log {
	pthread_mutex_t lock;	   /* of the default kind; nothing is called with it held */
	_Atomic bool deferred;	   /* there are threads */
	unsigned int first, count; /* under the lock, as all below */
	uint64_t lost;		   /* there was no place for them */
	struct {
		enum catnap_log_level level;
		char text[VM_LOG_LINE];
	} lines[VM_LOG_LINES];
};

struct catnap_vm;

void vm_log_init(struct catnap_vm *vm);
void vm_log_fini(struct catnap_vm *vm);
/* Logs a message. Any thread, any lock. */
void vm_log(struct catnap_vm *vm, enum catnap_log_level level, const char *text);
/* Hands the messages over to the user. Any thread, no lock held. */
void vm_log_hand_over(struct catnap_vm *vm);

#endif
