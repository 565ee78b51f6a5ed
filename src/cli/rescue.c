/* SPDX-License-Identifier: Apache-2.0 */
/* See rescue.h. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "cli/rescue.h"

struct rescue {
	struct termios found;
	int fd;
	atomic_bool needed;
};

struct rescue *rescue_new(int fd)
{
	struct rescue *r;

	if (!isatty(fd))
		return NULL;
	r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r == MAP_FAILED)
		return NULL;
	r->fd = fd;
	return r;
}

void rescue_free(struct rescue **r)
{
	if (*r)
		munmap(*r, sizeof(**r));
	*r = NULL;
}

void rescue_modes(struct rescue *r, const struct termios *found)
{
	if (!r)
		return;
	atomic_store(&r->needed, false);
	if (found)
		r->found = *found;
	atomic_store(&r->needed, found != NULL);
}

void rescue_terminal(void *ctx)
{
	struct rescue *r = ctx;
	struct termios now;

	/* A shell that was quicker has modes of its own, and those have ISIG. */
	if (atomic_load(&r->needed) && tcgetattr(r->fd, &now) == 0 && !(now.c_lflag & ISIG))
		(void)tcsetattr(r->fd, TCSANOW, &r->found);
}
