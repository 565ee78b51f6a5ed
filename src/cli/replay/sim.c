/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs one policy over a trace. A halt of h ns is seen by polling if the poll lasts that long,
 * exactly as long included; else the thread slept and was woken. A poll that gives way to others
 * ends there. The cost is the time polled, and the price for a sleep; a policy that knew h in
 * advance would have paid the smaller of h and the price.
 */
#include "cli/replay/replay.h"

static void add(uint64_t *sum, uint64_t value)
{
	if (__builtin_add_overflow(*sum, value, sum))
		*sum = UINT64_MAX;
}

/* Returns the price that is given: nothing can be measured here, for which 0 would ask. */
static uint32_t given_price(uint64_t price_ns)
{
	if (price_ns < 1)
		return 1;
	return price_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)price_ns;
}

/* Polls as catnap_vm_config's poll_after_guest does: the window is the price of one sleep. */
static void poll_break_even(struct catnap_halt_poll *p)
{
	if (p->policy == CATNAP_POLICY_OFF)
		return;
	if (p->policy == CATNAP_POLICY_ALWAYS || p->max_ns > p->price_ns)
		p->max_ns = p->price_ns;
	p->policy = CATNAP_POLICY_FIXED;
}

int replay_sim_create(struct replay_sim *s, const struct replay_policy *p,
		      const struct replay_sim_setting *setting)
{
	int ret;

	*s = (struct replay_sim){.label = p->label,
				 .first = p->params,
				 .now = p->params,
				 .price_ns = setting->price_ns,
				 .exit_price_ns = setting->exit_price_ns};
	s->now.price_ns = given_price(setting->price_ns);
	if (setting->guest) {
		s->guest_polls = true;
		s->governor.params = *setting->guest;
		replay_guest_params_settle(&s->governor.params, setting->price_ns,
					   setting->exit_price_ns, p->params.policy);
		if (s->governor.params.host == CATNAP_AFTER_GUEST_BREAK_EVEN)
			poll_break_even(&s->now);
	}
	if (p->learned) {
		ret = replay_learner_create(&s->learner, &s->now);
		if (ret < 0)
			return ret;
		s->now.max_ns = catnap_poll_limit_ns(s->learner.limit);
	}
	ret = catnap_policy_create(&s->now, &s->policy);
	if (ret < 0)
		replay_learner_destroy(&s->learner);
	return ret;
}

void replay_sim_destroy(struct replay_sim *s)
{
	catnap_policy_destroy(&s->policy);
	replay_learner_destroy(&s->learner);
}

static void change_params(struct replay_sim *s, const struct replay_halt *h)
{
	if (!h->max_ns.set && !h->grow.set && !h->grow_start_ns.set && !h->shrink.set)
		return;
	if (h->max_ns.set && !s->learner.limit)
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

/* Returns the poll that is left where others were to have the processor: it ends then, or is not
 * begun. Policy always goes on. */
static uint64_t give_way(const struct replay_sim *s, const struct replay_halt *h, uint64_t poll,
			 bool *cut)
{
	*cut = false;
	if (s->now.policy == CATNAP_POLICY_ALWAYS || h->gave_way_ns >= poll ||
	    h->gave_way_ns >= h->halt_ns)
		return poll;
	*cut = h->gave_way_ns > 0;
	return h->gave_way_ns;
}

/* Returns whether the host may poll. A guest that polls has switched that off, which policy kernel
 * heeds. */
static bool allowed(const struct replay_sim *s, const struct replay_halt *h)
{
	if (!s->guest_polls)
		return h->allowed;
	return replay_guest_host_polls(&s->governor.params, s->now.policy);
}

/* Plays the guest's side of @h, of which the rest is left. Returns false if it has found the
 * wake-up itself. */
static bool guest_side(struct replay_sim *s, struct replay_halt *h, struct replay_sim_row *row)
{
	bool exits = replay_guest_idle(&s->governor, h->halt_ns, &row->guest_poll_ns);

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

/* Learns: KVM's statistics go on, and its limit may change. */
static void learn(struct replay_sim *s, const struct replay_counts *c)
{
	if (!s->learner.limit || !replay_learner_halt(&s->learner, c))
		return;
	s->now.max_ns = catnap_poll_limit_ns(s->learner.limit);
	(void)catnap_policy_set(s->policy, &s->now);
}

/* Plays the host's side: what is asked of the policy. */
static void host_side(struct replay_sim *s, const struct replay_halt *h, struct replay_sim_row *row)
{
	struct catnap_halt halt = {
		.halt_ns = h->halt_ns, .valid = h->valid, .allowed = allowed(s, h)};
	uint64_t poll = catnap_policy_begin(s->policy, halt.allowed);
	struct replay_counts counts = {.attempted = poll > 0};

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
	counts.waited = row->waited;
	counts.poll_ns = row->poll_ns;
	counts.wait_ns = h->halt_ns - row->poll_ns;
	counts.all_ns = h->halt_ns;
	add(&counts.all_ns, row->guest_poll_ns);
	learn(s, &counts);
}

void replay_sim_halt(struct replay_sim *s, const struct replay_halt *h, struct replay_sim_row *row)
{
	struct replay_halt rest = *h;

	*row = (struct replay_sim_row){.window_before = catnap_policy_window(s->policy)};
	s->halts++;
	add(&s->optimum_ns, h->halt_ns < s->price_ns ? h->halt_ns : s->price_ns);
	if (!s->guest_polls || guest_side(s, &rest, row))
		host_side(s, &rest, row);
	else
		change_params(s, h);
	row->window_after = catnap_policy_window(s->policy);
}

double replay_sim_ratio(const struct replay_sim *s)
{
	if (s->optimum_ns == 0)
		return s->cost_ns == 0 ? 1 : -1;
	return (double)s->cost_ns / (double)s->optimum_ns;
}

uint64_t replay_sim_latency_percentile(const struct replay_sim *s, unsigned percent)
{
	/* A sleep adds the price and a poll adds nothing, so sorted they are two runs. */
	uint64_t seen = s->halts - s->sleeps;

	return (double)seen * 100 >= (double)s->halts * percent ? 0 : s->price_ns;
}

double replay_sim_latency_mean(const struct replay_sim *s)
{
	return s->halts ? (double)s->sleeps / (double)s->halts * (double)s->price_ns : 0;
}
