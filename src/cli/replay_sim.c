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

/* Nothing can be measured here. 0 would ask for that. */
static uint32_t given_price(uint64_t price_ns)
{
	if (price_ns < 1)
		return 1;
	return price_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)price_ns;
}

/* As catnap_vm_config's poll_after_guest: the window is the price of one sleep. */
static void poll_break_even(struct catnap_halt_poll *p)
{
	if (p->policy == CATNAP_POLICY_OFF)
		return;
	if (p->policy == CATNAP_POLICY_ALWAYS || p->max_ns > p->price_ns)
		p->max_ns = p->price_ns;
	p->policy = CATNAP_POLICY_FIXED;
}

int sim_create(struct sim *s, const char *label, const struct catnap_halt_poll *params,
	       const struct sim_setting *setting)
{
	*s = (struct sim){.label = label,
			  .first = *params,
			  .now = *params,
			  .price_ns = setting->price_ns,
			  .exit_price_ns = setting->exit_price_ns};
	s->now.price_ns = given_price(setting->price_ns);
	if (setting->guest) {
		s->guest_polls = true;
		s->governor.params = *setting->guest;
		if (s->governor.params.host == GUEST_HOST_BREAK_EVEN)
			poll_break_even(&s->now);
	}
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

/* May the host poll? A guest that polls has switched that off, which policy kernel heeds. */
static bool allowed(const struct sim *s, const struct trace_halt *h)
{
	if (!s->guest_polls)
		return h->allowed;
	return s->governor.params.host == GUEST_HOST_BREAK_EVEN ||
	       (s->governor.params.host == GUEST_HOST_LEARNED &&
		s->now.policy != CATNAP_POLICY_KERNEL);
}

/* The guest's side of @h, of which the rest is left. False: it has found the wake-up itself. */
static bool guest_side(struct sim *s, struct trace_halt *h, struct sim_row *row)
{
	bool exits = guest_idle(&s->governor, h->halt_ns, &row->guest_poll_ns);

	add(&s->guest_poll_ns, row->guest_poll_ns);
	add(&s->cost_ns, row->guest_poll_ns);
	h->halt_ns -= row->guest_poll_ns;
	if (h->gave_way_ns != UINT64_MAX)
		h->gave_way_ns -=
			h->gave_way_ns < row->guest_poll_ns ? h->gave_way_ns : row->guest_poll_ns;
	if (!exits)
		return false;
	s->exits++;
	add(&s->cost_ns, s->exit_price_ns);
	return true;
}

/* The host's side: what is asked of the policy. */
static void host_side(struct sim *s, const struct trace_halt *h, struct sim_row *row)
{
	struct catnap_halt halt = {
		.halt_ns = h->halt_ns, .valid = h->valid, .allowed = allowed(s, h)};
	uint64_t poll = catnap_policy_begin(s->policy, halt.allowed);

	poll = give_way(s, h, poll, &halt.gave_way);
	row->window_before = catnap_policy_window(s->policy);
	row->waited = halt.waited = h->halt_ns > poll;
	row->poll_ns = row->waited ? poll : h->halt_ns;
	change_params(s, h);
	catnap_policy_end(s->policy, &halt);
	add(&s->poll_ns, row->poll_ns);
	add(&s->cost_ns, row->poll_ns);
	if (row->waited) {
		s->sleeps++;
		add(&s->failed_poll_ns, row->poll_ns);
		add(&s->cost_ns, s->price_ns);
	}
}

void sim_halt(struct sim *s, const struct trace_halt *h, struct sim_row *row)
{
	struct trace_halt rest = *h;

	*row = (struct sim_row){.window_before = catnap_policy_window(s->policy)};
	s->halts++;
	add(&s->optimum_ns, h->halt_ns < s->price_ns ? h->halt_ns : s->price_ns);
	if (!s->guest_polls || guest_side(s, &rest, row))
		host_side(s, &rest, row);
	else
		change_params(s, h);
	row->window_after = catnap_policy_window(s->policy);
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
