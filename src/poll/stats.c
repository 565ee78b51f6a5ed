/* SPDX-License-Identifier: Apache-2.0 */
/* Counting halts, with the meanings of KVM's own per-vCPU statistics. */
#include "poll/stats.h"

void stats_count(struct halt_stats *s, const struct halt_record *r)
{
	stat_add(&s->exits, 1);
	if (r->attempted) {
		stat_add(&s->attempted, 1);
		if (r->waited) {
			stat_add(&s->fail_ns, r->poll_ns);
			stat_add(&s->fail_hist[stats_bucket(r->poll_ns)], 1);
		} else {
			stat_add(&s->successful, 1);
			stat_add(&s->success_ns, r->poll_ns);
			stat_add(&s->success_hist[stats_bucket(r->poll_ns)], 1);
		}
		if (!r->valid)
			stat_add(&s->invalid, 1);
	}
	if (r->waited) {
		stat_add(&s->wait_ns, r->wait_ns);
		stat_add(&s->wait_hist[stats_bucket(r->wait_ns)], 1);
	}
	if (r->cause != CATNAP_CAUSE_TIMER)
		stat_add(&s->wakeup, 1);
	stat_add(&s->causes[r->cause], 1);
}

static uint64_t get(const _Atomic uint64_t *s)
{
	return atomic_load_explicit(s, memory_order_relaxed);
}

void stats_read(const struct halt_stats *s, struct catnap_halt_stats *out)
{
	out->halt_exits = get(&s->exits);
	out->halt_attempted_poll = get(&s->attempted);
	out->halt_successful_poll = get(&s->successful);
	out->halt_poll_invalid = get(&s->invalid);
	out->halt_poll_contended = get(&s->contended);
	out->group_watched = get(&s->watched);
	out->group_wakes = get(&s->group_wakes);
	out->group_handovers = get(&s->handovers);
	out->halt_poll_throttled = get(&s->throttled);
	out->halt_poll_pressure = get(&s->pressure);
	out->halt_wakeup = get(&s->wakeup);
	out->halt_poll_success_ns = get(&s->success_ns);
	out->halt_poll_fail_ns = get(&s->fail_ns);
	out->halt_wait_ns = get(&s->wait_ns);
	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		out->halt_poll_success_hist[i] = get(&s->success_hist[i]);
		out->halt_poll_fail_hist[i] = get(&s->fail_hist[i]);
		out->halt_wait_hist[i] = get(&s->wait_hist[i]);
	}
	for (int i = 0; i < CATNAP_CAUSES; i++)
		out->wakeups[i] = get(&s->causes[i]);
}
