/* SPDX-License-Identifier: Apache-2.0 */
/* Queues that wait for a rate limit: turns, resets, and what is counted. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "buckets.h"
#include "devices/virtio/throttle.h"
#include "poll/clock.h"

#define MS UINT64_C(1000000)

/* A queue with work without end, which does one thing at a time. */
struct queue {
	struct halter_task task; /* first */
	struct throttle_place place;
	struct fix *fix;
	unsigned int done, turns;
	unsigned int most; /* then it is idle; 0: never */
	bool idle;
};

struct fix {
	struct catnap_halter *halter;
	struct throttle t;
	struct queue q[3];
};

static void serve(struct fix *f, struct queue *q)
{
	while (!q->idle && throttle_pass(&f->t, &q->place, f->halter)) {
		throttle_charge(&f->t, 1, 100);
		q->done++;
		q->idle |= q->most && q->done >= q->most;
	}
	if (q->idle)
		throttle_rest(&f->t, &q->place);
}

static void turn(struct halter_task *task)
{
	struct queue *q = (struct queue *)task;

	q->turns++;
	serve(q->fix, q);
}

static struct fix *make(const struct rate_limits *limits)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct catnap_halter_config cfg;

	catnap_halter_config_init(&cfg);
	assert_int_equal(catnap_halter_create(&cfg, &f->halter), 0);
	assert_int_equal(throttle_init(&f->t, limits), 0);
	assert_int_equal(throttle_attach(&f->t, f->halter), 0);
	for (int i = 0; i < 3; i++) {
		f->q[i].task.run = turn;
		f->q[i].place.task = &f->q[i].task;
		f->q[i].fix = f;
	}
	return f;
}

static void end(struct fix *f)
{
	throttle_detach(&f->t);
	catnap_halter_destroy(&f->halter);
	throttle_fini(&f->t);
	free(f);
}

/* Does what an owner does, until @ns have passed. */
static void go_on(struct fix *f, uint64_t ns)
{
	uint64_t until = clock_now(&f->halter->clock) + clock_ns_to_ticks(&f->halter->clock, ns);
	int cause;

	while (clock_now(&f->halter->clock) < until) {
		assert_true(halter_serve(f->halter, halter_take(f->halter)) >= 0);
		assert_int_equal(halter_halt(f->halter, until, &cause), 0);
	}
}

static void without_limits_it_is_off(void **state)
{
	struct fix *f = make(NO_LIMITS);
	uint64_t waits, ns;

	assert_false(throttle_on(&f->t));
	for (int i = 0; i < 1000; i++) {
		assert_true(throttle_pass(&f->t, &f->q[0].place, NULL));
		throttle_charge(&f->t, 1, 1 << 30);
	}
	throttle_rest(&f->t, &f->q[0].place);
	throttle_reset(&f->t);
	throttle_get(&f->t, &waits, &ns);
	assert_int_equal(waits | ns, 0);
	end(f);
}

/* Each queue that waits gets a turn, in time, and all get as many. */
static void queues_take_turns(void **state)
{
	struct fix *f = make(OPS(500, 1));
	uint64_t begin = clock_monotonic_ns(), took, waits, ns;
	unsigned int all = 0, most = 0, least = UINT32_MAX;

	for (int i = 0; i < 3; i++)
		serve(f, &f->q[i]);
	assert_int_equal(f->q[0].done, 1);
	assert_int_equal(f->q[1].done + f->q[2].done, 0);
	/* One that has its place already is not counted again. */
	assert_false(throttle_pass(&f->t, &f->q[1].place, f->halter));
	while (all < 60) {
		go_on(f, 20 * MS);
		all = f->q[0].done + f->q[1].done + f->q[2].done;
		assert_true(clock_monotonic_ns() - begin < 60000 * MS);
	}
	took = clock_monotonic_ns() - begin;
	/* Never faster than the limit; each at most one at a time beyond what a delay saved up. */
	assert_true((all - 1) * 2 * MS <= took);
	for (int i = 0; i < 3; i++) {
		most = f->q[i].done > most ? f->q[i].done : most;
		least = f->q[i].done < least ? f->q[i].done : least;
		assert_true(f->q[i].turns > 0);
	}
	/* A third, if all were on time. */
	assert_true(least >= all / 6 && most <= all / 2);
	throttle_get(&f->t, &waits, &ns);
	assert_true(waits >= 3 && waits <= all + 3);
	assert_true(ns > 0 && ns <= clock_monotonic_ns() - begin);
	end(f);
}

/* One that has nothing more to do leaves its turn to the others. */
static void an_idle_queue_is_passed_over(void **state)
{
	struct fix *f = make(OPS(1000, 1));
	unsigned int done;

	serve(f, &f->q[0]);
	serve(f, &f->q[1]);
	f->q[0].idle = true;
	for (int i = 0; f->q[1].done < 5; i++) {
		assert_true(i < 1000);
		go_on(f, 10 * MS);
	}
	done = f->q[0].done;
	assert_int_equal(done, 1);
	assert_false(f->q[0].place.waiting);
	end(f);
}

/* A reset: nobody waits, nobody is called, what was used up stays so; and it can go on. */
static void a_reset_drops_the_wait(void **state)
{
	struct fix *f = make(BW(1000, 1));
	uint64_t waits, ns, again;

	serve(f, &f->q[0]);
	serve(f, &f->q[1]);
	assert_true(f->q[0].place.waiting && f->q[1].place.waiting);
	throttle_reset(&f->t);
	assert_false(f->q[0].place.waiting || f->q[1].place.waiting);
	throttle_get(&f->t, &waits, &ns);
	go_on(f, 5 * MS);
	throttle_get(&f->t, &waits, &again);
	assert_int_equal(ns, again);
	assert_int_equal(waits, 2);
	assert_int_equal(f->q[0].turns + f->q[1].turns, 0);
	/* 100 bytes were charged: a tenth of a second. */
	assert_false(throttle_pass(&f->t, &f->q[2].place, NULL));
	for (int i = 0; !f->q[2].done; i++) {
		assert_true(i < 1000);
		go_on(f, 10 * MS);
	}
	end(f);
}

/* A queue that waits for hours goes on at once, with a limit that allows it or with none. */
static void a_change_lets_those_go_who_wait(void **state)
{
	struct fix *f = make(BW(1, 1));

	for (int n = 1; n < 4; n++) {
		uint64_t begin = clock_monotonic_ns();

		for (int i = 0; i < 3; i++) {
			f->q[i].idle = false;
			f->q[i].most = f->q[i].done + 10;
			serve(f, &f->q[i]);
		}
		assert_true(f->q[1].place.waiting && f->q[2].place.waiting);
		assert_int_equal(throttle_change(&f->t, n == 2 ? NO_LIMITS : OPS(1000000, 1), NULL),
				 0);
		for (int i = 0; i < 3; i++)
			while (f->q[i].done < f->q[i].most)
				go_on(f, MS);
		for (int i = 0; i < 3; i++)
			assert_false(f->q[i].place.waiting);
		assert_true(clock_monotonic_ns() - begin < 60000 * MS);
		assert_int_equal(throttle_on(&f->t), n != 2);
		assert_int_equal(throttle_change(&f->t, BW(1, 1), NULL), 0);
	}
	end(f);
}

/* None at first, then one, and the timer is the home's source while there is one. */
static void a_limit_may_come_later(void **state)
{
	struct fix *f = make(NO_LIMITS);
	struct rate_limits before;
	uint64_t waits, ns;

	for (int i = 0; i < 5; i++) {
		assert_false(f->t.timed);
		for (int n = 0; n < 100; n++)
			assert_true(throttle_pass(&f->t, &f->q[0].place, f->halter));
		assert_int_equal(throttle_change(&f->t, OPS(1000, 3), &before), 0);
		assert_false(rate_limits_any(&before));
		assert_true(f->t.timed);
		/* It holds at once, whatever the home does. */
		for (int n = 0; n < 3; n++) {
			assert_true(throttle_pass(&f->t, &f->q[0].place, f->halter));
			throttle_charge(&f->t, 1, 0);
		}
		f->q[0].most = f->q[0].done + 1;
		f->q[0].idle = false;
		assert_false(throttle_pass(&f->t, &f->q[0].place, f->halter));
		while (f->q[0].done < f->q[0].most)
			go_on(f, MS);
		throttle_get(&f->t, &waits, &ns);
		assert_int_equal(waits, i + 1);
		assert_int_equal(throttle_change(&f->t, NO_LIMITS, &before), 0);
		assert_int_equal(before.ops.size, 3);
		go_on(f, MS);
	}
	end(f);
}

struct changer {
	struct throttle *t;
	_Atomic bool stop;
	unsigned int changes;
};

static void *change_all_the_time(void *arg)
{
	struct changer *c = arg;

	while (!atomic_load(&c->stop)) {
		const struct rate_limits l[] = {*OPS(20000, 1), *NO_LIMITS, *OPS(1, 1),
						*BW(1 << 20, 99)};

		assert_int_equal(throttle_change(c->t, &l[c->changes++ % 4], NULL), 0);
		sched_yield();
	}
	assert_int_equal(throttle_change(c->t, NO_LIMITS, NULL), 0);
	return NULL;
}

/* Two threads change the limits as fast as they can: nobody is forgotten. */
static void changes_lose_nobody(void **state)
{
	struct fix *f = make(OPS(1, 1));
	struct changer c[2] = {{.t = &f->t}, {.t = &f->t}};
	uint64_t begin = clock_monotonic_ns();
	pthread_t threads[2];
	unsigned int done[3];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, change_all_the_time, &c[i]), 0);
	for (int i = 0; i < 3; i++) {
		f->q[i].most = 1000;
		serve(f, &f->q[i]);
	}
	while (clock_monotonic_ns() - begin < 300 * MS)
		go_on(f, MS);
	for (int i = 0; i < 2; i++) {
		atomic_store(&c[i].stop, true);
		pthread_join(threads[i], NULL);
	}
	go_on(f, MS);
	for (int i = 0; i < 3; i++) {
		assert_false(f->q[i].place.waiting);
		done[i] = f->q[i].done;
		f->q[i].most = done[i] + 5;
		f->q[i].idle = false;
		serve(f, &f->q[i]);
		assert_int_equal(f->q[i].done, f->q[i].most);
	}
	assert_false(throttle_on(&f->t));
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_limits_it_is_off),
		cmocka_unit_test(queues_take_turns),
		cmocka_unit_test(an_idle_queue_is_passed_over),
		cmocka_unit_test(a_reset_drops_the_wait),
		cmocka_unit_test(a_change_lets_those_go_who_wait),
		cmocka_unit_test(a_limit_may_come_later),
		cmocka_unit_test(changes_lose_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
