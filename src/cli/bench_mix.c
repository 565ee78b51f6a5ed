/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload mix: the arrival processes of `catnap replay --generate`, live. The guest halts, the
 * process says for how long, and then it is signalled: what replay predicts of a policy can be
 * compared with what it does on this host. All modes get the same gaps in the same round.
 */
#include <stdlib.h>

#include "cli/bench.h"
#include "cli/bench_guest.h"

/* A process may have a tail of hours, and the sender spins. */
#define LONGEST_GAP_NS UINT64_C(1000000000)

struct mix {
	struct guest guest;
	struct generator process;
	uint32_t n; /* events so far */
};

/* Waits until the guest halts, and then for the next gap; *halted: when that began. */
static int wait_gap(struct bench_run *run, struct mix *m, uint64_t *halted)
{
	uint64_t gap = generator_next(&m->process), until;

	m->n++;
	if (spin_until(run, &m->guest.shared->halting, m->n, "halt") < 0)
		return -1;
	if (gap > LONGEST_GAP_NS)
		gap = LONGEST_GAP_NS;
	*halted = ticks();
	until = *halted + (uint64_t)((unsigned __int128)gap * run->tsc_khz / 1000000);
	return spin_gap(run, until);
}

static int mix_samples(struct bench_run *run, struct mix *m, struct series *latency)
{
	uint32_t total = run->cfg->samples + WARMUP;
	struct usage before = guest_usage(&m->guest), after;
	uint64_t halted;

	for (uint32_t n = 1; n <= total; n++) {
		if (wait_gap(run, m, &halted) < 0 ||
		    guest_event(run, &m->guest, n, n > WARMUP ? latency : NULL) < 0) {
			if (bench_stopped(run) && latency->n)
				break;
			return -1;
		}
		if (n == WARMUP)
			before = guest_usage(&m->guest);
	}
	after = guest_usage(&m->guest);
	cell_account(run->cell, &before, &after, latency->n);
	return 0;
}

/* Some more halts, whose latency is not taken, since looking at the window disturbs: the window
 * that each of them was polled for, if it was at all. */
static int mix_windows(struct bench_run *run, struct mix *m)
{
	struct cell *c = run->cell;
	uint64_t start = ticks(), halted;

	while (c->n_windows < BENCH_WINDOWS) {
		struct catnap_vcpu_stats s = {.size = sizeof(s)};
		struct window_sample *w = &c->windows[c->n_windows];

		if (wait_gap(run, m, &halted) < 0)
			return -1;
		catnap_vm_get_stats(m->guest.vm, 0, &s);
		w->at_ns = bench_to_ns(run, halted - start);
		w->halt_ns = bench_to_ns(run, ticks() - halted);
		w->window_ns = s.halt.window_ns;
		if (guest_signal(run, &m->guest) < 0 ||
		    spin_until(run, &m->guest.shared->handled, m->n, "handle an event") < 0)
			return -1;
		c->n_windows++;
	}
	return 0;
}

/* Only these two move it, and KVM keeps its own to itself. */
static bool has_window(const struct bench_mode *mode)
{
	return mode->irqchip == CATNAP_IRQCHIP_USER &&
	       (mode->halt_poll.policy == CATNAP_POLICY_ADAPTIVE ||
		mode->halt_poll.policy == CATNAP_POLICY_KERNEL);
}

int bench_mix(struct bench_run *run)
{
	struct series round = {0};
	struct pinned pinned = {0};
	int32_t unused[1], sender;
	struct mix m = {.n = 0};
	int ret;

	generator_init(&m.process, &run->cell->process->generate, run->seed + 1);
	if (guest_start(run, &m.guest, 1, -1, EVENT_GUEST) < 0)
		return -1;
	if (run->cfg->pin == PIN_ON && bench_processors(unused, 1, &sender))
		pin(&pinned, sender);
	ret = mix_samples(run, &m, &round);
	if (ret == 0 && run->seed == 0 && has_window(run->cell->mode) && mix_windows(run, &m) < 0 &&
	    !bench_stopped(run))
		ret = -1;
	unpin(&pinned);
	if (guest_end(run, &m.guest) < 0)
		ret = -1;
	if (ret == 0)
		return bench_keep(run, &round);
	series_free(&round);
	return -1;
}
