/* SPDX-License-Identifier: Apache-2.0 */
/* Writes what was measured, as JSON. */
#include <sys/utsname.h>
#include <unistd.h>
#include <json-c/json.h>

#include "cli/bench/costs_columns.h"
#include "cli/bench/polling.h"
#include "cli/bench/workload.h"
#include "cli/json_out.h"

static void add_double(struct json_object *o, const char *name, double value)
{
	json_object_object_add(o, name, json_object_new_double(value));
}

/* Adds NAME, and NAME_min and NAME_max, between which the rounds lie. */
static void add_ratio(struct json_object *o, const char *name, const struct bench_ratio *r)
{
	char key[48];

	json_object_object_add(o, name, json_object_new_double(r->median));
	snprintf(key, sizeof(key), "%s_min", name);
	json_object_object_add(o, key, json_object_new_double(r->least));
	snprintf(key, sizeof(key), "%s_max", name);
	json_object_object_add(o, key, json_object_new_double(r->most));
}

/* Adds one value for each round, of which ratios are made. */
static void add_rounds(struct json_object *o, const char *name, const struct bench_series *s)
{
	struct json_object *all;

	if (!s->n)
		return;
	all = json_object_new_array();
	for (size_t i = 0; i < s->n; i++)
		json_object_array_add(all, json_object_new_uint64(s->v[i]));
	json_object_object_add(o, name, all);
}

/* Returns [[at_ns, halt_ns, window_ns], ...]. */
static struct json_object *windows_json(const struct bench_cell *c)
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

/* Adds one entry for each vCPU. */
static void add_learned(struct json_object *o, const struct bench_cell *c)
{
	struct json_object *all = json_object_new_array();

	for (uint32_t i = 0; i < BENCH_VCPUS && c->learned[i].contexts; i++)
		json_object_array_add(all, policy_json(&c->learned[i]));
	json_object_object_add(o, "learned", all);
}

/* Adds a member, or leaves it out where there is nothing for it. */
static void add_member(struct json_object *o, const struct bench_member *m,
		       const struct bench_results *r, struct bench_cell *c)
{
	double value = 0;

	if (m->whole && m->whole(r, c, &value))
		add_u64(o, m->name, (uint64_t)value);
	if (m->real && m->real(r, c, &value))
		add_double(o, m->name, value);
	if (m->rounds)
		add_rounds(o, m->name, m->rounds(c));
	if (m->text)
		add_text(o, m->name, m->text(c));
}

static void add_members(struct json_object *o, const struct bench_member *members,
			const struct bench_results *r, struct bench_cell *c)
{
	for (; members && members->name; members++)
		add_member(o, members, r, c);
}

/* Adds what the guest's polls did, and its host after them. */
static void add_polling(struct json_object *o, const struct bench_results *r, struct bench_cell *c)
{
	struct json_object *guest = json_object_new_object();

	add_members(guest, bench_polling_members, r, c);
	json_object_object_add(o, "guest", guest);
}

/* Returns the costs beside time, and how long processors were in which idle state. */
static struct json_object *costs_json(const struct bench_results *r, struct bench_cell *c)
{
	struct json_object *o = json_object_new_object(), *states = json_object_new_object();

	add_members(o, bench_costs_members, r, c);
	for (uint32_t i = 0; i < c->costs.n_states; i++)
		add_u64(states, c->costs.state[i].name, c->costs.state[i].us);
	json_object_object_add(o, "idle_us", states);
	return o;
}

/* Adds what was measured, and under which condition. */
static void add_condition(struct json_object *o, const struct bench_results *r,
			  struct bench_cell *c)
{
	const struct bench_workload *w = c->workload;

	add_text(o, "workload", w->name);
	add_text(o, "mode", c->mode->name);
	add_u64(o, w->gap_member ? w->gap_member : "gap_ns", c->gap_ns);
	add_text(o, "arrivals", c->random ? "random" : "constant");
	add_members(o, w->condition_members, r, c);
}

static void add_figures(struct json_object *o, const struct bench_results *r, struct bench_cell *c)
{
	const struct bench_compared *compared = bench_workload_compared(c->workload);
	struct bench_ratio ratio;
	double spread = 0;

	add_members(o, c->workload->members, r, c);
	if (c->mode->polls)
		add_polling(o, r, c);
	if (bench_costs_among(c, 1))
		json_object_object_add(o, "costs", costs_json(r, c));
	if (c->learned[0].contexts)
		add_learned(o, c);
	if (c->n_windows)
		json_object_object_add(o, "windows", windows_json(c));
	if (bench_cell_spread(c, &spread))
		add_double(o, "spread_percent", spread);
	for (; compared->member; compared++)
		if (bench_cell_ratio(r, compared, c, &ratio))
			add_ratio(o, compared->member, &ratio);
}

static struct json_object *run_json(const struct bench_results *r, struct bench_cell *c)
{
	struct json_object *o = json_object_new_object();

	add_condition(o, r, c);
	add_u64(o, "samples", c->latency.n);
	add_u64(o, "rounds", bench_cell_rounds(c)->n);
	json_object_object_add(o, "failed", json_object_new_boolean(c->failed));
	if (!bench_cell_empty(c))
		add_figures(o, r, c);
	return o;
}

static struct json_object *host_json(const struct bench_results *r)
{
	struct json_object *host = json_object_new_object();
	char model[128], missing[256];
	struct utsname u;

	bench_host_cpu_model(model, sizeof(model));
	if (uname(&u) == 0)
		json_object_object_add(host, "kernel", json_object_new_string(u.release));
	json_object_object_add(host, "cpu", json_object_new_string(model));
	add_u64(host, "processors", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	add_u64(host, "tsc_khz", r->tsc_khz);
	if (*bench_costs_missing(missing, sizeof(missing)))
		add_text(host, "not_told", missing);
	if (r->kvm_run_ns)
		add_u64(host, "kvm_run_ns", r->kvm_run_ns);
	if (r->load >= 0)
		add_double(host, "load", r->load);
	json_object_object_add(host, "catnap", json_object_new_string(catnap_version()));
	return host;
}

int bench_report_json(FILE *out, const struct bench_results *r)
{
	struct json_object *root = json_object_new_object(), *runs = json_object_new_array();

	json_object_object_add(root, "host", host_json(r));
	add_u64(root, "rounds", r->cfg->rounds);
	json_object_object_add(root, "interrupted", json_object_new_boolean(r->interrupted != 0));
	/* Cells that it had not come to are not there. */
	for (size_t i = 0; i < r->n; i++)
		if (bench_cells_begun(&r->cells[i], 1))
			json_object_array_add(runs, run_json(r, &r->cells[i]));
	json_object_object_add(root, "runs", runs);
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		if (bench_workload_chosen(r->cfg, bench_workloads[row]) &&
		    bench_workloads[row]->summary_json)
			bench_workloads[row]->summary_json(root, r);
	return json_write(root, out);
}
