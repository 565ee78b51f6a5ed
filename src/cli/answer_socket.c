/* SPDX-License-Identifier: Apache-2.0 */
/* See answer_socket.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/answer_socket.h"

void answer_socket_init(struct answer_socket *s, const char *option, const char *path,
			bool takes_requests)
{
	memset(s, 0, sizeof(*s));
	port_init(&s->port, option, path ? PORT_SOCKET : PORT_NULL, path);
	s->takes_requests = takes_requests;
	for (int i = 0; i < ANSWER_CLIENTS; i++)
		s->clients[i].fd = -1;
}

static void gone(struct answer_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->text);
	*c = (struct answer_client){.fd = -1};
}

void answer_socket_close(struct answer_socket *s)
{
	for (int i = 0; i < ANSWER_CLIENTS; i++)
		gone(&s->clients[i]);
	port_close(&s->port);
}

void answer_socket_prepare(const struct answer_socket *s, struct pollfd fds[ANSWER_POLLFDS])
{
	bool open = s->port.kind == PORT_SOCKET && !socket_rests(&s->port);

	fds[0] = (struct pollfd){.fd = open ? s->port.listener : -1, .events = POLLIN};
	for (int i = 0; i < ANSWER_CLIENTS; i++) {
		const struct answer_client *c = &s->clients[i];

		fds[1 + i] = (struct pollfd){.fd = c->fd, .events = c->answered ? POLLOUT : POLLIN};
	}
}

/* As much as the socket takes; at the end, or if the client has gone, so does it. */
static void give(struct answer_client *c)
{
	while (c->sent < c->len) {
		ssize_t n = send(c->fd, c->text + c->sent, c->len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
		c->sent += (size_t)n;
	}
	gone(c);
}

static void answer(struct answer_socket *s, struct answer_client *c)
{
	char *end = memchr(c->request, '\n', c->asked);

	/* What is not a whole line of text is no request at all. */
	if (!end || memchr(c->request, '\0', (size_t)(end - c->request)))
		end = c->request;
	*end = '\0';
	c->answered = true;
	c->text = s->text(s->ctx, c->request, &c->len);
	if (!c->text)
		c->len = 0;
	give(c);
}

/* Reads on; a line that is whole, or as long as one may be, is answered. */
static void take(struct answer_socket *s, struct answer_client *c)
{
	size_t room = sizeof(c->request) - 1 - c->asked;
	ssize_t n;

	do {
		n = recv(c->fd, c->request + c->asked, room, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		gone(c); /* half a request is none */
		return;
	}
	c->asked += (size_t)n;
	if ((size_t)n == room || memchr(c->request, '\n', c->asked))
		answer(s, c);
}

static void came(struct answer_socket *s)
{
	struct answer_client *c = &s->clients[s->next];
	int fd = socket_accept(&s->port);

	if (fd < 0)
		return;
	gone(c);
	s->next = (s->next + 1) % ANSWER_CLIENTS;
	c->fd = fd;
	if (s->takes_requests)
		take(s, c);
	else
		answer(s, c);
}

int answer_socket_timeout(const struct answer_socket *s)
{
	return socket_timeout(&s->port);
}

void answer_socket_dispatch(struct answer_socket *s, const struct pollfd fds[ANSWER_POLLFDS])
{
	socket_rested(&s->port);
	for (int i = 0; i < ANSWER_CLIENTS; i++) {
		struct answer_client *c = &s->clients[i];

		if (!fds[1 + i].revents || fds[1 + i].fd < 0)
			continue;
		if (c->answered)
			give(c);
		else
			take(s, c);
	}
	if (fds[0].revents && fds[0].fd >= 0)
		came(s);
}
