/* SPDX-License-Identifier: Apache-2.0 */
/* The conditions of a workload: a cell for each mode under each, as .plan adds them. */
#include <stdlib.h>

#include "cli/bench/workload.h"

int bench_plan_add(struct bench_plan *p, const struct bench_cell *like)
{
	for (unsigned int m = 0; m < p->cfg->n_modes; m++) {
		if (!bench_mode_applies(&p->cfg->modes[m], like->workload))
			continue;
		if (p->n == p->room) {
			size_t room = p->room ? p->room * 2 : 64;
			struct bench_cell *cells = realloc(p->cells, room * sizeof(*cells));

			if (!cells)
				return -1;
			p->cells = cells;
			p->room = room;
		}
		p->cells[p->n] = *like;
		p->cells[p->n++].mode = &p->cfg->modes[m];
	}
	return 0;
}

/* Adds a gap. All that have gaps try constant ones, those that --arrivals concerns try random
 * ones. */
static int add_gap(struct bench_plan *p, const struct bench_workload *w, uint64_t gap_ns)
{
	bool choice = w->options & BENCH_OPT_ARRIVALS;
	struct bench_cell c = {.workload = w, .gap_ns = gap_ns};
	int ret = 0;

	if (!choice || p->cfg->arrivals != BENCH_ARRIVALS_RANDOM)
		ret = bench_plan_add(p, &c);
	c.random = true;
	if (choice && p->cfg->arrivals != BENCH_ARRIVALS_CONSTANT && ret == 0)
		ret = bench_plan_add(p, &c);
	return ret;
}

int bench_plan_gaps(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (unsigned int i = 0; i < p->cfg->n_gaps && ret == 0; i++)
		ret = add_gap(p, w, p->cfg->gaps[i]);
	for (const uint64_t *gap = w->gaps; !p->cfg->n_gaps && *gap && ret == 0; gap++)
		ret = add_gap(p, w, *gap);
	return ret;
}

int bench_plan_rates(struct bench_plan *p, const struct bench_cell *like, const uint32_t *rates,
		     size_t n, bool constant)
{
	struct bench_cell c = *like;
	int ret = 0;

	for (size_t i = 0; i < n; i++) {
		c.rate = rates[i];
		c.random = false;
		if (constant && ret == 0)
			ret = bench_plan_add(p, &c);
		c.random = true;
		if (p->cfg->arrivals != BENCH_ARRIVALS_CONSTANT && ret == 0)
			ret = bench_plan_add(p, &c);
	}
	return ret;
}

int bench_plan_load(struct bench_plan *p, const struct bench_workload *w)
{
	const struct bench_cell c = {.workload = w};

	if (!p->cfg->n_rates)
		return bench_plan_gaps(p, w);
	return bench_plan_rates(p, &c, p->cfg->rates, p->cfg->n_rates,
				p->cfg->arrivals != BENCH_ARRIVALS_RANDOM);
}

bool bench_plan_vcpus(const struct bench_plan *p, const struct bench_workload *w, uint32_t vcpus)
{
	if (p->cfg->vcpus_given)
		return p->cfg->vcpus[vcpus];
	return vcpus < 32 && w->vcpus >> vcpus & 1;
}

void bench_gap_condition(char *buf, size_t size, const struct bench_cell *c)
{
	if (c->rate)
		snprintf(buf, size, "%u a second offered, %s", c->rate,
			 c->random ? "at random" : "evenly");
	else
		snprintf(buf, size, "%s gap of %llu us", c->random ? "random" : "constant",
			 (unsigned long long)c->gap_ns / 1000);
}

int bench_plan_processes(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (unsigned int i = 0; i < p->cfg->n_processes && ret == 0; i++) {
		struct bench_cell c = {.workload = w, .process = &p->cfg->processes[i]};

		ret = bench_plan_add(p, &c);
	}
	return ret;
}

static const char *process_label(const struct bench_cell *c)
{
	return c->process->label;
}

void bench_condition_process(char *buf, size_t size, const struct bench_cell *c)
{
	snprintf(buf, size, "%s", process_label(c));
}

const struct bench_member bench_process_members[] = {
	{"process", .text = process_label},
	{.name = NULL},
};
