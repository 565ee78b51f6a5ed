/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Throttling and pressure; see pressure.h. Linux Documentation/admin-guide/cgroup-v2.rst (cpu.stat,
 * cpu.pressure), scheduler/sched-bwc.rst (cpu.stat of v1), accounting/psi.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "poll/pressure.h"
#include "relaxed.h"

#define EVERY_NS 100000000  /* a period of the bandwidth controller's, by default */
#define PAUSE_NS 1000000000 /* and then the files are read anew */
/* The pressure is high if tasks have waited for so much of the time. */
#define STALL_PERCENT 20

#define PATH 4096
#define TEXT 1024 /* of a file */

/* -- reading ---------------------------------------------------------------------------------- */

/* Finds the number after the first @word. Returns false if that is not there. */
static bool number_after(const char *text, const char *word, uint64_t *value)
{
	const char *at = strstr(text, word);

	if (!at)
		return false;
	*value = strtoull(at + strlen(word), NULL, 10);
	return true;
}

static bool read_number(int fd, const char *word, uint64_t *value)
{
	char text[TEXT];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = '\0';
	return number_after(text, word, value);
}

#define THROTTLED "nr_throttled "
#define STALLED	  "total=" /* the first line is that of "some" */

/* -- opening ---------------------------------------------------------------------------------- */

/* Opens "@root@folder/@name". Returns -1 if it is not there or lacks @word. */
static int open_with(const char *root, const char *folder, const char *name, const char *word)
{
	char path[PATH];
	uint64_t value;
	int fd;

	if (snprintf(path, sizeof(path), "%s%s/%s", root, folder, name) >= (int)sizeof(path))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !read_number(fd, word, &value)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static FILE *open_text(const char *root, const char *name)
{
	char path[PATH];

	if (snprintf(path, sizeof(path), "%s%s", root, name) >= (int)sizeof(path))
		return NULL;
	return fopen(path, "re");
}

/* Returns whether @word is one of those in @list, which has commas. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; *p; p += *p == ',') {
		size_t n = strcspn(p, ",\n");

		if (n == len && strncmp(p, word, n) == 0)
			return true;
		p += n;
		if (*p == '\n')
			break;
	}
	return false;
}

/* Finds this process's group in the hierarchy of version 2, or in that of version 1 which has the
 * cpu controller. proc_pid_cgroup(5): number:controllers:path. */
static bool own_group(const char *root, bool v2, char path[PATH])
{
	FILE *f = open_text(root, "/proc/self/cgroup");
	char line[PATH];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *controllers = strchr(line, ':'), *name;

		name = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!name)
			continue;
		*name++ = '\0';
		controllers++;
		name[strcspn(name, "\n")] = '\0';
		found = v2 ? !*controllers : has_word(controllers, "cpu");
		if (found)
			snprintf(path, PATH, "%s", name);
	}
	if (f)
		fclose(f);
	return found;
}

/*
 * Finds where that hierarchy is mounted, and which group is there. proc_pid_mountinfo(5): id parent
 * major:minor root place options [...] - type source super-options. (Blanks in names are escaped.)
 */
static bool mounted(const char *root, bool v2, char place[PATH], char top[PATH])
{
	FILE *f = open_text(root, "/proc/self/mountinfo");
	char line[2 * PATH], type[32], more[PATH];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		const char *rest = strstr(line, " - ");

		if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", top, place) != 2 ||
		    sscanf(rest, " - %31s %*s %4095s", type, more) != 2)
			continue;
		found = v2 ? strcmp(type, "cgroup2") == 0
			   : strcmp(type, "cgroup") == 0 && has_word(more, "cpu");
	}
	if (f)
		fclose(f);
	return found;
}

/* Finds the folder of this process's group, and in *@least the length of its hierarchy's. */
static bool find_group(const char *root, bool v2, char folder[2 * PATH], size_t *least)
{
	char path[PATH], place[PATH], top[PATH];
	const char *below = path;
	size_t len;

	if (!own_group(root, v2, path) || !mounted(root, v2, place, top))
		return false;
	/* In a container another group than the root's may be mounted there. */
	len = strlen(top);
	if (strcmp(top, "/") != 0 && strncmp(path, top, len) == 0 &&
	    (path[len] == '/' || !path[len]))
		below += len;
	*least = strlen(place);
	snprintf(folder, 2 * PATH, "%s%s", place, strcmp(below, "/") != 0 ? below : "");
	return true;
}

/* Opens cpu.stat of @folder, which it changes, and of those above it whose names are at least @least
 * long: that of a group does not count what groups above it are throttled for. */
static void open_throttling(struct pressure *p, const char *root, char *folder, size_t least)
{
	while (p->groups < PRESSURE_GROUPS) {
		int fd = open_with(root, folder, "cpu.stat", THROTTLED);
		char *slash;

		if (fd >= 0)
			p->throttle_fds[p->groups++] = fd;
		slash = strlen(folder) > least ? strrchr(folder, '/') : NULL;
		if (!slash)
			break;
		*slash = '\0';
	}
}

static void open_group(struct pressure *p, const char *root, bool v2)
{
	char folder[2 * PATH];
	size_t least;

	if (!find_group(root, v2, folder, &least))
		return;
	if (p->stall_fd < 0)
		p->stall_fd = open_with(root, folder, "cpu.pressure", STALLED);
	open_throttling(p, root, folder, least);
}

static void init(struct pressure *p, const struct clock *clock)
{
	memset(p, 0, sizeof(*p));
	p->stall_fd = -1;
	p->every = clock_ns_to_ticks(clock, EVERY_NS);
	p->pause = clock_ns_to_ticks(clock, PAUSE_NS);
}

void pressure_open(struct pressure *p, const struct clock *clock, const char *root)
{
	init(p, clock);
	open_group(p, root, true);
	open_group(p, root, false);
	if (p->stall_fd < 0) {
		p->stall_fd = open_with(root, "/proc/pressure", "cpu", STALLED);
		p->stall_host = p->stall_fd >= 0;
	}
	if (p->stall_fd < 0 && p->groups == 0)
		relaxed_store(&p->calm_until, UINT64_MAX);
}

int pressure_open_group(struct pressure *p, const struct clock *clock, const char *folder,
			struct error *err)
{
	char path[PATH];
	struct stat st;

	init(p, clock);
	if (stat(folder, &st) < 0)
		return error_errno(err, -errno, "cgroup: %s", folder);
	if (snprintf(path, sizeof(path), "%s", folder) >= (int)sizeof(path))
		return error_fail(err, -ENAMETOOLONG, "cgroup: the path is too long");
	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	p->stall_fd = open_with("", path, "cpu.pressure", STALLED);
	open_throttling(p, "", path, 0);
	if (p->stall_fd >= 0 || p->groups)
		return 0;
	return error_fail(err, -ENOENT,
			  "cgroup: %s: expected a folder with cpu.pressure, or a cpu.stat that has "
			  "nr_throttled",
			  folder);
}

int pressure_borrow(struct pressure *p, const struct clock *clock, int stall_fd, int throttle_fd,
		    struct error *err)
{
	uint64_t value;

	init(p, clock);
	p->borrowed = true;
	if (stall_fd >= 0 && !read_number(stall_fd, STALLED, &value))
		return error_fail(
			err, -EINVAL,
			"pressure_fd: descriptor %d: expected a cpu.pressure, open to read",
			stall_fd);
	if (throttle_fd >= 0 && !read_number(throttle_fd, THROTTLED, &value))
		return error_fail(err, -EINVAL,
				  "throttle_fd: descriptor %d: expected a cpu.stat with "
				  "nr_throttled, open to read",
				  throttle_fd);
	p->stall_fd = stall_fd;
	if (throttle_fd >= 0)
		p->throttle_fds[p->groups++] = throttle_fd;
	return 0;
}

void pressure_close(struct pressure *p)
{
	for (unsigned int i = 0; i < p->groups && !p->borrowed; i++)
		close(p->throttle_fds[i]);
	if (p->stall_fd >= 0 && !p->borrowed)
		close(p->stall_fd);
	p->groups = 0;
	p->stall_fd = -1;
}

/* -- asking ----------------------------------------------------------------------------------- */

/* Returns what has been going on since the files were read last. */
static enum pressure_sign read_signs(struct pressure *p, const struct clock *clock, uint64_t now)
{
	uint64_t throttled = 0, stalled_us = p->stalled_us, n, ns;
	enum pressure_sign sign = PRESSURE_NONE;

	for (unsigned int i = 0; i < p->groups; i++)
		if (read_number(p->throttle_fds[i], THROTTLED, &n))
			throttled += n;
	if (p->stall_fd >= 0 && read_number(p->stall_fd, STALLED, &n))
		stalled_us = n;
	ns = now > p->read_at ? clock_ticks_to_ns(clock, now - p->read_at) : 0;
	if (p->read_at && throttled > p->throttled)
		sign = PRESSURE_THROTTLED;
	else if (p->read_at && ns && stalled_us > p->stalled_us &&
		 (stalled_us - p->stalled_us) * 100 >= ns / 1000 * STALL_PERCENT)
		sign = PRESSURE_STALLED;
	p->throttled = throttled;
	p->stalled_us = stalled_us;
	p->read_at = now;
	return sign;
}

enum pressure_sign pressure_ask_slow(struct pressure *p, const struct clock *clock, uint64_t now)
{
	uint64_t until = relaxed_load(&p->until);
	enum pressure_sign sign;

	/* Further away than a pause it cannot be, unless the clock has jumped. */
	if (now < until && until - now <= p->pause)
		return (enum pressure_sign)relaxed_load(&p->sign);
	if (atomic_exchange_explicit(&p->busy, true, memory_order_acquire))
		return PRESSURE_NONE; /* the next one to ask knows */
	sign = read_signs(p, clock, now);
	if (sign == PRESSURE_NONE) {
		relaxed_store(&p->calm_until, now + p->every);
	} else {
		relaxed_store(&p->sign, sign);
		relaxed_store(&p->until, now + p->pause);
	}
	atomic_store_explicit(&p->busy, false, memory_order_release);
	return sign;
}
