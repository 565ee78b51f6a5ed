/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's HTTP on a bench: a server with a handler that answers at once, late or by a
 * stream, and its clients, over real sockets. */
#ifndef TESTS_UNIT_HTTP_BENCH_H
#define TESTS_UNIT_HTTP_BENCH_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/api/http.h"
#include "cli/now.h"

#define MS	  UINT64_C(1000000)
#define PATIENCE  (20000 * MS) /* for a busy host; nothing here takes long */
#define MANY	  200
#define BIG	  (4u << 20)
#define OPEN_MOST 8

static char folder[] = "/tmp/test_http.XXXXXX", path[64];
static struct http_socket listening;
static struct http_server *server;
static unsigned int calls;

/* The exchanges that the handler has not answered yet. */
static struct http_exchange *waiting[OPEN_MOST];
static struct http_stream *streams[OPEN_MOST];
static unsigned int n_waiting, n_streams;

static inline char *filled(size_t n)
{
	char *text = malloc(n);

	assert_non_null(text);
	memset(text, 'x', n);
	return text;
}

static inline void echo(const struct http_request *rq)
{
	char *text;
	int n = asprintf(&text, "%s %s ?%s %s %zu %s", rq->method, rq->path, rq->query,
			 rq->type ? rq->type : "-", rq->len, rq->len < 256 ? rq->body : "...");

	assert_true(n > 0);
	http_reply(rq->exchange, 200, "text/plain", text, (size_t)n);
}

static inline void handle(void *ctx, const struct http_request *rq)
{
	calls++;
	assert_ptr_equal(ctx, &calls);
	assert_int_equal(rq->body[rq->len], '\0');
	assert_true(http_waits(rq->exchange));
	if (strcmp(rq->path, "/none") == 0) {
		http_reply(rq->exchange, 204, NULL, NULL, 0);
	} else if (strcmp(rq->path, "/json") == 0) {
		http_reply(rq->exchange, 400, NULL, strdup("{}"), 2);
	} else if (strcmp(rq->path, "/big") == 0) {
		http_reply(rq->exchange, 200, NULL, filled(BIG), BIG);
	} else if (strcmp(rq->path, "/later") == 0) {
		assert_true(n_waiting < OPEN_MOST);
		waiting[n_waiting++] = rq->exchange;
	} else if (strcmp(rq->path, "/stream") == 0) {
		assert_true(n_streams < OPEN_MOST);
		streams[n_streams] = http_reply_stream(rq->exchange, "application/x-ndjson");
		assert_non_null(streams[n_streams++]);
	} else {
		echo(rq);
	}
}

static inline void start(struct http_config cfg)
{
	cfg.listen_fd = listening.fd;
	cfg.handler = handle;
	cfg.ctx = &calls;
	cfg.server = "test";
	assert_int_equal(http_start(&cfg, &server), 0);
}

static inline int setup(void **state)
{
	snprintf(path, sizeof(path), "%s/socket", folder);
	calls = n_waiting = n_streams = 0;
	return http_listen(&listening, path);
}

static inline int teardown(void **state)
{
	http_stop(&server);
	while (n_waiting)
		http_reply(waiting[--n_waiting], 204, NULL, NULL, 0);
	while (n_streams)
		http_stream_end(streams[--n_streams]);
	http_socket_close(&listening, true);
	assert_int_equal(access(path, F_OK), -1);
	return 0;
}

/* One turn of the owner's loop, if that is here. */
static inline void turn(void)
{
	struct pollfd p = {.fd = server ? http_fd(server) : -1, .events = POLLIN};
	int most = server ? http_timeout_ms(server) : 1;

	poll(&p, 1, most < 0 || most > 5 ? 5 : most);
	if (server)
		http_dispatch(server);
}

/* A client, and all that it has got. */
struct client {
	int fd;
	char *text;
	size_t len;
	bool ended;
};

static inline struct client come(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct client c = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
			   .text = calloc(1, 1)};

	assert_true(c.fd >= 0 && c.text);
	strcpy(addr.sun_path, path);
	while (connect(c.fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		assert_int_equal(errno, EAGAIN);
		turn();
	}
	return c;
}

static inline void go(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->text);
	*c = (struct client){.fd = -1};
}

/* Reads what has come for it until now. */
static inline void look(struct client *c)
{
	static char part[65536];
	ssize_t n;

	while (!c->ended && (n = recv(c->fd, part, sizeof(part), 0)) != -1) {
		c->ended = n == 0;
		c->text = realloc(c->text, c->len + (size_t)n + 1);
		assert_non_null(c->text);
		memcpy(c->text + c->len, part, (size_t)n);
		c->len += (size_t)n;
		c->text[c->len] = '\0';
	}
	if (!c->ended && errno != EAGAIN)
		c->ended = true;
}

/* All of it, while the server takes it; false: it has hung up. */
static inline bool tell_bytes(struct client *c, const char *text, size_t len)
{
	uint64_t until = now_ns() + PATIENCE;

	while (len) {
		ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL);

		assert_true(now_ns() < until);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n < 0) {
			turn();
			continue;
		}
		text += n;
		len -= (size_t)n;
	}
	return true;
}

static inline void tell(struct client *c, const char *text)
{
	assert_true(tell_bytes(c, text, strlen(text)));
}

static inline void until_has(struct client *c, const char *text)
{
	uint64_t until = now_ns() + PATIENCE;

	for (look(c); !strstr(c->text, text); look(c)) {
		if (c->ended || now_ns() >= until)
			fail_msg("\"%s\" has not come, but \"%.400s\"%s", text, c->text,
				 c->ended ? ", the end" : "");
		turn();
	}
}

static inline void until_ended(struct client *c)
{
	uint64_t until = now_ns() + PATIENCE;

	for (look(c); !c->ended; look(c)) {
		assert_true(now_ns() < until);
		turn();
	}
}

static inline void until_clients(unsigned int n)
{
	uint64_t until = now_ns() + PATIENCE;

	while (http_clients(server) != n) {
		assert_true(now_ns() < until);
		turn();
	}
}

static inline unsigned int how_often(const char *text, const char *what)
{
	unsigned int n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

/* Somebody else is served. */
static inline void others_are_served(void)
{
	struct client c = come();

	tell(&c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	until_has(&c, "GET / ?");
	go(&c);
}

/* A request with a body of n bytes, and its answer. */
static inline void put_body(struct client *c, size_t n, const char *answer)
{
	char head[128], *body = filled(n);

	snprintf(head, sizeof(head), "PUT /body HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", n);
	tell(c, head);
	assert_true(tell_bytes(c, body, n));
	until_has(c, answer);
	free(body);
}

static inline int make_folder(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
	return rmdir(folder);
}

#endif
