/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets. See rate.h. */
#include <string.h>

#include "devices/rate.h"

/* A bucket, its one-time burst and a charge are less than 2^125 each, and what is filled in at once
 * is less than 2^126. So no sum of a level and one of them is too large, if a debt is no larger
 * than this. */
#define DEBT_MAX ((__int128)1 << 125)
#define FILL_MAX (UINT64_C(1) << 62) /* ns: 146 years */

static void init(struct rate_level *l, const struct rate_bucket *b)
{
	l->bucket = *b;
	l->level = ((__int128)b->size + b->one_time_burst) * b->refill_ns;
}

static void fill(struct rate_level *l, uint64_t ns)
{
	__int128 full = (__int128)l->bucket.size * l->bucket.refill_ns;

	/* The part above the full bucket is left of the one-time burst. */
	if (!rate_bucket_limits(&l->bucket) || l->level >= full)
		return;
	l->level += (__int128)(ns < FILL_MAX ? ns : FILL_MAX) * l->bucket.size;
	if (l->level > full)
		l->level = full;
}

static uint64_t until_one(const struct rate_level *l)
{
	const struct rate_bucket *b = &l->bucket;
	__int128 ns;

	if (!rate_bucket_limits(b) || l->level >= (__int128)b->refill_ns)
		return 0;
	ns = ((__int128)b->refill_ns - l->level + b->size - 1) / b->size;
	return ns > INT64_MAX ? INT64_MAX : (uint64_t)ns;
}

static void take(struct rate_level *l, uint64_t n)
{
	if (!rate_bucket_limits(&l->bucket))
		return;
	l->level -= (__int128)n * l->bucket.refill_ns;
	if (l->level < -DEBT_MAX)
		l->level = -DEBT_MAX;
}

static void fill_both(struct rate *r, uint64_t now_ns)
{
	/* Threads look at the clock before they have the lock. */
	if (now_ns <= r->at_ns)
		return;
	fill(&r->bw, now_ns - r->at_ns);
	fill(&r->ops, now_ns - r->at_ns);
	r->at_ns = now_ns;
}

static void change(struct rate_level *l, const struct rate_bucket *b)
{
	if (memcmp(&l->bucket, b, sizeof(*b)) != 0)
		init(l, b);
}

void rate_init(struct rate *r, const struct rate_limits *limits, uint64_t now_ns)
{
	init(&r->bw, &limits->bw);
	init(&r->ops, &limits->ops);
	r->at_ns = now_ns;
}

void rate_change(struct rate *r, const struct rate_limits *limits, uint64_t now_ns)
{
	fill_both(r, now_ns);
	change(&r->bw, &limits->bw);
	change(&r->ops, &limits->ops);
}

uint64_t rate_wait(struct rate *r, uint64_t now_ns)
{
	uint64_t bw, ops;

	fill_both(r, now_ns);
	bw = until_one(&r->bw);
	ops = until_one(&r->ops);
	return bw > ops ? bw : ops;
}

void rate_charge(struct rate *r, uint64_t ops, uint64_t bytes)
{
	take(&r->bw, bytes);
	take(&r->ops, ops);
}

static void save_level(const struct rate_level *l, struct state_writer *w)
{
	unsigned __int128 level = (unsigned __int128)l->level;

	state_put_u64(w, l->bucket.size);
	state_put_u64(w, l->bucket.one_time_burst);
	state_put_u64(w, l->bucket.refill_ns);
	state_put_u64(w, (uint64_t)level);
	state_put_u64(w, (uint64_t)(level >> 64));
}

static void load_level(struct rate_level *l, struct state_in *in)
{
	struct rate_level got;
	unsigned __int128 level;

	got.bucket.size = state_get_u64(in);
	got.bucket.one_time_burst = state_get_u64(in);
	got.bucket.refill_ns = state_get_u64(in);
	level = state_get_u64(in);
	level |= (unsigned __int128)state_get_u64(in) << 64;
	got.level = (__int128)level;
	state_check(in, got.bucket.refill_ns <= RATE_REFILL_MAX_NS, "a rate limit's refill time");
	if (!state_good(in))
		return;
	init(l, &got.bucket);
	if (state_check(in, got.level >= -DEBT_MAX && got.level <= l->level,
			"what is left of a rate limit"))
		l->level = got.level;
}

void rate_save(struct rate *r, uint64_t now_ns, struct state_writer *w)
{
	fill_both(r, now_ns);
	save_level(&r->bw, w);
	save_level(&r->ops, w);
}

void rate_load(struct rate *r, uint64_t now_ns, struct state_in *in)
{
	*r = (struct rate){.at_ns = now_ns};
	load_level(&r->bw, in);
	load_level(&r->ops, in);
	if (!state_good(in))
		*r = (struct rate){.at_ns = now_ns};
}
