/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap bench prices` as a child, whose JSON is read; see crossover_child.h. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/crossover_child.h"

#define MOST_BYTES (4 << 20) /* of JSON */

extern char **environ;

/* Reads all that comes from @fd, ended by a NUL; NULL: no memory, or too much. */
static char *read_all(int fd)
{
	size_t used = 0, room = 65536;
	char *text = malloc(room), *more;

	while (text) {
		ssize_t n = read(fd, text + used, room - used - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
		if (used + 1 < room)
			continue;
		room *= 2;
		more = room > MOST_BYTES ? NULL : realloc(text, room);
		if (!more)
			free(text);
		text = more;
	}
	if (text)
		text[used] = '\0';
	return text;
}

static int start(pid_t *pid, int *out)
{
	static const char *const args[] = {"/proc/self/exe", "bench", "prices", "--samples", "300",
					   "--rounds",	     "1",     "--json", "-",	     NULL};
	posix_spawn_file_actions_t fa;
	int fd[2], ret;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, fd[1], STDOUT_FILENO);
	ret = posix_spawn(pid, args[0], &fa, NULL, (char *const *)args, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(fd[1]);
	if (ret)
		close(fd[0]);
	*out = fd[0];
	return -ret;
}

int crossover_measure(struct json_object **results)
{
	int out = -1, status = 0, ret;
	char *text;
	pid_t pid = -1;

	ret = start(&pid, &out);
	if (ret < 0)
		return ret;
	text = read_all(out);
	close(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*results = text && status == 0 ? json_tokener_parse(text) : NULL;
	free(text);
	return *results ? 0 : -EIO;
}
