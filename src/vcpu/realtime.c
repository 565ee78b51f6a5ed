/* SPDX-License-Identifier: Apache-2.0 */
/* Where a VM's threads stand in a real-time class; see realtime.h. */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vcpu/realtime.h"

static void set(pthread_attr_t *attr, int policy, int priority)
{
	struct sched_param param = {.sched_priority = priority};

	/* These fail for values that do not exist only. */
	pthread_attr_setinheritsched(attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(attr, policy);
	pthread_attr_setschedparam(attr, &param);
}

/* Returns false if nothing is to be set: the caller's class will do. */
static bool below(pthread_attr_t *attr)
{
	struct sched_param param;
	/* Not pthread_getschedparam(3), which keeps what it was told once. */
	int policy = sched_getscheduler(0), priority;

	if (policy < 0 || sched_getparam(0, &param) < 0)
		return false;
	policy &= ~SCHED_RESET_ON_FORK;
	if (policy != SCHED_FIFO && policy != SCHED_RR)
		return false;
	priority = param.sched_priority;
	set(attr, SCHED_RR, priority > 1 ? priority - 1 : priority);
	return true;
}

/* As the kernel's struct sched_attr, which not every C library has. */
struct class
{
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

#define RESET_ON_FORK UINT64_C(1)

/*
 * Lets a thread in SCHED_DEADLINE make threads: it can make none, unless those that it makes are in
 * the ordinary class. Returns false if nothing was to be set, or if it may not, which making one
 * will tell.
 */
static bool let_make(struct class *before)
{
	struct class c;

	if ((sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) != SCHED_DEADLINE ||
	    syscall(SYS_sched_getattr, 0, before, sizeof(*before), 0) < 0 ||
	    before->flags & RESET_ON_FORK)
		return false;
	c = *before;
	c.flags |= RESET_ON_FORK;
	return syscall(SYS_sched_setattr, 0, &c, 0) == 0;
}

static int create(pthread_t *thread, pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	struct class before;
	bool changed = let_make(&before);
	int ret = pthread_create(thread, attr, run, arg);

	/* A thread that may set the flag may clear it. */
	if (changed)
		(void)syscall(SYS_sched_setattr, 0, &before, 0);
	return ret;
}

int realtime_create(pthread_t *thread, pthread_attr_t *attr, void *(*run)(void *), void *arg,
		    bool *left)
{
	bool placed = below(attr);
	int ret = create(thread, attr, run, arg);

	*left = false;
	if (ret == EPERM && placed) {
		set(attr, SCHED_OTHER, 0); /* that one always may */
		ret = pthread_create(thread, attr, run, arg);
		*left = ret == 0;
	}
	return -ret;
}
