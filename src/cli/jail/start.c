/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last steps of a jail: the process becomes the program, or a child does, the first one of a
 * new PID namespace. In both cases, what has been made so far stays if, and only if, the program
 * runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/jail/jail.h"
#include "cli/leftovers.h"
#include "cli/now.h"

/* -- the program's command line --------------------------------------------------------------- */

#define EXTRA 8 /* --id ID and three times */

struct line {
	char **argv;
	char start_us[24], start_cpu_us[24], parent_cpu_us[24];
};

/* Tells whether the program takes --id and the times, and where. A monitor with Firecracker's
 * command line takes them first, catnap after its command serve, any other program knows none of
 * them. */
static bool takes_id(const struct jail *j, size_t *after)
{
	*after = 0;
	if (strstr(j->name, "firecracker"))
		return true;
	*after = 1;
	return strcmp(j->name, "catnap") == 0 && j->n_args && strcmp(j->args[0], "serve") == 0;
}

/* Makes the command line. @child: the process has done no work yet; its parent did. */
static int make_line(struct jail *j, bool child, struct line *l)
{
	uint64_t spent = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - j->start_cpu_ns;
	size_t after, n = 0, i = 0;
	bool id = takes_id(j, &after);
	char *const extra[EXTRA] = {"--id",
				    (char *)j->id,
				    "--start-time-us",
				    l->start_us,
				    "--start-time-cpu-us",
				    l->start_cpu_us,
				    "--parent-cpu-time-us",
				    l->parent_cpu_us};

	l->argv = calloc(j->n_args + EXTRA + 2, sizeof(*l->argv));
	if (!l->argv)
		return -1;
	snprintf(l->start_us, sizeof(l->start_us), "%llu", (unsigned long long)j->start_ns / 1000);
	snprintf(l->start_cpu_us, sizeof(l->start_cpu_us), "%llu",
		 child ? 0 : (unsigned long long)j->start_cpu_ns / 1000);
	snprintf(l->parent_cpu_us, sizeof(l->parent_cpu_us), "%llu",
		 (unsigned long long)spent / 1000);
	l->argv[n++] = j->name;
	while (id && i < after)
		l->argv[n++] = j->args[i++];
	for (size_t k = 0; id && k < EXTRA; k++)
		l->argv[n++] = extra[k];
	while (i < j->n_args)
		l->argv[n++] = j->args[i++];
	return 0;
}

/* -- becoming the program --------------------------------------------------------------------- */

/* Restores the signals: none is blocked, and none is ignored, because catnap does so. */
static void restore_signals(void)
{
	sigset_t none;

	signal(SIGXFSZ, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Returns a signal that came while the steps were taken, and waits; 0: none. */
static int pending_signal(void)
{
	sigset_t ending, pending;

	ending_signals(&ending);
	sigpending(&pending);
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		if (sigismember(&ending, sig) == 1 && sigismember(&pending, sig) == 1 &&
		    sig != SIGPIPE)
			return sig;
	return 0;
}

/* Returns if it failed: -1 after a line, or the signal that is the end. */
static int become(struct jail *j, bool child)
{
	char path[sizeof(j->name) + 1];
	struct line line = {0};
	int sig;

	if (make_line(j, child, &line))
		return jail_fail("%s", strerror(ENOMEM));
	snprintf(path, sizeof(path), "/%s", j->name);
	if (jail_set_limits(j) || jail_drop_rights(j)) {
		free(line.argv);
		return -1;
	}
	if (j->daemonize &&
	    (dup2(j->null_fd, STDIN_FILENO) < 0 || dup2(j->null_fd, STDOUT_FILENO) < 0))
		return jail_fail("--daemonize: %s", strerror(errno));
	sig = pending_signal();
	if (!sig) {
		char *const none[] = {NULL};
		int said = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

		if (j->daemonize)
			dup2(j->null_fd, STDERR_FILENO);
		restore_signals();
		execve(path, line.argv, none);
		if (said >= 0)
			dup2(said, STDERR_FILENO);
		jail_fail("%s%s: %s", j->root_path, path, strerror(errno));
		sig = -1;
	}
	free(line.argv);
	return sig;
}

/* -- a child ---------------------------------------------------------------------------------- */

/* Waits, in the child, until its PID is in the file. Ends the process. */
static void child(struct jail *j, int fd)
{
	char go;
	int ret = -1;

	/* The parent has ended: so has the whole. */
	if (read(fd, &go, 1) == 1) {
		if (j->daemonize && setsid() < 0)
			jail_fail("--daemonize: %s", strerror(errno));
		else
			ret = become(j, true);
	}
	/* Nothing of it is the parent's business but that it was not exec. */
	if (write(fd, &ret, sizeof(ret)) != sizeof(ret))
		_exit(CMD_ERROR);
	_exit(CMD_ERROR);
}

static int write_pid(struct jail *j, pid_t pid)
{
	char name[JAIL_NAME + 5], text[24];
	int fd, ret = 0, len = snprintf(text, sizeof(text), "%d", pid);

	snprintf(name, sizeof(name), "%s.pid", j->name);
	fd = openat(j->root_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return jail_fail("%s/%s: %s", j->root_path, name, strerror(errno));
	ret = undo_add_file(&j->undo, j->root_fd, name);
	if (ret)
		unlinkat(j->root_fd, name, 0);
	else if (write(fd, text, (size_t)len) != len)
		ret = -errno;
	close(fd);
	return ret ? jail_fail("%s/%s: %s", j->root_path, name, strerror(-ret)) : 0;
}

/* Lets the child go on, in the parent. Returns 0: the program runs. */
static int let_go(struct jail *j, pid_t pid, int fd)
{
	int ret = write_pid(j, pid);
	ssize_t n;

	if (ret == 0 && write(fd, "", 1) != 1)
		ret = jail_fail("the child: %s", strerror(errno));
	if (ret == 0) {
		/* The descriptor is closed on exec: nothing comes then. A signal kills it too, but
		 * then it has not been started either. */
		n = read(fd, &ret, sizeof(ret));
		if (n == 0)
			return 0;
		if (n != sizeof(ret) || ret == 0)
			ret = -1;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return ret;
}

static int start_child(struct jail *j)
{
	int pair[2], ret = -1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return jail_fail("the child: %s", strerror(errno));
	if (j->new_pid_ns && unshare(CLONE_NEWPID)) {
		jail_fail("--new-pid-ns: %s", strerror(errno));
		goto out;
	}
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		child(j, pair[1]);
	}
	if (pid < 0) {
		jail_fail("the child: %s", strerror(errno));
		goto out;
	}
	close(pair[1]);
	pair[1] = -1;
	ret = let_go(j, pid, pair[0]);
out:
	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
	return ret;
}

int jail_start(struct jail *j)
{
	int ret;

	/* A leader of a process group cannot have a session of its own; a child can. */
	if (j->new_pid_ns || (j->daemonize && getpgrp() == getpid()))
		return start_child(j);
	if (j->daemonize && setsid() < 0)
		return jail_fail("--daemonize: %s", strerror(errno));
	ret = become(j, false);
	jail_regain();
	return ret;
}
