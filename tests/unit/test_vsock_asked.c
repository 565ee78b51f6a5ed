/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: connections that another process makes for it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "handover.h"
#include "vsock_bench.h"

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
#define A(name) cmocka_unit_test_setup_teardown(name, set_up_asked, tear_down_asked)
	const struct CMUnitTest tests[] = {
		A(answers_may_come_late_and_in_any_order),
		A(who_gives_up_before_the_answer_gets_none),
		A(questions_are_bounded),
		A(a_device_reset_forgets_questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
