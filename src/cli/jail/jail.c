/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap jail`: the order of its steps. See jail.h. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/jail/jail.h"
#include "cli/leftovers.h"
#include "cli/now.h"

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Closes all descriptors but the first three and those that are to stay. */
static int close_descriptors(struct jail *j)
{
	unsigned first = STDERR_FILENO + 1;

	qsort(j->fds, j->n_fds, sizeof(j->fds[0]), by_number);
	for (size_t i = 0; i < j->n_fds; i++) {
		unsigned fd = (unsigned)j->fds[i];

		if (fd > first && close_range(first, fd - 1, 0))
			return jail_fail("close_range: %s", strerror(errno));
		if (fd >= first)
			first = fd + 1;
		fcntl((int)fd, F_SETFD, 0);
	}
	return close_range(first, ~0u, 0) ? jail_fail("close_range: %s", strerror(errno)) : 0;
}

static int open_netns(struct jail *j)
{
	if (!j->netns)
		return 0;
	j->netns_fd = open(j->netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return j->netns_fd < 0 ? jail_fail("--netns: %s: %s", j->netns, strerror(errno)) : 0;
}

static int join_netns(const struct jail *j)
{
	if (j->netns_fd < 0 || setns(j->netns_fd, CLONE_NEWNET) == 0)
		return 0;
	return jail_fail("--netns: %s: %s%s", j->netns, strerror(errno),
			 errno == EINVAL ? ": expected the file of a network namespace" : "");
}

static int open_null(struct jail *j)
{
	if (!j->daemonize)
		return 0;
	j->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return j->null_fd < 0 ? jail_fail("--daemonize: /dev/null: %s", strerror(errno)) : 0;
}

/* Takes the steps. Nothing is made before all that is named has been looked at. */
static int steps(struct jail *j)
{
	if (geteuid())
		return jail_fail("not root: expected to be started by root");
	if (close_descriptors(j) || jail_open_exec_file(j) || open_netns(j) || open_null(j))
		return -1;
	if (jail_make_root(j) || jail_copy_exec_file(j) || jail_enter_cgroups(j) ||
	    jail_make_nodes(j) || join_netns(j) || jail_enter_root(j))
		return -1;
	return jail_start(j);
}

static void undo(struct jail *j)
{
	int error;
	size_t failed = undo_all(&j->undo, &error);

	if (failed)
		jail_fail("%zu of what had been made could not be taken back: %s", failed,
			  strerror(error));
}

int cmd_jail(int argc, char **argv)
{
	struct jail j = {
		.base_dir = "/srv/jailer",
		.exec_fd = -1,
		.root_fd = -1,
		.netns_fd = -1,
		.null_fd = -1,
		.start_ns = clock_ns(CLOCK_MONOTONIC),
		.start_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID),
	};
	sigset_t ending, before;
	int status = jail_options(&j, argc, argv);

	if (status < 0) {
		/* No signal comes between the steps: the end is told first what there is. */
		ending_signals(&ending);
		sigprocmask(SIG_BLOCK, &ending, &before);
		status = steps(&j);
		if (status == 0)
			undo_free(&j.undo);
		else
			undo(&j);
		sigprocmask(SIG_SETMASK, &before, NULL);
		if (status > 0)
			raise(status);
		status = status ? CMD_ERROR : CMD_OK;
	}
	jail_options_free(&j);
	return status;
}
