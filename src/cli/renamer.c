/* SPDX-License-Identifier: Apache-2.0 */
/* See output.h. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/output.h"

struct renamer {
	struct leftovers *left;
	pid_t pid;
	int fd; /* RENAME; anything else, or its end: remove. The answer is an errno value */
};

#define RENAME 'r'
#define REMOVE 'x'

struct names {
	int folder;
	char from[NAME_MAX + 1], to[NAME_MAX + 1];
	dev_t dev;
	ino_t ino;
};

static bool still_ours(const struct names *n)
{
	struct stat st;

	return fstatat(n->folder, n->from, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == n->dev &&
	       st.st_ino == n->ino;
}

/* Does all that the process does. */
static void serve(const struct names *n, int fd)
{
	int32_t err = ENOENT;
	ssize_t got;
	char byte;

	do
		got = read(fd, &byte, 1);
	while (got < 0 && errno == EINTR);
	if (got == 1 && byte == RENAME && still_ours(n))
		err = renameat(n->folder, n->from, n->folder, n->to) < 0 ? errno : 0;
	if (err && still_ours(n))
		unlinkat(n->folder, n->from, 0);
	/* Nobody is there any more: then nobody asks. */
	if (got == 1 && write(fd, &err, sizeof(err)) < 0)
		_exit(1);
	_exit(0);
}

/* Keeps @a and @b only: whoever waits for the end of this command's output waits for no other. */
static void close_others(int a, int b)
{
	unsigned int low = (unsigned int)(a < b ? a : b), high = (unsigned int)(a < b ? b : a);

	if (low)
		syscall(SYS_close_range, 0, low - 1, 0);
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	syscall(SYS_close_range, high + 1, UINT32_MAX, 0);
}

/* Opens the folder where @path is, and puts its name into @name. Returns a descriptor, or -1. */
static int open_folder(const char *path, char name[NAME_MAX + 1])
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(name, NAME_MAX + 1, "%s", basename(copy));
	snprintf(copy, sizeof(copy), "%s", path);
	return open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int find(const char *beside, const char *real, struct names *n)
{
	struct stat st;
	int folder = open_folder(real, n->to);

	if (folder >= 0)
		close(folder);
	n->folder = open_folder(beside, n->from);
	if (n->folder < 0)
		return -1;
	if (fstatat(n->folder, n->from, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		close(n->folder);
		return -1;
	}
	n->dev = st.st_dev;
	n->ino = st.st_ino;
	return 0;
}

struct renamer *renamer_start(struct leftovers *l, const char *beside, const char *real)
{
	struct renamer *r = malloc(sizeof(*r));
	sigset_t all, before;
	struct names n;
	int ends[2];
	pid_t pid;

	if (!r || find(beside, real, &n) < 0) {
		free(r);
		return NULL;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		close(n.folder);
		free(r);
		return NULL;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NAME, "catnap-rename");
		close_others(n.folder, ends[1]);
		serve(&n, ends[1]);
	}
	if (pid > 0) {
		l->child = pid;
		l->child_fd = ends[0];
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(n.folder);
	close(ends[1]);
	*r = (struct renamer){.left = l, .pid = pid, .fd = ends[0]};
	if (pid < 0) {
		close(r->fd);
		free(r);
		return NULL;
	}
	return r;
}

/* Waits until it answers, which is its last word, or is gone. It may be stopped, or its disk be
 * slow. */
static int await_answer(const struct renamer *r, struct way_out *w)
{
	int32_t err;
	ssize_t n;

	if (output_await(r->fd, w) < 0)
		return -EINPROGRESS;
	do
		n = read(r->fd, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	return n == sizeof(err) ? -err : -EPIPE;
}

static int finish(struct renamer **rp, char what, struct way_out *w)
{
	struct renamer *r = *rp;
	ssize_t n;
	int ret;

	*rp = NULL;
	r->left->child = 0;
	do
		n = send(r->fd, &what, 1, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	ret = await_answer(r, w);
	/* A process that waits for this one's end finds nothing left of it, if the child's end can
	 * be had: when the socket is closed, the child cannot be stopped any more. */
	if (ret != -EINPROGRESS && output_await(r->fd, w) == 0)
		while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
			;
	close(r->fd);
	free(r);
	return ret;
}

int renamer_rename(struct renamer **r, struct way_out *w)
{
	return finish(r, RENAME, w);
}

void renamer_remove(struct renamer **r)
{
	struct way_out w = {
		.signals = -1, .deadline = UINT64_MAX, .patience_ns = LEFTOVERS_PATIENCE_NS};

	if (*r)
		finish(r, REMOVE, &w);
}
