/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All files of one command line, with the options that name them, so that none is written over
 * another: an output given the path of a disk would empty it, two outputs to one file leave one.
 * They are compared by what they are (device and inode, a block device by its number) and by where
 * they are (folder and name, without symbolic links), before anything is made, emptied or written;
 * and each once more when it is open.
 *
 * One thread's.
 */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum file_use {
	FILE_READ,   /* by this process */
	FILE_DISK,   /* written by the guest; with another disk it is the library that compares */
	FILE_APPEND, /* the file's contents stay */
	FILE_WRITE,  /* the file's contents go; a socket's name, too */
};

enum file_kind {
	FILE_UNKNOWN, /* it cannot be looked at: who opens it says why */
	FILE_OTHER,   /* a terminal, /dev/null: as many as like may write there */
	FILE_INODE,   /* dev, ino */
	FILE_BLOCK,   /* dev: the device's own number */
	FILE_ABSENT,  /* to be made: there is only its place */
};

struct file_id {
	enum file_kind kind;
	bool pipe;
	dev_t dev;
	ino_t ino;
};

/* Where a file is, or will be: it stays, while what is there is made, set aside and replaced. */
struct file_place {
	dev_t dev; /* a folder */
	ino_t ino;
	char name[2 * NAME_MAX + 3]; /* with a folder that is not there yet, too; "": unknown */
};

struct file_entry {
	const char *option; /* "stats"; "standard output" */
	char *path;	    /* NULL: a standard stream */
	enum file_use use;
	int fd; /* which descriptor of this process the path names, or the stream; -1: none */
	struct file_id id;
	struct file_place place; /* of what is no descriptor */
};

struct files {
	const char *command; /* "run", for messages */
	struct file_entry *entries;
	size_t n;
	bool no_memory;
};

/* Sets *@f up, with the standard streams in it. files_free() must follow. */
void files_init(struct files *f, const char *command);
void files_free(struct files *f);
/* Adds that @option, without dashes, leads to @path, copied; NULL: not given. @option stays the
 * caller's. */
void files_add(struct files *f, const char *option, const char *path, enum file_use use);
/* Checks that they are all different, as far as it matters. Returns CMD_OK, or CMD_USAGE or
 * CMD_ERROR after a line on standard error. */
int files_check(const struct files *f);
/* Checks the same for what @option has just opened as @fd, and all that was opened before it. */
int files_check_open(struct files *f, const char *option, const char *path, int fd,
		     enum file_use use);
/* Notes that the file is closed. Another file may have its name now, or its inode number. */
void files_closed(struct files *f, const char *option, const char *path);

/* Finds where the symbolic links of @path end. */
void files_resolve(const char *path, char real[PATH_MAX]);
/* Returns the descriptor that @path names (/dev/stdout, /dev/fd/N, /proc/self/fd/N); -1: none. */
int files_descriptor(const char *path);

#endif
