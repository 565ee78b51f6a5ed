/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks posted to a halter's owner, and requests of the owner's own that end a halt. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "container_of.h"
#include "poll/halter.h"
#include "uring.h"

#define POSTERS 3
#define POSTS	100000

static struct catnap_halter *make(uint32_t policy)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *h = NULL;

	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = policy;
	assert_int_equal(catnap_halter_create(&cfg, &h), 0);
	return h;
}

static void wait_and_run(struct catnap_halter *h)
{
	int cause;

	if (!halter_pending(h))
		assert_int_equal(halter_halt(h, UINT64_MAX, &cause), 0);
	assert_true(halter_serve(h, halter_take(h)) >= 0);
}

struct noted {
	struct halter_task task;
	int *order, number;
};

static void note(struct halter_task *task)
{
	struct noted *n = (struct noted *)task;

	n->order[(*n->order)++ + 1] = n->number;
}

static void tasks_run_in_the_order_of_their_posts(void **state)
{
	struct catnap_halter *h = make(CATNAP_POLICY_OFF);
	int order[8] = {0};
	struct noted t[3];

	memset(t, 0, sizeof(t));
	for (int i = 0; i < 3; i++) {
		t[i] = (struct noted){{.run = note}, order, i};
		halter_post(h, &t[i].task);
	}
	halter_post(h, &t[0].task); /* it is posted: nothing more */
	wait_and_run(h);
	assert_int_equal(order[0], 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(order[1 + i], i);
	halter_post(h, &t[1].task); /* it ran: again */
	wait_and_run(h);
	assert_int_equal(order[0], 4);
	catnap_halter_destroy(&h);
}

/* When all is over each poster's writes before its last post have been seen, and no post is
 * lost. */
struct counted {
	struct halter_task task;
	struct catnap_halter *h;
	_Atomic uint64_t shown;
	uint64_t seen, runs;
	pthread_t thread;
};

static void see(struct halter_task *task)
{
	struct counted *c = (struct counted *)task;

	c->seen = atomic_load_explicit(&c->shown, memory_order_relaxed);
	c->runs++;
}

static void *post_often(void *arg)
{
	struct counted *c = arg;

	for (uint64_t i = 1; i <= POSTS; i++) {
		atomic_store_explicit(&c->shown, i, memory_order_relaxed);
		halter_post(c->h, &c->task);
	}
	return NULL;
}

static void no_post_is_lost(void **state)
{
	struct catnap_halter *h = make(CATNAP_POLICY_KERNEL);
	struct counted c[POSTERS];
	bool all;

	memset(c, 0, sizeof(c));
	for (int i = 0; i < POSTERS; i++) {
		c[i].task.run = see;
		c[i].h = h;
		assert_int_equal(pthread_create(&c[i].thread, NULL, post_often, &c[i]), 0);
	}
	do {
		wait_and_run(h); /* hangs if a post is lost */
		all = true;
		for (int i = 0; i < POSTERS; i++)
			all &= c[i].seen == POSTS;
	} while (!all);
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(c[i].thread, NULL);
		assert_true(c[i].runs <= POSTS);
	}
	catnap_halter_destroy(&h);
}

struct reading {
	struct ring_req req;
	uint64_t value;
	int res;
};

static void read_done(struct ring_req *req, int res)
{
	((struct reading *)req)->res = res;
}

static void begin(struct catnap_halter *h, struct reading *r, int fd)
{
	int err = 0;
	struct io_uring_sqe *sqe = ring_get(&h->ring, &err);

	assert_non_null(sqe);
	r->req.done = read_done;
	r->res = 0;
	io_uring_prep_read(sqe, fd, &r->value, sizeof(r->value), 0);
	ring_queue(&h->ring, sqe, &r->req);
}

static void *write_later(void *arg)
{
	usleep(20000);
	assert_int_equal(write(*(int *)arg, &(uint64_t){7}, 8), 8);
	return NULL;
}

/* The owner polls or sleeps for its own request; nobody else wakes it. */
static void a_request_ends_a_halt(void **state)
{
	static const uint32_t policies[] = {CATNAP_POLICY_OFF, CATNAP_POLICY_ALWAYS};

	NEED_URING();
	for (int i = 0; i < 2; i++) {
		struct catnap_halter *h = make(policies[i]);
		int fd = eventfd(0, EFD_CLOEXEC), cause = -1;
		struct catnap_halt_stats s = {.size = sizeof(s)};
		struct reading r;
		pthread_t thread;

		begin(h, &r, fd);
		assert_int_equal(halter_reap(h), 0); /* submits */
		assert_int_equal(pthread_create(&thread, NULL, write_later, &fd), 0);
		assert_int_equal(halter_halt(h, UINT64_MAX, &cause), 0);
		assert_int_equal(cause, CATNAP_CAUSE_IO);
		assert_int_equal(r.res, 8);
		assert_int_equal(r.value, 7);
		pthread_join(thread, NULL);
		assert_int_equal(halter_get_stats(h, &s), 0);
		assert_int_equal(s.wakeups[CATNAP_CAUSE_IO], 1);
		catnap_halter_destroy(&h);
		close(fd);
	}
}

/* One that was queued and not submitted yet is not waited for in vain. */
static void what_is_queued_is_submitted_when_a_halt_begins(void **state)
{
	struct catnap_halter *h = make(CATNAP_POLICY_ALWAYS);
	int fd = eventfd(3, EFD_CLOEXEC), cause = -1;
	struct reading r;

	NEED_URING();
	begin(h, &r, fd);
	assert_int_equal(halter_halt(h, UINT64_MAX, &cause), 0);
	assert_int_equal(cause, CATNAP_CAUSE_IO);
	assert_int_equal(r.value, 3);
	catnap_halter_destroy(&h);
	close(fd);
}

static void drain_waits_for_all(void **state)
{
	struct catnap_halter *h = make(CATNAP_POLICY_OFF);
	int fd = eventfd(0, EFD_CLOEXEC);
	struct reading r;
	pthread_t thread;

	NEED_URING();
	assert_int_equal(halter_drain(h, false), 0); /* nothing: no ring is made */
	begin(h, &r, fd);
	assert_int_equal(pthread_create(&thread, NULL, write_later, &fd), 0);
	assert_int_equal(halter_drain(h, false), 0);
	assert_int_equal(r.res, 8);
	pthread_join(thread, NULL);
	catnap_halter_destroy(&h);
	close(fd);
}

static void *own_self(void *arg)
{
	assert_null(halter_self());
	halter_set_self(arg);
	assert_ptr_equal(halter_self(), arg);
	return NULL;
}

static void self_belongs_to_a_thread(void **state)
{
	struct catnap_halter *h = make(CATNAP_POLICY_OFF);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, own_self, h), 0);
	pthread_join(thread, NULL);
	assert_null(halter_self());
	catnap_halter_destroy(&h);
}

struct event {
	struct ring_handler handler;
	unsigned int seen;
};

static void count_event(struct ring_handler *handler, uint32_t events)
{
	container_of(handler, struct event, handler)->seen++;
}

static void serve_does_what_is_the_engines(void **state)
{
	struct catnap_halter *h = make(CATNAP_POLICY_OFF);
	int order[8] = {0}, fd = eventfd(1, EFD_NONBLOCK);
	struct event e = {{count_event}, 0};
	struct noted t;

	memset(&t, 0, sizeof(t));
	t = (struct noted){{.run = note}, order, 5};
	assert_int_equal(halter_add_source(h, fd, POLLIN, &e.handler), 0);
	halter_post(h, &t.task);
	halter_wake(h, 4);
	/* Away from its loop: what is the owner's own stays for the loop. */
	assert_int_equal(halter_serve_pending(h), 1);
	assert_int_equal(order[0], 1);
	assert_int_equal(e.seen, 1);
	assert_int_equal(halter_take(h), 4);
	/* In the loop. */
	halter_post(h, &t.task);
	assert_int_equal(halter_del_source(h, fd, &e.handler), 0);
	assert_int_equal(halter_serve(h, halter_take(h)), 0);
	assert_int_equal(order[0], 2);
	assert_int_equal(h->ring.armed, 0);
	assert_false(halter_pending(h));
	catnap_halter_destroy(&h);
	close(fd);
}

static void tasks_are_put_off_or_held(void **state)
{
	struct catnap_halter *h = make(CATNAP_POLICY_OFF);
	struct noted t[2];
	int order[8] = {0};

	memset(t, 0, sizeof(t));
	for (int i = 0; i < 2; i++)
		t[i] = (struct noted){{.run = note}, order, i};
	halter_post(h, &t[0].task);
	halter_wake(h, 4);
	/* Put off: the next take gives them again. */
	assert_int_equal(halter_put_off_tasks(h, halter_take(h)), 4);
	assert_int_equal(halter_take(h), HALTER_WORK_TASKS);
	/* Held: nothing is pending until they are released, or another one is posted. */
	assert_int_equal(halter_hold_tasks(h, HALTER_WORK_TASKS), 0);
	assert_false(halter_pending(h));
	halter_release_tasks(h);
	assert_int_equal(halter_hold_tasks(h, halter_take(h)), 0);
	halter_post(h, &t[1].task);
	assert_int_equal(halter_serve(h, halter_take(h)), 0);
	assert_int_equal(order[0], 2);
	assert_int_equal(order[1], 0);
	assert_int_equal(order[2], 1);
	/* All of them ran: there is nothing to release. */
	halter_release_tasks(h);
	assert_false(halter_pending(h));
	catnap_halter_destroy(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tasks_run_in_the_order_of_their_posts),
		cmocka_unit_test(no_post_is_lost),
		cmocka_unit_test(a_request_ends_a_halt),
		cmocka_unit_test(what_is_queued_is_submitted_when_a_halt_begins),
		cmocka_unit_test(drain_waits_for_all),
		cmocka_unit_test(self_belongs_to_a_thread),
		cmocka_unit_test(serve_does_what_is_the_engines),
		cmocka_unit_test(tasks_are_put_off_or_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
