/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One policy over a trace. A halt of h ns is seen by polling if the poll lasts that long, exactly
 * as long included; else the thread slept and was woken. A poll that gives way to others ends
 * there. What that cost is the time polled, and the price for a sleep; who knew h in advance would
 * have paid the smaller of h and the price.
 */
#include "cli/replay.h"

static void add(uint64_t *sum, uint64_t value)
{
	if (__builtin_add_overflow(*sum, value, sum))
		*sum = UINT64_MAX;
}

int sim_create(struct sim *s, const char *label, const struct catnap_halt_poll *params,
	       uint64_t price_ns)
{
	*s = (struct sim){.label = label, .first = *params, .now = *params, .price_ns = price_ns};
	/* Nothing can be measured here. 0 would ask for that. */
	s->now.price_ns = price_ns < 1		  ? 1
			  : price_ns > UINT32_MAX ? UINT32_MAX
						  : (uint32_t)price_ns;
	return catnap_policy_create(&s->now, &s->policy);
}

void sim_destroy(struct sim *s)
{
	catnap_policy_destroy(&s->policy);
}

static void change_params(struct sim *s, const struct trace_halt *h)
{
	if (!h->max_ns.set && !h->grow.set && !h->grow_start_ns.set && !h->shrink.set)
		return;
	if (h->max_ns.set)
		s->now.max_ns = h->max_ns.value;
	if (h->grow.set)
		s->now.grow = h->grow.value;
	if (h->grow_start_ns.set)
		s->now.grow_start_ns = h->grow_start_ns.value;
	if (h->shrink.set)
		s->now.shrink = h->shrink.value;
	/* It was made with the same size and kind: this cannot fail. */
	(void)catnap_policy_set(s->policy, &s->now);
}

/* Others were to have the processor: the poll ends then, or is not begun. Policy always goes on. */
static uint64_t give_way(const struct sim *s, const struct trace_halt *h, uint64_t poll, bool *cut)
{
	*cut = false;
	if (s->now.policy == CATNAP_POLICY_ALWAYS || h->gave_way_ns >= poll ||
	    h->gave_way_ns >= h->halt_ns)
		return poll;
	*cut = h->gave_way_ns > 0;
	return h->gave_way_ns;
}

void sim_halt(struct sim *s, const struct trace_halt *h, struct sim_row *row)
{
	uint64_t poll = catnap_policy_begin(s->policy, h->allowed);
	struct catnap_halt halt = {.halt_ns = h->halt_ns, .valid = h->valid, .allowed = h->allowed};

	poll = give_way(s, h, poll, &halt.gave_way);
	row->window_before = catnap_policy_window(s->policy);
	row->waited = halt.waited = h->halt_ns > poll;
	row->poll_ns = row->waited ? poll : h->halt_ns;
	change_params(s, h);
	catnap_policy_end(s->policy, &halt);
	row->window_after = catnap_policy_window(s->policy);

	s->halts++;
	add(&s->poll_ns, row->poll_ns);
	add(&s->cost_ns, row->poll_ns);
	add(&s->optimum_ns, h->halt_ns < s->price_ns ? h->halt_ns : s->price_ns);
	if (row->waited) {
		s->sleeps++;
		add(&s->failed_poll_ns, row->poll_ns);
		add(&s->cost_ns, s->price_ns);
	}
}

double sim_ratio(const struct sim *s)
{
	if (s->optimum_ns == 0)
		return s->cost_ns == 0 ? 1 : -1;
	return (double)s->cost_ns / (double)s->optimum_ns;
}

uint64_t sim_latency_percentile(const struct sim *s, unsigned percent)
{
	/* A sleep adds the price and a poll adds nothing, so sorted they are two runs. */
	uint64_t seen = s->halts - s->sleeps;

	return (double)seen * 100 >= (double)s->halts * percent ? 0 : s->price_ns;
}

double sim_latency_mean(const struct sim *s)
{
	return s->halts ? (double)s->sleeps / (double)s->halts * (double)s->price_ns : 0;
}
