/* SPDX-License-Identifier: Apache-2.0 */
/* Reckons what follows from the samples of any workload: the same in every report. */
#include <stdlib.h>
#include <string.h>

#include "cli/bench/workload.h"

const char *bench_baseline_name(const struct bench_workload *w)
{
	return w->baseline ? w->baseline : BENCH_BASELINE;
}

const char *bench_condition_name(char *buf, size_t size, const struct bench_cell *c)
{
	buf[0] = '\0';
	if (c->workload->condition)
		c->workload->condition(buf, size, c);
	return buf;
}

bool bench_cells_begun(const struct bench_cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cells[i].failed || !bench_cell_empty(&cells[i]))
			return true;
	return false;
}

const struct bench_series *bench_round_medians(const struct bench_cell *c)
{
	return &c->round_p50;
}

const struct bench_compared bench_compared_medians[] = {
	{"ratio_p50", "ratio", "ratio", bench_round_medians},
	{.member = NULL},
};

const struct bench_compared *bench_workload_compared(const struct bench_workload *w)
{
	return w->compared ? w->compared : bench_compared_medians;
}

const struct bench_series *bench_cell_rounds(const struct bench_cell *c)
{
	return bench_workload_compared(c->workload)->of(c);
}

static const struct bench_cell *baseline(const struct bench_cell *cells, size_t n,
					 const struct bench_cell *of)
{
	for (size_t i = 0; i < n; i++)
		if (bench_cell_same_condition(&cells[i], of) &&
		    strcmp(cells[i].mode->name, bench_baseline_name(of->workload)) == 0)
			return &cells[i];
	return NULL;
}

#define MAX_ROUNDS 1024

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Reckons the ratio of the rounds that both have: a run that was ended has made fewer of the last
 * mode. */
bool bench_series_ratio(const struct bench_series *own, const struct bench_series *other,
			struct bench_ratio *r)
{
	size_t rounds = own->n < other->n ? own->n : other->n;
	double all[MAX_ROUNDS];

	if (rounds == 0 || rounds > MAX_ROUNDS)
		return false;
	for (size_t i = 0; i < rounds; i++) {
		if (!other->v[i])
			return false;
		all[i] = (double)own->v[i] / (double)other->v[i];
	}
	qsort(all, rounds, sizeof(all[0]), by_value);
	r->rounds = rounds;
	r->least = all[0];
	r->most = all[rounds - 1];
	r->median = rounds % 2 ? all[rounds / 2] : (all[rounds / 2 - 1] + all[rounds / 2]) / 2;
	return true;
}

bool bench_cell_ratio(const struct bench_results *r, const struct bench_compared *what,
		      const struct bench_cell *c, struct bench_ratio *ratio)
{
	const struct bench_cell *base = baseline(r->cells, r->n, c);

	return base && !c->failed && !base->failed &&
	       bench_series_ratio(what->of(c), what->of(base), ratio);
}

bool bench_cell_spread(const struct bench_cell *c, double *percent)
{
	const struct bench_series *rounds = bench_cell_rounds(c);
	uint64_t middle = bench_series_median(rounds), least = UINT64_MAX, most = 0;

	for (size_t i = 0; i < rounds->n; i++) {
		least = rounds->v[i] < least ? rounds->v[i] : least;
		most = rounds->v[i] > most ? rounds->v[i] : most;
	}
	if (rounds->n < 2 || !middle)
		return false;
	*percent = 100 * (double)(most - least) / (double)middle;
	return true;
}

bool bench_cell_empty(const struct bench_cell *c)
{
	return c->failed || (!c->latency.n && !bench_cell_rounds(c)->n);
}

bool bench_host_was_busy(const struct bench_results *r)
{
	return r->load > 0.3;
}

void bench_host_cpu_model(char *model, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(model, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon || strlen(colon) < 3)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(model, size, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}
