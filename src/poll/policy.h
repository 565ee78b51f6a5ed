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

/* The parameters, as relaxed atomics: each is read when the rule needs it and not before. */
struct policy_params {
	_Atomic uint32_t kind;
	_Atomic uint32_t max_ns;
	_Atomic uint32_t grow;
	_Atomic uint32_t grow_start_ns;
	_Atomic uint32_t shrink;
};

/* What is known when a halt begins, beyond the past. */
struct policy_query {
	bool allowed;	   /* the guest has not switched host polling off */
	uint64_t timer_ns; /* time to the vCPU's own timer; UINT64_MAX: none is armed */
	uint32_t inflight; /* requests and event sources that may complete */
};

struct catnap_policy {
	struct policy_params params;
	_Atomic uint32_t window_ns; /* of policy kernel; the owner writes it, anybody may read it */
};

void policy_init(struct catnap_policy *p, const struct catnap_halt_poll *params);
void policy_set(struct catnap_policy *p, const struct catnap_halt_poll *params);
uint64_t policy_begin(struct catnap_policy *p, const struct policy_query *q);
void policy_end(struct catnap_policy *p, const struct catnap_halt *h);
uint64_t policy_window(const struct catnap_policy *p);

#endif
