/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's HTTP, over real sockets: answers that come late, or never end. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "http_bench.h"

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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(late_answers_arrive),
		TEST(streams_go_on),
		TEST(a_stream_hears_of_its_readers_end),
		TEST(readers_of_nothing_leave),
		TEST(a_reader_that_does_not_read_is_sent_away),
		TEST(the_end_leaves_nobody_waiting),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
