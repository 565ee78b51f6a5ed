/* SPDX-License-Identifier: Apache-2.0 */
/* GET /catnap/status: where the VM stands in its life, and what it is. */
#include "cli/api/own.h"

static const char not_started[] = "not_started", running[] = "running", paused[] = "paused",
		  ending[] = "ending", ended[] = "ended";

const char *const own_states[] = {not_started, running, paused, ending, ended, NULL};

const char *own_state(struct catnap_vm *vm)
{
	switch (vm ? catnap_vm_get_state(vm) : CATNAP_VM_MADE) {
	case CATNAP_VM_RUNNING:
		return running;
	case CATNAP_VM_PAUSED:
		return paused;
	case CATNAP_VM_ENDING:
		return ending;
	case CATNAP_VM_ENDED:
		return ended;
	default:
		return not_started;
	}
}
