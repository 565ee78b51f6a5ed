/* SPDX-License-Identifier: Apache-2.0 */
/* See cmd.h: what commands share with main(). */
#include <signal.h>
#include <stddef.h>

#include "cli/cmd.h"

void cmd_end_by_sigpipe(void)
{
	sigset_t sigpipe;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigprocmask(SIG_UNBLOCK, &sigpipe, NULL);
}
