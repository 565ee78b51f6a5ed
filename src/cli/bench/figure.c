/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of a cell that several workloads show, and the columns and members made of them. */
#include "cli/bench/svg.h"
#include "cli/bench/workload.h"

/* -- of the latency --------------------------------------------------------------------------- */

bool bench_value_mean(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_mean(&c->latency);
	return c->latency.n;
}

static bool quantile(struct bench_cell *c, double q, double *value)
{
	*value = (double)bench_series_quantile(&c->latency, q);
	return c->latency.n;
}

bool bench_value_p50(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return quantile(c, 0.5, value);
}

bool bench_value_p90(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return quantile(c, 0.9, value);
}

bool bench_value_p99(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return quantile(c, 0.99, value);
}

bool bench_value_p999(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return quantile(c, 0.999, value) && c->rate;
}

bool bench_value_max(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return quantile(c, 1, value);
}

bool bench_value_net(struct bench_cell *c, uint64_t share_ns, double *value)
{
	uint64_t p50 = bench_series_quantile(&c->latency, 0.5);

	*value = p50 > share_ns ? (double)(p50 - share_ns) : 0;
	return share_ns && !bench_cell_empty(c);
}

/* -- of what it costs ------------------------------------------------------------------------- */

static bool percent_of_time(const struct bench_cell *c, uint64_t ns, double *percent)
{
	*percent = c->wall_ns ? 100.0 * (double)ns / (double)c->wall_ns : 0;
	return c->wall_ns;
}

bool bench_value_cpu_percent(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return percent_of_time(c, c->cpu_ns, value) && c->has_cpu;
}

bool bench_value_polled_percent(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return percent_of_time(c, c->polled_ns, value) && c->has_polled;
}

bool bench_cell_each(const struct bench_cell *c, uint64_t sum, double *each)
{
	*each = c->events ? (double)sum / (double)c->events : 0;
	return c->events;
}

bool bench_value_event_cpu(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return bench_cell_each(c, c->cpu_ns, value) && c->has_cpu;
}

bool bench_value_kicks(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)c->kicks;
	return c->has_kicks;
}

bool bench_value_futex_wakes(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)c->futex_wakes;
	return c->has_kicks;
}

bool bench_value_signal_p50(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_quantile(&c->own[BENCH_SIGNAL], 0.5);
	return c->own[BENCH_SIGNAL].n;
}

bool bench_value_signal_p99(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)bench_series_quantile(&c->own[BENCH_SIGNAL], 0.99);
	return c->own[BENCH_SIGNAL].n;
}

/* -- of the events ---------------------------------------------------------------------------- */

bool bench_value_events(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)c->events;
	return true;
}

bool bench_value_event_rate(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = c->wall_ns ? (double)c->events * 1e9 / (double)c->wall_ns : 0;
	return c->wall_ns;
}

bool bench_value_rate(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = c->rate;
	return c->rate;
}

bool bench_value_handled(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return bench_value_event_rate(r, c, value) && c->rate;
}

bool bench_value_lost(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)c->missed;
	return c->rate;
}

bool bench_value_vcpus(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = c->vcpus;
	return true;
}

/* -- lists ------------------------------------------------------------------------------------ */

const struct bench_column bench_latency_columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

const struct bench_member bench_latency_members[] = {
	BENCH_LATENCY_MEMBERS,
	BENCH_CPU_MEMBER,
	BENCH_WAKE_MEMBERS,
	{.name = NULL},
};

/* -- bars ------------------------------------------------------------------------------------- */

void bench_bar_of_median(const struct bench_results *r, struct bench_cell *c,
			 struct bench_svg_bar *bar)
{
	bar->value = (double)bench_series_quantile(&c->latency, 0.5);
	bench_html_ns(bar->text, sizeof(bar->text), bar->value);
}

const char *bench_caption_of_medians(const struct bench_results *r, struct bench_cell *cells,
				     size_t n)
{
	return "Median of the rounds; shorter is better";
}
