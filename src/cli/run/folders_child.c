/* SPDX-License-Identifier: Apache-2.0 */
/* The process that starts virtiofsd; see folders.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/printable.h"
#include "cli/run/folders.h"
#include "cli/run/run.h"

#define FREE_FD 10 /* above those that have a meaning */
#define BIT(n)	(UINT64_C(1) << (n))

/* Linux 5.6; C libraries may not have it. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define NO_MAGIC 2u /* RESOLVE_NO_MAGICLINKS */
#define BENEATH	 8u /* RESOLVE_BENEATH */

struct how { /* the kernel's struct open_how */
	uint64_t flags, mode, resolve;
};

struct child {
	int control, dir;
	const char *given; /* the path of dir, as it was named */
	char *real;	   /* the same without links; it has those that it had when this began */
	struct helpers helpers;
};

/* -- its own confinement ---------------------------------------------------------------------- */

/* What virtiofsd makes its mounts, its files and itself small with. */
#define KEPT                                                                                      \
	(BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER) |    \
	 BIT(CAP_FSETID) | BIT(CAP_KILL) | BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_SETPCAP) | \
	 BIT(CAP_SYS_CHROOT) | BIT(CAP_SYS_ADMIN) | BIT(CAP_SYS_RESOURCE) | BIT(CAP_MKNOD) |      \
	 BIT(CAP_SETFCAP))

/* Gives up the other capabilities, also for what is started. One without any has none to give up. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	for (unsigned int cap = 0; cap < 64; cap++)
		if (!(KEPT >> cap & 1) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0)
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	if (syscall(SYS_capget, &head, data) < 0)
		return;
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		const uint32_t kept = (uint32_t)((KEPT) >> (32 * i));

		data[i].effective &= kept;
		data[i].permitted &= kept;
		data[i].inheritable &= kept;
	}
	(void)syscall(SYS_capset, &head, data);
}

/* Leaves it @c's two descriptors, and the messages as its standard error. */
static bool keep_open(struct child *c, int messages)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int control = fcntl(c->control, F_DUPFD_CLOEXEC, FREE_FD);
	int dir = fcntl(c->dir, F_DUPFD_CLOEXEC, FREE_FD);

	if (null < 0 || control < 0 || dir < 0 || dup2(messages, STDERR_FILENO) < 0 ||
	    dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return false;
	c->control = dup3(control, STDERR_FILENO + 1, O_CLOEXEC);
	c->dir = dup3(dir, STDERR_FILENO + 2, O_CLOEXEC);
	return c->control >= 0 && c->dir >= 0 &&
	       syscall(SYS_close_range, STDERR_FILENO + 3, ~0u, 0) == 0;
}

/* Returns a descriptor that tells of children that have ended; -1: there is none. */
static int set_signals(void)
{
	sigset_t child;

	/* Handlers here are the process's that this is a copy of. */
	for (int s = 1; s < SIGRTMIN; s++)
		signal(s, SIG_DFL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_SETMASK, &child, NULL);
	return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void close_in(void)
{
	const struct rlimit none = {0, 0};

	prctl(PR_SET_NAME, "catnap-folders", 0, 0, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
	/* Root has them. For others virtiofsd makes its own. */
	(void)unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
	drop_capabilities();
}

/* -- orders ----------------------------------------------------------------------------------- */

static const char *skip_dots(const char *c)
{
	while (*c == '/' || (c[0] == '.' && (c[1] == '/' || !c[1])))
		c++;
	return c;
}

/* Returns what of @path is below @dir, "" for that itself; NULL: it is elsewhere. By the words alone:
 * what else there is on this host is not told. */
static const char *below(const char *path, const char *dir)
{
	if ((*path == '/') != (*dir == '/'))
		return NULL;
	for (;;) {
		size_t len;

		path = skip_dots(path);
		dir = skip_dots(dir);
		if (!*dir)
			return path;
		len = strcspn(dir, "/");
		if (strcspn(path, "/") != len || strncmp(path, dir, len) != 0)
			return NULL;
		path += len;
		dir += len;
	}
}

/* Opens the folder that is asked for. -errno, with a sentence. */
static int open_folder(const struct child *c, const struct run_vhost *v, char *why, size_t size)
{
	const struct how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = BENEATH | NO_MAGIC};
	const char *rest = below(v->path, c->given);
	char shown[128];
	long fd = -EXDEV;

	if (!rest && c->real)
		rest = below(v->path, c->real);
	if (rest) {
		fd = syscall(SYS_openat2, c->dir, *rest ? rest : ".", &how, sizeof(how));
		if (fd >= 0)
			return (int)fd;
		fd = -errno;
	}
	if (fd != -EXDEV)
		return run_no_folder(v, (int)fd, why, size);
	snprintf(why, size,
		 "in the sandbox a folder is at or below that of --hotplug: expected a path that "
		 "begins with %s, and does not lead out of there",
		 opt_printable(c->given, shown, sizeof(shown)));
	return -EXDEV;
}

static int serve(struct child *c, const struct folders_ask *ask, int *connection, char *why,
		 size_t size)
{
	const struct run_vhost v = {.path = (char *)(uintptr_t)ask->path,
				    .readonly = ask->readonly != 0,
				    .cache = (int)ask->cache};
	int fd, ret;

	if (ask->path[sizeof(ask->path) - 1] || ask->cache > CACHE_NONE)
		return -EINVAL;
	fd = open_folder(c, &v, why, size);
	if (fd < 0)
		return fd;
	if (c->real && !strpbrk(c->real, ",\\")) {
		ret = run_place_folder(&v, fd, c->real, &c->helpers, connection, why, size);
	} else {
		snprintf(why, size,
			 "the folder of --hotplug has a comma or a backslash, which virtiofsd does "
			 "not take");
		ret = -EINVAL;
	}
	close(fd);
	return ret;
}

/* Answers one. Returns false if nobody asks any more. */
static bool answer_one(struct child *c)
{
	struct folders_answer a = {.error = 0};
	struct folders_ask ask;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {&a, sizeof(a)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int connection = -1;
	ssize_t n = recv(c->control, &ask, sizeof(ask), MSG_DONTWAIT);

	if (n != sizeof(ask))
		return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
	a.error = serve(c, &ask, &connection, a.why, sizeof(a.why));
	if (a.error == 0) {
		memcpy(CMSG_DATA(&control.head), &connection, sizeof(connection));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
	}
	n = sendmsg(c->control, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (connection >= 0)
		close(connection);
	return n == sizeof(a);
}

static void work(struct child *c, int ended)
{
	struct signalfd_siginfo si;

	for (;;) {
		struct pollfd p[] = {{.fd = c->control, .events = POLLIN},
				     {.fd = ended, .events = POLLIN}};

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents && read(ended, &si, sizeof(si)) == sizeof(si))
			helpers_reap(&c->helpers);
		if (p[0].revents && !answer_one(c))
			return;
	}
}

void folders_run(const struct folders_start *start)
{
	struct child c = {.control = start->control,
			  .dir = start->dir,
			  .given = start->given,
			  .helpers = {.messages = STDERR_FILENO}};
	int ended;

	/* The terminal's signals are the VM's business. */
	setsid();
	if (!child_ends_with(start->parent, SIGKILL) || !keep_open(&c, start->messages))
		_exit(1);
	c.real = realpath(c.given, NULL);
	ended = set_signals();
	close_in();
	if (ended >= 0)
		work(&c, ended);
	close(c.control);
	helpers_end(&c.helpers);
	free(c.real);
	_exit(0);
}
