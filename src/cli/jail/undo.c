/* SPDX-License-Identifier: Apache-2.0 */
/* See undo.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/jail/undo.h"

_Static_assert(UNDO_TEXT > NAME_MAX, "a file's name");

/* Adds a step with a descriptor of its own. Returns NULL if that fails: *@error says why. */
static struct undo_step *add(struct undo *u, enum undo_kind kind, int fd, const char *text,
			     int *error)
{
	struct undo_step *s;

	*error = -ENAMETOOLONG;
	if (strlen(text) >= UNDO_TEXT)
		return NULL;
	*error = -ENOSPC;
	if (u->n == UNDO_STEPS)
		return NULL;
	s = reallocarray(u->steps, u->n + 1, sizeof(*s));
	*error = -ENOMEM;
	if (!s)
		return NULL;
	u->steps = s;
	s += u->n;
	*s = (struct undo_step){.kind = kind, .fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
	*error = -errno;
	if (s->fd < 0)
		return NULL;
	snprintf(s->name, sizeof(s->name), "%s", text);
	u->n++;
	*error = 0;
	return s;
}

int undo_add_file(struct undo *u, int fd, const char *name)
{
	int error;

	add(u, UNDO_FILE, fd, name, &error);
	return error;
}

int undo_add_folder(struct undo *u, int fd, const char *name)
{
	int error;

	add(u, UNDO_FOLDER, fd, name, &error);
	return error;
}

int undo_add_owner(struct undo *u, int fd)
{
	struct undo_step *s;
	struct stat st;
	int error;

	if (fstat(fd, &st))
		return -errno;
	s = add(u, UNDO_OWNER, fd, "", &error);
	if (!s)
		return error;
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	s->mode = st.st_mode & 07777;
	return 0;
}

int undo_add_write(struct undo *u, int fd, const char *text)
{
	int error;

	add(u, UNDO_WRITE, fd, text, &error);
	return error;
}

static int undo_one(const struct undo_step *s)
{
	size_t len = strlen(s->name);
	int ret = -1;

	switch (s->kind) {
	case UNDO_FILE:
		ret = unlinkat(s->fd, s->name, 0);
		break;
	case UNDO_FOLDER:
		ret = unlinkat(s->fd, s->name, AT_REMOVEDIR);
		break;
	case UNDO_OWNER:
		ret = fchown(s->fd, s->uid, s->gid);
		ret = fchmod(s->fd, s->mode) || ret ? -1 : 0;
		break;
	case UNDO_WRITE:
		ret = write(s->fd, s->name, len) == (ssize_t)len ? 0 : -1;
		break;
	}
	return ret && errno != ENOENT ? -errno : 0;
}

size_t undo_all(struct undo *u, int *error)
{
	size_t failed = 0;

	*error = 0;
	for (size_t i = u->n; i-- > 0;) {
		int ret = undo_one(&u->steps[i]);

		failed += ret != 0;
		if (ret && !*error)
			*error = -ret;
	}
	undo_free(u);
	return failed;
}

void undo_free(struct undo *u)
{
	for (size_t i = 0; i < u->n; i++)
		close(u->steps[i].fd);
	free(u->steps);
	*u = (struct undo){0};
}
