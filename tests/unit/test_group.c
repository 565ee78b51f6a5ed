/* SPDX-License-Identifier: Apache-2.0 */
/* Halters that share a poller, step by step; with time and threads: tests/stress/stress_group.c. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "poll/halter.h"

#define N 3

struct fixture {
	struct clock clock;
	struct wake_group group;
	struct catnap_halter *h[N];
	struct budget budget;
};

static void set(struct catnap_halter *h, uint32_t policy, uint32_t max_ns, uint32_t group,
		uint32_t cpu_max)
{
	struct catnap_halt_poll p;

	catnap_halt_poll_init(&p);
	p.policy = policy;
	p.max_ns = max_ns;
	p.group = group;
	p.cpu_max = cpu_max;
	policy_set(&h->policy, &p);
}

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(_Alignof(struct fixture), sizeof(*f));
	const struct halter_env env = {
		.clock = &f->clock, .budget = &f->budget, .group = &f->group};
	struct catnap_halter_config cfg;

	if (!f)
		return -1;
	memset(f, 0, sizeof(*f));
	clock_init(&f->clock, 0);
	catnap_halter_config_init(&cfg);
	for (int i = 0; i < N; i++) {
		f->h[i] = aligned_alloc(_Alignof(struct catnap_halter), sizeof(*f->h[i]));
		if (!f->h[i] || halter_init(f->h[i], &cfg, &env, NULL) < 0)
			return -1;
		set(f->h[i], CATNAP_POLICY_FIXED, 2000000, 1, 0);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < N; i++) {
		halter_fini(f->h[i]);
		free(f->h[i]);
	}
	free(f);
	return 0;
}

static uint32_t state_of(struct catnap_halter *h)
{
	return atomic_load(&h->wake.state);
}

static struct catnap_halt_stats stats_of(struct catnap_halter *h)
{
	struct catnap_halt_stats s = {.size = sizeof(s)};

	assert_int_equal(halter_get_stats(h, &s), 0);
	return s;
}

/* The states as a poller makes them, with nobody asleep in truth. */
static void states(void **state)
{
	struct fixture *f = *state;
	struct wake_group *g = &f->group;

	atomic_store(&f->h[1]->wake.state, WAKE_SLEEPING);
	atomic_store(&f->h[2]->wake.state, WAKE_GUEST);
	assert_false(group_polled(g));
	assert_true(group_begin(g, &f->h[0]->wake));
	assert_true(group_polled(g));
	assert_int_equal(state_of(f->h[1]), WAKE_WATCHED);
	assert_int_equal(state_of(f->h[2]), WAKE_GUEST);
	/* One only. */
	assert_false(group_begin(g, &f->h[2]->wake));
	assert_false(group_begin(g, &f->h[0]->wake));

	/* A wake of one that is watched is no system call; the poller makes it. */
	assert_int_equal(group_scan(g, &f->h[0]->wake), 0);
	halter_wake(f->h[1], 1);
	assert_int_equal(stats_of(f->h[1]).kicks_saved, 1);
	assert_int_equal(stats_of(f->h[1]).futex_wakes, 0);
	assert_int_equal(state_of(f->h[1]), WAKE_WATCHED);
	assert_int_equal(group_scan(g, &f->h[0]->wake), 1);
	assert_int_equal(state_of(f->h[1]), WAKE_VMM);
	assert_int_equal(group_scan(g, &f->h[0]->wake), 0);
	assert_int_equal(halter_take(f->h[1]), 1);

	/* It leaves: who sleeps is to be woken by wakers again, and who has work is woken now. */
	atomic_store(&f->h[1]->wake.state, WAKE_WATCHED);
	atomic_store(&f->h[2]->wake.state, WAKE_WATCHED);
	atomic_store(&f->h[2]->wake.pending, 1);
	assert_false(group_end(g, &f->h[0]->wake, false, 0));
	assert_false(group_polled(g));
	assert_int_equal(state_of(f->h[1]), WAKE_SLEEPING);
	assert_int_equal(state_of(f->h[2]), WAKE_VMM);
	atomic_store(&f->h[2]->wake.pending, 0);
}

static void hand_over(void **state)
{
	struct fixture *f = *state;
	struct wake_group *g = &f->group;

	for (int turn = 0; turn < 3; turn++) {
		uint64_t now = 1000;

		atomic_store(&f->h[1]->wake.state, WAKE_SLEEPING);
		atomic_store(&f->h[2]->wake.state, WAKE_SLEEPING);
		atomic_store(&f->h[1]->wake.poll_end, 1500);
		atomic_store(&f->h[2]->wake.poll_end, turn == 2 ? 900 : 1600);
		assert_true(group_begin(g, &f->h[0]->wake));
		assert_int_equal(group_wanted(g, &f->h[0]->wake), turn == 2 ? 1500 : 1600);
		if (turn == 2)
			now = 1500;
		/* To the one that wants it longest; to none if it need not, or none wants it. */
		assert_int_equal(group_end(g, &f->h[0]->wake, turn != 1, now), turn == 0);
		assert_int_equal(state_of(f->h[1]), WAKE_SLEEPING);
		assert_int_equal(state_of(f->h[2]), turn == 0 ? WAKE_VMM : WAKE_SLEEPING);
	}
}

struct sleeper {
	struct catnap_halter *h;
	uint64_t deadline;
	int cause, ret;
	pthread_t thread;
};

static void *halt(void *arg)
{
	struct sleeper *s = arg;

	s->ret = halter_halt(s->h, s->deadline, &s->cause);
	return NULL;
}

static void start(struct sleeper *s, struct catnap_halter *h, uint64_t deadline)
{
	*s = (struct sleeper){.h = h, .deadline = deadline, .cause = -77};
	assert_int_equal(pthread_create(&s->thread, NULL, halt, s), 0);
}

static void until_state(struct catnap_halter *h, uint32_t state)
{
	while (state_of(h) != state)
		usleep(100);
}

/* One polls, the others are watched; each gets what is for it, and the poller's place goes on. */
static void together(void **state)
{
	struct fixture *f = *state;
	struct sleeper s[N];

	for (int i = 0; i < N; i++)
		set(f->h[i], CATNAP_POLICY_ALWAYS, 0, 1, 0);
	start(&s[0], f->h[0], UINT64_MAX);
	until_state(f->h[0], WAKE_POLLING);
	while (!group_polled(&f->group))
		usleep(100);
	for (int i = 1; i < N; i++) {
		start(&s[i], f->h[i], UINT64_MAX);
		until_state(f->h[i], WAKE_WATCHED);
	}
	/* By the poller. */
	halter_wake(f->h[1], CATNAP_WORK_IPI);
	pthread_join(s[1].thread, NULL);
	assert_int_equal(s[1].cause, CATNAP_CAUSE_IPI);
	assert_int_equal(stats_of(f->h[1]).group_watched, 1);
	assert_int_equal(stats_of(f->h[1]).halt_attempted_poll, 0);
	assert_int_equal(stats_of(f->h[1]).futex_wakes, 0);
	/* The poller itself: the one that is left takes over. */
	halter_wake(f->h[0], 2);
	pthread_join(s[0].thread, NULL);
	assert_int_equal(s[0].cause, CATNAP_CAUSE_OTHER);
	assert_int_equal(stats_of(f->h[0]).group_wakes, 1);
	assert_int_equal(stats_of(f->h[0]).group_handovers, 1);
	assert_int_equal(stats_of(f->h[0]).halt_successful_poll, 1);
	until_state(f->h[2], WAKE_POLLING);
	while (atomic_load(&f->group.poller) != &f->h[2]->wake)
		usleep(100);
	halter_wake(f->h[2], 4);
	pthread_join(s[2].thread, NULL);
	assert_int_equal(stats_of(f->h[2]).group_handovers, 0);
	assert_false(group_polled(&f->group));
}

/* A watched member has its own deadline, and its own ring. */
static void deadlines(void **state)
{
	struct fixture *f = *state;
	struct sleeper s[2];
	uint64_t at;

	set(f->h[0], CATNAP_POLICY_ALWAYS, 0, 1, 0);
	start(&s[0], f->h[0], UINT64_MAX);
	while (!group_polled(&f->group))
		usleep(100);
	at = clock_now(&f->clock) + clock_ns_to_ticks(&f->clock, 5000000);
	start(&s[1], f->h[1], at);
	pthread_join(s[1].thread, NULL);
	assert_int_equal(s[1].cause, CATNAP_CAUSE_TIMER);
	assert_true(clock_now(&f->clock) >= at);
	assert_int_equal(stats_of(f->h[1]).group_watched, 1);
	halter_wake(f->h[0], 2);
	pthread_join(s[0].thread, NULL);
	assert_int_equal(s[0].cause, CATNAP_CAUSE_OTHER);
}

/* With no window nobody polls, and without group= each is on its own. */
static void not_for_all(void **state)
{
	struct fixture *f = *state;
	struct sleeper s;

	set(f->h[0], CATNAP_POLICY_OFF, 0, 1, 0);
	start(&s, f->h[0], UINT64_MAX);
	until_state(f->h[0], WAKE_SLEEPING);
	assert_false(group_polled(&f->group));
	halter_wake(f->h[0], 1);
	pthread_join(s.thread, NULL);
	assert_int_equal(stats_of(f->h[0]).futex_wakes, 1);
	halter_take(f->h[0]);

	set(f->h[1], CATNAP_POLICY_ALWAYS, 0, 0, 0);
	start(&s, f->h[1], UINT64_MAX);
	until_state(f->h[1], WAKE_POLLING);
	usleep(1000);
	assert_false(group_polled(&f->group));
	halter_wake(f->h[1], 1);
	pthread_join(s.thread, NULL);
}

/* Polls that failed: one that the deadline ended, on a busy machine, was not for nothing. */
static uint64_t failed_polls(struct fixture *f)
{
	struct catnap_halt_stats s = stats_of(f->h[0]);

	return s.halt_attempted_poll - s.halt_successful_poll;
}

/* Halts of 2 ms that nothing but the deadline ends; returns how many polls failed. */
static uint64_t idle_halts(struct fixture *f, int n)
{
	uint64_t before = failed_polls(f);

	while (n-- > 0) {
		struct sleeper s = {.h = f->h[0]};

		s.deadline = clock_now(&f->clock) + clock_ns_to_ticks(&f->clock, 2000000);
		halt(&s);
		assert_int_equal(s.ret, 0);
		assert_int_equal(s.cause, CATNAP_CAUSE_TIMER);
	}
	return failed_polls(f) - before;
}

/* cpu-max holds for the one who polls. */
static void budget(void **state)
{
	struct fixture *f = *state;
	uint64_t start, failed, contended;

	/* A window of which a hundred times is more than the budget ever holds: never, not even for
	 * what is left of it when the halt has gone on for a while. */
	set(f->h[0], CATNAP_POLICY_FIXED, 1000000, 1, 100);
	assert_int_equal(idle_halts(f, 10), 0);
	/* One that takes 40 ms to earn back. */
	set(f->h[0], CATNAP_POLICY_FIXED, 400000, 1, 100);
	start = clock_monotonic_ns();
	contended = stats_of(f->h[0]).halt_poll_contended;
	failed = idle_halts(f, 20);
	/* Polls that others cut short have cost less, and there may be more of them. */
	if (stats_of(f->h[0]).halt_poll_contended == contended)
		assert_in_range(failed, 0, 2 + (clock_monotonic_ns() - start) / 30000000);
	/* No limit. */
	set(f->h[0], CATNAP_POLICY_FIXED, 400000, 1, 0);
	start = stats_of(f->h[0]).halt_attempted_poll;
	idle_halts(f, 10);
	/* But for others, on a busy host. */
	assert_true(stats_of(f->h[0]).halt_attempted_poll - start == 10 ||
		    stats_of(f->h[0]).halt_poll_contended > 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(states),	 TEST(hand_over),   TEST(together),
		TEST(deadlines), TEST(not_for_all), TEST(budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
