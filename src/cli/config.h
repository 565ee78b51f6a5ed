/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files: the options of a command as one JSON document (RFC 8259), read, written and
 * described from the command's table of options.
 *
 *	{
 *	  "kernel": "bzImage",
 *	  "memory": "512M",
 *	  "cpus": {"n": 2, "affinity": "0-1"},
 *	  "disk": [{"path": "root.img", "readonly": true}],
 *	  "verbose": true
 *	}
 *
 * A member has the long name of an option. Its value is, as the option takes it:
 *	a string   what stands on the command line, with the same units
 *	a number   the same without quotes; decimal
 *	a boolean  for an option without a value: given or not; for on|off: that
 *	an object  for an option that takes key=value: a member for each key
 *	an array   for an option that may be given several times: one value for each
 *
 * Files are text of others: whatever is in them is an option with a right value, or one line that
 * says where it is not.
 */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include <json-c/json.h>

#include "cli/opts.h"

/* A file may be so long, in bytes. */
#define CONFIG_MAX (1u << 20)

/**
 * Takes the options of the file @path ("-": standard input) into @cfg, but for those that the
 * command line of @o has given: those count, also where an option may be given several times.
 * @not_here are names of options that stand on the command line only; it ends with NULL. Returns 0,
 * or -EINVAL with a sentence in o->error that says the file, the line, the member, and what was
 * expected; or -ETIMEDOUT if the file has not been read to its end at @deadline, on the clock of
 * now_ns() (UINT64_MAX: none).
 */
int config_read(struct opts *o, const char *path, uint64_t deadline, const char *const *not_here,
		void *cfg);

/** Takes a document that is at hand in the same way: @text, which errors call @name. */
int config_take(struct opts *o, const char *name, const char *text, const char *const *not_here,
		void *cfg);

/**
 * Returns 0 if all that @o has been given can stand in such a document, but for @not_here. Returns
 * -EINVAL with a sentence in o->error if not: JSON is UTF-8 (RFC 8259, section 8.1), and a file's
 * name on the command line may be anything.
 */
int config_check(struct opts *o, const char *const *not_here);

/**
 * Returns the options that @o has been given as such a document, without @not_here; NULL: no
 * memory. The caller puts it. It is one that config_read() takes if config_check() has returned 0.
 */
struct json_object *config_json(const struct opts *o, const char *const *not_here);

/**
 * Returns a JSON schema (draft 2020-12) of the documents that config_read() takes for @cmd; NULL:
 * no memory. The caller puts it.
 */
struct json_object *config_schema(const struct opt_command *cmd, const char *const *not_here);

#endif
