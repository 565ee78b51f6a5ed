/* SPDX-License-Identifier: Apache-2.0 */
/* A kind of policy, as policy.c sees it. */
#ifndef POLL_POLICY_KIND_H
#define POLL_POLICY_KIND_H

#include "poll/policy.h"

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

extern const struct policy_ops policy_kernel, policy_adaptive;

#endif
