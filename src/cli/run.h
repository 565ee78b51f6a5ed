/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap run`: between its files. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <catnap/catnap.h>

/* Exit statuses of `catnap run` beyond those of every command; interface documented in
 * catnap-run(1). */
enum {
	RUN_POWEROFF = 0,
	RUN_RESET = 32,
	RUN_FAULT = 33,
	RUN_PANIC = 34,
	RUN_TIMEOUT = 124,
	RUN_SIGNAL = 128, /* + the signal's number */
};

enum run_serial { SERIAL_STDIO, SERIAL_NULL, SERIAL_FILE };

struct run_cfg {
	const char *kernel, *cmdline;
	uint32_t cpus;
	int32_t affinity[CATNAP_MAX_VCPUS];
	bool pinned;
	uint64_t memory;
	int irqchip, image_kind;
	struct catnap_halt_poll halt_poll; /* of all vCPUs */
	struct {
		int vcpu;
		struct catnap_halt_poll params;
	} vcpu_halt_poll[CATNAP_MAX_VCPUS];
	uint32_t n_vcpu_halt_poll;
	uint32_t debug_exit; /* UINT32_MAX: off */
	uint64_t timeout_ns; /* 0: none */
	const char *stats, *halt_trace, *log_file;
	int log_level;
	bool verbose;
	enum run_serial serial;
	const char *serial_path;
};

/* Everything that is open while the VM runs. */
struct run_io {
	FILE *log;
	int serial_out; /* -1: lost */
	int serial_in;	/* -1: none */
	int stop_fd;	/* eventfd: readable once the VM is to end, whoever takes its output */
	FILE *stats;
	int trace_fd;
	bool serial_made, stats_made, trace_made; /* the files were not there before */
};

/* run_loop.c: runs @vm to its end, with input, signals and timeout. Returns the exit status. */
int run_loop(struct catnap_vm *vm, const struct run_cfg *cfg, const struct run_io *io);

/* stats_json.c: all statistics of @vm as one JSON document. 0, or -1 with errno set. */
int write_stats(struct catnap_vm *vm, const struct run_cfg *cfg, const struct catnap_exit *exit,
		FILE *out);

#endif
