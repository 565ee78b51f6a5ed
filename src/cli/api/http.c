/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: who comes, who stays, who goes, and when. libmicrohttpd gets connections that were
 * accepted here. So there is always room for one more: the idlest is sent away for it. Time limits
 * are kept here, too, as libmicrohttpd's are whole seconds, begin anew with each byte, and do not
 * hold for a whole request.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/api/http_impl.h"
#include "cli/now.h"

/* The memory that libmicrohttpd keeps for a connection: request line, headers, and what is being
 * sent. */
#define CONNECTION_BYTES (16u << 10)
/* Clients and events that are taken at a time, so that the owner's loop has its turn. Where one
 * client goes for each that comes, the clients that are there have theirs in between. */
#define ACCEPTS 64
#define EVENTS	32
/* How long nobody is accepted when there is no descriptor for one. */
#define REST_NS UINT64_C(100000000)
/* Rounds in which the last answers are sent before the end. */
#define LAST_ROUNDS 8

/* Makes a client idle: its last request has ended, or it has just come. */
static void idle(struct http_client *c)
{
	c->since_ns = now_ns();
	c->deadline_ns = http_after(c->server->cfg.idle_ns);
}

static void let_go(struct http_client *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->server->n_clients--;
	free(c);
}

/* Takes note that libmicrohttpd has made, or is about to close, a connection. */
static void connection_changed(void *ctx, struct MHD_Connection *connection, void **client,
			       enum MHD_ConnectionNotificationCode what)
{
	struct http_server *s = ctx;
	struct http_client *c;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		c = s->coming;
		s->coming = NULL;
		c->connection = connection;
		c->next = s->clients;
		if (c->next)
			c->next->link = &c->next;
		c->link = &s->clients;
		s->clients = c;
		s->n_clients++;
		idle(c);
		*client = c;
		return;
	}
	c = *client;
	*client = NULL;
	if (c->asleep)
		(void)http_watch(s, EPOLL_CTL_DEL, c->fd, 0, NULL);
	let_go(c);
}

static void request_over(void *ctx, struct MHD_Connection *connection, void **exchange,
			 enum MHD_RequestTerminationCode why)
{
	struct http_exchange *x = *exchange;
	struct http_client *c = x ? x->client : NULL;
	struct http_server *s = ctx;

	http_exchange_over(ctx, connection, exchange, why);
	if (c) {
		c->over = why != MHD_REQUEST_TERMINATED_COMPLETED_OK;
		s->some_over |= c->over;
		c->answered = true;
		if (!c->doomed)
			idle(c);
	}
}

/* Runs libmicrohttpd, which forgets connections that it has just ended while it asked for a
 * stream's next bytes: they are in none of its lists of what is to be done. One that is resumed
 * gets its turn. */
static void run(struct http_server *s)
{
	MHD_run(s->daemon);
	if (!s->some_over)
		return;
	s->some_over = false;
	for (struct http_client *c = s->clients; c; c = c->next) {
		if (!c->over)
			continue;
		c->over = false;
		MHD_suspend_connection(c->connection);
		MHD_resume_connection(c->connection);
	}
	MHD_run(s->daemon);
}

static enum http_class class_of(const struct http_client *c)
{
	if (c->exchange && c->exchange->called)
		return HTTP_WAITING;
	return c->answered ? HTTP_IDLE : HTTP_SILENT;
}

/* Makes room for one more. */
static void send_the_idlest_away(struct http_server *s)
{
	struct http_client *idlest = NULL;

	for (struct http_client *c = s->clients; c; c = c->next) {
		if (c->doomed)
			continue;
		if (!idlest || class_of(c) < class_of(idlest) ||
		    (class_of(c) == class_of(idlest) && c->since_ns < idlest->since_ns))
			idlest = c;
	}
	if (idlest)
		http_doom(idlest);
	run(s);
}

static int accept_one(struct http_server *s)
{
	int fd;

	do
		fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? -errno : fd;
}

/* Returns whether a client waits. accept(2) looks for a descriptor first: without one it does not
 * tell whether anybody came. */
static bool somebody_waits(const struct http_server *s)
{
	struct pollfd p = {.fd = s->listener, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static bool is_scarce(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static void take_in(struct http_server *s, int fd)
{
	const struct sockaddr nobody = {.sa_family = AF_UNIX};
	struct http_client *c = calloc(1, sizeof(*c));

	if (!c || s->n_clients >= s->cfg.max_clients) {
		free(c);
		close(fd);
		return;
	}
	c->server = s;
	c->fd = fd;
	s->coming = c;
	/* It closes the descriptor if it fails. */
	MHD_add_connection(s->daemon, fd, &nobody, sizeof(nobody.sa_family));
	free(s->coming); /* it did not get that far */
	s->coming = NULL;
}

static void rest(struct http_server *s)
{
	s->rest_until = now_ns() + REST_NS;
	(void)http_watch(s, EPOLL_CTL_MOD, s->listener, 0, &s->listener);
}

static void rested(struct http_server *s)
{
	if (!s->rest_until || now_ns() < s->rest_until)
		return;
	s->rest_until = 0;
	(void)http_watch(s, EPOLL_CTL_MOD, s->listener, EPOLLIN, &s->listener);
}

static void come_in(struct http_server *s)
{
	for (int i = 0; i < ACCEPTS; i++) {
		int fd = accept_one(s);

		if (is_scarce(fd) && !somebody_waits(s))
			return;
		if (is_scarce(fd) && s->n_clients) {
			send_the_idlest_away(s);
			fd = accept_one(s);
		}
		if (is_scarce(fd))
			rest(s);
		if (fd < 0)
			return;
		if (s->n_clients >= s->cfg.max_clients)
			send_the_idlest_away(s);
		take_in(s, fd);
	}
}

static void out_of_time(struct http_server *s)
{
	uint64_t now = now_ns();

	for (struct http_client *c = s->clients; c; c = c->next) {
		if (now < c->deadline_ns)
			continue;
		http_exchange_late(c);
		http_doom(c);
	}
}

void http_dispatch(struct http_server *s)
{
	struct epoll_event events[EVENTS];
	bool come = false;
	int n = epoll_wait(s->fd, events, EVENTS, 0);

	/* An event is the listener's, libmicrohttpd's, or that of a client that slept and has
	 * gone. Such clients come first: what follows frees them. */
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr == &s->listener)
			come = true;
		else if (events[i].data.ptr != &s->daemon)
			http_doom(events[i].data.ptr);
	}
	out_of_time(s);
	rested(s);
	if (come)
		come_in(s);
	run(s);
}

int http_fd(const struct http_server *s)
{
	return s->fd;
}

unsigned int http_clients(const struct http_server *s)
{
	return s->n_clients;
}

int http_timeout_ms(struct http_server *s)
{
	uint64_t first = s->rest_until ? s->rest_until : HTTP_NEVER, now, ms;
	MHD_UNSIGNED_LONG_LONG any;

	/* It has no time limits of its own: if it says anything, there is more to do. */
	if (MHD_get_timeout(s->daemon, &any) == MHD_YES)
		return 0;
	for (const struct http_client *c = s->clients; c; c = c->next)
		if (c->deadline_ns < first)
			first = c->deadline_ns;
	if (first == HTTP_NEVER)
		return -1;
	now = now_ns();
	ms = first > now ? (first - now + 999999) / 1000000 : 0;
	return ms > 1000000 ? 1000000 : (int)ms;
}

/* Leaves a path as it came, without decoding it: no name here needs that, and %00 would end one. */
static size_t as_it_came(void *ctx, struct MHD_Connection *connection, char *text)
{
	return strlen(text);
}

static int open_daemon(struct http_server *s)
{
	const union MHD_DaemonInfo *info;

	s->daemon =
		MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET |
					 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_SUPPRESS_DATE_NO_CLOCK,
				 0, NULL, NULL, http_exchange_go_on, s,
				 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
				 MHD_OPTION_CONNECTION_LIMIT, s->cfg.max_clients + 1,
				 MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_NOTIFY_COMPLETED,
				 request_over, s, MHD_OPTION_NOTIFY_CONNECTION, connection_changed,
				 s, MHD_OPTION_URI_LOG_CALLBACK, http_exchange_begin, s,
				 MHD_OPTION_UNESCAPE_CALLBACK, as_it_came, s, MHD_OPTION_END);
	if (!s->daemon)
		return errno ? -errno : -ENOMEM;
	info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0)
		return -ENOTSUP;
	return http_watch(s, EPOLL_CTL_ADD, info->epoll_fd, EPOLLIN, &s->daemon);
}

static void release(struct http_server *s)
{
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

int http_start(const struct http_config *cfg, struct http_server **out)
{
	struct http_server *s;
	int ret;

	if (!cfg->handler || http_socket_wrong(cfg->listen_fd))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->cfg = *cfg;
	if (!s->cfg.max_body)
		s->cfg.max_body = HTTP_MAX_BODY;
	if (!s->cfg.max_clients)
		s->cfg.max_clients = HTTP_MAX_CLIENTS;
	if (!s->cfg.request_ns)
		s->cfg.request_ns = HTTP_REQUEST_NS;
	s->listener = cfg->listen_fd;
	s->fd = epoll_create1(EPOLL_CLOEXEC);
	ret = s->fd < 0 ? -errno : 0;
	if (ret == 0)
		ret = open_daemon(s);
	if (ret == 0)
		ret = http_watch(s, EPOLL_CTL_ADD, s->listener, EPOLLIN, &s->listener);
	if (ret < 0) {
		release(s);
		return ret;
	}
	*out = s;
	return 0;
}

void http_stop(struct http_server **sp)
{
	struct http_server *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	(void)http_watch(s, EPOLL_CTL_DEL, s->listener, 0, NULL);
	for (int i = 0; i < LAST_ROUNDS; i++)
		run(s);
	/* None may sleep when libmicrohttpd ends. */
	for (struct http_client *c = s->clients; c; c = c->next)
		http_doom(c);
	run(s);
	release(s);
}
