/* SPDX-License-Identifier: Apache-2.0 */
/* The process's side; see folders.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/run/folders.h"
#include "cli/run/run.h"

#define ANSWER_MS 10000

int folders_begin(struct helpers *h, const char *dir, int *fd)
{
	struct folders_start start = {.messages = h->messages, .given = dir, .parent = getpid()};
	int pair[2], ret = 0;
	pid_t pid = -1;

	start.dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (start.dir < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		ret = -errno;
		close(start.dir);
		return ret;
	}
	start.control = pair[1];
	if (h->n < HELPERS_MAX)
		pid = fork();
	if (pid == 0)
		folders_run(&start);
	if (pid < 0)
		ret = h->n < HELPERS_MAX ? -errno : -ENOSPC;
	close(pair[1]);
	close(start.dir);
	if (ret < 0) {
		close(pair[0]);
		return ret;
	}
	h->pids[h->n++] = pid;
	*fd = pair[0];
	return 0;
}

/* Waits for the answer, and for a connection if it is a good one. 0 or -errno. */
static int take_answer(int fd, struct folders_answer *a, int *connection)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {a, sizeof(*a)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control.room)};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	const struct cmsghdr *c;
	int n;

	do
		n = poll(&p, 1, ANSWER_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return -ETIMEDOUT;
	if (recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*a))
		return -EPIPE;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(connection, CMSG_DATA(c), sizeof(int));
	a->why[sizeof(a->why) - 1] = '\0';
	return a->error == 0 && *connection < 0 ? -EMFILE : 0;
}

int folders_ask(int *fd, const struct run_vhost *v, int *connection, char *why, size_t size)
{
	struct folders_ask ask = {.readonly = v->readonly, .cache = (uint32_t)v->cache};
	struct folders_answer answer = {.error = 0};
	const size_t len = strlen(v->path);
	int ret;

	*connection = -1;
	if (len >= sizeof(ask.path)) {
		snprintf(why, size, "%s", strerror(ENAMETOOLONG));
		return -ENAMETOOLONG;
	}
	memcpy(ask.path, v->path, len + 1);
	ret = *fd < 0 || send(*fd, &ask, sizeof(ask), MSG_NOSIGNAL) != (ssize_t)sizeof(ask)
		      ? -EPIPE
		      : take_answer(*fd, &answer, connection);
	if (ret == 0 && answer.error == 0)
		return 0;
	if (ret == 0) {
		snprintf(why, size, "%s", answer.why);
		return answer.error;
	}
	if (ret == -EMFILE) {
		snprintf(why, size, "its connection: %s", strerror(EMFILE));
		return ret;
	}
	/* An answer that comes later would be taken for that to another question. */
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	snprintf(why, size, "the process that starts virtiofsd in the sandbox %s",
		 ret == -ETIMEDOUT ? "does not answer" : "is gone");
	return ret;
}
