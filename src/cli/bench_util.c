/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of measurements, the clock, and how a run says that it failed. */
#include <stdarg.h>
#include <stdlib.h>

#include "cli/bench.h"

int series_add(struct series *s, uint64_t value)
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

void series_free(struct series *s)
{
	free(s->v);
	*s = (struct series){0};
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t series_quantile(struct series *s, double q)
{
	if (!s->n)
		return 0;
	if (s->sorted != s->n)
		qsort(s->v, s->n, sizeof(*s->v), compare);
	s->sorted = s->n;
	return s->v[(size_t)(q * (double)(s->n - 1) + 0.5)];
}

uint64_t series_mean(struct series *s)
{
	uint64_t most = series_quantile(s, 0.99), sum = 0, n = 0;

	for (; n < s->n && s->v[n] <= most; n++)
		sum += s->v[n];
	return n ? sum / n : 0;
}

uint64_t series_median(const struct series *s)
{
	struct series copy = {0};
	uint64_t median;

	for (size_t i = 0; i < s->n; i++)
		if (series_add(&copy, s->v[i]) < 0)
			break;
	median = series_quantile(&copy, 0.5);
	series_free(&copy);
	return median;
}

uint64_t bench_to_ns(const struct bench_run *run, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * 1000000 / run->tsc_khz);
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

bool cell_same_condition(const struct cell *a, const struct cell *b)
{
	return a->workload == b->workload && a->gap_ns == b->gap_ns && a->random == b->random &&
	       a->disk == b->disk && a->completes == b->completes && a->vcpus == b->vcpus &&
	       a->process == b->process;
}
