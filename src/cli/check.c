/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap check`: says what this host offers. */
#include <stddef.h>
#include <stdio.h>
#include <json-c/json.h>

#include <catnap/catnap.h>
#include "cli/cmd.h"
#include "cli/json_out.h"
#include "cli/opts.h"
#include "cli/wrap.h"

#define MAX_CHECKS 64
#define INDENT	   9

struct check_cfg {
	bool json;
};

static const struct opt_def options[] = {
	{.f = {.name = "json", .type = OPT_FLAG, .offset = offsetof(struct check_cfg, json)},
	 .letter = 'j',
	 .help = "Prints it as a JSON document."},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "check",
	.synopsis = "[OPTIONS]",
	.summary = "Says what this host offers: KVM, each capability that is used, what its "
		   "absence costs "
		   "and what to do about it.",
	.options = options,
	.notes = "Exit status: 0 a VM can run; 1 it cannot; 2 wrong command line.\n",
};

/* As it is written in tables, and in JSON. */
static const char *state_name(const struct catnap_check *c, bool json)
{
	switch (c->state) {
	case CATNAP_CHECK_OK:
		return "ok";
	case CATNAP_CHECK_DEGRADED:
		return "less";
	case CATNAP_CHECK_MISSING:
		break;
	}
	return json ? "missing" : "MISSING";
}

static void print_table(const struct catnap_check *checks, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		printf("%-7s  %-28s %s\n", state_name(&checks[i], false), checks[i].name,
		       checks[i].found);
		if (checks[i].advice[0])
			wrap_line(stdout, INDENT, "%*s%s", INDENT, "", checks[i].advice);
	}
}

static int print_json(const struct catnap_check *checks, size_t n, bool can_run)
{
	struct json_object *root = json_object_new_object(), *all = json_object_new_array();

	json_object_object_add(root, "catnap", json_object_new_string(catnap_version()));
	json_object_object_add(root, "can_run", json_object_new_boolean(can_run));
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(checks[i].name));
		json_object_object_add(o, "state",
				       json_object_new_string(state_name(&checks[i], true)));
		json_object_object_add(o, "found", json_object_new_string(checks[i].found));
		json_object_object_add(
			o, "advice",
			checks[i].advice[0] ? json_object_new_string(checks[i].advice) : NULL);
		json_object_array_add(all, o);
	}
	json_object_object_add(root, "checks", all);
	return json_write(root, stdout);
}

int cmd_check(int argc, char **argv)
{
	struct catnap_check checks[MAX_CHECKS];
	struct check_cfg cfg = {.json = false};
	bool can_run = true;
	struct opts o;
	size_t n;
	int status = opts_command(&o, &command, argc, argv, &cfg);

	opts_free(&o);
	if (status >= 0)
		return status;
	n = catnap_check_host(checks, MAX_CHECKS);
	if (n > MAX_CHECKS)
		n = MAX_CHECKS;
	for (size_t i = 0; i < n; i++)
		can_run &= checks[i].state != CATNAP_CHECK_MISSING;
	/* What could not be written main() says. */
	if (cfg.json)
		print_json(checks, n, can_run);
	else
		print_table(checks, n);
	return can_run ? CMD_OK : CMD_ERROR;
}
