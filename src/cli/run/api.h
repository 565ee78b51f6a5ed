/* SPDX-License-Identifier: Apache-2.0 */
/* --api-socket: the control socket of a VM that was started by options. The main thread's. */
#ifndef CLI_RUN_API_H
#define CLI_RUN_API_H

#include <stdint.h>

#include "cli/api/server.h"

struct run_cfg;
struct run_io;

struct run_api {
	struct api api;
	struct api_server server;
	struct http_socket socket;
	bool keepers; /* the keeper removes the socket */
};

/* Makes the socket, or takes the one that was given, and has @vm answer there. Nothing if there is to
 * be none. A status, after a line on standard error. run_api_close() must follow either way. */
int run_api_open(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io);
/* Tells those who wait for it that the VM has ended, while it is still there. */
void run_api_ended(struct run_io *io);
void run_api_close(struct run_io *io);
/* Takes the socket that systemd has passed, where no option says what it is for: none names a
 * control socket, and none names this descriptor. Processes that are started later are told nothing
 * of it. sd_listen_fds(3). */
void run_api_activated(struct run_cfg *cfg);

#endif
