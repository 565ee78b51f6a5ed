/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload prices: the costs of single things on this host, in ticks of the TSC: those of a guest
 * in each mode, and those of the host itself, which no mode changes. The time of the measuring
 * itself has been subtracted. A cell's series are in ticks; its @what is an enum bench_price.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/bench/crossover.h"
#include "cli/bench/guest.h"
#include "cli/bench/host_price.h"
#include "cli/bench/svg.h"
#include "cli/bench/workload.h"

#define MOST	PROBE_PRICES_SAMPLES
#define WAKE_NS 100000 /* a halt lasts that long */
#define RUN_NS	20000  /* between two kicks of a vCPU that computes */

/* The cell's own[]. */
enum { LEAST }; /* of each round */

/* -- kept ------------------------------------------------------------------------------------- */

static uint32_t samples_of(const struct bench_run *run)
{
	return run->cfg->samples < MOST ? run->cfg->samples : MOST;
}

static uint64_t less(uint64_t ticks, uint64_t share)
{
	return ticks > share ? ticks - share : 0;
}

/* Keeps the samples. @nothing: as many samples of nothing; NULL: there is nothing to subtract. */
static int keep(struct bench_run *run, const uint64_t *took, const uint64_t *nothing, uint32_t n)
{
	struct bench_series empty = {0}, round = {0};
	uint64_t share = 0, least = UINT64_MAX;
	int ret = 0;

	for (uint32_t i = 0; nothing && i < n && ret == 0; i++)
		ret = bench_series_add(&empty, nothing[i]);
	share = bench_series_quantile(&empty, 0.5);
	for (uint32_t i = 0; i < n && ret == 0; i++) {
		least = took[i] < least ? took[i] : least;
		ret = bench_series_add(&round, less(took[i], share));
	}
	bench_series_free(&empty);
	if (ret == 0)
		ret = bench_series_add(&run->cell->own[LEAST], less(least, share));
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return bench_fail(run, "out of memory");
}

/* -- those that the guest takes by itself ----------------------------------------------------- */

static const struct guest_price {
	int what;
	enum probe_price op;
	bool pv_eoi;
	enum probe_price beside; /* none of them: it is the guest of these */
} guest_prices[] = {
	{BENCH_PRICE_CPUID, PROBE_PRICE_CPUID},
	{BENCH_PRICE_MSR, PROBE_PRICE_MSR},
	{BENCH_PRICE_PORT, PROBE_PRICE_PORT},
	{BENCH_PRICE_APIC, PROBE_PRICE_APIC},
	{BENCH_PRICE_EOI, PROBE_PRICE_EOI},
	{BENCH_PRICE_ARM, PROBE_PRICE_ARM},
	{BENCH_PRICE_IRQ, PROBE_PRICE_IRQ},
	{BENCH_PRICE_IRQ_PV, PROBE_PRICE_IRQ, .pv_eoi = true},
	{BENCH_PRICE_HALT, PROBE_PRICE_HALT, .pv_eoi = true},
	{BENCH_PRICE_IPI, PROBE_PRICE_IPI},
	{BENCH_PRICE_LATE, PROBE_PRICE_CYCLE, .pv_eoi = true},
	{BENCH_PRICE_LATE_OF_TWO, PROBE_PRICE_CYCLE, .beside = PROBE_PRICE_IPI},
};

static const struct guest_price *guest_price(int what)
{
	for (size_t i = 0; i < sizeof(guest_prices) / sizeof(guest_prices[0]); i++)
		if (guest_prices[i].what == what)
			return &guest_prices[i];
	return NULL;
}

static int run_guest_price(struct bench_run *run, const struct guest_price *p)
{
	const struct bench_probe_price how = {.op = (uint32_t)p->op,
					      .pv_eoi = p->pv_eoi,
					      .gap_ns = WAKE_NS,
					      .extra = (uint32_t)p->beside};
	uint32_t n = samples_of(run);
	struct bench_guest g;
	uint64_t *ticks = NULL;
	int ret = bench_probe_prices(run, &g, &how, n, &ticks);

	if (ret == 0 && ticks)
		ret = keep(run, ticks + n, ticks, n);
	if (g.vm && bench_guest_end(run, &g) < 0)
		ret = -1;
	return ret;
}

/* -- those for which this thread is the guest's other side ------------------------------------ */

/* Signals a vCPU that halts: what that costs this thread, or how long the handler takes to come. */
static int wakes(struct bench_run *run, struct bench_guest *g, uint64_t *took, uint32_t n)
{
	uint64_t gap = (uint64_t)WAKE_NS * run->tsc_khz / 1000000, t0, t1;

	for (uint32_t i = 1; i <= n + WARMUP; i++) {
		if (bench_spin_until(run, &g->shared->halting, i, "halt") < 0 ||
		    bench_spin_gap(run, bench_ticks() + gap) < 0)
			return -1;
		t0 = bench_ticks();
		if (bench_guest_signal(run, g) < 0)
			return -1;
		t1 = bench_ticks();
		if (bench_spin_until(run, &g->shared->handled, i, "handle an event") < 0)
			return -1;
		if (run->cell->what != BENCH_PRICE_SEND)
			t1 = bench_ticks();
		if (i > WARMUP)
			took[i - WARMUP - 1] = t1 - t0;
	}
	return 0;
}

/* Signals one that computes. */
static int kicks(struct bench_run *run, struct bench_guest *g, uint64_t *took, uint32_t n)
{
	uint64_t gap = (uint64_t)RUN_NS * run->tsc_khz / 1000000, t0;

	for (uint32_t i = 1; i <= n + WARMUP; i++) {
		if (bench_spin_gap(run, bench_ticks() + gap) < 0)
			return -1;
		t0 = bench_ticks();
		if (bench_guest_signal(run, g) < 0)
			return -1;
		if (i > WARMUP)
			took[i - WARMUP - 1] = bench_ticks() - t0;
		if (bench_spin_until(run, &g->shared->handled, i, "handle an event") < 0)
			return -1;
	}
	return 0;
}

/* Waits until it has begun to compute. */
static int computes(struct bench_run *run, struct bench_guest *g)
{
	void *progress;

	if (catnap_vm_guest_memory(g->vm, PROBE_PROGRESS_GPA, sizeof(uint64_t), &progress) < 0)
		return bench_fail(run, "the guest has no memory");
	return bench_spin_until(run, progress, 1, "compute");
}

static int run_signals(struct bench_run *run)
{
	bool kick = run->cell->what == BENCH_PRICE_KICK;
	bool two = run->cell->what == BENCH_PRICE_WAKE_OF_TWO;
	char of_two[96];
	struct bench_pinned pinned = {0};
	int32_t unused[1], sender;
	uint32_t n = samples_of(run);
	struct bench_guest g;
	uint64_t *took = calloc(n, sizeof(*took));
	int ret;

	if (!took)
		return bench_fail(run, "out of memory");
	snprintf(of_two, sizeof(of_two), "workload=event cpus=2 tsc_khz=%u exit=244", run->tsc_khz);
	ret = bench_guest_start(run, &g, two ? 2 : 1, -1,
				kick  ? "workload=compute pv_eoi=1 exit=244"
				: two ? of_two
				      : EVENT_GUEST);
	if (ret < 0) {
		free(took);
		return ret;
	}
	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(unused, 1, &sender))
		bench_pin(&pinned, sender);
	ret = kick ? computes(run, &g) : 0;
	if (ret == 0)
		ret = kick ? kicks(run, &g, took, n) : wakes(run, &g, took, n);
	bench_unpin(&pinned);
	if (bench_guest_end(run, &g) < 0)
		ret = -1;
	if (ret == 0)
		ret = keep(run, took, NULL, n);
	free(took);
	return ret;
}

/* -- those of the host ------------------------------------------------------------------------ */

static int run_host_price(struct bench_run *run)
{
	uint32_t n = samples_of(run);
	uint64_t *took = calloc(n, sizeof(*took)), ns;
	int ret;

	if (!took)
		return bench_fail(run, "out of memory");
	if (run->cell->what == BENCH_PRICE_KVM_RUN) {
		n = 1;
		ns = catnap_host_kvm_run_ns();
		took[0] = (uint64_t)((unsigned __int128)ns * run->tsc_khz / 1000000);
		ret = ns ? 0 : bench_fail(run, "KVM_RUN cannot be timed");
	} else {
		ret = bench_host_price(run, run->cell->what, took, n);
	}
	if (ret == 0)
		ret = keep(run, took, NULL, n);
	free(took);
	return ret;
}

static int run_price(struct bench_run *run)
{
	const struct guest_price *p = guest_price(run->cell->what);

	if (p)
		return run_guest_price(run, p);
	return bench_price_of_host(run->cell->what) ? run_host_price(run) : run_signals(run);
}

/* -- the workload ----------------------------------------------------------------------------- */

static int plan_prices(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (int what = 0; what < BENCH_PRICES && ret == 0; what++) {
		const struct bench_cell c = {.workload = w, .what = what};
		size_t before = p->n;

		ret = bench_plan_add(p, &c);
		/* No mode changes these. */
		if (ret == 0 && bench_price_of_host(what) && p->n > before)
			p->n = before + 1;
	}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	snprintf(buf, size, "%s", bench_price_title(c->what));
}

static bool in_ns(const struct bench_results *r, double ticks, double *ns)
{
	*ns = ticks * 1e6 / (double)r->tsc_khz;
	return r->tsc_khz;
}

static bool least(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_quantile(&c->own[LEAST], 0);
	return c->own[LEAST].n;
}

static bool least_ns(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return least(r, c, value) && in_ns(r, *value, value);
}

static bool median_ns(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return bench_value_p50(r, c, value) && in_ns(r, *value, value);
}

static void bar(const struct bench_results *r, struct bench_cell *c, struct bench_svg_bar *bar)
{
	if (median_ns(r, c, &bar->value))
		bench_html_ns(bar->text, sizeof(bar->text), bar->value);
}

static const char *caption(const struct bench_results *r, struct bench_cell *cells, size_t n)
{
	return "Median of all samples; shorter is better";
}

static const struct bench_bars bars = {.bar = bar, .caption = caption};

static const char *price_name(const struct bench_cell *c)
{
	return bench_price_name(c->what);
}

static const struct bench_column columns[] = {
	{"least", "least, cycles", 7, BENCH_COUNT, .value = least,
	 .note = "prices: least and p50 are cycles of the TSC, without what measuring takes"},
	{"p50", "median, cycles", 7, BENCH_COUNT, .value = bench_value_p50},
	{"us", "median", 6, BENCH_NS, .value = median_ns},
	{.head = NULL},
};

static const struct bench_member condition_members[] = {
	{"price", .text = price_name},
	{.name = NULL},
};

static const struct bench_member members[] = {
	{"min_cycles", .whole = least},
	{"p50_cycles", .whole = bench_value_p50},
	{"min_ns", .whole = least_ns},
	{"p50_ns", .whole = median_ns},
	{"round_p50_cycles", .rounds = bench_round_medians},
	{.name = NULL},
};

const struct bench_workload bench_workload_prices = {
	.name = "prices",
	.title = "what single things cost",
	.help = "what single things cost: exits, HLT, interrupts, wakes; and the\n"
		"crossover: for how many interrupts a halt which irqchip is better",
	.about = "What single things cost a guest in each mode, and this host, in cycles of the "
		 "TSC; what measuring takes has been subtracted.",
	.options = BENCH_OPT_SAMPLES | BENCH_OPT_PIN,
	.modes = bench_crossover_modes,
	.plan = plan_prices,
	.condition = condition,
	.run = run_price,
	.columns = columns,
	.condition_members = condition_members,
	.members = members,
	.bars = &bars,
	.table = bench_prices_table,
	.summary = bench_crossover_print,
	.summary_json = bench_crossover_json,
	.in_turn = true,
};
