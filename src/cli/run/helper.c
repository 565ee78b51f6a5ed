/* SPDX-License-Identifier: Apache-2.0 */
/* See helper.h. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/run/helper.h"

#define PATIENCE_MS 2000
#define CLOSING_MS  5000

/* Linux 5.2 and 5.12; C libraries may not have them. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define COPY	  1u	  /* OPEN_TREE_CLONE */
#define EMPTY	  0x1000u /* AT_EMPTY_PATH */
#define TREE	  0x8000u /* AT_RECURSIVE */
#define FROM_FD	  4u	  /* MOVE_MOUNT_F_EMPTY_PATH */
#define READ_ONLY 1u	  /* MOUNT_ATTR_RDONLY */

/* As struct mount_attr, which <sys/mount.h> may define as well. */
struct attributes {
	uint64_t set, clear, propagation, user_ns;
};

#define ALL	0x4000ul  /* MS_REC */
#define PRIVATE 0x40000ul /* MS_PRIVATE */

bool helper_find(const char *name, const char *const *places, char *path, size_t size)
{
	const char *list = getenv("PATH");

	for (; *places; places++) {
		snprintf(path, size, "%s", *places);
		if (access(path, X_OK) == 0)
			return true;
	}
	while (list && *list) {
		int len = (int)strcspn(list, ":");
		int n = snprintf(path, size, "%.*s/%s", len, list, name);

		if (len && n > 0 && (size_t)n < size && access(path, X_OK) == 0)
			return true;
		list += len + (list[len] == ':');
	}
	return false;
}

static int connect_to(int *connection, const struct sockaddr_un *at)
{
	*connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*connection < 0)
		return -errno;
	return connect(*connection, (const struct sockaddr *)at, sizeof(*at)) < 0 ? -errno : 0;
}

int helper_socket(int *listener, int *connection)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char folder[] = "/tmp/catnap-XXXXXX";
	int ret;

	*connection = -1;
	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listener < 0)
		return -errno;
	/* A folder that nobody else can look into, for the moment that the name is there. */
	if (!mkdtemp(folder)) {
		ret = -errno;
		close(*listener);
		return ret;
	}
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", folder);
	ret = bind(*listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(*listener, 1) < 0
		      ? -errno
		      : 0;
	if (ret == 0)
		ret = connect_to(connection, &at);
	unlink(at.sun_path);
	rmdir(folder);
	if (ret == 0)
		return 0;
	close(*listener);
	if (*connection >= 0)
		close(*connection);
	return ret;
}

/* -- in the child ----------------------------------------------------------------------------- */

/* A step that failed, and how. */
struct failure {
	int error;
	unsigned int step;
};

enum { STEP_FD, STEP_FOLDER, STEP_EXEC };
static const char *const steps[] = {"its socket", "the folder among mounts of its own",
				    "the program"};

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* Gives a process that is not root leave to mount, as root in a name space of its own. */
static bool own_mounts(void)
{
	const unsigned int uid = geteuid(), gid = getegid();
	char map[64];

	if (uid == 0)
		return unshare(CLONE_NEWNS) == 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !write_file("/proc/self/setgroups", "deny"))
		return false;
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	if (!write_file("/proc/self/uid_map", map))
		return false;
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	return write_file("/proc/self/gid_map", map);
}

/* Lets this process, and what it starts, see the folder at its place. It is the working directory
 * meanwhile: a descriptor would stay one of the mounts that were there before. */
static bool place_folder(const struct helper_program *p)
{
	const struct attributes attr = {.set = READ_ONLY};
	int tree;

	if (fchdir(p->folder) < 0 || !own_mounts() ||
	    syscall(SYS_mount, "none", "/", NULL, ALL | PRIVATE, NULL) < 0)
		return false;
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, ".", COPY | TREE | O_CLOEXEC);
	return tree >= 0 &&
	       (!p->readonly ||
		syscall(SYS_mount_setattr, tree, "", EMPTY | TREE, &attr, sizeof(attr)) == 0) &&
	       syscall(SYS_move_mount, tree, "", AT_FDCWD, p->place, FROM_FD) == 0 &&
	       chdir("/") == 0;
}

static void close_from_to(unsigned int first, unsigned int last)
{
	if (first <= last)
		syscall(SYS_close_range, first, last, 4 /* CLOSE_RANGE_CLOEXEC */);
}

_Noreturn static void run(const struct helper_program *p, int messages, int tell, pid_t parent)
{
	struct failure f = {.step = STEP_FD};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* The terminal's signals are the VM's business; and nobody is left behind. */
	setsid();
	if (!child_ends_with(parent, SIGKILL))
		_exit(1);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(messages, STDERR_FILENO) < 0)
		goto failed;
	/* All but its own end with the program's begin. */
	close_from_to(STDERR_FILENO + 1, ~0u);
	if (fcntl(p->fd, F_SETFD, 0) < 0)
		goto failed;
	f.step = STEP_FOLDER;
	if (p->place && !place_folder(p))
		goto failed;
	f.step = STEP_EXEC;
	execv(p->argv[0], (char *const *)(uintptr_t)p->argv);
failed:
	f.error = errno;
	if (write(tell, &f, sizeof(f)) < 0)
		_exit(2);
	_exit(1);
}

/* -- in the parent ---------------------------------------------------------------------------- */

void helpers_reap(struct helpers *h)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < h->n; i++)
		if (waitpid(h->pids[i], NULL, WNOHANG) == 0)
			h->pids[left++] = h->pids[i];
	h->n = left;
}

int helper_start(struct helpers *h, const struct helper_program *p, const char **what)
{
	const pid_t parent = getpid();
	struct failure f;
	int pipe_fds[2];
	ssize_t n;
	pid_t pid;

	*what = "a process";
	helpers_reap(h);
	if (h->n == HELPERS_MAX)
		return -ENOSPC;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run(p, h->messages, pipe_fds[1], parent);
	close(pipe_fds[1]);
	if (pid < 0) {
		n = -errno;
		close(pipe_fds[0]);
		return (int)n;
	}
	do
		n = read(pipe_fds[0], &f, sizeof(f));
	while (n < 0 && errno == EINTR);
	close(pipe_fds[0]);
	if (n == sizeof(f)) {
		(void)waitpid(pid, NULL, 0);
		*what = steps[f.step];
		return -f.error;
	}
	h->pids[h->n++] = pid;
	return 0;
}

/* Returns how many filters of system calls a process has (Linux 5.9); -1: it is not told. */
static int filters_of(pid_t pid)
{
	char path[32], line[128];
	int n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && n < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "Seccomp_filters: %d", &n) != 1)
			n = -1;
	if (f)
		fclose(f);
	return n;
}

static const struct timespec moment = {.tv_nsec = 1000000};

bool helper_closed_in(const struct helpers *h)
{
	const pid_t pid = h->pids[h->n - 1];
	const int before = filters_of(getpid());

	for (unsigned int ms = 0; ms < CLOSING_MS; ms++) {
		siginfo_t ended = {.si_pid = 0};

		if (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		    ended.si_pid)
			return false;
		if (before < 0 || filters_of(pid) > before)
			return true;
		nanosleep(&moment, NULL);
	}
	return true;
}

void helpers_end(struct helpers *h)
{
	for (unsigned int ms = 0; h->n && ms < PATIENCE_MS;) {
		if (waitpid(h->pids[h->n - 1], NULL, WNOHANG) != 0) {
			h->n--;
		} else {
			nanosleep(&moment, NULL);
			ms++;
		}
	}
	/* The helpers that are left end with this process. */
	h->n = 0;
}
