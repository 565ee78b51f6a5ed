/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl balloon`: tells what is in the memory balloon, or asks the guest for another size. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
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

static int late(struct ctl *ctl, uint64_t actual, uint64_t target)
{
	fprintf(stderr,
		"catnap ctl: balloon: the time is over: %" PRIu64 "M of %" PRIu64
		"M are in the balloon\n",
		actual, target);
	(void)ctl;
	return CMD_ERROR;
}

/* Waits until as much is in it as was asked for. */
static int await(struct ctl *ctl, const struct keys *k)
{
	const struct timespec nap = {.tv_nsec = LOOK_NS};
	uint64_t deadline = now_ns() + k->wait_ns, actual = 0;
	int status = CMD_OK;
	bool done = false;

	while (status == CMD_OK && !done) {
		struct client_answer a = {.status = 0};

		status = ctl_get(ctl, "/catnap/balloon", &a);
		actual = client_number(a.json, "actual_bytes") / MIB;
		done = status == CMD_OK && actual == k->size / MIB;
		client_answer_free(&a);
		if (status == CMD_OK && !done) {
			if (now_ns() >= deadline)
				return late(ctl, actual, k->size / MIB);
			nanosleep(&nap, NULL);
		}
	}
	return status;
}

static int run(struct ctl *ctl)
{
	struct keys keys = {.size = 0};
	struct json_object *body;
	uint64_t given;
	int status;

	if (!ctl->settings.text)
		return ctl_show(ctl, "/catnap/balloon", print);
	if (opt_keys_given(ctl->opts, &ctl->settings, fields, &keys, &given) < 0)
		return ctl_usage(ctl);
	if (!(given >> SIZE & 1)) {
		opts_fail(ctl->opts, "balloon: no size: expected size=SIZE");
		return ctl_usage(ctl);
	}
	body = json_object_new_object();
	json_object_object_add(body, "amount_mib", json_object_new_uint64(keys.size / MIB));
	status = ctl_send(ctl, "PATCH", "/balloon", body);
	return status == CMD_OK && keys.wait_ns ? await(ctl, &keys) : status;
}

const struct ctl_command ctl_balloon = {
	.name = "balloon",
	.form = "size=SIZE,wait=TIME",
	.keys = fields,
	.summary = "Tells what is in the memory balloon, or asks for another size.",
	.more = "  size=SIZE   how much of its memory the guest is to give back to the host, in\n"
		"              steps of 1M; 0: it gets all of it back\n"
		"  wait=TIME   waits until it has done so; at most so long\n",
	.run = run,
};
