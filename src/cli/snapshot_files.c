/* SPDX-License-Identifier: Apache-2.0 */
/* See snapshot_files.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/snapshot_files.h"

/* The filter knows these and no others. */
#define MAKE_FLAGS (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)
/* O_NONBLOCK: nobody waits for the writer of a FIFO. */
#define READ_FLAGS (O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
#define DIR_FLAGS  (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

/* A path that is longer than any can be leaves room for what is wrong with it. */
#define SHOWN "%.1024s"

#define TAG_BYTES   8
#define OTHER_FILES 256 /* that a process may have open beside a snapshot's */
#define MEMORY	    "memory-"
#define NEW	    ".new-"
#define NEW_STATE   SNAPSHOT_STATE NEW

__attribute__((format(printf, 3, 4))) static int fail(char *why, int ret, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, SNAPSHOT_WHY, format, ap);
	va_end(ap);
	return ret;
}

/* ---- making ---- */

/* A file that is being made: beside its place, or in it. */
struct being_made {
	int dir;		 /* AT_FDCWD: the names are paths */
	int fd;			 /* -1: it is not there */
	char now[PATH_MAX + 32]; /* what it is called while it is made */
	char name[PATH_MAX];	 /* what it is to be called; the same: it is in its place */
};

struct making {
	struct being_made memory, state;
	int folders[2];	    /* in which names change; -1: none */
	bool named;	    /* by the caller, who may give a name twice */
	const char *failed; /* what of it did not work; why has a sentence if it is NULL */
	char *why;
};

static bool random_tag(char tag[2 * TAG_BYTES + 1])
{
	uint8_t bytes[TAG_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(tag + 2 * i, 3, "%02x", bytes[i]);
	return true;
}

static int begin(struct being_made *m, char *why)
{
	m->fd = openat(m->dir, m->now, MAKE_FLAGS, 0600);
	if (m->fd < 0)
		return fail(why, -errno, SHOWN ": %s", m->name,
			    errno == EEXIST ? "is the place of the other file as well"
					    : strerror(errno));
	/* Nobody takes it for one that a process has left. A file system may have no locks. */
	flock(m->fd, LOCK_EX | LOCK_NB);
	return 0;
}

/* Removes what was made: it is not to be there. */
static void undo(struct being_made *m)
{
	if (m->fd < 0)
		return;
	close(m->fd);
	unlinkat(m->dir, m->now, 0);
	m->fd = -1;
}

/* Reads a state. NULL: there is none that can be read. */
static struct catnap_snapshot *read_state_at(int dir, const char *name)
{
	struct catnap_snapshot *s = NULL;
	int fd = openat(dir, name, READ_FLAGS);

	if (fd < 0)
		return NULL;
	catnap_snapshot_open(fd, &s);
	close(fd);
	return s;
}

static int put_in_place(struct being_made *m)
{
	if (strcmp(m->now, m->name) == 0)
		return 0;
	if (renameat(m->dir, m->now, m->dir, m->name) < 0)
		return -errno;
	memcpy(m->now, m->name, sizeof(m->name));
	return 0;
}

/* Checks that a diff does not take the place of a memory file that it needs. The state that was
 * written tells their names. */
static int check_names(struct making *m)
{
	struct catnap_snapshot_memory last = {.size = sizeof(last)}, one = {.size = sizeof(one)};
	struct catnap_snapshot_info info = {.size = sizeof(info)};
	struct catnap_snapshot *s = read_state_at(m->state.dir, m->state.now);
	int ret = 0;

	if (!s)
		return fail(m->why, -EIO, "%s: cannot be read again", m->state.now);
	catnap_snapshot_get_info(s, &info);
	catnap_snapshot_get_memory(s, info.memories - 1, &last);
	for (uint32_t i = 0; i + 1 < info.memories && ret == 0; i++) {
		catnap_snapshot_get_memory(s, i, &one);
		if (strcmp(one.name, last.name) == 0)
			ret = fail(m->why, -EEXIST,
				   "%s: is the name of a memory file that the diff needs",
				   m->memory.name);
	}
	catnap_snapshot_close(&s);
	return ret;
}

/* Puts the files in their places; the state's is the last that changes. The library calls this
 * while the VM still stands. */
static int commit(void *ctx)
{
	struct making *m = ctx;
	int ret = m->named ? check_names(m) : 0;

	if (ret < 0)
		return ret;
	m->failed = m->memory.name;
	if (fsync(m->memory.fd) < 0)
		return -errno;
	m->failed = m->state.name;
	if (fsync(m->state.fd) < 0)
		return -errno;
	m->failed = m->memory.name;
	ret = put_in_place(&m->memory);
	for (size_t i = 0; i < 2 && ret == 0; i++)
		if (m->folders[i] >= 0 && fsync(m->folders[i]) < 0)
			ret = -errno;
	if (ret < 0)
		return ret;
	m->failed = m->state.name;
	ret = put_in_place(&m->state);
	if (ret < 0)
		return ret;
	/* From here on it is the new one, whatever becomes of this. */
	close(m->memory.fd);
	m->memory.fd = -1;
	close(m->state.fd);
	m->state.fd = -1;
	for (size_t i = 0; i < 2 && ret == 0; i++)
		if (m->folders[i] >= 0 && fsync(m->folders[i]) < 0)
			ret = -errno;
	m->failed = ret < 0 ? m->state.name : NULL;
	return ret;
}

/* @base: of a diff, what is there; NULL: not known. */
static int make(struct catnap_vm *vm, struct making *m, bool diff, struct catnap_snapshot *base)
{
	struct catnap_snapshot_request rq;
	const char *slash = strrchr(m->memory.name, '/');
	int ret = begin(&m->memory, m->why);

	if (ret == 0)
		ret = begin(&m->state, m->why);
	if (ret == 0) {
		m->why[0] = '\0';
		catnap_snapshot_request_init(&rq);
		rq.kind = diff ? CATNAP_SNAPSHOT_DIFF : CATNAP_SNAPSHOT_FULL;
		rq.memory_fd = m->memory.fd;
		rq.state_fd = m->state.fd;
		rq.memory_name = slash ? slash + 1 : m->memory.name;
		rq.commit = commit;
		rq.commit_ctx = m;
		rq.base = base;
		ret = catnap_vm_snapshot(vm, &rq);
		if (ret < 0 && m->failed)
			fail(m->why, ret, "%s: %s", m->failed, strerror(-ret));
		else if (ret < 0 && !m->why[0])
			fail(m->why, ret, "%s", catnap_vm_last_error(vm));
	}
	undo(&m->memory);
	undo(&m->state);
	return ret;
}

/* Removes the memory files of the snapshot that was in @dir, but for those that the new one has,
 * too. */
static void remove_old(int dir, struct catnap_snapshot *old, const char *new)
{
	struct catnap_snapshot_memory m = {.size = sizeof(m)};

	unlinkat(dir, SNAPSHOT_WORKING_SET, 0);

	for (uint32_t i = 0; catnap_snapshot_get_memory(old, i, &m) == 0; i++)
		if (strcmp(m.name, new) != 0)
			unlinkat(dir, m.name, 0);
}

/* Returns whether @name is that of a file which a snapshot was written to: @prefix, and a tag. */
static bool is_made(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(name, prefix, len) == 0 && strlen(name + len) == 2 * TAG_BYTES &&
	       strspn(name + len, "0123456789abcdef") == 2 * TAG_BYTES;
}

static bool has_memory(struct catnap_snapshot *s, const char *name)
{
	struct catnap_snapshot_memory m = {.size = sizeof(m)};

	for (uint32_t i = 0; catnap_snapshot_get_memory(s, i, &m) == 0; i++)
		if (strcmp(m.name, name) == 0)
			return true;
	return false;
}

/* Looks whether there is what a diff is to be laid behind. */
static int check_base(int dir, struct catnap_snapshot *base, char *why)
{
	struct catnap_snapshot_memory m = {.size = sizeof(m)};
	int fd;

	if (!base)
		return fail(why, -ENOENT,
			    "a diff: there is no snapshot in it: expected a full one first");
	for (uint32_t i = 0; catnap_snapshot_get_memory(base, i, &m) == 0; i++) {
		fd = openat(dir, m.name, READ_FLAGS);
		/* A link may lead to it. */
		if (fd < 0 && errno != ELOOP)
			return fail(why, -errno, "a diff: %s: %s: expected a full one first",
				    m.name, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

/* Calls @take with each file. opendir(3) would do more than the sandbox allows. */
static void each_name(int dir, void (*take)(void *ctx, int dir, const struct dirent64 *d),
		      void *ctx)
{
	_Alignas(struct dirent64) char buffer[8192];
	ssize_t n = lseek(dir, 0, SEEK_SET) == 0 ? 1 : 0;

	while (n > 0) {
		n = getdents64(dir, buffer, sizeof(buffer));
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(buffer + at);

			take(ctx, dir, d);
			at += d->d_reclen;
		}
	}
}

static void remove_leftover(void *ctx, int dir, const struct dirent64 *d)
{
	const char *name = d->d_name;

	if (is_made(name, NEW_STATE) || (is_made(name, MEMORY) && !has_memory(ctx, name)))
		unlinkat(dir, name, 0);
}

/* Removes what a process that was killed has left of a snapshot of its own. */
static void remove_leftovers(int dir)
{
	struct catnap_snapshot *s = read_state_at(dir, SNAPSHOT_STATE);

	if (s)
		each_name(dir, remove_leftover, s);
	catnap_snapshot_close(&s);
}

/* Holds the folder until it is closed, so that nobody else makes a snapshot there. */
static int hold_dir(int dir, char *why)
{
	if (flock(dir, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return fail(why, -EBUSY, "another process makes a snapshot there");
	/* A file system without locks. */
	return 0;
}

/* Opens the folder @dir. One that is not there is made if @made is given, which tells so. */
static int open_dir(const char *dir, bool *made, char *why)
{
	int fd = open(dir, DIR_FLAGS);

	if (made)
		*made = fd < 0 && errno == ENOENT && mkdirat(AT_FDCWD, dir, 0700) == 0;
	if (made && *made)
		fd = open(dir, DIR_FLAGS);
	return fd < 0 ? fail(why, -errno, SHOWN ": %s", dir, strerror(errno)) : fd;
}

static int name_in_dir(struct making *m, int dir)
{
	char tag[2 * TAG_BYTES + 1];

	if (!random_tag(tag))
		return fail(m->why, -EIO, "the kernel gives no random name");
	m->memory = (struct being_made){.dir = dir, .fd = -1};
	m->state = m->memory;
	snprintf(m->memory.now, sizeof(m->memory.now), MEMORY "%s", tag);
	snprintf(m->memory.name, sizeof(m->memory.name), MEMORY "%s", tag);
	snprintf(m->state.now, sizeof(m->state.now), NEW_STATE "%s", tag);
	snprintf(m->state.name, sizeof(m->state.name), SNAPSHOT_STATE);
	m->folders[0] = dir;
	m->folders[1] = -1;
	return 0;
}

/* Begins the sentence with the folder. */
static int in_dir(const char *dir, int ret, char *why)
{
	char said[SNAPSHOT_WHY];

	if (ret == 0)
		return 0;
	memcpy(said, why, sizeof(said));
	said[sizeof(said) - 1] = '\0';
	return fail(why, ret, SHOWN ": %s", dir, said);
}

int snapshot_make(struct catnap_vm *vm, const char *dir, bool diff, char *why)
{
	struct making m = {.why = why};
	struct catnap_snapshot *old = NULL;
	bool made;
	int fd = open_dir(dir, &made, why), ret;

	if (fd < 0)
		return fd;
	ret = hold_dir(fd, why);
	if (ret == 0)
		old = read_state_at(fd, SNAPSHOT_STATE);
	if (ret == 0 && diff)
		ret = check_base(fd, old, why);
	if (ret == 0)
		ret = name_in_dir(&m, fd);
	if (ret == 0)
		ret = make(vm, &m, diff, old);
	if (ret == 0 && old && !diff)
		remove_old(fd, old, m.memory.name);
	if (ret == 0)
		remove_leftovers(fd);
	catnap_snapshot_close(&old);
	/* As it was before. Another process may have put something there, which keeps it. */
	if (ret < 0 && made)
		unlinkat(AT_FDCWD, dir, AT_REMOVEDIR);
	close(fd);
	return in_dir(dir, ret, why);
}

static int name_beside(struct being_made *m, const char *path, const char *tag, char *why)
{
	*m = (struct being_made){.dir = AT_FDCWD, .fd = -1};
	if (strlen(path) >= sizeof(m->name))
		return fail(why, -ENAMETOOLONG, SHOWN ": %s", path, strerror(ENAMETOOLONG));
	snprintf(m->name, sizeof(m->name), "%s", path);
	snprintf(m->now, sizeof(m->now), "%s" NEW "%s", path, tag);
	return 0;
}

/* Removes a file that was to be called as the path @ctx, unless a process holds it that makes it. */
static void remove_beside(void *ctx, int dir, const struct dirent64 *d)
{
	const char *slash = strrchr(ctx, '/');
	char prefix[NAME_MAX + sizeof(NEW)];
	int fd;

	snprintf(prefix, sizeof(prefix), "%.*s" NEW, NAME_MAX, slash ? slash + 1 : (char *)ctx);
	if (d->d_type != DT_REG || !is_made(d->d_name, prefix))
		return;
	fd = openat(dir, d->d_name, READ_FLAGS);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(dir, d->d_name, 0);
	close(fd);
}

static int folder_of(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash)
		return open(".", DIR_FLAGS);
	snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return open(folder, DIR_FLAGS);
}

/* What a folder has at the place where a file is to be. */
struct taken {
	const char *path;
	bool special;
};

static void look_for_special(void *ctx, int dir, const struct dirent64 *d)
{
	struct taken *t = ctx;
	const char *slash = strrchr(t->path, '/');

	if (strcmp(d->d_name, slash ? slash + 1 : t->path) == 0 && d->d_type != DT_REG &&
	    d->d_type != DT_LNK && d->d_type != DT_UNKNOWN)
		t->special = true;
}

/* A device, a FIFO or a socket is not to be lost to a file. */
static int check_place(int folder, const struct being_made *m, char *why)
{
	struct taken t = {.path = m->name};

	if (folder >= 0)
		each_name(folder, look_for_special, &t);
	return t.special ? fail(why, -EINVAL, "%s: is no regular file", m->name) : 0;
}

int snapshot_make_files(struct catnap_vm *vm, const char *state, const char *memory, bool diff,
			char *why)
{
	struct making m = {.named = true, .why = why};
	char tag[2 * TAG_BYTES + 1];
	int ret;

	if (!random_tag(tag))
		return fail(why, -EIO, "the kernel gives no random name");
	ret = name_beside(&m.memory, memory, tag, why);
	if (ret == 0)
		ret = name_beside(&m.state, state, tag, why);
	if (ret < 0)
		return ret;
	m.folders[0] = folder_of(memory);
	m.folders[1] = folder_of(state);
	ret = check_place(m.folders[0], &m.memory, why);
	if (ret == 0)
		ret = check_place(m.folders[1], &m.state, why);
	if (ret == 0)
		ret = make(vm, &m, diff, NULL);
	for (size_t i = 0; i < 2; i++) {
		if (m.folders[i] < 0)
			continue;
		if (ret == 0)
			each_name(m.folders[i], remove_beside, i ? m.state.name : m.memory.name);
		close(m.folders[i]);
	}
	return ret;
}

/* ---- opening ---- */

/* Opens a regular file. Returns its descriptor, or -errno with a sentence. */
static int open_regular(int dir, const char *name, int flags, char *why)
{
	int fd = openat(dir, name, flags);
	struct stat st;

	if (fd < 0)
		return fail(why, -errno, SHOWN ": %s", name, strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return fail(why, -EINVAL, SHOWN ": is no regular file", name);
}

static int read_state(struct snapshot_files *s, int dir, const char *name, char *why)
{
	int fd = open_regular(dir, name, READ_FLAGS & ~O_NOFOLLOW, why), ret;

	if (fd < 0)
		return fd;
	ret = catnap_snapshot_open(fd, &s->snapshot);
	close(fd);
	return ret < 0 ? fail(why, ret, SHOWN ": %s", name, catnap_vm_last_error(NULL)) : 0;
}

static void close_memories(struct snapshot_files *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		close(s->memory[i]);
	free(s->memory);
	s->memory = NULL;
	s->count = 0;
}

static int open_memory(struct snapshot_files *s, const char *name, uint32_t i, int dir, char *why)
{
	s->memory[i] = open_regular(dir, name, READ_FLAGS & ~O_NOFOLLOW, why);
	if (s->memory[i] < 0)
		return s->memory[i];
	s->count = i + 1;
	return 0;
}

/* Lets this process have @n files more open, as far as its user may: a snapshot can have as many as
 * the limit usually is. */
static void make_room(uint32_t n)
{
	const rlim_t wanted = n + OTHER_FILES;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur >= wanted)
		return;
	files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
	(void)setrlimit(RLIMIT_NOFILE, &files); /* up to the hard limit: this cannot fail */
}

static int alloc_memory(struct snapshot_files *s, char *why)
{
	struct catnap_snapshot_info info = {.size = sizeof(info)};

	catnap_snapshot_get_info(s->snapshot, &info);
	make_room(info.memories);
	s->memory = calloc(info.memories, sizeof(*s->memory));
	return s->memory ? (int)info.memories : fail(why, -ENOMEM, "out of memory");
}

int snapshot_open_state(struct snapshot_files *s, const char *dir, char *why)
{
	*s = (struct snapshot_files){.dir = open_dir(dir, NULL, why), .working_set = -1};
	if (s->dir < 0)
		return s->dir;
	return in_dir(dir, read_state(s, s->dir, SNAPSHOT_STATE, why), why);
}

/* Opens all memory files that the state names. */
static int open_memories(struct snapshot_files *s, char *why)
{
	struct catnap_snapshot_memory m = {.size = sizeof(m)};
	int ret = 0, n = alloc_memory(s, why);

	if (n < 0)
		return n;
	for (uint32_t i = 0; i < (uint32_t)n && ret == 0; i++) {
		catnap_snapshot_get_memory(s->snapshot, i, &m);
		ret = open_memory(s, m.name, i, s->dir, why);
	}
	return ret;
}

/* Reads the state that is in the folder now. Returns 1 if it is another one, 0 if it is that which was
 * read before, or -errno with a sentence. */
static int read_newer_state(struct snapshot_files *s, char *why)
{
	struct catnap_snapshot_memory then = {.size = sizeof(then)}, now = {.size = sizeof(now)};
	struct catnap_snapshot *old = s->snapshot;
	int ret = 0;

	close_memories(s);
	s->snapshot = NULL;
	ret = read_state(s, s->dir, SNAPSHOT_STATE, why);
	if (ret == 0) {
		catnap_snapshot_get_memory(old, 0, &then);
		catnap_snapshot_get_memory(s->snapshot, 0, &now);
		ret = strcmp(then.name, now.name) != 0;
	}
	catnap_snapshot_close(&old);
	return ret;
}

int snapshot_open(struct snapshot_files *s, const char *dir, char *why)
{
	char missing[SNAPSHOT_WHY];
	int ret = snapshot_open_state(s, dir, why), newer = 1;

	if (ret < 0)
		return ret;
	ret = open_memories(s, why);
	/* A new snapshot may have taken its place between the two. */
	while (ret == -ENOENT && newer > 0) {
		memcpy(missing, why, sizeof(missing));
		newer = read_newer_state(s, why);
		if (newer > 0)
			ret = open_memories(s, why);
		else if (newer == 0)
			memcpy(why, missing, sizeof(missing));
		else
			ret = newer;
	}
	return in_dir(dir, ret, why);
}

int snapshot_open_files(struct snapshot_files *s, const char *state, const char *memory, char *why)
{
	int ret, n;

	*s = (struct snapshot_files){.dir = -1, .working_set = -1};
	ret = read_state(s, AT_FDCWD, state, why);
	if (ret < 0)
		return ret;
	if (!memory)
		return 0;
	n = alloc_memory(s, why);
	if (n < 0)
		return n;
	if (n > 1)
		return fail(why, -EINVAL, SHOWN ": is a diff: expected one that was merged", state);
	return open_memory(s, memory, 0, AT_FDCWD, why);
}

int snapshot_open_working_set(struct snapshot_files *s, const char *dir, bool *stale, char *why)
{
	int fd = open_regular(s->dir, SNAPSHOT_WORKING_SET, READ_FLAGS, why), ret;
	struct stat st;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return in_dir(dir, fd, why);
	/* One that is being made has nothing in it for a moment. */
	if (fstat(fd, &st) == 0 && st.st_size == 0) {
		close(fd);
		return 0;
	}
	ret = catnap_snapshot_verify_working_set(s->snapshot, fd);
	if (ret == 0) {
		s->working_set = fd;
		return 0;
	}
	close(fd);
	*stale = ret == -ESTALE;
	if (*stale)
		return 0;
	fail(why, ret, "%s: %s", SNAPSHOT_WORKING_SET, catnap_vm_last_error(NULL));
	return in_dir(dir, ret, why);
}

void snapshot_close(struct snapshot_files *s)
{
	close_memories(s);
	catnap_snapshot_close(&s->snapshot);
	if (s->dir >= 0)
		close(s->dir);
	if (s->working_set >= 0)
		close(s->working_set);
	*s = (struct snapshot_files){.dir = -1, .working_set = -1};
}

/* ---- merging ---- */

/* Merges the snapshot of a folder that is held. */
static int merge(struct snapshot_files *s, char *why)
{
	struct catnap_snapshot_request rq;
	struct making m = {.why = why};
	int ret = name_in_dir(&m, s->dir);

	if (ret == 0)
		ret = begin(&m.memory, why);
	if (ret == 0)
		ret = begin(&m.state, why);
	if (ret == 0) {
		catnap_snapshot_request_init(&rq);
		rq.memory_fd = m.memory.fd;
		rq.state_fd = m.state.fd;
		rq.memory_name = m.memory.name;
		rq.commit = commit;
		rq.commit_ctx = &m;
		ret = catnap_snapshot_merge(s->snapshot, s->memory, s->count, &rq);
		if (ret < 0 && m.failed)
			fail(why, ret, "%s: %s", m.failed, strerror(-ret));
		else if (ret < 0)
			fail(why, ret, "%s", catnap_vm_last_error(NULL));
	}
	undo(&m.memory);
	undo(&m.state);
	if (ret == 0)
		remove_old(s->dir, s->snapshot, m.memory.name);
	return ret;
}

int snapshot_merge(const char *dir, char *why)
{
	struct snapshot_files files;
	int fd = open_dir(dir, NULL, why), ret;

	if (fd < 0)
		return fd;
	/* Before it is read: a new one is not to be lost to the old one, merged. */
	ret = in_dir(dir, hold_dir(fd, why), why);
	if (ret == 0) {
		ret = snapshot_open(&files, dir, why);
		if (ret == 0 && files.count > 1)
			ret = in_dir(dir, merge(&files, why), why);
		/* Those of a merge that was killed, too, when only that was left to do. */
		if (ret == 0)
			remove_leftovers(fd);
		snapshot_close(&files);
	}
	close(fd);
	return ret;
}
