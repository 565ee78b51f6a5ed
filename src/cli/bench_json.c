/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured, as JSON. */
#include <sys/utsname.h>
#include <unistd.h>
#include <json-c/json.h>

#include "cli/bench.h"
#include "cli/json_out.h"

/* The hog's progress is in a unit of its own. */
static void add_neighbour(struct json_object *o, struct cell *c)
{
	add_u64(o, "vcpus", c->vcpus);
	add_u64(o, "progress_per_s", series_median(&c->progress));
	add_u64(o, "alone_per_s", series_median(&c->alone));
	json_object_object_add(o, "progress_percent",
			       json_object_new_double(100 * cell_progress(c)));
	json_object_object_add(o, "hog_cpu_percent", json_object_new_double(cell_hog_percent(c)));
	json_object_object_add(o, "cpu_percent", json_object_new_double(cell_cpu_percent(c)));
	json_object_object_add(o, "polled_percent", json_object_new_double(cell_polled_percent(c)));
	add_u64(o, "events", c->events);
	add_u64(o, "missed", c->missed);
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

static struct json_object *run_json(struct cell *cells, size_t n, struct cell *c)
{
	struct json_object *o = json_object_new_object();
	double r = cell_ratio(cells, n, c);
	uint64_t net;

	json_object_object_add(o, "workload", json_object_new_string(workload_name(c->workload)));
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
	if (cell_net_p50(cells, n, c, &net))
		add_u64(o, "net_p50_ns", net);
	if (c->workload == BENCH_MIX)
		json_object_object_add(o, "process", json_object_new_string(c->process->label));
	if (c->workload == BENCH_NEIGHBOUR)
		add_neighbour(o, c);
	if (c->workload == BENCH_COMPUTE) {
		add_u64(o, "vcpus", c->vcpus);
		json_object_object_add(
			o, "completes",
			json_object_new_string(c->completes == COMPLETES_EVENT ? "event" : "read"));
	}
	add_u64(o, "samples", c->latency.n);
	add_u64(o, "rounds", c->round_p50.n);
	json_object_object_add(o, "failed", json_object_new_boolean(c->failed));
	if (c->workload == BENCH_MEMORY) {
		add_u64(o, "p50_bytes", series_quantile(&c->latency, 0.5));
		add_u64(o, "max_bytes", series_quantile(&c->latency, 1));
	} else if (c->workload == BENCH_IDLE) {
		json_object_object_add(o, "cpu_percent",
				       json_object_new_double(cell_cpu_percent(c)));
	} else {
		add_u64(o, "mean_ns", series_mean(&c->latency));
		add_u64(o, "p50_ns", series_quantile(&c->latency, 0.5));
		add_u64(o, "p90_ns", series_quantile(&c->latency, 0.9));
		add_u64(o, "p99_ns", series_quantile(&c->latency, 0.99));
		add_u64(o, "max_ns", series_quantile(&c->latency, 1));
	}
	if (c->has_cpu && c->events)
		add_u64(o, "cpu_ns_per_event", c->cpu_ns / c->events);
	if (c->workload == BENCH_MIX && c->events)
		add_u64(o, "poll_vain_ns_per_event", c->vain_ns / c->events);
	if (c->learned[0].contexts)
		add_learned(o, c);
	if (c->n_windows)
		json_object_object_add(o, "windows", windows_json(c));
	if (c->signal.n) {
		add_u64(o, "signal_p50_ns", series_quantile(&c->signal, 0.5));
		add_u64(o, "signal_p99_ns", series_quantile(&c->signal, 0.99));
	}
	if (c->has_cpu) {
		add_u64(o, "kicks", c->kicks);
		add_u64(o, "futex_wakes", c->futex_wakes);
	}
	if (r > 0)
		json_object_object_add(
			o, c->workload == BENCH_NEIGHBOUR ? "ratio_progress" : "ratio_p50",
			json_object_new_double(r));
	r = cell_hog_ratio(cells, n, c);
	if (r > 0)
		json_object_object_add(o, "ratio_hog_cpu", json_object_new_double(r));
	return o;
}

int report_json(FILE *out, const struct bench_results *r)
{
	struct json_object *root = json_object_new_object(), *host = json_object_new_object();
	struct json_object *runs = json_object_new_array();
	char model[128];
	struct utsname u;

	host_cpu_model(model, sizeof(model));
	if (uname(&u) == 0)
		json_object_object_add(host, "kernel", json_object_new_string(u.release));
	json_object_object_add(host, "cpu", json_object_new_string(model));
	add_u64(host, "processors", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	add_u64(host, "tsc_khz", r->tsc_khz);
	add_u64(host, "kvm_run_ns", r->kvm_run_ns);
	json_object_object_add(host, "load", json_object_new_double(r->load));
	json_object_object_add(host, "catnap", json_object_new_string(catnap_version()));
	json_object_object_add(root, "host", host);
	add_u64(root, "rounds", r->cfg->rounds);
	for (size_t i = 0; i < r->n; i++)
		json_object_array_add(runs, run_json(r->cells, r->n, &r->cells[i]));
	json_object_object_add(root, "runs", runs);
	return json_write(root, out);
}
