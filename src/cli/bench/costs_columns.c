/* SPDX-License-Identifier: Apache-2.0 */
/* The readings of costs.c, as columns and members. */
#include "cli/bench/costs_columns.h"

static bool each(const struct bench_cell *c, enum bench_counter which, double *value)
{
	return bench_cell_each(c, c->costs.counter[which], value) && c->costs.has_counters;
}

static bool guest_cycles(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_GUEST_CYCLES, value);
}

static bool host_cycles(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_HOST_CYCLES, value);
}

static bool guest_instructions(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_GUEST_INSTRUCTIONS, value);
}

static bool host_instructions(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_HOST_INSTRUCTIONS, value);
}

static bool energy(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return bench_cell_each(c, c->costs.energy_uj, value) && c->costs.has_energy;
}

static bool watts(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = c->wall_ns ? (double)c->costs.energy_uj * 1e3 / (double)c->wall_ns : 0;
	return c->wall_ns && c->costs.has_energy;
}

static bool percent_of(const struct bench_cell *c, uint64_t us, double *value)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < c->costs.n_states; i++)
		all += c->costs.state[i].us;
	*value = all ? 100 * (double)us / (double)all : 0;
	return all;
}

/* Gives the share of the deepest state in the time that processors were idle; it is the last
 * one. */
static bool deepest(const struct bench_results *r, struct bench_cell *c, double *value)
{
	uint32_t n = c->costs.n_states;

	return n && percent_of(c, c->costs.state[n - 1].us, value);
}

const struct bench_column bench_costs_columns[] = {
	{"G cycles", "guest cycles", 8, BENCH_NUMBER, 0, guest_cycles, NULL},
	{"H cycles", "host cycles", 8, BENCH_NUMBER, 0, host_cycles, NULL},
	{"G insns", "guest instructions", 7, BENCH_NUMBER, 0, guest_instructions, NULL},
	{"H insns", "host instructions", 7, BENCH_NUMBER, 0, host_instructions, NULL},
	{"uJ", "uJ", 6, BENCH_NUMBER, 1, energy, NULL},
	{"W", "W", 5, BENCH_NUMBER, 2, watts, NULL},
	{"deep%", "deepest %", 5, BENCH_NUMBER, 1, deepest, NULL},
	{.head = NULL},
};

const struct bench_member bench_costs_members[] = {
	{"guest_cycles_per_event", .whole = guest_cycles},
	{"host_cycles_per_event", .whole = host_cycles},
	{"guest_instructions_per_event", .whole = guest_instructions},
	{"host_instructions_per_event", .whole = host_instructions},
	{"energy_uj_per_event", .real = energy},
	{"watts", .real = watts},
	{"deepest_idle_percent", .real = deepest},
	{.name = NULL},
};

const char bench_costs_note[] =
	"costs: cycles and instructions of guest (G) and host (H) for each event; uJ for each "
	"event and W, of the packages; deep%: the deepest idle state, of the time that "
	"processors were idle";

/* Returns whether its processors have told of any time that they were idle: some hosts' list states
 * that they do not count. */
static bool has_idle_time(const struct bench_costs *costs)
{
	for (uint32_t i = 0; i < costs->n_states; i++)
		if (costs->state[i].us)
			return true;
	return false;
}

bool bench_costs_among(const struct bench_cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cells[i].costs.has_counters || cells[i].costs.has_energy ||
		    has_idle_time(&cells[i].costs))
			return true;
	return false;
}
