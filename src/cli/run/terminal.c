/* SPDX-License-Identifier: Apache-2.0 */
/* termios, and who is in the foreground (termios(3), credentials(7)). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/run/terminal.h"

void run_terminal_none(struct run_terminal *t)
{
	*t = (struct run_terminal){.fd = -1, .ours = true};
}

static bool in_foreground(const struct run_terminal *t)
{
	return !t->job || tcgetpgrp(t->fd) == t->group;
}

static bool same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

/* Makes the terminal raw. The settings that are found are kept, unless they are our own. */
static void make_raw(struct run_terminal *t)
{
	struct termios now, raw;

	if (tcgetattr(t->fd, &now) < 0 || (t->raw && same(&now, &t->set)))
		return;
	raw = t->found = now;
	cfmakeraw(&raw);
	/* Messages of our own end in \n only; a guest's \r\n is not harmed by it. */
	raw.c_oflag |= OPOST | ONLCR;
	run_rescue_modes(t->rescue, &t->found);
	t->raw = tcsetattr(t->fd, TCSANOW, &raw) == 0;
	/* As the driver took them. */
	if (t->raw && tcgetattr(t->fd, &t->set) < 0)
		t->set = raw;
}

bool run_terminal_look(struct run_terminal *t)
{
	bool ours;

	if (t->fd < 0)
		return true;
	ours = in_foreground(t);
	if (ours && !t->ours)
		make_raw(t);
	t->ours = ours;
	return ours;
}

void run_terminal_take(struct run_terminal *t, int fd, struct run_rescue *rescue)
{
	run_terminal_none(t);
	t->rescue = rescue;
	if (!isatty(fd))
		return;
	t->fd = fd;
	t->group = getpgrp();
	/* A terminal that is not the controlling one has no foreground. */
	t->job = tcgetpgrp(fd) >= 0;
	t->ours = false;
	run_terminal_look(t);
}

void run_terminal_continued(struct run_terminal *t)
{
	t->ours = false;
	run_terminal_look(t);
}

void run_terminal_restore(struct run_terminal *t)
{
	if (!t->raw)
		return;
	t->raw = false;
	/* In the background the modes are those of whoever is in front. The drain would wait for
	 * ever on a terminal whose output is stopped: now, not after it. */
	while (in_foreground(t) && tcsetattr(t->fd, TCSANOW, &t->found) < 0 && errno == EINTR)
		;
	run_rescue_modes(t->rescue, NULL);
}
