// SPDX-License-Identifier: Apache-2.0
/*
 * run=stress: seconds=N (10) of everything that needs another CPU to be woken: forks, pipes,
 * futexes, barriers (membarrier), timers, and CPUs that go off and on. Each worker counts what it
 * has done; one that stands still for stuck_s=N (20) seconds is named, and the workload has failed.
 *
 * run=offline, run=online: all CPUs but the first, once.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define MAX_WORKERS 64

struct worker {
	const char *name;
	void (*run)(struct worker *);
	pid_t pid;
	_Atomic long count;	/* by the worker */
	_Atomic uint32_t futex; /* between the two threads of a futex worker */
	long seen;		/* by the parent */
	int64_t seen_ns;
};

static struct worker *workers;

static void done(struct worker *w)
{
	atomic_fetch_add_explicit(&w->count, 1, memory_order_relaxed);
}

static void forks(struct worker *w)
{
	for (;;) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid > 0 && waitpid(pid, NULL, 0) == pid)
			done(w);
	}
}

static void pipes(struct worker *w)
{
	int there[2], back[2];
	char c = 'x';

	if (pipe(there) || pipe(back))
		return;
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1)
				_exit(1);
	}
	for (;;)
		if (write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1)
			done(w);
}

/* Hands a turn to the other side, and waits for one's own. */
static void turns(struct worker *w, uint32_t mine, bool counts)
{
	for (;;) {
		uint32_t v;

		while ((v = atomic_load(&w->futex)) != mine)
			syscall(SYS_futex, &w->futex, FUTEX_WAIT, v, NULL, NULL, 0);
		atomic_store(&w->futex, !mine);
		syscall(SYS_futex, &w->futex, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		if (counts)
			done(w);
	}
}

static void futexes(struct worker *w)
{
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		turns(w, 1, false);
	}
	turns(w, 0, true);
}

static void *runs(void *p)
{
	volatile long *n = p;

	for (;;)
		(*n)++;
	return NULL;
}

/* An expedited barrier interrupts the CPUs that run other threads of the process. */
static void barriers(struct worker *w)
{
	static long n[2];
	pthread_t t;

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		return;
	pthread_create(&t, NULL, runs, &n[0]);
	for (;;)
		if (!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
			done(w);
}

static void timers(struct worker *w)
{
	unsigned int seed = getpid();

	for (;;) {
		struct timespec t = {0, rand_r(&seed) % 3000000};

		if (!nanosleep(&t, NULL))
			done(w);
	}
}

static bool set_cpu(int cpu, bool on)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return write_text(path, on ? "1" : "0");
}

static void hotplug(struct worker *w)
{
	int n = sysconf(_SC_NPROCESSORS_CONF);
	unsigned int seed = 1;

	for (;;) {
		int cpu = 1 + rand_r(&seed) % (n - 1);

		if (set_cpu(cpu, false) && set_cpu(cpu, true))
			done(w);
		else
			sleep(1);
	}
}

static void start(const char *name, void (*run)(struct worker *), int times)
{
	static int n;

	for (int i = 0; i < times && n < MAX_WORKERS; i++) {
		struct worker *w = &workers[n++];

		w->name = name;
		w->run = run;
		w->seen_ns = now_ns();
		w->pid = fork();
		if (!w->pid) {
			setpgid(0, 0);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run(w);
			_exit(1);
		}
		setpgid(w->pid, w->pid);
	}
}

int stress(void)
{
	int64_t end = now_ns() + option_number("seconds", 10) * 1000000000LL;
	int64_t patience = option_number("stuck_s", 20) * 1000000000LL;
	int cpus = online_cpus(NULL), pairs = cpus / 4 + 1, bad = 0;
	const char *name = NULL;
	long sum = 0;

	workers = mmap(NULL, MAX_WORKERS * sizeof(*workers), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (workers == MAP_FAILED) {
		complain("stress: %s", strerror(errno));
		return -1;
	}
	start("fork", forks, pairs);
	start("pipe", pipes, pairs);
	start("futex", futexes, pairs);
	start("timer", timers, pairs);
	start("barrier", barriers, 1);
	if (cpus > 1 && option_number("hotplug", 1))
		start("hotplug", hotplug, 1);

	while (now_ns() < end) {
		sleep(1);
		for (struct worker *w = workers; w < workers + MAX_WORKERS && w->name; w++) {
			long count = atomic_load(&w->count);

			if (count != w->seen) {
				w->seen = count;
				w->seen_ns = now_ns();
			} else if (w->seen_ns && now_ns() - w->seen_ns > patience) {
				complain("stress: %s stands still at %ld", w->name, count);
				w->seen_ns = 0;
				bad++;
			}
		}
	}
	for (struct worker *w = workers; w < workers + MAX_WORKERS && w->name; w++) {
		kill(-w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	online();
	for (struct worker *w = workers; w < workers + MAX_WORKERS && w->name; w++) {
		sum += atomic_load(&w->count);
		if (!w[1].name || strcmp(w[1].name, w->name)) {
			char key[64];

			name = w->name;
			snprintf(key, sizeof(key), "stress_%s", name);
			result(key, "%ld", sum);
			bad += !sum;
			sum = 0;
		}
	}
	result("stress_bad", "%d", bad);
	munmap(workers, MAX_WORKERS * sizeof(*workers));
	return bad ? -1 : 0;
}

static int all(bool on)
{
	int n = sysconf(_SC_NPROCESSORS_CONF), failed = 0;
	char path[64], state[8];

	for (int cpu = 1; cpu < n; cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
		if (read_line(path, state, sizeof(state)) && (state[0] == '1') != on &&
		    !set_cpu(cpu, on))
			failed++;
	}
	result(on ? "online" : "offline", "%d", online_cpus(NULL));
	if (failed)
		complain("%d CPUs cannot be switched %s", failed, on ? "on" : "off");
	return failed ? -1 : 0;
}

int offline(void)
{
	return all(false);
}

int online(void)
{
	return all(true);
}
