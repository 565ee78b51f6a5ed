/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of measurements, the clock, and how a run says that it failed. */
#include <stdarg.h>
#include <stdlib.h>

#include "cli/bench/bench.h"

int bench_series_add(struct bench_series *s, uint64_t value)
{
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 1024;
		uint64_t *v = realloc(s->v, room * sizeof(*v));

		if (!v)
			return -1;
		s->v = v;
		s->room = room;
	}
	s->v[s->n++] = value;
	return 0;
}

void bench_series_free(struct bench_series *s)
{
	free(s->v);
	*s = (struct bench_series){0};
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t bench_series_quantile(struct bench_series *s, double q)
{
	if (!s->n)
		return 0;
	if (s->sorted != s->n)
		qsort(s->v, s->n, sizeof(*s->v), compare);
	s->sorted = s->n;
	return s->v[(size_t)(q * (double)(s->n - 1) + 0.5)];
}

uint64_t bench_series_mean(struct bench_series *s)
{
	uint64_t most = bench_series_quantile(s, 0.99), sum = 0, n = 0;

	for (; n < s->n && s->v[n] <= most; n++)
		sum += s->v[n];
	return n ? sum / n : 0;
}

uint64_t bench_series_median(const struct bench_series *s)
{
	struct bench_series copy = {0};
	uint64_t median;

	for (size_t i = 0; i < s->n; i++)
		if (bench_series_add(&copy, s->v[i]) < 0)
			break;
	median = bench_series_quantile(&copy, 0.5);
	bench_series_free(&copy);
	return median;
}

uint64_t bench_to_ns(const struct bench_run *run, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * 1000000 / run->tsc_khz);
}

uint64_t bench_to_ticks(const struct bench_run *run, uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * run->tsc_khz / 1000000);
}

int bench_fail(struct bench_run *run, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(run->error, sizeof(run->error), fmt, ap);
	va_end(ap);
	return -1;
}

int bench_fail_all(struct bench_run *run, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(run->error, sizeof(run->error), fmt, ap);
	va_end(ap);
	run->for_all = true;
	return -1;
}

int bench_nothing(struct bench_run *run)
{
	return bench_fail(run, "stopped before anything was measured");
}

void bench_sleep(const struct bench_run *run, uint64_t ns)
{
	bench_stop_sleep(run->stop, ns);
}

void bench_cell_free(struct bench_cell *c)
{
	bench_series_free(&c->latency);
	bench_series_free(&c->round_p50);
	for (size_t i = 0; i < BENCH_OWN; i++)
		bench_series_free(&c->own[i]);
}

bool bench_cell_same_condition(const struct bench_cell *a, const struct bench_cell *b)
{
	return a->workload == b->workload && a->gap_ns == b->gap_ns && a->random == b->random &&
	       a->rate == b->rate && a->what == b->what && a->vcpus == b->vcpus &&
	       a->process == b->process && a->memory == b->memory;
}
