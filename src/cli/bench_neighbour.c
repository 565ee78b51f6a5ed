/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload neighbour: what a thread that computes loses to vCPUs on its processor. The vCPUs are
 * woken at random, on time whether the last event has been handled or not, so that all modes have
 * the same work; what is left of the processor is the hog's. Each vCPU is a VM of its own: nothing
 * that they share makes them nicer than strangers are.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/bench_guest.h"

/* -- the hog ---------------------------------------------------------------------------------- */

struct hog {
	pthread_t thread;
	int32_t processor;
	/* Written by the hog, read by the sender; a line of its own. Nothing else is published. */
	_Alignas(64) uint64_t count;
	_Alignas(64) bool stop;
};

static void *hog_main(void *arg)
{
	struct hog *h = arg;
	struct pinned pinned;

	pin(&pinned, h->processor);
	for (uint64_t n = 1; !__atomic_load_n(&h->stop, __ATOMIC_RELAXED); n++) {
		/* Work that no other thread's memory slows down. */
		for (volatile unsigned int i = 0; i < 100; i++)
			;
		__atomic_store_n(&h->count, n, __ATOMIC_RELAXED);
	}
	return NULL;
}

static uint64_t hog_count(const struct hog *h)
{
	return __atomic_load_n(&h->count, __ATOMIC_RELAXED);
}

/* What it has had of the processor, in ns: the scheduler's share of it, which other guests of this
 * machine's own host and its clock's changes do not blur as they do the progress. */
static uint64_t hog_cpu(const struct hog *h)
{
	clockid_t clock;

	return pthread_getcpuclockid(h->thread, &clock) == 0 ? clock_ns(clock) : 0;
}

static int hog_start(struct bench_run *run, struct hog *h, int32_t processor)
{
	int ret;

	memset(h, 0, sizeof(*h));
	h->processor = processor;
	ret = pthread_create(&h->thread, NULL, hog_main, h);
	return ret ? bench_fail(run, "pthread_create: %s", strerror(ret)) : 0;
}

static void hog_end(struct hog *h)
{
	__atomic_store_n(&h->stop, true, __ATOMIC_RELAXED);
	pthread_join(h->thread, NULL);
}

static uint64_t per_second(uint64_t count, uint64_t ns)
{
	return ns ? (uint64_t)((unsigned __int128)count * 1000000000u / ns) : 0;
}

static int hog_alone(struct bench_run *run, struct hog *h)
{
	uint64_t from = now_ns(), count = hog_count(h);

	bench_sleep(run, run->cfg->duration_ns / 2);
	if (bench_stopped(run))
		return 0;
	return series_add(&run->cell->alone, per_second(hog_count(h) - count, now_ns() - from));
}

/* -- the vCPUs -------------------------------------------------------------------------------- */

/* One of them, as its sender sees it. Times are in ticks. */
struct woken {
	struct guest guest;
	uint32_t n;	/* events so far */
	bool in_flight; /* the last one has not been handled yet */
	uint64_t due, sent;
};

struct neighbours {
	struct woken vcpu[BENCH_VCPUS];
	uint32_t vcpus;
	uint64_t random;
	uint64_t events, missed;
};

static void add_usage(struct usage *sum, const struct usage *u)
{
	sum->cpu_ns += u->cpu_ns;
	sum->kicks += u->kicks;
	sum->futex_wakes += u->futex_wakes;
	sum->polled_ns += u->polled_ns;
	sum->vain_ns += u->vain_ns;
	sum->has_polled &= u->has_polled;
}

static struct usage usage_of_all(const struct neighbours *all)
{
	struct usage sum = {.wall_ns = now_ns(), .has_polled = true};

	for (uint32_t i = 0; i < all->vcpus; i++) {
		struct usage u = guest_usage(&all->vcpu[i].guest);

		add_usage(&sum, &u);
	}
	return sum;
}

/* The next event is sent on time, or, if the last one is not done with, not at all. */
static int serve(struct bench_run *run, struct neighbours *all, struct woken *w,
		 struct series *latency)
{
	uint64_t now = ticks();

	if (w->in_flight && load(&w->guest.shared->handled) == w->n) {
		w->in_flight = false;
		all->events++;
		if (latency && series_add(latency, bench_to_ns(run, ticks() - w->sent)) < 0)
			return bench_fail(run, "out of memory");
	}
	if (w->in_flight && now - w->sent > PATIENCE_NS / 1000000 * run->tsc_khz)
		return bench_fail(run, "the guest does not handle an event");
	if ((int64_t)(now - w->due) < 0)
		return 0;
	w->due += gap_ticks(run, &all->random);
	if (w->in_flight || load(&w->guest.shared->halting) != w->n + 1) {
		all->missed++;
		return 0;
	}
	w->n++;
	w->in_flight = true;
	w->sent = ticks();
	return guest_signal(run, &w->guest);
}

/* Sends events for that long. */
static int serve_all(struct bench_run *run, struct neighbours *all, uint64_t ns,
		     struct series *latency)
{
	uint64_t start = ticks();
	uint64_t end = start + (uint64_t)((unsigned __int128)ns * run->tsc_khz / 1000000);

	/* What was due while nobody served is not made up for. */
	for (uint32_t i = 0; i < all->vcpus; i++)
		all->vcpu[i].due = start + gap_ticks(run, &all->random);
	while ((int64_t)(end - ticks()) > 0 && !bench_stopped(run)) {
		for (uint32_t i = 0; i < all->vcpus; i++)
			if (serve(run, all, &all->vcpu[i], latency) < 0)
				return -1;
		__builtin_ia32_pause();
	}
	return 0;
}

static int start_all(struct bench_run *run, struct neighbours *all, int32_t processor)
{
	for (uint32_t i = 0; i < run->cell->vcpus; i++) {
		if (guest_start(run, &all->vcpu[i].guest, 1, processor, EVENT_GUEST) < 0)
			return -1;
		all->vcpus++;
		if (spin_until(run, &all->vcpu[i].guest.shared->halting, 1, "halt") < 0)
			return -1;
	}
	return 0;
}

static int beside(struct bench_run *run, struct neighbours *all, struct hog *h,
		  struct series *latency)
{
	struct usage before, after;
	uint64_t count, cpu, wall;

	if (serve_all(run, all, SETTLE_NS, NULL) < 0)
		return -1;
	all->events = all->missed = 0;
	before = usage_of_all(all);
	count = hog_count(h);
	cpu = hog_cpu(h);
	if (serve_all(run, all, run->cfg->duration_ns, latency) < 0)
		return -1;
	count = hog_count(h) - count;
	cpu = hog_cpu(h) - cpu;
	after = usage_of_all(all);
	wall = after.wall_ns - before.wall_ns;
	if (bench_stopped(run) && wall < WORTH_KEEPING_NS)
		return bench_nothing(run);
	cell_account(run->cell, &before, &after, all->events);
	run->cell->missed += all->missed;
	if (series_add(&run->cell->progress, per_second(count, wall)) < 0 ||
	    (cpu && series_add(&run->cell->hog_cpu, per_second(cpu, wall)) < 0))
		return bench_fail(run, "out of memory");
	return 0;
}

int bench_neighbour(struct bench_run *run)
{
	struct neighbours all = {.random = (UINT64_C(0x9e3779b97f4a7c15) ^ run->seed) | 1};
	struct series latency = {0};
	struct pinned pinned = {0};
	int32_t processor, sender;
	struct hog hog;
	int ret;

	if (!bench_processors(&processor, 1, &sender))
		return bench_fail_all(run,
				      "there is one processor only, and the sender needs its own");
	ret = start_all(run, &all, processor);
	if (ret == 0)
		ret = hog_start(run, &hog, processor);
	if (ret == 0) {
		pin(&pinned, sender);
		ret = beside(run, &all, &hog, &latency);
		unpin(&pinned);
	} else {
		hog.processor = -1;
	}
	for (uint32_t i = 0; i < all.vcpus; i++)
		if (guest_end(run, &all.vcpu[i].guest) < 0)
			ret = -1;
	if (ret == 0 && hog_alone(run, &hog) < 0)
		ret = bench_fail(run, "out of memory");
	if (hog.processor >= 0)
		hog_end(&hog);
	if (ret == 0)
		return bench_keep(run, &latency);
	series_free(&latency);
	return -1;
}
