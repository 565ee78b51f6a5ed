/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include <stdio.h>
#include <json-c/json.h>

/* Writes @root to @out, all of it, and gives it back in any case. 0, or -1 with errno set. */
int json_write(struct json_object *root, FILE *out);

struct catnap_policy_stats;

/* policy_json.c: a new object. */
struct json_object *policy_json(const struct catnap_policy_stats *stats);

#endif
