/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /boot-source. */
#include <stdlib.h>
#include <string.h>

#include "cli/api/fc.h"

#define ARGS_MAX 2047 /* COMMAND_LINE_SIZE of Linux on x86, without its NUL */

struct boot_body {
	uint64_t given;
	const char *kernel, *initrd, *args;
};

static const struct body_field members[] = {
	{.name = "kernel_image_path",
	 .type = BODY_STRING,
	 .offset = offsetof(struct boot_body, kernel),
	 .required = true},
	{.name = "initrd_path",
	 .type = BODY_STRING,
	 .offset = offsetof(struct boot_body, initrd),
	 .nullable = true},
	{.name = "boot_args",
	 .type = BODY_STRING,
	 .offset = offsetof(struct boot_body, args),
	 .nullable = true},
	{NULL},
};

static bool check(struct reply *r, const struct boot_body *b)
{
	int ret = fc_try_open(b->kernel, true);
	char why[128];

	if (ret < 0) {
		reply_fault(r, 400, "Boot source error: The kernel file cannot be opened: %s",
			    fc_os_error(-ret, why, sizeof(why)));
		return false;
	}
	ret = b->initrd ? fc_try_open(b->initrd, true) : 0;
	if (ret < 0) {
		reply_fault(
			r, 400,
			"Boot source error: The initrd file cannot be opened due to invalid path "
			"or invalid permissions. %s",
			fc_os_error(-ret, why, sizeof(why)));
		return false;
	}
	if (b->args && strlen(b->args) > ARGS_MAX) {
		reply_fault(
			r, 400,
			"Boot source error: The kernel command line is invalid: boot_args has %zu "
			"bytes: expected %d at most.",
			strlen(b->args), ARGS_MAX);
		return false;
	}
	return true;
}

static void put_boot(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct boot_body *b = body;
	struct fc_boot *old = &api->model.boot, boot = {.on = true};

	if (!check(r, b))
		return;
	if (!fc_copy(r, &boot.kernel, b->kernel) || !fc_copy(r, &boot.initrd, b->initrd) ||
	    !fc_copy(r, &boot.args, b->args)) {
		free(boot.kernel);
		free(boot.initrd);
		return;
	}
	free(old->kernel);
	free(old->initrd);
	free(old->args);
	*old = boot;
	reply_empty(r);
}

const struct route fc_boot_routes[] = {
	{"PUT", "/boot-source", ROUTE_BEFORE, put_boot, members, sizeof(struct boot_body)},
	{NULL},
};
