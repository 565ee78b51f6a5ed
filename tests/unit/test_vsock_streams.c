/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thousand streams from each side, several at a time, each with data of a random length in both
 * directions, random pauses and one of the ways in which either side may end: what arrived, in
 * which order, and what the end looked like. The device and the sockets are real; the guest's
 * driver and its sockets, which keep to their credit as Linux does, are the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vsock_bench.h"

#define STREAMS	   1000u /* from each side */
#define AT_ONCE	   24u
#define ROOM	   20000u /* of a guest's socket */
#define HOST_PORT  52u
#define GUEST_PORT 4000u /* where the guest listens */

/* How the guest's program ends. CLOSE_AND_RESET: as Linux after 8 s without an answer. */
enum guest_end { GUEST_HALF, GUEST_CLOSE, GUEST_CLOSE_AND_RESET, GUEST_RESET, GUEST_ENDS };
/* How the host's does. QUITS: with what comes unread. */
enum host_end { HOST_HALF, HOST_CLOSE, HOST_QUITS, HOST_ENDS };

struct stream {
	bool used, by_guest;
	uint32_t seed, guest_port, host_port;
	int fd; /* -1: not accepted yet, or closed */
	enum guest_end guest_end;
	enum host_end host_end;
	uint32_t line; /* of the host's CONNECT: what of "OK n\n" came */
	bool line_done, open;
	/* To the host. */
	uint32_t up_len, up_sent, up_got, device_alloc, device_taken;
	bool up_shut, up_ended, guest_gone;
	int up_end; /* what the host read last: 0 or -errno */
	/* To the guest. */
	uint32_t down_len, down_sent, down_got, down_read; /* by the guest, and by its program */
	bool down_shut, down_ended, host_gone;
	uint32_t told;	/* fwd_cnt, as it was sent last */
	uint32_t rests; /* turns to sit out */
};

struct run {
	struct bench *b;
	struct stream s[AT_ONCE];
	uint32_t random, begun[2], done, next_port;
	int listening;
	unsigned int resets, eofs;
};

static uint32_t dice(struct run *r, uint32_t n)
{
	r->random = r->random * 1664525u + 1013904223u;
	return (r->random >> 8) % n;
}

static uint8_t byte(const struct stream *s, uint32_t at, bool up)
{
	return (uint8_t)(at * 7u + (at >> 8) * 13u + s->seed * 31u + up);
}

static void fill_bytes(const struct stream *s, uint8_t *to, uint32_t at, uint32_t n, bool up)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = byte(s, at + i, up);
}

static void check_bytes(const struct stream *s, const uint8_t *got, uint32_t at, uint32_t n,
			bool up)
{
	for (uint32_t i = 0; i < n; i++)
		if (got[i] != byte(s, at + i, up))
			fail_msg("stream %u, %s: byte %u is wrong", s->seed, up ? "up" : "down",
				 at + i);
}

static uint32_t some_length(struct run *r)
{
	static const uint32_t most[] = {1, 100, 5000, 60000, 400000};

	return dice(r, most[dice(r, 5)]);
}

static struct stream *free_place(struct run *r)
{
	for (unsigned int i = 0; i < AT_ONCE; i++)
		if (!r->s[i].used)
			return &r->s[i];
	return NULL;
}

static void guest_says(struct run *r, struct stream *s, uint16_t op, uint32_t flags)
{
	struct vsock_hdr h = header(s->guest_port, s->host_port, op);

	h.flags = flags;
	h.buf_alloc = ROOM;
	h.fwd_cnt = s->told = s->down_read;
	give(r->b, &h, NULL, 0);
}

static void begin(struct run *r)
{
	bool by_guest = r->begun[1] < STREAMS && (r->begun[0] == STREAMS || dice(r, 2));
	struct stream *s = free_place(r);
	char line[32];
	int n;

	if (!s || r->begun[by_guest] == STREAMS)
		return;
	r->begun[by_guest]++;
	*s = (struct stream){.used = true, .by_guest = by_guest, .fd = -1, .up_end = 1};
	s->seed = r->begun[0] + r->begun[1];
	s->up_len = some_length(r);
	s->down_len = some_length(r);
	s->guest_end = dice(r, GUEST_ENDS);
	s->host_end = dice(r, HOST_ENDS);
	if (by_guest) {
		s->guest_port = r->next_port++;
		s->host_port = HOST_PORT;
		s->line_done = true;
		guest_says(r, s, VSOCK_OP_REQUEST, 0);
		s->fd = accept4(r->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		assert_true(s->fd >= 0);
		return;
	}
	/* Each to a port of its own, so that its request can be told. */
	s->guest_port = r->next_port++;
	s->fd = dial(r->b);
	n = snprintf(line, sizeof(line), "CONNECT %u\n", s->guest_port);
	assert_int_equal(send(s->fd, line, (size_t)n, 0), n);
}

static struct stream *stream_of(struct run *r, uint32_t guest_port)
{
	for (unsigned int i = 0; i < AT_ONCE; i++)
		if (r->s[i].used && r->s[i].guest_port == guest_port)
			return &r->s[i];
	return NULL;
}

/* -- the guest -------------------------------------------------------------------------------- */

static void guest_hears(struct run *r)
{
	static uint8_t data[RX_BYTES];
	struct vsock_hdr h;

	while (hear(r->b, &h, data)) {
		struct stream *s = stream_of(r, h.dst_port);

		offer(r->b, 1);
		/* For one that it has reset itself: under way. */
		if (!s || s->guest_gone)
			continue;
		s->device_alloc = h.buf_alloc;
		s->device_taken = h.fwd_cnt;
		switch (h.op) {
		case VSOCK_OP_REQUEST:
			s->host_port = h.src_port;
			s->open = true;
			guest_says(r, s, VSOCK_OP_RESPONSE, 0);
			break;
		case VSOCK_OP_RESPONSE:
			s->open = true;
			break;
		case VSOCK_OP_RW:
			assert_false(s->down_ended);
			check_bytes(s, data, s->down_got, h.len, false);
			s->down_got += h.len;
			assert_true(s->down_got - s->told <= ROOM);
			break;
		case VSOCK_OP_SHUTDOWN:
			if (h.flags & VSOCK_SHUT_SEND)
				s->down_ended = true;
			if (h.flags & VSOCK_SHUT_RECEIVE)
				s->host_gone = true;
			break;
		case VSOCK_OP_RST:
			/* The answer to a close; nothing else is a reason. */
			assert_true(s->up_shut && s->guest_end != GUEST_HALF);
			s->guest_gone = true;
			break;
		case VSOCK_OP_CREDIT_REQUEST:
			guest_says(r, s, VSOCK_OP_CREDIT_UPDATE, 0);
			break;
		default:
			assert_int_equal(h.op, VSOCK_OP_CREDIT_UPDATE);
			break;
		}
	}
}

static void guest_ends(struct run *r, struct stream *s)
{
	s->up_shut = true;
	if (s->guest_end == GUEST_HALF) {
		guest_says(r, s, VSOCK_OP_SHUTDOWN, VSOCK_SHUT_SEND);
		return;
	}
	if (s->guest_end != GUEST_RESET)
		guest_says(r, s, VSOCK_OP_SHUTDOWN, VSOCK_SHUT_BOTH);
	if (s->guest_end != GUEST_CLOSE) {
		guest_says(r, s, VSOCK_OP_RST, 0);
		s->guest_gone = true;
	}
}

static void guest_step(struct run *r, struct stream *s)
{
	static uint8_t block[16384];
	uint32_t n = 1 + dice(r, sizeof(block)), credit;
	struct vsock_hdr h;

	if (!s->open || s->guest_gone)
		return;
	if (s->down_read != s->down_got && !dice(r, 4))
		s->down_read += 1 + dice(r, s->down_got - s->down_read);
	if (s->down_read != s->told && dice(r, 2))
		guest_says(r, s, VSOCK_OP_CREDIT_UPDATE, 0);
	if (s->up_shut) {
		/* Both halves are done: Linux answers with a reset when it closes. */
		if (s->guest_end == GUEST_HALF && s->down_ended && s->host_gone &&
		    s->down_read == s->down_got) {
			guest_says(r, s, VSOCK_OP_RST, 0);
			s->guest_gone = true;
		}
		return;
	}
	credit = s->device_alloc - (s->up_sent - s->device_taken);
	if (n > credit)
		n = credit;
	if (n > s->up_len - s->up_sent)
		n = s->up_len - s->up_sent;
	if (n && !s->host_gone) {
		fill_bytes(s, block, s->up_sent, n, true);
		h = header(s->guest_port, s->host_port, VSOCK_OP_RW);
		h.len = n;
		h.buf_alloc = ROOM;
		h.fwd_cnt = s->told = s->down_read;
		give(r->b, &h, block, n);
		s->up_sent += n;
	}
	if (s->up_sent == s->up_len || s->host_gone)
		guest_ends(r, s);
}

/* -- the host --------------------------------------------------------------------------------- */

static void read_line(struct stream *s)
{
	char c;

	while (!s->line_done && recv(s->fd, &c, 1, 0) == 1) {
		assert_int_equal(c, s->line < 3 ? "OK "[s->line] : c);
		s->line++;
		s->line_done = c == '\n';
	}
}

static void host_reads(struct run *r, struct stream *s)
{
	static uint8_t block[32768];
	ssize_t n = recv(s->fd, block, 1 + dice(r, sizeof(block)), 0);

	if (n > 0) {
		check_bytes(s, block, s->up_got, (uint32_t)n, true);
		s->up_got += (uint32_t)n;
	} else if (n == 0 || errno != EAGAIN) {
		s->up_end = n < 0 ? -errno : 0;
		s->up_ended = true;
	}
}

static void host_writes(struct run *r, struct stream *s)
{
	static uint8_t block[32768];
	uint32_t n = 1 + dice(r, sizeof(block));
	ssize_t done;

	if (n > s->down_len - s->down_sent)
		n = s->down_len - s->down_sent;
	fill_bytes(s, block, s->down_sent, n, false);
	done = n ? send(s->fd, block, n, MSG_NOSIGNAL) : 0;
	if (done > 0)
		s->down_sent += (uint32_t)done;
	/* The guest takes no more. */
	if (done < 0 && errno != EAGAIN)
		s->down_len = s->down_sent;
	if (s->down_sent < s->down_len)
		return;
	s->down_shut = true;
	if (s->host_end == HOST_HALF)
		shutdown(s->fd, SHUT_WR);
}

static void host_step(struct run *r, struct stream *s)
{
	if (s->fd < 0)
		return;
	read_line(s);
	if (!s->down_shut && dice(r, 2))
		host_writes(r, s);
	if (s->line_done && !s->up_ended && dice(r, 2))
		host_reads(r, s);
	if (s->down_shut && (s->up_ended || s->host_end == HOST_QUITS)) {
		close(s->fd);
		s->fd = -1;
	}
}

/* -- all of it -------------------------------------------------------------------------------- */

static void judge(struct run *r, const struct stream *s)
{
	if (s->up_ended) {
		/* All that the guest had sent, and then the end, which is a clean one if it said
		 * so. */
		if (s->up_got != s->up_sent)
			fail_msg("stream %u: %u bytes of %u reached the host (guest %d, host %d)",
				 s->seed, s->up_got, s->up_sent, s->guest_end, s->host_end);
		if (s->guest_end != GUEST_RESET)
			assert_int_equal(s->up_end, 0);
		else
			assert_true(s->up_end == 0 || s->up_end == -ECONNRESET);
		r->resets += s->up_end != 0;
		r->eofs += s->up_end == 0;
	}
	/* A guest that only sends no more still takes all. */
	if (s->guest_end == GUEST_HALF) {
		assert_true(s->down_ended);
		if (s->down_got != s->down_sent)
			fail_msg("stream %u: %u bytes of %u reached the guest", s->seed,
				 s->down_got, s->down_sent);
	}
}

static void turn(struct run *r)
{
	begin(r);
	guest_hears(r);
	for (unsigned int i = 0; i < AT_ONCE; i++) {
		struct stream *s = &r->s[i];

		if (!s->used)
			continue;
		if (s->rests) {
			s->rests--;
			continue;
		}
		if (dice(r, 40) == 0)
			s->rests = dice(r, 60);
		guest_step(r, s);
		host_step(r, s);
		if (s->fd < 0 && s->guest_gone) {
			judge(r, s);
			s->used = false;
			r->done++;
		}
	}
	vdev_turn(r->b->v);
}

static void a_thousand_streams_from_each_side(void **state)
{
	struct bench *b = *state;
	struct run r = {.b = b, .random = 20240229, .next_port = GUEST_PORT};
	uint32_t last = 0, idle = 0;

	start(b, 48);
	r.listening = listener(b, HOST_PORT);
	while (r.done < 2 * STREAMS) {
		turn(&r);
		idle = r.done == last ? idle + 1 : 0;
		last = r.done;
		if (idle > 200000)
			fail_msg("%u streams have ended, and no more do", r.done);
	}
	vdev_until(b->v, b->vs->conn_count == 0);
	assert_int_equal(b->vs->timed, 0);
	assert_int_equal(b->vs->dev.counters.requests, 2 * STREAMS);
	assert_true(r.resets > 0 && r.eofs > 0);
	close_listener(b, r.listening, HOST_PORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_thousand_streams_from_each_side, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
