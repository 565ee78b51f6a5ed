/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of answer_socket.h: what `catnap stat` and `catnap balloon` do. */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include <json-c/json.h>

/* Connects to @path, sends @request (NULL: none), and takes all that comes, for the caller to free.
 * NULL with errno; ETIMEDOUT: nothing more came for 5 s. "": it ended without a word. */
char *ask(const char *path, const char *request);

/* Says what went wrong with the VM behind @path, as catnap @command: one line, whatever @why has in
 * it. CMD_ERROR. */
int ask_failed(const char *command, const char *path, const char *why);

/* NULL: @o is no object, or has no such member. */
struct json_object *ask_member(struct json_object *o, const char *name);
/* 0 without it. */
uint64_t ask_number(struct json_object *o, const char *name);

#endif
