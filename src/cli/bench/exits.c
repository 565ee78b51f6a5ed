/* SPDX-License-Identifier: Apache-2.0 */
/* See exits.h; kvm api.rst, section 4.135 has the same counters. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/bench/exits.h"

#define DEBUGFS "/sys/kernel/debug/kvm"

static const struct {
	const char *name, *head;
	const char *file; /* KVM's name; NULL: it does not count that */
} kinds[BENCH_EXIT_KINDS] = {
	[BENCH_EXITS] = {"exits", "exits", "exits"},
	[BENCH_EXITS_USER] = {"user_exits", "user", NULL},
	[BENCH_EXITS_HALT] = {"halt_exits", "hlt", "halt_exits"},
	[BENCH_EXITS_SIGNAL] = {"signal_exits", "signal", "signal_exits"},
	[BENCH_INJECTIONS] = {"injections", "inject", "irq_injections"},
	[BENCH_SWITCHES] = {"context_switches", "switch", NULL},
};

/* Where the kernel tells the number of the tracepoint. */
static const char *const tracepoints[] = {
	"/sys/kernel/tracing/events/kvm/kvm_userspace_exit/id",
	"/sys/kernel/debug/tracing/events/kvm/kvm_userspace_exit/id"};

const char *bench_exit_name(enum bench_exit kind)
{
	return kinds[kind].name;
}

const char *bench_exit_head(enum bench_exit kind)
{
	return kinds[kind].head;
}

static bool read_number(const char *path, uint64_t *value)
{
	FILE *f = fopen(path, "re");
	bool there = f && fscanf(f, "%" SCNu64, value) == 1;

	if (f)
		fclose(f);
	return there;
}

/* -- the tracepoint --------------------------------------------------------------------------- */

static bool tracepoint(uint64_t *id)
{
	for (size_t i = 0; i < sizeof(tracepoints) / sizeof(tracepoints[0]); i++)
		if (read_number(tracepoints[i], id))
			return true;
	return false;
}

void bench_exits_close(struct bench_exit_counters *c)
{
	for (size_t i = 0; i < c->n; i++)
		close(c->fd[i]);
	free(c->fd);
	c->fd = NULL;
	c->n = 0;
}

/* Opens it for one thread. */
static bool open_one(struct bench_exit_counters *c, uint64_t id, pid_t thread)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = id};
	int *more = realloc(c->fd, (c->n + 1) * sizeof(*more)), fd;

	if (!more)
		return false;
	c->fd = more;
	fd = (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return false;
	c->fd[c->n++] = fd;
	return true;
}

/* Of all threads that the process has by now, the vCPUs' among them: other VMs of the host are not
 * counted. */
void bench_exits_open(struct bench_exit_counters *c, pid_t pid)
{
	char folder[64];
	struct dirent *d;
	uint64_t id;
	DIR *dir;

	*c = (struct bench_exit_counters){.pid = pid};
	if (!tracepoint(&id))
		return;
	snprintf(folder, sizeof(folder), "/proc/%d/task", (int)pid);
	dir = opendir(folder);
	while (dir && (d = readdir(dir))) {
		/* All of them, or none: a part of the sum is no figure. One that has ended runs no
		 * vCPU. */
		if (*d->d_name == '.' || open_one(c, id, (pid_t)atoi(d->d_name)) || errno == ESRCH)
			continue;
		bench_exits_close(c);
		break;
	}
	if (dir)
		closedir(dir);
}

static void read_tracepoint(struct bench_exits *e, const struct bench_exit_counters *c)
{
	e->has[BENCH_EXITS_USER] = c->n;
	for (size_t i = 0; i < c->n; i++) {
		uint64_t n = 0;

		e->has[BENCH_EXITS_USER] &= read(c->fd[i], &n, sizeof(n)) == sizeof(n);
		e->n[BENCH_EXITS_USER] += n;
	}
}

/* -- KVM's counters --------------------------------------------------------------------------- */

/* Adds the counters of one VM: a folder PID-DESCRIPTOR. */
static void add_folder(struct bench_exits *e, const char *folder)
{
	for (int i = 0; i < BENCH_EXIT_KINDS; i++) {
		char path[320];
		uint64_t n;

		if (!kinds[i].file)
			continue;
		snprintf(path, sizeof(path), DEBUGFS "/%.200s/%s", folder, kinds[i].file);
		if (!read_number(path, &n))
			continue;
		e->has[i] = true;
		e->n[i] += n;
	}
}

static void read_debugfs(struct bench_exits *e, pid_t pid)
{
	DIR *dir = opendir(DEBUGFS);
	struct dirent *d;
	char begin[32];

	snprintf(begin, sizeof(begin), "%d-", (int)pid);
	while (dir && (d = readdir(dir)))
		if (strncmp(d->d_name, begin, strlen(begin)) == 0)
			add_folder(e, d->d_name);
	if (dir)
		closedir(dir);
}

/* -- context switches ------------------------------------------------------------------------- */

/* Adds those of one thread. One of this process counts only if it runs the VM, by its name. */
static bool add_thread(struct bench_exits *e, const char *folder, const char *thread, bool here)
{
	char path[320], line[128], name[17] = "";
	unsigned long long n;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%.100s/%.64s/status", folder, thread);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Name: %16s", name) == 1 && here &&
		    strncmp(name, "catnap-", 7) != 0)
			break;
		if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) != 1 &&
		    sscanf(line, "nonvoluntary_ctxt_switches: %llu", &n) != 1)
			continue;
		e->n[BENCH_SWITCHES] += n;
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static void read_switches(struct bench_exits *e, pid_t pid)
{
	char folder[64];
	struct dirent *d;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%d/task", (int)pid);
	dir = opendir(folder);
	while (dir && (d = readdir(dir)))
		if (*d->d_name != '.' && add_thread(e, folder, d->d_name, pid == getpid()))
			e->has[BENCH_SWITCHES] = true;
	if (dir)
		closedir(dir);
}

/* -- all of them ------------------------------------------------------------------------------ */

void bench_exits_read(struct bench_exits *e, const struct bench_exit_counters *c)
{
	*e = (struct bench_exits){.has = {false}};
	read_tracepoint(e, c);
	read_debugfs(e, c->pid);
	read_switches(e, c->pid);
}

void bench_exits_add(struct bench_exits *sum, const struct bench_exits *before,
		     const struct bench_exits *after)
{
	for (int i = 0; i < BENCH_EXIT_KINDS; i++) {
		if (!before->has[i] || !after->has[i] || after->n[i] < before->n[i])
			continue;
		sum->has[i] = true;
		sum->n[i] += after->n[i] - before->n[i];
	}
}

const char *bench_exits_missing(char *buf, size_t size, const struct bench_exits *e)
{
	snprintf(buf, size, "%s%s%s",
		 e->has[BENCH_EXITS] ? "" : "KVM's counters (debugfs at " DEBUGFS ")",
		 e->has[BENCH_EXITS] || e->has[BENCH_EXITS_USER] ? "" : ", ",
		 e->has[BENCH_EXITS_USER]
			 ? ""
			 : "exits to user space (tracefs at /sys/kernel/tracing, perf_event_open)");
	return buf;
}
