/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload neighbour: what a thread that computes loses to vCPUs on its processor. The vCPUs are
 * woken at random, on time whether the last event has been handled or not, so that all modes have
 * the same work; what is left of the processor is the hog's. Each vCPU is a VM of its own: nothing
 * that they share makes them nicer than strangers are.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench/guest.h"
#include "cli/bench/polling.h"
#include "cli/bench/svg.h"
#include "cli/bench/workload.h"

/* The cell's own[]. */
enum {
	PROGRESS, /* the hog's, a second, in each round */
	ALONE,	  /* the same without the VM */
	HOG_CPU,  /* its processor time beside the VM, in ns a second */
};

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
	static const struct sched_param ordinary;
	struct hog *h = arg;
	struct bench_pinned pinned;

	/* In a real-time class of ours it would keep out the vCPUs, and who is to stop it. */
	pthread_setschedparam(pthread_self(), SCHED_OTHER, &ordinary);
	bench_pin(&pinned, h->processor);
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

/* Returns the processor time that it has had, in ns: the scheduler's share of it, which other
 * guests of this machine's own host and its clock's changes do not blur as they do the progress. */
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
	return bench_series_add(&run->cell->own[ALONE],
				per_second(hog_count(h) - count, now_ns() - from));
}

/* The cell's @what: where the hog is, by the vCPUs' processor. */
enum { HOG_THERE, HOG_BESIDE };

/* -- the vCPUs -------------------------------------------------------------------------------- */

/* One of them, as its sender sees it. Times are in ticks. */
struct woken {
	struct bench_guest guest;
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

static void add_usage(struct bench_usage *sum, const struct bench_usage *u)
{
	static const struct bench_polling none;

	sum->cpu_ns += u->cpu_ns;
	sum->kicks += u->kicks;
	sum->futex_wakes += u->futex_wakes;
	sum->polled_ns += u->polled_ns;
	sum->vain_ns += u->vain_ns;
	sum->has_polled &= u->has_polled;
	bench_polling_add(&sum->polling, &none, &u->polling);
}

static struct bench_usage usage_of_all(const struct neighbours *all)
{
	struct bench_usage sum = {.wall_ns = now_ns(), .has_polled = true};

	for (uint32_t i = 0; i < all->vcpus; i++) {
		struct bench_usage u = bench_guest_usage(&all->vcpu[i].guest);

		add_usage(&sum, &u);
		/* The last one was there when all threads were. */
		sum.costs = u.costs;
	}
	return sum;
}

/* Sends the next event on time, or, if the last one is not done with, not at all. */
static int serve(struct bench_run *run, struct neighbours *all, struct woken *w,
		 struct bench_series *latency)
{
	uint64_t now = bench_ticks();

	if (w->in_flight && bench_load(&w->guest.shared->handled) == w->n) {
		w->in_flight = false;
		all->events++;
		if (latency &&
		    bench_series_add(latency, bench_to_ns(run, bench_ticks() - w->sent)) < 0)
			return bench_fail(run, "out of memory");
	}
	if (w->in_flight && now - w->sent > PATIENCE_NS / 1000000 * run->tsc_khz)
		return bench_fail(run, "the guest does not handle an event");
	if ((int64_t)(now - w->due) < 0)
		return 0;
	w->due += bench_gap_ticks(run, &all->random);
	if (w->in_flight || bench_load(&w->guest.shared->halting) != w->n + 1) {
		all->missed++;
		return 0;
	}
	w->n++;
	w->in_flight = true;
	w->sent = bench_ticks();
	return bench_guest_signal(run, &w->guest);
}

/* Sends events for that long. */
static int serve_all(struct bench_run *run, struct neighbours *all, uint64_t ns,
		     struct bench_series *latency)
{
	uint64_t start = bench_ticks();
	uint64_t end = start + (uint64_t)((unsigned __int128)ns * run->tsc_khz / 1000000);

	/* Events that were due while nobody served are not made up for. */
	for (uint32_t i = 0; i < all->vcpus; i++)
		all->vcpu[i].due = start + bench_gap_ticks(run, &all->random);
	while ((int64_t)(end - bench_ticks()) > 0 && !bench_stopped(run)) {
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
		if (bench_guest_start(run, &all->vcpu[i].guest, 1, processor, EVENT_GUEST) < 0)
			return -1;
		all->vcpus++;
		if (bench_spin_until(run, &all->vcpu[i].guest.shared->halting, 1, "halt") < 0)
			return -1;
	}
	return 0;
}

static int beside(struct bench_run *run, struct neighbours *all, struct hog *h,
		  struct bench_series *latency)
{
	struct bench_usage before, after;
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
	bench_cell_account(run->cell, &before, &after, all->events);
	run->cell->missed += all->missed;
	if (bench_series_add(&run->cell->own[PROGRESS], per_second(count, wall)) < 0 ||
	    (cpu && bench_series_add(&run->cell->own[HOG_CPU], per_second(cpu, wall)) < 0))
		return bench_fail(run, "out of memory");
	return 0;
}

/* -- who is where ----------------------------------------------------------------------------- */

/* Returns the other thread of the core that @processor is one of; -1: there is none. */
static int32_t sibling_of(int32_t processor)
{
	char path[96], list[64] = "";
	int32_t first, second;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
		 processor);
	f = fopen(path, "re");
	if (f && !fgets(list, sizeof(list), f))
		list[0] = '\0';
	if (f)
		fclose(f);
	if (sscanf(list, "%d%*1[,-]%d", &first, &second) != 2)
		return -1;
	return first == processor ? second : first;
}

/* Returns one that this process may use and that is neither of these. */
static bool third(int32_t a, int32_t b, int32_t *processor)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return false;
	for (int32_t i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET((size_t)i, &set) && i != a && i != b) {
			*processor = i;
			return true;
		}
	return false;
}

static int places(struct bench_run *run, int32_t *vcpus, int32_t *hog, int32_t *sender)
{
	if (!bench_processors(vcpus, 1, sender))
		return bench_fail_all(run,
				      "there is one processor only, and the sender needs its own");
	*hog = *vcpus;
	if (!run->cfg->sibling)
		return 0;
	*hog = sibling_of(*vcpus);
	if (*hog < 0)
		return bench_fail_all(run, "--sibling: processor %d has no SMT sibling", *vcpus);
	if (!third(*vcpus, *hog, sender))
		return bench_fail_all(run, "--sibling: the sender needs a processor of its own");
	return 0;
}

static int run_neighbour(struct bench_run *run)
{
	struct neighbours all = {.random = (UINT64_C(0x9e3779b97f4a7c15) ^ run->seed) | 1};
	struct bench_series latency = {0};
	struct bench_pinned pinned = {0};
	int32_t processor = -1, beside_it = -1, sender = -1;
	struct hog hog;
	int ret;

	if (places(run, &processor, &beside_it, &sender) < 0)
		return -1;
	ret = start_all(run, &all, processor);
	if (ret == 0)
		ret = hog_start(run, &hog, beside_it);
	if (ret == 0) {
		bench_pin(&pinned, sender);
		ret = beside(run, &all, &hog, &latency);
		bench_unpin(&pinned);
	} else {
		hog.processor = -1;
	}
	for (uint32_t i = 0; i < all.vcpus; i++)
		if (bench_guest_end(run, &all.vcpu[i].guest) < 0)
			ret = -1;
	if (ret == 0 && hog_alone(run, &hog) < 0)
		ret = bench_fail(run, "out of memory");
	if (hog.processor >= 0)
		hog_end(&hog);
	if (ret == 0)
		return bench_keep(run, &latency);
	bench_series_free(&latency);
	return -1;
}

/* -- the workload ----------------------------------------------------------------------------- */

static int plan_neighbours(struct bench_plan *p, const struct bench_workload *w)
{
	unsigned int n = p->cfg->n_gaps ? p->cfg->n_gaps : 1;
	int ret = 0;

	for (unsigned int i = 0; i < n; i++)
		for (uint32_t vcpus = 1; vcpus <= BENCH_VCPUS; vcpus++) {
			struct bench_cell c = {
				.workload = w,
				.vcpus = vcpus,
				.what = p->cfg->sibling ? HOG_BESIDE : HOG_THERE,
				.gap_ns = p->cfg->n_gaps ? p->cfg->gaps[i] : w->gaps[0],
				.random = p->cfg->arrivals != BENCH_ARRIVALS_CONSTANT};

			if (bench_plan_vcpus(p, w, vcpus) && ret == 0)
				ret = bench_plan_add(p, &c);
		}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	snprintf(buf, size, "%u vCPU%s, each woken after %s gap of %llu us%s", c->vcpus,
		 c->vcpus == 1 ? "" : "s", c->random ? "a random" : "a constant",
		 (unsigned long long)c->gap_ns / 1000,
		 c->what == HOG_BESIDE ? ", the hog on the SMT sibling" : "");
}

static const struct bench_series *progress(const struct bench_cell *c)
{
	return &c->own[PROGRESS];
}

static const struct bench_series *hog_time(const struct bench_cell *c)
{
	return &c->own[HOG_CPU];
}

static bool progress_per_s(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_median(&c->own[PROGRESS]);
	return c->own[PROGRESS].n;
}

static bool alone_per_s(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_median(&c->own[ALONE]);
	return c->own[ALONE].n;
}

/* Gives the progress as a part of what it makes alone. */
static bool progress_percent(const struct bench_results *r, struct bench_cell *c, double *value)
{
	struct bench_ratio ratio;

	if (!bench_series_ratio(&c->own[PROGRESS], &c->own[ALONE], &ratio))
		return false;
	*value = 100 * ratio.median;
	return true;
}

/* Gives the hog's time as a part of one processor. */
static bool hog_percent(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_median(&c->own[HOG_CPU]) / 1e7;
	return c->own[HOG_CPU].n;
}

static bool missed(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)c->missed;
	return true;
}

static const struct bench_compared compared[] = {
	{"ratio_progress", "ratio", "ratio", progress},
	{"ratio_hog_cpu", "cpu ratio", "CPU ratio", hog_time},
	{.member = NULL},
};

/* Gives the hog's processor time as a part of that beside the baseline; without one, of what it
 * makes alone. */
static void bar(const struct bench_results *r, struct bench_cell *c, struct bench_svg_bar *bar)
{
	struct bench_ratio ratio;

	if (bench_cell_ratio(r, &compared[1], c, &ratio))
		bar->value = 100 * ratio.median;
	else if (!progress_percent(r, c, &bar->value))
		return;
	snprintf(bar->text, sizeof(bar->text), "%.1f %%", bar->value);
	bar->value /= 100;
}

static const char *caption(const struct bench_results *r, struct bench_cell *cells, size_t n)
{
	struct bench_ratio ratio;

	for (size_t i = 0; i < n; i++)
		if (bench_cell_ratio(r, &compared[0], &cells[i], &ratio))
			return "The hog’s processor time, of that beside user:off (the line); "
			       "longer is better";
	return "The hog’s progress, of what it makes alone (the line); longer is better";
}

static const struct bench_bars bars = {.bar = bar, .caption = caption, .mark = 1};

static const struct bench_column columns[] = {
	{"hog%", "hog %", 5, BENCH_NUMBER, 1, progress_percent,
	 .note = "hog%: its progress, of what it makes alone; hogcpu%, vCPUs%, polled%: of one "
		 "processor; neighbour's ratio: the hog's progress to that beside user:off, cpu "
		 "ratio: the same of its processor time; higher is better"},
	{"hogcpu%", "hog CPU %", 7, BENCH_NUMBER, 1, hog_percent},
	{"vCPUs%", "vCPUs %", 6, BENCH_NUMBER, 1, bench_value_cpu_percent},
	{"polled%", "polled %", 7, BENCH_NUMBER, 2, bench_value_polled_percent},
	{"ev/s", "events/s", 5, BENCH_NUMBER, 0, bench_value_event_rate},
	{"p50us", "p50", 5, BENCH_NS, .value = bench_value_p50},
	{"p99", "p99", 5, BENCH_NS, .value = bench_value_p99},
	{.head = NULL},
};

static const char *hog_place(const struct bench_cell *c)
{
	return c->what == HOG_BESIDE ? "sibling" : "same";
}

static const struct bench_member condition_members[] = {
	{"vcpus", .whole = bench_value_vcpus},
	{"hog", .text = hog_place},
	{.name = NULL},
};

/* The hog's progress is in a unit of its own. */
static const struct bench_member members[] = {
	{"progress_per_s", .whole = progress_per_s},
	{"alone_per_s", .whole = alone_per_s},
	{"progress_percent", .real = progress_percent},
	{"hog_cpu_percent", .real = hog_percent},
	{"cpu_percent", .real = bench_value_cpu_percent},
	{"polled_percent", .real = bench_value_polled_percent},
	{"events", .whole = bench_value_events},
	{"missed", .whole = missed},
	{"round_progress_per_s", .rounds = progress},
	{"round_hog_cpu_ns_per_s", .rounds = hog_time},
	BENCH_QUANTILE_MEMBERS,
	BENCH_CPU_MEMBER,
	BENCH_WAKE_MEMBERS,
	{.name = NULL},
};

static const char *const modes[] = {"user:adaptive",	   "user:adaptive:latency",
				    "user:adaptive:power", "user:kernel",
				    "user:always",	   "user:off",
				    "kernel:200us",	   NULL};

/* Windows of 200 us catch about half of these gaps. */
static const uint64_t gaps[] = {200000, 0};

const struct bench_workload bench_workload_neighbour = {
	.name = "neighbour",
	.title = "what is left to a hog on the vCPUs' processor",
	.help = "what a thread that computes loses to vCPUs on its processor",
	.about = "A thread that computes shares a processor with virtual CPUs that are woken at "
		 "random. What it gets done beside them, compared with user:off, where nobody "
		 "polls, is what polling takes from it.",
	.options = BENCH_OPT_GUEST | BENCH_OPT_GAP | BENCH_OPT_ARRIVALS | BENCH_OPT_DURATION |
		   BENCH_OPT_REALTIME | BENCH_OPT_SIBLING | BENCH_OPT_VCPUS,
	.modes = modes,
	.gaps = gaps,
	.gaps_help = "200us",
	.vcpus = 1 << 1 | 1 << 2 | 1 << 4,
	.vcpus_help = "how many virtual CPUs are on the hog's processor",
	.plan = plan_neighbours,
	.condition = condition,
	.run = run_neighbour,
	.columns = columns,
	.condition_members = condition_members,
	.members = members,
	.bars = &bars,
	.compared = compared,
	.baseline = "user:off",
	.higher_is_better = true,
	.compared_page = "of the hog’s progress",
};
