/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of the processor, of its packages' energy and of its idle states; see costs.h. */
#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/bench/costs.h"

#define POWERCAP "/sys/class/powercap"
#define CPUS	 "/sys/devices/system/cpu"

/* -- cycles and instructions ------------------------------------------------------------------ */

static int open_one(enum bench_counter which, pid_t thread)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE, .size = sizeof(attr)};
	const bool guest = which == BENCH_GUEST_CYCLES || which == BENCH_GUEST_INSTRUCTIONS;

	attr.config = which == BENCH_GUEST_CYCLES || which == BENCH_HOST_CYCLES
			      ? PERF_COUNT_HW_CPU_CYCLES
			      : PERF_COUNT_HW_INSTRUCTIONS;
	attr.exclude_host = guest;
	attr.exclude_guest = !guest;
	attr.exclude_hv = 1;
	attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
	return (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Returns whether a thread runs a guest in this process, by its name. */
static bool runs_a_guest(const char *folder, const char *thread)
{
	char path[320], name[17] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%.100s/%.64s/comm", folder, thread);
	f = fopen(path, "re");
	if (f && !fgets(name, sizeof(name), f))
		name[0] = '\0';
	if (f)
		fclose(f);
	return strncmp(name, "catnap-", 7) == 0;
}

static bool add_thread(struct bench_counters *c, pid_t thread)
{
	int *more = realloc(c->fd, (c->threads + 1) * BENCH_COUNTERS * sizeof(*more)), *fd;

	if (!more)
		return false;
	c->fd = more;
	fd = c->fd + c->threads * BENCH_COUNTERS;
	for (int i = 0; i < BENCH_COUNTERS; i++) {
		fd[i] = open_one((enum bench_counter)i, thread);
		if (fd[i] >= 0)
			continue;
		while (i-- > 0)
			close(fd[i]);
		return false;
	}
	c->threads++;
	return true;
}

void bench_counters_open(struct bench_counters *c, pid_t pid)
{
	char folder[64];
	struct dirent *e;
	DIR *dir;

	*c = (struct bench_counters){.fd = NULL};
	if (pid)
		snprintf(folder, sizeof(folder), "/proc/%d/task", (int)pid);
	else
		snprintf(folder, sizeof(folder), "/proc/self/task");
	dir = opendir(folder);
	while (dir && (e = readdir(dir))) {
		if (*e->d_name == '.' || (!pid && !runs_a_guest(folder, e->d_name)))
			continue;
		if (add_thread(c, (pid_t)atoi(e->d_name)))
			continue;
		/* All of them, or none: a part of the sum is no figure. */
		bench_counters_close(c);
		break;
	}
	if (dir)
		closedir(dir);
}

void bench_counters_close(struct bench_counters *c)
{
	for (size_t i = 0; i < c->threads * BENCH_COUNTERS; i++)
		close(c->fd[i]);
	free(c->fd);
	*c = (struct bench_counters){.fd = NULL};
}

/* Reads a counter. One that had to share its place is scaled to the whole time. */
static bool read_counter(int fd, uint64_t *sum)
{
	uint64_t v[3]; /* the count, the time it was wanted, the time it ran */

	if (read(fd, v, sizeof(v)) != (ssize_t)sizeof(v))
		return false;
	if (v[2])
		*sum += v[1] == v[2] ? v[0] : (uint64_t)((unsigned __int128)v[0] * v[1] / v[2]);
	return true;
}

static void read_counters(struct bench_costs *costs, const struct bench_counters *c)
{
	costs->has_counters = c->threads;
	for (size_t i = 0; i < c->threads * BENCH_COUNTERS; i++)
		costs->has_counters &= read_counter(c->fd[i], &costs->counter[i % BENCH_COUNTERS]);
}

/* -- files of sysfs --------------------------------------------------------------------------- */

static bool read_text(const char *folder, const char *name, char *text, size_t size)
{
	char path[512];
	bool there;
	FILE *f;

	snprintf(path, sizeof(path), "%.400s/%.64s", folder, name);
	f = fopen(path, "re");
	there = f && fgets(text, (int)size, f);
	if (f)
		fclose(f);
	if (there)
		text[strcspn(text, "\n")] = '\0';
	return there;
}

static bool read_number(const char *folder, const char *name, uint64_t *value)
{
	char text[32];

	if (!read_text(folder, name, text, sizeof(text)))
		return false;
	*value = strtoull(text, NULL, 10);
	return true;
}

static const struct bench_package *package_of(const struct bench_costs *costs, const char *name)
{
	for (uint32_t i = 0; i < costs->n_packages; i++)
		if (strcmp(costs->package[i].name, name) == 0)
			return &costs->package[i];
	return NULL;
}

/* Reads the energy of the packages alone: their parts are in them. Some hosts have each twice, once
 * by MSR and once by MMIO. */
void bench_costs_read_energy(struct bench_costs *costs, const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	while (dir && (e = readdir(dir)) && costs->n_packages < BENCH_PACKAGES) {
		struct bench_package *p = &costs->package[costs->n_packages];
		char path[320], name[32];

		snprintf(path, sizeof(path), "%.200s/%.100s", folder, e->d_name);
		if (!read_text(path, "name", name, sizeof(name)) ||
		    strncmp(name, "package-", 8) != 0 || package_of(costs, name) ||
		    !read_number(path, "energy_uj", &p->uj))
			continue;
		if (!read_number(path, "max_energy_range_uj", &p->range_uj))
			p->range_uj = 0;
		snprintf(p->name, sizeof(p->name), "%s", name);
		costs->n_packages++;
	}
	if (dir)
		closedir(dir);
	costs->has_energy = costs->n_packages;
}

static struct bench_idle_state *state_of(struct bench_costs *costs, const char *name)
{
	for (uint32_t i = 0; i < costs->n_states; i++)
		if (strcmp(costs->state[i].name, name) == 0)
			return &costs->state[i];
	if (costs->n_states == BENCH_IDLE_STATES)
		return NULL;
	snprintf(costs->state[costs->n_states].name, sizeof(costs->state[0].name), "%s", name);
	return &costs->state[costs->n_states++];
}

static void read_states(struct bench_costs *costs)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	for (long cpu = 0; cpu < n; cpu++)
		for (int i = 0; i < BENCH_IDLE_STATES; i++) {
			struct bench_idle_state *s;
			char folder[128], name[17];
			uint64_t us;

			snprintf(folder, sizeof(folder), CPUS "/cpu%ld/cpuidle/state%d", cpu, i);
			if (!read_text(folder, "name", name, sizeof(name)) ||
			    !read_number(folder, "time", &us))
				break;
			s = state_of(costs, name);
			if (s)
				s->us += us;
		}
}

/* -- all of them ------------------------------------------------------------------------------ */

void bench_costs_read(struct bench_costs *costs, const struct bench_counters *c)
{
	*costs = (struct bench_costs){.has_counters = false};
	if (c)
		read_counters(costs, c);
	bench_costs_read_energy(costs, POWERCAP);
	read_states(costs);
}

static void add_energy(struct bench_costs *sum, const struct bench_costs *before,
		       const struct bench_costs *after)
{
	for (uint32_t i = 0; i < after->n_packages; i++) {
		const struct bench_package *now = &after->package[i], *then;

		then = package_of(before, now->name);
		if (!then)
			continue;
		sum->has_energy = true;
		sum->energy_uj += now->uj - then->uj;
		/* It has begun again from 0 meanwhile. */
		if (now->uj < then->uj)
			sum->energy_uj += now->range_uj ? now->range_uj : then->uj - now->uj;
	}
}

void bench_costs_add(struct bench_costs *sum, const struct bench_costs *before,
		     const struct bench_costs *after)
{
	if (before->has_counters && after->has_counters) {
		sum->has_counters = true;
		for (int i = 0; i < BENCH_COUNTERS; i++)
			sum->counter[i] += after->counter[i] - before->counter[i];
	}
	add_energy(sum, before, after);
	for (uint32_t i = 0; i < after->n_states && i < before->n_states; i++) {
		struct bench_idle_state *s = state_of(sum, after->state[i].name);

		if (s && after->state[i].us >= before->state[i].us)
			s->us += after->state[i].us - before->state[i].us;
	}
}

static const char *why_no_counters(void)
{
	int fd = open_one(BENCH_GUEST_CYCLES, 0), err = errno;

	if (fd >= 0)
		close(fd);
	return fd >= 0 ? NULL : strerror(err);
}

const char *bench_costs_missing(char *buf, size_t size)
{
	const char *why = why_no_counters();
	struct bench_costs costs;
	size_t used = 0;

	buf[0] = '\0';
	bench_costs_read(&costs, NULL);
	if (why)
		used = (size_t)snprintf(buf, size, "cycles and instructions (perf_event_open: %s)",
					why);
	if (!costs.has_energy && used < size)
		used += (size_t)snprintf(buf + used, size - used, "%senergy (" POWERCAP ")",
					 used ? ", " : "");
	if (!costs.n_states && used < size)
		snprintf(buf + used, size - used, "%sidle states (cpuidle)", used ? ", " : "");
	return buf;
}
