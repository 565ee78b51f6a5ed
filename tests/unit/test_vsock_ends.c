/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: what was sent before an end arrives, in both directions. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vsock_bench.h"

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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
