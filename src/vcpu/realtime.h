/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM that is started in a real-time class (sched(7)): the threads that the library makes come
 * after the thread that starts them, and take turns among themselves, on whichever processor they
 * meet. Otherwise a guest that computes, or a thread that polls, keeps a processor for ever, and
 * what is to end the VM, or to do its I/O, waits there in vain.
 */
#ifndef VCPU_REALTIME_H
#define VCPU_REALTIME_H

#include <pthread.h>
#include <stdbool.h>

/*
 * As pthread_create(3), and in its place. SCHED_FIFO and SCHED_RR: the new thread is in SCHED_RR,
 * one below the caller, or at 1 if the caller is. Where that is not permitted (RLIMIT_RTPRIO) it is
 * in the ordinary class, and *@left says so. SCHED_DEADLINE, whose threads can make none of their
 * kind: in the ordinary class; -EAGAIN if it was not started with SCHED_RESET_ON_FORK and may not
 * set that for as long (CAP_SYS_NICE). Another class: as the caller's. The caller's own is left as
 * it was. 0 or -errno.
 */
int realtime_create(pthread_t *thread, pthread_attr_t *attr, void *(*run)(void *), void *arg,
		    bool *left);

/* For the log, when a thread has left the class. */
#define REALTIME_LEFT                                                                              \
	"not permitted in the real-time class below the thread that ends the VM (RLIMIT_RTPRIO): " \
	"the VM's threads are in the ordinary class"

#endif
