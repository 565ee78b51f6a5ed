/* SPDX-License-Identifier: Apache-2.0 */
/* Workload memory: private memory of a process beyond that of its guest. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "cli/bench/child.h"
#include "cli/bench/svg.h"
#include "cli/bench/workload.h"

/* Finds the private memory of @pid in bytes, without the guest's own (the mapping that is as
 * large). */
static int private_memory(pid_t pid, uint64_t *bytes)
{
	unsigned long long from, to, kib;
	char path[64], line[512];
	uint64_t dirty = 0;
	bool guest = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx ", &from, &to) == 2 && line[0] != ' ')
			guest = to - from >= UINT64_C(1048576) * BENCH_CHILD_MIB;
		else if (!guest && sscanf(line, "Private_Dirty: %llu kB", &kib) == 1)
			dirty += kib << 10;
	}
	fclose(f);
	*bytes = dirty;
	return 0;
}

static int run_memory(struct bench_run *run)
{
	const struct timespec settle = {.tv_nsec = 100000000};
	struct bench_child c;
	uint64_t bytes = 0;
	char text[256];
	int ret = 0;

	if (bench_child_start(run, &c, "workload=memory exit=244", text, sizeof(text)) < 0)
		return -1;
	nanosleep(&settle, NULL);
	if (private_memory(c.pid, &bytes) < 0)
		ret = bench_fail(run, "/proc/%d/smaps: %s", (int)c.pid, strerror(errno));
	bench_reap(&c, true);
	if (ret == 0 && (bench_series_add(&run->cell->latency, bytes) < 0 ||
			 bench_series_add(&run->cell->round_p50, bytes) < 0))
		ret = bench_fail(run, "out of memory");
	return ret;
}

static void bar(const struct bench_results *r, struct bench_cell *c, struct bench_svg_bar *bar)
{
	bar->value = (double)bench_series_quantile(&c->latency, 0.5);
	snprintf(bar->text, sizeof(bar->text), "%.0f KiB", bar->value / 1024);
}

static const struct bench_bars bars = {.bar = bar, .caption = bench_caption_of_medians};

static const struct bench_column columns[] = {
	{"KiB", "KiB", 9, BENCH_BYTES, .value = bench_value_p50},
	{"max", "max", 9, BENCH_BYTES, .value = bench_value_max},
	{.head = NULL},
};

static const struct bench_member members[] = {
	{"p50_bytes", .whole = bench_value_p50},
	{"max_bytes", .whole = bench_value_max},
	{"round_p50_bytes", .rounds = bench_round_medians},
	{.name = NULL},
};

const struct bench_workload bench_workload_memory = {
	.name = "memory",
	.title = "private memory beyond the guest's own",
	.help = "private memory beyond the guest's own",
	.about = "Private memory of the process beyond that of the guest.",
	.by_default = true,
	.options = BENCH_OPT_PEER,
	.run = run_memory,
	.columns = columns,
	.members = members,
	.bars = &bars,
};
