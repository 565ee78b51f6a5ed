/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control groups of a jail: <hierarchy>/<parent>/<id>, of version 2 (Linux,
 * admin-guide/cgroup-v2.rst) or 1 (admin-guide/cgroup-v1). Groups are made on the way, controllers
 * are enabled on the way, and all of it is taken back if a step fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/jail/jail.h"

/* One of a hierarchy's files is a line. */
#define LINE 4096

/* Where a group is: @fd its folder, @path the path for messages. */
struct group {
	int fd;
	char path[2 * PATH_MAX];
};

/* -- files ------------------------------------------------------------------------------------ */

/* Says a line with the file that it is about. */
static int fail_file(const struct group *g, const char *file, int error, const char *expected)
{
	return jail_fail("%s/%s: %s%s", g->path, file, strerror(error), expected);
}

static int write_file(int dir, const char *file, const char *text)
{
	int fd = openat(dir, file, O_WRONLY | O_NOFOLLOW | O_CLOEXEC), ret = 0;
	size_t len = strlen(text);

	if (fd < 0)
		return -errno;
	/* The kernel takes such a line whole or not at all. */
	if (write(fd, text, len) != (ssize_t)len)
		ret = errno ? -errno : -EIO;
	close(fd);
	return ret;
}

/* Reads the beginning of @file, and takes off its newline at the end. Returns 0 or -errno. */
static int read_file(int dir, const char *file, char text[LINE])
{
	int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	text[0] = '\0';
	if (fd < 0)
		return -errno;
	n = read(fd, text, LINE - 1);
	close(fd);
	if (n < 0)
		return -errno;
	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	return 0;
}

/* Returns whether @word is one of those in @text. */
static bool has_word(const char *text, const char *word, const char *between)
{
	size_t len = strlen(word);

	while (*text) {
		size_t n = strcspn(text, between);

		if (n == len && memcmp(text, word, len) == 0)
			return true;
		text += n;
		text += strspn(text, between);
	}
	return false;
}

/* -- hierarchies ------------------------------------------------------------------------------ */

/* Finds where version 2, or version 1 with @controller, is mounted. */
static bool find_mount(int version, const char *controller, char path[PATH_MAX])
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	char text[2 * PATH_MAX];
	struct mntent m;
	bool found = false;

	while (f && !found && getmntent_r(f, &m, text, sizeof(text))) {
		found = version == 2 ? strcmp(m.mnt_type, "cgroup2") == 0
				     : strcmp(m.mnt_type, "cgroup") == 0 &&
					       has_word(m.mnt_opts, controller, ",");
		found = found && strlen(m.mnt_dir) < PATH_MAX;
		if (found)
			memcpy(path, m.mnt_dir, strlen(m.mnt_dir) + 1);
	}
	if (f)
		endmntent(f);
	return found;
}

/* Returns whether the host has the controller in version 2. */
static bool in_version_2(const char *controller)
{
	char path[PATH_MAX], text[LINE];
	bool has;
	int fd;

	if (!find_mount(2, NULL, path))
		return false;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	has = !controller || strcmp(controller, "cgroup") == 0 ||
	      (read_file(fd, "cgroup.controllers", text) == 0 && has_word(text, controller, " "));
	close(fd);
	return has;
}

static int open_hierarchy(int version, const char *controller, struct group *g)
{
	if (!find_mount(version, controller, g->path)) {
		if (version == 2)
			return jail_fail(
				"--cgroup-version: 2 is not mounted here: expected it below "
				"/sys/fs/cgroup");
		return jail_fail("--cgroup: no hierarchy of version 1 with \"%s\" is mounted: "
				 "expected it below /sys/fs/cgroup",
				 controller);
	}
	g->fd = open(g->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return g->fd < 0 ? jail_fail("%s: %s", g->path, strerror(errno)) : 0;
}

/* -- groups ----------------------------------------------------------------------------------- */

/* Gives a new group its parent's processors and memory nodes. In version 1 it has none at first,
 * and then nothing may go there. */
static int inherit_cpuset(const struct group *parent, const struct group *g)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	char text[LINE];

	for (size_t i = 0; i < 2; i++) {
		int ret = read_file(g->fd, files[i], text);

		if (ret == -ENOENT)
			return 0;
		if (ret == 0 && !text[0]) {
			ret = read_file(parent->fd, files[i], text);
			if (ret == 0)
				ret = write_file(g->fd, files[i], text);
		}
		if (ret)
			return fail_file(g, files[i], -ret, "");
	}
	return 0;
}

/* Goes down to the group @name in @g, which becomes it. Makes it if @make and need be. */
static int go_down(struct jail *j, struct group *g, const char *name, size_t len, bool make,
		   int version)
{
	struct group child;
	char part[NAME_MAX + 1];
	int ret;

	snprintf(part, sizeof(part), "%.*s", (int)len, name);
	if ((size_t)snprintf(child.path, sizeof(child.path), "%s/%s", g->path, part) >=
	    sizeof(child.path))
		return jail_fail("--parent-cgroup: %s", strerror(ENAMETOOLONG));
	if (make && mkdirat(g->fd, part, 0755) == 0) {
		ret = undo_add_folder(&j->undo, g->fd, part);
		if (ret) {
			unlinkat(g->fd, part, AT_REMOVEDIR);
			return jail_fail("%s: %s", child.path, strerror(-ret));
		}
	} else if (make && errno != EEXIST) {
		return jail_fail("%s: %s: expected a control group that can be made", child.path,
				 strerror(errno));
	}
	child.fd = openat(g->fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (child.fd < 0)
		return jail_fail("%s: %s: expected a control group", child.path, strerror(errno));
	if (version == 1 && make && inherit_cpuset(g, &child)) {
		close(child.fd);
		return -1;
	}
	close(g->fd);
	*g = child;
	return 0;
}

/* Lets the children of @g have the controller, in version 2. */
static int enable(struct jail *j, const struct group *g, const char *controller)
{
	static const char file[] = "cgroup.subtree_control";
	char text[LINE], on[NAME_MAX + 2], off[NAME_MAX + 2];
	int ret = read_file(g->fd, file, text), fd;

	if (ret)
		return fail_file(g, file, -ret, "");
	if (strcmp(controller, "cgroup") == 0 || has_word(text, controller, " "))
		return 0;
	snprintf(on, sizeof(on), "+%s", controller);
	snprintf(off, sizeof(off), "-%s", controller);
	ret = write_file(g->fd, file, on);
	if (ret == -EBUSY)
		return fail_file(g, file, EBUSY,
				 ": expected a group without processes of its own: see "
				 "--parent-cgroup");
	if (ret == -ENOENT || ret == -EINVAL)
		return jail_fail("--cgroup: %s has no controller \"%s\": expected one of those in "
				 "its cgroup.controllers",
				 g->path, controller);
	if (ret)
		return fail_file(g, file, -ret, "");
	fd = openat(g->fd, file, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	ret = fd < 0 ? -errno : undo_add_write(&j->undo, fd, off);
	if (fd >= 0)
		close(fd);
	if (ret) {
		write_file(g->fd, file, off);
		return fail_file(g, file, -ret, "");
	}
	return 0;
}

/* -- this process ----------------------------------------------------------------------------- */

/* Finds where the process is now: in which group of the hierarchy with @controller; NULL: of
 * version 2. */
static bool find_own(const char *controller, char path[PATH_MAX])
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	/* 4:memory:/path, 0::/path */
	while (f && !found && getline(&line, &size, f) > 0) {
		char *names = strchr(line, ':'), *place = names ? strchr(names + 1, ':') : NULL;

		if (!place)
			continue;
		*place++ = '\0';
		place[strcspn(place, "\n")] = '\0';
		found = controller ? has_word(names + 1, controller, ",")
				   : !names[1] && strncmp(line, "0:", 2) == 0;
		found = found && strlen(place) < PATH_MAX;
		if (found)
			memcpy(path, place, strlen(place) + 1);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* Notes the process's own group. Undoing moves it back there first: a group with a process in it
 * stays. */
static int note_own(struct jail *j, const char *mount, const char *controller)
{
	char own[PATH_MAX], path[4 * PATH_MAX];
	int fd = -1, ret;

	if (find_own(controller, own)) {
		snprintf(path, sizeof(path), "%s%s/cgroup.procs", mount, own);
		fd = open(path, O_WRONLY | O_CLOEXEC);
	}
	/* Of a group outside the namespace of control groups nothing can be said but this. */
	if (fd < 0) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", mount);
		fd = open(path, O_WRONLY | O_CLOEXEC);
	}
	ret = fd < 0 ? -errno : undo_add_write(&j->undo, fd, "0");
	if (fd >= 0)
		close(fd);
	return ret ? jail_fail("%s: %s", path, strerror(-ret)) : 0;
}

static int move(struct jail *j, const struct group *g, const char *mount, const char *controller)
{
	int ret;

	if (note_own(j, mount, controller))
		return -1;
	ret = write_file(g->fd, "cgroup.procs", "0");
	if (ret == -EBUSY || ret == -EOPNOTSUPP)
		return fail_file(g, "cgroup.procs", -ret,
				 ": expected a group that may have processes");
	if (ret == -ENOSPC)
		return fail_file(g, "cgroup.procs", ENOSPC,
				 ": expected processors and memory nodes in the group");
	return ret ? fail_file(g, "cgroup.procs", -ret, "") : 0;
}

/* -- all of it -------------------------------------------------------------------------------- */

/* Returns whether this is the first file of its hierarchy. Version 1 has several. */
static bool is_first(const struct jail *j, size_t n, const char *mount)
{
	char other[PATH_MAX];

	for (size_t i = 0; i < n; i++)
		if (find_mount(1, j->cgroups[i].controller, other) && strcmp(other, mount) == 0)
			return false;
	return true;
}

static int write_values(const struct jail *j, const struct group *g, int version, const char *mount)
{
	char other[PATH_MAX];

	for (size_t i = 0; i < j->n_cgroups; i++) {
		const struct jail_cgroup *c = &j->cgroups[i];
		int ret;

		if (version == 1 &&
		    (!find_mount(1, c->controller, other) || strcmp(other, mount) != 0))
			continue;
		ret = write_file(g->fd, c->file, c->value);
		if (ret)
			return jail_fail("--cgroup: %s/%s: \"%s\": %s", g->path, c->file, c->value,
					 strerror(-ret));
	}
	return 0;
}

static int enable_all(struct jail *j, const struct group *g)
{
	for (size_t i = 0; i < j->n_cgroups; i++)
		if (enable(j, g, j->cgroups[i].controller))
			return -1;
	return 0;
}

/* Goes from the mounted hierarchy in @g to the group of the jail. */
static int go_to(struct jail *j, struct group *g, int version)
{
	const char *part = j->parent_cgroup ? j->parent_cgroup : j->name;
	bool make = j->n_cgroups > 0;

	for (;;) {
		size_t len = strcspn(part, "/");

		if (version == 2 && make && enable_all(j, g))
			return -1;
		if (go_down(j, g, part, len, make, version))
			return -1;
		if (!part[len])
			break;
		part += len + 1;
	}
	if (!make)
		return 0;
	if (version == 2 && enable_all(j, g))
		return -1;
	return go_down(j, g, j->id, strlen(j->id), true, version);
}

/* Checks that the group is nobody else's: the program would share its limits, and its end. */
static int check_empty(const struct group *g)
{
	char text[LINE];
	int ret = read_file(g->fd, "cgroup.procs", text);

	if (ret)
		return fail_file(g, "cgroup.procs", -ret, "");
	return text[0] ? jail_fail("%s: has processes in it: expected an id that is not in use",
				   g->path)
		       : 0;
}

static int enter(struct jail *j, int version, const char *controller)
{
	struct group g;
	char mount[sizeof(g.path)];
	int ret = open_hierarchy(version, controller, &g);

	if (ret)
		return ret;
	snprintf(mount, sizeof(mount), "%s", g.path);
	ret = go_to(j, &g, version);
	if (ret == 0 && j->n_cgroups)
		ret = check_empty(&g);
	if (ret == 0)
		ret = write_values(j, &g, version, mount);
	if (ret == 0)
		ret = move(j, &g, mount, controller);
	close(g.fd);
	return ret;
}

int jail_enter_cgroups(struct jail *j)
{
	const char *first = j->n_cgroups ? j->cgroups[0].controller : NULL;
	char mount[PATH_MAX];
	int version = (int)j->cgroup_version;

	if (!j->n_cgroups && !j->parent_cgroup)
		return 0;
	if (!version)
		version = !first || in_version_2(first) ? 2 : 1;
	if (version == 2)
		return enter(j, 2, NULL);
	for (size_t i = 0; i < j->n_cgroups; i++) {
		const char *controller = j->cgroups[i].controller;

		if (find_mount(1, controller, mount) && !is_first(j, i, mount))
			continue;
		if (enter(j, 1, controller))
			return -1;
	}
	return 0;
}
