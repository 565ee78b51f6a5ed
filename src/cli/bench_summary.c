/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from the samples, and what things are called: the same in every report. */
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

/* A workload: its name, what is measured, and to which mode the others are compared. */
struct words {
	const char *name, *title;
};

static const struct words words[BENCH_WORKLOADS] = {
	[BENCH_EVENT] = {"event", "signal to the guest's handler"},
	[BENCH_TIMER] = {"timer", "lateness of the APIC timer"},
	[BENCH_IPI] = {"ipi", "two vCPUs wake each other, round trip"},
	[BENCH_IDLE] = {"idle", "processor time of an idle guest"},
	[BENCH_START] = {"start", "process start to the guest's first output"},
	[BENCH_MEMORY] = {"memory", "private memory beyond the guest's own"},
	[BENCH_BLK] = {"blk", "doorbell to the interrupt's handler, one request at a time"},
	[BENCH_ECHO] = {"echo", "a packet to the guest and back"},
	[BENCH_NEIGHBOUR] = {"neighbour", "what is left to a hog on the vCPUs' processor"},
	[BENCH_MIX] = {"mix", "signal to the guest's handler"},
	[BENCH_COMPUTE] = {"compute", "completion to the handler, in a guest that computes"},
};

const char *workload_name(enum bench_workload w)
{
	return words[w].name;
}

const char *workload_title(enum bench_workload w)
{
	return words[w].title;
}

const char *baseline_name(enum bench_workload w)
{
	return w == BENCH_NEIGHBOUR ? "user:off" : "kernel:200us";
}

const char *condition_name(char *buf, size_t size, const struct cell *c)
{
	static const char *const disks[] = {
		[DISK_ID] = "the disk's id: no I/O",
		[DISK_TMPFS] = "4 KiB reads of a file in memory",
		[DISK_DIRECT] = "4 KiB reads of a file on disk, direct=on",
	};
	unsigned long long us = (unsigned long long)c->gap_ns / 1000;

	buf[0] = '\0';
	switch (c->workload) {
	case BENCH_EVENT:
	case BENCH_TIMER:
	case BENCH_ECHO:
		snprintf(buf, size, "%s gap of %llu us", c->random ? "random" : "constant", us);
		break;
	case BENCH_IDLE:
		if (c->gap_ns)
			snprintf(buf, size, "%llu ticks a second", (unsigned long long)c->gap_ns);
		else
			snprintf(buf, size, "no timer");
		break;
	case BENCH_BLK:
		snprintf(buf, size, "%s", disks[c->disk]);
		break;
	case BENCH_NEIGHBOUR:
		snprintf(buf, size, "%u vCPU%s, each woken after %s gap of %llu us", c->vcpus,
			 c->vcpus == 1 ? "" : "s", c->random ? "a random" : "a constant", us);
		break;
	case BENCH_MIX:
		snprintf(buf, size, "%s", c->process->label);
		break;
	case BENCH_COMPUTE:
		snprintf(buf, size, "%s, %u vCPU%s",
			 c->completes == COMPLETES_EVENT
				 ? "an eventfd"
				 : "4 KiB reads of a file on disk, from the doorbell",
			 c->vcpus, c->vcpus == 1 ? "" : "s");
		break;
	case BENCH_IPI:
	case BENCH_START:
	case BENCH_MEMORY:
	case BENCH_WORKLOADS:
		break;
	}
	return buf;
}

bool cells_begun(const struct cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cells[i].failed || !cell_empty(&cells[i]))
			return true;
	return false;
}

bool higher_is_better(enum bench_workload w)
{
	return w == BENCH_NEIGHBOUR;
}

const struct series *cell_rounds(const struct cell *c)
{
	return c->workload == BENCH_NEIGHBOUR ? &c->progress : &c->round_p50;
}

static const struct series *hog_cpu(const struct cell *c)
{
	return &c->hog_cpu;
}

static const struct cell *baseline(const struct cell *cells, size_t n, const struct cell *of)
{
	for (size_t i = 0; i < n; i++)
		if (cell_same_condition(&cells[i], of) &&
		    strcmp(cells[i].mode->name, baseline_name(of->workload)) == 0)
			return &cells[i];
	return NULL;
}

#define MAX_ROUNDS 1024

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of the rounds that both have: one that was ended has made fewer of the last mode. */
static bool ratio_of_rounds(const struct series *own, const struct series *other, struct ratio *r)
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

static bool ratio_of(const struct series *(*what)(const struct cell *c), const struct cell *cells,
		     size_t n, const struct cell *c, struct ratio *r)
{
	const struct cell *base = baseline(cells, n, c);

	return base && !c->failed && !base->failed && ratio_of_rounds(what(c), what(base), r);
}

bool cell_ratio(const struct cell *cells, size_t n, const struct cell *c, struct ratio *r)
{
	return ratio_of(cell_rounds, cells, n, c, r);
}

bool cell_hog_ratio(const struct cell *cells, size_t n, const struct cell *c, struct ratio *r)
{
	return ratio_of(hog_cpu, cells, n, c, r);
}

bool cell_spread(const struct cell *c, double *percent)
{
	const struct series *rounds = cell_rounds(c);
	uint64_t middle = series_median(rounds), least = UINT64_MAX, most = 0;

	for (size_t i = 0; i < rounds->n; i++) {
		least = rounds->v[i] < least ? rounds->v[i] : least;
		most = rounds->v[i] > most ? rounds->v[i] : most;
	}
	if (rounds->n < 2 || !middle)
		return false;
	*percent = 100 * (double)(most - least) / (double)middle;
	return true;
}

bool cell_hog_percent(const struct cell *c, double *percent)
{
	*percent = (double)series_median(&c->hog_cpu) / 1e7;
	return c->hog_cpu.n;
}

bool cell_progress(const struct cell *c, double *percent)
{
	struct ratio r;

	if (!ratio_of_rounds(&c->progress, &c->alone, &r))
		return false;
	*percent = 100 * r.median;
	return true;
}

/* The guest's own part of a sample: its code costs the same in every mode, and much where KVM
 * emulates it. 0: not known. */
static uint64_t guest_share(struct cell *cells, size_t n, struct cell *c)
{
	if (c->workload == BENCH_ECHO)
		return series_quantile(&c->share, 0.5);
	if (c->workload != BENCH_BLK || c->disk == DISK_ID)
		return 0;
	/* A request without I/O whose completion is there when the doorbell's exit is over. */
	for (size_t i = 0; i < n; i++)
		if (cells[i].workload == BENCH_BLK && cells[i].disk == DISK_ID &&
		    !cells[i].failed && !cells[i].mode->peer &&
		    cells[i].mode->irqchip == CATNAP_IRQCHIP_USER &&
		    cells[i].mode->io == CATNAP_IO_VCPU)
			return series_quantile(&cells[i].latency, 0.5);
	return 0;
}

bool cell_net_p50(struct cell *cells, size_t n, struct cell *c, uint64_t *ns)
{
	uint64_t share = guest_share(cells, n, c), p50 = series_quantile(&c->latency, 0.5);

	*ns = p50 > share ? p50 - share : 0;
	return share && !cell_empty(c);
}

bool cell_has_net(const struct cell *c)
{
	return c->workload == BENCH_BLK || c->workload == BENCH_ECHO;
}

bool cell_empty(const struct cell *c)
{
	return c->failed || (c->workload == BENCH_NEIGHBOUR ? !c->progress.n : !c->latency.n);
}

static bool percent_of_time(const struct cell *c, uint64_t ns, double *percent)
{
	*percent = c->wall_ns ? 100.0 * (double)ns / (double)c->wall_ns : 0;
	return c->wall_ns;
}

bool cell_cpu_percent(const struct cell *c, double *percent)
{
	return percent_of_time(c, c->cpu_ns, percent) && c->has_cpu;
}

bool cell_polled_percent(const struct cell *c, double *percent)
{
	return percent_of_time(c, c->polled_ns, percent) && c->has_polled;
}

static bool for_each_event(const struct cell *c, uint64_t sum, double *each)
{
	*each = c->events ? (double)sum / (double)c->events : 0;
	return c->events;
}

bool cell_event_cpu(const struct cell *c, double *ns)
{
	return for_each_event(c, c->cpu_ns, ns) && c->has_cpu;
}

bool cell_event_vain(const struct cell *c, double *ns)
{
	return for_each_event(c, c->vain_ns, ns) && c->has_polled;
}

bool cell_event_rate(const struct cell *c, double *rate)
{
	*rate = c->wall_ns ? (double)c->events * 1e9 / (double)c->wall_ns : 0;
	return c->wall_ns;
}

bool host_was_busy(const struct bench_results *r)
{
	return r->load > 0.3;
}

void host_cpu_model(char *model, size_t size)
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
