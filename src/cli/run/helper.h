/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that serve a device of the VM, and that `catnap run` starts by itself: each is a child with
 * one socket, its messages among ours, in a session of its own. It ends when its socket does, and at
 * the latest with this process; but one that becomes another user (passt that root starts) ends with
 * its socket only, for then the kernel forgets that it is to be killed.
 */
#ifndef CLI_RUN_HELPER_H
#define CLI_RUN_HELPER_H

#include <stdbool.h>
#include <sys/types.h>

#define HELPERS_MAX 24 /* 16 folders, and 8 interfaces */

struct helpers {
	pid_t pids[HELPERS_MAX];
	unsigned int n;
	int messages; /* what is the helpers' standard error */
};

struct helper_program {
	const char *const *argv; /* ends with NULL; argv[0] is a path */
	int fd;			 /* that it keeps, under that number */
	const char *place;	 /* where it finds @folder, in mounts of its own; NULL: no such */
	int folder;
	bool readonly; /* it cannot change that */
};

/* Stores the path of program @name, among @places or in the environment's PATH, in @path. False: it is
 * nowhere. */
bool helper_find(const char *name, const char *const *places, char *path, size_t size);
/*
 * Makes a listening socket that has no name any more, and a connection that waits at it. 0 or -errno.
 */
int helper_socket(int *listener, int *connection);
/* Takes note of those that have ended, whose devices have gone. */
void helpers_reap(struct helpers *h);
/* Starts it, while the process is not closed in. 0, or -errno, with what failed in *@what. */
int helper_start(struct helpers *h, const struct helper_program *p, const char **what);
/* Waits until the one that was started last has closed itself in (seccomp), which programs do once
 * they have what they need, for some seconds at most. False: it has ended. */
bool helper_closed_in(const struct helpers *h);
/* Waits for those that were started, for a moment: their sockets are closed. */
void helpers_end(struct helpers *h);

#endif
