/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders that come while `catnap run` is closed in, and can start no program: a small process beside
 * it, made before there is a VM, starts virtiofsd for a folder at or below one that was named at the
 * start (--hotplug), and hands a connection with it over. It ends with the process, and what it has
 * started ends with it.
 *
 * It takes no other orders: a path, whether the guest may write, and a word for virtiofsd's cache. It
 * has no descriptors but the folder, the socket that it is asked by and what the messages go to, and
 * of root's capabilities those that virtiofsd works with. The folder that it is asked for is opened
 * once, below the other and never out of there, and given to virtiofsd as a mount, not as a path:
 * whatever is renamed meanwhile, it is that folder.
 *
 * folders.c is the process's side, folders_child.c the other.
 */
#ifndef CLI_RUN_FOLDERS_H
#define CLI_RUN_FOLDERS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/run/helper.h"

struct run_vhost;

/* One SOCK_SEQPACKET message each way. */
struct folders_ask {
	char path[PATH_MAX];
	uint32_t readonly, cache; /* enum run_cache */
};

struct folders_answer {
	int32_t error; /* 0: a connection comes along (SCM_RIGHTS); or -errno, and why */
	char why[508];
};

/* The arguments of the new process. */
struct folders_start {
	int control, dir, messages;
	const char *given; /* the path that dir was opened by */
	pid_t parent;
};

_Noreturn void folders_run(const struct folders_start *start);

/* Starts the process, as one of @h, for folders at or below @dir. Stores the socket by which it is
 * asked in *@fd. 0 or -errno. */
int folders_begin(struct helpers *h, const char *dir, int *fd);

/* Asks it to serve v->path. Stores a connection with virtiofsd. 0, or -errno with a sentence in @why.
 * It waits for 10 s at most; *@fd becomes -1 if nobody is there any more. */
int folders_ask(int *fd, const struct run_vhost *v, int *connection, char *why, size_t size);

#endif
