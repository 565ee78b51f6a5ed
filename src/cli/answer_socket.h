/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Unix socket that gives one answer, a JSON document on a line, and the end: --stats-socket, at
 * once to whoever connects; the balloon's, to a request of one line. All on the main thread, in its
 * poll(2); it never waits for a client.
 */
#ifndef CLI_ANSWER_SOCKET_H
#define CLI_ANSWER_SOCKET_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/port.h"

#define ANSWER_CLIENTS 4 /* one more, and the first of them is sent away */
#define ANSWER_POLLFDS (1 + ANSWER_CLIENTS)
#define ANSWER_REQUEST 64 /* bytes of a request, its newline among them, and one to spare */

struct answer_client {
	int fd; /* -1: none */
	char request[ANSWER_REQUEST];
	size_t asked;
	bool answered; /* what follows is the answer; before, the request is still read */
	char *text;
	size_t len, sent;
};

struct answer_socket {
	struct port port; /* the listening socket; PORT_NULL: there is none */
	bool takes_requests;
	struct answer_client clients[ANSWER_CLIENTS];
	unsigned int next; /* the place that was taken first */
	/* The answer, for the caller to free; NULL: no memory. @request: its line, without newline;
	 * "" if none are taken, or it is too long or not text. */
	char *(*text)(void *ctx, const char *request, size_t *len);
	void *ctx;
};

/* @path NULL: none. Nothing is opened; port_open() of the port does that. */
void answer_socket_init(struct answer_socket *s, const char *option, const char *path,
			bool takes_requests);
void answer_socket_close(struct answer_socket *s);

void answer_socket_prepare(const struct answer_socket *s, struct pollfd fds[ANSWER_POLLFDS]);
/* How long poll(2) may take at most before answer_socket_dispatch(), in ms; -1: any time. */
int answer_socket_timeout(const struct answer_socket *s);
void answer_socket_dispatch(struct answer_socket *s, const struct pollfd fds[ANSWER_POLLFDS]);

#endif
