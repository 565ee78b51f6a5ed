/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes from any clients to the control socket's transport, over real sockets: whole requests
 * and parts of them, clients that come, hang up half-way or altogether and are sent away for
 * others, answers that come late, streams. Each exchange is answered once, what the handler gets is
 * within its limits, and nobody is left at the end.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/api/http.h"
#include "fuzz.h"

#define CLIENTS	 4
#define OPEN	 8
#define MAX_BODY 64
#define ROUNDS	 64

static const char *const tokens[] = {
	"GET ",
	"PUT ",
	"PATCH ",
	"/",
	"/late",
	"/stream",
	"/none",
	"/big",
	"?a=b&c",
	"http://host",
	" HTTP/1.1\r\n",
	" HTTP/1.0\r\n",
	"\r\n",
	"\r\n\r\n",
	"Host: localhost\r\n",
	"Content-Length: 5\r\n",
	"Content-Length: 65\r\n",
	"Content-Length: 9999999\r\n",
	"Transfer-Encoding: chunked\r\n",
	"Expect: 100-continue\r\n",
	"Connection: close\r\n",
	"Content-Type: application/json\r\n",
	"5\r\n",
	"0\r\n\r\n",
	"{\"a\":",
	"GET / HTTP/1.1\r\n\r\n",
	"PUT /late HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
	"GET /stream HTTP/1.1\r\n\r\n",
};

struct world {
	struct http_server *server;
	int clients[CLIENTS];
	struct http_exchange *late[OPEN];
	struct http_stream *streams[OPEN];
	unsigned int n_late, n_streams;
};

static struct http_socket listening = {.fd = -1};

static void handle(void *ctx, const struct http_request *rq)
{
	struct world *w = ctx;

	check(rq->method && *rq->method && rq->path && rq->query);
	check(rq->len <= MAX_BODY && rq->body[rq->len] == '\0');
	check(!strchr(rq->path, '?'));
	if (strcmp(rq->path, "/late") == 0 && w->n_late < OPEN) {
		w->late[w->n_late++] = rq->exchange;
	} else if (strcmp(rq->path, "/stream") == 0 && w->n_streams < OPEN) {
		struct http_stream *st = http_reply_stream(rq->exchange, NULL);

		check(st);
		w->streams[w->n_streams++] = st;
	} else if (strcmp(rq->path, "/big") == 0) {
		http_reply(rq->exchange, 200, NULL, calloc(1, 300000), 300000);
	} else if (rq->len) {
		char *copy = malloc(rq->len);

		check(copy);
		memcpy(copy, rq->body, rq->len);
		http_reply(rq->exchange, 400, rq->type ? "text/plain" : NULL, copy, rq->len);
	} else {
		http_reply(rq->exchange, 204, NULL, NULL, 0);
	}
}

static void come(int *client)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (*client >= 0)
		return;
	strcpy(addr.sun_path, listening.path);
	*client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	check(*client >= 0);
	check(connect(*client, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
}

static void go(int *client)
{
	if (*client >= 0)
		close(*client);
	*client = -1;
}

static void say(int client, const void *what, size_t len)
{
	if (client >= 0)
		(void)send(client, what, len, MSG_NOSIGNAL);
}

static void hear(int client)
{
	char some[256];

	if (client >= 0)
		(void)recv(client, some, sizeof(some), 0);
}

static void step(struct world *w, const uint8_t **data, size_t *size)
{
	uint8_t what = (uint8_t)fuzz_take(data, size, 1), with = (uint8_t)fuzz_take(data, size, 1);
	int *client = &w->clients[with % CLIENTS];
	size_t n = with / CLIENTS;

	switch (what % 10) {
	case 0:
		come(client);
		break;
	case 1:
		if (n > *size)
			n = *size;
		say(*client, *data, n);
		*data += n;
		*size -= n;
		break;
	case 2:
	case 3: {
		const char *token =
			tokens[fuzz_take(data, size, 1) % (sizeof(tokens) / sizeof(tokens[0]))];

		come(client);
		say(*client, token, strlen(token));
		break;
	}
	case 4:
		http_dispatch(w->server);
		break;
	case 5:
		go(client);
		break;
	case 6:
		if (*client >= 0)
			shutdown(*client, SHUT_WR);
		break;
	case 7:
		hear(*client);
		break;
	case 8:
		if (w->n_late)
			http_reply(w->late[--w->n_late], n % 2 ? 204 : 200, NULL,
				   n % 2 ? NULL : strdup("{}"), n % 2 ? 0 : 2);
		break;
	case 9:
		if (!w->n_streams)
			break;
		if (n % 4 == 0)
			http_stream_end(w->streams[--w->n_streams]);
		else
			for (size_t i = 0; i < (n % 4 == 1 ? 40 : 1); i++) {
				static const char line[10000] = "{}\n";

				http_stream_write(w->streams[w->n_streams - 1], line,
						  n % 4 == 2 ? 3 : sizeof(line));
			}
		break;
	}
}

static void answer_all(struct world *w)
{
	while (w->n_late)
		http_reply(w->late[--w->n_late], 204, NULL, NULL, 0);
	while (w->n_streams)
		http_stream_end(w->streams[--w->n_streams]);
}

/* When all clients have hung up, the server soon has none. */
static void end(struct world *w, bool before)
{
	if (before)
		answer_all(w);
	for (int i = 0; i < CLIENTS; i++)
		go(&w->clients[i]);
	if (before)
		for (int i = 0; i < ROUNDS && http_clients(w->server); i++)
			http_dispatch(w->server);
	/* A request that had come whole may have been taken up meanwhile. */
	answer_all(w);
	for (int i = 0; i < ROUNDS && before && http_clients(w->server); i++)
		http_dispatch(w->server);
	check(!before || http_clients(w->server) == 0);
	http_stop(&w->server);
	answer_all(w);
}

static void leave(void)
{
	char folder[sizeof("/tmp/fuzz_http.XXXXXX")];

	memcpy(folder, listening.path, sizeof(folder) - 1);
	folder[sizeof(folder) - 1] = '\0';
	http_socket_close(&listening, true);
	rmdir(folder);
}

static void once(void)
{
	char folder[] = "/tmp/fuzz_http.XXXXXX", path[64];

	if (listening.fd >= 0)
		return;
	check(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
	check(http_listen(&listening, path) == 0);
	atexit(leave);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {.clients = {-1, -1, -1, -1}};
	struct http_config cfg = {.max_body = MAX_BODY,
				  .max_clients = 3,
				  .handler = handle,
				  .ctx = &w,
				  .server = "x"};
	bool before = size && data[size - 1] & 1;

	once();
	cfg.listen_fd = listening.fd;
	check(http_start(&cfg, &w.server) == 0);
	while (size)
		step(&w, &data, &size);
	end(&w, before);
	return 0;
}
