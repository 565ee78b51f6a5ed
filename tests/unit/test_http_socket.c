/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's HTTP: the socket that it listens on, and the sandbox that it runs in. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "http_bench.h"
#include "sandbox/filter.h"

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
		TEST(the_filter_has_what_it_calls),
		TEST(a_socket_is_nobody_elses),
		TEST(what_is_inherited_is_looked_at),
		TEST(a_socket_by_activation_is_found),
		TEST(a_server_is_not_started_on_anything_else),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
