/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl memory`: tells how much memory the guest has, or asks it to have another size. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/ctl/size.h"

/* Stores what the guest has at first, in MiB. */
static int get_first(struct ctl *ctl, uint64_t *mib)
{
	struct client_answer a = {.status = 0};
	int status = ctl_get(ctl, "/machine-config", &a);

	*mib = client_number(a.json, "mem_size_mib");
	client_answer_free(&a);
	return status;
}

static int show(struct ctl *ctl)
{
	static const struct {
		const char *member, *name;
	} lines[] = {
		{"requested_size_mib", "asked for"},
		{"plugged_size_mib", "there"},
		{"total_size_mib", "at most"},
	};
	struct client_answer a = {.status = 0};
	uint64_t first = 0;
	int status = get_first(ctl, &first);

	if (status == CMD_OK)
		status = ctl_get(ctl, "/hotplug/memory", &a);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && status == CMD_OK; i++) {
		uint64_t mib = first + client_number(a.json, lines[i].member);
		char figure[FIGURE_SIZE];

		print_pair(lines[i].name, "%8s", show_bytes(figure, mib * MIB));
	}
	client_answer_free(&a);
	return status;
}

static int change(struct ctl *ctl, const struct ctl_size *wanted)
{
	const struct ctl_awaited awaited = {
		.path = "/hotplug/memory", .member = "plugged_size_mib", .unit = MIB};
	struct ctl_size part = *wanted; /* that it plugs */
	struct json_object *body;
	uint64_t first, plugged = 0;
	int status = get_first(ctl, &first);

	if (status != CMD_OK)
		return status;
	if (wanted->size / MIB < first) {
		fprintf(stderr,
			"catnap ctl: memory: size: is less than the guest has at first: expected "
			"at least %" PRIu64 "M\n",
			first);
		return CMD_ERROR;
	}
	part.size -= first * MIB;
	body = json_object_new_object();
	json_object_object_add(body, "requested_size_mib", json_object_new_uint64(part.size / MIB));
	status = ctl_send(ctl, "PATCH", "/hotplug/memory", body);
	if (status == CMD_OK)
		status = ctl_size_await(ctl, &awaited, &part, &plugged);
	if (status == CTL_SIZE_LATE)
		fprintf(stderr,
			"catnap ctl: memory: the time is over: the guest has %" PRIu64
			"M of %" PRIu64 "M that it is to plug\n",
			plugged / MIB, part.size / MIB);
	return status == CTL_SIZE_LATE ? CMD_ERROR : status;
}

static int run(struct ctl *ctl)
{
	struct ctl_size wanted;

	if (!ctl->settings.text)
		return ctl->json ? ctl_show(ctl, "/hotplug/memory", NULL) : show(ctl);
	if (ctl_size_given(ctl, "memory", &wanted) < 0)
		return ctl_usage(ctl);
	return change(ctl, &wanted);
}

const struct ctl_command ctl_memory = {
	.name = "memory",
	.form = "size=SIZE,wait=TIME",
	.keys = ctl_size_fields,
	.summary = "Tells how much memory the guest has, or asks for another size.",
	.more = "  size=SIZE   how much it is to have in all, from what it has at first up to max\n"
		"              of --memory; it plugs or unplugs the difference\n"
		"  wait=TIME   waits until it has done so; at most so long\n",
	.run = run,
};
