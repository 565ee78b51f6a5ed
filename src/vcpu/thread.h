/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a VM's threads are made, and on which processors they may run. A thread that is tied to none
 * does not inherit the processors of the thread that makes it, which may be an event loop's that
 * has one of its own. It may run on those of the process.
 */
#ifndef VCPU_THREAD_H
#define VCPU_THREAD_H

#include <sched.h>

#include <pthread.h>
#include <stdbool.h>

/*
 * Stores the processors of the process in *@set: those that it had when the library was loaded
 * (taskset(1), a cpuset), and those of its main thread now. Returns false if they cannot be told.
 * Any thread.
 */
bool thread_processors(cpu_set_t *set);

/*
 * Stores in *@refused those of @wanted that no thread of this process can be tied to. Only the
 * kernel knows, so it makes a thread for a moment. Returns 0 or -errno. Any thread.
 */
int thread_refused(const cpu_set_t *wanted, cpu_set_t *refused);

/*
 * Makes a thread by realtime_create(), with its *@left, in which all signals are blocked. @cpu: the
 * processor that the thread is tied to; -1: those of the process. Returns 0 or -errno.
 */
int thread_create(pthread_t *thread, int cpu, void *(*run)(void *), void *arg, bool *left);

/*
 * Names the calling thread "@vm-@role", for which Linux has THREAD_NAME bytes: what is too long is
 * cut off the end of @vm. @role is short.
 */
#define THREAD_NAME 15
void thread_set_name(const char *vm, const char *role);

/* Waits until @thread has ended. A thread that calls this for itself ends alone. */
void thread_join(pthread_t thread);

#endif
