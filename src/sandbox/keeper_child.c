/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does the work of the keeper; see keeper.h. It may have been copied out of a process with many
 * threads, so it calls nothing that takes a lock of libc's or allocates.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "handover.h"
#include "sandbox/enter.h"
#include "sandbox/filter.h"
#include "sandbox/keeper.h"
#include "sandbox/landlock.h"

#define FDS 2

struct kept {
	int dir, socket;
	char name[KEEPER_NAME];
};

struct connector {
	int dir, channel; /* channel -1: it was closed */
	char prefix[KEEPER_NAME];
	bool by_number; /* /proc/self/fd is there */
	bool whole;	/* prefix is all of the name */
};

struct keeper {
	const struct keeper_start *start;
	int parent; /* pidfd; -1: not to be had */
	bool sealed;
	unsigned int n_kept, n_connectors;
	struct kept kept[KEEPER_SOCKETS];
	struct connector connectors[KEEPER_CONNECTORS];
};

_Noreturn static void leave(void)
{
	for (;;)
		syscall(SYS_exit_group, 0);
}

/* -- what is left open ------------------------------------------------------------------------ */

static void close_from_to(unsigned int first, unsigned int last)
{
	const unsigned int most = 1u << 16;

	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return;
	for (unsigned int fd = first; fd <= last && fd < most; fd++)
		close((int)fd);
}

static void close_all_but(int a, int b)
{
	unsigned int low = (unsigned int)(b < 0 || a < b ? a : b);
	unsigned int high = (unsigned int)(b < 0 || a > b ? a : b);

	if (low)
		close_from_to(0, low - 1);
	close_from_to(low + 1, high ? high - 1 : 0);
	close_from_to(high + 1, ~0u);
}

static void limit(int what, rlim_t most)
{
	const struct rlimit none = {most, most};

	(void)setrlimit(what, &none);
}

/* -- orders ----------------------------------------------------------------------------------- */

/* Takes one message, and its descriptors, -1 where there is none. Returns how long it is; 0: nobody
 * will send any more. */
static ssize_t take(int from, void *data, size_t len, int fds[FDS])
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(FDS * sizeof(int))];
	} control;
	struct iovec iov = {data, len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control.room)};
	const struct cmsghdr *c;
	ssize_t n = recvmsg(from, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	fds[0] = fds[1] = -1;
	c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c),
		       c->cmsg_len < CMSG_LEN(FDS * sizeof(int)) ? sizeof(int) : FDS * sizeof(int));
	return n;
}

static int keep_socket(struct keeper *k, const struct keeper_message *m, const int fds[FDS])
{
	struct kept *s = &k->kept[k->n_kept];

	if (k->n_kept == KEEPER_SOCKETS)
		return -ENOSPC;
	s->dir = fds[0];
	s->socket = fds[1];
	memcpy(s->name, m->name, sizeof(s->name));
	k->n_kept++;
	return 0;
}

static void own_path(char path[32], int fd)
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
}

static int add_connector(struct keeper *k, const struct keeper_message *m, const int fds[FDS])
{
	struct connector *c = &k->connectors[k->n_connectors];
	struct stat st;
	char path[32];

	if (k->n_connectors == KEEPER_CONNECTORS)
		return -ENOSPC;
	own_path(path, fds[0]);
	c->by_number = stat(path, &st) == 0;
	c->dir = fds[0];
	c->channel = fds[1];
	memcpy(c->prefix, m->name, sizeof(c->prefix));
	c->whole = m->op == KEEPER_CONNECT_TO;
	k->n_connectors++;
	return 0;
}

/* Restricts the process by Landlock: it may remove files of the folders, and connect to sockets
 * there; no more. */
static int restrict_paths(const struct keeper *k)
{
	int ruleset = landlock_ruleset(), ret = 0;

	if (ruleset == -ENOTSUP)
		return 0;
	if (ruleset < 0)
		return ruleset;
	for (unsigned int i = 0; i < k->n_kept && ret == 0; i++)
		ret = landlock_allow(ruleset, k->kept[i].dir, LANDLOCK_FS_REMOVE_FILE);
	for (unsigned int i = 0; i < k->n_connectors && ret == 0; i++)
		ret = landlock_allow(ruleset, k->connectors[i].dir, LANDLOCK_FS_RESOLVE_UNIX);
	if (ret == 0)
		ret = landlock_enter(ruleset);
	close(ruleset);
	return ret;
}

static int seal(struct keeper *k)
{
	enum catnap_sandbox_mode mode = (enum catnap_sandbox_mode)k->start->mode;
	struct sandbox_filter filter;
	int ret = 0;

	if (k->sealed || mode == CATNAP_SANDBOX_OFF)
		goto sealed;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (mode == CATNAP_SANDBOX_ON) {
		ret = sandbox_drop_capabilities();
		if (ret == 0)
			ret = restrict_paths(k);
	}
	if (ret < 0)
		return ret;
	sandbox_filter_make(&filter, SANDBOX_KEEPER, 0, mode, getpid());
	ret = sandbox_filter_install(&filter);
	if (ret < 0)
		return ret;
sealed:
	k->sealed = true;
	return 0;
}

static int obey(struct keeper *k, const struct keeper_message *m, int fds[FDS])
{
	int ret = -EPERM;

	if (m->op == KEEPER_SEAL) {
		ret = seal(k);
	} else if (!k->sealed && fds[0] >= 0 && fds[1] >= 0 && !m->name[KEEPER_NAME - 1]) {
		if (m->op == KEEPER_SOCKET)
			ret = keep_socket(k, m, fds);
		else if (m->op == KEEPER_CONNECT || m->op == KEEPER_CONNECT_TO)
			ret = add_connector(k, m, fds);
		if (ret == 0)
			return 0; /* the descriptors are its own now */
	}
	for (int i = 0; i < FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return ret;
}

/* Returns 1: go on; 0: the process ends in order; -1: it has ended. */
static int control(struct keeper *k)
{
	struct keeper_message m;
	int fds[FDS];
	ssize_t n = take(k->start->control, &m, sizeof(m), fds);
	int32_t answer = -EINVAL;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 1 : -1;
	if (n == 0)
		return -1;
	if (n == sizeof(m)) {
		if (m.op == KEEPER_FINISH)
			return 0;
		answer = obey(k, &m, fds);
	}
	(void)send(k->start->control, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
	return 1;
}

/* -- connections ------------------------------------------------------------------------------ */

/*
 * Connects to a socket of the folder. It looks at the file itself first, and then connects to that
 * very file: not to what a symbolic link in the folder leads to, which would be any socket of the
 * host's.
 */
static int connect_to(const struct connector *c, const char *name)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int ret = -ECONNREFUSED, fd, file;
	struct stat st;

	file = openat(c->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (file < 0)
		return -errno;
	if (fstat(file, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		close(file);
		return ret;
	}
	if (c->by_number) {
		own_path(to.sun_path, file);
	} else if (fchdir(c->dir) == 0 && strlen(name) < sizeof(to.sun_path)) {
		memcpy(to.sun_path, name, strlen(name) + 1);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		fd = ret;
	}
	close(file);
	return fd;
}

static void give(int channel, uint32_t serial, int fd)
{
	struct handover_answer a = {.serial = serial, .error = fd < 0 ? fd : 0};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {&a, sizeof(a)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
	}
	/* An asker that does not take its answers gets no more of them. Too many descriptors of
	 * this user's under way (ETOOMANYREFS) are no reason to say nothing: the error is sent
	 * without one. */
	if (sendmsg(channel, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN && fd >= 0) {
		a.error = -errno;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
		(void)sendmsg(channel, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	if (fd >= 0)
		close(fd);
}

static void answer(struct connector *c)
{
	char name[KEEPER_NAME + 16];
	struct handover_ask ask;
	int fds[FDS];
	ssize_t n = take(c->channel, &ask, sizeof(ask), fds);

	for (int i = 0; i < FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		close(c->channel);
		c->channel = -1;
	}
	if (n != sizeof(ask))
		return;
	if (c->whole)
		snprintf(name, sizeof(name), "%s", c->prefix);
	else
		snprintf(name, sizeof(name), "%s_%u", c->prefix, ask.port);
	give(c->channel, ask.serial, connect_to(c, name));
}

/* -- its life --------------------------------------------------------------------------------- */

static void remove_sockets(const struct keeper *k)
{
	for (unsigned int i = 0; i < k->n_kept; i++) {
		const struct kept *s = &k->kept[i];
		struct stat ours, there;

		/* Not what somebody else has put there meanwhile. */
		if (fstat(s->socket, &ours) == 0 &&
		    fstatat(s->dir, s->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
		    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
			(void)unlinkat(s->dir, s->name, 0);
	}
}

/* Returns true if the end is an orderly one. */
static bool keep(struct keeper *k)
{
	for (;;) {
		struct pollfd p[2 + KEEPER_CONNECTORS] = {
			{.fd = k->start->control, .events = POLLIN},
			{.fd = k->parent, .events = POLLIN},
		};
		int more = 1;

		for (unsigned int i = 0; i < k->n_connectors; i++)
			p[2 + i] =
				(struct pollfd){.fd = k->connectors[i].channel, .events = POLLIN};
		if (poll(p, 2 + k->n_connectors, -1) < 0)
			continue;
		if (p[0].revents)
			more = control(k);
		if (more <= 0)
			return more == 0;
		if (p[1].revents)
			return false;
		for (unsigned int i = 0; i < KEEPER_CONNECTORS; i++)
			if (i < k->n_connectors && p[2 + i].revents)
				answer(&k->connectors[i]);
	}
}

void keeper_run(const struct keeper_start *start)
{
	struct keeper k = {.start = start};

	close_all_but(start->control, start->fd);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_NPROC, 0);
	prctl(PR_SET_NAME, "catnap-keeper", 0, 0, 0);
	if (chdir("/") < 0)
		errno = 0; /* it only would hold a file system */
	k.parent = (int)syscall(SYS_pidfd_open, start->parent, 0);
	/* One that had ended before it could be watched is nobody's parent any more. */
	if ((getppid() != start->parent || !keep(&k)) && start->at_end)
		start->at_end(start->ctx);
	remove_sockets(&k);
	leave();
}
