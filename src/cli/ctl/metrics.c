/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl metrics`: the figures that monitoring gets, in its format (OpenMetrics) or aligned. */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/printable.h"

enum format { TABLE, OPENMETRICS };

struct keys {
	int format;
};

static const struct opt_word formats[] = {
	{"table", TABLE}, {"openmetrics", OPENMETRICS}, {NULL, 0}};

static const struct opt_field fields[] = {
	{.name = "format",
	 .type = OPT_WORD,
	 .offset = offsetof(struct keys, format),
	 .words = formats},
	{.name = NULL},
};

/* Returns the value of a sample; NULL: it is none. A sample is name{labels} value [time]; labels
 * may hold blanks. */
static char *value_of(char *line)
{
	bool quoted = false;
	char *s = line;

	if (*line == '#' || !*line)
		return NULL;
	for (; *s && (quoted || *s != ' '); s++) {
		if (*s == '\\' && quoted && s[1])
			s++;
		else if (*s == '"')
			quoted = !quoted;
	}
	if (!*s)
		return NULL;
	*s = '\0';
	return s + 1;
}

static int print_table(char *text)
{
	static const char *const heads[] = {"value", "<metric", NULL};
	struct table t;
	char *next;

	table_init(&t, heads);
	for (char *line = text; line; line = next) {
		char *value;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		value = value_of(line);
		if (value) {
			value[strcspn(value, " ")] = '\0';
			table_add(&t, value);
			table_add(&t, line);
		}
	}
	return table_print(&t) < 0 ? CMD_ERROR : CMD_OK;
}

/* Prints an object: name{labels} -> value, as JSON has numbers; NaN and infinities are null. */
static int print_json(char *text)
{
	struct json_object *o = json_object_new_object();
	char *next;

	for (char *line = text; line; line = next) {
		struct json_object *number;
		char *value;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		value = value_of(line);
		if (!value)
			continue;
		value[strcspn(value, " ")] = '\0';
		number = json_tokener_parse(value);
		if (!json_object_is_type(number, json_type_int) &&
		    !json_object_is_type(number, json_type_double)) {
			json_object_put(number);
			number = NULL;
		}
		json_object_object_add(o, line, number);
	}
	printable_json(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), stdout);
	putchar('\n');
	json_object_put(o);
	return CMD_OK;
}

static int run(struct ctl *ctl)
{
	struct keys keys = {.format = TABLE};
	struct client_answer a = {.status = 0};
	char *text = NULL;
	int status = CMD_OK;

	if (ctl->settings.text && opt_keys(ctl->opts, &ctl->settings, fields, &keys) < 0)
		return ctl_usage(ctl);
	if (ctl->json && ctl->settings.text) {
		opts_fail(ctl->opts,
			  "metrics: format: has no effect with --json: expected one of them");
		return ctl_usage(ctl);
	}
	if (client_call(ctl->client, "GET", "/metrics/openmetrics", NULL, &a) < 0)
		status = client_failed(ctl->client);
	else
		text = a.body;
	if (text && ctl->json)
		status = print_json(text);
	else if (text && keys.format == TABLE)
		status = print_table(text);
	else if (text)
		printable_json(text, stdout);
	client_answer_free(&a);
	return status;
}

const struct ctl_command ctl_metrics = {
	.name = "metrics",
	.form = "format=table|openmetrics",
	.keys = fields,
	.summary = "Prints its counters and gauges.",
	.more = "format=openmetrics: as they are for Prometheus.\n"
		"--json: an object with a member for each sample.\n",
	.run = run,
};
