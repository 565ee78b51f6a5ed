/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy `adaptive`: what is known of a halt besides the past. This weighs a sleep, regards the
 * vCPU's own timer, and asks the learner (adaptive.h) and the trial (trial.h). docs/policy.md.
 */
#include "poll/policy_kind.h"
#include "poll/worth.h"
#include "relaxed.h"

/* After so many halts that the timer has ended, nothing else is expected. */
#define QUIET_HALTS 8

static struct sleep_price price_of(const struct catnap_policy *p, const struct policy_query *q)
{
	return (struct sleep_price){.given_ns = relaxed_load(&p->params.price_ns),
				    .late_ns = q->price_ns,
				    .cpu_ns = q->cpu_ns};
}

/*
 * Returns what a sleep until a timer is worth: a timer that is due within that is polled for. Such
 * a sleep ends shortly before the timer, and the rest is spun. It costs a sleep's processor time,
 * some spinning and a little lateness. That is less than a sleep that anything may end, after which
 * the wake-up is late in full.
 */
static uint32_t timer_worth(const struct catnap_policy *p, const struct sleep_price *price,
			    uint32_t worth)
{
	uint64_t timer = price->late_ns + sleep_cpu(price);

	if (price->given_ns || !price->late_ns ||
	    relaxed_load(&p->params.bias) != CATNAP_BIAS_BALANCED)
		return worth;
	return timer < worth ? (uint32_t)timer : worth;
}

static uint64_t adaptive_op_begin(struct catnap_policy *p, const struct policy_query *q)
{
	const struct sleep_price price = price_of(p, q);
	uint32_t max = relaxed_load(&p->params.max_ns), window;
	uint32_t worth = sleep_worth(&price, policy_bias(p));
	struct policy_learner *l;

	p->of_halt = relaxed_load(&p->kind_of_halt);
	l = &p->learners[p->of_halt];
	relaxed_store(&p->worth_now, worth);
	p->timer_ns = q->timer_ns;
	window = adaptive_begin(&l->adaptive, worth, max);
	window = trial_window(&l->trial, window, max);
	if (q->timer_ns <= timer_worth(p, &price, worth)) {
		/* To sleep would cost more than to wait for the timer, and make it late. */
		if (window < q->timer_ns)
			window = q->timer_ns < max ? (uint32_t)q->timer_ns : max;
	} else if (q->timer_ns != UINT64_MAX && !q->inflight && l->quiet >= QUIET_HALTS) {
		window = 0;
	}
	adaptive_override(&l->adaptive, window);
	relaxed_store(&p->adaptive_window_ns, window);
	return q->allowed ? window : 0;
}

static void adaptive_op_end(struct catnap_policy *p, const struct catnap_halt *h,
			    uint64_t arrival_ns, bool ipi)
{
	struct policy_learner *l = &p->learners[p->of_halt];
	uint32_t worth = relaxed_load(&p->worth_now);
	bool timer = h->halt_ns >= p->timer_ns;

	/* Under an invalid halt, and one whose poll gave way, something else was going on; and
	 * while the guest polls for itself what we see is what it has left over. */
	if (!h->allowed || !h->valid || h->gave_way)
		return;
	if (timer)
		l->quiet += l->quiet < QUIET_HALTS;
	else
		l->quiet = 0;
	/* A timer is no news: what matters is that nothing else came before it. That says little if
	 * it was near. */
	if (!timer || p->timer_ns > worth)
		adaptive_end(&l->adaptive, arrival_ns, timer);
	trial_end(&l->trial, arrival_ns, worth, ipi);
	relaxed_store(&p->adaptive_window_ns,
		      adaptive_begin(&l->adaptive, worth, relaxed_load(&p->params.max_ns)));
}

static uint64_t adaptive_op_window(const struct catnap_policy *p)
{
	return relaxed_load(&p->adaptive_window_ns);
}

const struct policy_ops policy_adaptive = {adaptive_op_begin, adaptive_op_end, adaptive_op_window};
