/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets. See rate.h. */
#include "devices/rate.h"

#define SECOND UINT64_C(1000000000)

static void init(struct rate_bucket *b, uint64_t rate, uint64_t burst)
{
	b->rate = rate;
	b->burst = burst;
	if (!burst)
		b->burst = rate / (SECOND / RATE_BURST_NS);
	if (!b->burst)
		b->burst = 1;
	b->level = (__int128)b->burst * SECOND;
}

static void fill(struct rate_bucket *b, uint64_t ns)
{
	__int128 full = (__int128)b->burst * SECOND;

	/* So that the product, and what it is added to, stay below 2^127; 146 years. */
	if (ns > INT64_MAX / 2)
		ns = INT64_MAX / 2;
	b->level += (__int128)ns * b->rate;
	if (b->level > full)
		b->level = full;
}

static uint64_t until_one(const struct rate_bucket *b)
{
	__int128 ns;

	if (!b->rate || b->level >= (__int128)SECOND)
		return 0;
	ns = ((__int128)SECOND - b->level + b->rate - 1) / b->rate;
	return ns > INT64_MAX ? INT64_MAX : (uint64_t)ns;
}

static void take(struct rate_bucket *b, uint64_t n)
{
	if (b->rate)
		b->level -= (__int128)n * SECOND;
}

void rate_init(struct rate *r, const struct rate_limits *limits, uint64_t now_ns)
{
	init(&r->bw, limits->bw, limits->bw_burst);
	init(&r->ops, limits->ops, limits->ops_burst);
	r->at_ns = now_ns;
}

uint64_t rate_wait(struct rate *r, uint64_t now_ns)
{
	uint64_t bw, ops;

	/* Threads look at the clock before they have the lock. */
	if (now_ns > r->at_ns) {
		fill(&r->bw, now_ns - r->at_ns);
		fill(&r->ops, now_ns - r->at_ns);
		r->at_ns = now_ns;
	}
	bw = until_one(&r->bw);
	ops = until_one(&r->ops);
	return bw > ops ? bw : ops;
}

void rate_charge(struct rate *r, uint64_t ops, uint64_t bytes)
{
	take(&r->bw, bytes);
	take(&r->ops, ops);
}
