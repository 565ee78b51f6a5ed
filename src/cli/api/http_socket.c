/* SPDX-License-Identifier: Apache-2.0 */
/* Where clients come from: a Unix socket of a name, or one that was inherited. unix(7),
 * sd_listen_fds(3). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/api/http.h"
#include "cli/bind.h"

#define QUEUE	     1024 /* clients that wait to be accepted; one more is told to come later */
#define FIRST_PASSED 3	  /* SD_LISTEN_FDS_START */

static int option(int fd, int name, int *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, SOL_SOCKET, name, value, &len) < 0 ? -errno : 0;
}

const char *http_socket_wrong(int fd)
{
	int value, ret = option(fd, SO_DOMAIN, &value);

	if (ret == -EBADF)
		return "is not open";
	if (ret == -ENOTSOCK)
		return "is not a socket";
	if (ret < 0 || value != AF_UNIX)
		return "is not a Unix socket";
	if (option(fd, SO_TYPE, &value) < 0 || value != SOCK_STREAM)
		return "is not a stream socket";
	if (option(fd, SO_ACCEPTCONN, &value) < 0 || !value)
		return "is not a listening socket";
	return NULL;
}

int http_inherit(struct http_socket *s, int fd, const char **wrong)
{
	int flags;

	*wrong = http_socket_wrong(fd);
	if (*wrong)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		*wrong = "cannot be made non-blocking";
		return -errno;
	}
	*s = (struct http_socket){.fd = fd};
	return 0;
}

/* Returns a whole decimal number, or -1. */
static long number(const char *text)
{
	char *end;
	long n;

	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	n = strtol(text, &end, 10);
	return errno || *end ? -1 : n;
}

int http_activated(void)
{
	bool ours = number(getenv("LISTEN_PID")) == (long)getpid();
	long n = number(getenv("LISTEN_FDS"));

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return ours && n > 0 ? FIRST_PASSED : -1;
}

static int listen_on(struct http_socket *s, const struct sockaddr_un *addr)
{
	struct stat st;
	int ret;

	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	ret = bind_private(s->fd, addr);
	if (ret < 0)
		return ret;
	if (lstat(addr->sun_path, &st) < 0)
		return -errno;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	s->path = strdup(addr->sun_path);
	if (!s->path || listen(s->fd, QUEUE) < 0) {
		ret = s->path ? -errno : -ENOMEM;
		unlink(addr->sun_path);
		return ret;
	}
	return 0;
}

int http_listen(struct http_socket *s, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int ret;

	*s = (struct http_socket){.fd = -1};
	if (!len)
		return -ENOENT;
	if (len >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, len);
	ret = listen_on(s, &addr);
	if (ret < 0)
		http_socket_close(s, false);
	return ret;
}

void http_socket_close(struct http_socket *s, bool remove)
{
	struct stat st;

	/* Not what somebody else has put there meanwhile. */
	if (remove && s->path && lstat(s->path, &st) == 0 && st.st_dev == s->dev &&
	    st.st_ino == s->ino)
		unlink(s->path);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	*s = (struct http_socket){.fd = -1};
}
