/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from the samples, and what things are called: the same in every report. */
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
	case BENCH_IPI:
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
	case BENCH_START:
	case BENCH_MEMORY:
	case BENCH_WORKLOADS:
		break;
	}
	return buf;
}

static const struct series *per_round(const struct cell *c)
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

/* The median of the ratios of what belongs to the same round; 0: there is none. */
static double median_ratio(const struct series *own, const struct series *other)
{
	double r[1024], t;
	size_t rounds = own->n;

	if (rounds == 0 || rounds > 1024 || other->n != rounds)
		return 0;
	for (size_t i = 0; i < rounds; i++) {
		if (!other->v[i])
			return 0;
		r[i] = (double)own->v[i] / (double)other->v[i];
	}
	for (size_t i = 1; i < rounds; i++)
		for (size_t k = i; k > 0 && r[k] < r[k - 1]; k--) {
			t = r[k];
			r[k] = r[k - 1];
			r[k - 1] = t;
		}
	return rounds % 2 ? r[rounds / 2] : (r[rounds / 2 - 1] + r[rounds / 2]) / 2;
}

static double ratio_of(const struct series *(*what)(const struct cell *c), const struct cell *cells,
		       size_t n, const struct cell *c)
{
	const struct cell *base = baseline(cells, n, c);

	if (!base || c->failed || base->failed)
		return 0;
	return median_ratio(what(c), what(base));
}

double cell_ratio(struct cell *cells, size_t n, const struct cell *c)
{
	return ratio_of(per_round, cells, n, c);
}

double cell_hog_ratio(struct cell *cells, size_t n, const struct cell *c)
{
	return ratio_of(hog_cpu, cells, n, c);
}

double cell_hog_percent(const struct cell *c)
{
	return (double)series_median(&c->hog_cpu) / 1e7;
}

double cell_progress(const struct cell *c)
{
	return median_ratio(&c->progress, &c->alone);
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

static double percent_of_time(const struct cell *c, uint64_t ns)
{
	return c->wall_ns ? 100.0 * (double)ns / (double)c->wall_ns : 0;
}

double cell_cpu_percent(const struct cell *c)
{
	return percent_of_time(c, c->cpu_ns);
}

double cell_polled_percent(const struct cell *c)
{
	return percent_of_time(c, c->polled_ns);
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
