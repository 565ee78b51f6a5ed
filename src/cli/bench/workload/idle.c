/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload idle: processor time of a guest that does nothing, and of one with a periodic tick. The
 * cell's gap_ns is the rate of the tick in Hz.
 */
#include "cli/bench/guest.h"
#include "cli/bench/io.h"
#include "cli/bench/svg.h"
#include "cli/bench/workload.h"

#define TICK_HZ 250

static int plan_idle(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (uint32_t vcpus = 1; vcpus <= BENCH_MOST_VCPUS && ret == 0; vcpus++) {
		struct bench_cell still = {.workload = w, .vcpus = vcpus}, ticking = still;

		if (!bench_plan_vcpus(p, w, vcpus))
			continue;
		ticking.gap_ns = TICK_HZ;
		ret = bench_plan_add(p, &still);
		if (ret == 0)
			ret = bench_plan_add(p, &ticking);
	}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	char vcpus[32] = "";

	if (c->vcpus > 1)
		snprintf(vcpus, sizeof(vcpus), "%u vCPUs, ", c->vcpus);
	if (c->gap_ns)
		snprintf(buf, size, "%s%llu ticks a second", vcpus, (unsigned long long)c->gap_ns);
	else
		snprintf(buf, size, "%sno timer", vcpus);
}

/* Either of the two: a VM of this process, or the peer's. */
struct idler {
	struct bench_guest guest;
	struct bench_io_guest io;
	bool there;
};

static int start(struct bench_run *run, struct idler *i, const char *cmdline)
{
	const struct bench_io_devices devices = {.vcpus = run->cell->vcpus};
	struct bench_pinned pinned = {0};
	int32_t vcpu, sender;
	int ret;

	i->there = run->cell->mode->peer;
	if (!i->there)
		return bench_guest_start(run, &i->guest, run->cell->vcpus, -1, cmdline);
	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(&vcpu, 1, &sender))
		bench_pin(&pinned, vcpu);
	ret = bench_io_start(run, &i->io, &devices, cmdline);
	bench_unpin(&pinned);
	if (ret < 0)
		return ret;
	i->guest = (struct bench_guest){.there = true,
					.vcpus = 1,
					.clock = i->io.clock,
					.shared = (struct probe_shared *)(uintptr_t)i->io.shared};
	ret = bench_io_wait(run, &i->io, &i->io.shared->magic, PROBE_MAGIC, BENCH_IO_PATIENCE_NS,
			    "start");
	return ret < 0 ? bench_io_end(run, &i->io, ret) : 0;
}

static int end(struct bench_run *run, struct idler *i)
{
	return i->there ? bench_io_end(run, &i->io, 0) : bench_guest_end(run, &i->guest);
}

/* Waits until all are up. The first one starts the others one after the other; where its kernel
 * mode is emulated, slowly. */
static int all_up(struct bench_run *run, const struct idler *i)
{
	const uint32_t *cpus = &i->guest.shared->cpus;
	uint64_t deadline = now_ns() + PATIENCE_NS + run->cell->vcpus * UINT64_C(200000000);

	while (bench_load(cpus) < run->cell->vcpus) {
		if (bench_stopped(run))
			return bench_nothing(run);
		if (now_ns() > deadline)
			return bench_fail(run, "the guest does not start %u vCPUs",
					  run->cell->vcpus);
		bench_sleep(run, 1000000);
	}
	return 0;
}

static int run_idle(struct bench_run *run)
{
	struct bench_usage before, after;
	const uint32_t *ticks;
	struct idler i;
	char cmdline[128];
	uint32_t first;
	int ret;

	snprintf(cmdline, sizeof(cmdline),
		 "workload=idle cpus=%u tick_hz=%llu tsc_khz=%u apic_hz=1000000000 pv_eoi=%d "
		 "exit=244",
		 run->cell->vcpus, (unsigned long long)run->cell->gap_ns, run->tsc_khz,
		 run->cell->vcpus == 1);
	if (start(run, &i, cmdline) < 0)
		return -1;
	ticks = &i.guest.shared->ticks;
	ret = all_up(run, &i);
	if (ret < 0) {
		end(run, &i);
		return -1;
	}
	bench_sleep(run, SETTLE_NS);
	first = bench_load(ticks);
	before = bench_guest_usage(&i.guest);
	bench_sleep(run, run->cfg->duration_ns);
	after = bench_guest_usage(&i.guest);
	if (bench_stopped(run) && after.wall_ns - before.wall_ns < WORTH_KEEPING_NS) {
		end(run, &i);
		return bench_nothing(run);
	}
	bench_cell_account(run->cell, &before, &after, bench_load(ticks) - first);
	if (!bench_stopped(run))
		bench_series_add(&run->cell->round_p50, after.cpu_ns - before.cpu_ns);
	bench_series_add(&run->cell->latency, after.cpu_ns - before.cpu_ns);
	if (run->cell->gap_ns && bench_load(ticks) == first && !bench_stopped(run)) {
		end(run, &i);
		return bench_fail(run, "the guest does not tick");
	}
	return end(run, &i);
}

static void bar(const struct bench_results *r, struct bench_cell *c, struct bench_svg_bar *bar)
{
	if (bench_value_cpu_percent(r, c, &bar->value))
		snprintf(bar->text, sizeof(bar->text), "%.*f %%", bar->value < 10 ? 2 : 1,
			 bar->value);
}

static const char *caption(const struct bench_results *r, struct bench_cell *cells, size_t n)
{
	return "Of one processor; shorter is better";
}

static const struct bench_bars bars = {.bar = bar, .caption = caption};

static const struct bench_column columns[] = {
	{"processor %", "processor %", 11, BENCH_NUMBER, 3, bench_value_cpu_percent},
	{.head = NULL},
};

static const struct bench_member condition_members[] = {
	{"vcpus", .whole = bench_value_vcpus},
	{.name = NULL},
};

static const struct bench_member members[] = {
	{"cpu_percent", .real = bench_value_cpu_percent},
	{"round_cpu_ns", .rounds = bench_round_medians},
	BENCH_CPU_MEMBER,
	BENCH_WAKE_MEMBERS,
	{.name = NULL},
};

const struct bench_workload bench_workload_idle = {
	.name = "idle",
	.title = "processor time of an idle guest",
	.help = "processor time of a guest that does nothing, and of one with a\n"
		"250 Hz tick",
	.about = "Processor time of a guest that halts, with and without a periodic timer tick.",
	.by_default = true,
	.options = BENCH_OPT_GUEST | BENCH_OPT_DURATION | BENCH_OPT_PIN | BENCH_OPT_PEER |
		   BENCH_OPT_VCPUS | BENCH_OPT_MANY_VCPUS,
	.vcpus = 1 << 1,
	.vcpus_help = "how many virtual CPUs the idle guest has",
	.plan = plan_idle,
	.condition = condition,
	.run = run_idle,
	.columns = columns,
	.gap_member = "tick_hz",
	.condition_members = condition_members,
	.members = members,
	.bars = &bars,
};
