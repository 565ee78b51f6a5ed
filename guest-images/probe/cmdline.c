/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: words of key=value. Words that are not ours are skipped, so that a VMM may add
 * its own, and the file name that Multiboot loaders put first does no harm.
 */
#include "cmdline.h"

#include <stddef.h>

const char *const workload_names[WORKLOADS] = {
	"none", "event", "timer", "ipi",     "idle",   "start",	  "memory",
	"cpus", "blk",	 "echo",  "compute", "prices", "restore",
};

static const struct {
	const char *name;
	size_t offset;
} numbers[] = {
	{"samples", offsetof(struct params, samples)},
	{"warmup", offsetof(struct params, warmup)},
	{"wait", offsetof(struct params, wait)},
	{"gap_ns", offsetof(struct params, gap_ns)},
	{"random", offsetof(struct params, random)},
	{"seed", offsetof(struct params, seed)},
	{"tsc_khz", offsetof(struct params, tsc_khz)},
	{"apic_hz", offsetof(struct params, apic_hz)},
	{"pv_eoi", offsetof(struct params, pv_eoi)},
	{"tick_hz", offsetof(struct params, tick_hz)},
	{"cpus", offsetof(struct params, cpus)},
	{"print", offsetof(struct params, print)},
	{"exit", offsetof(struct params, exit_port)},
	{"ecam", offsetof(struct params, ecam)},
	{"window", offsetof(struct params, window)},
	{"blk_id", offsetof(struct params, blk_id)},
	{"blk_write", offsetof(struct params, blk_write)},
	{"drain", offsetof(struct params, drain)},
	{"ivshmem", offsetof(struct params, ivshmem)},
	{"disk", offsetof(struct params, disk)},
	{"op", offsetof(struct params, op)},
	{"extra", offsetof(struct params, extra)},
	{"per_halt", offsetof(struct params, per_halt)},
	{"pages", offsetof(struct params, pages)},
	{"span", offsetof(struct params, span)},
	{"haltpoll", offsetof(struct params, haltpoll)},
	{"poll_control", offsetof(struct params, poll_control)},
	{"guest_halt_poll_ns", offsetof(struct params, poll_ns)},
	{"guest_halt_poll_grow", offsetof(struct params, poll_grow)},
	{"guest_halt_poll_grow_start", offsetof(struct params, poll_grow_start)},
	{"guest_halt_poll_shrink", offsetof(struct params, poll_shrink)},
	{"guest_halt_poll_allow_shrink", offsetof(struct params, poll_allow_shrink)},
};

static int is_end(char c)
{
	return c == 0 || c == ' ' || c == '\t' || c == '\n';
}

/* the rest of s after prefix, or NULL */
static const char *after(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return NULL;
	return s;
}

static int equals(const char *word, const char *name)
{
	const char *rest = after(word, name);

	return rest && is_end(*rest);
}

static uint64_t number(const char *s)
{
	uint64_t value = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		value = value * 10 + (uint64_t)(*s - '0');
	return value;
}

static void parse_word(const char *word, struct params *p)
{
	const char *value;
	unsigned int i;

	value = after(word, "workload=");
	if (value) {
		p->workload = WORKLOAD_NONE;
		for (i = 1; i < WORKLOADS; i++)
			if (equals(value, workload_names[i]))
				p->workload = (enum workload)i;
		return;
	}
	value = after(word, "apic=");
	if (value) {
		p->xapic = equals(value, "xapic");
		return;
	}
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		value = after(word, numbers[i].name);
		if (value && *value == '=') {
			*(uint64_t *)((char *)p + numbers[i].offset) = number(value + 1);
			return;
		}
	}
}

void cmdline_parse(const char *line, struct params *p)
{
	while (line && *line) {
		if (!is_end(*line))
			parse_word(line, p);
		while (!is_end(*line))
			line++;
		while (*line && is_end(*line))
			line++;
	}
}
