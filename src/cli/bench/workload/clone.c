/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload clone: what the first halts of a clone cost. A guest halts with the gaps of an arrival
 * process until its policy has settled, and is put down. Then come the same 100 gaps three times: for
 * the guest itself, for one that goes on from the snapshot, and for one that does without what was
 * learned. A halt costs the time polled, and, if it slept, the price of a sleep that the policy has
 * found.
 */
#include "cli/bench/guest.h"
#include "cli/bench/snapshots.h"
#include "cli/bench/workload.h"

#define FIRST 100

/* The series of a cell: the cost of a halt, ns; one value for each round. */
enum { SETTLED = BENCH_SIGNAL + 1, RESTORED, ANEW };

struct arrivals {
	struct generator process;
	uint32_t n; /* events so far */
};

/* Sends so many events. @latency: where it is kept; NULL: it is not. */
static int events(struct bench_run *run, struct bench_guest *g, struct arrivals *a, uint32_t count,
		  struct bench_series *latency)
{
	uint64_t halted;

	for (uint32_t i = 0; i < count; i++) {
		a->n++;
		if (bench_guest_gap(run, g, a->n, generator_next(&a->process), &halted) < 0 ||
		    bench_guest_event(run, g, a->n, latency) < 0)
			return -1;
	}
	return 0;
}

/* Returns what all halts so far have cost. */
static uint64_t paid(const struct bench_guest *g, uint32_t price_ns)
{
	struct catnap_vcpu_stats s = {.size = sizeof(s)};
	uint64_t sleeps = 0;

	catnap_vm_get_stats(g->vm, 0, &s);
	for (size_t i = 0; i < sizeof(s.halt.halt_wait_hist) / sizeof(s.halt.halt_wait_hist[0]);
	     i++)
		sleeps += s.halt.halt_wait_hist[i];
	return s.halt.halt_poll_success_ns + s.halt.halt_poll_fail_ns + sleeps * price_ns;
}

/* Has @g go through the first gaps behind @from, and keeps what they cost. */
static int first(struct bench_run *run, struct bench_guest *g, const struct arrivals *from,
		 uint32_t price_ns, int own, struct bench_series *latency)
{
	struct arrivals a = *from;
	uint64_t before;

	/* Its first halt has begun before the counters are read, and ends behind them. */
	if (bench_spin_until(run, &g->shared->halting, a.n + 1, "halt") < 0)
		return -1;
	before = paid(g, price_ns);
	if (events(run, g, &a, FIRST, latency) < 0)
		return -1;
	if (bench_series_add(&run->cell->own[own], (paid(g, price_ns) - before) / FIRST) < 0)
		return bench_fail(run, "out of memory");
	return 0;
}

static int run_restored(struct bench_run *run, const char *path, const struct arrivals *from,
			uint32_t price_ns, int own, struct bench_series *latency)
{
	struct bench_guest g;
	int ret;

	if (bench_guest_restore(run, &g, path, own == ANEW) < 0)
		return -1;
	ret = first(run, &g, from, price_ns, own, latency);
	return bench_guest_end(run, &g) < 0 ? -1 : ret;
}

/* Settles, puts the guest down, and has it go on. *@price_ns: of a sleep. */
static int run_settled(struct bench_run *run, struct arrivals *a, char path[BENCH_SNAPSHOT_PATH],
		       uint32_t *price_ns)
{
	struct catnap_policy_stats s = {.size = sizeof(s), .context_size = sizeof(s.context[0])};
	struct bench_guest g;
	int ret;

	if (bench_guest_start(run, &g, 1, -1, EVENT_GUEST) < 0)
		return -1;
	ret = events(run, &g, a, run->cfg->samples + WARMUP, NULL);
	if (ret == 0)
		ret = bench_snapshot_of(run, g.vm, path);
	if (ret == 0 && catnap_vm_get_policy_stats(g.vm, 0, &s) < 0)
		ret = bench_fail(run, "%s", catnap_vm_last_error(g.vm));
	*price_ns = s.price_ns;
	if (ret == 0)
		ret = first(run, &g, a, *price_ns, SETTLED, NULL);
	return bench_guest_end(run, &g) < 0 ? -1 : ret;
}

static int run_clone(struct bench_run *run)
{
	char path[BENCH_SNAPSHOT_PATH];
	struct bench_series round = {0};
	struct bench_pinned pinned = {0};
	struct arrivals a = {.n = 0};
	int32_t unused[1], sender;
	uint32_t price_ns = 0;
	int ret;

	if (run->cell->mode->irqchip != CATNAP_IRQCHIP_USER || run->cell->mode->polls)
		return bench_fail(run, "nothing is learned: expected a mode user:POLICY");
	generator_init(&a.process, &run->cell->process->generate, run->seed + 1);
	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(unused, 1, &sender))
		bench_pin(&pinned, sender);
	ret = run_settled(run, &a, path, &price_ns);
	if (ret == 0)
		ret = run_restored(run, path, &a, price_ns, RESTORED, &round);
	if (ret == 0)
		ret = run_restored(run, path, &a, price_ns, ANEW, NULL);
	bench_unpin(&pinned);
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

/* -- the workload ----------------------------------------------------------------------------- */

static bool settled(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_quantile(&c->own[SETTLED], 0.5);
	return c->own[SETTLED].n;
}

/* The median over the rounds of what a halt costs, over what it costs the guest itself. */
static bool over_settled(const struct bench_cell *c, int own, double *value)
{
	struct bench_ratio ratio;

	if (!bench_series_ratio(&c->own[own], &c->own[SETTLED], &ratio))
		return false;
	*value = ratio.median;
	return true;
}

static bool restored(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return over_settled(c, RESTORED, value);
}

static bool anew(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return over_settled(c, ANEW, value);
}

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	{"halt", "a halt settled", 6, BENCH_NS, .value = settled,
	 .note = "halt: what one of 100 halts costs the guest that was put down, us: the time "
		 "polled, and the price of a sleep if it slept"},
	{"clone", "clone", 6, BENCH_NUMBER, 3, restored,
	 .note = "clone: what the same first 100 halts cost one that goes on with what was "
		 "learned, over that; anew: one that learns anew"},
	{"anew", "learns anew", 6, BENCH_NUMBER, 3, anew},
	{.head = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS,
	{"settled_halt_ns", .whole = settled},
	{"ratio_restored", .real = restored},
	{"ratio_anew", .real = anew},
	{.name = NULL},
};

static const char *const modes[] = {"user:adaptive", "user:kernel", NULL};

const struct bench_workload bench_workload_clone = {
	.name = "clone",
	.title = "signal to a clone's handler",
	.help = "what the first 100 halts of a clone cost, with arrival\n"
		"processes: with what was learned, and without",
	.about =
		"A guest whose policy has settled is put down. Then come the same 100 gaps for the "
		"guest itself, for one that goes on from the snapshot, and for one that does "
		"without what was learned.",
	.options = BENCH_OPT_SAMPLES | BENCH_OPT_PROCESS | BENCH_OPT_PIN,
	.modes = modes,
	.plan = bench_plan_processes,
	.condition = bench_condition_process,
	.run = run_clone,
	.finish = bench_snapshots_remove,
	.columns = columns,
	.condition_members = bench_process_members,
	.members = members,
};
