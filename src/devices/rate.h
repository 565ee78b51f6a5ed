/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits on what a device does: a token bucket for bytes and one for operations. It knows no clock
 * and no device: the caller passes the time.
 *
 * A bucket is given by its size, the time in which it fills from empty, and a burst that is there
 * once. It begins full. The one-time burst is used up before anything is taken from the bucket, and
 * does not come back. Until then the bucket is full, so there is nothing to fill. From then on it
 * fills all the time, at size / refill time, up to its size.
 *
 * A request may begin while each bucket has at least one token. It is charged when its size is
 * known. That may leave a bucket in debt, and then no request begins until the debt is paid. So a
 * request that is longer than the bucket goes through, and those after it wait the longer. Over any
 * time t, no more than the one-time burst, the size, t * size / refill time and one request are
 * done.
 *
 * These are the words and the meaning of Firecracker's rate limiter, of which clients know the
 * numbers. Its three inaccuracies are not followed. A request that is smaller than the bucket, but
 * not covered by what is in it, waits there until it is. Here it begins with the first token, and
 * owes the rest. After a request that is longer than the bucket the time that it has waited for is
 * counted again there, as time in which the bucket has filled. And it looks at a bucket that was
 * empty each 100 ms; here one that waits goes on when the token comes.
 */
#ifndef DEVICES_RATE_H
#define DEVICES_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

/* The longest refill time, 36 years: with it no product below is too large. */
#define RATE_REFILL_MAX_NS (UINT64_C(1) << 60)

/* One bucket. Without a size or a refill time there is no limit. */
struct rate_bucket {
	uint64_t size;		 /* tokens: bytes or operations */
	uint64_t one_time_burst; /* tokens beside those, once */
	uint64_t refill_ns;	 /* at most RATE_REFILL_MAX_NS */
};

struct rate_limits {
	struct rate_bucket bw, ops;
};

struct rate_level {
	struct rate_bucket bucket;
	__int128 level; /* tokens times refill_ns, so that nothing is lost by rounding */
};

struct rate {
	struct rate_level bw, ops;
	uint64_t at_ns; /* up to when the buckets are filled */
};

static inline bool rate_bucket_limits(const struct rate_bucket *b)
{
	return b->size && b->refill_ns;
}

/* Returns whether anything is limited at all. */
static inline bool rate_limits_any(const struct rate_limits *l)
{
	return rate_bucket_limits(&l->bw) || rate_bucket_limits(&l->ops);
}

/* Sets @r up, with full buckets and one-time bursts. */
void rate_init(struct rate *r, const struct rate_limits *limits, uint64_t now_ns);
/* Changes the limits. A bucket of which a number has changed begins anew, full and with its
 * one-time burst; the other one goes on with what it has. */
void rate_change(struct rate *r, const struct rate_limits *limits, uint64_t now_ns);
/* Returns in how many ns a request may begin, if none is charged until then; 0: now. */
uint64_t rate_wait(struct rate *r, uint64_t now_ns);
/* Charges a request that has begun. */
void rate_charge(struct rate *r, uint64_t ops, uint64_t bytes);
/* Writes limits and levels, in an open section. */
void rate_save(struct rate *r, uint64_t now_ns, struct state_writer *w);
/* Reads what rate_save() has written; buckets have what they had then. Notes what is wrong in @in,
 * and then @r has no limits. */
void rate_load(struct rate *r, uint64_t now_ns, struct state_in *in);

#endif
