/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap serve`: a process that is told of its VM by a control socket or a file, as Firecracker is.
 * Between its files. All of it is the main thread's, but for what says otherwise.
 */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>
#include "cli/api/server.h"
#include "cli/serve/logger.h"
#include "cli/serve/metrics_file.h"
#include "cli/serve/serial.h"

/* Exit statuses beside CMD_OK, CMD_ERROR and CMD_USAGE; documented in catnap-serve(1). */
enum {
	SERVE_BAD_CONFIGURATION = 152,
	SERVE_ARGUMENTS = 153, /* for CMD_USAGE, where the command is called firecracker */
	SERVE_SIGNAL = 128,    /* + the signal's number */
};

struct serve_cfg {
	const char *api_sock, *config_file, *id, *log_path, *module, *metrics_path, *metadata;
	const char *seccomp_filter;
	int level; /* enum fc_level; -1: not given */
	bool no_api, show_level, show_origin, boot_timer, no_seccomp, pci, version;
	uint64_t max_payload, mmds_limit;
	uint64_t start_us, start_cpu_us, parent_cpu_us; /* UINT64_MAX: not given */
};

struct serve {
	const struct serve_cfg *cfg;
	struct logger logger;
	struct metrics_file metrics;
	struct serve_serial serial;
	struct api api;
	struct api_server server;
	struct http_socket socket;
	bool listens, keepers; /* the keeper removes the socket */
	struct catnap_keeper *keeper;
	struct catnap_vm *watched; /* for fault_watch(); NULL: there is none yet */
	uint64_t balloon_next,
		balloon_ns;	       /* when statistics are asked for, and how often; 0: not */
	int boot_fd;		       /* of --boot-timer; -1: none */
	uint64_t boot_ns, boot_cpu_ns; /* when InstanceStart came */
	int signals;		       /* a signalfd(2); -1: none */
	int service;		       /* the service manager (cli/service.h); -1: none */
};

/* build.c: makes the VM of the model, and starts it. 0, or -EINVAL with @r answered. */
int serve_start(void *serve, struct reply *r);

/* build.c: makes a VM of a snapshot, and starts it. The same. */
int serve_load(void *serve, struct reply *r, const struct api_load *load);

/* config_file.c: takes the file into the model, and starts the VM. A status, after a message. */
int serve_config_file(struct serve *s, const char *path);

/* loop.c: runs until the VM's end, or a signal. Returns the exit status. */
int serve_loop(struct serve *s);

#endif
