/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of the socket device: from a Unix socket to a port of the guest's and back, with the
 * standard's credit (virtio 1.2, section 5.10.6.3): nobody sends more than the other side has said
 * it can hold. A guest that does is cut off; one that lies about itself gets nothing, or too much
 * for itself.
 *
 * Data that the host does not take at once is kept. Data that the guest cannot take is left in the
 * Unix socket, whose other end then waits.
 *
 * An end comes after all that was sent before it, in both directions. So a connection that the
 * guest has done with (it has reset it, or the device) parts from the guest if there is something
 * kept: it leaves the table, and with it the guest's ports, and stays until the host has taken all,
 * has gone, or has taken nothing for VSOCK_PATIENCE_S. It counts as a connection meanwhile.
 *
 * The end itself: a guest that has shut its sending down, and only such a one, gives the host an
 * end of file. Otherwise the socket is closed with what the guest has not taken still in it, and
 * the host's next read behind the data, or write, fails: ECONNRESET, or EPIPE. A Unix socket has
 * no other way to say so; a host that has sent nothing that the guest did not take sees the same
 * end of file in both cases.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/vsock_impl.h"

#define LINE_MAX_BYTES 32 /* of "CONNECT 4294967295\n", with room for blanks */

/* -- the table -------------------------------------------------------------------------------- */

static struct vsock_conn **bucket(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	uint32_t hash = (guest_port * 31u) ^ host_port ^ (host_port >> 8);

	return &vs->table[hash % VSOCK_HASH];
}

static struct vsock_conn *find(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_conn *c = *bucket(vs, guest_port, host_port);

	while (c && (c->guest_port != guest_port || c->host_port != host_port))
		c = c->next;
	return c;
}

static void insert(struct vsock *vs, struct vsock_conn *c)
{
	struct vsock_conn **b = bucket(vs, c->guest_port, c->host_port);

	c->next = *b;
	*b = c;
}

static void remove_from(struct vsock_conn **list, struct vsock_conn *c)
{
	while (*list && *list != c)
		list = &(*list)->next;
	if (*list)
		*list = c->next;
}

/* Sets the time at which the connection will be given up, counted from now on, or takes it away. */
static void set_patience(struct vsock *vs, struct vsock_conn *c, bool on)
{
	vs->timed -= c->give_up_ns != 0;
	vs->timed += on;
	c->give_up_ns = on ? clock_monotonic_ns() + VSOCK_PATIENCE_S * UINT64_C(1000000000) : 0;
	if (on)
		vsock_watch_time(vs);
}

/* Takes it off whatever list has it. */
static void leave(struct vsock *vs, struct vsock_conn *c)
{
	if (c->state == CONN_HANDSHAKE)
		remove_from(&vs->handshakes, c);
	else if (c->state == CONN_PARTED)
		remove_from(&vs->parted, c);
	else
		remove_from(bucket(vs, c->guest_port, c->host_port), c);
	vsock_unlist(vs, c);
}

static void destroy(struct vsock *vs, struct vsock_conn *c)
{
	leave(vs, c);
	set_patience(vs, c, false);
	if (c->fd >= 0)
		close(c->fd); /* which takes it out of the epoll set */
	free(c->buffer);
	free(c);
	vs->conn_count--;
}

/*
 * Gives the host an end of file: the guest has sent all, the host has been given all, and the guest
 * takes no more. That holds also if the host has sent something in vain. (That would make a reset
 * of it.)
 */
static void end_cleanly(struct vsock_conn *c)
{
	char scrap[4096];

	if (c->fd < 0)
		return;
	shutdown(c->fd, SHUT_RDWR); /* from here on nothing comes into it */
	while (recv(c->fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0)
		;
	close(c->fd);
	c->fd = -1;
}

/* Ends a connection, with all delivered, or given up. */
static void end(struct vsock *vs, struct vsock_conn *c)
{
	if (c->shut & VSOCK_SHUT_SEND && !c->torn && !c->buffer)
		end_cleanly(c);
	destroy(vs, c);
}

/* Parts the connection from the guest, which has done with it, or is to have: see above. @c may be
 * gone afterwards. */
static void part(struct vsock *vs, struct vsock_conn *c)
{
	if (!c->buffer) {
		end(vs, c);
		return;
	}
	leave(vs, c);
	c->state = CONN_PARTED;
	c->want = 0;
	c->next = vs->parted;
	vs->parted = c;
	shutdown(c->fd, SHUT_RD); /* nobody takes what the host sends */
	set_patience(vs, c, true);
}

void vsock_conn_reset(struct vsock *vs)
{
	vsock_ask_reset(vs);
	for (unsigned int i = 0; i < VSOCK_HASH; i++)
		while (vs->table[i])
			part(vs, vs->table[i]);
	while (vs->handshakes)
		destroy(vs, vs->handshakes);
}

/* Takes @fd, also when it fails. */
static struct vsock_conn *make(struct vsock *vs, int fd, enum conn_state state)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	struct vsock_conn *c = NULL;

	if (vs->conn_count < VSOCK_CONNS_MAX && fd < vs->fd_limit)
		c = calloc(1, sizeof(*c));
	if (c) {
		c->fd = fd;
		c->state = state;
		ev.data.ptr = c;
		if (epoll_ctl(vs->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0) {
			vs->conn_count++;
			return c;
		}
		free(c);
	}
	close(fd);
	return NULL;
}

/* -- answers ---------------------------------------------------------------------------------- */

static void want(struct vsock *vs, struct vsock_conn *c, uint32_t what)
{
	c->want |= what;
	vsock_list(vs, c);
}

static void answer_rst(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	unsigned int i = (vs->rst_first + vs->rst_count) % VSOCK_RST_MAX;

	/* There is room for answers to packets, which are taken only while there is. A connection
	 * that is given up without a packet, when there is no room, is told with its next
	 * packet. */
	if (vs->rst_count == VSOCK_RST_MAX)
		return;
	vs->rst[i] = (struct vsock_rst){guest_port, host_port};
	vs->rst_count++;
}

static void refuse(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	answer_rst(vs, guest_port, host_port);
	virtio_count(&vs->dev.counters.errors, 1);
}

/* Returns how much more the guest can hold. */
static uint32_t credit(const struct vsock_conn *c)
{
	uint32_t flying = c->sent - c->peer_taken;

	return flying < c->peer_alloc ? c->peer_alloc - flying : 0;
}

static bool has_data(const struct vsock_conn *c)
{
	return c->state == CONN_OPEN && c->readable && !c->eof && !(c->shut & VSOCK_SHUT_RECEIVE);
}

bool vsock_conn_has_output(const struct vsock_conn *c)
{
	return c->want != 0 || (has_data(c) && credit(c) != 0);
}

/* -- from the guest --------------------------------------------------------------------------- */

/* Throws away what comes from now on, and tells the guest: the host takes no more, or has gone. */
static void host_is_deaf(struct vsock *vs, struct vsock_conn *c)
{
	c->deaf = true;
	c->taken = c->came;
	free(c->buffer);
	c->buffer = NULL;
	c->shut_told |= VSOCK_SHUT_RECEIVE;
	want(vs, c, WANT_SHUTDOWN);
}

static void told(struct vsock *vs, struct vsock_conn *c)
{
	/* The guest may believe that this much less is free than there is. */
	if (c->taken - c->taken_told >= VSOCK_BUFFER / 4)
		want(vs, c, WANT_CREDIT_UPDATE);
}

/* Ends what the guest has shut down, once all is delivered (5.10.6.4). */
static void end_if_done(struct vsock *vs, struct vsock_conn *c)
{
	if (c->came != c->taken) {
		if (c->shut == VSOCK_SHUT_BOTH && !c->give_up_ns)
			set_patience(vs, c, true);
		return;
	}
	if (c->shut == VSOCK_SHUT_BOTH) {
		set_patience(vs, c, false);
		/* The host need not wait until the guest takes its answer. */
		if (!c->torn)
			end_cleanly(c);
		want(vs, c, WANT_RST);
	} else if (c->shut & VSOCK_SHUT_SEND && !c->deaf) {
		shutdown(c->fd, SHUT_WR);
	}
}

/* Tries again later to flush. The kernel was short of memory, and will not say when it is no
 * more. */
static void flush_later(struct vsock *vs)
{
	vs->flush_waits = true;
	vsock_watch_time(vs);
}

/* Sends as much of the buffer as the host takes now. Returns false if it takes no more at all. */
static bool push_out(struct vsock_conn *c, bool *later)
{
	while (c->buffer) {
		uint32_t at = c->taken % VSOCK_BUFFER, left = c->came - c->taken;
		uint32_t n = left < VSOCK_BUFFER - at ? left : VSOCK_BUFFER - at;
		ssize_t done = send(c->fd, c->buffer + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (done < 0 && errno == EINTR)
			continue;
		*later = done < 0 && (errno == ENOBUFS || errno == ENOMEM);
		if (done < 0)
			return errno == EAGAIN || *later;
		c->taken += (uint32_t)done;
		if (c->taken == c->came) {
			free(c->buffer);
			c->buffer = NULL;
		}
	}
	return true;
}

/* Flushes the buffer. @c may be gone afterwards if it has parted. */
static void flush_buffer(struct vsock *vs, struct vsock_conn *c)
{
	uint32_t before = c->taken;
	bool later = false, takes = push_out(c, &later);

	if (later)
		flush_later(vs);
	if (c->give_up_ns && c->taken != before)
		set_patience(vs, c, true);
	if (c->state == CONN_PARTED) {
		if (!takes)
			destroy(vs, c);
		else if (!c->buffer)
			end(vs, c);
		return;
	}
	if (!takes)
		host_is_deaf(vs, c);
	told(vs, c);
	if (!c->buffer)
		end_if_done(vs, c);
}

/* Keeps @len bytes of @iov from @offset on. */
static int keep(struct vsock_conn *c, const struct iovec *iov, unsigned int count, size_t offset,
		uint32_t len)
{
	uint32_t at = c->came % VSOCK_BUFFER;
	uint32_t n = len < VSOCK_BUFFER - at ? len : VSOCK_BUFFER - at;

	uint8_t *buffer = c->buffer ? c->buffer : malloc(VSOCK_BUFFER);

	if (!buffer)
		return -ENOMEM;
	iov_read(iov, count, offset, buffer + at, n);
	iov_read(iov, count, offset + n, buffer, len - n);
	c->buffer = buffer;
	c->came += len;
	return 0;
}

static void take_data(struct vsock *vs, struct vsock_conn *c, struct iovec *iov, unsigned int count,
		      uint32_t len)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t done = 0;

	if (c->shut & VSOCK_SHUT_SEND) {
		want(vs, c, WANT_RST);
		return;
	}
	if (len > VSOCK_BUFFER - (c->came - c->taken)) {
		want(vs, c, WANT_RST);
		return;
	}
	virtio_count(&vs->dev.counters.written_bytes, len);
	if (c->deaf) {
		c->came += len;
		c->taken += len;
		told(vs, c);
		return;
	}
	if (!c->buffer) {
		done = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			c->came += len;
			host_is_deaf(vs, c);
			return;
		}
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			flush_later(vs);
		if (done < 0)
			done = 0;
		c->came += (uint32_t)done;
		c->taken += (uint32_t)done;
	}
	if (len > (uint32_t)done && keep(c, iov, count, (size_t)done, len - (uint32_t)done) < 0) {
		c->torn = true;
		want(vs, c, WANT_RST);
		return;
	}
	told(vs, c);
}

void vsock_conn_connected(struct vsock *vs, int fd, uint32_t guest_port, uint32_t host_port,
			  uint32_t buf_alloc, uint32_t fwd_cnt)
{
	struct vsock_conn *c = fd >= 0 ? make(vs, fd, CONN_OPEN) : NULL;

	if (!c) {
		refuse(vs, guest_port, host_port);
		return;
	}
	c->guest_port = guest_port;
	c->host_port = host_port;
	c->peer_alloc = buf_alloc;
	c->peer_taken = fwd_cnt;
	insert(vs, c);
	virtio_count(&vs->dev.counters.requests, 1);
	want(vs, c, WANT_RESPONSE);
}

static void connect_to_host(struct vsock *vs, const struct vsock_hdr *h)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd;

	if (!vs->path[0]) {
		refuse(vs, h->src_port, h->dst_port);
		return;
	}
	if (vs->ask.fd >= 0) {
		if (!vsock_ask(vs, h))
			refuse(vs, h->src_port, h->dst_port);
		return;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	snprintf(to.sun_path, sizeof(to.sun_path), "%s_%u", vs->path, h->dst_port);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(fd);
		fd = -1;
	}
	vsock_conn_connected(vs, fd, h->src_port, h->dst_port, h->buf_alloc, h->fwd_cnt);
}

static void accepted(struct vsock *vs, struct vsock_conn *c)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "OK %u\n", c->host_port);

	c->state = CONN_OPEN;
	set_patience(vs, c, false);
	virtio_count(&vs->dev.counters.requests, 1);
	/* The socket has not been written to: this fits, or the host reads no more. The data that
	 * it has sent is the guest's all the same. */
	if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
		host_is_deaf(vs, c);
}

static void shut(struct vsock *vs, struct vsock_conn *c, uint32_t flags)
{
	c->shut |= flags & VSOCK_SHUT_BOTH;
	/* Also while the host has not taken all: it is to see now that nobody reads. */
	if (c->shut & VSOCK_SHUT_RECEIVE)
		shutdown(c->fd, SHUT_RD);
	end_if_done(vs, c);
}

void vsock_conn_packet(struct vsock *vs, const struct vsock_hdr *h, struct iovec *iov,
		       unsigned int count)
{
	struct vsock_conn *c = find(vs, h->src_port, h->dst_port);

	if (h->type != VSOCK_TYPE_STREAM) {
		refuse(vs, h->src_port, h->dst_port);
		return;
	}
	if (h->op == VSOCK_OP_RST) {
		if (c)
			part(vs, c);
		else
			vsock_ask_drop(vs, h->src_port, h->dst_port);
		return;
	}
	if (!c) {
		/* To say anything before the answer is there, is to make a mess of it. */
		if (!vsock_ask_drop(vs, h->src_port, h->dst_port) && h->op == VSOCK_OP_REQUEST)
			connect_to_host(vs, h);
		else
			refuse(vs, h->src_port, h->dst_port);
		return;
	}
	if (c->want & WANT_RST)
		return;
	c->peer_alloc = h->buf_alloc;
	c->peer_taken = h->fwd_cnt;
	if (c->state == CONN_REQUESTED) {
		if (h->op == VSOCK_OP_RESPONSE)
			accepted(vs, c);
		else
			want(vs, c, WANT_RST);
	} else if (h->op == VSOCK_OP_RW) {
		take_data(vs, c, iov, count, h->len);
	} else if (h->op == VSOCK_OP_SHUTDOWN) {
		shut(vs, c, h->flags);
	} else if (h->op == VSOCK_OP_CREDIT_REQUEST) {
		want(vs, c, WANT_CREDIT_UPDATE);
	} else if (h->op != VSOCK_OP_CREDIT_UPDATE) {
		want(vs, c, WANT_RST);
	}
	vsock_list(vs, c); /* there may be credit for what waits */
}

/* -- to the guest ----------------------------------------------------------------------------- */

/* Reads data into @iov. How much; 0: there may be something else to tell. */
static uint32_t read_data(struct vsock *vs, struct vsock_conn *c, struct iovec *iov,
			  unsigned int count)
{
	uint32_t max = credit(c), i;
	struct msghdr msg = {.msg_iov = iov};
	ssize_t n;

	if (max > VSOCK_PACKET_MAX)
		max = VSOCK_PACKET_MAX;
	for (i = 0; i < count && max; i++) {
		if (iov[i].iov_len > max)
			iov[i].iov_len = max;
		max -= (uint32_t)iov[i].iov_len;
	}
	msg.msg_iovlen = i;
	n = recvmsg(c->fd, &msg, MSG_DONTWAIT);
	if (n > 0) {
		c->sent += (uint32_t)n;
		virtio_count(&vs->dev.counters.read_bytes, (uint32_t)n);
		if (!credit(c))
			c->want |= WANT_CREDIT_REQUEST;
		return (uint32_t)n;
	}
	c->readable = false;
	if (n < 0 && errno == EAGAIN)
		return 0;
	c->eof = true;
	c->shut_told |= VSOCK_SHUT_SEND;
	if (n < 0 || c->hung_up)
		c->shut_told |= VSOCK_SHUT_RECEIVE;
	c->want |= WANT_SHUTDOWN;
	return 0;
}

static uint16_t take_want(struct vsock_conn *c, struct vsock_hdr *h)
{
	static const struct {
		enum conn_want want;
		enum vsock_op op;
	} ops[] = {
		{WANT_RST, VSOCK_OP_RST},
		{WANT_REQUEST, VSOCK_OP_REQUEST},
		{WANT_RESPONSE, VSOCK_OP_RESPONSE},
		{WANT_CREDIT_REQUEST, VSOCK_OP_CREDIT_REQUEST},
		{WANT_CREDIT_UPDATE, VSOCK_OP_CREDIT_UPDATE},
		{WANT_SHUTDOWN, VSOCK_OP_SHUTDOWN},
	};

	for (unsigned int i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (!(c->want & ops[i].want))
			continue;
		c->want &= ~(uint32_t)ops[i].want;
		if (ops[i].want == WANT_SHUTDOWN)
			h->flags = c->shut_told;
		return (uint16_t)ops[i].op;
	}
	return 0;
}

bool vsock_conn_next(struct vsock *vs, struct vsock_conn *c, struct vsock_hdr *h, struct iovec *iov,
		     unsigned int count)
{
	*h = (struct vsock_hdr){
		.src_cid = VSOCK_CID_HOST,
		.dst_cid = vs->cid,
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.type = VSOCK_TYPE_STREAM,
		.buf_alloc = VSOCK_BUFFER,
	};
	h->op = take_want(c, h);
	if (!h->op && has_data(c) && credit(c)) {
		h->len = read_data(vs, c, iov, count);
		if (h->len)
			h->op = VSOCK_OP_RW;
		else
			h->op = take_want(c, h);
	}
	if (!h->op)
		return false;
	h->fwd_cnt = c->taken_told = c->taken;
	if (h->op == VSOCK_OP_RST)
		part(vs, c);
	return true;
}

/* -- from the host ---------------------------------------------------------------------------- */

void vsock_conn_accept(struct vsock *vs, int fd)
{
	struct vsock_conn *c = make(vs, fd, CONN_HANDSHAKE);

	if (!c)
		return;
	c->next = vs->handshakes;
	vs->handshakes = c;
}

static bool parse_line(const char *line, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	uint64_t value = 0;

	if (strncmp(line, word, sizeof(word) - 1) != 0)
		return false;
	line += sizeof(word) - 1;
	if (*line < '0' || *line > '9')
		return false;
	for (; *line >= '0' && *line <= '9'; line++) {
		value = value * 10 + (uint64_t)(*line - '0');
		if (value > UINT32_MAX)
			return false;
	}
	*port = (uint32_t)value;
	return *line == '\n' || strcmp(line, "\r\n") == 0;
}

/* Reads the host's line, once all of it is there, and not a byte more. */
static void handshake(struct vsock *vs, struct vsock_conn *c)
{
	char line[LINE_MAX_BYTES + 1];
	ssize_t n = recv(c->fd, line, LINE_MAX_BYTES, MSG_PEEK | MSG_DONTWAIT);
	uint32_t port;
	char *end;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		destroy(vs, c);
		return;
	}
	end = memchr(line, '\n', (size_t)n);
	if (!end && n < LINE_MAX_BYTES && !c->hung_up)
		return;
	if (end)
		end[1] = '\0';
	if (!end || !parse_line(line, &port) || !atomic_load(&vs->dev.running) ||
	    recv(c->fd, line, (size_t)(end + 1 - line), MSG_DONTWAIT) != end + 1 - line) {
		virtio_count(&vs->dev.counters.errors, 1);
		destroy(vs, c);
		return;
	}
	remove_from(&vs->handshakes, c);
	c->state = CONN_REQUESTED;
	c->guest_port = port;
	do {
		c->host_port = VSOCK_HOST_PORTS + vs->next_port++ % VSOCK_HOST_PORTS;
	} while (find(vs, c->guest_port, c->host_port));
	insert(vs, c);
	want(vs, c, WANT_REQUEST);
}

/* Takes note that the host has closed its end, or that all was shut down. */
static void host_is_gone(struct vsock *vs, struct vsock_conn *c)
{
	c->hung_up = true;
	/* The data that the host has sent before is the guest's, if the guest answers in time. */
	if (c->state == CONN_REQUESTED && !c->give_up_ns)
		set_patience(vs, c, true);
	/* If the end of what it sent was told, it was as a half. */
	if (c->eof && !(c->shut_told & VSOCK_SHUT_RECEIVE))
		host_is_deaf(vs, c);
}

void vsock_conn_event(struct vsock *vs, struct vsock_conn *c, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable = true;
	if (c->state == CONN_PARTED) {
		flush_buffer(vs, c);
		return;
	}
	if (events & (EPOLLHUP | EPOLLERR))
		host_is_gone(vs, c);
	if (c->state == CONN_HANDSHAKE) {
		handshake(vs, c);
		return;
	}
	if (c->buffer && events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		flush_buffer(vs, c);
	vsock_list(vs, c);
}

/* -- time ------------------------------------------------------------------------------------- */

/* Gives a connection up: the host has not taken anything for too long; or the guest has not
 * answered, and the host has gone. */
static void give_up(struct vsock *vs, struct vsock_conn *c)
{
	if (c->buffer) {
		virtio_log(&vs->dev,
			   "%u bytes from the guest's port %u are lost: the host takes none",
			   c->came - c->taken, c->guest_port);
		c->torn = true;
	}
	if (c->state == CONN_OPEN || c->state == CONN_REQUESTED)
		answer_rst(vs, c->guest_port, c->host_port);
	end(vs, c);
}

static void tick_list(struct vsock *vs, struct vsock_conn *list, uint64_t now, bool flush)
{
	struct vsock_conn *next;

	for (struct vsock_conn *c = list; c; c = next) {
		next = c->next;
		if (c->give_up_ns && now >= c->give_up_ns)
			give_up(vs, c);
		else if (flush && c->buffer)
			flush_buffer(vs, c);
	}
}

void vsock_conn_tick(struct vsock *vs, uint64_t now)
{
	bool flush = vs->flush_waits;

	vs->flush_waits = false;
	tick_list(vs, vs->parted, now, flush);
	for (unsigned int i = 0; i < VSOCK_HASH; i++)
		tick_list(vs, vs->table[i], now, flush);
}

/* Returns whether any of @list has something left that its host may still take. */
static bool flush_list(struct vsock_conn *list)
{
	bool left = false, later;

	for (struct vsock_conn *c = list; c; c = c->next)
		left = (push_out(c, &later) && c->buffer) || left;
	return left;
}

static bool flush_all(struct vsock *vs)
{
	bool left = flush_list(vs->parted);

	for (unsigned int i = 0; i < VSOCK_HASH; i++)
		left = flush_list(vs->table[i]) || left;
	return left;
}

void vsock_conn_drop_all(struct vsock *vs)
{
	while (vs->parted)
		destroy(vs, vs->parted);
	for (unsigned int i = 0; i < VSOCK_HASH; i++)
		while (vs->table[i])
			destroy(vs, vs->table[i]);
	while (vs->handshakes)
		destroy(vs, vs->handshakes);
}

void vsock_conn_close_all(struct vsock *vs)
{
	uint64_t until = clock_monotonic_ns() + VSOCK_END_MS * UINT64_C(1000000);

	while (flush_all(vs) && clock_monotonic_ns() < until)
		poll(NULL, 0, 1);
	while (vs->parted)
		give_up(vs, vs->parted);
	for (unsigned int i = 0; i < VSOCK_HASH; i++)
		while (vs->table[i])
			give_up(vs, vs->table[i]);
	while (vs->handshakes)
		destroy(vs, vs->handshakes);
}
