/* SPDX-License-Identifier: Apache-2.0 */
/* termios. */
#include <errno.h>
#include <unistd.h>

#include "cli/terminal.h"

bool terminal_raw(struct terminal *t, int fd)
{
	struct termios raw;

	t->fd = fd;
	t->raw = false;
	if (!isatty(fd) || tcgetpgrp(fd) != getpgrp() || tcgetattr(fd, &t->saved) < 0)
		return false;
	raw = t->saved;
	cfmakeraw(&raw);
	/* Messages of our own end in \n only; a guest's \r\n is not harmed by it. */
	raw.c_oflag |= OPOST | ONLCR;
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return false;
	t->raw = true;
	return true;
}

void terminal_restore(struct terminal *t)
{
	if (!t->raw)
		return;
	t->raw = false;
	/* The drain would wait for ever on a terminal whose output is stopped: now, not after it.
	 */
	while (tcsetattr(t->fd, TCSANOW, &t->saved) < 0 && errno == EINTR)
		;
}
