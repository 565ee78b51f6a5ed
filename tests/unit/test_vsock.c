/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: connections from both sides, credit, ends, and a guest that lies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "handover.h"
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

/* -- ends come after what was sent ------------------------------------------------------------ */

/* From the guest, until the device's buffer has at least @kept; how much all in all. */
static uint32_t fill(struct bench *b, uint32_t guest, uint32_t host, uint32_t kept)
{
	static uint8_t block[16384];
	struct vsock_conn *c = NULL;
	struct vsock_hdr h = {0};
	uint32_t sent = 0;

	do {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (uint8_t)((sent + i) % 251);
		say_data(b, guest, host, block, sizeof(block));
		sent += sizeof(block);
		while (hear(b, &h, NULL))
			assert_int_equal(h.op, VSOCK_OP_CREDIT_UPDATE);
		c = NULL;
		for (unsigned int i = 0; i < VSOCK_HASH && !c; i++)
			for (c = b->vs->table[i]; c && c->guest_port != guest; c = c->next)
				;
		assert_non_null(c);
	} while (c->came - c->taken < kept);
	return sent;
}

/* The host reads what fill() has sent, and then the end: 0, or -errno. */
static int drain(struct bench *b, int fd, uint32_t sent)
{
	static uint8_t got[65536];
	uint32_t came = 0;
	ssize_t n;

	for (int i = 0; i < 5000; i++) {
		n = recv(fd, got, sizeof(got), 0);
		if (n < 0 && errno == EAGAIN) {
			vdev_turn(b->v);
			poll(NULL, 0, i % 8 == 0);
			continue;
		}
		if (n <= 0) {
			assert_int_equal(came, sent);
			return n < 0 ? -errno : 0;
		}
		for (ssize_t k = 0; k < n; k++)
			if (got[k] != (uint8_t)((came + (uint32_t)k) % 251))
				fail();
		came += (uint32_t)n;
	}
	fail_msg("no end after %u bytes of %u", came, sent);
	return 0;
}

static void say_shutdown(struct bench *b, uint32_t guest, uint32_t host, uint32_t flags)
{
	struct vsock_hdr h = header(guest, host, VSOCK_OP_SHUTDOWN);

	h.flags = flags;
	give(b, &h, NULL, 0);
}

/* Linux waits 8 s for the answer to its close, and then resets. The ports are its own again. */
static void a_reset_after_a_close_loses_nothing(void **state)
{
	struct bench *b = *state;
	uint32_t sent;
	int l, fd, next;

	start(b, 32);
	fd = open_conn(b, &l);
	assert_int_equal(send(fd, "unread", 6, 0), 6); /* no reason to call the end a reset */
	expect(b, 1000, 52, VSOCK_OP_RW);
	assert_int_equal(send(fd, "unread", 6, 0), 6);
	sent = fill(b, 1000, 52, 100000);
	say_shutdown(b, 1000, 52, VSOCK_SHUT_BOTH);
	say(b, 1000, 52, VSOCK_OP_RST);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	expect(b, 1000, 52, VSOCK_OP_RESPONSE);
	next = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_int_equal(b->vs->conn_count, 2);
	assert_int_equal(send(fd, "more", 4, MSG_NOSIGNAL), -1); /* nobody would read it */
	assert_int_equal(errno, EPIPE);
	assert_int_equal(drain(b, fd, sent), 0);
	assert_int_equal(b->vs->conn_count, 1);
	assert_int_equal(b->vs->timed, 0);
	say_data(b, 1000, 52, "new", 3);
	assert_int_equal(drain(b, fd, 0), 0);
	close(next);
	close(fd);
	close_listener(b, l, 52);
}

/* A guest that says nothing of an end has none: the host can tell where it has sent something. */
static void a_reset_is_told_after_what_was_taken(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	uint32_t sent;
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	sent = fill(b, 1000, 52, 50000);
	/* More than the guest has room for. */
	h = header(1000, 52, VSOCK_OP_CREDIT_UPDATE);
	h.buf_alloc = 0;
	give(b, &h, NULL, 0);
	assert_int_equal(send(fd, "unread", 6, 0), 6);
	expect_nothing(b);
	say(b, 1000, 52, VSOCK_OP_RST);
	assert_int_equal(drain(b, fd, sent), -ECONNRESET);
	assert_int_equal(b->vs->conn_count, 0);
	close(fd);
	close_listener(b, l, 52);
}

/* An end from our side comes behind what was taken, too. */
static void a_violation_loses_nothing(void **state)
{
	struct bench *b = *state;
	uint32_t sent;
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	sent = fill(b, 1000, 52, 50000);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	expect(b, 1000, 52, VSOCK_OP_RST);
	assert_int_equal(b->vs->conn_count, 1);
	assert_int_equal(drain(b, fd, sent), 0);
	assert_int_equal(b->vs->conn_count, 0);
	close(fd);
	close_listener(b, l, 52);
}

static void a_device_reset_loses_nothing(void **state)
{
	struct bench *b = *state;
	uint32_t sent;
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	sent = fill(b, 1000, 52, 50000);
	virtio_set_status(b->v->dev, 0);
	assert_int_equal(b->vs->conn_count, 1);
	assert_int_equal(drain(b, fd, sent), 0);
	assert_int_equal(b->vs->conn_count, 0);
	close(fd);
	close_listener(b, l, 52);
}

/* The guest closes; the host need not wait for its end until the guest takes an answer. */
static void the_end_needs_no_buffer_of_the_guests(void **state)
{
	struct bench *b = *state;
	int l = listener(b, 52), fd;

	start(b, 0);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	say_shutdown(b, 1000, 52, VSOCK_SHUT_BOTH);
	assert_int_equal(drain(b, fd, 0), 0);
	close(fd);
	close_listener(b, l, 52);
}

static void who_never_reads_is_given_up(void **state)
{
	const uint64_t second = UINT64_C(1000000000);
	struct bench *b = *state;
	char got[1];
	int l, fd, half;

	start(b, 32);
	fd = open_conn(b, &l);
	fill(b, 1000, 52, 50000);
	say(b, 1000, 52, VSOCK_OP_RST);
	/* And one whose guest waits for the answer to its close. */
	say(b, 1001, 52, VSOCK_OP_REQUEST);
	expect(b, 1001, 52, VSOCK_OP_RESPONSE);
	half = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	fill(b, 1001, 52, 50000);
	say_shutdown(b, 1001, 52, VSOCK_SHUT_BOTH);
	assert_int_equal(b->vs->timed, 2);
	vsock_conn_tick(b->vs, clock_monotonic_ns() + (VSOCK_PATIENCE_S - 1) * second);
	assert_int_equal(b->vs->conn_count, 2);
	vsock_conn_tick(b->vs, clock_monotonic_ns() + VSOCK_PATIENCE_S * second);
	assert_int_equal(b->vs->conn_count, 0);
	assert_int_equal(b->vs->timed, 0);
	offer(b, 1);
	expect(b, 1001, 52, VSOCK_OP_RST);
	/* The bytes in the socket are the host's. */
	assert_int_equal(recv(fd, got, 1, 0), 1);
	close(fd);
	close(half);
	close_listener(b, l, 52);
}

struct reader {
	int fd;
	uint32_t came;
};

static void *read_all(void *arg)
{
	static uint8_t got[65536];
	struct reader *r = arg;
	ssize_t n;

	while ((n = recv(r->fd, got, sizeof(got), 0)) > 0 || (n < 0 && errno == EAGAIN)) {
		if (n < 0)
			poll(&(struct pollfd){.fd = r->fd, .events = POLLIN}, 1, -1);
		else
			r->came += (uint32_t)n;
	}
	return NULL;
}

/* The device's end waits for a host that reads, and for one that does not, but not for long. */
static void the_end_of_the_device_loses_nothing(void **state)
{
	struct bench *b = *state;
	struct reader r = {0};
	pthread_t thread;
	uint32_t sent;
	uint64_t begun;
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	fill(b, 1000, 52, 50000);
	say(b, 1001, 52, VSOCK_OP_REQUEST);
	expect(b, 1001, 52, VSOCK_OP_RESPONSE);
	r.fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	sent = fill(b, 1001, 52, 100000);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	begun = clock_monotonic_ns();
	vsock_destroy(&b->vs);
	assert_true(clock_monotonic_ns() - begun < UINT64_C(10000000000));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.came, sent);
	close(fd);
	close(r.fd);
	close_listener(b, l, 52);
}

/* -- the other way ---------------------------------------------------------------------------- */

/* All that the host has written before it went reaches the guest, who answers late. */
static void the_host_may_go_before_the_guest_answers(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	char got[4096];
	uint32_t port;
	int fd;

	start(b, 32);
	fd = dial(b);
	assert_int_equal(send(fd, "CONNECT 1234\nlast words", 23, 0), 23);
	close(fd);
	vdev_until(b->v, hear(b, &h, NULL));
	assert_int_equal(h.op, VSOCK_OP_REQUEST);
	port = h.src_port;
	expect_nothing(b);
	say(b, 1234, port, VSOCK_OP_RESPONSE);
	do {
		vdev_until(b->v, hear(b, &h, got));
		assert_true(h.op == VSOCK_OP_RW ||
			    (h.op == VSOCK_OP_SHUTDOWN && h.flags == VSOCK_SHUT_RECEIVE));
	} while (h.op != VSOCK_OP_RW);
	assert_int_equal(h.len, 10);
	assert_memory_equal(got, "last words", 10);
	h = expect(b, 1234, port, VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.flags, VSOCK_SHUT_BOTH);
	say(b, 1234, port, VSOCK_OP_RST);
	assert_int_equal(b->vs->conn_count, 0);
	assert_int_equal(b->vs->timed, 0);
}

static void a_guest_that_never_answers_is_given_up(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	int fd;

	start(b, 32);
	fd = dial(b);
	assert_int_equal(send(fd, "CONNECT 1234\n", 13, 0), 13);
	vdev_until(b->v, hear(b, &h, NULL));
	assert_int_equal(b->vs->timed, 0);
	close(fd);
	vdev_until(b->v, b->vs->timed == 1);
	vsock_conn_tick(b->vs, clock_monotonic_ns() + VSOCK_PATIENCE_S * UINT64_C(1000000000));
	assert_int_equal(b->vs->conn_count, 0);
	offer(b, 1);
	expect(b, 1234, h.src_port, VSOCK_OP_RST);
}

/* Closed in two steps: the guest is told of both. */
static void a_half_close_may_become_a_whole_one(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	shutdown(fd, SHUT_WR);
	h = expect(b, 1000, 52, VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.flags, VSOCK_SHUT_SEND);
	close(fd);
	h = expect(b, 1000, 52, VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.flags, VSOCK_SHUT_BOTH);
	close_listener(b, l, 52);
}

/* -- credit ----------------------------------------------------------------------------------- */

static void no_more_than_the_guest_can_hold(void **state)
{
	struct bench *b = *state;
	static char many[10000];
	struct vsock_hdr h = header(1000, 52, VSOCK_OP_REQUEST);
	unsigned int asked = 0, sum = 0;
	int l = listener(b, 52), fd;

	start(b, 64);
	h.buf_alloc = 5000;
	give(b, &h, NULL, 0);
	expect(b, 1000, 52, VSOCK_OP_RESPONSE);
	fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_int_equal(send(fd, many, sizeof(many), 0), sizeof(many));
	for (int i = 0; i < 50; i++) {
		vdev_turn(b->v);
		while (hear(b, &h, NULL)) {
			assert_true(h.op == VSOCK_OP_RW || h.op == VSOCK_OP_CREDIT_REQUEST);
			asked += h.op == VSOCK_OP_CREDIT_REQUEST;
			sum += h.len;
		}
	}
	assert_int_equal(sum, 5000);
	assert_int_equal(asked, 1);
	h = header(1000, 52, VSOCK_OP_CREDIT_UPDATE);
	h.buf_alloc = 5000;
	h.fwd_cnt = 3000;
	give(b, &h, NULL, 0);
	for (int i = 0; i < 50; i++) {
		vdev_turn(b->v);
		while (hear(b, &h, NULL))
			sum += h.len;
	}
	assert_int_equal(sum, 8000);
	/* One that says it has taken more than it got is believed to be full. */
	h = header(1000, 52, VSOCK_OP_CREDIT_UPDATE);
	h.fwd_cnt = 8001;
	give(b, &h, NULL, 0);
	expect_nothing(b);
	close(fd);
	close_listener(b, l, 52);
}

static void what_the_host_does_not_take_is_kept(void **state)
{
	struct bench *b = *state;
	static uint8_t block[32768], got[65536];
	uint32_t sent = 0, came = 0, fwd = 0, free;
	struct vsock_hdr h = {0};
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	/* As much as the credit allows: into the socket, then into our buffer. */
	for (;;) {
		while (hear(b, &h, NULL)) {
			assert_int_not_equal(h.op, VSOCK_OP_RST);
			fwd = h.fwd_cnt;
		}
		free = VSOCK_BUFFER - (sent - fwd);
		if (free < sizeof(block))
			break;
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (uint8_t)((sent + i) % 251);
		say_data(b, 1000, 52, block, sizeof(block));
		sent += sizeof(block);
		assert_true(sent < 10u << 20);
	}
	assert_true(sent >= VSOCK_BUFFER);
	/* Now it reads, all of it, in order. */
	while (came < sent) {
		ssize_t n = recv(fd, got, sizeof(got), 0);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			vdev_turn(b->v);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			if (got[i] != (uint8_t)((came + (uint32_t)i) % 251))
				fail();
		came += (uint32_t)n;
	}
	vdev_until(b->v, (hear(b, &h, NULL) ? (fwd = h.fwd_cnt) : 0, fwd == sent));
	close(fd);
	close_listener(b, l, 52);
}

static void who_ignores_credit_is_cut_off(void **state)
{
	struct bench *b = *state;
	static uint8_t block[65536];
	struct vsock_hdr h = {0};
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	for (int i = 0; i < 100 && h.op != VSOCK_OP_RST; i++) {
		say_data(b, 1000, 52, block, sizeof(block));
		h.op = 0;
		while (h.op != VSOCK_OP_RST && hear(b, &h, NULL))
			;
	}
	vdev_until(b->v, h.op == VSOCK_OP_RST || (hear(b, &h, NULL) && h.op == VSOCK_OP_RST));
	/* The bytes that came before are the host's. */
	assert_non_null(b->vs->parted);
	assert_int_equal(b->vs->conn_count, 1);
	close(fd);
	vdev_until(b->v, b->vs->conn_count == 0);
	close_listener(b, l, 52);
}

static void the_host_goes_while_the_guest_sends(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	int l, fd;

	start(b, 32);
	fd = open_conn(b, &l);
	close(fd);
	say_data(b, 1000, 52, "into the void", 13);
	h = expect(b, 1000, 52, VSOCK_OP_SHUTDOWN);
	if (h.flags != VSOCK_SHUT_BOTH)
		h = expect(b, 1000, 52, VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.flags, VSOCK_SHUT_BOTH);
	say(b, 1000, 52, VSOCK_OP_RST);
	assert_int_equal(b->vs->conn_count, 0);
	close_listener(b, l, 52);
}

/* -- lies ------------------------------------------------------------------------------------- */

static void packets_of_no_connection_are_refused(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};

	start(b, 32);
	say_data(b, 5, 6, "x", 1);
	expect(b, 5, 6, VSOCK_OP_RST);
	say(b, 5, 6, VSOCK_OP_RESPONSE);
	expect(b, 5, 6, VSOCK_OP_RST);
	say(b, 5, 6, 99);
	expect(b, 5, 6, VSOCK_OP_RST);
	h = header(5, 6, VSOCK_OP_REQUEST);
	h.type = 2;
	give(b, &h, NULL, 0);
	expect(b, 5, 6, VSOCK_OP_RST);
	say(b, 5, 6, VSOCK_OP_RST); /* never an answer to this */
	h = header(5, 6, VSOCK_OP_REQUEST);
	h.src_cid = CID + 1;
	give(b, &h, NULL, 0);
	h = header(5, 6, VSOCK_OP_REQUEST);
	h.dst_cid = 99;
	give(b, &h, NULL, 0);
	h = header(5, 6, VSOCK_OP_RW);
	h.len = 2; /* of one */
	give(b, &h, "x", 1);
	h.len = UINT32_MAX;
	give(b, &h, "x", 1);
	expect_nothing(b);
	assert_int_equal(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

static void a_second_request_ends_the_connection(void **state)
{
	struct bench *b = *state;
	int l, fd;
	char c;

	start(b, 32);
	fd = open_conn(b, &l);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	expect(b, 1000, 52, VSOCK_OP_RST);
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
	close_listener(b, l, 52);
}

/* A guest that asks and asks and has no buffers for the answers: it has to wait, and only it. */
static void answers_are_bounded(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = header(5, 6, VSOCK_OP_RESPONSE);
	unsigned int answers = 0, done = 0;
	uint32_t id, len;

	start(b, 0);
	memcpy(guest_ptr(&b->v->g, b->tx_at), &h, HDR);
	for (unsigned int i = 0; i < VSOCK_RST_MAX + 40; i++) {
		vdev_offer1(b->v, VSOCK_TX, b->tx_at, HDR, false);
		virtio_kick(b->v->dev, VSOCK_TX);
		done += driver_used(&b->v->q[VSOCK_TX], &id, &len);
	}
	assert_int_equal(done, VSOCK_RST_MAX);
	for (int i = 0; i < 20; i++) {
		offer(b, 16);
		while (hear(b, &h, NULL))
			answers++;
		while (driver_used(&b->v->q[VSOCK_TX], &id, &len))
			done++;
	}
	assert_int_equal(done, VSOCK_RST_MAX + 40);
	assert_int_equal(answers, done);
}

static void connections_are_bounded(void **state)
{
	struct bench *b = *state;
	struct vsock_hdr h = {0};
	unsigned int refused = 0;
	int l = listener(b, 52), fds[VSOCK_CONNS_MAX + 10];

	start(b, 32);
	for (unsigned int i = 0; i < VSOCK_CONNS_MAX + 10; i++) {
		say(b, 1000 + i, 52, VSOCK_OP_REQUEST);
		vdev_until(b->v, hear(b, &h, NULL));
		offer(b, 1);
		refused += h.op == VSOCK_OP_RST;
		fds[i] = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	assert_true(refused >= 10); /* more if descriptors are scarce */
	assert_true(b->vs->conn_count <= VSOCK_CONNS_MAX);
	for (unsigned int i = 0; i < VSOCK_CONNS_MAX + 10; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	close_listener(b, l, 52);
}

/* A client that connects when there is no descriptor left is served when there is one, though
 * nobody else connects: an edge does not come twice. */
static void without_a_descriptor_the_host_waits(void **state)
{
	struct bench *b = *state;
	struct rlimit old, low;
	struct vsock_hdr h = {0};
	int fd;

	start(b, 32);
	for (int i = 0; i < 20; i++)
		vdev_turn(b->v);
	fd = dial(b);
	assert_int_equal(send(fd, "CONNECT 1234\n", 13, 0), 13);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (int i = 0; i < 20; i++)
		vdev_turn(b->v);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(b->vs->accept_waits);
	assert_int_equal(b->vs->conn_count, 0);
	vdev_until(b->v, hear(b, &h, NULL));
	assert_int_equal(h.op, VSOCK_OP_REQUEST);
	assert_int_equal(h.dst_port, 1234);
	close(fd);
}

/* A guest does not get the last descriptors, nor does whoever connects to it. */
static void some_descriptors_are_spared(void **state)
{
	struct bench *b = *state;
	struct vsock_config cfg = {.cid = CID, .dma = &b->v->g.dma, .path = b->path};
	struct rlimit old, low = {100, 100};
	int l = listener(b, 52), peers[100], n = 0, fd;
	unsigned int open = 0, refused = 0;
	struct vsock_hdr h = {0};
	struct error err;
	char c;

	assert_int_equal(halter_del_source(&b->v->home, b->vs->epoll_fd, &b->vs->handler), 0);
	vdev_again(b->v);
	vsock_destroy(&b->vs);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(vsock_create(&cfg, &b->vs, &err), 0);
	vdev_use(b->v, vsock_device(b->vs));
	assert_int_equal(vsock_attach(b->vs, &b->v->home), 0);
	start(b, 32);
	for (unsigned int i = 0; i < 100; i++) {
		say(b, 1000 + i, 52, VSOCK_OP_REQUEST);
		vdev_until(b->v, hear(b, &h, NULL));
		offer(b, 1);
		refused += h.op == VSOCK_OP_RST;
		if (h.op == VSOCK_OP_RST)
			continue;
		open++;
		peers[n] = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		n += peers[n] >= 0;
	}
	assert_true(open > 10 && refused > 10);
	fd = dial(b);
	assert_true(fd >= 75 && fd < 79);
	vdev_until(b->v, recv(fd, &c, 1, 0) == 0);
	close(fd);
	while (n)
		close(peers[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close_listener(b, l, 52);
}

static void malformed_queues_need_a_reset(void **state)
{
	struct bench *b = *state;

	start(b, 4);
	vdev_offer1(b->v, VSOCK_TX, UINT64_C(1) << 40, 44, false);
	virtio_kick(b->v->dev, VSOCK_TX);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
	start(b, 0);
	vdev_offer1(b->v, VSOCK_RX, b->rx_at, HDR, true); /* no byte of data fits */
	say(b, 5, 6, VSOCK_OP_RESPONSE);
	assert_true(virtio_status(b->v->dev) & VIRTIO_STATUS_NEEDS_RESET);
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

/* -- connections that another process makes --------------------------------------------------- */

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

static int set_up_asked(void **state)
{
	int pair[2], ret = set_up(state);
	struct bench *b = *state;

	if (ret < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -1;
	b->asked = pair[1];
	return vsock_ask_over(b->vs, pair[0]);
}

static int tear_down_asked(void **state)
{
	struct bench *b = *state;

	if (b->asked >= 0)
		close(b->asked);
	return tear_down(state);
}

static struct handover_ask the_question(struct bench *b)
{
	struct handover_ask ask;

	assert_int_equal(recv(b->asked, &ask, sizeof(ask), 0), sizeof(ask));
	return ask;
}

/* @fd is given away; -1: @error. */
static void answer(struct bench *b, uint32_t serial, int fd, int error)
{
	struct handover_answer a = {serial, error};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {&a, sizeof(a)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
	}
	assert_int_equal(sendmsg(b->asked, &msg, 0), sizeof(a));
	if (fd >= 0)
		close(fd);
}

static void pair_of_sockets(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
}

/* Nobody has the other end any more: the device has let go of what it was given. */
static void is_closed(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
}

static void answers_may_come_late_and_in_any_order(void **state)
{
	struct bench *b = *state;
	struct handover_ask one, two;
	int first[2], second[2];
	char c;

	start(b, 32);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	say(b, 1001, UINT32_MAX, VSOCK_OP_REQUEST);
	say(b, 1002, 54, VSOCK_OP_REQUEST);
	expect_nothing(b);
	one = the_question(b);
	two = the_question(b);
	assert_int_equal(one.port, 52);
	assert_int_equal(two.port, UINT32_MAX);
	pair_of_sockets(first);
	pair_of_sockets(second);
	answer(b, two.serial, second[0], 0);
	expect(b, 1001, UINT32_MAX, VSOCK_OP_RESPONSE);
	answer(b, the_question(b).serial, -1, -ECONNREFUSED);
	expect(b, 1002, 54, VSOCK_OP_RST);
	answer(b, one.serial, first[0], 0);
	expect(b, 1000, 52, VSOCK_OP_RESPONSE);
	say_data(b, 1000, 52, "x", 1);
	assert_int_equal(recv(first[1], &c, 1, 0), 1);
	/* Said twice, or of nobody's: closed. */
	pair_of_sockets(second);
	answer(b, one.serial, second[0], 0);
	expect_nothing(b);
	is_closed(second[1]);
	close(first[1]);
}

static void who_gives_up_before_the_answer_gets_none(void **state)
{
	struct bench *b = *state;
	int pair[2];

	start(b, 32);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	say(b, 1000, 52, VSOCK_OP_RST);
	pair_of_sockets(pair);
	answer(b, the_question(b).serial, pair[0], 0);
	expect_nothing(b);
	is_closed(pair[1]);
	/* So with what is no way to begin. */
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	say_data(b, 1000, 52, "too soon", 8);
	expect(b, 1000, 52, VSOCK_OP_RST);
	pair_of_sockets(pair);
	answer(b, the_question(b).serial, pair[0], 0);
	expect_nothing(b);
	is_closed(pair[1]);
	assert_int_equal(b->vs->conn_count, 0);
}

static void questions_are_bounded(void **state)
{
	struct bench *b = *state;

	start(b, 32);
	for (uint32_t i = 0; i < VSOCK_ASKS_MAX; i++)
		say(b, 1000 + i, 52, VSOCK_OP_REQUEST);
	expect_nothing(b);
	say(b, 999, 52, VSOCK_OP_REQUEST);
	expect(b, 999, 52, VSOCK_OP_RST);
	/* Nobody will answer any more. */
	close(b->asked);
	b->asked = -1;
	for (uint32_t i = 0; i < VSOCK_ASKS_MAX; i++) {
		struct vsock_hdr h = {0};

		vdev_until(b->v, hear(b, &h, NULL));
		assert_int_equal(h.op, VSOCK_OP_RST);
		offer(b, 1);
	}
	say(b, 999, 53, VSOCK_OP_REQUEST);
	expect(b, 999, 53, VSOCK_OP_RST);
	assert_int_equal(b->vs->ask.count, 0);
}

static void a_device_reset_forgets_questions(void **state)
{
	struct bench *b = *state;
	uint32_t serial;
	int pair[2];

	start(b, 32);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	serial = the_question(b).serial;
	b->v->dev->ops->reset(b->v->dev);
	assert_int_equal(b->vs->ask.count, 0);
	pair_of_sockets(pair);
	answer(b, serial, pair[0], 0);
	expect_nothing(b);
	is_closed(pair[1]);
	assert_int_equal(b->vs->conn_count, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
/* Once more, with a keeper. */
#define K(name)                                                                \
	{                                                                      \
#name " (keeper)", name, set_up_keeper, tear_down_keeper, NULL \
	}
#define A(name) cmocka_unit_test_setup_teardown(name, set_up_asked, tear_down_asked)
	const struct CMUnitTest tests[] = {
		T(the_guest_connects),
		T(nobody_listens),
		T(the_host_connects),
		T(the_guest_refuses),
		T(wrong_lines_are_hung_up_on),
		T(without_a_driver_nobody_gets_through),
		T(half_closed_both_ways),
		T(reset_closes_all),
		T(a_reset_after_a_close_loses_nothing),
		T(a_reset_is_told_after_what_was_taken),
		T(a_violation_loses_nothing),
		T(a_device_reset_loses_nothing),
		T(the_end_needs_no_buffer_of_the_guests),
		T(who_never_reads_is_given_up),
		T(the_end_of_the_device_loses_nothing),
		T(the_host_may_go_before_the_guest_answers),
		T(a_guest_that_never_answers_is_given_up),
		T(a_half_close_may_become_a_whole_one),
		T(no_more_than_the_guest_can_hold),
		T(what_the_host_does_not_take_is_kept),
		T(who_ignores_credit_is_cut_off),
		T(the_host_goes_while_the_guest_sends),
		T(packets_of_no_connection_are_refused),
		T(a_second_request_ends_the_connection),
		T(answers_are_bounded),
		T(connections_are_bounded),
		T(without_a_descriptor_the_host_waits),
		T(some_descriptors_are_spared),
		T(malformed_queues_need_a_reset),
		T(wrong_configurations_are_told),
		K(the_guest_connects),
		K(nobody_listens),
		K(half_closed_both_ways),
		K(the_guest_refuses),
		A(answers_may_come_late_and_in_any_order),
		A(who_gives_up_before_the_answer_gets_none),
		A(questions_are_bounded),
		A(a_device_reset_forgets_questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
