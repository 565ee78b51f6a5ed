/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of `catnap run`: their options, and their way into the VM. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/run.h"

#define ID_MAX 20

static int check_id(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_disk *disk = ptr;
	size_t len = strlen(arg->text);

	if (!len || len > ID_MAX)
		return opt_fail(o, arg, "is no id: expected 1 to %d characters", ID_MAX);
	disk->id = arg->text;
	return 0;
}

int run_set_disk(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field keys[] = {
		{.name = "path",
		 .type = OPT_STRING,
		 .offset = offsetof(struct run_disk, path),
		 .required = true},
		{.name = "readonly",
		 .type = OPT_SWITCH,
		 .offset = offsetof(struct run_disk, readonly)},
		{.name = "direct", .type = OPT_SWITCH, .offset = offsetof(struct run_disk, direct)},
		{.name = "id", .type = OPT_CALL, .set = check_id},
		{.name = "queues",
		 .type = OPT_U32,
		 .offset = offsetof(struct run_disk, queues),
		 .min = 1,
		 .max = CATNAP_MAX_DISK_QUEUES},
		{.name = NULL},
	};
	struct run_cfg *cfg = ptr;
	struct run_disk disk = {.path = NULL};

	if (cfg->n_disks == RUN_MAX_DISKS)
		return opt_fail(o, arg, "is one too many: expected at most %d", RUN_MAX_DISKS);
	if (opt_keys(o, arg, keys, &disk))
		return -EINVAL;
	cfg->disks[cfg->n_disks++] = disk;
	return 0;
}

int run_add_devices(struct catnap_vm *vm, const struct run_cfg *cfg)
{
	for (uint32_t i = 0; i < cfg->n_disks; i++) {
		const struct run_disk *d = &cfg->disks[i];
		struct catnap_disk disk;

		catnap_disk_init(&disk);
		disk.path = d->path;
		disk.id = d->id;
		disk.readonly = d->readonly;
		disk.direct = d->direct;
		disk.queues = d->queues;
		if (catnap_vm_add_disk(vm, &disk) < 0) {
			/* The sentence begins with the option's name. */
			fprintf(stderr, "catnap run: --%s\n", catnap_vm_last_error(vm));
			return CMD_ERROR;
		}
	}
	return CMD_OK;
}
