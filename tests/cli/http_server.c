/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket's transport without a VM behind it, for test_api_hostile.py: `http_server
 * PATH` answers until SIGTERM. GET /stream is a stream with a line of 1000 bytes each 10 ms, GET
 * /late an answer after 100 ms, GET /big an answer of 4 MiB; anything else is echoed.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/api/http.h"
#include "cli/now.h"

#define MS   UINT64_C(1000000)
#define BIG  (4u << 20)
#define OPEN 256
#define LINE 1000

struct late {
	struct http_exchange *exchange;
	uint64_t at;
};

struct state {
	struct http_stream *streams[OPEN];
	struct late late[OPEN];
	unsigned int n_streams, n_late;
};

static void say(struct http_exchange *x, char *text)
{
	http_reply(x, text ? 200 : 500, NULL, text, text ? strlen(text) : 0);
}

static void handle(void *ctx, const struct http_request *rq)
{
	struct state *st = ctx;
	char *text = NULL;

	if (strcmp(rq->path, "/stream") == 0 && st->n_streams < OPEN) {
		struct http_stream *s = http_reply_stream(rq->exchange, "application/x-ndjson");

		if (s)
			st->streams[st->n_streams++] = s;
	} else if (strcmp(rq->path, "/late") == 0 && st->n_late < OPEN) {
		st->late[st->n_late++] = (struct late){rq->exchange, now_ns() + 100 * MS};
	} else if (strcmp(rq->path, "/big") == 0) {
		text = malloc(BIG + 1);
		if (text) {
			memset(text, 'x', BIG);
			text[BIG] = '\0';
		}
		say(rq->exchange, text);
	} else {
		if (asprintf(&text, "{\"bytes\": %zu}", rq->len) < 0)
			text = NULL;
		say(rq->exchange, text);
	}
}

/* Does the work that is due. */
static void work(struct state *st)
{
	static char line[LINE];
	uint64_t now = now_ns();

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\n';
	for (unsigned int i = 0; i < st->n_streams;)
		if (http_stream_write(st->streams[i], line, sizeof(line))) {
			i++;
		} else {
			http_stream_end(st->streams[i]);
			st->streams[i] = st->streams[--st->n_streams];
		}
	for (unsigned int i = 0; i < st->n_late;)
		if (now < st->late[i].at) {
			i++;
		} else {
			say(st->late[i].exchange, strdup("{}"));
			st->late[i] = st->late[--st->n_late];
		}
}

static void serve(struct http_server *s, struct state *st, int signals)
{
	uint64_t next = 0;

	for (;;) {
		struct pollfd p[2] = {{.fd = http_fd(s), .events = POLLIN},
				      {.fd = signals, .events = POLLIN}};
		int most = http_timeout_ms(s);

		if ((st->n_streams || st->n_late) && (most < 0 || most > 10))
			most = 10;
		poll(p, 2, most);
		if (p[1].revents)
			return;
		http_dispatch(s);
		if (now_ns() >= next) {
			work(st);
			next = now_ns() + 10 * MS;
		}
	}
}

int main(int argc, char **argv)
{
	struct http_config cfg = {.handler = handle, .server = "test"};
	struct http_socket at;
	struct http_server *s;
	static struct state st;
	sigset_t set;
	int ret;

	if (argc != 2)
		return 2;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ret = http_listen(&at, argv[1]);
	cfg.listen_fd = at.fd;
	cfg.ctx = &st;
	if (ret == 0)
		ret = http_start(&cfg, &s);
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-ret));
		return 1;
	}
	serve(s, &st, signalfd(-1, &set, SFD_CLOEXEC));
	http_stop(&s);
	while (st.n_streams)
		http_stream_end(st.streams[--st.n_streams]);
	while (st.n_late)
		say(st.late[--st.n_late].exchange, NULL);
	http_socket_close(&at, true);
	return 0;
}
