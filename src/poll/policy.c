/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Halt-polling policies. `kernel` is the rule of Linux's kvm_vcpu_halt() to the letter, odd corners
 * included: u32 arithmetic that wraps, a cap that is applied on entry only, each parameter read at
 * the moment the rule needs it. The tests hold it against an independent one.
 *
 * Everything from policy_begin() to policy_end() is on the path of each halt: relaxed loads and a
 * few instructions, no locks. Relaxed is enough, because no word here guards any other: a reader
 * that sees half of a change has seen what a module parameter half changed would have shown the
 * kernel.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "poll/policy.h"
#include "poll/price.h"
#include "sized.h"

_Static_assert(CATNAP_POLICY_CONTEXTS == ADAPTIVE_CONTEXTS, "one entry for each");
/* It is a part of other public structs: what is added takes from its reserve. */
_Static_assert(sizeof(struct catnap_halt_poll) == 88, "those structs' layout");
_Static_assert(CATNAP_HALT_LONG + 1 == ADAPTIVE_CLASSES, "one name for each");

/*
 * One kind of policy. The kind is looked up once in each call, so it may change between a begin and
 * its end; an end must therefore cope with a begin that another kind has made.
 */
struct policy_ops {
	uint64_t (*begin)(struct catnap_policy *p, const struct policy_query *q);
	void (*end)(struct catnap_policy *p, const struct catnap_halt *h, uint64_t arrival_ns,
		    bool ipi);
	uint64_t (*window)(const struct catnap_policy *p);
};

static uint32_t param(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void param_set(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

/* ---- kernel ---- */

static uint64_t kernel_begin(struct catnap_policy *p, const struct policy_query *q)
{
	uint32_t max = param(&p->params.max_ns);
	uint32_t window = param(&p->window_ns);

	/* Also when polling is not allowed: only the learning at the end depends on that. */
	if (window > max) {
		window = max;
		param_set(&p->window_ns, window);
	}
	return q->allowed ? window : 0;
}

static uint32_t kernel_grow(const struct policy_params *params, uint32_t window)
{
	uint32_t start = param(&params->grow_start_ns);
	uint32_t grow = param(&params->grow);
	uint32_t grown;

	if (grow == 0)
		return window;
	grown = window * grow; /* wraps, as the kernel's unsigned int does */
	return grown < start ? start : grown;
}

static uint32_t kernel_shrink(const struct policy_params *params, uint32_t window)
{
	uint32_t shrink = param(&params->shrink);
	uint32_t start = param(&params->grow_start_ns);
	uint32_t shrunk = shrink == 0 ? 0 : window / shrink;

	return shrunk < start ? 0 : shrunk;
}

static void kernel_end(struct catnap_policy *p, const struct catnap_halt *h, uint64_t arrival_ns,
		       bool ipi)
{
	uint32_t window = param(&p->window_ns);
	uint32_t max;

	if (!h->allowed)
		return;
	max = param(&p->params.max_ns); /* again: it may have changed during the halt */
	if (!h->valid)
		window = kernel_shrink(&p->params, window);
	else if (max == 0)
		window = 0;
	else if (h->halt_ns <= window)
		return;
	else if (window > 0 && h->halt_ns > max)
		window = kernel_shrink(&p->params, window);
	else if (window < max && h->halt_ns < max)
		window = kernel_grow(&p->params, window);
	param_set(&p->window_ns, window);
}

static uint64_t kernel_window(const struct catnap_policy *p)
{
	return param(&p->window_ns);
}

/* ---- those that learn nothing; the window of `kernel` survives a time under them ---- */

static void learn_nothing(struct catnap_policy *p, const struct catnap_halt *h, uint64_t arrival_ns,
			  bool ipi)
{
}

static uint64_t off_begin(struct catnap_policy *p, const struct policy_query *q)
{
	return 0;
}

static uint64_t off_window(const struct catnap_policy *p)
{
	return 0;
}

static uint64_t fixed_begin(struct catnap_policy *p, const struct policy_query *q)
{
	return q->allowed ? param(&p->params.max_ns) : 0;
}

static uint64_t fixed_window(const struct catnap_policy *p)
{
	return param(&p->params.max_ns);
}

static uint64_t always_begin(struct catnap_policy *p, const struct policy_query *q)
{
	return q->allowed ? CATNAP_WINDOW_FOREVER : 0;
}

static uint64_t always_window(const struct catnap_policy *p)
{
	return CATNAP_WINDOW_FOREVER;
}

/* ---- adaptive: the learner is adaptive.c; here is what is known besides the past ---- */

/* After so many halts that the timer has ended, nothing else is expected. */
#define QUIET_HALTS	 8
#define LATENCY_PRICE_NS 300000

/* The processor time of a sleep: the way into it and back, and the waker's system call. Until that
 * has been measured it is taken to be half of the lateness. */
static uint64_t sleep_cpu(const struct policy_query *q)
{
	return q->cpu_ns ? q->cpu_ns : q->price_ns / 2;
}

/*
 * A sleeper is late, which counts a little more than twice (then nobody has to choose between this
 * policy and the kernel's for the sake of latency), and it takes processor time. See
 * docs/policy.md.
 */
static uint64_t measured_price(const struct policy_query *q, uint32_t bias)
{
	uint64_t late = q->price_ns;

	if (bias == CATNAP_BIAS_POWER)
		return late * 3 / 8;
	return (bias == CATNAP_BIAS_LATENCY ? 12 * late : late * 9 / 4) + sleep_cpu(q);
}

static uint64_t given_price(uint64_t price_ns, uint32_t bias)
{
	if (bias == CATNAP_BIAS_LATENCY)
		return 8 * price_ns;
	if (bias == CATNAP_BIAS_POWER)
		return price_ns / 4;
	return price_ns;
}

static uint32_t adaptive_price(const struct catnap_policy *p, const struct policy_query *q)
{
	uint32_t given = param(&p->params.price_ns), bias = param(&p->params.bias);
	uint64_t price;

	if (!given && q->price_ns)
		price = measured_price(q, bias);
	else
		price = given_price(given ? given : PRICE_GUESS_NS, bias);
	if (bias == CATNAP_BIAS_LATENCY && price < LATENCY_PRICE_NS)
		price = LATENCY_PRICE_NS;
	if (price == 0)
		price = 1;
	return price < UINT32_MAX ? (uint32_t)price : UINT32_MAX;
}

/*
 * A timer that is due within this is waited for. To sleep until shortly before it and spin the rest
 * costs a sleep's processor time, some spinning and a little lateness: less than a sleep that
 * anything may end, after which the wake-up is late in full.
 */
static uint32_t timer_price(const struct catnap_policy *p, const struct policy_query *q,
			    uint32_t price)
{
	uint64_t timer = q->price_ns + sleep_cpu(q);

	if (param(&p->params.price_ns) || !q->price_ns ||
	    param(&p->params.bias) != CATNAP_BIAS_BALANCED)
		return price;
	return timer < price ? (uint32_t)timer : price;
}

static uint64_t adaptive_op_begin(struct catnap_policy *p, const struct policy_query *q)
{
	uint32_t max = param(&p->params.max_ns), price = adaptive_price(p, q), window;
	struct policy_learner *l;

	p->of_halt = param(&p->kind_of_halt);
	l = &p->learners[p->of_halt];
	param_set(&p->price_now, price);
	p->timer_ns = q->timer_ns;
	window = adaptive_begin(&l->adaptive, price, max);
	window = trial_window(&l->trial, window, max);
	if (q->timer_ns <= timer_price(p, q, price)) {
		/* To sleep would cost more than to wait for the timer, and make it late. */
		if (window < q->timer_ns)
			window = q->timer_ns < max ? (uint32_t)q->timer_ns : max;
	} else if (q->timer_ns != UINT64_MAX && !q->inflight && l->quiet >= QUIET_HALTS) {
		window = 0;
	}
	adaptive_override(&l->adaptive, window);
	param_set(&p->adaptive_window_ns, window);
	return q->allowed ? window : 0;
}

static void adaptive_op_end(struct catnap_policy *p, const struct catnap_halt *h,
			    uint64_t arrival_ns, bool ipi)
{
	struct policy_learner *l = &p->learners[p->of_halt];
	uint32_t price = param(&p->price_now);
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
	if (!timer || p->timer_ns > price)
		adaptive_end(&l->adaptive, arrival_ns, timer);
	trial_end(&l->trial, arrival_ns, price, ipi);
	param_set(&p->adaptive_window_ns,
		  adaptive_begin(&l->adaptive, price, param(&p->params.max_ns)));
}

static uint64_t adaptive_op_window(const struct catnap_policy *p)
{
	return param(&p->adaptive_window_ns);
}

static const struct policy_ops kinds[] = {
	[CATNAP_POLICY_OFF] = {off_begin, learn_nothing, off_window},
	[CATNAP_POLICY_KERNEL] = {kernel_begin, kernel_end, kernel_window},
	[CATNAP_POLICY_FIXED] = {fixed_begin, learn_nothing, fixed_window},
	[CATNAP_POLICY_ALWAYS] = {always_begin, learn_nothing, always_window},
	[CATNAP_POLICY_ADAPTIVE] = {adaptive_op_begin, adaptive_op_end, adaptive_op_window},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct policy_ops *ops(const struct catnap_policy *p)
{
	uint32_t kind = param(&p->params.kind);

	/* An unknown kind does not pass catnap_halt_poll_check(); without that check it never
	 * polls. */
	return &kinds[kind < N_KINDS ? kind : CATNAP_POLICY_OFF];
}

/* ---- the module's own interface; the parameters have been checked ---- */

/* What the first version of struct catnap_halt_poll had. */
#define HALT_POLL_SIZE_1 offsetof(struct catnap_halt_poll, bias)

/* The parameters of a caller that may have been built against an earlier or a later version. */
static struct catnap_halt_poll known(const struct catnap_halt_poll *params)
{
	struct catnap_halt_poll all;

	catnap_halt_poll_init(&all);
	memcpy(&all, params, params->size < sizeof(all) ? params->size : sizeof(all));
	all.size = sizeof(all);
	return all;
}

void policy_set(struct catnap_policy *p, const struct catnap_halt_poll *given)
{
	const struct catnap_halt_poll all = known(given), *params = &all;

	param_set(&p->params.max_ns, params->max_ns);
	param_set(&p->params.grow, params->grow);
	param_set(&p->params.grow_start_ns, params->grow_start_ns);
	param_set(&p->params.shrink, params->shrink);
	param_set(&p->params.bias, params->bias);
	param_set(&p->params.price_ns, params->price_ns);
	param_set(&p->params.cpu_max, params->cpu_max);
	param_set(&p->params.group, params->group != 0);
	param_set(&p->params.kind, params->policy);
}

void policy_init(struct catnap_policy *p, const struct catnap_halt_poll *params)
{
	param_set(&p->window_ns, 0);
	param_set(&p->adaptive_window_ns, 0);
	param_set(&p->price_now, 0);
	p->timer_ns = UINT64_MAX;
	policy_set_halts(p, POLICY_WHOLE);
	p->of_halt = POLICY_WHOLE;
	for (int i = 0; i < POLICY_LEARNERS; i++) {
		p->learners[i].quiet = 0;
		trial_init(&p->learners[i].trial);
		adaptive_init(&p->learners[i].adaptive);
	}
	policy_set(p, params);
}

uint64_t policy_begin(struct catnap_policy *p, const struct policy_query *q)
{
	return ops(p)->begin(p, q);
}

void policy_end(struct catnap_policy *p, const struct catnap_halt *h, uint64_t arrival_ns, bool ipi)
{
	ops(p)->end(p, h, arrival_ns, ipi);
}

uint64_t policy_window(const struct catnap_policy *p)
{
	return ops(p)->window(p);
}

int policy_get_stats(const struct catnap_policy *p, struct catnap_policy_stats *stats)
{
	uint32_t kind = param(&p->kind_of_halt), size = stats->size;
	const struct adaptive *adaptive = &p->learners[kind].adaptive;
	struct catnap_policy_stats s = {.size = sizeof(s)};

	if (size < offsetof(struct catnap_policy_stats, context))
		return -EINVAL;
	s.policy = param(&p->params.kind);
	s.window_ns = policy_window(p);
	if (s.policy == CATNAP_POLICY_ADAPTIVE) {
		s.worth_ns = param(&p->price_now);
		s.relearned = param(&adaptive->changes);
		s.after_guest = kind == POLICY_REMAINDER;
		s.contexts = ADAPTIVE_CONTEXTS;
	}
	for (uint32_t i = 0; i < s.contexts; i++) {
		const struct adaptive_seen *seen = &adaptive->seen[i];
		struct catnap_policy_context *c = &s.context[i];

		c->before = i / ADAPTIVE_CLASSES;
		c->last = i % ADAPTIVE_CLASSES;
		c->halts = atomic_load_explicit(&seen->halts, memory_order_relaxed);
		c->samples = param(&seen->samples);
		c->window_ns = param(&seen->window_ns);
		c->p50_ns = param(&seen->p50_ns);
		c->p90_ns = param(&seen->p90_ns);
		c->cost_ns = param(&seen->cost_ns);
	}
	if (size > sizeof(s))
		size = sizeof(s);
	s.size = size;
	memcpy(stats, &s, size);
	return 0;
}

/* ---- the public interface ---- */

void catnap_halt_poll_init_sized(struct catnap_halt_poll *params, size_t size)
{
	static const struct catnap_halt_poll defaults = {
		.policy = CATNAP_POLICY_ADAPTIVE,
		.max_ns = CATNAP_ADAPTIVE_MAX_NS,
		.grow = 2,
		.grow_start_ns = 10000,
		.shrink = 2,
		.bias = CATNAP_BIAS_BALANCED,
	};

	sized_init(params, size, &defaults, sizeof(defaults));
}

void(catnap_halt_poll_init)(struct catnap_halt_poll *params)
{
	catnap_halt_poll_init_sized(params, sizeof(*params));
}

int catnap_halt_poll_check(const struct catnap_halt_poll *params)
{
	struct catnap_halt_poll all;

	/* A larger one comes from a caller built against a later version; what we know is at its
	 * front. */
	if (!params || params->size < HALT_POLL_SIZE_1)
		return -EINVAL;
	if (params->policy >= N_KINDS)
		return -EINVAL;
	all = known(params);
	if (all.bias > CATNAP_BIAS_POWER || all.cpu_max > 10000)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(all.reserved) / sizeof(all.reserved[0]); i++)
		if (all.reserved[i])
			return -EINVAL;
	return 0;
}

int catnap_policy_create(const struct catnap_halt_poll *params, struct catnap_policy **policy)
{
	struct catnap_policy *p;
	int ret = catnap_halt_poll_check(params);

	if (ret < 0)
		return ret;
	if (!policy)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	policy_init(p, params);
	*policy = p;
	return 0;
}

void catnap_policy_destroy(struct catnap_policy **policy)
{
	if (!policy)
		return;
	free(*policy);
	*policy = NULL;
}

int catnap_policy_set(struct catnap_policy *policy, const struct catnap_halt_poll *params)
{
	int ret = catnap_halt_poll_check(params);

	if (ret < 0)
		return ret;
	policy_set(policy, params);
	return 0;
}

uint64_t catnap_policy_begin(struct catnap_policy *policy, bool allowed)
{
	struct policy_query q = {.allowed = allowed, .timer_ns = UINT64_MAX};

	return policy_begin(policy, &q);
}

void catnap_policy_end(struct catnap_policy *policy, const struct catnap_halt *halt)
{
	policy_end(policy, halt, halt->halt_ns, false);
}

uint64_t catnap_policy_window(const struct catnap_policy *policy)
{
	return policy_window(policy);
}

int catnap_policy_get_stats(const struct catnap_policy *policy, struct catnap_policy_stats *stats)
{
	return policy_get_stats(policy, stats);
}
