/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the workloads of `catnap bench`; its rows are those of workload/meson.build. */
#include <string.h>

#include "cli/bench/workload.h"

#define BENCH_WORKLOAD(name) extern const struct bench_workload bench_workload_##name;
#include "bench_workloads.h"
#undef BENCH_WORKLOAD

const struct bench_workload *const bench_workloads[] = {
#define BENCH_WORKLOAD(name) &bench_workload_##name,
#include "bench_workloads.h"
#undef BENCH_WORKLOAD
	NULL,
};

const unsigned int bench_n_workloads = sizeof(bench_workloads) / sizeof(bench_workloads[0]) - 1;

_Static_assert(sizeof(bench_workloads) / sizeof(bench_workloads[0]) <= 32,
	       "rows are bits of a u32");

const struct bench_workload *bench_workload_find(const char *name)
{
	const struct bench_workload *const *w = bench_workloads;

	while (*w && strcmp((*w)->name, name) != 0)
		w++;
	return *w;
}

unsigned int bench_workload_row(const struct bench_workload *w)
{
	unsigned int row = 0;

	while (bench_workloads[row] != w)
		row++;
	return row;
}

bool bench_workload_chosen(const struct bench_cfg *cfg, const struct bench_workload *w)
{
	return cfg->workloads >> bench_workload_row(w) & 1;
}

uint32_t bench_workloads_with(uint32_t options)
{
	uint32_t rows = 0;

	for (unsigned int row = 0; row < bench_n_workloads; row++)
		if (bench_workloads[row]->options & options)
			rows |= UINT32_C(1) << row;
	return rows;
}

uint32_t bench_workloads_by_default(void)
{
	uint32_t rows = 0;

	for (unsigned int row = 0; row < bench_n_workloads; row++)
		rows |= (uint32_t)bench_workloads[row]->by_default << row;
	return rows;
}

const char *bench_workload_names(uint32_t rows, const char *last, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (unsigned int row = 0; row < bench_n_workloads; row++) {
		uint32_t left = rows >> row;

		if (!(left & 1) || used >= size)
			continue;
		used += (size_t)snprintf(buf + used, size - used, "%s%s",
					 used == 0   ? ""
					 : left == 1 ? last
						     : ", ",
					 bench_workloads[row]->name);
	}
	return buf;
}

bool bench_workload_shows(const struct bench_workload *w, bench_value_fn *value)
{
	const struct bench_column *column = w->columns;

	while (column->head && column->value != value)
		column++;
	return column->head;
}
