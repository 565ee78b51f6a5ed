/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Halt-polling policies: how long to poll in this halt, given how the earlier ones went. Pure
 * arithmetic: no clock, no thread, no allocation once made. A policy belongs to one thread (the
 * vCPU's); the parameters may be stored by any thread at any time, word by word, as module
 * parameters are.
 */
#ifndef POLL_POLICY_H
#define POLL_POLICY_H

#include <stdatomic.h>
#include <catnap/poll.h>
#include "poll/adaptive.h"
#include "poll/trial.h"

/* The parameters, as relaxed atomics: each is read when the rule needs it and not before. */
struct policy_params {
	_Atomic uint32_t kind;
	_Atomic uint32_t max_ns;
	_Atomic uint32_t grow;
	_Atomic uint32_t grow_start_ns;
	_Atomic uint32_t shrink;
	_Atomic uint32_t bias;
	_Atomic uint32_t price_ns;
	_Atomic uint32_t cpu_max;
	_Atomic uint32_t group;
};

/* What is known when a halt begins, beyond the past. */
struct policy_query {
	bool allowed;	   /* the guest has not switched host polling off */
	uint64_t timer_ns; /* time to the vCPU's own timer; UINT64_MAX: none is armed */
	uint32_t inflight; /* requests and event sources that may complete */
	uint32_t price_ns; /* how late a sleeper has been measured to be; 0: not known yet */
	uint32_t cpu_ns;   /* processor time that a sleep takes; 0: not known yet */
};

/*
 * What a halt is to policy adaptive: a whole one, or what is left of it when the guest has polled
 * in vain. Their lengths have nothing in common: each kind has a learner of its own.
 */
enum policy_halts { POLICY_WHOLE, POLICY_REMAINDER, POLICY_LEARNERS };

struct policy_learner {
	uint32_t quiet; /* halts in a row that nothing but the timer has ended */
	struct trial trial;
	struct adaptive adaptive;
};

struct catnap_policy {
	struct policy_params params;
	_Atomic uint32_t window_ns; /* of policy kernel; the owner writes it, anybody may read it */

	/* Of policy adaptive; the owner's but for the window, which anybody may read. */
	_Atomic uint32_t adaptive_window_ns;
	_Atomic uint32_t price_now; /* of the halt under way; anybody may read it */
	uint64_t timer_ns;	    /* of the halt under way, as in the query */
	/* Whose halts these are: POLICY_WHOLE or POLICY_REMAINDER. Anybody may set it; the owner
	 * reads it when a halt begins. */
	_Atomic uint32_t kind_of_halt;
	uint32_t of_halt; /* the owner's: that of the halt under way */
	struct policy_learner learners[POLICY_LEARNERS];
};

/* Any thread: from its next halt on the owner's halts are of this kind. */
static inline void policy_set_halts(struct catnap_policy *p, enum policy_halts kind)
{
	atomic_store_explicit(&p->kind_of_halt, kind, memory_order_relaxed);
}

void policy_init(struct catnap_policy *p, const struct catnap_halt_poll *params);
void policy_set(struct catnap_policy *p, const struct catnap_halt_poll *params);
uint64_t policy_begin(struct catnap_policy *p, const struct policy_query *q);
/* @arrival_ns: when the wake-up was sent, after the begin of the halt. If the owner slept that is
 * less than the whole halt: learning the difference would teach that halts are long because they
 * are slept through, and so to sleep. @ipi: another vCPU of the VM has sent it. */
void policy_end(struct catnap_policy *p, const struct catnap_halt *h, uint64_t arrival_ns,
		bool ipi);
uint64_t policy_window(const struct catnap_policy *p);
/* Any thread: all but price_ns, which the policy does not know. */
int policy_get_stats(const struct catnap_policy *p, struct catnap_policy_stats *stats);

/* Hundredths of per cent; 0: no limit. */
static inline uint32_t policy_cpu_max(const struct catnap_policy *p)
{
	return atomic_load_explicit(&p->params.cpu_max, memory_order_relaxed);
}

/* enum catnap_bias. */
static inline uint32_t policy_bias(const struct catnap_policy *p)
{
	return atomic_load_explicit(&p->params.bias, memory_order_relaxed);
}

static inline bool policy_shares(const struct catnap_policy *p)
{
	return atomic_load_explicit(&p->params.group, memory_order_relaxed) != 0;
}

/* Does it leave the processor to others that want it? Policy always keeps it, as it says. */
static inline bool policy_gives_way(const struct catnap_policy *p)
{
	return atomic_load_explicit(&p->params.kind, memory_order_relaxed) != CATNAP_POLICY_ALWAYS;
}

static inline bool policy_is_adaptive(const struct catnap_policy *p)
{
	return atomic_load_explicit(&p->params.kind, memory_order_relaxed) ==
	       CATNAP_POLICY_ADAPTIVE;
}

#endif
