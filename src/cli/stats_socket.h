/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --stats-socket: whoever connects to the Unix socket is sent the statistics as they are just then,
 * one JSON document on a line, and the end. Nothing is read from it. All on the main thread, in its
 * poll(2); it never waits for a client.
 */
#ifndef CLI_STATS_SOCKET_H
#define CLI_STATS_SOCKET_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/port.h"

#define STATS_CLIENTS 4 /* one more, and the first of them is sent away */
#define STATS_POLLFDS (1 + STATS_CLIENTS)

struct stats_client {
	int fd; /* -1: none */
	char *text;
	size_t len, sent;
};

struct stats_socket {
	struct port port; /* the listening socket; PORT_NULL: there is none */
	struct stats_client clients[STATS_CLIENTS];
	unsigned int next; /* the place that was taken first */
	/* The document, for the caller to free; NULL: no memory. */
	char *(*text)(void *ctx, size_t *len);
	void *ctx;
};

/* @path NULL: none. Nothing is opened; port_open() of the port does that. */
void stats_socket_init(struct stats_socket *s, const char *path);
void stats_socket_close(struct stats_socket *s);

void stats_socket_prepare(const struct stats_socket *s, struct pollfd fds[STATS_POLLFDS]);
void stats_socket_dispatch(struct stats_socket *s, const struct pollfd fds[STATS_POLLFDS]);

#endif
