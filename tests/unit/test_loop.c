/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A halter as an event loop: sources by level and by edge, what becomes of them when descriptors
 * are closed, many of them, and changes by callbacks and by other threads. A random run compares
 * all that is told with epoll(7).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "poll/halter.h"

#define MS   UINT64_C(1000000)
#define MANY 1000

/* The ways to wait that each test is repeated for. */
enum way { RING, RING_NO_FUTEX, NO_RING, WAYS };

/* The calls that one source has had. */
struct told {
	int fd, times;
	uint32_t events; /* the last ones */
	bool drains;	 /* reads all there is */
};

static struct catnap_halter *h;
static pthread_t owner;

static uint64_t now(void)
{
	return clock_monotonic_ns();
}

static int event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static void ring_it(int fd)
{
	assert_int_equal(write(fd, &(uint64_t){1}, 8), 8);
}

static void drain(int fd)
{
	char buf[512];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void ready(void *ctx, int fd, uint32_t events)
{
	struct told *t = ctx;

	assert_true(pthread_equal(pthread_self(), owner));
	assert_int_not_equal(events, 0);
	t->fd = fd;
	t->times++;
	t->events = events;
	if (t->drains)
		drain(fd);
}

static void make(enum way way, enum catnap_policy_kind kind)
{
	static const uint32_t flags[WAYS] = {0, CATNAP_HALTER_NO_RING_FUTEX, CATNAP_HALTER_NO_RING};
	struct catnap_halter_config cfg;

	catnap_halter_config_init(&cfg);
	cfg.flags = flags[way];
	cfg.halt_poll.policy = kind;
	owner = pthread_self();
	assert_int_equal(catnap_halter_create(&cfg, &h), 0);
}

static struct catnap_source source(int fd, uint32_t events, uint32_t flags, struct told *t)
{
	struct catnap_source s;

	catnap_source_init(&s);
	s.fd = fd;
	s.events = events;
	s.flags = flags;
	s.ready = ready;
	s.ctx = t;
	return s;
}

static int add(int fd, uint32_t events, uint32_t flags, struct told *t)
{
	struct catnap_source s = source(fd, events, flags, t);

	return catnap_halter_add_source(h, &s);
}

static int mod(int fd, uint32_t events, uint32_t flags, struct told *t)
{
	struct catnap_source s = source(fd, events, flags, t);

	return catnap_halter_mod_source(h, &s);
}

/* Halts for what comes within @ms, and returns the cause. */
static int halt(uint64_t ms)
{
	int cause = -1;

	assert_int_equal(catnap_halter_halt(h, now() + ms * MS, &cause), 0);
	return cause;
}

static void level_is_told_until_it_is_read(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct told t = {0};
		int fd = event();

		make(way, CATNAP_POLICY_ADAPTIVE);
		assert_int_equal(add(fd, POLLIN, 0, &t), 0);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		ring_it(fd);
		for (int i = 1; i <= 5; i++) {
			assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
			assert_int_equal(t.times, i);
			assert_int_equal(t.fd, fd);
			assert_int_equal(t.events, POLLIN);
		}
		assert_int_equal(catnap_halter_reap(h), 1);
		assert_int_equal(t.times, 6);
		drain(fd);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		assert_int_equal(catnap_halter_reap(h), 0);
		assert_int_equal(t.times, 6);
		catnap_halter_destroy(&h);
		close(fd);
	}
}

static void edge_is_told_when_something_happens(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct told t = {0};
		int fd = event();

		make(way, CATNAP_POLICY_ADAPTIVE);
		ring_it(fd);
		assert_int_equal(add(fd, POLLIN, CATNAP_SOURCE_EDGE, &t), 0);
		for (int i = 1; i <= 5; i++) {
			assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
			assert_int_equal(t.times, i);
			assert_int_equal(halt(2), CATNAP_CAUSE_TIMER); /* it was not read */
			ring_it(fd);
		}
		catnap_halter_destroy(&h);
		close(fd);
	}
}

static void count_it(void *ctx, int fd)
{
	++*(int *)ctx;
}

/* A halt tells of a source that it has armed itself, though there is no time to look twice. */
static void a_deadline_that_has_passed_does_not_hide_a_new_source(void **state)
{
	static const uint32_t flags[] = {0, CATNAP_HALTER_NO_RING};

	for (int i = 0; i < 4; i++) {
		struct catnap_halter_config cfg;
		struct told t = {0};
		int fd = event(), eventfds = 0;

		catnap_halter_config_init(&cfg);
		cfg.flags = flags[i % 2];
		cfg.halt_poll.policy = CATNAP_POLICY_OFF;
		cfg.on_eventfd = count_it;
		cfg.ctx = &eventfds;
		owner = pthread_self();
		assert_int_equal(catnap_halter_create(&cfg, &h), 0);
		ring_it(fd);
		if (i < 2)
			assert_int_equal(add(fd, POLLIN, 0, &t), 0);
		else
			assert_int_equal(catnap_halter_add_eventfd(h, fd), 0);
		assert_int_equal(halt(0), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(t.times + eventfds, 1);
		catnap_halter_destroy(&h);
		close(fd);
	}
}

static void a_source_may_wait_to_write(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct told t = {0};
		char block[4096] = {0};
		int p[2];

		make(way, CATNAP_POLICY_OFF);
		assert_int_equal(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
		assert_int_equal(add(p[1], POLLOUT, 0, &t), 0);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(t.events, POLLOUT);
		while (write(p[1], block, sizeof(block)) > 0)
			;
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		drain(p[0]);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(t.times, 2);
		catnap_halter_destroy(&h);
		close(p[0]);
		close(p[1]);
	}
}

static void ends_and_errors_are_always_told(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct told end = {0}, error = {0};
		int a[2], b[2];

		make(way, CATNAP_POLICY_OFF);
		assert_int_equal(pipe2(a, O_NONBLOCK | O_CLOEXEC), 0);
		assert_int_equal(pipe2(b, O_NONBLOCK | O_CLOEXEC), 0);
		assert_int_equal(add(a[0], 0, 0, &end), 0);
		assert_int_equal(add(b[1], 0, 0, &error), 0);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		close(a[1]);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(end.events, POLLHUP);
		assert_int_equal(error.times, 0);
		assert_int_equal(catnap_halter_del_source(h, a[0]), 0);
		close(b[0]);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(error.events, POLLERR);
		catnap_halter_destroy(&h);
		close(a[0]);
		close(b[1]);
	}
}

static void what_cannot_be_a_source_is_refused(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		char name[] = "/tmp/loop.XXXXXX";
		int file = mkstemp(name), folder = open("/", O_RDONLY | O_CLOEXEC), fd = event();
		struct told t = {0};
		struct catnap_source s = source(fd, POLLIN, 0, &t);

		make(way, CATNAP_POLICY_OFF);
		assert_true(file >= 0 && folder >= 0);
		unlink(name);
		/* The first one fails, and leaves nothing behind. */
		assert_int_equal(add(file, POLLIN, 0, &t), -EPERM);
		assert_int_equal(h->loop.epoll_fd, -1);
		assert_int_equal(mod(fd, POLLIN, 0, &t), -ENOENT);
		assert_int_equal(add(fd, POLLIN, 0, &t), 0);
		assert_int_equal(add(fd, POLLIN, 0, &t), -EEXIST);
		assert_int_equal(add(folder, POLLIN, 0, &t), -EPERM);
		assert_int_equal(add(-1, POLLIN, 0, &t), -EBADF);
		assert_int_equal(add(1 << 30, POLLIN, 0, &t), -EBADF);
		assert_int_equal(add(h->loop.epoll_fd, POLLIN, 0, &t), -EINVAL);
		assert_int_equal(add(file, POLLIN | EPOLLONESHOT, 0, &t), -EINVAL);
		assert_int_equal(add(file, POLLIN, 2, &t), -EINVAL);
		assert_int_equal(mod(fd, POLLNVAL, 0, &t), -EINVAL);
		assert_int_equal(mod(file, POLLIN, 0, &t), -ENOENT);
		assert_int_equal(catnap_halter_del_source(h, file), -ENOENT);
		assert_int_equal(catnap_halter_del_source(h, -1), -ENOENT);
		s.ready = NULL;
		assert_int_equal(catnap_halter_add_source(h, &s), -EINVAL);
		s.ready = ready;
		s.size = offsetof(struct catnap_source, ctx);
		assert_int_equal(catnap_halter_add_source(h, &s), -EINVAL);
		ring_it(fd);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(t.times, 1);
		catnap_halter_destroy(&h);
		close(file);
		close(folder);
		close(fd);
	}
}

static void all_eventfds_take_the_room_of_the_first_source(void **state)
{
	struct told t = {0};
	int fds[64];

	make(RING, CATNAP_POLICY_OFF);
	for (int i = 0; i < 64; i++) {
		fds[i] = event();
		assert_int_equal(catnap_halter_add_eventfd(h, fds[i]), 0);
	}
	assert_int_equal(add(fds[0], POLLIN, 0, &t), -ENOSPC);
	assert_int_equal(catnap_halter_del_eventfd(h, fds[1]), 0);
	assert_int_equal(add(fds[0], POLLIN, 0, &t), 0);
	ring_it(fds[0]); /* of both kinds: each is told */
	for (int i = 0; i < 2 && !t.times; i++)
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
	assert_int_equal(t.times, 1);
	catnap_halter_destroy(&h);
	for (int i = 0; i < 64; i++)
		close(fds[i]);
}

static void a_change_is_told_again(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct told a = {0}, b = {0};
		int s[2];

		make(way, CATNAP_POLICY_OFF);
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
		ring_it(s[1]);
		assert_int_equal(add(s[0], POLLIN, CATNAP_SOURCE_EDGE, &a), 0);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		assert_int_equal(mod(s[0], POLLIN | POLLOUT, CATNAP_SOURCE_EDGE, &b), 0);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(a.times, 1);
		assert_int_equal(b.times, 1);
		assert_int_equal(b.events, POLLIN | POLLOUT);
		assert_int_equal(mod(s[0], POLLPRI, 0, &b), 0);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		catnap_halter_destroy(&h);
		close(s[0]);
		close(s[1]);
	}
}

/* -- many, and changes by callbacks ----------------------------------------------------------- */

static int fds[MANY];
static struct told many[MANY];

/* Makes @n eventfds, all of them signalled. */
static void open_many(int n)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	memset(many, 0, sizeof(many));
	for (int i = 0; i < n; i++) {
		fds[i] = event();
		ring_it(fds[i]);
	}
}

static void close_many(int n)
{
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static void each_of_many_is_told_once_a_halt(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		make(way, CATNAP_POLICY_OFF);
		open_many(MANY);
		for (int i = 0; i < MANY; i++)
			assert_int_equal(
				add(fds[i], POLLIN, i % 2 ? CATNAP_SOURCE_EDGE : 0, &many[i]), 0);
		for (int round = 1; round <= 3; round++) {
			assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
			for (int i = 0; i < MANY; i++)
				assert_int_equal(many[i].times, i % 2 ? 1 : round);
		}
		assert_int_equal(catnap_halter_reap(h), MANY / 2);
		for (int i = 0; i < MANY; i++)
			assert_int_equal(catnap_halter_del_source(h, fds[i]), 0);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		catnap_halter_destroy(&h);
		close_many(MANY);
	}
}

static int calls;

static void removes_all(void *ctx, int fd, uint32_t events)
{
	calls++;
	for (int i = 0; i < 10; i++)
		assert_int_equal(catnap_halter_del_source(h, fds[i]), 0);
}

static void one_that_a_callback_removes_is_told_no_more(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		make(way, CATNAP_POLICY_OFF);
		open_many(10);
		calls = 0;
		for (int i = 0; i < 10; i++) {
			struct catnap_source s = source(fds[i], POLLIN, 0, NULL);

			s.ready = removes_all;
			assert_int_equal(catnap_halter_add_source(h, &s), 0);
		}
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(calls, 1);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		catnap_halter_destroy(&h);
		close_many(10);
	}
}

static void adds_the_next(void *ctx, int fd, uint32_t events)
{
	struct catnap_source s = source(fds[++calls], POLLIN, CATNAP_SOURCE_EDGE, NULL);
	int cause;

	s.ready = adds_the_next;
	assert_int_equal(catnap_halter_halt(h, 0, &cause), -EDEADLK);
	assert_int_equal(catnap_halter_reap(h), -EDEADLK);
	assert_int_equal(catnap_halter_del_source(h, fd), 0);
	if (calls < 9)
		assert_int_equal(catnap_halter_add_source(h, &s), 0);
}

static void one_that_a_callback_adds_counts_at_once(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct catnap_source s;

		make(way, CATNAP_POLICY_OFF);
		open_many(10);
		calls = 0;
		s = source(fds[0], POLLIN, CATNAP_SOURCE_EDGE, NULL);
		s.ready = adds_the_next;
		assert_int_equal(catnap_halter_add_source(h, &s), 0);
		for (int i = 1; i <= 9; i++) {
			assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
			assert_int_equal(calls, i);
		}
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		catnap_halter_destroy(&h);
		close_many(10);
	}
}

/* -- closed descriptors ----------------------------------------------------------------------- */

/* Puts a new eventfd under the number @fd, which was closed. */
static void reopen(int fd)
{
	int other = event();

	if (other == fd)
		return;
	assert_int_equal(dup3(other, fd, O_CLOEXEC), fd);
	close(other);
}

static void a_closed_number_is_another_source(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct told old = {0}, new = {.drains = true};
		int fd = event();

		make(way, CATNAP_POLICY_OFF);
		assert_int_equal(add(fd, POLLIN, 0, &old), 0);
		assert_int_equal(catnap_halter_reap(h), 0); /* the ring has its descriptors */
		ring_it(fd);
		close(fd);
		assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
		reopen(fd);
		assert_int_equal(mod(fd, POLLIN, 0, &new), -ENOENT);
		assert_int_equal(add(fd, POLLIN, 0, &new), 0);
		assert_int_equal(add(fd, POLLIN, 0, &new), -EEXIST);
		ring_it(fd);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(new.times, 1);
		assert_int_equal(old.times, 0);
		close(fd);
		assert_int_equal(mod(fd, POLLIN, 0, &new), -EBADF);
		assert_int_equal(catnap_halter_del_source(h, fd), 0);
		assert_int_equal(catnap_halter_del_source(h, fd), -ENOENT);
		catnap_halter_destroy(&h);
	}
}

/* epoll tells it for ever, to nobody. */
static void a_closed_file_that_lives_on_is_got_rid_of(void **state)
{
	for (enum way way = RING; way < WAYS; way++)
		for (int reused = 0; reused < 2; reused++) {
			struct told old = {0}, new = {.drains = true}, by = {.drains = true};
			int fd = event(), other = event(), copy = dup(fd);

			make(way, CATNAP_POLICY_OFF);
			assert_int_equal(add(fd, POLLIN, 0, &old), 0);
			assert_int_equal(add(other, POLLIN, CATNAP_SOURCE_EDGE, &by), 0);
			assert_int_equal(catnap_halter_reap(h), 0);
			close(fd);
			reopen(fd);
			if (reused)
				assert_int_equal(add(fd, POLLIN, 0, &new), 0);
			else
				assert_int_equal(catnap_halter_del_source(h, fd), 0);
			ring_it(copy);
			assert_int_equal(halt(5), CATNAP_CAUSE_TIMER);
			assert_int_equal(h->loop.orphans, 0);
			assert_int_equal(h->ring.armed, 1);
			ring_it(copy); /* the new instance does not know it */
			assert_int_equal(halt(2), CATNAP_CAUSE_TIMER);
			ring_it(other);
			assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
			assert_int_equal(by.times, 1);
			ring_it(fd);
			assert_int_equal(halt(reused ? 10000 : 2),
					 reused ? CATNAP_CAUSE_EVENTFD : CATNAP_CAUSE_TIMER);
			assert_int_equal(old.times, 0);
			assert_int_equal(new.times, reused);
			catnap_halter_destroy(&h);
			close(fd);
			close(copy);
			close(other);
		}
}

static void an_orphans_file_may_come_back(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct told old = {0}, new = {.drains = true};
		int fd = event(), copy = dup(fd);

		make(way, CATNAP_POLICY_OFF);
		assert_int_equal(add(fd, POLLIN, 0, &old), 0);
		assert_int_equal(catnap_halter_reap(h), 0);
		close(fd);
		assert_int_equal(catnap_halter_del_source(h, fd), 0);
		assert_int_equal(dup3(copy, fd, O_CLOEXEC), fd);
		assert_int_equal(add(fd, POLLIN, 0, &new), 0);
		ring_it(copy);
		assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
		assert_int_equal(new.times, 1);
		assert_int_equal(old.times, 0);
		catnap_halter_destroy(&h);
		close(fd);
		close(copy);
	}
}

/* The epoll instance is the parent's as well: a child must not change it. */
static void a_child_changes_nothing(void **state)
{
	struct told t = {0};
	int fd = event(), status;
	pid_t child;

	make(RING, CATNAP_POLICY_OFF);
	assert_int_equal(add(fd, POLLIN, 0, &t), 0);
	child = fork();
	if (child == 0)
		_exit(add(fd, POLLIN, 0, &t) == -EPERM && mod(fd, POLLOUT, 0, &t) == -EPERM &&
				      catnap_halter_del_source(h, fd) == -EPERM
			      ? 0
			      : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	ring_it(fd);
	assert_int_equal(halt(10000), CATNAP_CAUSE_EVENTFD);
	catnap_halter_destroy(&h);
	close(fd);
}

/* -- other threads ---------------------------------------------------------------------------- */

static void pause_for(long ns)
{
	const struct timespec ts = {.tv_nsec = ns};

	nanosleep(&ts, NULL);
}

static struct told later_told = {.drains = true};

static void *add_later(void *arg)
{
	int fd = *(int *)arg;

	pause_for(5 * MS);
	assert_int_equal(add(fd, POLLIN, 0, &later_told), 0);
	pause_for(5 * MS);
	ring_it(fd);
	return NULL;
}

static void one_added_while_the_owner_sleeps_counts_at_once(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		int fd = event(), cause;
		pthread_t thread;

		make(way, CATNAP_POLICY_OFF);
		later_told.times = 0;
		assert_int_equal(pthread_create(&thread, NULL, add_later, &fd), 0);
		assert_int_equal(catnap_halter_halt(h, CATNAP_NO_DEADLINE, &cause), 0);
		assert_int_equal(cause, CATNAP_CAUSE_EVENTFD);
		assert_int_equal(later_told.times, 1);
		pthread_join(thread, NULL);
		catnap_halter_destroy(&h);
		close(fd);
	}
}

static _Atomic uint32_t rung, heard;

static void hears(void *ctx, int fd, uint32_t events)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) == sizeof(n))
		heard += (uint32_t)n;
}

#define SHAKEN 50
#define SHAKES 3000

/* Adds, removes, and signals what is a source just then and stays one until it was heard. */
static void *shake(void *arg)
{
	unsigned int seed = 7;

	for (int i = 0; i < SHAKES; i++) {
		int fd = fds[(unsigned int)rand_r(&seed) % SHAKEN];
		struct catnap_source s =
			source(fd, POLLIN, rand_r(&seed) & 1 ? CATNAP_SOURCE_EDGE : 0, NULL);

		s.ready = hears;
		assert_int_equal(catnap_halter_add_source(h, &s), 0);
		rung++;
		ring_it(fd);
		while (heard != rung)
			sched_yield();
		if (rand_r(&seed) & 1)
			assert_int_equal(catnap_halter_mod_source(h, &s), 0);
		assert_int_equal(catnap_halter_del_source(h, fd), 0);
	}
	catnap_halter_wake(h, 2);
	return NULL;
}

static void no_signal_is_lost_while_others_add_and_remove(void **state)
{
	static const enum catnap_policy_kind kinds[WAYS] = {CATNAP_POLICY_ADAPTIVE,
							    CATNAP_POLICY_OFF, CATNAP_POLICY_OFF};

	for (enum way way = RING; way < WAYS; way++) {
		pthread_t thread;

		make(way, kinds[way]);
		open_many(SHAKEN);
		for (int i = 0; i < SHAKEN; i++)
			drain(fds[i]);
		rung = heard = 0;
		assert_int_equal(pthread_create(&thread, NULL, shake, NULL), 0);
		while (!catnap_halter_take(h))
			assert_int_equal(catnap_halter_halt(h, CATNAP_NO_DEADLINE, NULL), 0);
		pthread_join(thread, NULL);
		assert_int_equal(heard, SHAKES);
		catnap_halter_destroy(&h);
		close_many(SHAKEN);
	}
}

/* -- epoll as the model ----------------------------------------------------------------------- */

#define ENDS  24
#define STEPS 6000

static struct {
	int fd, peer; /* of a socket pair; peer: -1 once it is closed */
	bool is_source;
	struct told told;
} ends[ENDS];

static unsigned int first_seed = 1, model_seed;

static unsigned int pick(unsigned int n)
{
	return (unsigned int)rand_r(&model_seed) % n;
}

static void open_end(int i)
{
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
	ends[i].fd = s[0];
	ends[i].peer = s[1];
	ends[i].is_source = false;
}

static void close_peer(int i)
{
	if (ends[i].peer >= 0)
		close(ends[i].peer);
	ends[i].peer = -1;
}

/* Adds, changes or removes a source in both. */
static void change(int epoll, int i)
{
	uint32_t events =
		(pick(2) ? POLLIN : 0) | (pick(3) ? 0 : POLLOUT) | (pick(3) ? 0 : EPOLLRDHUP);
	bool edge = pick(2);
	struct epoll_event e = {.events = events | (edge ? EPOLLET : 0), .data.u32 = (uint32_t)i};
	uint32_t flags = edge ? CATNAP_SOURCE_EDGE : 0;
	int fd = ends[i].fd;

	if (!ends[i].is_source) {
		assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), 0);
		assert_int_equal(add(fd, events, flags, &ends[i].told), 0);
		ends[i].is_source = true;
	} else if (pick(2)) {
		assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &e), 0);
		assert_int_equal(mod(fd, events, flags, &ends[i].told), 0);
	} else {
		assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), 0);
		assert_int_equal(catnap_halter_del_source(h, fd), 0);
		ends[i].is_source = false;
	}
}

static void step(int epoll)
{
	char block[4096] = {0};
	int i = (int)pick(ENDS);

	switch (pick(8)) {
	case 0:
	case 1:
		if (ends[i].peer >= 0)
			(void)!write(ends[i].peer, block, 1 + pick(100));
		break;
	case 2:
		drain(ends[i].fd);
		break;
	case 3: /* no more room to write */
		while (ends[i].peer >= 0 && write(ends[i].fd, block, sizeof(block)) > 0)
			;
		break;
	case 4:
		if (ends[i].peer >= 0)
			drain(ends[i].peer);
		break;
	case 5:
		if (pick(4) == 0)
			close_peer(i);
		else if (ends[i].peer >= 0 && pick(4) == 0)
			shutdown(ends[i].peer, SHUT_WR);
		break;
	case 6:
		change(epoll, i);
		break;
	case 7: /* closed, and not removed before: the number is used again */
		if (pick(4) == 0) {
			close_peer(i);
			close(ends[i].fd);
			open_end(i);
		}
		break;
	}
}

/* Asks both what is ready. */
static void compare(int epoll)
{
	struct epoll_event e[ENDS];
	int n = epoll_wait(epoll, e, ENDS, 0);

	for (int i = 0; i < ENDS; i++)
		ends[i].told.times = 0;
	if (pick(2))
		assert_int_equal(catnap_halter_reap(h), n);
	else
		assert_int_equal(halt(0), n ? CATNAP_CAUSE_EVENTFD : CATNAP_CAUSE_TIMER);
	for (int i = 0; i < n; i++) {
		struct told *t = &ends[e[i].data.u32].told;

		assert_int_equal(t->times, 1);
		assert_int_equal(t->fd, ends[e[i].data.u32].fd);
		assert_int_equal(t->events, e[i].events);
		t->times = 0;
	}
	for (int i = 0; i < ENDS; i++)
		assert_int_equal(ends[i].told.times, 0);
}

static void tells_what_epoll_tells(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		int epoll = epoll_create1(EPOLL_CLOEXEC);

		model_seed = first_seed + (unsigned int)way;
		make(way, CATNAP_POLICY_OFF);
		assert_int_equal(catnap_halter_reap(h), 0);
		for (int i = 0; i < ENDS; i++)
			open_end(i);
		for (int i = 0; i < STEPS; i++) {
			step(epoll);
			if (pick(3) == 0)
				compare(epoll);
		}
		catnap_halter_destroy(&h);
		close(epoll);
		for (int i = 0; i < ENDS; i++) {
			close_peer(i);
			close(ends[i].fd);
		}
	}
}

/* test_loop [SEED]: another random run */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(level_is_told_until_it_is_read),
		cmocka_unit_test(edge_is_told_when_something_happens),
		cmocka_unit_test(a_deadline_that_has_passed_does_not_hide_a_new_source),
		cmocka_unit_test(a_source_may_wait_to_write),
		cmocka_unit_test(ends_and_errors_are_always_told),
		cmocka_unit_test(what_cannot_be_a_source_is_refused),
		cmocka_unit_test(all_eventfds_take_the_room_of_the_first_source),
		cmocka_unit_test(a_change_is_told_again),
		cmocka_unit_test(each_of_many_is_told_once_a_halt),
		cmocka_unit_test(one_that_a_callback_removes_is_told_no_more),
		cmocka_unit_test(one_that_a_callback_adds_counts_at_once),
		cmocka_unit_test(a_closed_number_is_another_source),
		cmocka_unit_test(a_closed_file_that_lives_on_is_got_rid_of),
		cmocka_unit_test(an_orphans_file_may_come_back),
		cmocka_unit_test(a_child_changes_nothing),
		cmocka_unit_test(one_added_while_the_owner_sleeps_counts_at_once),
		cmocka_unit_test(no_signal_is_lost_while_others_add_and_remove),
		cmocka_unit_test(tells_what_epoll_tells),
	};

	if (argc > 1)
		first_seed = (unsigned int)strtoul(argv[1], NULL, 10);
	signal(SIGPIPE, SIG_IGN); /* write() to one that was closed says EPIPE */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
