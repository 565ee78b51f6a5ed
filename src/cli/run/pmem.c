/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent memory of `catnap run`: its option, and its way into the VM. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/limit.h"
#include "cli/printable.h"
#include "cli/run/run.h"

static const struct opt_word on_off[] = {{"on", 1}, {"off", 0}, {NULL, 0}};
static const struct opt_word off_on[] = {{"on", 0}, {"off", 1}, {NULL, 0}};
static const struct opt_word formats[] = {{"raw", CATNAP_DISK_RAW}, {NULL, 0}};

struct pmem_option {
	struct catnap_pmem pmem;
	struct limit_keys limit;
};

#define PMEM(member) .offset = offsetof(struct pmem_option, pmem.member)

/* clang-format off */
const struct opt_field run_pmem_keys[] = {
	{.name = "path", .type = OPT_STRING, PMEM(path), .either = true, .form = "PATH"},
	{.name = "fd", .type = OPT_U32, PMEM(fd), .min = STDERR_FILENO + 1, .max = INT32_MAX,
	 .either = true, .form = "N"},
	{.name = "readonly", .type = OPT_SWITCH, PMEM(readonly), .words = on_off, .form = "on"},
	{.name = "format", .type = OPT_WORD, PMEM(format), .words = formats, .form = "raw"},
	{.name = "lock", .type = OPT_SWITCH, PMEM(no_lock), .words = off_on, .form = "off"},
	LIMIT_KEYS("", offsetof(struct pmem_option, limit), "SIZE", "N"),
	{.name = NULL},
};
/* clang-format on */

int run_set_pmem(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	struct pmem_option p = {.limit = {.bw = {0}}};

	catnap_pmem_init(&p.pmem);
	if (cfg->n_pmems == RUN_MAX_PMEMS)
		return opt_fail(o, arg, "is one too many: expected at most %d", RUN_MAX_PMEMS);
	if (opt_keys(o, arg, run_pmem_keys, &p) || limit_make(o, arg, "", &p.limit, &p.pmem.limit))
		return -EINVAL;
	if (!p.pmem.path == (p.pmem.fd < 0))
		return opts_fail(o, "--pmem: %s: expected one of path and fd",
				 p.pmem.path ? "has both path and fd" : "has neither path nor fd");
	cfg->pmems[cfg->n_pmems++] = p.pmem;
	return 0;
}

int run_add_pmems(struct catnap_vm *vm, const struct run_cfg *cfg)
{
	for (uint32_t i = 0; i < cfg->n_pmems; i++) {
		if (catnap_vm_add_pmem(vm, &cfg->pmems[i]) == 0)
			continue;
		complain("catnap run: --%s\n", catnap_vm_last_error(vm));
		return CMD_ERROR;
	}
	return CMD_OK;
}
