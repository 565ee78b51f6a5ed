/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured, as a table for people and as JSON. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <json-c/json.h>

#include "cli/bench.h"

#define BASELINE "kernel:200us"

static const char *const names[BENCH_WORKLOADS] = {
	[BENCH_EVENT] = "event", [BENCH_TIMER] = "timer", [BENCH_IPI] = "ipi",
	[BENCH_IDLE] = "idle",	 [BENCH_START] = "start", [BENCH_MEMORY] = "memory",
	[BENCH_BLK] = "blk",	 [BENCH_ECHO] = "echo",
};

const char *workload_name(enum bench_workload w)
{
	return names[w];
}

static struct cell *baseline(struct cell *cells, size_t n, const struct cell *of)
{
	for (size_t i = 0; i < n; i++)
		if (cell_same_condition(&cells[i], of) &&
		    strcmp(cells[i].mode->name, BASELINE) == 0)
			return &cells[i];
	return NULL;
}

/* The median over the rounds of this mode's median over the baseline's in the same round; 0: none.
 */
static double ratio(const struct cell *c, const struct cell *base)
{
	double r[1024];
	size_t n = c->round_p50.n;

	if (!base || c->failed || base->failed || n != base->round_p50.n || n == 0 || n > 1024)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (!base->round_p50.v[i])
			return 0;
		r[i] = (double)c->round_p50.v[i] / (double)base->round_p50.v[i];
	}
	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k > 0 && r[k] < r[k - 1]; k--) {
			double t = r[k];

			r[k] = r[k - 1];
			r[k - 1] = t;
		}
	return n % 2 ? r[n / 2] : (r[n / 2 - 1] + r[n / 2]) / 2;
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

/* The median beyond the guest's share; 0: not known, or nothing. */
static uint64_t net_p50(struct cell *cells, size_t n, struct cell *c)
{
	uint64_t share = guest_share(cells, n, c), p50 = series_quantile(&c->latency, 0.5);

	return share && p50 > share ? p50 - share : 0;
}

static bool has_net(const struct cell *c)
{
	return c->workload == BENCH_BLK || c->workload == BENCH_ECHO;
}

static void heading(FILE *out, const struct cell *c)
{
	static const char *const what[BENCH_WORKLOADS] = {
		[BENCH_EVENT] = "signal to the guest's handler",
		[BENCH_TIMER] = "lateness of the APIC timer",
		[BENCH_IPI] = "two vCPUs wake each other, round trip",
		[BENCH_IDLE] = "processor time of an idle guest",
		[BENCH_START] = "process start to the guest's first output",
		[BENCH_MEMORY] = "private memory beyond the guest's own",
		[BENCH_BLK] = "doorbell to the interrupt's handler, one request at a time",
		[BENCH_ECHO] = "a packet to the guest and back",
	};
	static const char *const disks[] = {
		[DISK_ID] = "the disk's id: no I/O",
		[DISK_TMPFS] = "4 KiB reads of a file in memory",
		[DISK_DIRECT] = "4 KiB reads of a file on disk, direct=on",
	};

	fprintf(out, "\n%s: %s", names[c->workload], what[c->workload]);
	if (c->workload == BENCH_IDLE && c->gap_ns)
		fprintf(out, ", %llu ticks a second", (unsigned long long)c->gap_ns);
	else if (c->workload == BENCH_IDLE)
		fprintf(out, ", no timer");
	else if (c->workload == BENCH_BLK)
		fprintf(out, ", %s", disks[c->disk]);
	else if (c->workload <= BENCH_IPI || c->workload == BENCH_ECHO)
		fprintf(out, ", %s gap of %llu us", c->random ? "random" : "constant",
			(unsigned long long)c->gap_ns / 1000);
	fprintf(out, "\n");
	switch (c->workload) {
	case BENCH_IDLE:
		fprintf(out, "  %-14s %12s %8s\n", "mode", "processor %", "ratio");
		break;
	case BENCH_MEMORY:
		fprintf(out, "  %-14s %9s %9s %8s\n", "mode", "KiB", "max", "ratio");
		break;
	case BENCH_EVENT:
	case BENCH_TIMER:
	case BENCH_IPI:
	case BENCH_START:
	case BENCH_BLK:
	case BENCH_ECHO:
	case BENCH_WORKLOADS:
		fprintf(out, "  %-14s %9s %9s %9s %9s %9s %9s %8s\n", "mode",
			c->workload == BENCH_START ? "p50 ms" : "p50 us", "p90", "p99", "max",
			c->workload == BENCH_EVENT ? "sender us"
			: has_net(c)		   ? "net us"
						   : "",
			c->has_cpu ? "cpu us" : "", "ratio");
		break;
	}
}

static void number(FILE *out, bool there, double value)
{
	if (there)
		fprintf(out, " %9.2f", value);
	else
		fprintf(out, " %9s", "");
}

static void row(FILE *out, struct cell *cells, size_t n, struct cell *c)
{
	struct cell *base = baseline(cells, n, c);
	double r = ratio(c, base), scale = c->workload == BENCH_START ? 1e6 : 1e3;

	fprintf(out, "  %-14s", c->mode->name);
	if (c->failed || !c->latency.n) {
		fprintf(out, "    failed\n");
		return;
	}
	if (c->workload == BENCH_IDLE) {
		fprintf(out, " %12.3f", 100.0 * (double)c->cpu_ns / (double)c->wall_ns);
	} else if (c->workload == BENCH_MEMORY) {
		fprintf(out, " %9.0f %9.0f", (double)series_quantile(&c->latency, 0.5) / 1024,
			(double)series_quantile(&c->latency, 1) / 1024);
	} else {
		number(out, true, (double)series_quantile(&c->latency, 0.5) / scale);
		number(out, true, (double)series_quantile(&c->latency, 0.9) / scale);
		number(out, true, (double)series_quantile(&c->latency, 0.99) / scale);
		number(out, true, (double)series_quantile(&c->latency, 1) / scale);
		if (has_net(c))
			number(out, net_p50(cells, n, c), (double)net_p50(cells, n, c) / scale);
		else
			number(out, c->signal.n, (double)series_quantile(&c->signal, 0.5) / scale);
		number(out, c->has_cpu && c->events,
		       c->events ? (double)c->cpu_ns / (double)c->events / scale : 0);
	}
	if (r > 0)
		fprintf(out, " %8.2f", r);
	fprintf(out, "\n");
}

void report_table(FILE *out, struct cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || !cell_same_condition(&cells[i], &cells[i - 1]))
			heading(out, &cells[i]);
		row(out, cells, n, &cells[i]);
	}
	fprintf(out,
		"\nEntering KVM from user space costs %.2f us on this host (median); user modes "
		"pay it at every\n"
		"wake-up, kernel modes do not.\n",
		(double)catnap_host_kvm_run_ns() / 1000);
	fprintf(out,
		"ratio: to " BASELINE ", the median over the rounds of the ratio of medians\n");
	for (size_t i = 0; i < n; i++) {
		if (!has_net(&cells[i]))
			continue;
		fprintf(out,
			"net: without the guest's own share, as measured in this run: blk, a "
			"request "
			"that takes no I/O\nand is done within the doorbell's exit; echo, from the "
			"guest's handler to its doorbell\n");
		break;
	}
}

static void add_u64(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_uint64(value));
}

static struct json_object *run_json(struct cell *cells, size_t n, struct cell *c)
{
	const struct cell *base = baseline(cells, n, c);
	struct json_object *o = json_object_new_object();
	double r = ratio(c, base);

	json_object_object_add(o, "workload", json_object_new_string(names[c->workload]));
	json_object_object_add(o, "mode", json_object_new_string(c->mode->name));
	if (c->workload == BENCH_IDLE)
		add_u64(o, "tick_hz", c->gap_ns);
	else
		add_u64(o, "gap_ns", c->gap_ns);
	json_object_object_add(o, "arrivals",
			       json_object_new_string(c->random ? "random" : "constant"));
	if (c->workload == BENCH_BLK)
		json_object_object_add(o, "disk",
				       json_object_new_string(c->disk == DISK_ID      ? "id"
							      : c->disk == DISK_TMPFS ? "tmpfs"
										      : "direct"));
	if (net_p50(cells, n, c))
		add_u64(o, "net_p50_ns", net_p50(cells, n, c));
	add_u64(o, "samples", c->latency.n);
	add_u64(o, "rounds", c->round_p50.n);
	json_object_object_add(o, "failed", json_object_new_boolean(c->failed));
	if (c->workload == BENCH_MEMORY) {
		add_u64(o, "p50_bytes", series_quantile(&c->latency, 0.5));
		add_u64(o, "max_bytes", series_quantile(&c->latency, 1));
	} else if (c->workload == BENCH_IDLE) {
		json_object_object_add(
			o, "cpu_percent",
			json_object_new_double(
				c->wall_ns ? 100.0 * (double)c->cpu_ns / (double)c->wall_ns : 0));
	} else {
		add_u64(o, "p50_ns", series_quantile(&c->latency, 0.5));
		add_u64(o, "p90_ns", series_quantile(&c->latency, 0.9));
		add_u64(o, "p99_ns", series_quantile(&c->latency, 0.99));
		add_u64(o, "max_ns", series_quantile(&c->latency, 1));
	}
	if (c->has_cpu && c->events)
		add_u64(o, "cpu_ns_per_event", c->cpu_ns / c->events);
	if (c->signal.n) {
		add_u64(o, "signal_p50_ns", series_quantile(&c->signal, 0.5));
		add_u64(o, "signal_p99_ns", series_quantile(&c->signal, 0.99));
	}
	if (c->has_cpu) {
		add_u64(o, "kicks", c->kicks);
		add_u64(o, "futex_wakes", c->futex_wakes);
	}
	if (r > 0)
		json_object_object_add(o, "ratio_p50", json_object_new_double(r));
	return o;
}

static void cpu_model(char *model, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(model, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(model, size, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

int report_json(FILE *out, const struct bench_cfg *cfg, struct cell *cells, size_t n,
		uint32_t tsc_khz)
{
	struct json_object *root = json_object_new_object(), *host = json_object_new_object();
	struct json_object *runs = json_object_new_array();
	char model[128];
	struct utsname u;
	int ret;

	cpu_model(model, sizeof(model));
	if (uname(&u) == 0)
		json_object_object_add(host, "kernel", json_object_new_string(u.release));
	json_object_object_add(host, "cpu", json_object_new_string(model));
	add_u64(host, "processors", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	add_u64(host, "tsc_khz", tsc_khz);
	add_u64(host, "kvm_run_ns", catnap_host_kvm_run_ns());
	json_object_object_add(host, "catnap", json_object_new_string(catnap_version()));
	json_object_object_add(root, "host", host);
	add_u64(root, "rounds", cfg->rounds);
	for (size_t i = 0; i < n; i++)
		json_object_array_add(runs, run_json(cells, n, &cells[i]));
	json_object_object_add(root, "runs", runs);
	errno = 0;
	ret = fprintf(out, "%s\n", json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	if (fflush(out) != 0)
		ret = -1;
	json_object_put(root);
	return ret < 0 ? -1 : 0;
}
