/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often KVM left a guest, and what for: KVM's own counters of a VM, whoever runs it (debugfs),
 * its tracepoint of exits to user space (perf_event_open(2)), and the context switches of the
 * threads that run the VM. Root's alone, as a rule. The main thread's.
 */
#ifndef CLI_BENCH_EXITS_H
#define CLI_BENCH_EXITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum bench_exit {
	BENCH_EXITS,	    /* all of them */
	BENCH_EXITS_USER,   /* to user space */
	BENCH_EXITS_HALT,   /* for HLT, which KVM handles or hands on */
	BENCH_EXITS_SIGNAL, /* to user space for a signal */
	BENCH_INJECTIONS,   /* interrupts that KVM injected */
	BENCH_SWITCHES,	    /* context switches */
	BENCH_EXIT_KINDS
};

/* A reading, or a sum of differences. */
struct bench_exits {
	bool has[BENCH_EXIT_KINDS];
	uint64_t n[BENCH_EXIT_KINDS];
};

/* What is open to be read. */
struct bench_exit_counters {
	pid_t pid; /* of the process with the VM */
	int *fd;   /* the tracepoint's, one for each thread of it */
	size_t n;
};

/* Return the name of a kind in JSON, and at the head of a column. */
const char *bench_exit_name(enum bench_exit kind);
const char *bench_exit_head(enum bench_exit kind);

/* Begins to count, for a VM whose vCPUs have their threads already. */
void bench_exits_open(struct bench_exit_counters *c, pid_t pid);
void bench_exits_close(struct bench_exit_counters *c);
void bench_exits_read(struct bench_exits *e, const struct bench_exit_counters *c);
/* Adds to @sum what lies between. */
void bench_exits_add(struct bench_exits *sum, const struct bench_exits *before,
		     const struct bench_exits *after);
/* Writes one sentence on what this host does not tell, and what would change that; "" if it tells
 * all of @e. Returns @buf. */
const char *bench_exits_missing(char *buf, size_t size, const struct bench_exits *e);

#endif
