/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A halter as the event loop of a program: sockets, timers and eventfds, each with a callback. The
 * first half is the adapter: what a program puts under its own loop's interface. The second is a
 * server that echoes what its clients send, counts what a worker thread tells by an eventfd, and
 * has a timer that ticks.
 *
 * Usage: loop [plain]     plain: without io_uring
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4() */
#endif
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <catnap/poll.h>

/* -- the adapter ------------------------------------------------------------------------------ */

#define TIMERS 16

struct timer {
	uint64_t at_ns;	   /* on CLOCK_MONOTONIC; CATNAP_NO_DEADLINE: not armed */
	uint64_t every_ns; /* 0: once */
	void (*fn)(void *ctx);
	void *ctx;
};

struct loop {
	struct catnap_halter *halter;
	struct timer timers[TIMERS];
	int timer_count;
	int stopped; /* what loop_run() returns, plus 1 */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int loop_init(struct loop *loop, uint32_t flags)
{
	struct catnap_halter_config cfg;

	memset(loop, 0, sizeof(*loop));
	catnap_halter_config_init(&cfg);
	cfg.flags = flags;
	return catnap_halter_create(&cfg, &loop->halter);
}

static struct catnap_source source_of(int fd, uint32_t events,
				      void (*fn)(void *ctx, int fd, uint32_t events), void *ctx)
{
	struct catnap_source source;

	catnap_source_init(&source);
	source.fd = fd;
	source.events = events;
	source.ready = fn;
	source.ctx = ctx;
	return source;
}

static int loop_add_fd(struct loop *loop, int fd, uint32_t events,
		       void (*fn)(void *ctx, int fd, uint32_t events), void *ctx)
{
	struct catnap_source source = source_of(fd, events, fn, ctx);

	return catnap_halter_add_source(loop->halter, &source);
}

static int loop_change_fd(struct loop *loop, int fd, uint32_t events,
			  void (*fn)(void *ctx, int fd, uint32_t events), void *ctx)
{
	struct catnap_source source = source_of(fd, events, fn, ctx);

	return catnap_halter_mod_source(loop->halter, &source);
}

/* Removes the source, and closes its descriptor after that. */
static void loop_close_fd(struct loop *loop, int fd)
{
	catnap_halter_del_source(loop->halter, fd);
	close(fd);
}

static int loop_add_timer(struct loop *loop, uint64_t in_ns, uint64_t every_ns,
			  void (*fn)(void *ctx), void *ctx)
{
	if (loop->timer_count == TIMERS)
		return -ENOSPC;
	loop->timers[loop->timer_count++] = (struct timer){now_ns() + in_ns, every_ns, fn, ctx};
	return 0;
}

static uint64_t next_deadline(const struct loop *loop)
{
	uint64_t next = CATNAP_NO_DEADLINE;

	for (int i = 0; i < loop->timer_count; i++)
		if (loop->timers[i].at_ns < next)
			next = loop->timers[i].at_ns;
	return next;
}

static void run_timers(struct loop *loop)
{
	uint64_t now = now_ns();

	for (int i = 0; i < loop->timer_count; i++) {
		struct timer *timer = &loop->timers[i];

		if (timer->at_ns > now)
			continue;
		timer->at_ns = timer->every_ns ? now + timer->every_ns : CATNAP_NO_DEADLINE;
		timer->fn(timer->ctx);
	}
}

static void loop_stop(struct loop *loop, int status)
{
	loop->stopped = status + 1;
}

/* Runs until loop_stop(). No timer needs a descriptor or a system call: the next one is the
 * deadline of the halt. */
static int loop_run(struct loop *loop)
{
	while (!loop->stopped) {
		int ret = catnap_halter_halt(loop->halter, next_deadline(loop), NULL);

		if (ret < 0)
			return ret;
		run_timers(loop);
	}
	return loop->stopped - 1;
}

/* -- the server ------------------------------------------------------------------------------- */

#define CLIENTS	 3
#define MESSAGES 200
#define SIGNALS	 200
#define TICKS	 10

struct server {
	struct loop loop;
	struct sockaddr_un address;
	socklen_t address_len;
	int listener, event;
	int clients_gone, ticks;
	uint64_t signals;
};

struct connection {
	struct server *server;
	size_t len, sent; /* of data: what is to be sent back, and what was */
	char data[4096];
};

static void end_when_done(struct server *s)
{
	if (s->clients_gone == CLIENTS && s->signals == SIGNALS && s->ticks >= TICKS)
		loop_stop(&s->loop, 0);
}

static void echo(void *ctx, int fd, uint32_t events)
{
	struct connection *c = ctx;
	struct server *s = c->server;
	ssize_t n = 0;

	if (c->sent == c->len) {
		n = read(fd, c->data, sizeof(c->data));
		if (n > 0) {
			c->len = (size_t)n;
			c->sent = 0;
		}
	}
	if (c->sent < c->len) {
		n = send(fd, c->data + c->sent, c->len - c->sent, MSG_NOSIGNAL);
		if (n > 0)
			c->sent += (size_t)n;
	}
	if (n > 0 || (n < 0 && errno == EAGAIN)) {
		/* While the client does not take what is its own, nothing more is read. */
		loop_change_fd(&s->loop, fd, c->sent < c->len ? POLLOUT : POLLIN, echo, c);
		return;
	}
	loop_close_fd(&s->loop, fd);
	free(c);
	s->clients_gone++;
	end_when_done(s);
}

static void accept_client(void *ctx, int fd, uint32_t events)
{
	struct server *s = ctx;
	struct connection *c = calloc(1, sizeof(*c));
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (c && client >= 0) {
		c->server = s;
		if (loop_add_fd(&s->loop, client, POLLIN, echo, c) == 0)
			return;
	}
	if (client >= 0)
		close(client);
	free(c);
	loop_stop(&s->loop, 1);
}

static void count_signals(void *ctx, int fd, uint32_t events)
{
	struct server *s = ctx;
	uint64_t n;

	if (read(fd, &n, sizeof(n)) == sizeof(n))
		s->signals += n;
	end_when_done(s);
}

static void tick(void *ctx)
{
	struct server *s = ctx;

	s->ticks++;
	end_when_done(s);
}

static void give_up(void *ctx)
{
	struct server *s = ctx;

	loop_stop(&s->loop, 1);
}

/* -- what it serves --------------------------------------------------------------------------- */

static void *client(void *arg)
{
	struct server *s = arg;
	char message[64] = "hello", answer[64];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&s->address, s->address_len) < 0)
		return "connect";
	for (int i = 0; i < MESSAGES; i++) {
		snprintf(message, sizeof(message), "message %d", i);
		if (send(fd, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message) ||
		    recv(fd, answer, sizeof(answer), MSG_WAITALL) != sizeof(answer) ||
		    memcmp(message, answer, sizeof(answer)) != 0)
			return "echo";
	}
	close(fd);
	return NULL;
}

static void *worker(void *arg)
{
	struct server *s = arg;

	for (int i = 0; i < SIGNALS; i++) {
		if (write(s->event, &(uint64_t){1}, sizeof(uint64_t)) < 0)
			return "eventfd";
		usleep(50);
	}
	return NULL;
}

/* Listens at an address that the kernel finds: no file is made. */
static int listen_anywhere(struct server *s)
{
	s->address.sun_family = AF_UNIX;
	s->address_len = sizeof(s->address);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->listener < 0 ||
	    bind(s->listener, (struct sockaddr *)&s->address, sizeof(sa_family_t)) < 0 ||
	    listen(s->listener, CLIENTS) < 0 ||
	    getsockname(s->listener, (struct sockaddr *)&s->address, &s->address_len) < 0)
		return -errno;
	return 0;
}

static int set_up(struct server *s, uint32_t flags)
{
	int ret = loop_init(&s->loop, flags);

	if (ret == 0)
		ret = listen_anywhere(s);
	s->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ret == 0)
		ret = loop_add_fd(&s->loop, s->listener, POLLIN, accept_client, s);
	if (ret == 0)
		ret = loop_add_fd(&s->loop, s->event, POLLIN, count_signals, s);
	if (ret == 0)
		ret = loop_add_timer(&s->loop, 1000000, 1000000, tick, s);
	if (ret == 0)
		ret = loop_add_timer(&s->loop, UINT64_C(60000000000), 0, give_up, s);
	return ret;
}

int main(int argc, char **argv)
{
	struct catnap_halt_stats stats = {.size = sizeof(stats)};
	pthread_t threads[CLIENTS + 1];
	struct server s = {.clients_gone = 0};
	void *failed;
	int ret;

	ret = set_up(&s, argc > 1 && strcmp(argv[1], "plain") == 0 ? CATNAP_HALTER_NO_RING : 0);
	for (int i = 0; i <= CLIENTS && ret == 0; i++)
		ret = -pthread_create(&threads[i], NULL, i < CLIENTS ? client : worker, &s);
	if (ret == 0)
		ret = loop_run(&s.loop);
	if (ret != 0) {
		fprintf(stderr, "loop: %s\n", ret < 0 ? strerror(-ret) : "not served in time");
		return 1;
	}
	for (int i = 0; i <= CLIENTS; i++) {
		pthread_join(threads[i], &failed);
		if (failed) {
			fprintf(stderr, "loop: %s failed\n", (char *)failed);
			ret = 1;
		}
	}
	catnap_halter_get_stats(s.loop.halter, &stats);
	printf("%d clients, %llu signals, %d ticks or more; %llu halts, of which %llu did not "
	       "sleep\n",
	       s.clients_gone, (unsigned long long)s.signals, TICKS,
	       (unsigned long long)stats.halt_exits,
	       (unsigned long long)stats.halt_successful_poll);
	catnap_halter_destroy(&s.loop.halter);
	close(s.listener);
	close(s.event);
	return ret;
}
