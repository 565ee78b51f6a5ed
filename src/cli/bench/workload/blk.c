/* SPDX-License-Identifier: Apache-2.0 */
/* Workload blk: requests to a virtio disk, one at a time. From the doorbell to the interrupt's handler. */
#include <string.h>
#include <unistd.h>

#include "cli/bench/io.h"
#include "cli/bench/polling.h"
#include "cli/bench/workload.h"

extern const struct bench_workload bench_workload_blk;

/* The cell's @what: what is asked for. */
enum {
	DISK_ID,     /* the id, which takes no I/O: the guest's own share, and the device's exits */
	DISK_TMPFS,  /* a file in memory */
	DISK_DIRECT, /* a file on disk, past the page cache */
	/* By a back end in another process, from here on. */
	DISK_VHOST,	      /* a file in memory */
	DISK_VHOST_RECONNECT, /* the same, by one that is waited for again if it goes */
	DISK_VHOST_WRITE,     /* a file on disk, which may be cached until a flush */
	DISK_VHOST_WRITE_RECONNECT,
	DISKS,
};

#define USUAL_DISKS (1u << DISK_ID | 1u << DISK_TMPFS | 1u << DISK_DIRECT)

static const struct {
	const char *name, *condition;
	bool writes, reconnect;
} disks[DISKS] = {
	[DISK_ID] = {"id", "the disk's id: no I/O"},
	[DISK_TMPFS] = {"tmpfs", "4 KiB reads of a file in memory"},
	[DISK_DIRECT] = {"direct", "4 KiB reads of a file on disk, direct=on"},
	[DISK_VHOST] = {"vhost-user", "4 KiB reads of a file in memory, vhost-user, reconnect=off"},
	[DISK_VHOST_RECONNECT] = {"vhost-user-reconnect",
				  "4 KiB reads of a file in memory, vhost-user, reconnect=on",
				  .reconnect = true},
	[DISK_VHOST_WRITE] = {"vhost-user-write",
			      "4 KiB writes to a file on disk, vhost-user, reconnect=off",
			      .writes = true},
	[DISK_VHOST_WRITE_RECONNECT] = {"vhost-user-write-reconnect",
					"4 KiB writes to a file on disk, vhost-user, reconnect=on",
					.writes = true, .reconnect = true},
};

int bench_blk_disk(const char *name)
{
	for (int i = 0; i < DISKS; i++)
		if (strcmp(disks[i].name, name) == 0)
			return i;
	return -1;
}

const char *bench_blk_disk_name(int disk)
{
	return disk < DISKS ? disks[disk].name : NULL;
}

/* Leaves out the peer where its back end is waited for: it lets it cache all the same. */
static void drop_peer(struct bench_plan *p)
{
	while (p->n && p->cells[p->n - 1].mode->peer && disks[p->cells[p->n - 1].what].reconnect)
		p->n--;
}

static int plan_disks(struct bench_plan *p, const struct bench_workload *w)
{
	const uint32_t chosen = p->cfg->disks ? p->cfg->disks : USUAL_DISKS;
	int ret = 0;

	for (int disk = 0; disk < DISKS && ret == 0; disk++) {
		struct bench_cell c = {.workload = w, .what = disk};

		if (!(chosen >> disk & 1))
			continue;
		ret = bench_plan_add(p, &c);
		drop_peer(p);
	}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	snprintf(buf, size, "%s", disks[c->what].condition);
}

static const char *disk_name(const struct bench_cell *c)
{
	return disks[c->what].name;
}

static bool on_disk(const struct bench_cell *c)
{
	return c->what == DISK_DIRECT || disks[c->what].writes;
}

/* Returns whether @b fails alike: files are made in the same folder, and there is one program for
 * back ends. */
static bool fails_alike(const struct bench_cell *a, const struct bench_cell *b)
{
	return on_disk(a) == on_disk(b) && (a->what >= DISK_VHOST) == (b->what >= DISK_VHOST);
}

static int blk_samples(struct bench_run *run, struct bench_io_guest *g)
{
	uint32_t total = run->cfg->samples + BENCH_IO_WARMUP;
	struct bench_polling before, after;
	struct bench_series round = {0};
	uint64_t cpu, back, wall;
	int ret = bench_io_wait(run, g, &g->shared->magic, PROBE_MAGIC, BENCH_IO_PATIENCE_NS,
				"start");

	if (ret < 0)
		return ret;
	if (g->back)
		bench_back_end_hide(g->back);
	bench_polling_read(&before, g->shared, g->vm, 1);
	bench_io_begin(g);
	back = bench_io_back_ns(g);
	cpu = bench_io_cpu_ns(g);
	wall = now_ns();
	ret = bench_io_wait(run, g, &g->shared->done, 1,
			    BENCH_IO_PATIENCE_NS + total * UINT64_C(10000000),
			    "finish its requests");
	if (ret < 0)
		return ret;
	cpu = bench_io_cpu_ns(g) - cpu;
	back = bench_io_back_ns(g) - back;
	wall = now_ns() - wall;
	bench_polling_read(&after, g->shared, g->vm, 1);
	if (bench_take(run, bench_io_samples(g), &round) < 0) {
		bench_series_free(&round);
		return -1;
	}
	bench_polling_add(&run->cell->polling, &before, &after);
	bench_io_account(g, run->cell, cpu, wall, round.n + BENCH_IO_WARMUP);
	run->cell->has_back = g->back;
	run->cell->back_ns += back;
	return bench_keep(run, &round);
}

/* Measures the guest with these devices. */
static int run_with(struct bench_run *run, const struct bench_io_devices *dev)
{
	struct bench_io_guest g;
	char cmdline[256];

	snprintf(cmdline, sizeof(cmdline),
		 "workload=blk blk_id=%d blk_write=%d samples=%u warmup=%u seed=%u tsc_khz=%u "
		 "ecam=%llu pv_eoi=1 print=0 exit=%d",
		 run->cell->what == DISK_ID, disks[run->cell->what].writes, run->cfg->samples,
		 BENCH_IO_WARMUP, run->seed + 1, run->tsc_khz, (unsigned long long)BENCH_ECAM,
		 EXIT_PORT);
	if (bench_io_start(run, &g, dev, cmdline) < 0)
		return -1;
	return bench_io_end(run, &g, blk_samples(run, &g));
}

static int run_with_back_end(struct bench_run *run, const char *path)
{
	struct bench_back_end back = {.reconnect = disks[run->cell->what].reconnect};
	const struct bench_io_devices dev = {.back = &back};
	int ret = bench_back_end_start(run, &back, path, disks[run->cell->what].writes);

	if (ret < 0)
		return ret;
	ret = run_with(run, &dev);
	bench_back_end_stop(&back);
	return ret;
}

static int run_blk(struct bench_run *run)
{
	bool direct = run->cell->what == DISK_DIRECT;
	char path[BENCH_DISK_PATH];
	const struct bench_io_devices dev = {.disk = path, .direct = direct};
	int disk = bench_make_disk(run, on_disk(run->cell) ? "/var/tmp" : "/dev/shm", direct, path);
	int ret;

	if (disk < 0)
		return -1;
	ret = run->cell->what < DISK_VHOST ? run_with(run, &dev) : run_with_back_end(run, path);
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
	BENCH_LATENCY_MEMBERS, {"net_p50_ns", .whole = net},
	BENCH_CPU_MEMBER,      {"back_end_cpu_ns_per_event", .whole = bench_value_back_cpu},
	BENCH_WAKE_MEMBERS,    {.name = NULL},
};

const struct bench_workload bench_workload_blk = {
	.name = "blk",
	.title = "doorbell to the interrupt's handler, one request at a time",
	.help = "4 KiB reads, one at a time",
	.about = "Reads from a virtio disk, one at a time: from the guest’s doorbell to its "
		 "interrupt handler. “Net” is without the guest’s own share.",
	.options = BENCH_OPT_GUEST | BENCH_OPT_SAMPLES | BENCH_OPT_PEER | BENCH_OPT_DEVICES |
		   BENCH_OPT_PIN_ONE | BENCH_OPT_DISK,
	.plan = plan_disks,
	.condition = condition,
	.run = run_blk,
	.fails_alike = fails_alike,
	.columns = columns,
	.condition_members = condition_members,
	.members = members,
};
