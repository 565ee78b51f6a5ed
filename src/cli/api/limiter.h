/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets, as requests bring them and as answers show them. */
#ifndef CLI_API_LIMITER_H
#define CLI_API_LIMITER_H

#include <catnap/catnap.h>
#include "cli/api/body.h"
#include "cli/api/model.h"

struct bucket_body {
	uint64_t given;
	uint64_t size, one_time_burst, refill_time;
};

struct limiter_body {
	uint64_t given;
	struct bucket_body bandwidth, ops;
};

extern const struct body_field fc_bucket_members[], fc_limiter_members[];

/* A member named @member, a struct limiter_body, that may be left out. */
#define FC_LIMITER(member, at)                                         \
	{                                                              \
		.name = (member), .type = BODY_OBJECT, .offset = (at), \
		.table = fc_limiter_members, .nullable = true          \
	}

/* Takes a bucket. One that has no size, or takes no time, limits nothing. */
void fc_bucket_take(struct fc_bucket *b, const struct bucket_body *body);
/* Takes a limiter as a PUT has it: a bucket that is not there is no limit. @given: whether there is
 * one at all. */
void fc_limiter_take(struct fc_limiter *l, const struct limiter_body *body, bool given);
/* Changes a limiter as a PATCH has it: a bucket that is not there stays. */
void fc_limiter_update(struct fc_limiter *l, const struct limiter_body *body, bool given);

/* Takes a limiter as the library was told it, by somebody else than a request. */
void fc_limiter_given(struct fc_limiter *l, const struct catnap_rate_limit *limit);

/* Returns the bucket in JSON; NULL, JSON's null: nothing is limited. One that fills in no whole
 * number of milliseconds is shown with the size that has its rate. */
struct json_object *fc_bucket_json(const struct fc_bucket *b);
struct json_object *fc_limiter_json(const struct fc_limiter *l);

/* Fills @limit with what the library is told. */
void fc_limiter_library(const struct fc_limiter *l, struct catnap_rate_limit *limit);

#endif
