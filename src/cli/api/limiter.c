/* SPDX-License-Identifier: Apache-2.0 */
/* See limiter.h. */
#include "cli/api/limiter.h"

#define NS_PER_MS UINT64_C(1000000)

enum { BUCKET_SIZE, BUCKET_BURST, BUCKET_REFILL };
enum { LIMITER_BANDWIDTH, LIMITER_OPS };

const struct body_field fc_bucket_members[] = {
	[BUCKET_SIZE] = {.name = "size",
			 .type = BODY_U64,
			 .offset = offsetof(struct bucket_body, size),
			 .required = true},
	[BUCKET_BURST] = {.name = "one_time_burst",
			  .type = BODY_U64,
			  .offset = offsetof(struct bucket_body, one_time_burst),
			  .nullable = true},
	[BUCKET_REFILL] = {.name = "refill_time",
			   .type = BODY_U64,
			   .offset = offsetof(struct bucket_body, refill_time),
			   .required = true},
	{NULL},
};

const struct body_field fc_limiter_members[] = {
	[LIMITER_BANDWIDTH] = {.name = "bandwidth",
			       .type = BODY_OBJECT,
			       .offset = offsetof(struct limiter_body, bandwidth),
			       .table = fc_bucket_members,
			       .nullable = true},
	[LIMITER_OPS] = {.name = "ops",
			 .type = BODY_OBJECT,
			 .offset = offsetof(struct limiter_body, ops),
			 .table = fc_bucket_members,
			 .nullable = true},
	{NULL},
};

void fc_bucket_take(struct fc_bucket *b, const struct bucket_body *body)
{
	*b = (struct fc_bucket){.on = body->size && body->refill_time,
				.size = body->size,
				.one_time_burst = body->one_time_burst,
				.refill_ms = body->refill_time};
}

void fc_limiter_update(struct fc_limiter *l, const struct limiter_body *body, bool given)
{
	if (!given)
		return;
	if (body_given(body->given, LIMITER_BANDWIDTH))
		fc_bucket_take(&l->bandwidth, &body->bandwidth);
	if (body_given(body->given, LIMITER_OPS))
		fc_bucket_take(&l->ops, &body->ops);
}

void fc_limiter_take(struct fc_limiter *l, const struct limiter_body *body, bool given)
{
	*l = (struct fc_limiter){.bandwidth = {.on = false}};
	fc_limiter_update(l, body, given);
}

static struct fc_bucket bucket_given(const struct catnap_bucket *b)
{
	uint64_t ms = (b->refill_ns + NS_PER_MS / 2) / NS_PER_MS;

	return (struct fc_bucket){.on = b->size && b->refill_ns,
				  .size = b->size,
				  .one_time_burst = b->one_time_burst,
				  .refill_ms = ms ? ms : 1,
				  .refill_ns = b->refill_ns};
}

void fc_limiter_given(struct fc_limiter *l, const struct catnap_rate_limit *limit)
{
	l->bandwidth = bucket_given(&limit->bw);
	l->ops = bucket_given(&limit->ops);
	l->on = l->bandwidth.on || l->ops.on;
}

static uint64_t shown_size(const struct fc_bucket *b)
{
	uint64_t ms_ns = b->refill_ms * NS_PER_MS;
	unsigned __int128 size;

	if (!b->refill_ns || b->refill_ns == ms_ns)
		return b->size;
	size = ((unsigned __int128)b->size * ms_ns + b->refill_ns / 2) / b->refill_ns;
	return size > UINT64_MAX ? UINT64_MAX : size ? (uint64_t)size : 1;
}

struct json_object *fc_bucket_json(const struct fc_bucket *b)
{
	struct json_object *o = b->on ? json_object_new_object() : NULL;

	if (!o)
		return NULL;
	json_object_object_add(o, "size", json_object_new_uint64(shown_size(b)));
	json_object_object_add(o, "one_time_burst",
			       b->one_time_burst ? json_object_new_uint64(b->one_time_burst)
						 : NULL);
	json_object_object_add(o, "refill_time", json_object_new_uint64(b->refill_ms));
	return o;
}

struct json_object *fc_limiter_json(const struct fc_limiter *l)
{
	struct json_object *o = l->bandwidth.on || l->ops.on ? json_object_new_object() : NULL;

	if (!o)
		return NULL;
	json_object_object_add(o, "bandwidth", fc_bucket_json(&l->bandwidth));
	json_object_object_add(o, "ops", fc_bucket_json(&l->ops));
	return o;
}

/* Fills in a bucket for the library. A time that is longer than it takes is as good as the
 * longest. */
static void library_bucket(const struct fc_bucket *b, struct catnap_bucket *to)
{
	const uint64_t most_ms = CATNAP_MAX_REFILL_NS / NS_PER_MS;

	*to = (struct catnap_bucket){.size = 0};
	if (!b->on)
		return;
	to->size = b->size;
	to->one_time_burst = b->one_time_burst;
	to->refill_ns = b->refill_ns;
	if (!to->refill_ns)
		to->refill_ns = (b->refill_ms < most_ms ? b->refill_ms : most_ms) * NS_PER_MS;
}

void fc_limiter_library(const struct fc_limiter *l, struct catnap_rate_limit *limit)
{
	library_bucket(&l->bandwidth, &limit->bw);
	library_bucket(&l->ops, &limit->ops);
}
