/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any command line: the input is cut at its NULs into arguments. A refusal must be one printable
 * line that begins with the command's name; options that are taken must be within the stated range.
 * And any text, put in quotes, is a value that arrives as it was.
 */

#include "fuzz_options.h"

/* @text in quotes, behind @before, at @to. */
static void quote(char *to, const char *before, const char *text)
{
	to = stpcpy(to, before);
	*to++ = '"';
	for (; *text; text++) {
		if (*text == '"')
			*to++ = '"';
		*to++ = *text;
	}
	memcpy(to, "\"", 2);
}

static void check_quoted(const char *text)
{
	char *value = malloc(2 * strlen(text) + 64), *args = malloc(2 * strlen(text) + 64);
	char *argv[] = {(char *)"test", (char *)"-d", value, args};
	struct cfg cfg = {0};
	struct opts o;

	check(value && args);
	quote(value, "queues=2,path=", text);
	quote(args, "--kernel=", text);
	if (opts_parse(&o, &command, 4, argv, &cfg)) {
		check_error(o.error);
		check(*text == '\0');
	} else {
		check(strcmp(cfg.path, text) == 0 && strcmp(cfg.kernel, text) == 0);
	}
	opts_free(&o);
	free(value);
	free(args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[] = "test", *argv[18] = {name}, *copy = malloc(size + 1), *at = copy;
	struct cfg cfg = {0};
	struct opts o;
	int argc = 1;

	check(copy);
	if (size)
		memcpy(copy, data, size);
	copy[size] = '\0';
	while (at < copy + size && argc < 17) {
		argv[argc++] = at;
		at += strlen(at) + 1;
	}
	if (opts_parse(&o, &command, argc, argv, &cfg))
		check_error(o.error);
	else
		check_taken(&o, &cfg);
	opts_free(&o);
	check_quoted(copy); /* @copy is not changed by parsing */
	free(copy);
	return 0;
}
