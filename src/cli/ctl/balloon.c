/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl balloon`: tells what is in the memory balloon, or asks the guest for another size. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/ctl/size.h"

/* Prints the figures. One that the guest has not told is not there. */
static int print(struct json_object *o)
{
	static const struct {
		const char *member, *name;
	} lines[] = {
		{"target_bytes", "asked for"},
		{"actual_bytes", "in the balloon"},
		{"released_bytes", "given to the host so far"},
		{"reported_bytes", "of this, reported as free"},
		{"total_bytes", "the guest's memory"},
		{"free_bytes", "free in it"},
		{"available_bytes", "available in it"},
		{"caches_bytes", "its caches"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char figure[FIGURE_SIZE];

		if (client_member(o, lines[i].member))
			print_pair(lines[i].name, "%8s",
				   show_bytes(figure, client_number(o, lines[i].member)));
	}
	return CMD_OK;
}

static int run(struct ctl *ctl)
{
	const struct ctl_awaited awaited = {
		.path = "/catnap/balloon", .member = "actual_bytes", .unit = 1};
	struct ctl_size wanted;
	struct json_object *body;
	uint64_t actual = 0;
	int status;

	if (!ctl->settings.text)
		return ctl_show(ctl, "/catnap/balloon", print);
	if (ctl_size_given(ctl, "balloon", &wanted) < 0)
		return ctl_usage(ctl);
	body = json_object_new_object();
	json_object_object_add(body, "amount_mib", json_object_new_uint64(wanted.size / MIB));
	status = ctl_send(ctl, "PATCH", "/balloon", body);
	if (status == CMD_OK)
		status = ctl_size_await(ctl, &awaited, &wanted, &actual);
	if (status == CTL_SIZE_LATE)
		fprintf(stderr,
			"catnap ctl: balloon: the time is over: %" PRIu64 "M of %" PRIu64
			"M are in the balloon\n",
			actual / MIB, wanted.size / MIB);
	return status == CTL_SIZE_LATE ? CMD_ERROR : status;
}

const struct ctl_command ctl_balloon = {
	.name = "balloon",
	.form = "size=SIZE,wait=TIME",
	.keys = ctl_size_fields,
	.summary = "Tells what is in the memory balloon, or asks for another size.",
	.more = "  size=SIZE   how much of its memory the guest is to give back to the host, in\n"
		"              steps of 1M; 0: it gets all of it back\n"
		"  wait=TIME   waits until it has done so; at most so long\n",
	.run = run,
};
