/* SPDX-License-Identifier: Apache-2.0 */
/* See size.h. */
#include <time.h>

#include "cli/cmd.h"
#include "cli/ctl/size.h"
#include "cli/now.h"

#define LOOK_NS 50000000 /* how often it is looked whether the guest has done it */

enum { SIZE, WAIT };

static int set_size(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field size = {.type = OPT_SIZE, .max = UINT32_MAX * MIB};
	struct ctl_size *wanted = ptr;

	if (opt_value(o, arg, &size, &wanted->size) < 0)
		return -1;
	return wanted->size % MIB ? opt_fail(o, arg, "is not a multiple of 1M") : 0;
}

const struct opt_field ctl_size_fields[] = {
	[SIZE] = {.name = "size", .type = OPT_CALL, .set = set_size},
	[WAIT] = {.name = "wait",
		  .type = OPT_TIME,
		  .offset = offsetof(struct ctl_size, wait_ns),
		  .min = 1,
		  .max = UINT64_C(3600000000000)},
	{.name = NULL},
};

int ctl_size_given(struct ctl *ctl, const char *command, struct ctl_size *wanted)
{
	uint64_t given;

	*wanted = (struct ctl_size){.size = 0};
	if (opt_keys_given(ctl->opts, &ctl->settings, ctl_size_fields, wanted, &given) < 0)
		return -1;
	if (given >> SIZE & 1)
		return 0;
	opts_fail(ctl->opts, "%s: no size: expected size=SIZE", command);
	return -1;
}

int ctl_size_await(struct ctl *ctl, const struct ctl_awaited *awaited,
		   const struct ctl_size *wanted, uint64_t *actual)
{
	const struct timespec nap = {.tv_nsec = LOOK_NS};
	uint64_t deadline = now_ns() + wanted->wait_ns;

	while (wanted->wait_ns) {
		struct client_answer a = {.status = 0};
		int status = ctl_get(ctl, awaited->path, &a);

		*actual = client_number(a.json, awaited->member) * awaited->unit;
		client_answer_free(&a);
		if (status != CMD_OK || *actual / MIB == wanted->size / MIB)
			return status;
		if (now_ns() >= deadline)
			return CTL_SIZE_LATE;
		nanosleep(&nap, NULL);
	}
	return CMD_OK;
}
