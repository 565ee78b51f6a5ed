/* SPDX-License-Identifier: Apache-2.0 */
/* See disk_reader.h: the side that starts the program and takes what it writes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/now.h"
#include "cli/printable.h"
#include "cli/run/disk_reader.h"
#include "cli/run/disk_reader_child.h"
#include "cli/run/helper.h"

#define MAX_LIST (1u << 20)
#define MAX_SAID 1024

static bool find_program(char *path, size_t size)
{
	static const char *const places[] = {"/usr/bin/grub-fstest", "/usr/bin/grub2-fstest", NULL};
	static const char *const none[] = {NULL};

	return helper_find("grub-fstest", places, path, size) ||
	       helper_find("grub2-fstest", none, path, size);
}

/* Finds the name of an image that was given as a descriptor: the program opens it by that. */
static bool name_of(int fd, char *path, size_t size)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, size - 1);
	if (n <= 0 || path[0] != '/')
		return false;
	path[n] = '\0';
	return true;
}

const char *disk_reader_open(struct disk_reader *r, const char *path, int fd, uint64_t deadline)
{
	struct stat by_name, st;
	char *real;
	bool fits;

	*r = (struct disk_reader){.image = -1, .deadline = deadline, .parent = getpid()};
	if (!find_program(r->program, sizeof(r->program)))
		return "there is no grub-fstest, which reads what is on it: expected the package "
		       "grub-common, or --kernel PATH";
	r->image = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
			: fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (r->image < 0 || fstat(r->image, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return "is no disk image: expected a file or a block device";
	if (path) {
		real = realpath(path, NULL);
		if (!real)
			return strerror(errno);
		fits = strlen(real) < sizeof(r->path);
		if (fits)
			memcpy(r->path, real, strlen(real) + 1);
		free(real);
		if (!fits)
			return strerror(ENAMETOOLONG);
	} else if (!name_of(r->image, r->path, sizeof(r->path))) {
		return "the descriptor's file has no name: expected --kernel PATH";
	}
	if (stat(r->path, &by_name) < 0 || by_name.st_dev != st.st_dev ||
	    by_name.st_ino != st.st_ino)
		return "the file has not this name any more: expected --kernel PATH";
	return NULL;
}

void disk_reader_close(struct disk_reader *r)
{
	if (r->image >= 0)
		close(r->image);
	r->image = -1;
}

/* -- one call --------------------------------------------------------------------------------- */

struct call {
	pid_t pid;
	int out, said; /* pipes: what it writes, and its messages */
	int memory;    /* where the former is put */
	size_t size, max;
	char text[MAX_SAID];
	size_t len;
};

static int begin(struct disk_reader *r, const char *const *argv, struct call *c)
{
	int out[2] = {-1, -1}, said[2] = {-1, -1}, ret = 0;

	c->memory = memfd_create("catnap-disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (c->memory < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(said, O_CLOEXEC) < 0)
		ret = -errno;
	c->pid = ret < 0 ? -1 : fork();
	if (ret == 0 && c->pid < 0)
		ret = -errno;
	if (c->pid == 0) {
		/* The parent is this one's until here. */
		disk_reader_child(r, argv, out[1], said[1]);
	}
	if (out[1] >= 0)
		close(out[1]);
	if (said[1] >= 0)
		close(said[1]);
	c->out = out[0];
	c->said = said[0];
	return ret;
}

static int take(struct call *c)
{
	static char block[1 << 16];
	ssize_t n = read(c->out, block, sizeof(block));

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0) {
		close(c->out);
		c->out = -1;
		return 0;
	}
	if ((size_t)n > c->max - c->size)
		return -EFBIG;
	c->size += (size_t)n;
	for (const char *p = block; n > 0;) {
		ssize_t done = write(c->memory, p, (size_t)n);

		if (done < 0)
			return -errno;
		p += done;
		n -= done;
	}
	return 0;
}

static void take_message(struct call *c)
{
	char more[256];
	ssize_t n = read(c->said, more, sizeof(more));
	size_t room = sizeof(c->text) - 1 - c->len;

	if (n <= 0) {
		if (n == 0 || errno != EINTR) {
			close(c->said);
			c->said = -1;
		}
		return;
	}
	if ((size_t)n > room)
		n = (ssize_t)room;
	memcpy(c->text + c->len, more, (size_t)n);
	c->len += (size_t)n;
}

static int collect(struct disk_reader *r, struct call *c)
{
	int ret = 0;

	while (ret == 0 && (c->out >= 0 || c->said >= 0)) {
		struct pollfd p[2] = {{.fd = c->out, .events = POLLIN},
				      {.fd = c->said, .events = POLLIN}};
		uint64_t now = now_ns();
		uint64_t ms = r->deadline > now ? (r->deadline - now) / 1000000 + 1 : 0;

		if (!ms)
			return -ETIMEDOUT;
		if (poll(p, 2, ms < INT_MAX ? (int)ms : INT_MAX) < 0 && errno != EINTR)
			return -errno;
		if (p[0].fd >= 0 && p[0].revents)
			ret = take(c);
		if (p[1].fd >= 0 && p[1].revents)
			take_message(c);
	}
	return ret;
}

/* Takes the first line of what the program said, without its name. */
static void keep_message(struct disk_reader *r, struct call *c)
{
	char line[sizeof(r->error)];
	const char *from = c->text, *at;

	c->text[c->len] = '\0';
	c->text[strcspn(c->text, "\n")] = '\0';
	at = strstr(from, "error: ");
	if (at)
		from = at + strlen("error: ");
	snprintf(line, sizeof(line), "%.*s", (int)sizeof(line) - 1, from);
	if (*line && line[strlen(line) - 1] == '.')
		line[strlen(line) - 1] = '\0';
	printable(line, false, r->error, sizeof(r->error));
}

/* Makes a mapping of what was written. */
static int keep_bytes(const struct call *c, struct disk_bytes *bytes)
{
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	if (fcntl(c->memory, F_ADD_SEALS, seals) < 0)
		return -errno;
	if (!c->size)
		return 0;
	bytes->data = mmap(NULL, c->size, PROT_READ, MAP_PRIVATE, c->memory, 0);
	if (bytes->data == MAP_FAILED) {
		bytes->data = NULL;
		return -errno;
	}
	madvise(bytes->data, c->size, MADV_DONTFORK);
	madvise(bytes->data, c->size, MADV_DONTDUMP);
	bytes->size = c->size;
	return 0;
}

static int end(struct disk_reader *r, struct call *c, int ret)
{
	int status = 0;

	if (c->pid > 0) {
		if (ret < 0)
			kill(c->pid, SIGKILL);
		while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	keep_message(r, c);
	if (ret < 0 || status == 0)
		return ret;
	if (WIFEXITED(status) && WEXITSTATUS(status) == DISK_READER_UNCONFINED)
		return -ENOTSUP;
	if (WIFSIGNALED(status))
		snprintf(r->error, sizeof(r->error), "grub-fstest was ended by signal %d",
			 WTERMSIG(status));
	else if (!r->error[0])
		snprintf(r->error, sizeof(r->error), "grub-fstest has failed");
	return -EIO;
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int run(struct disk_reader *r, const char *const *argv, size_t max, struct disk_bytes *bytes)
{
	struct call c = {.out = -1, .said = -1, .max = max};
	int ret = begin(r, argv, &c);

	*bytes = (struct disk_bytes){.size = 0};
	if (ret == 0)
		ret = collect(r, &c);
	ret = end(r, &c, ret);
	if (ret == 0)
		ret = keep_bytes(&c, bytes);
	close_one(c.out);
	close_one(c.said);
	close_one(c.memory);
	return ret;
}

static int run_on(struct disk_reader *r, const char *command, const char *volume, const char *path,
		  size_t max, struct disk_bytes *bytes)
{
	char place[PATH_MAX + DISK_VOLUME_NAME];
	const char *const argv[] = {r->program, r->path, "--", command, place, NULL};
	int n = snprintf(place, sizeof(place), "(%s)%s%s", volume, *path == '/' ? "" : "/", path);

	*bytes = (struct disk_bytes){.size = 0};
	if (n < 0 || (size_t)n >= sizeof(place))
		return -ENAMETOOLONG;
	return run(r, argv, max, bytes);
}

int disk_reader_file(struct disk_reader *r, const char *volume, const char *path, size_t max,
		     struct disk_bytes *bytes)
{
	return run_on(r, "cat", volume, path, max, bytes);
}

int disk_reader_folder(struct disk_reader *r, const char *volume, const char *path,
		       struct disk_bytes *bytes)
{
	return run_on(r, "ls", volume, path, MAX_LIST, bytes);
}

void disk_bytes_free(struct disk_bytes *bytes)
{
	if (bytes->data)
		munmap(bytes->data, bytes->size);
	*bytes = (struct disk_bytes){.size = 0};
}

/* -- volumes ---------------------------------------------------------------------------------- */

/* Takes "\tPartition loop0,gpt1: Filesystem type ext* ... - Partition start at 1024KiB", or the same
 * with "Device lvm/vg-root: ". Returns false for another line, and what is no part of the disk. */
static bool take_volume(const char *line, struct disk_volume *v)
{
	static const char *const begins[] = {"\tPartition ", "Device "};
	const char *name = NULL, *at;
	size_t n;

	*v = (struct disk_volume){.readable = false};
	for (size_t i = 0; i < 2 && !name; i++)
		if (strncmp(line, begins[i], strlen(begins[i])) == 0)
			name = line + strlen(begins[i]);
	if (!name)
		return false;
	n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,/_.+-");
	if (!n || n >= sizeof(v->name) || name[n] != ':')
		return false;
	memcpy(v->name, name, n);
	v->name[n] = '\0';
	at = strstr(name, "Partition start at ");
	if (at)
		v->start = strtoull(at + strlen("Partition start at "), NULL, 10) << 10;
	v->readable = strstr(name, ": Filesystem type ") == name + n;
	return strcmp(v->name, "proc") != 0 && strcmp(v->name, "host") != 0;
}

int disk_reader_volumes(struct disk_reader *r, struct disk_volume volumes[DISK_VOLUMES])
{
	const char *const argv[] = {r->program, r->path, "--", "ls", "-l", NULL};
	struct disk_bytes bytes;
	const char *at;
	char line[1024];
	int ret = run(r, argv, MAX_LIST, &bytes), n = 0;

	at = bytes.data;
	for (size_t left = bytes.size; ret == 0 && left && n < DISK_VOLUMES;) {
		const char *newline = memchr(at, '\n', left);
		size_t len = newline ? (size_t)(newline - at) + 1 : left;

		snprintf(line, sizeof(line), "%.*s", (int)(len < sizeof(line) ? len : sizeof(line)),
			 at);
		at += len;
		left -= len;
		n += take_volume(line, &volumes[n]);
	}
	disk_bytes_free(&bytes);
	return ret < 0 ? ret : n;
}
