/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit of the kernel's rule that is learned, as `--irqchip kernel --halt-poll adaptive` does it:
 * from what KVM would count of the halts, at intervals. See struct catnap_poll_limit.
 */
#include <string.h>

#include "cli/replay/replay.h"

static void add(uint64_t *sum, uint64_t value)
{
	if (__builtin_add_overflow(*sum, value, sum))
		*sum = UINT64_MAX;
}

int replay_learner_create(struct replay_learner *l, const struct catnap_halt_poll *params)
{
	int ret;

	memset(l, 0, sizeof(*l));
	l->stats.size = sizeof(l->stats);
	ret = catnap_poll_limit_create(params, &l->limit);
	if (ret < 0)
		return ret;
	(void)catnap_poll_limit_learn(l->limit, &l->stats, 0);
	l->next_ns = catnap_poll_limit_interval(l->limit);
	return 0;
}

void replay_learner_destroy(struct replay_learner *l)
{
	catnap_poll_limit_destroy(&l->limit);
}

static unsigned int bucket(uint64_t ns)
{
	unsigned int b = ns ? 64u - (unsigned int)__builtin_clzll(ns) : 0;

	return b < CATNAP_HIST_BUCKETS ? b : CATNAP_HIST_BUCKETS - 1;
}

/* Counts as KVM's kvm_vcpu_halt() does: a halt without a poll that did not wait is not counted at
 * all. */
static void count(struct catnap_halt_stats *s, const struct replay_counts *c)
{
	if (c->attempted && c->waited) {
		add(&s->halt_poll_fail_ns, c->poll_ns);
		s->halt_poll_fail_hist[bucket(c->poll_ns)]++;
	} else if (c->attempted) {
		add(&s->halt_poll_success_ns, c->poll_ns);
		s->halt_poll_success_hist[bucket(c->poll_ns)]++;
	}
	if (c->waited) {
		add(&s->halt_wait_ns, c->wait_ns);
		s->halt_wait_hist[bucket(c->wait_ns)]++;
	}
}

bool replay_learner_halt(struct replay_learner *l, const struct replay_counts *c)
{
	bool changed;

	count(&l->stats, c);
	add(&l->now_ns, c->all_ns);
	if (l->now_ns < l->next_ns)
		return false;
	changed = catnap_poll_limit_learn(l->limit, &l->stats, l->now_ns) > 0;
	l->changes += changed;
	l->next_ns = l->now_ns;
	add(&l->next_ns, catnap_poll_limit_interval(l->limit));
	return changed;
}
