/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any configuration file: text as it comes, or a row of what such files are made of. A refusal is
 * one printable line; a configuration that is taken is within the stated range, and written as a
 * file again it is taken as the same.
 */
#include "cli/config.h"
#include "fuzz_options.h"

static const char *const nothing[] = {NULL};

static const char *const tokens[] = {
	"{",
	"}",
	"[",
	"]",
	"\"",
	":",
	",",
	"\n",
	"\"kernel\":",
	"\"cmdline\":",
	"\"quiet\":",
	"\"rng\":",
	"\"cpus\":",
	"\"window\":",
	"\"number\":",
	"\"memory\":",
	"\"timeout\":",
	"\"ratio\":",
	"\"color\":",
	"\"disk\":",
	"\"path\":",
	"\"readonly\":",
	"\"queues\":",
	"\"size\":",
	"\"halt-poll\":",
	"\"policy\":",
	"\"max\":",
	"true",
	"false",
	"null",
	"0",
	"7",
	"-1",
	"1e9",
	"18446744073709551616",
	"\"x\"",
	"\"a,b=\"",
	"\"1ms\"",
	"\"64K\"",
	"\"\\u0000\"",
	"\"\\\"\"",
	"\"adaptive\"",
	"\"red\"",
};

/* Returns a text for the caller to free. */
static char *text_of(const uint8_t *data, size_t size)
{
	char *text = malloc(size * 24 + 1), *to = text;

	check(text);
	if (size && data[0] & 1) {
		memcpy(text, data + 1, size - 1);
		text[size - 1] = '\0';
		return text;
	}
	*to = '\0';
	for (size_t i = 1; i < size; i++)
		to = stpcpy(to, tokens[data[i] % (sizeof(tokens) / sizeof(tokens[0]))]);
	return text;
}

/* Takes @text; returns it as a file again, NULL: refused. The caller frees it. */
static char *through(const char *text, struct cfg *cfg)
{
	char name[] = "test", *argv[] = {name, NULL}, *again = NULL;
	struct opts o;

	check(opts_parse(&o, &command, 1, argv, cfg) == 0);
	if (config_take(&o, "file", text, nothing, cfg)) {
		check_error(o.error);
	} else {
		struct json_object *root = config_json(&o, nothing);

		check(root);
		check_taken(&o, cfg);
		again = strdup(json_object_to_json_string(root));
		check(again);
		json_object_put(root);
	}
	opts_free(&o);
	return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cfg first = {0}, second = {0};
	char *text = text_of(data, size), *once = through(text, &first), *twice;

	if (once) {
		twice = through(once, &second);
		check(twice && strcmp(once, twice) == 0);
		check(first.cpus == second.cpus && first.memory == second.memory);
		check(first.timeout == second.timeout && first.disks == second.disks);
		check(memcmp(&first.halt_poll, &second.halt_poll, sizeof(first.halt_poll)) == 0);
		free(twice);
	}
	free(once);
	free(text);
	return 0;
}
