/* SPDX-License-Identifier: Apache-2.0 */
/* See output.h: writing, with a way out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"

/* The bytes that a descriptor takes without blocking, once poll(2) calls it writable; at most
 * PIPE_BUF. */
#define CHUNK 512

const char *output_error(int err)
{
	if (err == -ETIMEDOUT || err == -EINTR)
		return "nobody reads it";
	return strerror(-err);
}

int output_send(int fd, const void *data, size_t len, struct way_out *w)
{
	const char *p = data;

	while (len) {
		int ret = output_wait(fd, w);
		ssize_t n;

		if (ret < 0)
			return ret;
		n = write(fd, p, len < CHUNK ? len : CHUNK);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Writes to a regular file, which takes what there is room for. */
static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Writes over a file where it is: its old contents are lost, even if this fails. */
static int write_over(int fd, const void *text, size_t len)
{
	if (ftruncate(fd, 0) < 0)
		return -errno;
	return write_all(fd, text, len);
}

static int give_name(struct output *o, struct way_out *w)
{
	if (o->renamer)
		return renamer_rename(&o->renamer, w);
	return rename(o->beside, o->real) < 0 ? -errno : 0;
}

int output_name(struct output *o, struct way_out *w)
{
	return o->beside ? give_name(o, w) : 0;
}

int output_write(struct output *o, const void *text, size_t len, struct way_out *w)
{
	int ret;

	if (!o->regular)
		return output_send(o->fd, text, len, w);
	if (o->position)
		return write_all(o->fd, text, len);
	ret = write_over(o->fd, text, len);
	if (ret < 0 || !o->beside)
		return ret;
	ret = give_name(o, w);
	/* A file that something is mounted on keeps its place. */
	return ret < 0 && ret != -EINPROGRESS && o->old >= 0 ? write_over(o->old, text, len) : ret;
}
