/* SPDX-License-Identifier: Apache-2.0 */
/* Queues that wait for a rate limit: turns, resets, and what is counted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "devices/virtio/throttle.h"
#include "poll/clock.h"

#define MS UINT64_C(1000000)

/* A queue with work without end, which does one thing at a time. */
struct queue {
	struct halter_task task; /* first */
	struct throttle_place place;
	struct fix *fix;
	unsigned int done, turns;
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

/* What an owner does, until @ns have passed. */
static void go_on(struct fix *f, uint64_t ns)
{
	uint64_t until = clock_now(&f->halter->clock) + clock_ns_to_ticks(&f->halter->clock, ns);
	int cause;

	while (clock_now(&f->halter->clock) < until) {
		uint32_t work = halter_take(f->halter);

		if (work & HALTER_WORK_TASKS)
			halter_run_tasks(f->halter);
		if (work & HALTER_WORK_SOURCES)
			atomic_fetch_or(&f->halter->pending, HALTER_WORK_SOURCES);
		assert_true(halter_reap(f->halter) >= 0);
		assert_int_equal(halter_halt(f->halter, until, &cause), 0);
	}
}

static void without_limits_it_is_off(void **state)
{
	struct fix *f = make(&(struct rate_limits){.bw = 0});
	uint64_t waits, ns;

	assert_false(f->t.on);
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

/* Who waits gets a turn, in time, and they get as many each. */
static void queues_take_turns(void **state)
{
	struct fix *f = make(&(struct rate_limits){.ops = 500, .ops_burst = 1});
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
	struct fix *f = make(&(struct rate_limits){.ops = 1000, .ops_burst = 1});
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
	struct fix *f = make(&(struct rate_limits){.bw = 1000, .bw_burst = 1});
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_limits_it_is_off),
		cmocka_unit_test(queues_take_turns),
		cmocka_unit_test(an_idle_queue_is_passed_over),
		cmocka_unit_test(a_reset_drops_the_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
