/* SPDX-License-Identifier: Apache-2.0 */
/* The process's side of the keeper; see keeper.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/keeper.h"

#define ANSWER_MS 5000 /* it was stopped, or is no more: never for ever */
#define FDS	  2

/* Makes a process, but not by fork(3): nobody but us is to wait for it, or to be told of its
 * end. */
static pid_t new_process(const struct keeper_start *start)
{
	sigset_t all, old;
	long pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
	if (pid == 0)
		keeper_run(start);
	if (pid < 0)
		pid = -errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return (pid_t)pid;
}

int catnap_keeper_start(struct catnap_keeper **out, uint32_t mode, int fd,
			void (*at_end)(void *ctx), void *ctx)
{
	struct keeper_start start = {
		.fd = fd, .parent = getpid(), .mode = mode, .at_end = at_end, .ctx = ctx};
	struct catnap_keeper *k;
	int pair[2];

	if (!out || mode > CATNAP_SANDBOX_ON)
		return -EINVAL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		int ret = -errno;

		free(k);
		return ret;
	}
	start.control = pair[1];
	*k = (struct catnap_keeper){.fd = pair[0], .owner = start.parent, .mode = mode};
	k->pid = new_process(&start);
	close(pair[1]);
	if (k->pid < 0) {
		int ret = k->pid;

		close(k->fd);
		free(k);
		return ret;
	}
	*out = k;
	return 0;
}

static int send_message(const struct catnap_keeper *k, const struct keeper_message *m,
			const int fds[FDS])
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(FDS * sizeof(int))];
	} control = {.room = ""};
	struct iovec iov = {(void *)(uintptr_t)m, sizeof(*m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fds) {
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(FDS * sizeof(int)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), fds, FDS * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
	}
	do
		n = sendmsg(k->fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Waits until there is something to read from it; false: not within @ms. */
static bool wait_for(const struct catnap_keeper *k, int ms)
{
	struct pollfd fd = {.fd = k->fd, .events = POLLIN};
	int n;

	do
		n = poll(&fd, 1, ms);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

static int tell(const struct catnap_keeper *k, const struct keeper_message *m, const int fds[FDS])
{
	int32_t answer;
	int ret = send_message(k, m, fds);

	if (ret < 0)
		return ret;
	if (!wait_for(k, ANSWER_MS))
		return -ETIMEDOUT;
	return read(k->fd, &answer, sizeof(answer)) == sizeof(answer) ? answer : -EPIPE;
}

/* Opens the folder of @path into *dir, and puts what follows it into @m. */
static int open_folder(const char *path, struct keeper_message *m, int *dir)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = strlen(name);
	char *folder;

	if (!len || len >= sizeof(m->name))
		return len ? -ENAMETOOLONG : -EINVAL;
	memcpy(m->name, name, len + 1);
	folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	if (!folder)
		return -ENOMEM;
	*dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	return *dir < 0 ? -errno : 0;
}

int catnap_keeper_add_socket(struct catnap_keeper *k, const char *path)
{
	struct keeper_message m = {.op = KEEPER_SOCKET};
	struct stat st;
	int fds[FDS], ret;

	if (k->sealed || k->owner != getpid())
		return -EPERM;
	ret = open_folder(path, &m, &fds[0]);
	if (ret < 0)
		return ret;
	/* While it is open, no other file gets its number. */
	fds[1] = openat(fds[0], m.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fds[1] < 0 || fstat(fds[1], &st) < 0)
		ret = -errno;
	else
		ret = S_ISSOCK(st.st_mode) ? tell(k, &m, fds) : -ENOTSOCK;
	if (fds[1] >= 0)
		close(fds[1]);
	close(fds[0]);
	return ret;
}

static int connector(struct catnap_keeper *k, enum keeper_op op, const char *path, int *fd)
{
	struct keeper_message m = {.op = op};
	int fds[FDS], pair[2], ret;

	if (k->sealed)
		return -EPERM;
	ret = open_folder(path, &m, &fds[0]);
	if (ret < 0)
		return ret;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		ret = -errno;
		close(fds[0]);
		return ret;
	}
	fds[1] = pair[1];
	ret = tell(k, &m, fds);
	close(pair[1]);
	close(fds[0]);
	if (ret < 0)
		close(pair[0]);
	else
		*fd = pair[0];
	return ret;
}

int keeper_connector(struct catnap_keeper *k, const char *path, int *fd)
{
	return connector(k, KEEPER_CONNECT, path, fd);
}

int keeper_connector_to(struct catnap_keeper *k, const char *path, int *fd)
{
	return connector(k, KEEPER_CONNECT_TO, path, fd);
}

int keeper_seal(struct catnap_keeper *k)
{
	const struct keeper_message m = {.op = KEEPER_SEAL};
	int ret;

	if (k->sealed)
		return 0;
	ret = tell(k, &m, NULL);
	k->sealed = ret == 0;
	return ret;
}

void catnap_keeper_stop(struct catnap_keeper **kp)
{
	const struct keeper_message m = {.op = KEEPER_FINISH};
	struct catnap_keeper *k = *kp;

	if (!k)
		return;
	*kp = NULL;
	/* A child of the process that made it has no say in it. */
	if (k->owner == getpid()) {
		ssize_t n = send(k->fd, &m, sizeof(m), MSG_NOSIGNAL);
		bool ended = n == (ssize_t)sizeof(m) && wait_for(k, ANSWER_MS);

		(void)waitpid(k->pid, NULL, __WALL | (ended || n < 0 ? 0 : WNOHANG));
	}
	close(k->fd);
	free(k);
}
