/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl events`: what happens to a VM, a line each, until it has ended. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/printable.h"

struct keys {
	bool history;
};

static const struct opt_field fields[] = {
	{.name = "history", .type = OPT_SWITCH, .offset = offsetof(struct keys, history)},
	{.name = NULL},
};

/* Writes local time, to the millisecond. */
static const char *show_clock(char *buf, size_t size, uint64_t ns)
{
	const time_t s = (time_t)(ns / 1000000000u);
	struct tm tm;
	size_t n;

	if (!localtime_r(&s, &tm) || !(n = strftime(buf, size, "%F %T", &tm)))
		snprintf(buf, size, "-");
	else
		snprintf(buf + n, size - n, ".%03u", (unsigned int)(ns / 1000000 % 1000));
	return buf;
}

/* Prints the members that not all events have, as they are named. */
static void print_members(struct json_object *o)
{
	static const char *const known[] = {"number", "time_ns", "event"};
	char shown[256];

	json_object_object_foreach(o, name, value)
	{
		bool is_known = false;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			is_known |= strcmp(name, known[i]) == 0;
		if (is_known || !value)
			continue;
		printf("  %s", show_text(shown, sizeof(shown), name));
		printf(" %s", show_text(shown, sizeof(shown), json_object_get_string(value)));
	}
}

static bool print_event(void *ctx, char *text)
{
	const struct ctl *ctl = ctx;
	struct json_object *o = ctl->json ? NULL : json_tokener_parse(text);
	char when[48], shown[64];

	if (!json_object_is_type(o, json_type_object)) {
		/* A text that is no object is shown as it came: nothing gets lost. */
		if (*text) {
			printable_json(text, stdout);
			putchar('\n');
		}
	} else {
		printf("%s  %s", show_clock(when, sizeof(when), client_number(o, "time_ns")),
		       show_text(shown, sizeof(shown), client_text(o, "event")));
		print_members(o);
		putchar('\n');
	}
	json_object_put(o);
	return fflush(stdout) == 0;
}

static int run(struct ctl *ctl)
{
	struct keys keys = {.history = false};

	if (ctl->settings.text && opt_keys(ctl->opts, &ctl->settings, fields, &keys) < 0)
		return ctl_usage(ctl);
	if (client_stream(ctl->client,
			  keys.history ? "/catnap/events?history=on" : "/catnap/events",
			  print_event, ctl) < 0)
		return client_failed(ctl->client);
	return CMD_OK;
}

const struct ctl_command ctl_events = {
	.name = "events",
	.form = "history=on|off",
	.keys = fields,
	.summary = "Tells what happens to the VM, as it happens, until it has ended.",
	.more = "history=on: first what is still known of before.\n"
		"With --json each line is an object with a number, time_ns (real time)\n"
		"and the event: started, paused, resumed, link, reset, panic, device_needs_reset,\n"
		"guest_out_of_memory, ended, restarted, device_removed, device_kept, or lost\n"
		"(more happened than was read).\n",
	.run = run,
};
