/* SPDX-License-Identifier: Apache-2.0 */
/* See rescue.h. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "cli/run/rescue.h"

struct run_rescue {
	struct termios found;
	int fd;
	atomic_bool needed;
};

struct run_rescue *run_rescue_new(int fd)
{
	struct run_rescue *r;

	if (!isatty(fd))
		return NULL;
	r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r == MAP_FAILED)
		return NULL;
	r->fd = fd;
	return r;
}

void run_rescue_free(struct run_rescue **r)
{
	if (*r)
		munmap(*r, sizeof(**r));
	*r = NULL;
}

void run_rescue_modes(struct run_rescue *r, const struct termios *found)
{
	if (!r)
		return;
	atomic_store(&r->needed, false);
	if (found)
		r->found = *found;
	atomic_store(&r->needed, found != NULL);
}

void run_rescue_terminal(void *ctx)
{
	struct run_rescue *r = ctx;
	struct termios now;

	/* A shell that was quicker has modes of its own, and those have ISIG. */
	if (atomic_load(&r->needed) && tcgetattr(r->fd, &now) == 0 && !(now.c_lflag & ISIG))
		(void)tcsetattr(r->fd, TCSANOW, &r->found);
}
