/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload event: another thread signals the halted vCPU. From before the signal to the handler's
 * first instruction.
 */
#include "cli/bench/doorbell.h"
#include "cli/bench/guest.h"
#include "cli/bench/io.h"
#include "cli/bench/offered.h"
#include "cli/bench/workload.h"

static int event_samples(struct bench_run *run, struct bench_guest *g, struct bench_series *latency)
{
	uint64_t random = (UINT64_C(0x9e3779b97f4a7c15) ^ run->seed) | 1;
	uint32_t total = run->cfg->samples + WARMUP;
	struct bench_usage before = bench_guest_usage(g), after;

	for (uint32_t n = 1; n <= total; n++) {
		if (bench_spin_until(run, &g->shared->halting, n, "halt") < 0 ||
		    bench_spin_gap(run, bench_ticks() + bench_gap_ticks(run, &random)) < 0 ||
		    bench_guest_event(run, g, n, n > WARMUP ? latency : NULL) < 0) {
			if (bench_stopped(run) && latency->n)
				break;
			return -1;
		}
		if (n == WARMUP)
			before = bench_guest_usage(g);
	}
	after = bench_guest_usage(g);
	bench_cell_account(run->cell, &before, &after, latency->n);
	return 0;
}

/* Takes the samples. Each event is signalled when it is due, or, as the guest has one interrupt for
 * all, as soon as the one before it has been handled. */
static int offered_samples(struct bench_run *run, struct bench_guest *g, pid_t pid,
			   struct bench_series *latency)
{
	struct bench_usage before, after;
	struct bench_offered o;
	struct bench_stall stall;
	uint64_t start, due;
	int ret = 0;

	for (uint32_t n = 1; n <= WARMUP && ret == 0; n++) {
		ret = bench_spin_until(run, &g->shared->halting, n, "halt");
		if (ret == 0)
			ret = bench_guest_event(run, g, n, NULL);
	}
	bench_offered_init(&o, run);
	if (ret < 0 || bench_stall_begin(&stall, run, g->vm, pid) < 0)
		return -1;
	before = bench_guest_usage(g);
	start = bench_ticks();
	for (uint32_t i = 1; i <= o.n && ret == 0; i++) {
		due = start + bench_to_ticks(run, bench_offered_next(&o));
		ret = bench_spin_gap(run, due);
		if (ret == 0)
			ret = bench_guest_event(run, g, WARMUP + i, NULL);
		if (ret == 0 &&
		    bench_series_add(latency, bench_to_ns(run, bench_ticks() - due)) < 0)
			ret = bench_fail(run, "out of memory");
	}
	after = bench_guest_usage(g);
	if (bench_stopped(run) && latency->n)
		ret = 0;
	ret = bench_stall_end(&stall, run, ret);
	bench_cell_account(run->cell, &before, &after, latency->n);
	return ret;
}

static int samples(struct bench_run *run, struct bench_guest *g, pid_t pid,
		   struct bench_series *latency)
{
	struct bench_pinned pinned = {0};
	int32_t unused[1], sender;
	int ret;

	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(unused, 1, &sender))
		bench_pin(&pinned, sender);
	ret = run->cell->rate ? offered_samples(run, g, pid, latency)
			      : event_samples(run, g, latency);
	bench_unpin(&pinned);
	return ret;
}

/* Starts the peer, with all of its threads on the vCPU's processor: nothing but the vCPU has
 * work. */
static int start_peer(struct bench_run *run, struct bench_io_guest *g,
		      const struct bench_io_devices *dev)
{
	struct bench_pinned pinned = {0};
	int32_t vcpu, sender;
	char cmdline[160];
	int ret;

	snprintf(cmdline, sizeof(cmdline), EVENT_GUEST " ivshmem=1 ecam=%llu",
		 (unsigned long long)BENCH_ECAM);
	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(&vcpu, 1, &sender))
		bench_pin(&pinned, vcpu);
	ret = bench_io_start(run, g, dev, cmdline);
	bench_unpin(&pinned);
	return ret;
}

/* Runs QEMU: the signal is a write to an eventfd, which KVM makes an interrupt of. */
static int run_peer(struct bench_run *run, struct bench_series *round)
{
	struct bench_guest g = {.there = true, .vcpus = 1};
	struct bench_io_devices dev = {.disk = NULL};
	struct bench_doorbell bell;
	struct bench_io_guest io;
	int ret;

	if (bench_doorbell_open(run, &bell) < 0)
		return -1;
	dev.doorbell = bell.socket;
	ret = start_peer(run, &io, &dev);
	if (ret == 0) {
		g.shared = (struct probe_shared *)(uintptr_t)io.shared;
		g.clock = io.clock;
		g.event_fd = bell.event_fd;
		ret = bench_io_wait(run, &io, &io.shared->halting, 1, BENCH_IO_PATIENCE_NS,
				    "begin to halt");
		if (ret == 0)
			ret = samples(run, &g, io.child.pid, round);
		ret = bench_io_end(run, &io, ret);
	}
	bench_doorbell_close(&bell);
	return ret;
}

static int run_event(struct bench_run *run)
{
	struct bench_series round = {0};
	struct bench_guest g;
	int ret;

	if (run->cell->mode->peer) {
		ret = run_peer(run, &round);
	} else {
		if (bench_guest_start(run, &g, 1, -1, EVENT_GUEST) < 0)
			return -1;
		ret = samples(run, &g, 0, &round);
		if (bench_guest_end(run, &g) < 0)
			ret = -1;
	}
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

static const uint64_t gaps[] = {20000, 50000, 200000, 0};

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	{"send", "sender", 5, BENCH_NS, .value = bench_value_signal_p50,
	 .note = "send: what the signal costs its sender, us"},
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_column rate_columns[] = {
	BENCH_RATE_COLUMNS,
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS, BENCH_CPU_MEMBER,   BENCH_SIGNAL_MEMBERS,
	BENCH_WAKE_MEMBERS,    BENCH_RATE_MEMBERS, {.name = NULL},
};

const struct bench_workload bench_workload_event = {
	.name = "event",
	.title = "signal to the guest's handler",
	.help = "another thread signals the vCPU: signal to the first instruction\n"
		"of the guest's handler",
	.about = "Another thread of the host, on a processor of its own, signals the halted "
		 "virtual CPU. Latency is from before the signal to the first instruction of the "
		 "guest’s handler.",
	.by_default = true,
	.options = BENCH_OPT_GUEST | BENCH_OPT_GAP | BENCH_OPT_ARRIVALS | BENCH_OPT_SAMPLES |
		   BENCH_OPT_PIN | BENCH_OPT_PEER | BENCH_OPT_RATE | BENCH_OPT_DURATION,
	.gaps = gaps,
	.plan = bench_plan_load,
	.condition = bench_gap_condition,
	.run = run_event,
	.columns = columns,
	.rate_columns = rate_columns,
	.members = members,
};
