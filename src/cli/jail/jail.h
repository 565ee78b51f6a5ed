/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap jail`: a program in an empty root, with ids, namespaces, a control group and limits of its
 * own. The steps are those of Firecracker's jailer, in its order and by its names; what they leave
 * on the host is where it leaves it, in <base>/<program>/<id>/root and
 * <hierarchy>/<parent>/<id>.
 *
 * The process that is called becomes the program. Until it has, each thing that is made is told to
 * struct undo (undo.h), and a step that fails is the end of them all.
 *
 * Files below the base folder may have been prepared by others, or be left behind by a guest's
 * monitor that was taken over. They are reached by descriptors, one name at a time, and no symbolic
 * link is followed.
 *
 * One thread's. Functions that return an int return 0, or -1 after a line on standard error.
 */
#ifndef CLI_JAIL_H
#define CLI_JAIL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "cli/jail/undo.h"
#include "cli/opts.h"

#define JAIL_CGROUPS 64
#define JAIL_LIMITS  2
#define JAIL_FDS     64

/* The longest name of a program: "NAME.pid" must be a file's name, too. */
#define JAIL_NAME (NAME_MAX - 4)

struct jail_cgroup {
	char *file;	  /* "cpuset.cpus" */
	char *controller; /* "cpuset" */
	char *value;
};

struct jail_limit {
	int resource; /* RLIMIT_FSIZE */
	rlim_t value;
};

struct jail {
	/* As asked. */
	const char *id, *exec_file, *base_dir, *parent_cgroup, *netns;
	uint32_t uid, gid, cgroup_version; /* 0: as the host has it */
	struct jail_cgroup cgroups[JAIL_CGROUPS];
	size_t n_cgroups;
	struct jail_limit limits[JAIL_LIMITS];
	size_t n_limits;
	int fds[JAIL_FDS]; /* descriptors that stay open, besides the first three */
	size_t n_fds;
	bool new_pid_ns, daemonize;
	char **args; /* the program's */
	size_t n_args;
	struct opts opts; /* holds the strings above */

	/* As made. Descriptors are closed on exec; -1: none. */
	char name[JAIL_NAME + 1];     /* the program's: the last part of exec_file */
	char root_path[2 * PATH_MAX]; /* <base>/<program>/<id>/root */
	int exec_fd, root_fd, netns_fd, null_fd;
	uint64_t start_ns, start_cpu_ns; /* CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID */
	struct undo undo;
};

/* -- fail.c: says "catnap jail: " and what follows; returns -1. */
int jail_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* -- options.c: takes argv into @j. Returns -1 to go on, or the exit status; jail_options_free()
 * follows. */
int jail_options(struct jail *j, int argc, char **argv);
void jail_options_free(struct jail *j);

/* -- exec_file.c: opens the program, which needs nothing beside itself in an empty root. */
int jail_open_exec_file(struct jail *j);
/* Makes a copy of it in the root. */
int jail_copy_exec_file(struct jail *j);

/* -- root.c: makes the folder, and what is in it. */
int jail_make_root(struct jail *j);
int jail_make_nodes(struct jail *j);
/* Makes the folder the root of this process; nothing else is mounted then. */
int jail_enter_root(struct jail *j);

/* -- cgroup.c: makes the groups and moves this process there. */
int jail_enter_cgroups(struct jail *j);

/* -- rights.c: give up rights for good. */
int jail_set_limits(const struct jail *j);
/* Gives the process the ids, and takes each right that goes with root's. The permitted set stays
 * until execve(2), so that jail_regain() can give back what undoing takes. */
int jail_drop_rights(const struct jail *j);
void jail_regain(void);

/* -- start.c: becomes the program, or starts it. Returns the exit status; a line has been said if
 * that is not 0. */
int jail_start(struct jail *j);

#endif
