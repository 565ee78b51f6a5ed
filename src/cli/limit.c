/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits as options have them. See limit.h. */
#include <errno.h>

#include "cli/limit.h"

#define SECOND		UINT64_C(1000000000)
#define REFILL_LEAST_NS 1000u /* so that a rate is right within half a thousandth */

bool limit_given(const struct limit_bucket *b)
{
	return b->rate || b->burst || b->one_time || b->refill_ns;
}

/* Returns @a * @b / @c, rounded; UINT64_MAX: it is larger. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
	unsigned __int128 n = ((unsigned __int128)a * b + c / 2) / c;

	return n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
}

/* Finds the size and the time of a bucket whose rate was given. */
static void by_rate(const struct limit_bucket *b, struct catnap_bucket *to)
{
	to->size = b->burst;
	if (!to->size)
		to->size = scale(b->rate, b->refill_ns ? b->refill_ns : LIMIT_REFILL_NS, SECOND);
	/* As large as what the rate gives in the shortest time that is counted exactly enough. */
	if (scale(to->size, SECOND, b->rate) < REFILL_LEAST_NS)
		to->size = scale(b->rate, REFILL_LEAST_NS, SECOND);
	if (!to->size)
		to->size = 1;
	to->refill_ns = scale(to->size, SECOND, b->rate);
}

static int make(struct opts *o, const struct opt_arg *arg, const char *p, const char *which,
		const struct limit_bucket *b, struct catnap_bucket *to)
{
	const char *name = arg->option;

	*to = (struct catnap_bucket){
		.size = b->burst, .one_time_burst = b->one_time, .refill_ns = b->refill_ns};
	if (!limit_given(b))
		return 0;
	if (b->rate && b->burst && b->refill_ns)
		return opts_fail(o, "--%s: %s%s, %s%s-burst and %s%s-refill: expected two of them",
				 name, p, which, p, which, p, which);
	if (!b->rate && b->burst && !b->refill_ns)
		return opts_fail(o,
				 "--%s: %s%s-burst without %s%s: expected %s%s or %s%s-refill, too",
				 name, p, which, p, which, p, which, p, which);
	if (!b->rate && !b->burst)
		return opts_fail(o, "--%s: %s%s-%s without %s%s: expected both", name, p, which,
				 b->refill_ns ? "refill" : "one-time", p, which);
	if (b->rate)
		by_rate(b, to);
	if (to->refill_ns <= CATNAP_MAX_REFILL_NS)
		return 0;
	return opts_fail(o,
			 "--%s: %s%s-burst takes more than 36 years to fill: expected a smaller "
			 "one, or a higher %s%s",
			 name, p, which, p, which);
}

int limit_make(struct opts *o, const struct opt_arg *arg, const char *p,
	       const struct limit_keys *keys, struct catnap_rate_limit *limit)
{
	int ret = make(o, arg, p, "bw", &keys->bw, &limit->bw);

	return ret < 0 ? ret : make(o, arg, p, "ops", &keys->ops, &limit->ops);
}
