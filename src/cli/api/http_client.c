/* SPDX-License-Identifier: Apache-2.0 */
/* A client: how long it has, its sleep while nothing is expected of it, its end, and the headers of
 * each answer to it. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cli/api/http_impl.h"
#include "cli/now.h"

int http_watch(const struct http_server *s, int op, int fd, uint32_t events, void *what)
{
	struct epoll_event e = {.events = events, .data.ptr = what};

	return epoll_ctl(s->fd, op, fd, &e) < 0 ? -errno : 0;
}

uint64_t http_after(uint64_t ns)
{
	return ns ? now_ns() + ns : HTTP_NEVER;
}

void http_within(struct http_client *c)
{
	c->deadline_ns = http_after(c->server->cfg.request_ns);
}

/* Expects nothing of the client any more: its descriptor tells of its end only. */
void http_sleep(struct http_client *c)
{
	if (c->asleep)
		return;
	c->asleep = true;
	MHD_suspend_connection(c->connection);
	/* Without it, its end is noticed when it is answered. */
	(void)http_watch(c->server, EPOLL_CTL_ADD, c->fd, 0, c);
}

void http_wake(struct http_client *c)
{
	if (!c->asleep)
		return;
	c->asleep = false;
	(void)http_watch(c->server, EPOLL_CTL_DEL, c->fd, 0, NULL);
	MHD_resume_connection(c->connection);
}

/* Lets libmicrohttpd see the end of it, as if the client had gone. */
void http_doom(struct http_client *c)
{
	c->doomed = true;
	c->deadline_ns = HTTP_NEVER;
	shutdown(c->fd, SHUT_RDWR);
	http_wake(c);
}

bool http_headers(const struct http_server *s, struct MHD_Response *r, const char *type)
{
	if (s->cfg.server &&
	    MHD_add_response_header(r, MHD_HTTP_HEADER_SERVER, s->cfg.server) == MHD_NO)
		return false;
	if (type && MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_NO)
		return false;
	/* As Firecracker does, also to clients of HTTP/1.1. */
	return MHD_set_response_options(r, MHD_RF_SEND_KEEP_ALIVE_HEADER, MHD_RO_END) == MHD_YES;
}
