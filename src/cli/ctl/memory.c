/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl memory`: tells how much memory the guest has, or asks it to have another size. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/now.h"

#define MIB	(UINT64_C(1) << 20)
#define LOOK_NS 50000000 /* how often it is looked whether the guest has done it */

struct keys {
	uint64_t size, wait_ns;
};

enum { SIZE, WAIT };

static int set_size(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field size = {.type = OPT_SIZE, .max = UINT32_MAX * MIB};
	struct keys *keys = ptr;

	if (opt_value(o, arg, &size, &keys->size) < 0)
		return -1;
	return keys->size % MIB ? opt_fail(o, arg, "is not a multiple of 1M") : 0;
}

static const struct opt_field fields[] = {
	[SIZE] = {.name = "size", .type = OPT_CALL, .set = set_size},
	[WAIT] = {.name = "wait",
		  .type = OPT_TIME,
		  .offset = offsetof(struct keys, wait_ns),
		  .min = 1,
		  .max = UINT64_C(3600000000000)},
	{.name = NULL},
};

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

/* Waits until the guest has as much as it was asked for, @mib of what it plugs. */
static int await(struct ctl *ctl, uint64_t mib, uint64_t wait_ns)
{
	const struct timespec nap = {.tv_nsec = LOOK_NS};
	uint64_t deadline = now_ns() + wait_ns, plugged = 0;

	for (;;) {
		struct client_answer a = {.status = 0};
		int status = ctl_get(ctl, "/hotplug/memory", &a);

		plugged = client_number(a.json, "plugged_size_mib");
		client_answer_free(&a);
		if (status != CMD_OK || plugged == mib)
			return status;
		if (now_ns() >= deadline)
			break;
		nanosleep(&nap, NULL);
	}
	fprintf(stderr,
		"catnap ctl: memory: the time is over: the guest has %" PRIu64 "M of %" PRIu64
		"M that it is to plug\n",
		plugged, mib);
	return CMD_ERROR;
}

static int change(struct ctl *ctl, const struct keys *k)
{
	struct json_object *body;
	uint64_t first, mib = k->size / MIB;
	int status = get_first(ctl, &first);

	if (status != CMD_OK)
		return status;
	if (mib < first) {
		fprintf(stderr,
			"catnap ctl: memory: size: is less than the guest has at first: expected "
			"at least %" PRIu64 "M\n",
			first);
		return CMD_ERROR;
	}
	body = json_object_new_object();
	json_object_object_add(body, "requested_size_mib", json_object_new_uint64(mib - first));
	status = ctl_send(ctl, "PATCH", "/hotplug/memory", body);
	return status == CMD_OK && k->wait_ns ? await(ctl, mib - first, k->wait_ns) : status;
}

static int run(struct ctl *ctl)
{
	struct keys keys = {.size = 0};
	uint64_t given;

	if (!ctl->settings.text)
		return ctl->json ? ctl_show(ctl, "/hotplug/memory", NULL) : show(ctl);
	if (opt_keys_given(ctl->opts, &ctl->settings, fields, &keys, &given) < 0)
		return ctl_usage(ctl);
	if (!(given >> SIZE & 1)) {
		opts_fail(ctl->opts, "memory: no size: expected size=SIZE");
		return ctl_usage(ctl);
	}
	return change(ctl, &keys);
}

const struct ctl_command ctl_memory = {
	.name = "memory",
	.form = "size=SIZE,wait=TIME",
	.keys = fields,
	.summary = "Tells how much memory the guest has, or asks for another size.",
	.more = "  size=SIZE   how much it is to have in all, from what it has at first up to max\n"
		"              of --memory; it plugs or unplugs the difference\n"
		"  wait=TIME   waits until it has done so; at most so long\n",
	.run = run,
};
