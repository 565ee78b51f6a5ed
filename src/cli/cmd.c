/* SPDX-License-Identifier: Apache-2.0 */
/* See cmd.h: what commands share with main(). */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"

void cmd_end_by_sigpipe(void)
{
	sigset_t sigpipe;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigprocmask(SIG_UNBLOCK, &sigpipe, NULL);
}

static bool told;

const char *cmd_stdout_error(int err)
{
	ssize_t n = 0;

	told = true;
	/* A call that failed before the last one took its reason along; who writes once more is
	 * told it again. */
	while (!err && (n = write(STDOUT_FILENO, "\n", 1)) < 0 && errno == EINTR)
		;
	if (!err && n < 0)
		err = errno;
	return err ? strerror(err) : "cannot be written";
}

bool cmd_stdout_told(void)
{
	return told;
}
