/* SPDX-License-Identifier: Apache-2.0 */
/* Workload restore: going on from a snapshot, by each way of its memory, and a start beside it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench/child.h"
#include "cli/bench/snapshots.h"
#include "cli/bench/workload.h"

/* A cell's @what. */
enum {
	WAY_START,
	WAY_MAP,
	WAY_COPY,
	WAY_COLD,	 /* map, the file not in the page cache */
	WAY_WORKING_SET, /* the same */
	WAY_CLONES,	 /* map, many at once */
	WAYS
};

static const struct {
	const char *name, *title, *memory;
} ways[WAYS] = {
	[WAY_START] = {"start", "started", NULL},
	[WAY_MAP] = {"map", "restored by map", "map"},
	[WAY_COPY] = {"copy", "restored by copy", "copy"},
	[WAY_COLD] = {"map-cold", "restored by map, from the disk", "map"},
	[WAY_WORKING_SET] = {"working-set", "restored by working-set, from the disk",
			     "working-set"},
	[WAY_CLONES] = {"clones", "clones, one after the other", "map"},
};

/* The series of a cell. */
enum { WORKED, TOUCHED, PRIVATE, ALL };

static int way_of(const struct bench_cell *c)
{
	return c->what;
}

static uint32_t mib_of(const struct bench_cell *c)
{
	return (uint32_t)(c->memory >> 20);
}

static int plan_ways(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (unsigned int i = 0; i < p->cfg->n_sizes * WAYS && ret == 0; i++) {
		const struct bench_cell c = {
			.workload = w, .what = i % WAYS, .memory = p->cfg->sizes[i / WAYS]};
		bool once = way_of(&c) == WAY_COPY || way_of(&c) == WAY_CLONES;

		/* All of 8 GiB is read by nobody who waits for it, unless asked for. */
		if (once && i >= WAYS && !p->cfg->all_of_each_size)
			continue;
		if (way_of(&c) == WAY_CLONES && !p->cfg->clones)
			continue;
		ret = bench_plan_add(p, &c);
	}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	snprintf(buf, size, "%s, %u MiB", ways[way_of(c)].title, mib_of(c));
}

/* -- one process ------------------------------------------------------------------------------ */

/* A process, and when its guest wrote which letter. */
struct going {
	struct bench_child child;
	char argv_text[3][BENCH_SNAPSHOT_PATH + 64];
	char *argv[16];
};

static void fill_argv(struct going *g, const struct bench_run *run, const char *path, int image)
{
	unsigned int n = 0;

#define ARG(s) (g->argv[n++] = (char *)(s))
	ARG("/proc/self/exe");
	ARG("run");
	if (path) {
		snprintf(g->argv_text[0], sizeof(g->argv_text[0]), "%s,memory=%s", path,
			 ways[way_of(run->cell)].memory);
		ARG("--restore");
		ARG(g->argv_text[0]);
	} else {
		snprintf(g->argv_text[0], sizeof(g->argv_text[0]), "%uM", mib_of(run->cell));
		snprintf(g->argv_text[1], sizeof(g->argv_text[1]),
			 "workload=restore span=%d pages=%d", BENCH_SPAN, BENCH_PAGES);
		snprintf(g->argv_text[2], sizeof(g->argv_text[2]), "/dev/fd/%d", image);
		ARG("--irqchip");
		ARG(run->cell->mode->irqchip == CATNAP_IRQCHIP_USER ? "user" : "kernel");
		ARG("-m");
		ARG(g->argv_text[0]);
		ARG("-c");
		ARG(g->argv_text[1]);
		ARG("-k");
		ARG(g->argv_text[2]);
	}
	ARG(NULL);
#undef ARG
}

static int begin(struct going *g, struct bench_run *run, const char *path, const char *input)
{
	int image = path ? -1 : bench_image_file(), ret;

	if (!path && image < 0)
		return bench_fail(run, "memfd_create: %s", strerror(errno));
	fill_argv(g, run, path, image);
	ret = bench_spawn_with(run, &g->child, g->argv, input);
	if (image >= 0)
		close(image);
	return ret;
}

/* Waits for a byte of output, which is to be @letter, 0: any. *@ns: since the process began. */
static int expect(struct going *g, struct bench_run *run, char letter, uint64_t *ns)
{
	char got = 0;

	if (!bench_wait_output(run, &g->child) || read(g->child.out, &got, 1) != 1)
		return bench_fail(run, "the guest did not go on");
	*ns = now_ns() - g->child.started_ns;
	if (letter && got != letter)
		return bench_fail(run, "the guest wrote \"%c\": expected \"%c\"", got, letter);
	return 0;
}

/* Finds the memory of @pid that is its own, in bytes: what is the file's is there for others as well. */
static int private_memory(struct bench_run *run, pid_t pid, uint64_t *bytes)
{
	char path[64], line[256];
	unsigned long long kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return bench_fail(run, "%s: %s", path, strerror(errno));
	*bytes = 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Dirty: %llu kB", &kib) == 1)
			*bytes += kib << 10;
	fclose(f);
	return 0;
}

static int keep(struct bench_run *run, int own, uint64_t value)
{
	struct bench_cell *c = run->cell;

	if (own < 0 && bench_series_add(&c->round_p50, value) < 0)
		return bench_fail(run, "out of memory");
	if (bench_series_add(own < 0 ? &c->latency : &c->own[own], value) < 0)
		return bench_fail(run, "out of memory");
	return 0;
}

/* Ends the process in an orderly way: what it records is written then. */
static void end(struct going *g)
{
	char rest[256];

	kill(g->child.pid, SIGTERM);
	while (read(g->child.out, rest, sizeof(rest)) > 0)
		;
	bench_reap(&g->child, false);
}

/* -- a round ---------------------------------------------------------------------------------- */

static int run_start(struct bench_run *run)
{
	struct going g = {.child = {.out = -1}};
	uint64_t ns = 0;
	int ret = begin(&g, run, NULL, "/dev/null");

	if (ret < 0)
		return ret;
	ret = expect(&g, run, 0, &ns);
	bench_reap(&g.child, true);
	return ret < 0 ? ret : keep(run, -1, ns);
}

/* Has the page cache forget the files of @path. */
static void forget(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *d;

	while (dir && (d = readdir(dir))) {
		int fd = openat(dirfd(dir), d->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

		if (fd >= 0) {
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
			close(fd);
		}
	}
	if (dir)
		closedir(dir);
}

static int go_on(struct bench_run *run, const char *path, const char *input, bool kept)
{
	static const char letters[] = "rit";
	uint64_t ns[3] = {0}, bytes = 0;
	struct going g = {.child = {.out = -1}};
	int ret = begin(&g, run, path, input);

	if (ret < 0)
		return ret;
	for (int i = 0; i < 3 && ret == 0; i++)
		ret = expect(&g, run, letters[i], &ns[i]);
	if (ret == 0 && kept)
		ret = private_memory(run, g.child.pid, &bytes);
	end(&g);
	if (ret == 0 && kept)
		ret = keep(run, -1, ns[0]);
	if (ret == 0 && kept)
		ret = keep(run, WORKED, ns[1]);
	if (ret == 0 && kept)
		ret = keep(run, TOUCHED, ns[2]);
	return ret == 0 && kept ? keep(run, PRIVATE, bytes) : ret;
}

static int run_restore(struct bench_run *run, const char *path, const char *input)
{
	char set[BENCH_SNAPSHOT_PATH + 16];
	int way = way_of(run->cell), ret = 0;

	snprintf(set, sizeof(set), "%s/working-set", path);
	if (way == WAY_WORKING_SET && access(set, R_OK) < 0)
		ret = go_on(run, path, input, false); /* the one that records */
	if (way == WAY_COLD || way == WAY_WORKING_SET)
		forget(path);
	return ret < 0 ? ret : go_on(run, path, input, true);
}

static int run_clones(struct bench_run *run, const char *path, const char *input)
{
	uint32_t n = 0, clones = run->cfg->clones;
	struct going *g = calloc(clones, sizeof(*g));
	uint64_t begun = now_ns(), ns = 0, bytes = 0;
	struct bench_series round = {0};
	int ret = 0;

	if (!g)
		return bench_fail(run, "out of memory");
	for (; n < clones && ret == 0; n++) {
		ret = begin(&g[n], run, path, input);
		if (ret < 0)
			break;
		ret = expect(&g[n], run, 'r', &ns);
		if (ret == 0 && bench_series_add(&round, ns) < 0)
			ret = bench_fail(run, "out of memory");
	}
	if (ret == 0)
		ret = keep(run, ALL, now_ns() - begun);
	for (uint32_t i = 0; i < n; i++) {
		if (ret == 0)
			ret = private_memory(run, g[i].child.pid, &bytes);
		if (ret == 0)
			ret = keep(run, PRIVATE, bytes);
		bench_reap(&g[i].child, true);
	}
	free(g);
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return ret;
}

static int run_way(struct bench_run *run)
{
	char path[BENCH_SNAPSHOT_PATH], input[BENCH_SNAPSHOT_PATH];

	if (way_of(run->cell) == WAY_START)
		return run_start(run);
	if (bench_snapshot(run, mib_of(run->cell), path) < 0 ||
	    bench_snapshot_input(run, input) < 0)
		return -1;
	return way_of(run->cell) == WAY_CLONES ? run_clones(run, path, input)
					       : run_restore(run, path, input);
}

/* -- the workload ----------------------------------------------------------------------------- */

static bool median(struct bench_cell *c, int own, double *value)
{
	*value = (double)bench_series_quantile(&c->own[own], 0.5);
	return c->own[own].n;
}

static bool worked(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return median(c, WORKED, value);
}

static bool touched(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return median(c, TOUCHED, value);
}

static bool own_memory(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return median(c, PRIVATE, value);
}

static bool all(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return median(c, ALL, value);
}

static bool memory_size(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = (double)c->memory;
	return true;
}

static const char *way_name(const struct bench_cell *c)
{
	return ways[way_of(c)].name;
}

static const struct bench_bars bars = {.bar = bench_bar_of_median,
				       .caption = bench_caption_of_medians};

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("ms", BENCH_NS_AS_MS),
	{"work", "1,000 instructions", 6, BENCH_NS_AS_MS, .value = worked,
	 .note = "restore: until the guest's first output; work: until it has done 1,000 "
		 "instructions of its own; touch: until it has read 8 MiB of 96"},
	{"touch", "8 MiB touched", 6, BENCH_NS_AS_MS, .value = touched},
	{"KiB", "private memory", 6, BENCH_BYTES, .value = own_memory,
	 .note = "KiB: memory that is the process's own then"},
	{"all", "all run", 6, BENCH_NS_AS_MS, .value = all,
	 .note = "all: ms, until the last of the clones runs"},
	{.head = NULL},
};

static const struct bench_member condition_members[] = {
	{"way", .text = way_name},
	{"memory_bytes", .whole = memory_size},
	{.name = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS,
	{"work_p50_ns", .whole = worked},
	{"touch_p50_ns", .whole = touched},
	{"private_p50_bytes", .whole = own_memory},
	{"all_p50_ns", .whole = all},
	{.name = NULL},
};

static const char *const modes[] = {"user:adaptive", NULL};

const struct bench_workload bench_workload_restore = {
	.name = "restore",
	.title = "going on from a snapshot",
	.help = "going on from a snapshot, by each way of its memory, and a\n"
		"start beside it; with --clones, many at once",
	.about = "From the start of a process to its guest’s first output, of one that starts and "
		 "of those that go on from a snapshot.",
	.options = BENCH_OPT_RESTORE,
	.modes = modes,
	.plan = plan_ways,
	.condition = condition,
	.run = run_way,
	.finish = bench_snapshots_remove,
	.columns = columns,
	.condition_members = condition_members,
	.members = members,
	.bars = &bars,
};
