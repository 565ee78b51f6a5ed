/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: credit, and a guest that lies or asks for more than there is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vsock_bench.h"

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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
