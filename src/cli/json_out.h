/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include <stdint.h>
#include <stdio.h>
#include <json-c/json.h>

/* Writes @root to @out, all of it, and gives it back in any case. 0, or -1 with errno set. */
int json_write(struct json_object *root, FILE *out);

void add_u64(struct json_object *o, const char *name, uint64_t value);
/* Adds a text; NULL: nothing. */
void add_text(struct json_object *o, const char *name, const char *text);
/* Adds "window_ns"; null: it has no end. */
void add_window(struct json_object *o, uint64_t ns);

struct catnap_policy_stats;

/* policy_json.c: returns a new object. */
struct json_object *policy_json(const struct catnap_policy_stats *stats);

/* Returns the document on a line, with its newline, for the caller to free; NULL: no memory. @root
 * is put. */
char *json_line(struct json_object *root, size_t *len);
/* Returns the same, on many lines. */
char *json_document(struct json_object *root, size_t *len);

#endif
