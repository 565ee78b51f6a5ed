/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of disks and interfaces as settings: bandwidth and operations, each a token bucket. By its
 * keys a bucket lasts a second at the rate: bw=10M is a size of 10M that fills in a second.
 */
#ifndef CLI_CTL_BUCKET_H
#define CLI_CTL_BUCKET_H

#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

#include "cli/opts.h"

struct bucket_keys {
	uint64_t bw, bw_once, ops, ops_once; /* a second; at once, before that */
};

#define BUCKET_ONE(type_, prefix, key, at)                        \
	{                                                         \
		.name = prefix key, .type = type_, .offset = (at) \
	}

/* Four fields of a table, in the order of the structure; @prefix of their names. */
#define BUCKET_FIELDS(prefix, at)                                                             \
	BUCKET_ONE(OPT_SIZE, prefix, "bw", (at) + offsetof(struct bucket_keys, bw)),          \
		BUCKET_ONE(OPT_SIZE, prefix, "bw-once",                                       \
			   (at) + offsetof(struct bucket_keys, bw_once)),                     \
		BUCKET_ONE(OPT_U64, prefix, "ops", (at) + offsetof(struct bucket_keys, ops)), \
		BUCKET_ONE(OPT_U64, prefix, "ops-once",                                       \
			   (at) + offsetof(struct bucket_keys, ops_once))

#define BUCKET_FORM "bw=SIZE[,bw-once=SIZE],ops=N[,ops-once=N]"

/* Returns Firecracker's RateLimiter; @given: which of the four were, from bit 0. NULL: none. A
 * limit of 0 is one that is taken away. */
struct json_object *bucket_json(const struct bucket_keys *k, unsigned int given);

/* Checks that no burst is given alone, without its bucket. Returns 0, or -EINVAL with a sentence
 * that begins with @command. @given as above, @prefix of the keys' names. */
int bucket_check(struct opts *o, const char *command, const char *prefix, unsigned int given);

/* Writes a limit as "bw 10M/s, 500 ops/s", or "-"; @limiter is a RateLimiter, or NULL. */
const char *bucket_text(char *buf, size_t size, struct json_object *limiter);

#endif
