/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: connections from both sides, also by a keeper, and what it is made of. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "sandbox/keeper.h"
#include "vsock_bench.h"

/* -- connections ------------------------------------------------------------------------------ */

static void the_guest_connects(void **state)
{
	struct bench *b = *state;
	char got[64];
	struct vsock_hdr h = {0};
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	say_data(b, 1000, 52, "from the guest", 14);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 14);
	assert_memory_equal(got, "from the guest", 14);
	assert_int_equal(send(fd, "from the host", 13, 0), 13);
	vdev_until(b->v, hear(b, &h, got));
	assert_int_equal(h.op, VSOCK_OP_RW);
	assert_int_equal(h.len, 13);
	assert_int_equal(h.fwd_cnt, 14);
	assert_memory_equal(got, "from the host", 13);
	/* The guest closes. */
	h = header(1000, 52, VSOCK_OP_SHUTDOWN);
	h.flags = VSOCK_SHUT_BOTH;
	give(b, &h, NULL, 0);
	expect(b, 1000, 52, VSOCK_OP_RST);
	assert_int_equal(recv(fd, got, 1, 0), 0);
	close(fd);
	close_listener(b, l, 52);
}

static void nobody_listens(void **state)
{
	struct bench *b = *state;
	int l;

	start(b, 32);
	say(b, 1000, 53, VSOCK_OP_REQUEST);
	expect(b, 1000, 53, VSOCK_OP_RST);
	/* A socket that was left behind. */
	l = listener(b, 53);
	close(l);
	say(b, 1000, 53, VSOCK_OP_REQUEST);
	expect(b, 1000, 53, VSOCK_OP_RST);
	close_listener(b, -1, 53);
}

static void the_host_connects(void **state)
{
	struct bench *b = *state;
	char got[64];
	struct vsock_hdr h = {0};
	uint32_t port;
	int fd, n;

	start(b, 32);
	fd = dial(b);
	/* In two parts, and what follows the line belongs to the guest. */
	assert_int_equal(send(fd, "CONNE", 5, 0), 5);
	expect_nothing(b);
	assert_int_equal(send(fd, "CT 1234\nhello", 13, 0), 13);
	vdev_until(b->v, hear(b, &h, NULL));
	assert_int_equal(h.op, VSOCK_OP_REQUEST);
	assert_int_equal(h.dst_port, 1234);
	port = h.src_port;
	expect_nothing(b);
	say(b, 1234, port, VSOCK_OP_RESPONSE);
	n = snprintf(got, sizeof(got), "OK %u\n", port);
	{
		char line[64];

		assert_int_equal(recv(fd, line, sizeof(line), 0), n);
		assert_memory_equal(line, got, (size_t)n);
	}
	vdev_until(b->v, hear(b, &h, got));
	assert_int_equal(h.len, 5);
	assert_memory_equal(got, "hello", 5);
	/* The host closes: the guest is told, and answers. */
	close(fd);
	h = expect(b, 1234, port, VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.flags, VSOCK_SHUT_BOTH);
	say(b, 1234, port, VSOCK_OP_RST);
	assert_int_equal(b->vs->conn_count, 0);
}

static void the_guest_refuses(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	char c;
	int fd;

	start(b, 32);
	fd = dial(b);
	assert_int_equal(send(fd, "CONNECT 9\n", 10, 0), 10);
	vdev_until(b->v, hear(b, &h, NULL));
	say(b, 9, h.src_port, VSOCK_OP_RST);
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
}

static void wrong_lines_are_hung_up_on(void **state)
{
	static const char *const lines[] = {
		"\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT x\n",
		"connect 5\n",
		"CONNECT -1\n",
		"CONNECT 4294967296\n",
		"CONNECT 5 5\n",
		"CONNECT 99999999999999999999999\n",
		"GET / HTTP/1.0\r\n",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	char c;

	start(b, 32);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		int fd = dial(b);

		assert_true(send(fd, lines[i], strlen(lines[i]), 0) > 0);
		vdev_until(b->v, recv(fd, &c, 1, 0) == 0 || errno == ECONNRESET);
		assert_false(hear(b, &h, NULL));
		close(fd);
	}
	assert_int_equal(b->vs->conn_count, 0);
}

static void without_a_driver_nobody_gets_through(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);
	char c;

	assert_int_equal(send(fd, "CONNECT 5\n", 10, 0), 10);
	vdev_until(b->v, recv(fd, &c, 1, 0) == 0 || errno == ECONNRESET);
	close(fd);
}

static void half_closed_both_ways(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	char got[8];
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	shutdown(fd, SHUT_WR);
	h = expect(b, 1000, 52, VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.flags, VSOCK_SHUT_SEND);
	say_data(b, 1000, 52, "still", 5);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 5);
	h = header(1000, 52, VSOCK_OP_SHUTDOWN);
	h.flags = VSOCK_SHUT_SEND;
	give(b, &h, NULL, 0);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 0);
	close(fd);
	close_listener(b, l, 52);
}

static void reset_closes_all(void **state)
{
	struct bench *b = *state;
	int l, fd;
	char c;

	start(b, 32);
	fd = open_conn(b, &l);
	virtio_set_status(b->v->dev, 0);
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	assert_int_equal(b->vs->conn_count, 0);
	close(fd);
	close_listener(b, l, 52);
	start(b, 32);
	fd = open_conn(b, &l);
	close(fd);
	close_listener(b, l, 52);
}

/* -- making it -------------------------------------------------------------------------------- */

static void wrong_configurations_are_told(void **state)
{
	struct bench *b = *state;
	struct vsock_config cfg = {.dma = &b->v->g.dma, .path = b->path};
	struct sockaddr_un at = address(b, 1);
	struct vsock *vs;
	struct error err;
	char longer[200];
	struct stat st;
	int fd;

	for (uint64_t cid = 0; cid < 3; cid++) {
		cfg.cid = cid;
		assert_int_equal(vsock_create(&cfg, &vs, &err), -EINVAL);
	}
	cfg.cid = 0xffffffff;
	assert_int_equal(vsock_create(&cfg, &vs, &err), -EINVAL);
	cfg.cid = 3;
	assert_int_equal(vsock_create(&cfg, &vs, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, b->path));
	memset(longer, 'a', sizeof(longer));
	longer[VSOCK_PATH_MAX + 1] = '\0';
	cfg.path = longer;
	assert_int_equal(vsock_create(&cfg, &vs, &err), -ENAMETOOLONG);
	cfg.path = "";
	assert_int_equal(vsock_create(&cfg, &vs, &err), -ENAMETOOLONG);
	cfg.path = "/nonexistent/v";
	assert_int_equal(vsock_create(&cfg, &vs, &err), -ENOENT);
	/* Left by a monitor that was killed. */
	fd = listener(b, 1);
	close(fd);
	cfg.path = at.sun_path;
	assert_int_equal(vsock_create(&cfg, &vs, &err), 0);
	assert_int_equal(stat(at.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	vsock_destroy(&vs);
	assert_int_equal(stat(at.sun_path, &st), -1);
	/* Somebody else's by now. */
	assert_int_equal(vsock_create(&cfg, &vs, &err), 0);
	assert_int_equal(unlink(at.sun_path), 0);
	fd = listener(b, 1);
	vsock_destroy(&vs);
	assert_int_equal(stat(at.sun_path, &st), 0);
	close_listener(b, fd, 1);
	/* A file that is no socket is nobody's to remove. */
	fd = creat(at.sun_path, 0600);
	close(fd);
	assert_int_equal(vsock_create(&cfg, &vs, &err), -EADDRINUSE);
	assert_int_equal(unlink(at.sun_path), 0);
}

/* -- with a keeper ---------------------------------------------------------------------------- */

static int set_up_keeper(void **state)
{
	int fd, ret = set_up(state);
	struct bench *b = *state;

	if (ret < 0)
		return ret;
	if (catnap_keeper_start(&b->keeper, CATNAP_SANDBOX_OFF, -1, NULL, NULL) < 0 ||
	    catnap_keeper_add_socket(b->keeper, b->path) < 0 ||
	    keeper_connector(b->keeper, b->path, &fd) < 0)
		return -1;
	vsock_leave_socket(b->vs);
	return vsock_ask_over(b->vs, fd) < 0 || keeper_seal(b->keeper) < 0 ? -1 : 0;
}

static int tear_down_keeper(void **state)
{
	struct bench *b = *state;

	catnap_keeper_stop(&b->keeper);
	return tear_down(state);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
/* Once more, with a keeper. */
#define K(name)                                                                \
	{                                                                      \
#name " (keeper)", name, set_up_keeper, tear_down_keeper, NULL \
	}
	const struct CMUnitTest tests[] = {
		T(the_guest_connects),
		T(nobody_listens),
		T(the_host_connects),
		T(the_guest_refuses),
		T(wrong_lines_are_hung_up_on),
		T(without_a_driver_nobody_gets_through),
		T(half_closed_both_ways),
		T(reset_closes_all),
		T(wrong_configurations_are_told),
		K(the_guest_connects),
		K(nobody_listens),
		K(half_closed_both_ways),
		K(the_guest_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
