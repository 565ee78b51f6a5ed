/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of what has been made or changed outside the process, so that it can be taken back, the
 * last first. Files are reached by the descriptors of their folders: these lead there even from
 * inside another root, and past no symbolic link. Descriptors are closed on exec.
 *
 * One thread's.
 */
#ifndef CLI_JAIL_UNDO_H
#define CLI_JAIL_UNDO_H

#include <limits.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define UNDO_STEPS 512
#define UNDO_TEXT  256

enum undo_kind {
	UNDO_FILE,   /* removes @name in the folder @fd */
	UNDO_FOLDER, /* the same for a folder, which must be empty by then */
	UNDO_OWNER,  /* gives @fd its owner and mode back */
	UNDO_WRITE,  /* writes @name to the file @fd */
};

struct undo_step {
	enum undo_kind kind;
	int fd;
	uid_t uid;
	gid_t gid;
	mode_t mode;
	char name[UNDO_TEXT];
};

struct undo {
	struct undo_step *steps;
	size_t n;
};

/* Note a step, with a duplicate of @fd. Return 0 or -errno; then nothing is noted. */
int undo_add_file(struct undo *u, int fd, const char *name);
int undo_add_folder(struct undo *u, int fd, const char *name);
int undo_add_owner(struct undo *u, int fd);
int undo_add_write(struct undo *u, int fd, const char *text);
/* Takes all back. Returns how many could not be; *@error is why the first could not, an errno
 * value. */
size_t undo_all(struct undo *u, int *error);
/* Forgets the steps: all stays as it is. */
void undo_free(struct undo *u);

#endif
