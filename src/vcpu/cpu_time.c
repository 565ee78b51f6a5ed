/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "relaxed.h"
#include "vcpu/cpu_time.h"

enum { NOT_BEGUN, RUNS, ENDED };

static void raise_to(struct cpu_time *t, const struct timespec *ts)
{
	uint64_t ns = (uint64_t)ts->tv_sec * 1000000000u + (uint64_t)ts->tv_nsec;
	uint64_t old = relaxed_load(&t->ns);

	while (old < ns && !atomic_compare_exchange_weak_explicit(
				   &t->ns, &old, ns, memory_order_relaxed, memory_order_relaxed))
		;
}

void cpu_time_begin(struct cpu_time *t)
{
	if (pthread_getcpuclockid(pthread_self(), &t->clock) == 0)
		atomic_store_explicit(&t->state, RUNS, memory_order_release);
}

void cpu_time_end(struct cpu_time *t)
{
	struct timespec ts;

	/* First: the clock is named by the thread's id, which another may have soon. */
	atomic_store_explicit(&t->state, ENDED, memory_order_seq_cst);
	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) == 0)
		raise_to(t, &ts);
}

uint64_t cpu_time_read(struct cpu_time *t)
{
	struct timespec ts;

	/* Looked at again after the clock was read: it was this thread's. */
	if (atomic_load_explicit(&t->state, memory_order_acquire) == RUNS &&
	    clock_gettime(t->clock, &ts) == 0 &&
	    atomic_load_explicit(&t->state, memory_order_seq_cst) == RUNS)
		raise_to(t, &ts);
	return relaxed_load(&t->ns);
}
