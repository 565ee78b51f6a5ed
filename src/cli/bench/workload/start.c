/* SPDX-License-Identifier: Apache-2.0 */
/* Workload start: from the start of a process to its guest's first output. */
#include "cli/bench/child.h"
#include "cli/bench/workload.h"

static int run_start(struct bench_run *run)
{
	struct bench_child c;
	char first;
	uint64_t ns;

	if (bench_child_start(run, &c, "workload=start exit=244", &first, 1) < 0)
		return -1;
	ns = now_ns() - c.started_ns;
	bench_reap(&c, true);
	if (bench_series_add(&run->cell->latency, ns) < 0 ||
	    bench_series_add(&run->cell->round_p50, ns) < 0)
		return bench_fail(run, "out of memory");
	return 0;
}

static const struct bench_bars bars = {.bar = bench_bar_of_median,
				       .caption = bench_caption_of_medians};

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("ms", BENCH_NS_AS_MS),
	{.head = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS,
	{.name = NULL},
};

const struct bench_workload bench_workload_start = {
	.name = "start",
	.title = "process start to the guest's first output",
	.help = "process start to the guest's first output",
	.about = "From the start of a process to the guest’s first output.",
	.by_default = true,
	.options = BENCH_OPT_PEER,
	.run = run_start,
	.columns = columns,
	.members = members,
	.bars = &bars,
};
