/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload mix: the arrival processes of `catnap replay --generate`, live. The guest halts, the
 * process says for how long, and then it is signalled: what replay predicts of a policy can be
 * compared with what it does on this host. All modes get the same gaps in the same round.
 */
#include <stdlib.h>

#include "cli/bench/guest.h"
#include "cli/bench/workload.h"

struct mix {
	struct bench_guest guest;
	struct generator process;
	uint32_t n; /* events so far */
};

/* Waits until the guest halts, and then for the next gap; *halted: when that began. */
static int wait_gap(struct bench_run *run, struct mix *m, uint64_t *halted)
{
	return bench_guest_gap(run, &m->guest, ++m->n, generator_next(&m->process), halted);
}

static int mix_samples(struct bench_run *run, struct mix *m, struct bench_series *latency)
{
	uint32_t total = run->cfg->samples + WARMUP;
	struct bench_usage before = bench_guest_usage(&m->guest), after;
	uint64_t halted;

	for (uint32_t n = 1; n <= total; n++) {
		if (wait_gap(run, m, &halted) < 0 ||
		    bench_guest_event(run, &m->guest, n, n > WARMUP ? latency : NULL) < 0) {
			if (bench_stopped(run) && latency->n)
				break;
			return -1;
		}
		if (n == WARMUP)
			before = bench_guest_usage(&m->guest);
	}
	after = bench_guest_usage(&m->guest);
	bench_cell_account(run->cell, &before, &after, latency->n);
	return 0;
}

/* Makes some more halts, whose latency is not taken, since looking at the window disturbs, and
 * notes the window that each of them was polled for, if it was at all. */
static int mix_windows(struct bench_run *run, struct mix *m)
{
	struct bench_cell *c = run->cell;
	uint64_t start = bench_ticks(), halted;

	while (c->n_windows < BENCH_WINDOWS) {
		struct catnap_vcpu_stats s = {.size = sizeof(s)};
		struct bench_window *w = &c->windows[c->n_windows];

		if (wait_gap(run, m, &halted) < 0)
			return -1;
		catnap_vm_get_stats(m->guest.vm, 0, &s);
		w->at_ns = bench_to_ns(run, halted - start);
		w->halt_ns = bench_to_ns(run, bench_ticks() - halted);
		w->window_ns = s.halt.window_ns;
		if (bench_guest_signal(run, &m->guest) < 0 ||
		    bench_spin_until(run, &m->guest.shared->handled, m->n, "handle an event") < 0)
			return -1;
		c->n_windows++;
	}
	return 0;
}

/* Returns whether the mode has a window to look at. Only these two move it, and KVM keeps its own
 * to itself. After a guest that polls only learned asks them. */
static bool has_window(const struct bench_mode *mode)
{
	if (mode->polls && mode->guest.host != CATNAP_AFTER_GUEST_LEARNED)
		return false;
	return mode->irqchip == CATNAP_IRQCHIP_USER &&
	       (mode->halt_poll.policy == CATNAP_POLICY_ADAPTIVE ||
		mode->halt_poll.policy == CATNAP_POLICY_KERNEL);
}

static int run_mix(struct bench_run *run)
{
	struct bench_series round = {0};
	struct bench_pinned pinned = {0};
	int32_t unused[1], sender;
	struct mix m = {.n = 0};
	int ret;

	generator_init(&m.process, &run->cell->process->generate, run->seed + 1);
	if (bench_guest_start(run, &m.guest, 1, -1, EVENT_GUEST) < 0)
		return -1;
	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(unused, 1, &sender))
		bench_pin(&pinned, sender);
	ret = mix_samples(run, &m, &round);
	if (ret == 0 && run->seed == 0 && has_window(run->cell->mode) && mix_windows(run, &m) < 0 &&
	    !bench_stopped(run))
		ret = -1;
	bench_unpin(&pinned);
	if (bench_guest_end(run, &m.guest) < 0)
		ret = -1;
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

/* Gives the time polled in halts that slept all the same. */
static bool event_vain(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return bench_cell_each(c, c->vain_ns, value) && c->has_polled;
}

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	{"vain", "in vain", 5, BENCH_NS, .value = event_vain,
	 .note = "vain: time polled in halts that then slept, for each event, us"},
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS, BENCH_CPU_MEMBER,   {"poll_vain_ns_per_event", .whole = event_vain},
	BENCH_SIGNAL_MEMBERS,  BENCH_WAKE_MEMBERS, {.name = NULL},
};

static const char *const modes[] = {"user:adaptive",
				    "user:adaptive:latency",
				    "user:adaptive:power",
				    "user:kernel",
				    "user:always",
				    "user:fixed",
				    "user:off",
				    "kernel:0",
				    "kernel:200us",
				    NULL};

const struct bench_workload bench_workload_mix = {
	.name = "mix",
	.title = "signal to the guest's handler",
	.help = "event, with arrival processes",
	.about = "Events at the gaps of an arrival process, the same for all modes. “In vain” is "
		 "time polled in halts that then slept all the same.",
	.options = BENCH_OPT_GUEST | BENCH_OPT_SAMPLES | BENCH_OPT_PROCESS | BENCH_OPT_PIN,
	.modes = modes,
	.plan = bench_plan_processes,
	.condition = bench_condition_process,
	.run = run_mix,
	.columns = columns,
	.condition_members = bench_process_members,
	.members = members,
};
