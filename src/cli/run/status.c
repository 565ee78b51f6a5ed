/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exit status of `catnap run`: why the VM ended, in eight bits. The guest's word by
 * --debug-exit is an odd number, which may be one that catnap or a shell uses, too: then that is
 * said. With base= it lies between catnap's own.
 */
#include <inttypes.h>

#include "cli/cmd.h"
#include "cli/run/run.h"

/* Returns whether this status has another meaning. Signals are a shell's, which knows them up to
 * 64. 1 has none without a line that says which error it was. */
static const char *other_meaning(int status)
{
	switch (status) {
	case RUN_FAULT:
		return "a triple fault";
	case 127:
		return "a shell's that has not found its command";
	default:
		return status > RUN_SIGNAL && status <= RUN_SIGNAL + 64 ? "a signal's" : NULL;
	}
}

static int debug_status(const struct run_cfg *cfg, struct run_io *io, uint32_t code)
{
	int status = (int)((code << 1 | 1) & 255);
	const char *other = other_meaning(status);

	if (cfg->debug_exit_base) {
		if (code < RUN_BASE_END - cfg->debug_exit_base)
			return (int)(cfg->debug_exit_base + code);
		log_last(&io->messages,
			 "catnap run: --debug-exit: the guest's 0x%" PRIx32
			 " is too large for base=%" PRIu32 ": status %d is said instead\n",
			 code, cfg->debug_exit_base, RUN_BASE_END);
		return RUN_BASE_END;
	}
	if (other)
		log_last(&io->messages,
			 "catnap run: --debug-exit: the guest ended with 0x%" PRIx32
			 ": status %d is its own, not %s\n",
			 code, status, other);
	return status;
}

int run_status(const struct run_cfg *cfg, struct run_io *io, const struct catnap_exit *e)
{
	switch ((enum catnap_exit_reason)e->reason) {
	case CATNAP_EXIT_POWEROFF:
	case CATNAP_EXIT_STOPPED:
		return RUN_POWEROFF;
	case CATNAP_EXIT_RESET:
		return RUN_RESET;
	case CATNAP_EXIT_TRIPLE_FAULT:
	case CATNAP_EXIT_KVM_ERROR:
		return RUN_FAULT;
	case CATNAP_EXIT_PANIC:
		return RUN_PANIC;
	case CATNAP_EXIT_DEBUG:
		return debug_status(cfg, io, (uint32_t)e->code);
	case CATNAP_EXIT_NONE:
	case CATNAP_EXIT_HOST_ERROR:
		break;
	}
	return CMD_ERROR;
}
