/* SPDX-License-Identifier: Apache-2.0 */
/* Plans what `catnap bench` will measure: a cell for each mode under each condition. */
#include "cli/bench/workload.h"

static int add_workload(struct bench_plan *p, const struct bench_workload *w)
{
	struct bench_cell only = {.workload = w};

	return w->plan ? w->plan(p, w) : bench_plan_add(p, &only);
}

int bench_plan(const struct bench_cfg *cfg, struct bench_cell **cells, size_t *n)
{
	struct bench_plan p = {.cfg = cfg};
	int ret = 0;

	for (unsigned int row = 0; row < bench_n_workloads && ret == 0; row++)
		if (cfg->workloads >> row & 1)
			ret = add_workload(&p, bench_workloads[row]);
	*cells = p.cells;
	*n = p.n;
	return ret;
}
