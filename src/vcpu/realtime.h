/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of a VM that is started in a real-time class (sched(7)). They come after the thread that
 * starts them, and take turns among themselves. Otherwise a guest that computes, or a thread that
 * polls, would keep a processor for ever. The thread that is to end the VM, or to do its I/O, would
 * wait there in vain.
 */
#ifndef VCPU_REALTIME_H
#define VCPU_REALTIME_H

#include <pthread.h>
#include <stdbool.h>

/*
 * Makes a thread as pthread_create(3) does. Its class follows that of the caller, which stays as it
 * is:
 *   SCHED_FIFO, SCHED_RR  SCHED_RR, one priority below the caller, or at 1 if the caller is at 1.
 *                         Where that is not permitted (RLIMIT_RTPRIO), the ordinary class; *@left
 *                         is true then
 *   SCHED_DEADLINE        the ordinary class, as its threads can make none of their kind
 *   another one           the same
 * Returns 0 or -errno of pthread_create(3).
 *   -EAGAIN  a caller in SCHED_DEADLINE was not started with SCHED_RESET_ON_FORK, and may not set
 *            it for the duration of the call (CAP_SYS_NICE)
 */
int realtime_create(pthread_t *thread, pthread_attr_t *attr, void *(*run)(void *), void *arg,
		    bool *left);

/* For the log, when a thread has left the class. */
#define REALTIME_LEFT                                                                              \
	"not permitted in the real-time class below the thread that ends the VM (RLIMIT_RTPRIO): " \
	"the VM's threads are in the ordinary class"

#endif
