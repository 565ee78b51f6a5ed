/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's HTTP, over real sockets: what clients send and get, and what is no HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "http_bench.h"

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
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
