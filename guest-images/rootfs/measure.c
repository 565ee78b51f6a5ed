// SPDX-License-Identifier: Apache-2.0
/*
 * Workloads that measure. Under an emulated processor the times mean little; the counts mean the
 * same.
 *
 *     run=pipe    rounds=20000          two processes, on two CPUs, exchange a byte
 *     run=timer   samples=100000 interval_us=200
 *                                       each CPU sleeps until the next of its absolute times
 *     run=clock   seconds=5             CLOCK_MONOTONIC never goes back, also from CPU to CPU
 *     run=sleep   sleep=10              one sleep, in seconds
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define NS_PER_S 1000000000LL
#define LOST_NS	 NS_PER_S /* a timer that is that late came by chance */

/* -- pipe -- */

/* Sends a number and takes the next one back, so often. Returns how often that came. */
static long ask(int in, int out, long rounds, struct samples *s)
{
	unsigned char c;

	for (long i = 0; i < rounds; i++) {
		int64_t begin = now_ns();

		c = (unsigned char)i;
		if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1 || c != (unsigned char)(i + 1))
			return i;
		if (s)
			samples_add(s, now_ns() - begin);
	}
	return rounds;
}

/* Answers each number with the next one. */
static bool answer(int in, int out, long rounds)
{
	unsigned char c;

	for (long i = 0; i < rounds; i++) {
		if (read(in, &c, 1) != 1)
			return false;
		c++;
		if (write(out, &c, 1) != 1)
			return false;
	}
	return true;
}

int ping_pong(void)
{
	long rounds = option_number("rounds", 20000), warmup = rounds / 10 + 1;
	int cpus[MAX_CPUS], there[2], back[2];
	struct samples s;
	struct counts c;
	long good;
	pid_t pid;

	if (online_cpus(cpus) < 2) {
		complain("pipe: needs two CPUs");
		return -1;
	}
	if (pipe(there) || pipe(back)) {
		complain("pipe: %s", strerror(errno));
		return -1;
	}
	if (!samples_begin(&s, "pipe", rounds))
		return -1;
	pid = fork();
	if (!pid) {
		close(there[1]);
		close(back[0]);
		pin(cpus[1]);
		_exit(answer(there[0], back[1], rounds + warmup) ? 0 : 1);
	}
	close(there[0]);
	close(back[1]);
	pin(cpus[0]);
	/* The first rounds bring both to their CPUs, and the governor's window to its size. */
	ask(back[0], there[1], warmup, NULL);
	counts_begin(&c, "pipe", rounds);
	good = ask(back[0], there[1], rounds, &s);
	counts_end(&c);
	if (good < rounds)
		complain("pipe: ended early");
	samples_end(&s, good);
	close(there[1]);
	close(back[0]);
	waitpid(pid, NULL, 0);
	return 0;
}

/* -- timer -- */

struct timers {
	pthread_t thread;
	int cpu;
	long samples, done, overruns, lost;
	int64_t interval_ns, max_ns, sum_ns;
	int64_t *late_ns; /* of each */
};

static void *timer_loop(void *p)
{
	struct timers *t = p;
	int64_t next;

	pin(t->cpu);
	next = now_ns() + t->interval_ns;
	for (; t->done < t->samples; t->done++) {
		struct timespec at = {next / NS_PER_S, next % NS_PER_S};
		int64_t late;

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
			;
		late = now_ns() - next;
		if (late < 0)
			complain("timer: %lld ns early", (long long)-late);
		if (late > t->max_ns)
			t->max_ns = late;
		t->sum_ns += late;
		t->late_ns[t->done] = late;
		t->lost += late >= LOST_NS;
		next += t->interval_ns;
		/* The next one is past already: not a timer that could be waited for. */
		while (next <= now_ns()) {
			next += t->interval_ns;
			t->overruns++;
		}
	}
	return NULL;
}

int timer_test(void)
{
	int cpus[MAX_CPUS], n = online_cpus(cpus);
	long samples = option_number("samples", 100000), done = 0, overruns = 0, lost = 0;
	int64_t max = 0, sum = 0;
	const long each = (samples + n - 1) / n;
	struct timers *t = calloc(n, sizeof(*t));
	struct samples s;
	struct counts c;

	if (!t || !samples_begin(&s, "timer", each * n)) {
		free(t);
		return -1;
	}
	counts_begin(&c, "timer", samples);
	for (int i = 0; i < n; i++) {
		t[i].cpu = cpus[i];
		t[i].samples = each;
		t[i].late_ns = s.ns + i * each;
		t[i].interval_ns = option_number("interval_us", 200) * 1000;
		if (pthread_create(&t[i].thread, NULL, timer_loop, &t[i]))
			complain("timer: no thread");
	}
	for (int i = 0; i < n; i++) {
		pthread_join(t[i].thread, NULL);
		done += t[i].done;
		overruns += t[i].overruns;
		lost += t[i].lost;
		sum += t[i].sum_ns;
		max = t[i].max_ns > max ? t[i].max_ns : max;
	}
	counts_end(&c);
	free(t);
	s.n = done;
	samples_end(&s, done < samples ? done : samples);
	result("timer_samples", "%ld", done);
	result("timer_lost", "%ld", lost);
	result("timer_overruns", "%ld", overruns);
	result("timer_mean_ns", "%lld", (long long)(done ? sum / done : 0));
	result("timer_max_ns", "%lld", (long long)max);
	return 0;
}

/* -- clock -- */

static _Atomic int64_t latest;
static _Atomic int64_t back_max;
static _Atomic long looks, backs;
static _Atomic bool stop;

static void *clock_loop(void *p)
{
	long n = 0;

	pin((int)(intptr_t)p);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		/* The thread that stored this had read the clock before. */
		int64_t before = atomic_load(&latest), now = now_ns();

		n++;
		if (now < before) {
			int64_t worst = atomic_load(&back_max);

			atomic_fetch_add(&backs, 1);
			while (before - now > worst &&
			       !atomic_compare_exchange_weak(&back_max, &worst, before - now))
				;
			continue;
		}
		while (before < now && !atomic_compare_exchange_weak(&latest, &before, now))
			;
	}
	atomic_fetch_add(&looks, n);
	return NULL;
}

int clock_test(void)
{
	int cpus[MAX_CPUS], n = online_cpus(cpus);
	pthread_t *t = calloc(n, sizeof(*t));

	if (!t)
		return -1;
	for (int i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, clock_loop, (void *)(intptr_t)cpus[i]))
			complain("clock: no thread");
	sleep(option_number("seconds", 5));
	atomic_store(&stop, true);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	free(t);
	result("clock_looks", "%ld", atomic_load(&looks));
	result("clock_backs", "%ld", atomic_load(&backs));
	result("clock_back_max_ns", "%lld", (long long)atomic_load(&back_max));
	return 0;
}

/* -- sleep -- */

int sleep_test(void)
{
	long seconds = option_number("sleep", 10);
	struct timespec t = {.tv_sec = seconds};
	int64_t begin;

	/* The reader of the console holds the time between these two lines against a clock of its
	 * own. */
	result("sleep_begin", "%ld", seconds);
	begin = now_ns();
	while (nanosleep(&t, &t) && errno == EINTR)
		;
	result("sleep_ns", "%lld", (long long)(now_ns() - begin));
	return 0;
}
