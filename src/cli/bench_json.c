/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured, as JSON. */
#include <sys/utsname.h>
#include <unistd.h>
#include <json-c/json.h>

#include "cli/bench.h"
#include "cli/json_out.h"

static void add_double(struct json_object *o, const char *name, bool there, double value)
{
	if (there)
		json_object_object_add(o, name, json_object_new_double(value));
}

static void add_figure(struct json_object *o, const char *name, const struct cell *c,
		       bool (*figure)(const struct cell *, double *))
{
	double value;
	bool there = figure(c, &value);

	add_double(o, name, there, value);
}

/* NAME, and NAME_min and NAME_max, between which the rounds lie. */
static void add_ratio(struct json_object *o, const char *name, const struct ratio *r)
{
	char key[48];

	json_object_object_add(o, name, json_object_new_double(r->median));
	snprintf(key, sizeof(key), "%s_min", name);
	json_object_object_add(o, key, json_object_new_double(r->least));
	snprintf(key, sizeof(key), "%s_max", name);
	json_object_object_add(o, key, json_object_new_double(r->most));
}

/* One value for each round: what ratios are made of. */
static void add_rounds(struct json_object *o, const char *name, const struct series *s)
{
	struct json_object *all;

	if (!s->n)
		return;
	all = json_object_new_array();
	for (size_t i = 0; i < s->n; i++)
		json_object_array_add(all, json_object_new_uint64(s->v[i]));
	json_object_object_add(o, name, all);
}

/* The hog's progress is in a unit of its own. */
static void add_neighbour(struct json_object *o, struct cell *c)
{
	if (c->progress.n)
		add_u64(o, "progress_per_s", series_median(&c->progress));
	if (c->alone.n)
		add_u64(o, "alone_per_s", series_median(&c->alone));
	add_figure(o, "progress_percent", c, cell_progress);
	add_figure(o, "hog_cpu_percent", c, cell_hog_percent);
	add_figure(o, "cpu_percent", c, cell_cpu_percent);
	add_figure(o, "polled_percent", c, cell_polled_percent);
	add_u64(o, "events", c->events);
	add_u64(o, "missed", c->missed);
	add_rounds(o, "round_progress_per_s", &c->progress);
	add_rounds(o, "round_hog_cpu_ns_per_s", &c->hog_cpu);
}

/* [[at_ns, halt_ns, window_ns], ...] */
static struct json_object *windows_json(const struct cell *c)
{
	struct json_object *all = json_object_new_array();

	for (uint32_t i = 0; i < c->n_windows; i++) {
		struct json_object *w = json_object_new_array();

		json_object_array_add(w, json_object_new_uint64(c->windows[i].at_ns));
		json_object_array_add(w, json_object_new_uint64(c->windows[i].halt_ns));
		json_object_array_add(w, json_object_new_uint64(c->windows[i].window_ns));
		json_object_array_add(all, w);
	}
	return all;
}

/* One entry for each vCPU. */
static void add_learned(struct json_object *o, const struct cell *c)
{
	struct json_object *all = json_object_new_array();

	for (uint32_t i = 0; i < BENCH_VCPUS && c->learned[i].contexts; i++)
		json_object_array_add(all, policy_json(&c->learned[i]));
	json_object_object_add(o, "learned", all);
}

/* What was measured, and under which condition. */
static void add_condition(struct json_object *o, const struct cell *c)
{
	static const char *const disks[] = {
		[DISK_ID] = "id", [DISK_TMPFS] = "tmpfs", [DISK_DIRECT] = "direct"};

	json_object_object_add(o, "workload", json_object_new_string(workload_name(c->workload)));
	json_object_object_add(o, "mode", json_object_new_string(c->mode->name));
	add_u64(o, c->workload == BENCH_IDLE ? "tick_hz" : "gap_ns", c->gap_ns);
	json_object_object_add(o, "arrivals",
			       json_object_new_string(c->random ? "random" : "constant"));
	if (c->workload == BENCH_BLK)
		json_object_object_add(o, "disk", json_object_new_string(disks[c->disk]));
	if (c->workload == BENCH_MIX)
		json_object_object_add(o, "process", json_object_new_string(c->process->label));
	if (c->workload == BENCH_NEIGHBOUR || c->workload == BENCH_COMPUTE)
		add_u64(o, "vcpus", c->vcpus);
	if (c->workload == BENCH_COMPUTE)
		json_object_object_add(
			o, "completes",
			json_object_new_string(c->completes == COMPLETES_EVENT ? "event" : "read"));
}

static void add_latencies(struct json_object *o, struct cell *c)
{
	add_u64(o, "mean_ns", series_mean(&c->latency));
	add_u64(o, "p50_ns", series_quantile(&c->latency, 0.5));
	add_u64(o, "p90_ns", series_quantile(&c->latency, 0.9));
	add_u64(o, "p99_ns", series_quantile(&c->latency, 0.99));
	add_u64(o, "max_ns", series_quantile(&c->latency, 1));
	if (c->workload != BENCH_NEIGHBOUR)
		add_rounds(o, "round_p50_ns", &c->round_p50);
}

/* What the latency cost; members that there is nothing for are left out. */
static void add_price(struct json_object *o, struct cell *c)
{
	double ns;

	if (cell_event_cpu(c, &ns))
		add_u64(o, "cpu_ns_per_event", (uint64_t)ns);
	if (c->workload == BENCH_MIX && cell_event_vain(c, &ns))
		add_u64(o, "poll_vain_ns_per_event", (uint64_t)ns);
	if (c->signal.n) {
		add_u64(o, "signal_p50_ns", series_quantile(&c->signal, 0.5));
		add_u64(o, "signal_p99_ns", series_quantile(&c->signal, 0.99));
	}
	if (c->has_kicks) {
		add_u64(o, "kicks", c->kicks);
		add_u64(o, "futex_wakes", c->futex_wakes);
	}
}

static void add_figures(struct json_object *o, struct cell *cells, size_t n, struct cell *c)
{
	struct ratio r;
	double spread = 0;
	uint64_t net;

	if (c->workload == BENCH_NEIGHBOUR)
		add_neighbour(o, c);
	if (c->workload == BENCH_MEMORY) {
		add_u64(o, "p50_bytes", series_quantile(&c->latency, 0.5));
		add_u64(o, "max_bytes", series_quantile(&c->latency, 1));
		add_rounds(o, "round_p50_bytes", &c->round_p50);
	} else if (c->workload == BENCH_IDLE) {
		add_figure(o, "cpu_percent", c, cell_cpu_percent);
		add_rounds(o, "round_cpu_ns", &c->round_p50);
	} else if (c->latency.n) {
		add_latencies(o, c);
	}
	if (cell_net_p50(cells, n, c, &net))
		add_u64(o, "net_p50_ns", net);
	add_price(o, c);
	if (c->learned[0].contexts)
		add_learned(o, c);
	if (c->n_windows)
		json_object_object_add(o, "windows", windows_json(c));
	add_double(o, "spread_percent", cell_spread(c, &spread), spread);
	if (cell_ratio(cells, n, c, &r))
		add_ratio(o, higher_is_better(c->workload) ? "ratio_progress" : "ratio_p50", &r);
	if (cell_hog_ratio(cells, n, c, &r))
		add_ratio(o, "ratio_hog_cpu", &r);
}

static struct json_object *run_json(struct cell *cells, size_t n, struct cell *c)
{
	struct json_object *o = json_object_new_object();

	add_condition(o, c);
	add_u64(o, "samples", c->latency.n);
	add_u64(o, "rounds", cell_rounds(c)->n);
	json_object_object_add(o, "failed", json_object_new_boolean(c->failed));
	if (!cell_empty(c))
		add_figures(o, cells, n, c);
	return o;
}

static struct json_object *host_json(const struct bench_results *r)
{
	struct json_object *host = json_object_new_object();
	char model[128];
	struct utsname u;

	host_cpu_model(model, sizeof(model));
	if (uname(&u) == 0)
		json_object_object_add(host, "kernel", json_object_new_string(u.release));
	json_object_object_add(host, "cpu", json_object_new_string(model));
	add_u64(host, "processors", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	add_u64(host, "tsc_khz", r->tsc_khz);
	if (r->kvm_run_ns)
		add_u64(host, "kvm_run_ns", r->kvm_run_ns);
	add_double(host, "load", r->load >= 0, r->load);
	json_object_object_add(host, "catnap", json_object_new_string(catnap_version()));
	return host;
}

int report_json(FILE *out, const struct bench_results *r)
{
	struct json_object *root = json_object_new_object(), *runs = json_object_new_array();

	json_object_object_add(root, "host", host_json(r));
	add_u64(root, "rounds", r->cfg->rounds);
	json_object_object_add(root, "interrupted", json_object_new_boolean(r->interrupted != 0));
	/* What it had not come to is not there. */
	for (size_t i = 0; i < r->n; i++)
		if (cells_begun(&r->cells[i], 1))
			json_object_array_add(runs, run_json(r->cells, r->n, &r->cells[i]));
	json_object_object_add(root, "runs", runs);
	return json_write(root, out);
}
