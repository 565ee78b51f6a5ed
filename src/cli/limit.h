/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits as options have them: for bytes (bw) and for operations (ops) a rate in a second, the
 * size of the bucket (-burst), the time in which it fills (-refill), and a burst that is there once
 * (-one-time). Of rate, size and time two say the third; a rate alone has a bucket that fills in a
 * tenth of a second.
 */
#ifndef CLI_LIMIT_H
#define CLI_LIMIT_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/catnap.h>
#include "cli/opts.h"

#define LIMIT_REFILL_NS UINT64_C(100000000)

/* The values that were given for a bucket; 0: it was not. */
struct limit_bucket {
	uint64_t rate, burst, one_time, refill_ns;
};

struct limit_keys {
	struct limit_bucket bw, ops;
};

/* The rows of a bucket's keys, for a struct limit_bucket at @at. @p: what all names begin with. */
/* clang-format off */
#define LIMIT_KEY(key, kind, text, at, member)                                                     \
	{.name = (key), .type = (kind), .min = 1, .form = (text),                                  \
	 .offset = (at) + offsetof(struct limit_bucket, member)}
#define LIMIT_REFILL_KEY(key, at)                                                                  \
	{.name = (key), .type = OPT_TIME, .min = 1000, .max = CATNAP_MAX_REFILL_NS,                \
	 .offset = (at) + offsetof(struct limit_bucket, refill_ns)}
#define LIMIT_BUCKET_KEYS(p, kind, text, at)                                                       \
	LIMIT_KEY(p, kind, text, at, rate),                                                        \
	LIMIT_KEY(p "-burst", kind, NULL, at, burst),                                              \
	LIMIT_KEY(p "-one-time", kind, NULL, at, one_time),                                        \
	LIMIT_REFILL_KEY(p "-refill", at)
/* The same for a struct limit_keys. @size, @number: the forms of the rates. */
#define LIMIT_KEYS(p, at, size, number)                                                            \
	LIMIT_BUCKET_KEYS(p "bw", OPT_SIZE, size, (at) + offsetof(struct limit_keys, bw)),         \
	LIMIT_BUCKET_KEYS(p "ops", OPT_U64, number, (at) + offsetof(struct limit_keys, ops))
/* clang-format on */

/* Makes the limit that was given for @arg's option, with keys that begin with @p. A limit that was
 * not given is none. Returns 0, or -EINVAL with a sentence. */
int limit_make(struct opts *o, const struct opt_arg *arg, const char *p,
	       const struct limit_keys *keys, struct catnap_rate_limit *limit);
/* Returns whether anything was given. */
bool limit_given(const struct limit_bucket *b);

#endif
