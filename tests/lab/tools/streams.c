/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many streams through the socket device, several at a time, each with data in both directions,
 * pauses, and one of the ways in which either end may finish. One of these runs at each end, with
 * the same seed:
 *
 *	streams vsock-connect CID PORT COUNT SEED	in a guest
 *	streams vsock-accept PORT COUNT SEED		in a guest
 *	streams unix-connect PATH PORT COUNT SEED	on the host
 *	streams unix-accept PATH COUNT SEED		on the host
 *
 * A stream's course follows from its number, which the connecting end sends first. Each end knows
 * each byte that is to come, and where the end is. An end either shuts its sending down once it has
 * sent all, and reads to the end; or it quits: it closes once it has sent all and read so much, and
 * leaves the rest unread. An end that reads to the end must have got all that the other end has
 * sent, and a clean end of file if neither end quits.
 *
 * Prints "key=value ..." on one line, and a line before it for each stream that went wrong; the
 * status is 1 then, and 2 where it cannot begin.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define AT_ONCE	       32
#define BLOCK	       16384
#define PATIENCE_MS    120000 /* of a stream on which nothing happens */
#define LINUX_QUITS_MS 8000 /* a guest that has closed waits so long for the answer, then resets */

/* The ends of a stream, and what is indexed by them. */
enum { CONNECTS, ACCEPTS, ENDS };

/* The plan of what each end does. */
struct plan {
	uint32_t length[ENDS]; /* bytes that it sends */
	bool quits[ENDS];
	uint32_t quits_at[ENDS];  /* bytes that it reads before */
	uint32_t sleeps_ms[ENDS]; /* before it reads */
};

struct stream {
	int fd; /* -1: free */
	uint32_t number;
	uint8_t head[4]; /* the number, as it comes */
	unsigned int head_bytes;
	bool connecting, greeted, planned;
	struct plan plan;
	uint32_t sent, got;
	uint64_t sent_sum, got_sum;
	bool sent_all, shut, ended;
	int end; /* 0: end of file, or why reading failed */
	int64_t reads_from, writes_from, moved;
};

struct run {
	int end; /* CONNECTS or ACCEPTS */
	int listening;
	uint32_t count, begun, done, faults, resets, whole;
	uint64_t seed, random;
	uint64_t sent, sent_sum, got, got_sum; /* of streams at whose ends nobody quits */
	struct stream s[AT_ONCE];
	/* How the other end is reached. */
	bool local;
	const char *path;
	unsigned int cid, port;
};

static void die(const char *what)
{
	fprintf(stderr, "streams: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Returns a number that follows from @x alone (splitmix64). */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint32_t dice(uint64_t *state, uint32_t n)
{
	*state = mix(*state);
	return (uint32_t)((*state >> 32) % n);
}

/* -- what a stream does ----------------------------------------------------------------------- */

static uint32_t some_length(uint64_t *r)
{
	static const uint32_t most[] = {1, 100, 4000, 20000, 60000, 300000};

	return dice(r, most[dice(r, 6)]);
}

static struct plan plan_of(uint64_t seed, uint32_t number)
{
	uint64_t r = mix(seed ^ mix(number));
	struct plan p;

	for (int i = 0; i < ENDS; i++) {
		p.length[i] = some_length(&r);
		p.quits[i] = dice(&r, 4) == 0;
		p.sleeps_ms[i] = dice(&r, 4) ? 0 : dice(&r, 500);
	}
	/* A reader that comes after Linux has given the connection up. */
	if (dice(&r, 50) == 0) {
		int late = (int)dice(&r, 2);

		p.length[!late] = 100000 + dice(&r, 200000);
		p.quits[!late] = true;
		p.sleeps_ms[late] = LINUX_QUITS_MS + dice(&r, 4000);
	}
	for (int i = 0; i < ENDS; i++)
		p.quits_at[i] = dice(&r, 2) ? 0 : dice(&r, p.length[!i] + 1);
	return p;
}

/* Writes the bytes that @end sends from @at on. */
static void bytes_of(const struct run *r, uint32_t number, int end, uint32_t at, uint8_t *to,
		     uint32_t n)
{
	uint64_t key = mix(r->seed + number * 2u + (unsigned int)end), word = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (i == 0 || (at + i) % 8 == 0)
			word = mix(key + (at + i) / 8);
		to[i] = (uint8_t)(word >> (at + i) % 8 * 8);
	}
}

static uint64_t add_sum(uint64_t sum, const uint8_t *data, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sum = (sum ^ data[i]) * 0x100000001b3u;
	return sum;
}

/* -- connections ------------------------------------------------------------------------------ */

static void plan_stream(struct run *r, struct stream *s, uint32_t number)
{
	s->number = number;
	s->plan = plan_of(r->seed, number);
	s->planned = true;
	s->reads_from = now_ms() + s->plan.sleeps_ms[r->end];
}

static int new_socket(const struct run *r)
{
	int fd = socket(r->local ? AF_UNIX : AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* Returns 0, or -1 with errno. */
static int reach(const struct run *r, int fd)
{
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = r->cid, .svm_port = r->port};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (!r->local)
		return connect(fd, (struct sockaddr *)&vm, sizeof(vm));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", r->path);
	return connect(fd, (struct sockaddr *)&un, sizeof(un));
}

/* Sends what goes before the data. It always fits: the socket is new. */
static void greet(struct run *r, struct stream *s)
{
	uint8_t text[64];
	int n = 0;

	if (r->local)
		n = snprintf((char *)text, sizeof(text), "CONNECT %u\n", r->port);
	memcpy(text + n, &s->number, sizeof(s->number));
	n += (int)sizeof(s->number);
	if (send(s->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		die("greeting");
	s->connecting = false;
	s->greeted = !r->local;
}

static void call(struct run *r, struct stream *s)
{
	int fd = new_socket(r);

	if (reach(r, fd) < 0 && errno != EINPROGRESS) {
		if (errno != EAGAIN)
			die("connect");
		close(fd); /* the other end has enough to accept */
		return;
	}
	*s = (struct stream){.fd = fd, .connecting = true, .moved = now_ms()};
	plan_stream(r, s, r->begun++);
}

static void take(struct run *r, struct stream *s)
{
	int fd = accept4(r->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	*s = (struct stream){.fd = fd, .greeted = true, .moved = now_ms()};
	r->begun++;
}

static void begin(struct run *r)
{
	for (int i = 0; i < AT_ONCE && r->begun < r->count; i++)
		if (r->s[i].fd < 0) {
			if (r->end == CONNECTS)
				call(r, &r->s[i]);
			else
				take(r, &r->s[i]);
		}
}

/* -- one stream ------------------------------------------------------------------------------- */

static void fault(struct run *r, const struct stream *s, const char *what)
{
	printf("stream %u: %s: sent %u of %u, got %u of %u, end %d; quits %d %d\n", s->number, what,
	       s->sent, s->plan.length[r->end], s->got, s->plan.length[!r->end], s->end,
	       s->plan.quits[CONNECTS], s->plan.quits[ACCEPTS]);
	r->faults++;
}

static void finish(struct run *r, struct stream *s)
{
	bool whole = !s->plan.quits[CONNECTS] && !s->plan.quits[ACCEPTS];

	if (s->planned && s->ended && s->got != s->plan.length[!r->end])
		fault(r, s, "not all came before the end");
	if (s->planned && whole && (s->end || s->sent != s->plan.length[r->end]))
		fault(r, s, "no clean end");
	if (!s->planned)
		fault(r, s, "ended before its number came");
	if (whole) {
		r->sent += s->sent;
		r->sent_sum += s->sent_sum;
		r->got += s->got;
		r->got_sum += s->got_sum;
		r->whole++;
	}
	r->resets += s->end != 0;
	close(s->fd);
	s->fd = -1;
	r->done++;
}

static void ended(struct stream *s, int why)
{
	s->ended = true;
	s->end = why;
}

/* Reads the "OK PORT" of unix-connect, a byte at a time. */
static void read_greeting(struct stream *s)
{
	char c;
	ssize_t n;

	while ((n = recv(s->fd, &c, 1, 0)) == 1)
		if (c == '\n') {
			s->greeted = true;
			return;
		}
	if (n == 0 || errno != EAGAIN)
		ended(s, n ? errno : ECONNREFUSED);
}

static void read_number(struct run *r, struct stream *s)
{
	ssize_t n = recv(s->fd, s->head + s->head_bytes, sizeof(s->head) - s->head_bytes, 0);
	uint32_t number;

	if (n > 0)
		s->head_bytes += (unsigned int)n;
	else if (n == 0 || errno != EAGAIN)
		ended(s, n ? errno : 0);
	if (s->head_bytes < sizeof(s->head))
		return;
	memcpy(&number, s->head, sizeof(number));
	plan_stream(r, s, number);
}

static void read_data(struct run *r, struct stream *s)
{
	static uint8_t data[BLOCK], want[BLOCK];
	ssize_t n = recv(s->fd, data, 1 + dice(&r->random, BLOCK), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		ended(s, n ? errno : 0);
		return;
	}
	if (n < 0)
		return;
	bytes_of(r, s->number, !r->end, s->got, want, (uint32_t)n);
	if (s->got + (uint32_t)n > s->plan.length[!r->end] || memcmp(data, want, (size_t)n) != 0)
		fault(r, s, "wrong bytes");
	s->got += (uint32_t)n;
	s->got_sum = add_sum(s->got_sum, data, (uint32_t)n);
	s->moved = now_ms();
}

static void write_data(struct run *r, struct stream *s)
{
	static uint8_t data[BLOCK];
	uint32_t n = 1 + dice(&r->random, BLOCK), left = s->plan.length[r->end] - s->sent;
	ssize_t done;

	if (n > left)
		n = left;
	bytes_of(r, s->number, r->end, s->sent, data, n);
	done = n ? send(s->fd, data, n, MSG_NOSIGNAL) : 0;
	if (done < 0 && errno == EAGAIN)
		return;
	if (done > 0) {
		s->sent += (uint32_t)done;
		s->sent_sum = add_sum(s->sent_sum, data, (uint32_t)done);
	}
	/* The other end takes no more. */
	s->sent_all = done < 0 || s->sent == s->plan.length[r->end];
	s->moved = now_ms();
	if (dice(&r->random, 8) == 0)
		s->writes_from = s->moved + dice(&r->random, 50);
}

static short wanted(const struct stream *s, int64_t now)
{
	short events = 0;

	if (s->connecting)
		return POLLOUT;
	if (!s->ended && (!s->planned || !s->greeted || now >= s->reads_from))
		events |= POLLIN;
	if (s->planned && !s->sent_all && now >= s->writes_from)
		events |= POLLOUT;
	return events;
}

static void step_in(struct run *r, struct stream *s)
{
	if (!s->greeted)
		read_greeting(s);
	else if (!s->planned)
		read_number(r, s);
	else
		read_data(r, s);
}

static void step(struct run *r, struct stream *s, short events, short got)
{
	int64_t now = now_ms();

	if (s->connecting && got) {
		int err = 0;
		socklen_t len = sizeof(err);

		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err)
			ended(s, err);
		else
			greet(r, s);
		return;
	}
	if (events & POLLIN && got & (POLLIN | POLLHUP | POLLERR))
		step_in(r, s);
	if (events & POLLOUT && got & (POLLOUT | POLLHUP | POLLERR))
		write_data(r, s);
	if (s->sent_all && !s->shut && !s->plan.quits[r->end]) {
		shutdown(s->fd, SHUT_WR);
		s->shut = true;
	}
	if (now - s->moved > PATIENCE_MS) {
		fault(r, s, "nothing happens");
		s->ended = s->sent_all = true;
	}
}

static bool is_done(const struct run *r, const struct stream *s)
{
	if (s->ended && (!s->planned || !s->greeted || s->connecting))
		return true;
	/* An end that goes before the greeting was never there, for the other end. */
	return s->planned && s->greeted && s->sent_all &&
	       (s->ended || (s->plan.quits[r->end] && s->got >= s->plan.quits_at[r->end]));
}

/* -- all of them ------------------------------------------------------------------------------ */

static void turn(struct run *r)
{
	struct pollfd p[AT_ONCE + 1];
	int64_t now = now_ms();

	begin(r);
	for (int i = 0; i < AT_ONCE; i++)
		p[i] = (struct pollfd){.fd = r->s[i].fd,
				       .events = r->s[i].fd < 0 ? 0 : wanted(&r->s[i], now)};
	/* A socket that has hung up and is not to be looked at yet would end each poll at once. */
	for (int i = 0; i < AT_ONCE; i++)
		if (!p[i].events)
			p[i].fd = -1;
	p[AT_ONCE] =
		(struct pollfd){.fd = r->begun < r->count ? r->listening : -1, .events = POLLIN};
	if (poll(p, AT_ONCE + 1, 5) < 0 && errno != EINTR)
		die("poll");
	for (int i = 0; i < AT_ONCE; i++) {
		struct stream *s = &r->s[i];

		if (s->fd < 0)
			continue;
		step(r, s, p[i].events, p[i].fd < 0 ? 0 : p[i].revents);
		if (is_done(r, s))
			finish(r, s);
	}
}

static void listen_at(struct run *r)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = r->port};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int ret;

	r->listening = new_socket(r);
	if (r->local) {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", r->path);
		ret = bind(r->listening, (struct sockaddr *)&un, sizeof(un));
	} else {
		ret = bind(r->listening, (struct sockaddr *)&vm, sizeof(vm));
	}
	if (ret < 0 || listen(r->listening, 128) < 0)
		die("listen");
	fprintf(stderr, "streams: listening\n");
}

static bool read_arguments(struct run *r, int argc, char **argv)
{
	static const struct {
		const char *name;
		int argc, end;
		bool local;
	} forms[] = {{"vsock-connect", 6, CONNECTS, false},
		     {"vsock-accept", 5, ACCEPTS, false},
		     {"unix-connect", 6, CONNECTS, true},
		     {"unix-accept", 5, ACCEPTS, true}};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (argc != forms[i].argc || strcmp(argv[1], forms[i].name) != 0)
			continue;
		r->end = forms[i].end;
		r->local = forms[i].local;
		r->path = argv[2];
		r->cid = (unsigned int)strtoul(argv[2], NULL, 0);
		r->port = (unsigned int)strtoul(argv[argc - 3], NULL, 0);
		r->count = (uint32_t)strtoul(argv[argc - 2], NULL, 0);
		r->seed = r->random = strtoull(argv[argc - 1], NULL, 0);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static struct run r = {.listening = -1};

	if (!read_arguments(&r, argc, argv)) {
		fprintf(stderr, "streams: wrong arguments\n");
		return 2;
	}
	for (int i = 0; i < AT_ONCE; i++)
		r.s[i].fd = -1;
	if (r.end == ACCEPTS)
		listen_at(&r);
	while (r.done < r.count)
		turn(&r);
	printf("streams=%u faults=%u whole=%u sent=%llu:%016llx got=%llu:%016llx resets=%u\n",
	       r.done, r.faults, r.whole, (unsigned long long)r.sent,
	       (unsigned long long)r.sent_sum, (unsigned long long)r.got,
	       (unsigned long long)r.got_sum, r.resets);
	return r.faults ? 1 : 0;
}
