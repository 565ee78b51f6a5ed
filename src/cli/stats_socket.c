/* SPDX-License-Identifier: Apache-2.0 */
/* --stats-socket; see stats_socket.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/stats_socket.h"

void stats_socket_init(struct stats_socket *s, const char *path)
{
	memset(s, 0, sizeof(*s));
	port_init(&s->port, "stats-socket", path ? PORT_SOCKET : PORT_NULL, path);
	for (int i = 0; i < STATS_CLIENTS; i++)
		s->clients[i].fd = -1;
}

static void gone(struct stats_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->text);
	*c = (struct stats_client){.fd = -1};
}

void stats_socket_close(struct stats_socket *s)
{
	for (int i = 0; i < STATS_CLIENTS; i++)
		gone(&s->clients[i]);
	port_close(&s->port);
}

void stats_socket_prepare(const struct stats_socket *s, struct pollfd fds[STATS_POLLFDS])
{
	fds[0] = (struct pollfd){.fd = s->port.kind == PORT_SOCKET ? s->port.listener : -1,
				 .events = POLLIN};
	for (int i = 0; i < STATS_CLIENTS; i++)
		fds[1 + i] = (struct pollfd){.fd = s->clients[i].fd, .events = POLLOUT};
}

/* As much as the socket takes; at the end, or if the client has gone, so does it. */
static void give(struct stats_client *c)
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

static void came(struct stats_socket *s)
{
	struct stats_client *c = &s->clients[s->next];
	int fd = accept4(s->port.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return; /* it has gone again */
	gone(c);
	s->next = (s->next + 1) % STATS_CLIENTS;
	c->fd = fd;
	c->text = s->text(s->ctx, &c->len);
	if (!c->text)
		c->len = 0;
	give(c);
}

void stats_socket_dispatch(struct stats_socket *s, const struct pollfd fds[STATS_POLLFDS])
{
	for (int i = 0; i < STATS_CLIENTS; i++)
		if (fds[1 + i].revents && fds[1 + i].fd >= 0)
			give(&s->clients[i]);
	if (fds[0].revents && fds[0].fd >= 0)
		came(s);
}
