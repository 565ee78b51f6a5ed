/* SPDX-License-Identifier: Apache-2.0 */
/* Workload blk: reads of a virtio disk, one at a time. From the doorbell to the interrupt's handler. */
#include <unistd.h>

#include "cli/bench/io.h"
#include "cli/bench/polling.h"
#include "cli/bench/workload.h"

extern const struct bench_workload bench_workload_blk;

/* The cell's @what: what is read. */
enum {
	DISK_ID,     /* the id, which takes no I/O: the guest's own share, and the device's exits */
	DISK_TMPFS,  /* a file in memory */
	DISK_DIRECT, /* a file on disk, past the page cache */
	DISKS,
};

static int plan_disks(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (int disk = 0; disk < DISKS && ret == 0; disk++) {
		struct bench_cell c = {.workload = w, .what = disk};

		ret = bench_plan_add(p, &c);
	}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	static const char *const disks[DISKS] = {
		[DISK_ID] = "the disk's id: no I/O",
		[DISK_TMPFS] = "4 KiB reads of a file in memory",
		[DISK_DIRECT] = "4 KiB reads of a file on disk, direct=on",
	};

	snprintf(buf, size, "%s", disks[c->what]);
}

static const char *disk_name(const struct bench_cell *c)
{
	static const char *const disks[DISKS] = {
		[DISK_ID] = "id", [DISK_TMPFS] = "tmpfs", [DISK_DIRECT] = "direct"};

	return disks[c->what];
}

/* Returns whether @b fails alike: the two without direct=on are made in the same folder. */
static bool fails_alike(const struct bench_cell *a, const struct bench_cell *b)
{
	return (a->what == DISK_DIRECT) == (b->what == DISK_DIRECT);
}

static int blk_samples(struct bench_run *run, struct bench_io_guest *g)
{
	uint32_t total = run->cfg->samples + BENCH_IO_WARMUP;
	struct bench_polling before, after;
	struct bench_series round = {0};
	uint64_t cpu, wall;
	int ret = bench_io_wait(run, g, &g->shared->magic, PROBE_MAGIC, BENCH_IO_PATIENCE_NS,
				"start");

	if (ret < 0)
		return ret;
	bench_polling_read(&before, g->shared, g->vm, 1);
	bench_io_begin(g);
	cpu = bench_io_cpu_ns(g);
	wall = now_ns();
	ret = bench_io_wait(run, g, &g->shared->done, 1,
			    BENCH_IO_PATIENCE_NS + total * UINT64_C(10000000),
			    "finish its requests");
	if (ret < 0)
		return ret;
	cpu = bench_io_cpu_ns(g) - cpu;
	wall = now_ns() - wall;
	bench_polling_read(&after, g->shared, g->vm, 1);
	if (bench_take(run, bench_io_samples(g), &round) < 0) {
		bench_series_free(&round);
		return -1;
	}
	bench_polling_add(&run->cell->polling, &before, &after);
	bench_io_account(g, run->cell, cpu, wall, round.n + BENCH_IO_WARMUP);
	return bench_keep(run, &round);
}

static int run_blk(struct bench_run *run)
{
	bool direct = run->cell->what == DISK_DIRECT;
	char path[BENCH_DISK_PATH], cmdline[256];
	struct bench_io_devices dev = {.disk = path, .direct = direct};
	struct bench_io_guest g;
	int disk = bench_make_disk(run, direct ? "/var/tmp" : "/dev/shm", direct, path), ret;

	if (disk < 0)
		return -1;
	snprintf(cmdline, sizeof(cmdline),
		 "workload=blk blk_id=%d samples=%u warmup=%u seed=%u tsc_khz=%u ecam=%llu "
		 "pv_eoi=1 print=0 exit=%d",
		 run->cell->what == DISK_ID, run->cfg->samples, BENCH_IO_WARMUP, run->seed + 1,
		 run->tsc_khz, (unsigned long long)BENCH_ECAM, EXIT_PORT);
	ret = bench_io_start(run, &g, &dev, cmdline);
	if (ret == 0)
		ret = bench_io_end(run, &g, blk_samples(run, &g));
	close(disk);
	return ret;
}

/* Returns whether two modes share: a guest that polls has code of its own, and so a share of its
 * own. */
static bool shares_with(const struct bench_mode *mode, const struct bench_mode *other)
{
	return mode->polls ? mode == other : !other->polls;
}

/* Returns the guest's own part: that of a request without I/O whose completion is there when the
 * doorbell's exit is over. Its code costs the same in every mode, and much where KVM emulates
 * it. */
static uint64_t guest_share(const struct bench_results *r, const struct bench_mode *mode)
{
	for (size_t i = 0; i < r->n; i++) {
		struct bench_cell *c = &r->cells[i];

		if (c->workload == &bench_workload_blk && c->what == DISK_ID && !c->failed &&
		    !c->mode->peer && c->mode->irqchip == CATNAP_IRQCHIP_USER &&
		    c->mode->io == CATNAP_IO_VCPU && shares_with(mode, c->mode))
			return bench_series_quantile(&c->latency, 0.5);
	}
	return 0;
}

static bool net(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return bench_value_net(c, c->what == DISK_ID ? 0 : guest_share(r, c->mode), value);
}

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	BENCH_NET_COLUMN(net),
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_member condition_members[] = {
	{"disk", .text = disk_name},
	{.name = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS, {"net_p50_ns", .whole = net}, BENCH_CPU_MEMBER, BENCH_WAKE_MEMBERS,
	{.name = NULL},
};

const struct bench_workload bench_workload_blk = {
	.name = "blk",
	.title = "doorbell to the interrupt's handler, one request at a time",
	.help = "4 KiB reads, one at a time",
	.about = "Reads from a virtio disk, one at a time: from the guest’s doorbell to its "
		 "interrupt handler. “Net” is without the guest’s own share.",
	.options = BENCH_OPT_GUEST | BENCH_OPT_SAMPLES | BENCH_OPT_PEER | BENCH_OPT_DEVICES |
		   BENCH_OPT_PIN_ONE,
	.plan = plan_disks,
	.condition = condition,
	.run = run_blk,
	.fails_alike = fails_alike,
	.columns = columns,
	.condition_members = condition_members,
	.members = members,
};
