/* SPDX-License-Identifier: Apache-2.0 */
/* See ask.h. Whoever listens there may say anything, and nothing. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/cmd.h"
#include "cli/opts.h"

#define PATIENCE_MS 5000
#define MOST	    (16u << 20) /* of an answer */

/* Everything up to the end, for the caller to free; NULL with errno. */
static char *read_all(int fd)
{
	size_t size = 65536, used = 0;
	char *text = malloc(size + 1);

	while (text) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;
		char *more;

		if (poll(&p, 1, PATIENCE_MS) == 0) {
			errno = ETIMEDOUT;
			break;
		}
		n = read(fd, text + used, size - used);
		if (n < 0 && errno == EINTR)
			continue;
		/* One that took no request, and has said what it had to say. */
		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			text[used] = '\0';
			return text;
		}
		if (n < 0)
			break;
		used += (size_t)n;
		if (used < size)
			continue;
		errno = EFBIG;
		more = size < MOST ? realloc(text, 2 * size + 1) : NULL;
		if (!more)
			break;
		text = more;
		size *= 2;
	}
	free(text);
	return NULL;
}

char *ask(const char *path, const char *request)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char *text = NULL;
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0) {
		/* It fits into the socket's buffer. An answer may have been given without it. */
		if (request)
			(void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
		text = read_all(fd);
	}
	err = errno;
	close(fd);
	errno = err;
	return text;
}

int ask_failed(const char *command, const char *path, const char *why)
{
	char shown[96], line[256];

	fprintf(stderr, "catnap %s: %s: %s\n", command, opt_printable(path, shown, sizeof(shown)),
		opt_printable(why, line, sizeof(line)));
	return CMD_ERROR;
}

struct json_object *ask_member(struct json_object *o, const char *name)
{
	struct json_object *m = NULL;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, name, &m)
		       ? m
		       : NULL;
}

uint64_t ask_number(struct json_object *o, const char *name)
{
	return json_object_get_uint64(ask_member(o, name));
}
