/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of a policy alone (catnap/poll.h). */
#include <errno.h>
#include <stdlib.h>

#include "poll/policy.h"

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
	struct catnap_policy_stats s;

	policy_read_stats(policy, &s);
	return policy_copy_stats(&s, stats);
}
