/* SPDX-License-Identifier: Apache-2.0 */
/* See thread.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vcpu/realtime.h"
#include "vcpu/thread.h"

/*
 * Written once, by the loader, and constant then. A program may narrow its threads' processors
 * before it makes a VM, and the kernel does not keep what they were.
 */
static cpu_set_t processors_at_load;

__attribute__((constructor)) static void look(void)
{
	if (sched_getaffinity(0, sizeof(processors_at_load), &processors_at_load) < 0)
		CPU_ZERO(&processors_at_load);
}

bool thread_processors(cpu_set_t *set)
{
	/* More than CPU_SETSIZE processors: EINVAL. */
	if (sched_getaffinity(getpid(), sizeof(*set), set) < 0)
		return false;
	CPU_OR(set, set, &processors_at_load);
	return true;
}

struct trial {
	const cpu_set_t *wanted;
	cpu_set_t *refused;
	int ret;
};

static void *try(void *arg)
{
	struct trial *t = arg;
	cpu_set_t own, all, got;

	/* With those that it has there is always one left, and the kernel keeps those it allows. */
	t->ret = -1;
	if (sched_getaffinity(0, sizeof(own), &own) < 0)
		return NULL;
	CPU_OR(&all, &own, t->wanted);
	if (sched_setaffinity(0, sizeof(all), &all) < 0 ||
	    sched_getaffinity(0, sizeof(got), &got) < 0)
		return NULL;
	CPU_AND(&got, &got, t->wanted);
	CPU_XOR(t->refused, &got, t->wanted);
	t->ret = 0;
	return NULL;
}

int thread_refused(const cpu_set_t *wanted, cpu_set_t *refused)
{
	struct trial t = {wanted, refused, 0};
	pthread_t thread;
	int ret;

	CPU_ZERO(refused);
	ret = pthread_create(&thread, NULL, try, &t);
	if (ret)
		return -ret;
	pthread_join(thread, NULL);
	return t.ret < 0 ? -EINVAL : 0;
}

/* Finds the processors of a thread that is tied to @cpu (-1: to none). Returns false if they are as
 * its maker's. */
static bool choose(int cpu, cpu_set_t *set)
{
	cpu_set_t own;

	if (cpu >= 0) {
		CPU_ZERO(set);
		CPU_SET((size_t)cpu, set);
		return true;
	}
	return thread_processors(set) &&
	       (sched_getaffinity(0, sizeof(own), &own) < 0 || !CPU_EQUAL(set, &own));
}

static int create(pthread_t *thread, const cpu_set_t *set, void *(*run)(void *), void *arg,
		  bool *left)
{
	pthread_attr_t attr;
	int ret = -pthread_attr_init(&attr);

	if (ret)
		return ret;
	if (set)
		ret = -pthread_attr_setaffinity_np(&attr, sizeof(*set), set);
	if (!ret)
		ret = realtime_create(thread, &attr, run, arg, left);
	pthread_attr_destroy(&attr);
	return ret;
}

int thread_create(pthread_t *thread, int cpu, void *(*run)(void *), void *arg, bool *left)
{
	sigset_t all, old;
	cpu_set_t set;
	bool chosen = choose(cpu, &set);
	int ret;

	*left = false;
	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* a program's handler may mend it: catnap_vm_memory_fault() */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = create(thread, chosen ? &set : NULL, run, arg, left);
	/* The process was moved to a cpuset with none of them. */
	if (ret == -EINVAL && chosen && cpu < 0)
		ret = create(thread, NULL, run, arg, left);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

void thread_set_name(const char *vm, const char *role)
{
	int room = THREAD_NAME - 1 - (int)strlen(role);
	char name[THREAD_NAME + 1];

	snprintf(name, sizeof(name), "%.*s-%s", room, vm, role);
	pthread_setname_np(pthread_self(), name);
}

void thread_join(pthread_t thread)
{
	if (pthread_equal(thread, pthread_self()))
		pthread_detach(thread);
	else
		pthread_join(thread, NULL);
}
