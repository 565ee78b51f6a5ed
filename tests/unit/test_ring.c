/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's io_uring: sources come, fire, and go; sleeping in it, by both of its ways; and what
 * there is where there is none. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <linux/futex.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "poll/clock.h"
#include "poll/ring.h"
#include "uring.h"

/* The counts of what fired, by file descriptor. */
static int fired[1024];

static void on_fired(void *ctx, int fd)
{
	assert_true(fd >= 0 && fd < 1024);
	fired[fd]++;
}

static struct ring ring;

static int set_up(void **state)
{
	memset(fired, 0, sizeof(fired));
	return ring_init(&ring, false, false);
}

static int set_up_plain(void **state)
{
	memset(fired, 0, sizeof(fired));
	return ring_init(&ring, false, true);
}

static int tear_down(void **state)
{
	ring_fini(&ring);
	return 0;
}

static int event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0 && fd < 1024);
	return fd;
}

static void ring_it(int fd)
{
	assert_int_equal(write(fd, &(uint64_t){1}, 8), 8);
}

static int reap(void)
{
	return ring_reap(&ring, on_fired, NULL);
}

/* Nothing can be opened by way of it, nor does it take back what it was told. */
static void it_takes_only_what_is_used(void **state)
{
	static const uint8_t never[] = {IORING_OP_OPENAT,	  IORING_OP_OPENAT2,
					IORING_OP_SOCKET,	  IORING_OP_CONNECT,
					IORING_OP_ACCEPT,	  IORING_OP_UNLINKAT,
					IORING_OP_PROVIDE_BUFFERS};
	struct io_uring_restriction more = {.opcode = IORING_RESTRICTION_SQE_OP,
					    .sqe_op = IORING_OP_OPENAT};
	struct io_uring_cqe *cqe;
	uint64_t value = 7;
	int fd = event();

	NEED_URING();
	assert_int_equal(ring_sync(&ring), 0);
	for (size_t i = 0; i < sizeof(never); i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring.uring);

		io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
		sqe->opcode = never[i];
		assert_int_equal(io_uring_submit(&ring.uring), 1);
		assert_int_equal(io_uring_wait_cqe(&ring.uring, &cqe), 0);
		assert_int_equal(cqe->res, -EACCES);
		io_uring_cqe_seen(&ring.uring, cqe);
	}
	assert_true(syscall(SYS_io_uring_register, ring.uring.ring_fd, IORING_REGISTER_RESTRICTIONS,
			    &more, 1) < 0);
	assert_int_equal(io_uring_register_files(&ring.uring, &fd, 1), -EACCES);
	/* The requests of disks work. */
	ring_it(fd);
	io_uring_prep_read(io_uring_get_sqe(&ring.uring), fd, &value, sizeof(value), 0);
	assert_int_equal(io_uring_submit(&ring.uring), 1);
	assert_int_equal(io_uring_wait_cqe(&ring.uring, &cqe), 0);
	assert_int_equal(cqe->res, 8);
	io_uring_cqe_seen(&ring.uring, cqe);
	assert_int_equal(value, 1);
	close(fd);
}

static void the_list_of_sources_is_kept(void **state)
{
	int a = event(), b = event(), gone = event();

	close(gone);
	assert_int_equal(ring_add(&ring, -1), -EBADF);
	assert_int_equal(ring_add(&ring, gone), -EBADF);
	assert_int_equal(ring_del(&ring, a), -ENOENT);
	assert_int_equal(ring_del(&ring, -1), -ENOENT);
	assert_int_equal(ring_add(&ring, a), 0);
	assert_int_equal(ring_add(&ring, a), -EEXIST);
	assert_int_equal(ring_add(&ring, b), 0);
	assert_int_equal(ring_del(&ring, a), 0);
	assert_int_equal(ring_del(&ring, a), -ENOENT);
	assert_int_equal(ring_add(&ring, a), 0);
	assert_int_equal(ring_add(&ring, a), -EEXIST);
	close(a);
	close(b);
}

static void there_is_room_for_64_and_deleting_makes_room(void **state)
{
	int fds[RING_SOURCES + 1];

	for (int i = 0; i <= RING_SOURCES; i++)
		fds[i] = event();
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < RING_SOURCES; i++)
			assert_int_equal(ring_add(&ring, fds[i]), 0);
		assert_int_equal(ring_add(&ring, fds[RING_SOURCES]), -ENOSPC);
		/* Armed or not, whoever deletes one may add another. */
		if (round)
			assert_int_equal(ring_sync(&ring), 0);
		assert_int_equal(ring_del(&ring, fds[7]), 0);
		assert_int_equal(ring_add(&ring, fds[RING_SOURCES]), 0);
		assert_int_equal(ring_sync(&ring), 0);
		assert_int_equal(ring.armed, RING_SOURCES);
		memset(fired, 0, sizeof(fired));
		for (int i = 0; i <= RING_SOURCES; i++)
			ring_it(fds[i]);
		assert_int_equal(reap(), RING_SOURCES);
		for (int i = 0; i <= RING_SOURCES; i++) {
			uint64_t n;

			assert_int_equal(fired[fds[i]], i != 7);
			assert_int_equal(read(fds[i], &n, 8), 8);
			if (i != 7)
				assert_int_equal(ring_del(&ring, fds[i]), 0);
		}
		assert_int_equal(ring_sync(&ring), 0);
		assert_int_equal(ring.armed, 0);
	}
	for (int i = 0; i <= RING_SOURCES; i++)
		close(fds[i]);
}

static void a_source_fires_each_time(void **state)
{
	int fd = event();

	assert_int_equal(ring_add(&ring, fd), 0);
	assert_int_equal(reap(), 0); /* before there is a ring at all */
	assert_int_equal(ring_sync(&ring), 0);
	assert_false(ring_ready(&ring));
	for (int i = 1; i <= 1000; i++) {
		ring_it(fd);
		assert_true(ring_ready(&ring));
		assert_int_equal(reap(), 1);
		assert_int_equal(fired[fd], i);
		assert_false(ring_ready(&ring));
	}
	close(fd);
}

static void one_that_was_signalled_before_fires_when_armed(void **state)
{
	int fd = event();

	ring_it(fd);
	assert_int_equal(ring_add(&ring, fd), 0);
	assert_int_equal(ring_sync(&ring), 0);
	assert_int_equal(reap(), 1);
	close(fd);
}

/* The kernel ends a multishot poll whose completions have no room. */
static void it_is_armed_again_after_an_overflow(void **state)
{
	int fd = event();
	uint64_t n;

	NEED_URING();
	assert_int_equal(ring_add(&ring, fd), 0);
	assert_int_equal(ring_sync(&ring), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 2000; i++) {
			ring_it(fd);
			assert_int_equal(read(fd, &n, 8), 8);
		}
		assert_true(reap() > 0);
		while (reap() > 0)
			;
		assert_int_equal(ring.armed, 1);
		memset(fired, 0, sizeof(fired));
		ring_it(fd);
		assert_int_equal(reap(), 1);
		assert_int_equal(fired[fd], 1);
		assert_int_equal(read(fd, &n, 8), 8);
	}
	close(fd);
}

static unsigned int endless;
static int endless_fd;

static void ring_again(struct ring_handler *handler, uint32_t events)
{
	/* It has to end for the test to fail. */
	if (++endless < 100000)
		ring_it(endless_fd);
}

/* A packet each time that one was taken: the owner has to look at something else, too. */
static void a_handler_that_brings_more_has_its_turn(void **state)
{
	struct ring_handler handler = {.ready = ring_again};
	int fd = event();

	endless = 0;
	endless_fd = fd;
	assert_int_equal(ring_add_source(&ring, fd, POLLIN, &handler), 0);
	assert_int_equal(ring_sync(&ring), 0);
	ring_it(fd);
	assert_true(reap() > 0);
	assert_in_range(endless, 1, 1000);
	/* And the next turn goes on. */
	assert_true(ring_ready(&ring));
	assert_true(reap() > 0);
	assert_int_equal(ring_del_source(&ring, fd, &handler), 0);
	close(fd);
}

static void a_deleted_one_fires_no_more(void **state)
{
	int a = event(), b = event();

	assert_int_equal(ring_add(&ring, a), 0);
	assert_int_equal(ring_add(&ring, b), 0);
	assert_int_equal(ring_sync(&ring), 0);
	/* Its completion is there already, and the ring does not know yet that it was deleted. */
	ring_it(a);
	assert_int_equal(ring_del(&ring, a), 0);
	assert_int_equal(reap(), 0);
	assert_int_equal(ring_sync(&ring), 0);
	assert_int_equal(ring.armed, 1);
	ring_it(a);
	assert_int_equal(reap(), 0);
	assert_int_equal(fired[a], 0);
	ring_it(b);
	assert_int_equal(reap(), 1);
	assert_int_equal(fired[b], 1);
	close(a);
	close(b);
}

/* Another file under an old number, with and without a look of the owner in between. */
static void a_number_that_is_used_again_is_another_source(void **state)
{
	for (int synced = 0; synced < 2; synced++) {
		int fd = event(), other, copy;

		assert_int_equal(ring_add(&ring, fd), 0);
		assert_int_equal(ring_sync(&ring), 0);
		copy = dup(fd); /* keeps the old file alive, and able to fire */
		assert_int_equal(ring_del(&ring, fd), 0);
		close(fd);
		if (synced)
			assert_int_equal(ring_sync(&ring), 0);
		other = event();
		assert_int_equal(other, fd);
		assert_int_equal(ring_add(&ring, other), 0);
		assert_int_equal(ring_sync(&ring), 0);
		assert_int_equal(ring.armed, 1);
		memset(fired, 0, sizeof(fired));
		ring_it(copy);
		assert_int_equal(reap(), 0);
		ring_it(other);
		assert_int_equal(reap(), 1);
		assert_int_equal(fired[other], 1);
		assert_int_equal(ring_del(&ring, other), 0);
		assert_int_equal(ring_sync(&ring), 0);
		close(other);
		close(copy);
	}
}

static void a_closed_one_harms_nobody(void **state)
{
	int never = event(), later = event(), good = event();

	assert_int_equal(ring_add(&ring, good), 0);
	assert_int_equal(ring_sync(&ring), 0); /* the ring's own file is open from here on */
	assert_int_equal(ring_add(&ring, never), 0);
	assert_int_equal(ring_add(&ring, later), 0);
	close(never);
	assert_int_equal(ring_sync(&ring), 0);
	close(later);
	assert_int_equal(reap(), 0);
	for (int i = 1; i < 10; i++) {
		ring_it(good);
		assert_int_equal(reap(), 1);
		assert_int_equal(fired[good], i);
		assert_int_equal(ring_sync(&ring), 0);
	}
	assert_int_equal(fired[never] + fired[later], 0);
	assert_int_equal(ring_del(&ring, never), 0);
	assert_int_equal(ring_del(&ring, later), 0);
	assert_int_equal(ring_sync(&ring), 0);
	while (reap() > 0)
		;
	assert_int_equal(ring.armed, 1);
	close(good);
}

/* -- sleeping --------------------------------------------------------------------------------- */

static _Atomic uint32_t word;

struct later {
	pthread_t thread;
	int fd; /* -1: the futex */
};

static void *do_later(void *arg)
{
	const struct timespec ts = {.tv_nsec = 5000000};
	struct later *l = arg;

	nanosleep(&ts, NULL);
	if (l->fd >= 0) {
		ring_it(l->fd);
	} else {
		atomic_store(&word, 0);
		syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	}
	return NULL;
}

static void later(struct later *l, int fd)
{
	l->fd = fd;
	assert_int_equal(pthread_create(&l->thread, NULL, do_later, l), 0);
}

static void sleeps(bool no_futex)
{
	struct later l;
	uint64_t begin;
	int fd = event(), ret;
	bool submits;

	assert_int_equal(ring_add(&ring, fd), 0);
	ring.no_futex = no_futex;
	assert_int_equal(ring_sync(&ring), 0);
	if (no_futex)
		assert_true(!ring.futex_ok && ring.wake_fd >= 0);
	for (int i = 0; i < 3; i++) {
		/* Nothing comes: the time passes. */
		atomic_store(&word, 1);
		assert_int_equal(ring_prepare_sleep(&ring), 0);
		begin = clock_monotonic_ns();
		submits = ring.futex_ok && !ring.futex_armed;
		ret = ring_sleep(&ring, &word, 1, 3000000);
		assert_int_equal(ret, submits ? 0 : -ETIME);
		assert_true(clock_monotonic_ns() - begin >= 3000000);
		assert_int_equal(reap(), 0);

		/* A source. */
		assert_int_equal(ring_prepare_sleep(&ring), 0);
		later(&l, fd);
		assert_int_equal(ring_sleep(&ring, &word, 1, UINT64_MAX), 0);
		assert_int_equal(reap(), 1);
		pthread_join(l.thread, NULL);

		/* The waker: by the word, or by the ring's eventfd. */
		assert_int_equal(ring_prepare_sleep(&ring), 0);
		later(&l, no_futex ? ring.wake_fd : -1);
		assert_int_equal(ring_sleep(&ring, &word, 1, UINT64_MAX), 0);
		assert_int_equal(reap(), 0);
		pthread_join(l.thread, NULL);
	}
	close(fd);
}

static void sleeps_on_a_futex_in_the_ring(void **state)
{
	struct ring probe;
	struct later l;
	int fd = event();

	later(&l, fd); /* one thread is enough for a process to have had two */
	pthread_join(l.thread, NULL);
	close(fd);
	assert_int_equal(ring_init(&probe, false, false), 0);
	assert_int_equal(ring_sync(&probe), 0);
	if (!probe.futex_ok) {
		ring_fini(&probe);
		skip(); /* before Linux 6.7 */
	}
	ring_fini(&probe);
	sleeps(false);
	/* A word that has changed before is no reason to sleep. */
	assert_false(ring.futex_armed);
	atomic_store(&word, 7);
	assert_int_equal(ring_sleep(&ring, &word, 1, UINT64_MAX), 0);
	assert_int_equal(reap(), 0);
	assert_false(ring.futex_armed);
}

static void sleeps_on_an_eventfd_in_the_ring(void **state)
{
	sleeps(true);
}

static void has_no_requests_without_a_ring(void **state)
{
	int err = 0;

	assert_null(ring_get(&ring, &err));
	assert_int_equal(err, -EOPNOTSUPP);
	assert_int_equal(ring_flush(&ring), 0);
	assert_false(ring_ready(&ring));
	assert_false(ring_active(&ring));
}

/* -- requests of the owner's own -------------------------------------------------------------- */

struct request {
	struct ring_req req; /* first: done() gets back to the whole */
	int done, res;
	struct request *then; /* queued by done() */
};

static void request_nop(struct request *q);

static void request_done(struct ring_req *req, int res)
{
	struct request *q = (struct request *)req;

	q->done++;
	q->res = res;
	if (q->then)
		request_nop(q->then);
}

static void request_nop(struct request *q)
{
	int err = 0;
	struct io_uring_sqe *sqe = ring_get(&ring, &err);

	assert_non_null(sqe);
	q->req.done = request_done;
	io_uring_prep_nop(sqe);
	ring_queue(&ring, sqe, &q->req);
}

static void a_request_is_done_once(void **state)
{
	struct request q = {0};

	NEED_URING();
	assert_false(ring_active(&ring));
	request_nop(&q);
	assert_true(ring_active(&ring));
	assert_true(ring_unflushed(&ring));
	assert_int_equal(ring_flush(&ring), 0);
	assert_false(ring_unflushed(&ring));
	assert_true(ring_ready(&ring));
	assert_int_equal(reap(), 1);
	assert_int_equal(q.done, 1);
	assert_int_equal(q.res, 0);
	assert_false(ring_active(&ring));
	assert_int_equal(ring.completed, 1);
}

/* More than the submission and the completion queue hold, with nothing reaped in between. */
static void more_requests_than_the_queues_hold_are_all_done(void **state)
{
	static struct request q[1000];

	NEED_URING();
	memset(q, 0, sizeof(q));
	for (int i = 0; i < 1000; i++)
		request_nop(&q[i]);
	assert_int_equal(ring_flush(&ring), 0);
	assert_int_equal(ring.inflight, 1000);
	while (ring.inflight) {
		assert_true(ring_ready(&ring));
		assert_true(reap() > 0);
	}
	for (int i = 0; i < 1000; i++)
		assert_int_equal(q[i].done, 1);
}

/* The reap that ran a completion submits what it begins. */
static void a_request_that_done_begins_is_submitted(void **state)
{
	struct request b = {0}, a = {.then = &b};

	NEED_URING();
	request_nop(&a);
	assert_int_equal(ring_flush(&ring), 0);
	while (ring.inflight)
		reap();
	assert_int_equal(a.done, 1);
	assert_int_equal(b.done, 1);
}

/* Requests and sources side by side; and a request that has to be waited for. */
static void requests_and_sources_do_not_disturb_each_other(void **state)
{
	struct request q = {.req.done = request_done};
	int fd = event(), slow = event(), err = 0;
	struct io_uring_sqe *sqe;
	uint64_t value = 0;

	NEED_URING();
	assert_int_equal(fcntl(slow, F_SETFL, 0), 0); /* blocking: the read waits in the kernel */
	assert_int_equal(ring_add(&ring, fd), 0);
	assert_int_equal(ring_sync(&ring), 0);
	sqe = ring_get(&ring, &err);
	assert_non_null(sqe);
	io_uring_prep_read(sqe, slow, &value, sizeof(value), 0);
	ring_queue(&ring, sqe, &q.req);
	assert_int_equal(ring_flush(&ring), 0);
	ring_it(fd);
	assert_int_equal(ring_wait(&ring), 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(fired[fd], 1);
	assert_int_equal(q.done, 0);
	ring_it(slow);
	assert_int_equal(ring_wait(&ring), 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(q.done, 1);
	assert_int_equal(q.res, 8);
	assert_int_equal(value, 1);
	assert_int_equal(ring.inflight, 0);
	close(fd);
	close(slow);
}

/* -- watches ---------------------------------------------------------------------------------- */

struct counter {
	struct ring_handler handler;
	uint32_t events;
	int calls;
};

static void count_it(struct ring_handler *handler, uint32_t events)
{
	struct counter *c = (struct counter *)handler;

	c->events |= events;
	c->calls++;
}

static void a_watch_has_a_handler_of_its_own(void **state)
{
	struct counter in = {.handler = {count_it}}, out = {.handler = {count_it}};
	int fd = event(), pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	/* One descriptor three times: for whoever has the ring, to be read, and to be written. */
	assert_int_equal(ring_add(&ring, pair[0]), 0);
	assert_int_equal(ring_add_source(&ring, pair[0], POLLIN, &in.handler), 0);
	assert_int_equal(ring_add_source(&ring, pair[0], POLLIN, &in.handler), -EEXIST);
	assert_int_equal(ring_add_source(&ring, pair[0], POLLOUT, &out.handler), 0);
	assert_int_equal(ring_add(&ring, fd), 0);
	assert_int_equal(ring_sync(&ring), 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(out.calls, 1);
	assert_true(out.events & POLLOUT);
	assert_int_equal(in.calls, 0);
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	ring_it(fd);
	reap();
	assert_int_equal(in.calls, 1);
	assert_true(in.events & POLLIN);
	assert_int_equal(fired[pair[0]], 1);
	assert_int_equal(fired[fd], 1);
	/* Removed one by one. */
	assert_int_equal(ring_del_source(&ring, pair[0], &in.handler), 0);
	assert_int_equal(ring_del_source(&ring, pair[0], &in.handler), -ENOENT);
	assert_int_equal(ring_sync(&ring), 0);
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	reap();
	assert_int_equal(in.calls, 1);
	assert_int_equal(fired[pair[0]], 2);
	/* And taken up again before the ring knows: what is ready is told anew. */
	assert_int_equal(ring_add_source(&ring, pair[0], POLLIN, &in.handler), 0);
	assert_int_equal(ring_sync(&ring), 0);
	reap();
	assert_int_equal(in.calls, 2);
	assert_int_equal(ring_del_source(&ring, pair[0], &in.handler), 0);
	assert_int_equal(ring_add_source(&ring, pair[0], POLLIN, &in.handler), 0);
	assert_int_equal(ring_sync(&ring), 0);
	reap();
	assert_int_equal(in.calls, 3);
	close(pair[0]);
	close(pair[1]);
	close(fd);
}

int main(void)
{
#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define PLAIN_TEST(f)                                                    \
	{                                                                \
#f " without io_uring", f, set_up_plain, tear_down, NULL \
	}
	const struct CMUnitTest tests[] = {
		RING_TEST(it_takes_only_what_is_used),
		RING_TEST(the_list_of_sources_is_kept),
		RING_TEST(there_is_room_for_64_and_deleting_makes_room),
		RING_TEST(a_source_fires_each_time),
		RING_TEST(one_that_was_signalled_before_fires_when_armed),
		RING_TEST(it_is_armed_again_after_an_overflow),
		RING_TEST(a_handler_that_brings_more_has_its_turn),
		RING_TEST(a_deleted_one_fires_no_more),
		RING_TEST(a_number_that_is_used_again_is_another_source),
		RING_TEST(a_closed_one_harms_nobody),
		RING_TEST(sleeps_on_a_futex_in_the_ring),
		RING_TEST(sleeps_on_an_eventfd_in_the_ring),
		RING_TEST(a_request_is_done_once),
		RING_TEST(more_requests_than_the_queues_hold_are_all_done),
		RING_TEST(a_request_that_done_begins_is_submitted),
		RING_TEST(a_watch_has_a_handler_of_its_own),
		RING_TEST(requests_and_sources_do_not_disturb_each_other),
		PLAIN_TEST(the_list_of_sources_is_kept),
		PLAIN_TEST(there_is_room_for_64_and_deleting_makes_room),
		PLAIN_TEST(a_source_fires_each_time),
		PLAIN_TEST(one_that_was_signalled_before_fires_when_armed),
		PLAIN_TEST(a_handler_that_brings_more_has_its_turn),
		PLAIN_TEST(a_deleted_one_fires_no_more),
		PLAIN_TEST(a_number_that_is_used_again_is_another_source),
		PLAIN_TEST(a_closed_one_harms_nobody),
		PLAIN_TEST(sleeps_on_an_eventfd_in_the_ring),
		PLAIN_TEST(a_watch_has_a_handler_of_its_own),
		PLAIN_TEST(has_no_requests_without_a_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
