/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl`: the VM as a whole; status, threads, configuration, and what starts and ends it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/json_out.h"

/* -- status ----------------------------------------------------------------------------------- */

static void print_text(const char *name, struct json_object *o, const char *member)
{
	const char *text = client_text(o, member);
	char shown[256];

	if (text && *text)
		print_pair(name, "%s", show_text(shown, sizeof(shown), text));
}

static void print_exit(struct json_object *exit)
{
	char reason[64], report[512];

	if (!json_object_is_type(exit, json_type_object))
		return;
	print_pair("ended by", "%s, code %" PRId64,
		   show_text(reason, sizeof(reason), client_text(exit, "reason")),
		   json_object_get_int64(client_member(exit, "code")));
	if (client_text(exit, "report") && *client_text(exit, "report"))
		print_pair("report", "%s",
			   show_text(report, sizeof(report), client_text(exit, "report")));
}

static int print_status(struct json_object *o)
{
	char figure[FIGURE_SIZE];

	print_text("state", o, "state");
	print_text("id", o, "id");
	print_text("name", o, "name");
	print_pair("process", "%" PRIu64, client_number(o, "pid"));
	print_text("version", o, "version");
	print_pair("vCPUs", "%" PRIu64, client_number(o, "vcpus"));
	print_pair("memory", "%s", show_bytes(figure, client_number(o, "memory_bytes")));
	print_text("irqchip", o, "irqchip");
	print_pair("up for", "%s", show_duration(figure, client_number(o, "uptime_ns")));
	print_exit(client_member(o, "exit"));
	return CMD_OK;
}

static int status(struct ctl *ctl)
{
	return ctl_show(ctl, "/catnap/status", print_status);
}

const struct ctl_command ctl_status = {
	.name = "status",
	.summary = "Tells what the VM is and does.",
	.run = status,
};

/* -- what it is to do ------------------------------------------------------------------------- */

static int set_state(struct ctl *ctl, const char *state)
{
	struct json_object *body = json_object_new_object();

	add_text(body, "state", state);
	return ctl_send(ctl, "PATCH", "/vm", body);
}

static int pause_vm(struct ctl *ctl)
{
	return set_state(ctl, "Paused");
}

const struct ctl_command ctl_pause = {
	.name = "pause",
	.summary = "Stops the vCPUs, until resume.",
	.run = pause_vm,
};

static int resume(struct ctl *ctl)
{
	return set_state(ctl, "Resumed");
}

const struct ctl_command ctl_resume = {
	.name = "resume",
	.summary = "Lets a paused VM go on.",
	.run = resume,
};

struct stop_keys {
	bool wait;
};

static const struct opt_field stop_keys[] = {
	{.name = "wait", .type = OPT_SWITCH, .offset = offsetof(struct stop_keys, wait)},
	{.name = NULL},
};

static int stop(struct ctl *ctl)
{
	struct stop_keys keys = {.wait = false};
	struct json_object *body;

	if (ctl->settings.text && opt_keys(ctl->opts, &ctl->settings, stop_keys, &keys) < 0)
		return ctl_usage(ctl);
	body = json_object_new_object();
	json_object_object_add(body, "wait", json_object_new_boolean(keys.wait));
	return ctl_send(ctl, "POST", "/catnap/stop", body);
}

const struct ctl_command ctl_stop = {
	.name = "stop",
	.form = "wait=on|off",
	.keys = stop_keys,
	.summary = "Ends the VM at once, as if its power failed.",
	.more = "wait=on: returns when it has ended, at most --time-limit later.\n",
	.run = stop,
};

static int power_button(struct ctl *ctl)
{
	return ctl_send(ctl, "POST", "/catnap/power-button", NULL);
}

const struct ctl_command ctl_power_button = {
	.name = "power-button",
	.summary = "Presses the power button: the guest is asked to shut down.",
	.run = power_button,
};

/* -- threads ---------------------------------------------------------------------------------- */

static int print_threads(struct json_object *o)
{
	static const char *const heads[] = {"<role", "vcpu", "tid", NULL};
	struct json_object *list = client_member(o, "threads");
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < client_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);
		char vcpu[24] = "-", tid[24];

		if (client_member(one, "vcpu"))
			snprintf(vcpu, sizeof(vcpu), "%" PRIu64, client_number(one, "vcpu"));
		snprintf(tid, sizeof(tid), "%" PRIu64, client_number(one, "tid"));
		table_add(&t, client_text(one, "role"));
		table_add(&t, vcpu);
		table_add(&t, tid);
	}
	return table_print(&t) < 0 ? CMD_ERROR : CMD_OK;
}

static int threads(struct ctl *ctl)
{
	return ctl_show(ctl, "/catnap/threads", print_threads);
}

const struct ctl_command ctl_threads = {
	.name = "threads",
	.summary = "Lists its threads, as for taskset(1) and ps(1).",
	.run = threads,
};

/* -- configuration ---------------------------------------------------------------------------- */

/* Prints the configuration: the document is for programs already. */
static int config(struct ctl *ctl)
{
	struct client_answer a = {.status = 0};
	int ret = ctl_get(ctl, "/catnap/config", &a);

	if (ret == CMD_OK)
		ret = ctl_print_json(&a);
	client_answer_free(&a);
	return ret;
}

const struct ctl_command ctl_config = {
	.name = "config",
	.summary = "Prints its configuration, as for catnap run --config.",
	.run = config,
};
