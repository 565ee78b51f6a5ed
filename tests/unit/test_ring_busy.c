/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel that takes no submission just now: -EBUSY, as those before Linux 5.19 answer while
 * completions wait for room, and -EAGAIN, as any does that is short of memory. The answers are put
 * in by the linker (--wrap); everything else is the real ring.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "poll/halter.h"
#include "poll/ring.h"
#include "uring.h"

static int busy_left, busy_with, refused; /* refuse so many submissions, with this error */

int __real_io_uring_submit(struct io_uring *uring);
int __wrap_io_uring_submit(struct io_uring *uring);
int __real_io_uring_submit_and_wait_timeout(struct io_uring *uring, struct io_uring_cqe **cqe,
					    unsigned int nr, struct __kernel_timespec *ts,
					    sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *uring, struct io_uring_cqe **cqe,
					    unsigned int nr, struct __kernel_timespec *ts,
					    sigset_t *mask);

static bool refuse(void)
{
	if (busy_left <= 0)
		return false;
	busy_left--;
	refused++;
	return true;
}

int __wrap_io_uring_submit(struct io_uring *uring)
{
	return refuse() ? busy_with : __real_io_uring_submit(uring);
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *uring, struct io_uring_cqe **cqe,
					    unsigned int nr, struct __kernel_timespec *ts,
					    sigset_t *mask)
{
	return refuse() ? busy_with
			: __real_io_uring_submit_and_wait_timeout(uring, cqe, nr, ts, mask);
}

static void busy(int n, int with)
{
	busy_left = n;
	busy_with = with;
	refused = 0;
}

static struct ring ring;
static int fired[1024];

static void on_fired(void *ctx, int fd)
{
	uint64_t n;

	assert_true(fd >= 0 && fd < 1024);
	fired[fd]++;
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
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

static int set_up(void **state)
{
	memset(fired, 0, sizeof(fired));
	busy(0, 0);
	return ring_init(&ring, false, false);
}

static int set_up_eventfd(void **state)
{
	memset(fired, 0, sizeof(fired));
	busy(0, 0);
	return ring_init(&ring, true, false);
}

static int tear_down(void **state)
{
	busy(0, 0);
	ring_fini(&ring);
	return 0;
}

static const int answers[] = {-EBUSY, -EAGAIN};

/* A source that could not be submitted is not lost, and nothing fails. */
static void sources_come_later(void **state)
{
	for (int i = 0; i < 2; i++) {
		int fd = event();

		assert_int_equal(ring_add(&ring, fd), 0);
		busy(1, answers[i]);
		assert_int_equal(ring_sync(&ring), 0);
		assert_int_equal(refused, 1);
		ring_it(fd);
		assert_true(ring_unflushed(&ring));
		assert_int_equal(ring_flush(&ring), 0);
		assert_int_equal(ring_reap(&ring, on_fired, NULL), 1);
		assert_int_equal(fired[fd], 1);
		fired[fd] = 0; /* the number comes again */
		assert_int_equal(ring_del(&ring, fd), 0);
		busy(1, answers[i]);
		assert_int_equal(ring_sync(&ring), 0);
		close(fd);
	}
}

/* More than the submission queue holds, while none is taken: the rest follows with a reap. */
static void more_than_there_is_room_for(void **state)
{
	int fds[RING_SOURCES];

	/* All armed, then all replaced: two entries each, and room for one. */
	for (int i = 0; i < RING_SOURCES; i++) {
		fds[i] = event();
		assert_int_equal(ring_add(&ring, fds[i]), 0);
	}
	assert_int_equal(ring_sync(&ring), 0);
	for (int i = 0; i < RING_SOURCES; i++) {
		assert_int_equal(ring_del(&ring, fds[i]), 0);
		assert_int_equal(ring_add(&ring, fds[i]), 0);
	}
	busy(100, -EBUSY);
	assert_int_equal(ring_sync(&ring), 0);
	assert_true(refused > 0);
	assert_true(ring_active(&ring));
	busy(0, 0);
	for (int i = 0; i < RING_SOURCES; i++)
		ring_it(fds[i]);
	for (int i = 0; i < 4; i++) {
		assert_true(ring_reap(&ring, on_fired, NULL) >= 0);
		assert_int_equal(ring_flush(&ring), 0);
	}
	for (int i = 0; i < RING_SOURCES; i++) {
		assert_int_equal(fired[fds[i]], 1);
		close(fds[i]);
	}
}

/* Sleeping: it says that it has not slept, and the next time it does, and can be woken. */
static void sleeping_is_tried_again(void **state)
{
	_Atomic uint32_t word = 1;
	int fd = event(), ret;

	assert_int_equal(ring_add(&ring, fd), 0);
	assert_int_equal(ring_sync(&ring), 0);
	for (int i = 0; i < 2; i++) {
		busy(10, answers[i]);
		assert_int_equal(ring_prepare_sleep(&ring), 0);
		assert_int_equal(ring_sleep(&ring, &word, 1, UINT64_MAX), -EAGAIN);
		assert_int_equal(ring_prepare_sleep(&ring), 0);
		assert_int_equal(ring_sleep(&ring, &word, 1, UINT64_MAX), -EAGAIN);
		busy(0, 0);
		assert_int_equal(ring_prepare_sleep(&ring), 0);
		ret = ring_sleep(&ring, &word, 1, 1000000);
		/* 0 if something had to be submitted first */
		assert_true(ret == -ETIME || ret == 0);
		ring_it(fd);
		assert_int_equal(ring_sleep(&ring, &word, 1, UINT64_MAX), 0);
		while (!fired[fd])
			assert_true(ring_reap(&ring, on_fired, NULL) >= 0);
		fired[fd] = 0;
	}
	close(fd);
}

static struct ring_req done_req;
static int done_res;

static void on_done(struct ring_req *req, int res)
{
	done_res = res;
}

/* A halt with a request in flight ends when that is done, however often it was refused. */
static void a_halt_goes_on(void **state)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *h;

	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = CATNAP_POLICY_OFF;
	assert_int_equal(catnap_halter_create(&cfg, &h), 0);
	for (int i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe;
		int err, cause = -1;

		sqe = ring_get(&h->ring, &err);
		assert_non_null(sqe);
		io_uring_prep_nop(sqe);
		done_req.done = on_done;
		done_res = -1;
		ring_queue(&h->ring, sqe, &done_req);
		busy(20, answers[i]);
		assert_int_equal(halter_halt(h, UINT64_MAX, &cause), 0);
		assert_int_equal(cause, CATNAP_CAUSE_IO);
		assert_int_equal(done_res, 0);
		assert_int_equal(refused, 20);
	}
	catnap_halter_destroy(&h);
}

/* An error that does not pass is told. */
static void other_errors_are_errors(void **state)
{
	int fd = event();

	assert_int_equal(ring_add(&ring, fd), 0);
	busy(1, -EBADF);
	assert_int_equal(ring_sync(&ring), -EBADF);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sources_come_later, set_up, tear_down),
		cmocka_unit_test_setup_teardown(more_than_there_is_room_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sleeping_is_tried_again, set_up, tear_down),
		{"sleeping_is_tried_again by eventfd", sleeping_is_tried_again, set_up_eventfd,
		 tear_down, NULL},
		cmocka_unit_test(a_halt_goes_on),
		cmocka_unit_test_setup_teardown(other_errors_are_errors, set_up, tear_down),
	};

	return has_uring() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
