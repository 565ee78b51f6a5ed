/* SPDX-License-Identifier: Apache-2.0 */
/* See child.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cli/child.h"

bool child_ends_with(pid_t parent, int number)
{
	/* It may have ended before this was asked for. */
	return prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) == 0 && getppid() == parent;
}

/* Reads once more. 0: that was the end. */
static size_t read_more(int fd, char *to, size_t room)
{
	ssize_t n;

	do
		n = read(fd, to, room);
	while (n < 0 && errno == EINTR);
	return n < 0 ? 0 : (size_t)n;
}

char *child_output(int fd, size_t most, bool (*wait)(void *ctx), void *ctx)
{
	size_t used = 0, room = 65536, n;
	char *text = malloc(room), *more;

	while (text && (!wait || wait(ctx))) {
		n = read_more(fd, text + used, room - used - 1);
		if (n == 0)
			break;
		used += n;
		if (used + 1 < room)
			continue;
		room *= 2;
		more = room > most ? NULL : realloc(text, room);
		if (!more)
			free(text);
		text = more;
	}
	if (text)
		text[used] = '\0';
	return text;
}
