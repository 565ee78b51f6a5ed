/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of a learned limit (catnap/poll.h). */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "poll/limit.h"
#include "sized.h"

#define MILLION UINT64_C(1000000)

/* The sizes of these structs in their first version. */
#define STATS_SIZE_1 (offsetof(struct catnap_halt_stats, price_ns) + sizeof(uint64_t))
#define COST_SIZE_1  (offsetof(struct catnap_poll_limit_cost, cost_ns) + sizeof(uint64_t))

int catnap_poll_limit_create(const struct catnap_halt_poll *params,
			     struct catnap_poll_limit **limit)
{
	struct catnap_poll_limit *l;
	int ret = catnap_halt_poll_check(params);

	if (ret < 0)
		return ret;
	if (!limit)
		return -EINVAL;
	l = malloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	limit_init(l, params);
	*limit = l;
	return 0;
}

void catnap_poll_limit_destroy(struct catnap_poll_limit **limit)
{
	if (!limit)
		return;
	free(*limit);
	*limit = NULL;
}

int catnap_poll_limit_set(struct catnap_poll_limit *limit, const struct catnap_halt_poll *params)
{
	int ret = catnap_halt_poll_check(params);

	if (ret < 0)
		return ret;
	limit_set(limit, params);
	return 0;
}

int catnap_poll_limit_learn(struct catnap_poll_limit *limit, const struct catnap_halt_stats *stats,
			    uint64_t now_ns)
{
	struct catnap_halt_stats all = {.size = 0};
	int ret = sized_in(&all, sizeof(all), stats, STATS_SIZE_1);

	return ret < 0 ? ret : limit_learn(limit, &all, now_ns);
}

uint32_t catnap_poll_limit_ns(const struct catnap_poll_limit *limit)
{
	return limit_ns(limit);
}

uint64_t catnap_poll_limit_interval(const struct catnap_poll_limit *limit)
{
	return limit->interval_ns;
}

int catnap_poll_limit_expect(const struct catnap_poll_limit *limit, uint32_t limit_ns,
			     struct catnap_poll_limit_cost *cost)
{
	struct catnap_poll_limit_cost all = {.worth_ns = limit->worth_ns};
	struct limit_halts halts;

	if (limit_halts(limit, &halts)) {
		struct limit_cost one = limit_expect(&halts, &limit->rule, limit_ns);

		all.poll_ns = one.poll_ns * MILLION;
		all.fail_ns = one.fail_ns * MILLION;
		all.sleeps = one.sleeps * MILLION / LIMIT_WEIGHTS;
		all.cost_ns = all.poll_ns + all.sleeps * limit->worth_ns;
	}
	return sized_out(cost, &all, sizeof(all), COST_SIZE_1);
}
