/* SPDX-License-Identifier: Apache-2.0 */
/* Counting halts, with the meanings of KVM's own per-vCPU statistics. */
#include "poll/stats.h"
#include "relaxed.h"

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

void stats_read(const struct halt_stats *s, struct catnap_halt_stats *out)
{
	out->halt_exits = relaxed_load(&s->exits);
	out->halt_attempted_poll = relaxed_load(&s->attempted);
	out->halt_successful_poll = relaxed_load(&s->successful);
	out->halt_poll_invalid = relaxed_load(&s->invalid);
	out->halt_poll_contended = relaxed_load(&s->contended);
	out->group_watched = relaxed_load(&s->watched);
	out->group_wakes = relaxed_load(&s->group_wakes);
	out->group_handovers = relaxed_load(&s->handovers);
	out->halt_poll_throttled = relaxed_load(&s->throttled);
	out->halt_poll_pressure = relaxed_load(&s->pressure);
	out->halt_wakeup = relaxed_load(&s->wakeup);
	out->halt_poll_success_ns = relaxed_load(&s->success_ns);
	out->halt_poll_fail_ns = relaxed_load(&s->fail_ns);
	out->halt_wait_ns = relaxed_load(&s->wait_ns);
	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		out->halt_poll_success_hist[i] = relaxed_load(&s->success_hist[i]);
		out->halt_poll_fail_hist[i] = relaxed_load(&s->fail_hist[i]);
		out->halt_wait_hist[i] = relaxed_load(&s->wait_hist[i]);
	}
	for (int i = 0; i < CATNAP_CAUSES; i++)
		out->wakeups[i] = relaxed_load(&s->causes[i]);
}
