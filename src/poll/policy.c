/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which kind of policy decides, and those kinds that learn nothing. The others are policy_kernel.c
 * and policy_adaptive.c; the public interface is policy_api.c.
 *
 * Everything from policy_begin() to policy_end() is on the path of each halt: relaxed loads and a
 * few instructions, no locks. Relaxed is enough, because no word here guards any other: a reader
 * that sees half of a change has seen what a module parameter half changed would have shown the
 * kernel.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "poll/halt_poll.h"
#include "poll/policy_kind.h"
#include "relaxed.h"

_Static_assert(CATNAP_POLICY_CONTEXTS == ADAPTIVE_CONTEXTS, "one entry for each");
_Static_assert(CATNAP_HALT_LONG + 1 == ADAPTIVE_CLASSES, "one name for each");

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
	return q->allowed ? relaxed_load(&p->params.max_ns) : 0;
}

static uint64_t fixed_window(const struct catnap_policy *p)
{
	return relaxed_load(&p->params.max_ns);
}

static uint64_t always_begin(struct catnap_policy *p, const struct policy_query *q)
{
	return q->allowed ? CATNAP_WINDOW_FOREVER : 0;
}

static uint64_t always_window(const struct catnap_policy *p)
{
	return CATNAP_WINDOW_FOREVER;
}

static const struct policy_ops off = {off_begin, learn_nothing, off_window};
static const struct policy_ops fixed = {fixed_begin, learn_nothing, fixed_window};
static const struct policy_ops always = {always_begin, learn_nothing, always_window};

static const struct policy_ops *const kinds[] = {
	[CATNAP_POLICY_OFF] = &off,
	[CATNAP_POLICY_KERNEL] = &policy_kernel,
	[CATNAP_POLICY_FIXED] = &fixed,
	[CATNAP_POLICY_ALWAYS] = &always,
	[CATNAP_POLICY_ADAPTIVE] = &policy_adaptive,
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

_Static_assert(N_KINDS == CATNAP_POLICY_ADAPTIVE + 1, "what catnap_halt_poll_check() lets pass");

static const struct policy_ops *ops(const struct catnap_policy *p)
{
	uint32_t kind = relaxed_load(&p->params.kind);

	/* An unknown kind does not pass catnap_halt_poll_check(). Without that check it never
	 * polls. */
	return kinds[kind < N_KINDS ? kind : CATNAP_POLICY_OFF];
}

void policy_set(struct catnap_policy *p, const struct catnap_halt_poll *given)
{
	const struct catnap_halt_poll all = halt_poll_known(given), *params = &all;

	relaxed_store(&p->params.max_ns, params->max_ns);
	relaxed_store(&p->params.grow, params->grow);
	relaxed_store(&p->params.grow_start_ns, params->grow_start_ns);
	relaxed_store(&p->params.shrink, params->shrink);
	relaxed_store(&p->params.bias, params->bias);
	relaxed_store(&p->params.price_ns, params->price_ns);
	relaxed_store(&p->params.cpu_max, params->cpu_max);
	relaxed_store(&p->params.group, params->group != 0);
	relaxed_store(&p->params.spin, params->spin);
	relaxed_store(&p->params.kind, params->policy);
}

void policy_init(struct catnap_policy *p, const struct catnap_halt_poll *params)
{
	relaxed_store(&p->window_ns, 0);
	relaxed_store(&p->adaptive_window_ns, 0);
	relaxed_store(&p->worth_now, 0);
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

void policy_read_stats(const struct catnap_policy *p, struct catnap_policy_stats *s)
{
	uint32_t kind = relaxed_load(&p->kind_of_halt);
	const struct adaptive *adaptive = &p->learners[kind].adaptive;

	*s = (struct catnap_policy_stats){.size = sizeof(*s)};
	s->policy = relaxed_load(&p->params.kind);
	s->window_ns = policy_window(p);
	if (s->policy == CATNAP_POLICY_ADAPTIVE) {
		s->worth_ns = relaxed_load(&p->worth_now);
		s->relearned = relaxed_load(&adaptive->changes);
		s->after_guest = kind == POLICY_REMAINDER;
		s->contexts = ADAPTIVE_CONTEXTS;
	}
	for (uint32_t i = 0; i < s->contexts; i++) {
		const struct adaptive_seen *seen = &adaptive->seen[i];
		struct catnap_policy_context *c = &s->context[i];

		c->before = i / ADAPTIVE_CLASSES;
		c->last = i % ADAPTIVE_CLASSES;
		c->halts = relaxed_load(&seen->halts);
		c->samples = relaxed_load(&seen->samples);
		c->window_ns = relaxed_load(&seen->window_ns);
		c->p50_ns = relaxed_load(&seen->p50_ns);
		c->p90_ns = relaxed_load(&seen->p90_ns);
		c->cost_ns = relaxed_load(&seen->cost_ns);
	}
}

/* The size of an entry in the first version. */
#define CONTEXT_SIZE_MIN (offsetof(struct catnap_policy_context, cost_ns) + 2 * sizeof(uint32_t))

int policy_copy_stats(const struct catnap_policy_stats *s, struct catnap_policy_stats *to)
{
	const size_t head = offsetof(struct catnap_policy_stats, context);
	size_t size = to ? to->size : 0, entry = to ? to->context_size : 0;
	size_t common = entry < sizeof(s->context[0]) ? entry : sizeof(s->context[0]);

	if (size < head || entry < CONTEXT_SIZE_MIN)
		return -EINVAL;
	memcpy(to, s, head);
	to->size = (uint32_t)(size < sizeof(*s) ? size : sizeof(*s));
	to->context_size = (uint32_t)entry;
	for (uint32_t i = 0; i < CATNAP_POLICY_CONTEXTS && head + (i + 1) * entry <= size; i++)
		memcpy((char *)to + head + i * entry, &s->context[i], common);
	return 0;
}

void policy_save(const struct catnap_policy *p, struct state_writer *w)
{
	state_put_u32(w, relaxed_load(&p->window_ns));
	for (int i = 0; i < POLICY_LEARNERS; i++) {
		state_put_u32(w, p->learners[i].quiet);
		trial_save(&p->learners[i].trial, w);
		adaptive_save(&p->learners[i].adaptive, w);
	}
	for (int i = 0; i < POLICY_LEARNERS; i++)
		adaptive_save_windows(&p->learners[i].adaptive, w);
}

void policy_load(struct catnap_policy *p, struct state_in *in)
{
	/* More than the policy's most is taken down to it when a halt begins. */
	relaxed_store(&p->window_ns, state_get_u32(in));
	for (int i = 0; i < POLICY_LEARNERS; i++) {
		p->learners[i].quiet = state_get_u32(in);
		trial_load(&p->learners[i].trial, in);
		adaptive_load(&p->learners[i].adaptive, in);
	}
	/* Version 1 ends here. */
	for (int i = 0; i < POLICY_LEARNERS && in->version > 1; i++)
		adaptive_load_windows(&p->learners[i].adaptive, in);
}
