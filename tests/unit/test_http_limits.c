/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's HTTP, over real sockets: those that hold still, those that are too many, and a
 * shortage of descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "http_bench.h"

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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(slow_requests_have_an_end),
		TEST(an_answer_that_is_not_taken_has_an_end),
		TEST(there_is_room_for_one_more),
		TEST(those_who_wait_make_room_too),
		TEST(a_shortage_of_descriptors_is_got_over),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
