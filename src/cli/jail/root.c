/* SPDX-License-Identifier: Apache-2.0 */
/* The root of a jail: <base>/<program>/<id>/root, its device nodes, and entering it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/jail/jail.h"

/* -- folders ---------------------------------------------------------------------------------- */

/* Opens the folder @name in @dir, or makes it. The folder's descriptor, or -errno. */
static int folder(struct jail *j, int dir, const char *name, mode_t mode)
{
	bool made = mkdirat(dir, name, mode) == 0;
	int fd, ret;

	if (!made && errno != EEXIST)
		return -errno;
	if (made) {
		ret = undo_add_folder(&j->undo, dir, name);
		if (ret) {
			unlinkat(dir, name, AT_REMOVEDIR);
			return ret;
		}
	}
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* The mode is to hold whatever the mask of the process is. */
	if (made && fchmod(fd, mode)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/* Returns whether anybody else could have put something there, or could do so now. @uid may,
 * too. */
static bool is_ours(int fd, uint32_t uid)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == uid) &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

static int fail_folder(const char *path, int error)
{
	/* O_NOFOLLOW with O_DIRECTORY says so of a symbolic link, too. */
	return jail_fail("%s: %s%s", path, strerror(error),
			 error == ENOTDIR ? ": expected a folder, and no symbolic link" : "");
}

static int fail_owner(const char *path)
{
	return jail_fail("%s: others may write there: expected a folder that belongs to who starts "
			 "jails, and that only its owner may write",
			 path);
}

/* Goes into @name below @*fd, of which @path is the path; both are then the folder's. */
static int go_down(struct jail *j, int *fd, char *path, size_t size, const char *name, mode_t mode,
		   uint32_t uid)
{
	size_t len = strlen(path);
	int next = folder(j, *fd, name, mode);

	if ((size_t)snprintf(path + len, size - len, "/%s", name) >= size - len) {
		if (next >= 0)
			close(next);
		return fail_folder(name, ENAMETOOLONG);
	}
	if (next < 0)
		return fail_folder(path, -next);
	close(*fd);
	*fd = next;
	return is_ours(next, uid) ? 0 : fail_owner(path);
}

int jail_make_root(struct jail *j)
{
	char *path = j->root_path;
	size_t size = sizeof(j->root_path);
	struct statvfs fs;
	struct stat st;

	if (strlen(j->base_dir) >= PATH_MAX)
		return jail_fail("--chroot-base-dir: %s", strerror(ENAMETOOLONG));
	memcpy(path, j->base_dir, strlen(j->base_dir) + 1);
	j->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->root_fd < 0)
		return jail_fail("--chroot-base-dir: %s: %s: expected a folder", path,
				 strerror(errno));
	if (fstat(j->root_fd, &st))
		return fail_folder(path, errno);
	/* In one like /tmp nobody takes away what we make, and what others make is not taken. */
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX))
		return fail_owner(path);
	/* The root alone is for the one who runs there; its tools reach it through the others. */
	if (go_down(j, &j->root_fd, path, size, j->name, 0755, geteuid()) ||
	    go_down(j, &j->root_fd, path, size, j->id, 0755, geteuid()) ||
	    go_down(j, &j->root_fd, path, size, "root", 0700, j->uid))
		return -1;
	if (fstatvfs(j->root_fd, &fs))
		return fail_folder(path, errno);
	if (fs.f_flag & (ST_NODEV | ST_NOEXEC))
		return jail_fail("--chroot-base-dir: %s: is mounted %s: expected a file system "
				 "where device nodes and programs can be used",
				 j->base_dir, fs.f_flag & ST_NODEV ? "nodev" : "noexec");
	return 0;
}

/* -- nodes ------------------------------------------------------------------------------------ */

/* Those of the host that a monitor may need, if the host has them. */
static const struct {
	const char *folder, *name, *path;
} nodes[] = {
	{NULL, "kvm", "/dev/kvm"},
	{"net", "tun", "/dev/net/tun"},
	{NULL, "urandom", "/dev/urandom"},
	{NULL, "userfaultfd", "/dev/userfaultfd"},
};

/* Gives a file to the jail's user. */
static int give(struct jail *j, int fd, const char *path)
{
	int ret = undo_add_owner(&j->undo, fd);

	if (ret == 0 && (fchown(fd, j->uid, j->gid) || fchmod(fd, 0700)))
		ret = -errno;
	return ret ? jail_fail("%s%s: %s", j->root_path, path, strerror(-ret)) : 0;
}

/* Makes a device node. @path is where it is in the jail. */
static int make_node(struct jail *j, int dir, const char *name, const char *path, dev_t number)
{
	int ret;

	if (mknodat(dir, name, S_IFCHR | 0600, number))
		return jail_fail("%s%s: %s%s", j->root_path, path, strerror(errno),
				 errno == EPERM
					 ? ": expected the right to make device nodes (root, "
					   "outside a user namespace)"
					 : "");
	ret = undo_add_file(&j->undo, dir, name);
	if (ret)
		unlinkat(dir, name, 0);
	else if (fchownat(dir, name, j->uid, j->gid, AT_SYMLINK_NOFOLLOW))
		ret = -errno;
	return ret ? jail_fail("%s%s: %s", j->root_path, path, strerror(-ret)) : 0;
}

/* Makes a folder of the jail's user; the root itself and @dir stay open. Returns -1 after a
 * line. */
static int own_folder(struct jail *j, int dir, const char *name, const char *path)
{
	int fd = folder(j, dir, name, 0700);

	if (fd < 0)
		jail_fail("%s%s: %s", j->root_path, path, strerror(-fd));
	else if (!is_ours(fd, j->uid))
		jail_fail("%s%s: belongs to somebody else: expected a folder of root or of the "
			  "jail's user",
			  j->root_path, path);
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int jail_make_nodes(struct jail *j)
{
	int dev = own_folder(j, j->root_fd, "dev", "/dev"), net = -1, run = -1, ret = -1;
	struct stat st;

	if (dev >= 0)
		net = own_folder(j, dev, "net", "/dev/net");
	if (net >= 0)
		run = own_folder(j, j->root_fd, "run", "/run");
	if (run < 0)
		goto out;
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		if (stat(nodes[i].path, &st) || !S_ISCHR(st.st_mode))
			continue;
		if (make_node(j, nodes[i].folder ? net : dev, nodes[i].name, nodes[i].path,
			      st.st_rdev))
			goto out;
	}
	ret = give(j, net, "/dev/net") || give(j, dev, "/dev") || give(j, run, "/run") ||
			      give(j, j->root_fd, "")
		      ? -1
		      : 0;
out:
	if (dev >= 0)
		close(dev);
	if (net >= 0)
		close(net);
	if (run >= 0)
		close(run);
	return ret;
}

/* -- entering --------------------------------------------------------------------------------- */

/* Finds the folder again in our namespace: the descriptor leads to it in the one that has been
 * left. */
static int find_again(const struct jail *j)
{
	struct stat a, b;
	int fd = open(j->root_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &a) == 0 && fstat(j->root_fd, &b) == 0 && a.st_dev == b.st_dev &&
	    a.st_ino == b.st_ino)
		return fd;
	close(fd);
	return -ESTALE;
}

int jail_enter_root(struct jail *j)
{
	const char *what = "a mount namespace of its own";
	int before = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), here, tree = -1;

	if (before < 0)
		return jail_fail("/proc/self/ns/mnt: %s", strerror(errno));
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL))
		goto no_namespace;
	here = find_again(j);
	if (here < 0) {
		jail_fail("%s: %s", j->root_path, strerror(-here));
		goto back;
	}
	/* pivot_root(2) takes a mount only. The new root and the old one are then mounted one over
	 * the other, so that no folder is needed for the old one, which goes. */
	what = "open_tree";
	tree = open_tree(here, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0)
		goto failed;
	what = "move_mount";
	if (move_mount(tree, "", here, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH))
		goto failed;
	what = "pivot_root";
	if (fchdir(tree) || syscall(SYS_pivot_root, ".", "."))
		goto failed;
	what = "umount2";
	if (umount2(".", MNT_DETACH))
		goto failed;
	what = "chdir";
	if (chdir("/") || chroot("."))
		goto failed;
	close(tree);
	close(here);
	close(before);
	return 0;
failed:
	jail_fail("%s: entering it: %s: %s", j->root_path, what, strerror(errno));
	if (tree >= 0)
		close(tree);
	close(here);
back:
	/* Where something is mounted over the folder, it could not be removed. */
	if (setns(before, CLONE_NEWNS))
		jail_fail("leaving the mount namespace again: %s", strerror(errno));
	close(before);
	return -1;
no_namespace:
	jail_fail("%s: %s", what, strerror(errno));
	close(before);
	return -1;
}
