/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's HTTP, over real sockets: what clients send and get, those that hold still,
 * those that never end, and answers that come late or go on. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/api/http.h"
#include "cli/now.h"
#include "sandbox/filter.h"

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

static char *filled(size_t n)
{
	char *text = malloc(n);

	assert_non_null(text);
	memset(text, 'x', n);
	return text;
}

static void echo(const struct http_request *rq)
{
	char *text;
	int n = asprintf(&text, "%s %s ?%s %s %zu %s", rq->method, rq->path, rq->query,
			 rq->type ? rq->type : "-", rq->len, rq->len < 256 ? rq->body : "...");

	assert_true(n > 0);
	http_reply(rq->exchange, 200, "text/plain", text, (size_t)n);
}

static void handle(void *ctx, const struct http_request *rq)
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

static void start(struct http_config cfg)
{
	cfg.listen_fd = listening.fd;
	cfg.handler = handle;
	cfg.ctx = &calls;
	cfg.server = "test";
	assert_int_equal(http_start(&cfg, &server), 0);
}

static int setup(void **state)
{
	snprintf(path, sizeof(path), "%s/socket", folder);
	calls = n_waiting = n_streams = 0;
	return http_listen(&listening, path);
}

static int teardown(void **state)
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
static void turn(void)
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

static struct client come(void)
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

static void go(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->text);
	*c = (struct client){.fd = -1};
}

/* Reads what has come for it until now. */
static void look(struct client *c)
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
static bool tell_bytes(struct client *c, const char *text, size_t len)
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

static void tell(struct client *c, const char *text)
{
	assert_true(tell_bytes(c, text, strlen(text)));
}

static void until_has(struct client *c, const char *text)
{
	uint64_t until = now_ns() + PATIENCE;

	for (look(c); !strstr(c->text, text); look(c)) {
		if (c->ended || now_ns() >= until)
			fail_msg("\"%s\" has not come, but \"%.400s\"%s", text, c->text,
				 c->ended ? ", the end" : "");
		turn();
	}
}

static void until_ended(struct client *c)
{
	uint64_t until = now_ns() + PATIENCE;

	for (look(c); !c->ended; look(c)) {
		assert_true(now_ns() < until);
		turn();
	}
}

static void until_clients(unsigned int n)
{
	uint64_t until = now_ns() + PATIENCE;

	while (http_clients(server) != n) {
		assert_true(now_ns() < until);
		turn();
	}
}

static unsigned int how_often(const char *text, const char *what)
{
	unsigned int n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

/* Somebody else is served. */
static void others_are_served(void)
{
	struct client c = come();

	tell(&c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	until_has(&c, "GET / ?");
	go(&c);
}

static void requests_are_answered(void **state)
{
	struct client c;

	start((struct http_config){0});
	c = come();
	tell(&c, "PUT /a/b?c=d&e HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		 "Content-Length: 7\r\n\r\n{\"a\":1}");
	until_has(&c, "PUT /a/b ?c=d&e application/json 7 {\"a\":1}");
	assert_non_null(strstr(c.text, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(c.text, "Server: test\r\n"));
	assert_non_null(strstr(c.text, "Content-Type: text/plain\r\n"));
	assert_non_null(strstr(c.text, "Connection: Keep-Alive\r\n"));
	/* On the same connection. */
	tell(&c, "GET /json HTTP/1.1\r\n\r\n");
	until_has(&c, "\r\n\r\n{}");
	assert_non_null(strstr(c.text, "HTTP/1.1 400 Bad Request\r\n"));
	assert_non_null(strstr(c.text, "Content-Type: application/json\r\n"));
	assert_int_equal(http_clients(server), 1);
	/* A client that has said its last word still gets its answer. */
	tell(&c, "DELETE /x HTTP/1.1\r\n\r\n");
	shutdown(c.fd, SHUT_WR);
	until_has(&c, "DELETE /x ?");
	until_ended(&c);
	go(&c);
	until_clients(0);
}

static void no_content_has_none(void **state)
{
	struct client c;

	start((struct http_config){0});
	c = come();
	tell(&c, "PUT /none HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
	until_has(&c, "\r\n\r\n");
	assert_non_null(strstr(c.text, "HTTP/1.1 204 No Content\r\n"));
	assert_null(strstr(c.text, "Content-Length"));
	assert_null(strstr(c.text, "Content-Type"));
	go(&c);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct client c;

	start((struct http_config){0});
	c = come();
	tell(&c, "GET /1 HTTP/1.1\r\n\r\nPUT /2 HTTP/1.1\r\nContent-Length: 1\r\n\r\n2"
		 "GET /later HTTP/1.1\r\n\r\nGET /4 HTTP/1.1\r\n\r\n");
	until_has(&c, "PUT /2 ? - 1 2");
	while (!n_waiting)
		turn();
	others_are_served();
	look(&c);
	assert_null(strstr(c.text, "/4"));
	http_reply(waiting[--n_waiting], 200, NULL, strdup("[3]"), 3);
	until_has(&c, "/4");
	assert_true(strstr(c.text, "/1") < strstr(c.text, "/2"));
	assert_true(strstr(c.text, "/2") < strstr(c.text, "[3]"));
	assert_true(strstr(c.text, "[3]") < strstr(c.text, "/4"));
	go(&c);
}

static void a_path_is_taken_as_it_came(void **state)
{
	struct client c;

	start((struct http_config){0});
	c = come();
	tell(&c, "GET /a%00b%2fc HTTP/1.1\r\n\r\n");
	until_has(&c, "GET /a%00b%2fc ? -");
	tell(&c, "GET http://localhost/vm/config?x HTTP/1.1\r\n\r\n");
	until_has(&c, "GET /vm/config ?x -");
	tell(&c, "GET http://localhost HTTP/1.1\r\n\r\n");
	until_has(&c, "GET / ? -");
	go(&c);
}

/* A request with a body of n bytes, and its answer. */
static void put_body(struct client *c, size_t n, const char *answer)
{
	char head[128], *body = filled(n);

	snprintf(head, sizeof(head), "PUT /body HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", n);
	tell(c, head);
	assert_true(tell_bytes(c, body, n));
	until_has(c, answer);
	free(body);
}

static void long_bodies_are_refused(void **state)
{
	struct client c;

	start((struct http_config){0});
	c = come();
	put_body(&c, HTTP_MAX_BODY, "- 51200 ...");
	put_body(&c, HTTP_MAX_BODY + 1, "will be dropped.\"}");
	assert_non_null(strstr(c.text, "HTTP/1.1 400 Bad Request\r\n"));
	assert_non_null(strstr(c.text, "{\"fault_message\": \"Request payload with size 51201 is "
				       "larger than the limit of 51200 allowed by server.\""));
	/* It may go on. */
	put_body(&c, 3, "- 3 xxx");
	/* A client that says that it will send more than anybody would read is told at once, and
	 * left. */
	tell(&c, "PUT / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n");
	until_has(&c, "Request payload with size 100000000 is larger");
	until_ended(&c);
	go(&c);
	assert_int_equal(calls, 2);
}

static void chunks_are_put_together_and_limited(void **state)
{
	static char chunk[5 + 4096 + 2];
	struct client c;
	unsigned int n = 0;

	start((struct http_config){.max_body = 100});
	c = come();
	tell(&c, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	turn();
	tell(&c, "2;x=y\r\nde\r\n0\r\n\r\n");
	until_has(&c, "- 5 abcde");
	/* Without an end. */
	memset(chunk, 'x', sizeof(chunk));
	memcpy(chunk, "1000\r\n", 6);
	memcpy(chunk + sizeof(chunk) - 2, "\r\n", 2);
	tell(&c, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
	/* "1000\r\n" and 4096 bytes, and "\r\n" */
	while (tell_bytes(&c, chunk, 6) && tell_bytes(&c, chunk + 6, 1) &&
	       tell_bytes(&c, chunk + 6, 4095) && tell_bytes(&c, "\r\n", 2))
		assert_true(++n < 1000);
	until_has(&c, "is larger than the limit of 100 allowed");
	until_ended(&c);
	go(&c);
	assert_int_equal(calls, 1);
}

static void expectations_are_met(void **state)
{
	struct client c;

	start((struct http_config){0});
	c = come();
	tell(&c, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	until_has(&c, "HTTP/1.1 100 Continue\r\n\r\n");
	tell(&c, "{}");
	until_has(&c, "- 2 {}");
	/* In vain. */
	tell(&c, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n");
	until_has(&c, "HTTP/1.1 400");
	assert_int_equal(how_often(c.text, "100 Continue"), 1);
	go(&c);
}

static void a_byte_at_a_time_is_a_request(void **state)
{
	static const char text[] = "PUT /slow HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
	struct client c;

	start((struct http_config){0});
	c = come();
	for (const char *p = text; *p; p++) {
		assert_true(tell_bytes(&c, p, 1));
		turn();
	}
	until_has(&c, "PUT /slow ? - 2 {}");
	go(&c);
}

static void what_is_no_http_is_refused(void **state)
{
	static const char *const texts[] = {
		"HELLO\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
		"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
	};
	char *header = filled(100000);

	start((struct http_config){0});
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct client c = come();

		tell(&c, texts[i]);
		until_ended(&c);
		assert_null(strstr(c.text, "HTTP/1.1 200"));
		go(&c);
	}
	for (int i = 0; i < 2; i++) {
		struct client c = come();

		/* A request line, or a header, without an end. */
		tell(&c, i ? "GET / HTTP/1.1\r\nX: " : "GET /");
		tell_bytes(&c, header, 100000);
		until_ended(&c);
		go(&c);
	}
	free(header);
	assert_int_equal(calls, 0);
	until_clients(0);
	others_are_served();
}

static void slow_requests_have_an_end(void **state)
{
	struct client silent, line, header, body, used;
	unsigned int rounds = 0;

	start((struct http_config){.request_ns = 100 * MS, .idle_ns = 300 * MS});
	silent = come();
	line = come();
	header = come();
	body = come();
	used = come();
	tell(&used, "GET / HTTP/1.1\r\n\r\n");
	until_has(&used, "GET / ?");
	tell(&header, "GET / HTTP/1.1\r\n");
	tell(&body, "PUT / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n");
	/* Each byte comes in time; all of it does not. */
	while (!line.ended || !header.ended || !body.ended) {
		uint64_t next = now_ns() + 10 * MS;

		assert_true(rounds++ < 1000);
		(void)send(line.fd, "G", 1, MSG_NOSIGNAL);
		(void)send(header.fd, "x", 1, MSG_NOSIGNAL);
		(void)send(body.fd, "x", 1, MSG_NOSIGNAL);
		while (now_ns() < next)
			turn();
		look(&line);
		look(&header);
		look(&body);
	}
	assert_non_null(strstr(body.text, "HTTP/1.1 408 Request Timeout\r\nServer: test\r\n"));
	assert_non_null(strstr(body.text, "{\"fault_message\": \"The request took too long"));
	until_ended(&silent);
	until_ended(&used);
	go(&silent);
	go(&line);
	go(&header);
	go(&body);
	go(&used);
	until_clients(0);
	assert_int_equal(http_timeout_ms(server), -1);
}

static void an_answer_that_is_not_taken_has_an_end(void **state)
{
	struct client deaf, slow;

	start((struct http_config){.request_ns = 1000 * MS});
	deaf = come();
	tell(&deaf, "GET /big HTTP/1.1\r\n\r\nGET /big HTTP/1.1\r\n\r\n");
	while (!calls)
		turn();
	slow = come();
	tell(&slow, "GET /big HTTP/1.1\r\n\r\n");
	until_has(&slow, "\r\n\r\nxxx");
	/* On a busy host it may not be in time either. */
	while (!slow.ended && slow.len < BIG) {
		look(&slow);
		turn();
	}
	go(&slow);
	until_clients(0);
	assert_int_equal(calls, 2);
	go(&deaf);
}

static void there_is_room_for_one_more(void **state)
{
	struct client silent[MANY], used, late;
	unsigned int gone = 0;

	start((struct http_config){.max_clients = 8});
	used = come();
	tell(&used, "GET /used HTTP/1.1\r\n\r\n");
	until_has(&used, "GET /used ?");
	late = come();
	tell(&late, "GET /later HTTP/1.1\r\n\r\n");
	while (!n_waiting)
		turn();
	for (int i = 0; i < MANY; i++) {
		silent[i] = come();
		assert_true(http_clients(server) <= 8);
		if (i % 10 == 0)
			others_are_served();
	}
	others_are_served();
	for (int i = 0; i < MANY; i++) {
		look(&silent[i]);
		gone += silent[i].ended;
	}
	assert_true(gone >= MANY - 8);
	/* Clients that ask are not sent away for those that do not. */
	tell(&used, "GET /again HTTP/1.1\r\n\r\n");
	until_has(&used, "GET /again ?");
	http_reply(waiting[--n_waiting], 204, NULL, NULL, 0);
	until_has(&late, "HTTP/1.1 204");
	for (int i = 0; i < MANY; i++)
		go(&silent[i]);
	go(&used);
	go(&late);
	until_clients(0);
}

static void those_who_wait_make_room_too(void **state)
{
	struct client late[5];

	start((struct http_config){.max_clients = 4});
	for (int i = 0; i < 5; i++) {
		late[i] = come();
		tell(&late[i],
		     i % 2 ? "GET /later HTTP/1.1\r\n\r\n" : "GET /stream HTTP/1.1\r\n\r\n");
		while (calls <= (unsigned int)i)
			turn();
	}
	until_ended(&late[0]);
	others_are_served();
	until_ended(&late[1]);
	assert_int_equal(n_waiting, 2);
	assert_false(http_waits(waiting[0]));
	assert_true(http_waits(waiting[1]));
	assert_false(http_stream_write(streams[0], "x", 1));
	assert_true(http_stream_write(streams[2], "{}\n", 3));
	until_has(&late[4], "{}\n");
	for (int i = 0; i < 5; i++)
		go(&late[i]);
	until_clients(0);
}

static void a_shortage_of_descriptors_is_got_over(void **state)
{
	struct rlimit before, few;
	struct client c[3];
	int fd;

	start((struct http_config){0});
	c[0] = come();
	until_clients(1);
	/* No descriptor is left for the next two, but that of a silent client. */
	for (int i = 1; i < 3; i++)
		c[i] = come();
	fd = dup(0);
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	tell(&c[2], "GET / HTTP/1.1\r\n\r\n");
	until_has(&c[2], "GET / ?");
	until_ended(&c[0]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 3; i++)
		go(&c[i]);
	others_are_served();
}

static void late_answers_arrive(void **state)
{
	struct client c, gone;

	start((struct http_config){.request_ns = 500 * MS});
	gone = come();
	tell(&gone, "GET /later HTTP/1.1\r\n\r\n");
	c = come();
	tell(&c, "PUT /later HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
	while (n_waiting < 2)
		turn();
	others_are_served();
	go(&gone);
	until_clients(1);
	assert_false(http_waits(waiting[0]));
	assert_true(http_waits(waiting[1]));
	http_reply(waiting[0], 200, NULL, strdup("{}"), 2);
	/* The time is the handler's. */
	for (uint64_t until = now_ns() + 700 * MS; now_ns() < until;)
		turn();
	http_reply(waiting[1], 200, NULL, strdup("{\"late\"}"), 8);
	n_waiting = 0;
	until_has(&c, "{\"late\"}");
	tell(&c, "GET /more HTTP/1.1\r\n\r\n");
	until_has(&c, "GET /more ?");
	go(&c);
}

static void streams_go_on(void **state)
{
	struct client c;

	start((struct http_config){.request_ns = 1000 * MS, .idle_ns = 1000 * MS});
	c = come();
	tell(&c, "GET /stream HTTP/1.1\r\n\r\n");
	until_has(&c, "\r\n\r\n");
	assert_non_null(strstr(c.text, "Content-Type: application/x-ndjson\r\n"));
	assert_non_null(strstr(c.text, "Transfer-Encoding: chunked\r\n"));
	assert_true(http_stream_write(streams[0], "{\"a\":1}\n", 8));
	until_has(&c, "{\"a\":1}\n");
	others_are_served();
	for (uint64_t until = now_ns() + 1200 * MS; now_ns() < until;)
		turn();
	assert_true(http_stream_write(streams[0], "{\"b\":2}\n", 8));
	assert_true(http_stream_write(streams[0], "{\"c\":3}\n", 8));
	until_has(&c, "{\"c\":3}\n");
	http_stream_end(streams[0]);
	until_has(&c, "\r\n0\r\n\r\n");
	/* The connection is as good as before. */
	tell(&c, "GET /stream HTTP/1.1\r\n\r\n");
	while (n_streams < 2)
		turn();
	assert_true(http_stream_write(streams[1], "last\n", 5));
	http_stream_end(streams[1]);
	n_streams = 0;
	until_has(&c, "last\n\r\n0\r\n\r\n");
	go(&c);
}

static void a_stream_hears_of_its_readers_end(void **state)
{
	struct client c;

	start((struct http_config){0});
	c = come();
	tell(&c, "GET /stream HTTP/1.0\r\n\r\n");
	until_has(&c, "\r\n\r\n");
	assert_true(http_stream_write(streams[0], "x\n", 2));
	until_has(&c, "x\n");
	go(&c);
	until_clients(0);
	assert_false(http_stream_write(streams[0], "x\n", 2));
}

/* Until all have gone; and it is told that there is something to do as long as there is. */
static void until_nobody_is_left(void)
{
	while (http_clients(server)) {
		struct pollfd p = {.fd = http_fd(server), .events = POLLIN};
		int most = http_timeout_ms(server);

		assert_true(poll(&p, 1, most < 0 ? (int)(PATIENCE / MS) : most) > 0 || most >= 0);
		http_dispatch(server);
	}
}

/* While nothing is written to them: several at a time, with what was not read of them, or at their
 * stream's end. */
static void readers_of_nothing_leave(void **state)
{
	static char lines[1000];
	struct client c[8];

	for (size_t i = 0; i < sizeof(lines); i++)
		lines[i] = "\r\n"[i % 2];
	/* Some go by this limit only. */
	start((struct http_config){.request_ns = 500 * MS});
	for (unsigned int round = 0; round < 16; round++) {
		for (unsigned int i = 0; i < 8; i++) {
			c[i] = come();
			tell(&c[i], round % 2 ? "GET /stream HTTP/1.0\r\n\r\n"
					      : "GET /stream HTTP/1.1\r\n\r\n");
			if (round & 2)
				tell_bytes(&c[i], lines, sizeof(lines));
		}
		while (n_streams < 8)
			turn();
		for (unsigned int i = 0; i < 8; i++)
			until_has(&c[i], "\r\n\r\n");
		if (round & 4) {
			while (n_streams)
				http_stream_end(streams[--n_streams]);
			/* HTTP/1.0 knows no other end of it. */
			for (unsigned int i = 0; i < 8 && round % 2; i++)
				until_ended(&c[i]);
		}
		for (unsigned int i = 0; i < 8; i++) {
			if (round & 8)
				tell_bytes(&c[i], lines, sizeof(lines));
			go(&c[i]);
		}
		until_nobody_is_left();
		while (n_streams)
			http_stream_end(streams[--n_streams]);
	}
}

static void a_reader_that_does_not_read_is_sent_away(void **state)
{
	static char line[1000];
	struct client deaf, c;
	unsigned int n = 0;

	memset(line, 'x', sizeof(line));
	start((struct http_config){0});
	deaf = come();
	tell(&deaf, "GET /stream HTTP/1.1\r\n\r\n");
	c = come();
	tell(&c, "GET /stream HTTP/1.1\r\n\r\n");
	while (n_streams < 2)
		turn();
	while (http_stream_write(streams[0], line, sizeof(line))) {
		assert_true(http_stream_write(streams[1], line, sizeof(line)));
		turn();
		look(&c);
		assert_true(++n < 100000);
	}
	assert_true(n * sizeof(line) > HTTP_BACKLOG);
	until_clients(1);
	assert_true(http_stream_write(streams[1], "still", 5));
	until_has(&c, "still");
	/* More than a backlog at once is too much as well. */
	assert_false(http_stream_write(streams[1], line, HTTP_BACKLOG + 1));
	until_ended(&c);
	go(&c);
	go(&deaf);
}

static void the_end_leaves_nobody_waiting(void **state)
{
	struct client c[4];

	start((struct http_config){0});
	for (int i = 0; i < 4; i++)
		c[i] = come();
	tell(&c[0], "GET /later HTTP/1.1\r\n\r\n");
	tell(&c[1], "GET /stream HTTP/1.1\r\n\r\n");
	tell(&c[2], "GET /later HTTP/1.1\r\n\r\n");
	while (calls < 3)
		turn();
	assert_true(http_stream_write(streams[0], "last", 4));
	http_reply(waiting[n_waiting - 1], 200, NULL, strdup("{\"end\"}"), 7);
	n_waiting--;
	http_stop(&server);
	assert_null(server);
	for (int i = 0; i < 4; i++) {
		look(&c[i]);
		assert_true(c[i].ended);
	}
	/* The replies that had been made were sent. */
	assert_non_null(strstr(c[1].text, "last"));
	assert_true(strstr(c[0].text, "{\"end\"}") || strstr(c[2].text, "{\"end\"}"));
	/* The rest is of no use to anybody, and does no harm. */
	assert_false(http_waits(waiting[0]));
	assert_false(http_stream_write(streams[0], "x", 1));
	for (int i = 0; i < 4; i++)
		go(&c[i]);
	http_stop(&server);
}

/* -- in the sandbox --------------------------------------------------------------------------- */

static bool filters(void)
{
#ifdef SANITIZED
	return false;
#else
	return catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP;
#endif
}

/* In a process of its own, with the filter of the main thread: serves, answers late, writes to
 * streams, until something ends it. */
_Noreturn static void serve_closed_in(void)
{
	static struct sandbox_filter f;
	uint64_t next = 0;

	start((struct http_config){
		.max_clients = 8, .request_ns = 1000 * MS, .idle_ns = 2000 * MS});
	sandbox_filter_make(&f, SANDBOX_MAIN,
			    SANDBOX_BIT(SANDBOX_SOCKETS) | SANDBOX_BIT(SANDBOX_CONTROL),
			    CATNAP_SANDBOX_ON, getpid());
	if (sandbox_filter_install(&f) < 0)
		syscall(SYS_exit, 1);
	while (calls < 1000) {
		turn();
		if (now_ns() < next)
			continue;
		next = now_ns() + 20 * MS;
		while (n_waiting)
			http_reply(waiting[--n_waiting], 200, NULL, strdup("\"late\""), 6);
		for (unsigned int i = 0; i < n_streams; i++)
			http_stream_write(streams[i], "line\n", 5);
		if (n_streams == 2)
			while (n_streams)
				http_stream_end(streams[--n_streams]);
	}
	http_stop(&server);
	for (;;)
		syscall(SYS_exit, 0);
}

static void the_filter_has_what_it_calls(void **state)
{
	struct client c, more[12];
	unsigned int n = 0;
	int status;
	pid_t pid;

	if (!filters())
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		serve_closed_in();
	c = come();
	tell(&c, "GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"
		 "GET /later HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\nGET /big HTTP/1.1\r\n\r\n");
	until_has(&c, "HTTP/1.1 204");
	until_has(&c, "xxxx");
	go(&c);
	c = come();
	put_body(&c, HTTP_MAX_BODY + 1, "will be dropped.\"}");
	tell(&c, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
	until_ended(&c);
	go(&c);
	for (int i = 0; i < 2; i++) {
		more[i] = come();
		tell(&more[i], "GET /stream HTTP/1.1\r\n\r\n");
		until_has(&more[i], "line\n");
	}
	until_has(&more[1], "\r\n0\r\n\r\n");
	for (int i = 2; i < 12; i++)
		more[i] = come();
	tell(&more[11], "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n");
	until_has(&more[11], "HTTP/1.1 408");
	for (int i = 0; i < 12; i++) {
		until_ended(&more[i]);
		go(&more[i]);
	}
	/* The end. */
	while (waitpid(pid, &status, WNOHANG) == 0) {
		assert_true(n++ < 5000);
		c = come();
		(void)send(c.fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
		turn();
		go(&c);
	}
	if (status)
		fail_msg("wait status 0x%x", (unsigned int)status);
}

static void a_socket_is_nobody_elses(void **state)
{
	struct http_socket again;
	char name[200];
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(http_listen(&again, path), -EADDRINUSE);
	assert_int_equal(again.fd, -1);
	assert_int_equal(access(path, F_OK), 0);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(http_listen(&again, name), -ENAMETOOLONG);
	assert_int_equal(http_listen(&again, ""), -ENOENT);
	assert_int_equal(http_listen(&again, "/no/such/folder"), -ENOENT);
	/* Somebody has put another there. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(http_listen(&again, path), 0);
	http_socket_close(&listening, true);
	assert_int_equal(access(path, F_OK), 0);
	http_socket_close(&again, false);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
}

static void what_is_inherited_is_looked_at(void **state)
{
	struct http_socket s;
	const char *wrong;
	int pair[2], fd, flags;

	assert_int_equal(http_inherit(&s, 1000, &wrong), -EINVAL);
	assert_string_equal(wrong, "is not open");
	fd = open("/dev/null", O_RDONLY);
	assert_int_equal(http_inherit(&s, fd, &wrong), -EINVAL);
	assert_string_equal(wrong, "is not a socket");
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd >= 0) {
		assert_int_equal(http_inherit(&s, fd, &wrong), -EINVAL);
		assert_string_equal(wrong, "is not a Unix socket");
		close(fd);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	assert_int_equal(http_inherit(&s, pair[0], &wrong), -EINVAL);
	assert_string_equal(wrong, "is not a stream socket");
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(http_inherit(&s, pair[0], &wrong), -EINVAL);
	assert_string_equal(wrong, "is not a listening socket");
	close(pair[0]);
	close(pair[1]);
	/* One that is right, as an ordinary program would pass it on. */
	fd = dup(listening.fd);
	flags = fcntl(fd, F_GETFL);
	assert_int_equal(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
	assert_int_equal(http_inherit(&s, fd, &wrong), 0);
	assert_null(wrong);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	/* Its name is not ours. */
	http_socket_close(&s, true);
	assert_int_equal(access(path, F_OK), 0);
}

static void a_socket_by_activation_is_found(void **state)
{
	char number[32];

	unsetenv("LISTEN_FDS");
	assert_int_equal(http_activated(), -1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", "1", 1);
	assert_int_equal(http_activated(), -1);
	assert_null(getenv("LISTEN_FDS"));
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDS", "1x", 1);
	assert_int_equal(http_activated(), -1);
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDS", "1", 1);
	assert_int_equal(http_activated(), 3);
	assert_null(getenv("LISTEN_PID"));
	assert_int_equal(http_activated(), -1);
}

static void a_server_is_not_started_on_anything_else(void **state)
{
	struct http_config cfg = {.listen_fd = 0, .handler = handle};
	struct http_server *s;

	assert_int_equal(http_start(&cfg, &s), -EINVAL);
	cfg.listen_fd = listening.fd;
	cfg.handler = NULL;
	assert_int_equal(http_start(&cfg, &s), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(requests_are_answered),
		TEST(no_content_has_none),
		TEST(pipelined_requests_are_answered_in_order),
		TEST(a_path_is_taken_as_it_came),
		TEST(long_bodies_are_refused),
		TEST(chunks_are_put_together_and_limited),
		TEST(expectations_are_met),
		TEST(a_byte_at_a_time_is_a_request),
		TEST(what_is_no_http_is_refused),
		TEST(slow_requests_have_an_end),
		TEST(an_answer_that_is_not_taken_has_an_end),
		TEST(there_is_room_for_one_more),
		TEST(those_who_wait_make_room_too),
		TEST(a_shortage_of_descriptors_is_got_over),
		TEST(late_answers_arrive),
		TEST(streams_go_on),
		TEST(a_stream_hears_of_its_readers_end),
		TEST(readers_of_nothing_leave),
		TEST(a_reader_that_does_not_read_is_sent_away),
		TEST(the_end_leaves_nobody_waiting),
		TEST(the_filter_has_what_it_calls),
		TEST(a_socket_is_nobody_elses),
		TEST(what_is_inherited_is_looked_at),
		TEST(a_socket_by_activation_is_found),
		TEST(a_server_is_not_started_on_anything_else),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
