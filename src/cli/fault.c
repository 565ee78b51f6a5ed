/* SPDX-License-Identifier: Apache-2.0 */
/* See fault.h. */
#include <errno.h>
#include <signal.h>

#include "cli/fault.h"
#include "cli/leftovers.h"

/* For the handler, which runs on any thread. A process has one VM. */
static struct catnap_vm **volatile watched;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	struct catnap_vm *vm = watched ? *watched : NULL;
	int saved = errno;

	/* Not one that a process has sent. */
	if (info->si_code > 0 && vm && catnap_vm_memory_fault(vm, info->si_addr) == 1) {
		errno = saved;
		return;
	}
	leftovers_die(sig);
}

void fault_watch(struct catnap_vm **vm)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	sigemptyset(&sa.sa_mask);
	watched = vm;
	sigaction(SIGBUS, &sa, NULL);
}
