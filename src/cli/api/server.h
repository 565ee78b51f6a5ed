/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: HTTP (http.h) in front of the resources (route.h), in the loop of the command
 * that owns both. The VM's events are taken here, too, for /catnap/events. One thread's.
 */
#ifndef CLI_API_SERVER_H
#define CLI_API_SERVER_H

#include <poll.h>

#include "cli/api/api.h"
#include "cli/api/http.h"

#define API_POLLFDS 3

struct api_server {
	struct api *api;
	struct http_server *http; /* NULL: there is no control socket */
};

/* Starts the server. @listen_fd as in http.h; @max_body 0: the default. Returns 0 or -errno. */
int api_server_start(struct api_server *s, struct api *api, int listen_fd, size_t max_body);
/* Fills @p with what poll(2) is to look at, whether there is a control socket or not. */
void api_server_prepare(const struct api_server *s, struct pollfd p[API_POLLFDS]);
/* Returns how long poll(2) may take at most before api_server_dispatch(), in ms; -1: any time. */
int api_server_timeout(const struct api_server *s);
/* Serves what is ready. Never waits. */
void api_server_dispatch(const struct api_server *s);
/* Tells those who wait for the VM's end, and ends all clients: after that end, while the VM is
 * still there. Twice is once. */
void api_server_stop(struct api_server *s);

#endif
