/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of a policy as callers give them; see halt_poll.h. */
#include <errno.h>
#include <stddef.h>

#include "poll/halt_poll.h"
#include "sized.h"

/* It is a part of other public structs: what is added takes from its reserve. */
_Static_assert(sizeof(struct catnap_halt_poll) == 88, "those structs' layout");

/* The size of struct catnap_halt_poll in its first version. */
#define HALT_POLL_SIZE_1 offsetof(struct catnap_halt_poll, bias)

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

struct catnap_halt_poll halt_poll_known(const struct catnap_halt_poll *params)
{
	struct catnap_halt_poll all;

	catnap_halt_poll_init(&all);
	sized_in(&all, sizeof(all), params, HALT_POLL_SIZE_1);
	return all;
}

int catnap_halt_poll_check(const struct catnap_halt_poll *params)
{
	struct catnap_halt_poll all;

	/* A larger one comes from a caller built against a later version; what we know is at its
	 * front. */
	if (!params || params->size < HALT_POLL_SIZE_1)
		return -EINVAL;
	if (params->policy > CATNAP_POLICY_ADAPTIVE)
		return -EINVAL;
	all = halt_poll_known(params);
	if (all.bias > CATNAP_BIAS_POWER || all.cpu_max > 10000 || all.spin > CATNAP_SPIN_MWAITX ||
	    all.reserved32)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(all.reserved) / sizeof(all.reserved[0]); i++)
		if (all.reserved[i])
			return -EINVAL;
	return 0;
}
