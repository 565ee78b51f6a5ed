/* SPDX-License-Identifier: Apache-2.0 */
/* The modes that are measured by default: those of all workloads, in one order. */
#include <errno.h>
#include <string.h>

#include "cli/bench/workload.h"
#include "cli/opts.h"

/* The order of those that are measured by default. Others come behind, as workloads list them. */
static const char *const order[] = {"user:adaptive",
				    "user:adaptive/thread",
				    "user:adaptive:latency",
				    "user:adaptive:power",
				    "user:kernel",
				    "user:always",
				    "user:fixed",
				    "user:off",
				    "kernel:0",
				    "kernel:200us/vcpu",
				    "kernel:200us",
				    NULL};

static int add_default(struct opts *o, struct bench_cfg *cfg, const char *name)
{
	const struct opt_arg none = {.option = "mode", .text = name};
	struct bench_mode *mode = &cfg->modes[cfg->n_modes];

	for (unsigned int i = 0; i < cfg->n_modes; i++)
		if (strcmp(cfg->modes[i].name, name) == 0)
			return 0;
	if (cfg->n_modes == BENCH_NAMED)
		return opt_fail(o, &none, "is one too many: expected at most %d", BENCH_NAMED);
	if (bench_mode_parse(o, &none, name, mode))
		return -EINVAL;
	mode->by_default = true;
	cfg->n_modes++;
	return 0;
}

int bench_modes_default(struct opts *o, struct bench_cfg *cfg)
{
	for (const char *const *name = order; *name; name++)
		if (add_default(o, cfg, *name))
			return -EINVAL;
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		for (const char *const *name = bench_modes_of(bench_workloads[row]); *name; name++)
			if (add_default(o, cfg, *name))
				return -EINVAL;
	return 0;
}
