/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See memcached.h; the requests are those of memcached's protocol.txt. A key belongs to one
 * connection, whose requests are answered one after the other. So what a get has to bring is known
 * when it is sent, to the byte.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/linux.h"
#include "cli/bench/memcached.h"

#define PORT	    11211
#define KEYS	    128 /* of a connection */
#define VALUE	    200 /* bytes */
#define SET_EACH    10	/* requests, one of which is a set */
#define TEXT	    (VALUE + 64)
#define PATIENCE_NS (UINT64_C(60) * 1000000000) /* without an answer; the lab is slow */
#define SPIN_NS	    100000			/* before one is due, for a sleep may be late */

struct request {
	uint64_t due_ns;
	uint32_t key, version; /* of the value that is set, or that has to come */
	bool set;
};

struct bench_memcached_connection {
	int fd;
	uint32_t number;
	struct request *requests;
	uint32_t answered, sent, n, room; /* of them, in this order */
	uint32_t versions[KEYS];	  /* of the values, once all before is answered */
	char out[TEXT];			  /* the rest of a request that was sent in part */
	size_t out_at, out_len;
	char in[16384];
	size_t in_len;
};

/* -- what is asked, and what has to come ------------------------------------------------------ */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Writes a value: letters that no other key or version has in this order. */
static void write_value(char *to, const struct bench_memcached_connection *c,
			const struct request *r)
{
	uint64_t state = ((uint64_t)r->version << 32 | r->key << 8 | c->number) + 1;

	for (size_t i = 0; i < VALUE; i++)
		to[i] = (char)('a' + next_random(&state) % 26);
}

static size_t write_request(char text[TEXT], const struct bench_memcached_connection *c,
			    const struct request *r)
{
	size_t n;

	if (!r->set)
		return (size_t)snprintf(text, TEXT, "get c%u-%03u\r\n", c->number, r->key);
	n = (size_t)snprintf(text, TEXT, "set c%u-%03u 0 0 %d\r\n", c->number, r->key, VALUE);
	write_value(text + n, c, r);
	n += VALUE;
	return n + (size_t)snprintf(text + n, TEXT - n, "\r\n");
}

static size_t write_answer(char text[TEXT], const struct bench_memcached_connection *c,
			   const struct request *r)
{
	size_t n;

	if (r->set)
		return (size_t)snprintf(text, TEXT, "STORED\r\n");
	n = (size_t)snprintf(text, TEXT, "VALUE c%u-%03u 0 %d\r\n", c->number, r->key, VALUE);
	write_value(text + n, c, r);
	n += VALUE;
	return n + (size_t)snprintf(text + n, TEXT - n, "\r\nEND\r\n");
}

/* Adds a request, which is sent as soon as the connection takes it. */
static void add(struct bench_memcached *m, struct bench_memcached_connection *c, uint32_t key,
		bool set, uint64_t due_ns)
{
	c->versions[key] += set;
	c->requests[c->n++] = (struct request){
		.due_ns = due_ns, .key = key, .version = c->versions[key], .set = set};
	m->unsaid++;
}

/* -- a connection ----------------------------------------------------------------------------- */

static int lost(struct bench_memcached *m, ssize_t n)
{
	return bench_fail(m->run, "memcached: %s",
			  n < 0 ? strerror(errno) : "it has closed a connection");
}

/* Sends what can be sent. */
static int send_some(struct bench_memcached *m, struct bench_memcached_connection *c)
{
	ssize_t n;

	for (;;) {
		if (c->out_at == c->out_len) {
			if (c->sent == c->n)
				return 0;
			c->out_len = write_request(c->out, c, &c->requests[c->sent++]);
			c->out_at = 0;
		}
		n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return lost(m, n);
		if (n < 0)
			return 0;
		c->out_at += (size_t)n;
	}
}

/* Takes the answers that are whole. @round: NULL: their times do not count. */
static int take_answers(struct bench_memcached *m, struct bench_memcached_connection *c,
			struct bench_series *round)
{
	const uint64_t now = now_ns();
	size_t at = 0, len, there;
	char want[TEXT];

	while (c->answered < c->sent) {
		const struct request *r = &c->requests[c->answered];

		len = write_answer(want, c, r);
		there = c->in_len - at < len ? c->in_len - at : len;
		if (memcmp(c->in + at, want, there) != 0)
			return bench_fail(m->run,
					  "memcached: the answer to \"%s c%u-%03u\" is not what "
					  "it has to be",
					  r->set ? "set" : "get", c->number, r->key);
		if (there < len)
			break;
		if (round && bench_series_add(round, now - r->due_ns) < 0)
			return bench_fail(m->run, "out of memory");
		at += len;
		c->answered++;
		m->unsaid--;
		m->heard_ns = now;
	}
	if (c->answered == c->sent && at < c->in_len)
		return bench_fail(m->run, "memcached: it has answered what was not asked");
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
	return 0;
}

static int receive_some(struct bench_memcached *m, struct bench_memcached_connection *c,
			struct bench_series *round)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return lost(m, n);
	if (n < 0)
		return 0;
	c->in_len += (size_t)n;
	return take_answers(m, c, round);
}

/* -- all of them ------------------------------------------------------------------------------ */

/* Serves the connections once, and waits for that until @until_ns at most, as now_ns(). */
static int turn(struct bench_memcached *m, uint64_t until_ns, struct bench_series *round)
{
	struct pollfd p[BENCH_MEMCACHED_CONNECTIONS + 1];
	struct timespec wait = {.tv_sec = 0};
	const uint64_t now = now_ns();
	int ret = 0;

	for (uint32_t i = 0; i < m->n; i++) {
		const struct bench_memcached_connection *c = &m->connections[i];
		const bool more = c->sent < c->n || c->out_at < c->out_len;

		p[i] = (struct pollfd){.fd = c->fd,
				       .events = (short)(POLLIN | (more ? POLLOUT : 0))};
	}
	p[m->n] = (struct pollfd){.fd = m->run->stop->fd, .events = POLLIN};
	if (until_ns > now + SPIN_NS) {
		wait.tv_sec = (time_t)((until_ns - now - SPIN_NS) / 1000000000);
		wait.tv_nsec = (long)((until_ns - now - SPIN_NS) % 1000000000);
	}
	if (ppoll(p, m->n + 1, &wait, NULL) < 0 && errno != EINTR)
		return bench_fail(m->run, "poll: %s", strerror(errno));
	for (uint32_t i = 0; i < m->n && ret == 0; i++) {
		if (p[i].revents & (POLLIN | POLLHUP | POLLERR))
			ret = receive_some(m, &m->connections[i], round);
		if (ret == 0 && p[i].revents & POLLOUT)
			ret = send_some(m, &m->connections[i]);
	}
	return ret;
}

/* Waits until all is answered, or the run is stopped. */
static int wait_for_all(struct bench_memcached *m, struct bench_series *round)
{
	int ret = 0;

	m->heard_ns = now_ns();
	while (ret == 0 && m->unsaid && !bench_stopped(m->run)) {
		if (now_ns() > m->heard_ns + PATIENCE_NS)
			return bench_fail(m->run, "memcached does not answer");
		ret = turn(m, now_ns() + 100000000, round);
	}
	return ret;
}

/* Connects, as soon as somebody listens. */
static int dial(struct bench_memcached *m, struct bench_memcached_connection *c)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	const int one = 1;

	inet_pton(AF_INET, BENCH_LINUX_ADDRESS, &at.sin_addr);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
	    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0)
		return 0;
	return bench_fail(m->run, "memcached: a connection: %s", strerror(errno));
}

static int open_one(struct bench_memcached *m, uint32_t requests)
{
	struct bench_memcached_connection *c = &m->connections[m->n];

	c->fd = -1;
	c->number = m->n++;
	/* The values are set first. */
	c->room = KEYS + requests;
	c->requests = calloc(c->room, sizeof(*c->requests));
	if (!c->requests)
		return bench_fail(m->run, "out of memory");
	if (dial(m, c) < 0)
		return -1;
	for (uint32_t key = 0; key < KEYS; key++)
		add(m, c, key, true, 0);
	return send_some(m, c);
}

int bench_memcached_open(struct bench_memcached *m, struct bench_run *run, uint32_t requests)
{
	const uint32_t each = requests / BENCH_MEMCACHED_CONNECTIONS + 1;
	int ret = 0;

	*m = (struct bench_memcached){.run = run, .random = run->seed + 1};
	m->connections = calloc(BENCH_MEMCACHED_CONNECTIONS, sizeof(*m->connections));
	if (!m->connections)
		return bench_fail(run, "out of memory");
	while (m->n < BENCH_MEMCACHED_CONNECTIONS && ret == 0)
		ret = open_one(m, each);
	if (ret == 0)
		ret = wait_for_all(m, NULL);
	return ret;
}

int bench_memcached_ask(struct bench_memcached *m, struct bench_offered *o,
			struct bench_series *round)
{
	const uint64_t start = now_ns();
	int ret = 0;

	for (uint32_t i = 0; i < o->n && ret == 0 && !bench_stopped(m->run); i++) {
		struct bench_memcached_connection *c = &m->connections[i % m->n];
		const uint64_t due = start + bench_offered_next(o);

		while (ret == 0 && now_ns() < due && !bench_stopped(m->run))
			ret = turn(m, due, round);
		add(m, c, (uint32_t)(next_random(&m->random) % KEYS),
		    next_random(&m->random) % SET_EACH == 0, due);
		if (ret == 0)
			ret = send_some(m, c);
	}
	if (ret == 0)
		ret = wait_for_all(m, round);
	if (ret == 0 && !round->n)
		ret = bench_nothing(m->run);
	return ret;
}

void bench_memcached_close(struct bench_memcached *m)
{
	for (uint32_t i = 0; i < m->n; i++) {
		if (m->connections[i].fd >= 0)
			close(m->connections[i].fd);
		free(m->connections[i].requests);
	}
	free(m->connections);
	*m = (struct bench_memcached){.run = m->run};
}
