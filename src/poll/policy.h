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
#include "relaxed.h"

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
	_Atomic uint32_t spin;
};

/* Facts that are known when a halt begins, beyond the past. */
struct policy_query {
	bool allowed;	   /* the guest has not switched host polling off */
	uint64_t timer_ns; /* time to the vCPU's own timer; UINT64_MAX: none is armed */
	uint32_t inflight; /* requests and event sources that may complete */
	uint32_t price_ns; /* how late a sleep makes the sleeper (price_estimate()); 0: not known */
	uint32_t cpu_ns;   /* processor time that a sleep takes; 0: not known yet */
};

/*
 * The kinds of halts for policy adaptive: a whole one, or the rest of one in which the guest has
 * polled in vain. Their lengths have nothing in common: each kind has a learner of its own.
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
	_Atomic uint32_t worth_now; /* of a sleep, in the halt under way; anybody may read it */
	uint64_t timer_ns;	    /* of the halt under way, as in the query */
	/* The kind of the halts: POLICY_WHOLE or POLICY_REMAINDER. Anybody may set it; the owner
	 * reads it when a halt begins. */
	_Atomic uint32_t kind_of_halt;
	uint32_t of_halt; /* the owner's: that of the halt under way */
	struct policy_learner learners[POLICY_LEARNERS];
};

/* Tells of which kind the owner's halts are from the next one on. Any thread. */
static inline void policy_set_halts(struct catnap_policy *p, enum policy_halts kind)
{
	relaxed_store(&p->kind_of_halt, kind);
}

/* Sets *@p up with parameters that catnap_halt_poll_check() has passed. */
void policy_init(struct catnap_policy *p, const struct catnap_halt_poll *params);
/* Changes the parameters; they have been checked as well. Any thread. */
void policy_set(struct catnap_policy *p, const struct catnap_halt_poll *params);
/* Begins a halt. Returns for how long to poll. */
uint64_t policy_begin(struct catnap_policy *p, const struct policy_query *q);
/*
 * Ends a halt, and learns from it. @arrival_ns: when the wake-up was sent, after the begin of the
 * halt. If the owner slept, that is less than the whole halt. To learn the whole would teach that
 * halts are long because they are slept through, and so to sleep. @ipi: another vCPU of the VM has
 * sent it.
 */
void policy_end(struct catnap_policy *p, const struct catnap_halt *h, uint64_t arrival_ns,
		bool ipi);
/* Returns the present window. Any thread. */
uint64_t policy_window(const struct catnap_policy *p);
/* Fills *@s with what @p has learned: all but price_ns and cpu_ns, which the halter knows. Any
 * thread. */
void policy_read_stats(const struct catnap_policy *p, struct catnap_policy_stats *s);
/* The version of what policy_save() writes. */
#define POLICY_STATE_VERSION 2

/* Writes what was learned; and reads it, of this version or an older one, into @p, which is as after policy_init(). The owner's, or before
 * it is there. Anything wrong is noted in @in; then @p is to be made anew. */
void policy_save(const struct catnap_policy *p, struct state_writer *w);
void policy_load(struct catnap_policy *p, struct state_in *in);
/* Copies *@s to the caller's struct, whose entries of context may be shorter than ours, or longer.
 * -EINVAL: it is too short, or they are. */
int policy_copy_stats(const struct catnap_policy_stats *s, struct catnap_policy_stats *to);

/* Returns the limit of polls that fail, in hundredths of per cent; 0: none. */
static inline uint32_t policy_cpu_max(const struct catnap_policy *p)
{
	return relaxed_load(&p->params.cpu_max);
}

/* Returns the enum catnap_bias. */
static inline uint32_t policy_bias(const struct catnap_policy *p)
{
	return relaxed_load(&p->params.bias);
}

/* Returns the enum catnap_spin that was asked for. */
static inline uint32_t policy_spin(const struct catnap_policy *p)
{
	return relaxed_load(&p->params.spin);
}

/* Returns whether the owner shares a poller with its group. */
static inline bool policy_shares(const struct catnap_policy *p)
{
	return relaxed_load(&p->params.group) != 0;
}

/* Returns whether the owner leaves the processor to others that want it. Policy always keeps it. */
static inline bool policy_gives_way(const struct catnap_policy *p)
{
	return relaxed_load(&p->params.kind) != CATNAP_POLICY_ALWAYS;
}

static inline bool policy_is_adaptive(const struct catnap_policy *p)
{
	return relaxed_load(&p->params.kind) == CATNAP_POLICY_ADAPTIVE;
}

#endif
