/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that a command writes because an option says so. All commands open, empty, write and undo
 * them here.
 *
 * Two kinds. A stream (a trace, a log, a serial port's output) is written as it comes; it is opened
 * when the command starts, and emptied when it is known that it will run. A document (statistics, a
 * report) is written at the end, beside the file of that name, and takes its place only when it is
 * whole. A signal, or a full disk, leaves the old one as it was. Where no other file
 * can take its place (not a regular file, several hard links, a folder that may not be written,
 * somebody else's file), it is written where it is.
 *
 * Nothing here waits for a reader without a limit. A FIFO, pipe or terminal is opened anew and
 * never blocks; /dev/stdout and /dev/fd/N are the descriptors of this process, with their position.
 *
 * The main thread's. Functions that return a status have said on standard error what is wrong.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/files.h"
#include "cli/leftovers.h"

#define OUTPUT_TIMEOUT 124 /* the status if the deadline comes first */

/* The outputs of a command have this in common. */
struct outputs {
	struct files files;
	struct leftovers left;
	uint64_t deadline; /* as now_ns(), for a FIFO's reader; UINT64_MAX: none */
};

struct output {
	const char *option, *path; /* NULL: not given */
	int fd;			   /* the file that is written; -1: not open */
	bool regular, append;
	/* a descriptor that we were given: not emptied, and written where it stands */
	bool position;
	/* Documents. */
	char *real, *beside; /* the file itself, and its successor; NULL: it is written in place */
	int old;	     /* the file itself, -1: it was not there */
	struct renamer *renamer; /* gives it its name, if this process may not any more */
};

#define OUTPUT_NONE                 \
	{                           \
		.fd = -1, .old = -1 \
	}

void outputs_init(struct outputs *s, const char *command, uint64_t deadline);
/* Removes what is left of those that never came to be, at the command's end, or that of its
 * start. */
void outputs_free(struct outputs *s);

/*
 * Opens @path, which the caller keeps; NULL is none. Nothing is emptied yet. @mode: of a file that
 * is not there yet, as for open(2). CMD_OK, CMD_USAGE (it is also another's), CMD_ERROR,
 * OUTPUT_TIMEOUT. output_close() may follow in any case.
 */
int output_open(struct outputs *s, struct output *o, const char *option, const char *path,
		mode_t mode);
int output_open_append(struct outputs *s, struct output *o, const char *option, const char *path,
		       mode_t mode);
int output_open_document(struct outputs *s, struct output *o, const char *option, const char *path,
			 mode_t mode);
/* Starts a helper that renames a document, since this process will not be allowed to rename
 * anything. Best before it has much memory. */
void output_before_sandbox(struct outputs *s, struct output *o);
void output_close(struct output *o);

/* Begins the writing: empties a stream's file. */
void output_begin(const struct output *o);

/* The limits of waiting for a reader. */
struct way_out {
	int signals;	      /* a signalfd(2), -1: none: then signals end the process */
	uint64_t deadline;    /* as now_ns(); UINT64_MAX: none */
	uint64_t patience_ns; /* without progress; UINT64_MAX: any */
	int signal;	      /* out: what came, 0: none */
};

/* Waits until @fd takes something. Returns as output_send() does. */
int output_wait(int fd, struct way_out *w);
/* Waits until there is something to read from @fd, or its other end is gone. Returns the same. */
int output_await(int fd, struct way_out *w);
/* Writes all of it, if it is taken. Returns 0 or -errno; -ETIMEDOUT, -EINTR: nobody read it in
 * time. */
int output_send(int fd, const void *data, size_t len, struct way_out *w);
/* Writes the document @text. The same; -EINPROGRESS: it is whole but has not got its name in time,
 * and is o->beside until a process that lives on gives it that. */
int output_write(struct output *o, const void *text, size_t len, struct way_out *w);
/* Gives a document its name that the caller has written to @o->fd. Returns as output_write() does. */
int output_name(struct output *o, struct way_out *w);
/* Returns the reason for @err (-errno, of the two above), for a message. */
const char *output_error(int err);

/* Says one line on standard error, and returns CMD_ERROR. @err: -errno. */
int output_failed(const struct outputs *s, const char *option, const char *path, int err);

/* Returns an open description of our own of what @fd is, which does not block if that is a pipe or
 * a terminal: not to block is a property of the description, which others share. Or a duplicate. */
int output_own(int fd);

/* renamer.c */

/*
 * A process that does one thing: it gives a document its name when the process that wrote it is
 * closed in and may not, and removes it if that never says so, however it ends. It holds no other
 * descriptor and no signal of a terminal ends it.
 */
struct renamer;

/* Starts a renamer from @beside to @real in the same folder; @l is told of it. Returns NULL with
 * errno set if that fails. */
struct renamer *renamer_start(struct leftovers *l, const char *beside, const char *real);
/* Returns 0 or -errno; -EINPROGRESS: it has not answered in time, and does it when it comes to. The
 * second: not renamed but removed, now or then. It is gone, or left to itself, and freed. */
int renamer_rename(struct renamer **r, struct way_out *w);
void renamer_remove(struct renamer **r);

#endif
