/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured, as a table for people. */
#include "cli/bench.h"

/* Modes such as user:adaptive:latency have the longest names. */
#define NAME "  %-21s"

static void heading(FILE *out, const struct cell *c)
{
	char condition[160];

	fprintf(out, "\n%s: %s", workload_name(c->workload), workload_title(c->workload));
	if (*condition_name(condition, sizeof(condition), c))
		fprintf(out, ", %s", condition);
	fprintf(out, "\n");
	switch (c->workload) {
	case BENCH_IDLE:
		fprintf(out, NAME " %12s %8s\n", "mode", "processor %", "ratio");
		break;
	case BENCH_MEMORY:
		fprintf(out, NAME " %9s %9s %8s\n", "mode", "KiB", "max", "ratio");
		break;
	case BENCH_NEIGHBOUR:
		fprintf(out, NAME " %9s %9s %9s %9s %9s %9s %9s %8s %9s\n", "mode", "hog %",
			"hog cpu %", "vCPUs %", "polled %", "events/s", "p50 us", "p99", "ratio",
			"cpu ratio");
		break;
	case BENCH_MIX:
		fprintf(out, NAME " %9s %9s %9s %9s %9s %9s %8s\n", "mode", "p50 us", "p90", "p99",
			"max", "vain us", "cpu us", "ratio");
		break;
	case BENCH_EVENT:
	case BENCH_TIMER:
	case BENCH_IPI:
	case BENCH_START:
	case BENCH_BLK:
	case BENCH_ECHO:
	case BENCH_COMPUTE:
	case BENCH_WORKLOADS:
		fprintf(out, NAME " %9s %9s %9s %9s %9s %9s %8s\n", "mode",
			c->workload == BENCH_START ? "p50 ms" : "p50 us", "p90", "p99", "max",
			c->workload == BENCH_EVENT ? "sender us"
			: cell_has_net(c)	   ? "net us"
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

static void latencies(FILE *out, struct cell *cells, size_t n, struct cell *c)
{
	double scale = c->workload == BENCH_START ? 1e6 : 1e3;
	double events = (double)c->events;
	uint64_t net = 0;
	bool has_net = cell_net_p50(cells, n, c, &net);

	number(out, true, (double)series_quantile(&c->latency, 0.5) / scale);
	number(out, true, (double)series_quantile(&c->latency, 0.9) / scale);
	number(out, true, (double)series_quantile(&c->latency, 0.99) / scale);
	number(out, true, (double)series_quantile(&c->latency, 1) / scale);
	if (cell_has_net(c))
		number(out, has_net, (double)net / scale);
	else if (c->workload == BENCH_MIX)
		number(out, c->events, c->events ? (double)c->vain_ns / events / scale : 0);
	else
		number(out, c->signal.n, (double)series_quantile(&c->signal, 0.5) / scale);
	number(out, c->has_cpu && c->events, c->events ? (double)c->cpu_ns / events / scale : 0);
}

static void row(FILE *out, struct cell *cells, size_t n, struct cell *c)
{
	double r = cell_ratio(cells, n, c);

	fprintf(out, NAME, c->mode->name);
	if (cell_empty(c)) {
		fprintf(out, "    failed\n");
		return;
	}
	if (c->workload == BENCH_IDLE) {
		fprintf(out, " %12.3f", cell_cpu_percent(c));
	} else if (c->workload == BENCH_MEMORY) {
		fprintf(out, " %9.0f %9.0f", (double)series_quantile(&c->latency, 0.5) / 1024,
			(double)series_quantile(&c->latency, 1) / 1024);
	} else if (c->workload == BENCH_NEIGHBOUR) {
		number(out, true, 100 * cell_progress(c));
		number(out, true, cell_hog_percent(c));
		number(out, true, cell_cpu_percent(c));
		number(out, true, cell_polled_percent(c));
		number(out, true, (double)c->events * 1e9 / (double)c->wall_ns);
		number(out, c->latency.n, (double)series_quantile(&c->latency, 0.5) / 1e3);
		number(out, c->latency.n, (double)series_quantile(&c->latency, 0.99) / 1e3);
	} else {
		latencies(out, cells, n, c);
	}
	if (r > 0)
		fprintf(out, c->workload == BENCH_NEIGHBOUR ? " %8.3f" : " %8.2f", r);
	r = cell_hog_ratio(cells, n, c);
	if (r > 0)
		fprintf(out, " %9.3f", r);
	fprintf(out, "\n");
}

static bool among(const struct bench_results *r, enum bench_workload w)
{
	return r->cfg->workloads[w];
}

void report_table(FILE *out, const struct bench_results *r)
{
	for (size_t i = 0; i < r->n; i++) {
		if (i == 0 || !cell_same_condition(&r->cells[i], &r->cells[i - 1]))
			heading(out, &r->cells[i]);
		row(out, r->cells, r->n, &r->cells[i]);
	}
	fprintf(out,
		"\nEntering KVM from user space costs %.2f us on this host (median); user modes "
		"pay it at every\n"
		"wake-up, kernel modes do not.\n",
		(double)r->kvm_run_ns / 1000);
	fprintf(out, "ratio: to %s, the median over the rounds of the ratio of medians\n",
		baseline_name(BENCH_EVENT));
	if (among(r, BENCH_BLK) || among(r, BENCH_ECHO))
		fprintf(out,
			"net: without the guest's own share, as measured in this run: blk, a "
			"request "
			"that takes no I/O\nand is done within the doorbell's exit; echo, from the "
			"guest's handler to its doorbell\n");
	if (among(r, BENCH_NEIGHBOUR))
		fprintf(out,
			"hog: its progress, of what it makes alone; hog cpu, vCPUs, polled: "
			"of one processor; neighbour's ratio: the\nhog's progress to that beside "
			"%s; "
			"cpu ratio: the same of its processor time\n",
			baseline_name(BENCH_NEIGHBOUR));
	if (among(r, BENCH_MIX))
		fprintf(out, "vain: time polled in halts that then slept, for each event\n");
}
