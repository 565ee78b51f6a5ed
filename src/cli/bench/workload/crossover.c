/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload crossover: what the crossover of prices predicts, measured. The guest arms its timer,
 * halts, and then does a number of other things; a sample is how late the timer's handler was and
 * what those took. The cell's @what is an enum bench_extra, its gap_ns how many of them there are.
 */
#include <string.h>

#include "cli/bench/crossover.h"
#include "cli/bench/guest.h"
#include "cli/bench/workload.h"
#include "cli/wrap.h"

#define HALT_NS UINT64_C(100000)

static const uint32_t counts[] = {0, 1, 2, 4, 8};

#define COUNTS (sizeof(counts) / sizeof(counts[0]))

static const uint32_t ops[BENCH_EXTRAS] = {
	[BENCH_EXTRA_IRQ] = PROBE_PRICE_IRQ,
	[BENCH_EXTRA_IPI] = PROBE_PRICE_IPI,
	[BENCH_EXTRA_TIMER] = PROBE_PRICE_ARM,
};

static int run_crossover(struct bench_run *run)
{
	const struct bench_probe_price how = {.op = PROBE_PRICE_CYCLE,
					      .pv_eoi = true,
					      .gap_ns = HALT_NS,
					      .extra = ops[run->cell->what],
					      .per_halt = (uint32_t)run->cell->gap_ns};
	uint32_t n =
		run->cfg->samples < PROBE_PRICES_SAMPLES ? run->cfg->samples : PROBE_PRICES_SAMPLES;
	struct bench_series round = {0}, nothing = {0};
	struct bench_guest g;
	uint64_t *ticks, share = 0;
	int ret = bench_probe_prices(run, &g, &how, n, &ticks);

	for (uint32_t i = 0; i < n && ret == 0; i++)
		ret = bench_series_add(&nothing, ticks[i]);
	if (ret == 0)
		share = bench_series_quantile(&nothing, 0.5) * how.per_halt;
	for (uint32_t i = 0; i < n && ret == 0; i++)
		ret = bench_series_add(
			&round, bench_to_ns(run, ticks[n + i] > share ? ticks[n + i] - share : 0));
	bench_series_free(&nothing);
	if (g.vm && bench_guest_end(run, &g) < 0)
		ret = -1;
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

static int plan_crossover(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (int extra = 0; extra < BENCH_EXTRAS; extra++)
		for (size_t i = 0; i < COUNTS && ret == 0; i++) {
			const struct bench_cell c = {
				.workload = w, .what = extra, .gap_ns = counts[i]};

			ret = bench_plan_add(p, &c);
		}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	snprintf(buf, size, "%llu times %s", (unsigned long long)c->gap_ns,
		 bench_extra_name((enum bench_extra)c->what));
}

static const char *extra_name(const struct bench_cell *c)
{
	return bench_extra_name((enum bench_extra)c->what);
}

/* -- what was predicted, beside what was measured ---------------------------------------------- */

static struct bench_cell *find(const struct bench_results *r, int extra, uint64_t count,
			       const char *mode)
{
	for (size_t i = 0; i < r->n; i++) {
		struct bench_cell *c = &r->cells[i];

		if (strcmp(c->workload->name, "crossover") == 0 && c->what == extra &&
		    c->gap_ns == count && strcmp(c->mode->name, mode) == 0)
			return bench_cell_empty(c) ? NULL : c;
	}
	return NULL;
}

/* Fits a line through the medians, by least squares. */
static bool fit(const struct bench_results *r, int extra, const char *mode, double *at_0,
		double *each)
{
	double n = 0, x = 0, y = 0, xx = 0, xy = 0, d;

	for (size_t i = 0; i < COUNTS; i++) {
		struct bench_cell *c = find(r, extra, counts[i], mode);
		double v = c ? (double)bench_series_quantile(&c->latency, 0.5) : 0;

		if (!c)
			return false;
		n++;
		x += counts[i];
		y += v;
		xx += (double)counts[i] * counts[i];
		xy += counts[i] * v;
	}
	d = n * xx - x * x;
	*each = (n * xy - x * y) / d;
	*at_0 = (y - *each * x) / n;
	return true;
}

static bool measured(const struct bench_results *r, int extra, bool polls, struct bench_lines *l)
{
	return fit(r, extra, polls ? "user:adaptive" : "user:off", &l->user, &l->user_each) &&
	       fit(r, extra, polls ? "kernel:200us" : "kernel:0", &l->kernel, &l->kernel_each);
}

static void summary(FILE *out, const struct bench_results *r)
{
	struct bench_lines is, said;
	char now[32], before[32];

	for (int polls = 1; polls >= 0; polls--)
		for (int extra = 0; extra < BENCH_EXTRAS; extra++) {
			if (!measured(r, extra, polls, &is))
				continue;
			wrap_line(out, 2,
				  "crossover of a halt that its timer ends, %s, by %ss: %s%s%s",
				  polls ? "polled" : "slept",
				  bench_extra_name((enum bench_extra)extra),
				  bench_better_text(now, sizeof(now), &is),
				  bench_crossover(r, BENCH_PRICE_LATE, polls,
						  (enum bench_extra)extra, &said)
					  ? "; by the prices: "
					  : "",
				  bench_crossover(r, BENCH_PRICE_LATE, polls,
						  (enum bench_extra)extra, &said)
					  ? bench_better_text(before, sizeof(before), &said)
					  : "");
		}
}

static const struct bench_member condition_members[] = {
	{"extra", .text = extra_name},
	{.name = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS,
	{.name = NULL},
};

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	{.head = NULL},
};

const struct bench_workload bench_workload_crossover = {
	.name = "crossover",
	.title = "a halt and what is done beside it",
	.help = "a halt that a timer ends, and 0 to 8 interrupts, IPIs or timers\n"
		"beside it: what prices predict, measured",
	.about = "A halt that the guest’s timer ends, and a number of interrupts, IPIs or timers "
		 "beside it: how late the handler was, and what the others took.",
	.options = BENCH_OPT_SAMPLES | BENCH_OPT_PIN,
	.modes = bench_crossover_modes,
	.plan = plan_crossover,
	.condition = condition,
	.run = run_crossover,
	.columns = columns,
	.gap_member = "per_halt",
	.condition_members = condition_members,
	.members = members,
	.summary = summary,
	.fitted = true,
	.in_turn = true,
};
