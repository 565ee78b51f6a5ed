/* SPDX-License-Identifier: Apache-2.0 */
/* See output.h: opening, emptying, closing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/output.h"

#define READER_LOOK_NS 20000000 /* between two looks for a FIFO's reader */

void outputs_init(struct outputs *s, const char *command, uint64_t deadline)
{
	files_init(&s->files, command);
	s->deadline = deadline;
	leftovers_watch(&s->left);
}

void outputs_free(struct outputs *s)
{
	leftovers_remove(&s->left);
	leftovers_end(&s->left);
	files_free(&s->files);
}

int output_failed(const struct outputs *s, const char *option, const char *path, int err)
{
	char shown[160];

	fprintf(stderr, "catnap %s: --%s: %s: %s\n", s->files.command, option,
		opt_printable(path, shown, sizeof(shown)), output_error(err));
	return CMD_ERROR;
}

/* -- opening ---------------------------------------------------------------------------------- */

int output_own(int fd)
{
	char path[32];
	struct stat st;
	int own = -1;

	if (fstat(fd, &st) < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* Opens a descriptor that this process was given. Returns -1 with errno set if that fails. */
static int open_given(struct output *o, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	o->position = true;
	if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) {
		errno = EBADF;
		return -1;
	}
	return flags < 0 ? -1 : output_own(fd);
}

/* Waits until a FIFO has a reader. Returns a status. */
static int wait_for_reader(const struct outputs *s, struct output *o, int flags)
{
	const struct timespec pause = {.tv_nsec = READER_LOOK_NS};
	char shown[160];

	opt_printable(o->path, shown, sizeof(shown));
	fprintf(stderr, "catnap %s: --%s: %s: nobody reads this FIFO yet: waiting for a reader\n",
		s->files.command, o->option, shown);
	while ((o->fd = open(o->path, flags)) < 0 && errno == ENXIO) {
		if (now_ns() >= s->deadline) {
			fprintf(stderr,
				"catnap %s: --timeout: the time is over, and nobody has read %s\n",
				s->files.command, shown);
			return OUTPUT_TIMEOUT;
		}
		nanosleep(&pause, NULL);
	}
	return o->fd < 0 ? output_failed(s, o->option, o->path, -errno) : CMD_OK;
}

static bool is_fifo(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* Opens what has the name, or makes it. @made: it was made. */
static int open_path(struct outputs *s, struct output *o, mode_t mode, bool *made)
{
	int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (o->append ? O_APPEND : 0);
	char real[PATH_MAX];
	sigset_t before;
	int saved;

	/* O_EXCL would not follow a link that leads nowhere. */
	files_resolve(o->path, real);
	leftovers_hold(&before);
	o->fd = open(real, flags | O_CREAT | O_EXCL, mode);
	saved = errno;
	*made = o->fd >= 0;
	if (*made)
		leftovers_add(&s->left, real);
	leftovers_let(&before);
	if (o->fd < 0 && saved == EEXIST) {
		o->fd = open(o->path, flags);
		saved = errno;
	}
	if (o->fd < 0 && saved == ENXIO && is_fifo(o->path))
		return wait_for_reader(s, o, flags);
	return o->fd < 0 ? output_failed(s, o->option, o->path, -saved) : CMD_OK;
}

/* Opens an output of any kind. */
static int open_any(struct outputs *s, struct output *o, mode_t mode, bool *made)
{
	int given = files_descriptor(o->path), status = CMD_OK;
	struct stat st;

	*made = false;
	if (given >= 0) {
		o->fd = open_given(o, given);
		if (o->fd < 0)
			return output_failed(s, o->option, o->path, -errno);
	} else {
		status = open_path(s, o, mode, made);
	}
	if (status == CMD_OK)
		status = files_check_open(&s->files, o->option, o->path, o->fd,
					  o->append ? FILE_APPEND : FILE_WRITE);
	if (status == CMD_OK && fstat(o->fd, &st) == 0)
		o->regular = S_ISREG(st.st_mode);
	return status;
}

static void init(struct output *o, const char *option, const char *path)
{
	*o = (struct output){.option = option, .path = path, .fd = -1, .old = -1};
}

int output_open(struct outputs *s, struct output *o, const char *option, const char *path,
		mode_t mode)
{
	bool made;

	init(o, option, path);
	return path ? open_any(s, o, mode, &made) : CMD_OK;
}

int output_open_append(struct outputs *s, struct output *o, const char *option, const char *path,
		       mode_t mode)
{
	bool made;

	init(o, option, path);
	o->append = true;
	return path ? open_any(s, o, mode, &made) : CMD_OK;
}

void output_begin(const struct output *o)
{
	/* A file that cannot be emptied is told of when it cannot be written. */
	if (o->fd >= 0 && o->regular && !o->position && !o->append && ftruncate(o->fd, 0) < 0)
		errno = 0;
}

void output_close(struct output *o)
{
	renamer_remove(&o->renamer);
	if (o->old >= 0)
		close(o->old);
	if (o->fd >= 0)
		close(o->fd);
	free(o->real);
	free(o->beside);
	init(o, o->option, o->path);
}

/* -- documents -------------------------------------------------------------------------------- */

/* Returns a name beside @real: .NAME.XXXXXX, for mkostemp(3). NULL: none, or no memory. */
static char *beside_of(const char *real)
{
	const char *slash = strrchr(real, '/'), *name = slash ? slash + 1 : real;
	char *text;

	return asprintf(&text, "%.*s.%.200s.XXXXXX", (int)(name - real), real, name) < 0 ? NULL
											 : text;
}

/* Gives the file that takes its place the same owner and mode. */
static bool like(int fd, const struct stat *st)
{
	struct stat own;

	if (fstat(fd, &own) < 0)
		return false;
	if ((own.st_uid != st->st_uid || own.st_gid != st->st_gid) &&
	    fchown(fd, st->st_uid, st->st_gid) < 0)
		return false;
	return fchmod(fd, st->st_mode & 07777) == 0;
}

/* Makes a successor to what is open as o->fd, if there is to be one. */
static void make_beside(struct outputs *s, struct output *o)
{
	struct stat st;
	sigset_t before;
	int fd;

	if (fstat(o->fd, &st) < 0 || st.st_nlink != 1)
		return;
	o->beside = beside_of(o->real);
	if (!o->beside)
		return;
	leftovers_hold(&before);
	fd = mkostemp(o->beside, O_CLOEXEC);
	if (fd >= 0)
		leftovers_add(&s->left, o->beside);
	leftovers_let(&before);
	if (fd >= 0 && like(fd, &st)) {
		o->old = o->fd;
		o->fd = fd;
		return;
	}
	if (fd >= 0) {
		close(fd);
		unlink(o->beside);
	}
	free(o->beside);
	o->beside = NULL;
}

/* Sets a file aside. One that was just made is its own successor: until it is whole, nothing has
 * its name. */
static void set_aside(struct outputs *s, struct output *o)
{
	sigset_t before;
	bool done;
	int fd;

	o->beside = beside_of(o->real);
	if (!o->beside)
		return;
	leftovers_hold(&before);
	fd = mkostemp(o->beside, O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	done = fd >= 0 && rename(o->real, o->beside) == 0;
	if (done) {
		leftovers_drop(&s->left, o->fd);
		leftovers_add(&s->left, o->beside);
	} else if (fd >= 0) {
		unlink(o->beside);
	}
	leftovers_let(&before);
	if (!done) {
		free(o->beside);
		o->beside = NULL;
	}
}

int output_open_document(struct outputs *s, struct output *o, const char *option, const char *path,
			 mode_t mode)
{
	char real[PATH_MAX];
	bool made;
	int status;

	init(o, option, path);
	if (!path)
		return CMD_OK;
	status = open_any(s, o, mode, &made);
	if (status != CMD_OK || !o->regular || o->position)
		return status;
	files_resolve(path, real);
	o->real = strdup(real);
	if (o->real && made)
		set_aside(s, o);
	else if (o->real)
		make_beside(s, o);
	return CMD_OK;
}

void output_before_sandbox(struct outputs *s, struct output *o)
{
	if (!o->beside)
		return;
	o->renamer = renamer_start(&s->left, o->beside, o->real);
	if (o->renamer)
		return;
	/* Then it is written in place. */
	if (o->old >= 0) {
		unlink(o->beside);
		close(o->fd);
		o->fd = o->old;
		o->old = -1;
	} else if (rename(o->beside, o->real) < 0) {
		return;
	}
	free(o->beside);
	o->beside = NULL;
}
