/* SPDX-License-Identifier: Apache-2.0 */
/* Workload ipi: two vCPUs halt and wake each other. The time of a round trip. */
#include "cli/bench/child.h"
#include "cli/bench/guest.h"
#include "cli/bench/workload.h"

static int run_ipi(struct bench_run *run)
{
	return run->cell->mode->peer ? bench_peer(run, 2) : bench_guest_samples(run, 2);
}

const struct bench_workload bench_workload_ipi = {
	.name = "ipi",
	.title = "two vCPUs wake each other, round trip",
	.help = "two vCPUs wake each other: round trip",
	.about = "Two virtual CPUs halt and wake each other; the time is that of a round trip.",
	.by_default = true,
	.options = BENCH_OPT_GUEST | BENCH_OPT_SAMPLES | BENCH_OPT_PIN | BENCH_OPT_PEER,
	.run = run_ipi,
	.columns = bench_latency_columns,
	.members = bench_latency_members,
};
