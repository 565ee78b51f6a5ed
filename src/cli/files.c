/* SPDX-License-Identifier: Apache-2.0 */
/* See files.h. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/kcmp.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/files.h"
#include "cli/opts.h"

#define MAX_LINKS 40 /* as the kernel follows */

/* -- what a path is --------------------------------------------------------------------------- */

static void identify_stat(struct file_id *id, const struct stat *st)
{
	*id = (struct file_id){.kind = FILE_INODE, .dev = st->st_dev, .ino = st->st_ino};
	id->pipe = S_ISFIFO(st->st_mode);
	if (S_ISBLK(st->st_mode)) {
		id->kind = FILE_BLOCK;
		id->dev = st->st_rdev;
		id->ino = 0;
	} else if (S_ISCHR(st->st_mode) || S_ISDIR(st->st_mode)) {
		id->kind = FILE_OTHER;
	}
}

/* Looks behind a loop device. It is the file behind it: a write to one changes the other. */
static void look_behind(struct file_id *id, const struct stat *st, const char *path)
{
	struct loop_info64 info;
	int fd;

	if (!S_ISBLK(st->st_mode) || major(st->st_rdev) != LOOP_MAJOR)
		return;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_inode) {
		id->kind = FILE_INODE;
		id->dev = info.lo_device;
		id->ino = info.lo_inode;
	}
	close(fd);
}

/* Follows the symbolic link @path; relative to its own folder. Returns false if it is none. */
static bool follow(char path[PATH_MAX])
{
	char target[PATH_MAX], copy[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	int len;

	if (n < 0)
		return false;
	target[n] = '\0';
	memcpy(copy, path, PATH_MAX);
	len = target[0] == '/' ? snprintf(path, PATH_MAX, "%s", target)
			       : snprintf(path, PATH_MAX, "%s/%s", dirname(copy), target);
	return len < PATH_MAX;
}

void files_resolve(const char *path, char real[PATH_MAX])
{
	snprintf(real, PATH_MAX, "%s", path);
	for (int i = 0; i < MAX_LINKS && follow(real); i++)
		;
}

/* Finds the last @n parts of @path, which is changed, and the folder that has them in it, which is
 * there. */
static bool last_parts(struct file_place *p, char path[PATH_MAX], int n)
{
	char copy[PATH_MAX], *last;
	struct stat st;
	size_t len;

	memcpy(copy, path, PATH_MAX);
	last = basename(copy);
	len = strlen(last);
	if (len + 1 > sizeof(p->name) - strlen(p->name) - 1)
		return false;
	memmove(p->name + len + 1, p->name, strlen(p->name) + 1);
	memcpy(p->name, last, len);
	p->name[len] = '/';
	last = dirname(path);
	if (stat(last, &st) == 0) {
		p->dev = st.st_dev;
		p->ino = st.st_ino;
		return true;
	}
	if (errno != ENOENT || n == 1)
		return false;
	memmove(path, last, strlen(last) + 1);
	return last_parts(p, path, n - 1);
}

/* Finds the place of a file. Its folder may be one that is to be made, too. */
static void find_place(struct file_place *p, const char *path)
{
	char at[PATH_MAX];

	*p = (struct file_place){.ino = 0};
	if (strlen(path) >= sizeof(at))
		return;
	files_resolve(path, at);
	if (!last_parts(p, at, 2))
		p->name[0] = '\0'; /* opening it will say so */
}

static void identify(struct file_entry *e)
{
	struct stat st;

	if (e->fd >= 0 ? fstat(e->fd, &st) == 0 : stat(e->path, &st) == 0)
		identify_stat(&e->id, &st);
	else
		e->id.kind = e->fd < 0 && errno == ENOENT ? FILE_ABSENT : FILE_UNKNOWN;
	if (e->fd >= 0)
		return;
	if (e->id.kind == FILE_BLOCK)
		look_behind(&e->id, &st, e->path);
	find_place(&e->place, e->path);
}

static int number(const char *text)
{
	char *end;
	long n;

	if (*text < '0' || *text > '9')
		return -1;
	n = strtol(text, &end, 10);
	return *end || n > INT_MAX ? -1 : (int)n;
}

int files_descriptor(const char *path)
{
	static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/",
					      "/proc/thread-self/fd/"};
	static const char *const names[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
	char own[64];

	for (int i = 0; i < 3; i++)
		if (strcmp(path, names[i]) == 0)
			return i;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (strncmp(path, folders[i], strlen(folders[i])) == 0)
			return number(path + strlen(folders[i]));
	snprintf(own, sizeof(own), "/proc/%d/fd/", (int)getpid());
	return strncmp(path, own, strlen(own)) == 0 ? number(path + strlen(own)) : -1;
}

/* -- the table -------------------------------------------------------------------------------- */

static void add(struct files *f, struct file_entry e)
{
	struct file_entry *more = realloc(f->entries, (f->n + 1) * sizeof(*more));

	if (more)
		f->entries = more;
	if (e.path) {
		e.path = strdup(e.path);
		f->no_memory |= !e.path;
	}
	if (!more || f->no_memory) {
		free(e.path);
		f->no_memory = true;
		return;
	}
	identify(&e);
	f->entries[f->n++] = e;
}

void files_init(struct files *f, const char *command)
{
	static const char *const streams[] = {"standard input", "standard output",
					      "standard error"};

	*f = (struct files){.command = command};
	for (int fd = 0; fd < 3; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (flags < 0)
			continue;
		add(f, (struct file_entry){.option = streams[fd],
					   .fd = fd,
					   .use = fd == STDIN_FILENO ? FILE_READ
						  : flags & O_APPEND ? FILE_APPEND
								     : FILE_WRITE});
	}
}

void files_free(struct files *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->entries[i].path);
	free(f->entries);
	f->entries = NULL;
	f->n = 0;
}

void files_add(struct files *f, const char *option, const char *path, enum file_use use)
{
	if (path)
		add(f, (struct file_entry){.option = option,
					   .path = (char *)path,
					   .use = use,
					   .fd = files_descriptor(path)});
}

/* -- comparing -------------------------------------------------------------------------------- */

static bool same_place(const struct file_place *a, const struct file_place *b)
{
	return a->name[0] && a->dev == b->dev && a->ino == b->ino && strcmp(a->name, b->name) == 0;
}

static bool can_clash(const struct file_id *id)
{
	return id->kind == FILE_INODE || id->kind == FILE_BLOCK || id->kind == FILE_ABSENT;
}

static bool same_id(const struct file_id *a, const struct file_id *b)
{
	return a->kind == b->kind && a->kind != FILE_ABSENT && a->dev == b->dev && a->ino == b->ino;
}

static bool same_file(const struct file_entry *a, const struct file_entry *b)
{
	if (!can_clash(&a->id) || !can_clash(&b->id))
		return false;
	return same_id(&a->id, &b->id) || same_place(&a->place, &b->place);
}

/* Compares two open files where a filter refuses kcmp(2), as in a container: the signal for
 * O_ASYNC, which nobody waits for here, is a property of the open file. Returns 1, 0, or -1:
 * unknown. */
static int same_by_signal(int a, int b)
{
	int old = fcntl(a, F_GETSIG), other = fcntl(b, F_GETSIG), same;

	if (old < 0 || other < 0)
		return -1;
	if (old != other)
		return 0;
	if (fcntl(a, F_SETSIG, old == SIGURG ? SIGIO : SIGURG) < 0)
		return -1;
	same = fcntl(b, F_GETSIG) != other;
	fcntl(a, F_SETSIG, old);
	return same;
}

/* Returns whether both are one open file. By two numbers it has one position: what goes through
 * both is written in turn. */
static bool same_description(int a, int b)
{
	long ret = a == b ? 0 : syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);

	if (ret < 0) {
		int same = same_by_signal(a, b);

		/* A shell's 2>&1 is likelier than the same name twice. */
		return same > 0 || (same < 0 && a <= STDERR_FILENO && b <= STDERR_FILENO);
	}
	return ret == 0;
}

/* Returns whether both may lead to one file. */
static bool may_share(const struct file_entry *a, const struct file_entry *b)
{
	const struct file_entry *stream = !a->path ? a : !b->path ? b : NULL;

	if (!a->path && !b->path)
		return true; /* the caller's own */
	if (stream && stream->use == FILE_READ && a->use < FILE_APPEND && b->use < FILE_APPEND)
		return true;
	/* A disk that is booted from is not to be written. Of two disks the library knows more. */
	if (a->use < FILE_APPEND && b->use < FILE_APPEND)
		return a->use == b->use ||
		       (a->path && b->path && strcmp(a->option, b->option) == 0);
	if (a->use == FILE_APPEND && b->use == FILE_APPEND)
		return true;
	/* --stats - writes to where the guest's output goes, and loses nothing. */
	if (stream && a->use >= FILE_APPEND && b->use >= FILE_APPEND)
		return a->id.pipe || (a->fd >= 0 && b->fd >= 0 && same_description(a->fd, b->fd));
	return false;
}

/* Returns the dashes before a name: FILE is an argument, not an option. */
static const char *dashes(const struct file_entry *e)
{
	return e->path && e->option[0] >= 'a' ? "--" : "";
}

/* Says which two are the same. It names the output first: that is what is to be changed. */
static int say(const struct files *f, const struct file_entry *a, const struct file_entry *b)
{
	const struct file_entry *out = b->use > a->use ? b : a;
	const struct file_entry *other = out == a ? b : a;
	char shown[160];

	fprintf(stderr,
		"catnap %s: %s%s: %s: the same file as that of %s%s: expected another, so that "
		"neither is lost\n",
		f->command, dashes(out), out->option,
		opt_printable(out->path ? out->path : other->path, shown, sizeof(shown)),
		dashes(other), other->option);
	return CMD_USAGE;
}

int files_check(const struct files *f)
{
	if (f->no_memory) {
		fprintf(stderr, "catnap %s: out of memory\n", f->command);
		return CMD_ERROR;
	}
	for (size_t i = 0; i < f->n; i++)
		for (size_t k = 0; k < i; k++) {
			const struct file_entry *a = &f->entries[i], *b = &f->entries[k];

			if (same_file(a, b) && !may_share(a, b))
				return say(f, a, b);
		}
	return CMD_OK;
}

static struct file_entry *find(const struct files *f, const char *option, const char *path)
{
	for (size_t i = 0; i < f->n; i++) {
		struct file_entry *e = &f->entries[i];

		if (e->path && strcmp(e->path, path) == 0 && strcmp(e->option, option) == 0)
			return e;
	}
	return NULL;
}

int files_check_open(struct files *f, const char *option, const char *path, int fd,
		     enum file_use use)
{
	struct file_entry e = {
		.option = option, .path = (char *)path, .use = use, .fd = files_descriptor(path)};
	struct file_entry *own = find(f, option, path);
	struct stat st;

	if (e.fd < 0)
		find_place(&e.place, path);
	if (fstat(fd, &st) < 0)
		return CMD_OK;
	identify_stat(&e.id, &st);
	for (size_t i = 0; i < f->n; i++) {
		const struct file_entry *b = &f->entries[i];

		if (b != own && same_file(&e, b) && !may_share(&e, b))
			return say(f, &e, b);
	}
	/* It was perhaps not there before. */
	if (own)
		own->id = e.id;
	else
		add(f, e);
	return CMD_OK;
}

void files_closed(struct files *f, const char *option, const char *path)
{
	struct file_entry *own = find(f, option, path);

	if (own)
		identify(own);
}
