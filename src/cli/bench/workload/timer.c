/* SPDX-License-Identifier: Apache-2.0 */
/* Workload timer: the guest arms its local APIC timer and halts. How late its handler runs. */
#include "cli/bench/child.h"
#include "cli/bench/guest.h"
#include "cli/bench/workload.h"

static int run_timer(struct bench_run *run)
{
	return run->cell->mode->peer ? bench_peer(run, 1) : bench_guest_samples(run, 1);
}

static const uint64_t gaps[] = {20000, 50000, 200000, 1000000, 0};

const struct bench_workload bench_workload_timer = {
	.name = "timer",
	.title = "lateness of the APIC timer",
	.help = "the guest arms its APIC timer and halts: lateness",
	.about = "The guest arms its local APIC timer and halts. Latency is how late its handler "
		 "ran.",
	.by_default = true,
	.options = BENCH_OPT_GUEST | BENCH_OPT_GAP | BENCH_OPT_ARRIVALS | BENCH_OPT_SAMPLES |
		   BENCH_OPT_PIN | BENCH_OPT_PEER,
	.gaps = gaps,
	.gaps_help = "also 1ms",
	.plan = bench_plan_gaps,
	.condition = bench_gap_condition,
	.run = run_timer,
	.columns = bench_latency_columns,
	.members = bench_latency_members,
};
