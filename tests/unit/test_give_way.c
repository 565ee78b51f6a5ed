/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Polls give way to others that want the processor, in every policy but always: Linux
 * Documentation/virt/kvm/halt-polling.rst, "Further Notes"; kvm_vcpu_can_poll(). Whether a task
 * that computes is noticed is the host's scheduler to say, so that is waited for; how often and how
 * soon is measured by `catnap bench neighbour`.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "poll/halter.h"
#include "vcpu/realtime.h"

#define US	UINT64_C(1000)
#define PATIENT UINT64_C(60000000000) /* ns that something may take on a busy host */

static const enum catnap_policy_kind bounded[] = {CATNAP_POLICY_KERNEL, CATNAP_POLICY_FIXED,
						  CATNAP_POLICY_ADAPTIVE};
#define BOUNDED (sizeof(bounded) / sizeof(bounded[0]))

static struct catnap_halter *make(enum catnap_policy_kind kind)
{
	struct catnap_halter *h = aligned_alloc(_Alignof(struct catnap_halter), sizeof(*h));
	struct catnap_halter_config cfg;
	struct clock clock;

	assert_non_null(h);
	clock_init(&clock, 0);
	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = kind;
	cfg.halt_poll.max_ns = 200 * US;
	assert_int_equal(halter_init(h, &cfg, &(struct halter_env){.clock = &clock}, NULL), 0);
	return h;
}

static void unmake(struct catnap_halter *h)
{
	halter_fini(h);
	free(h);
}

/* A halt that nothing but its timer ends. */
static void halt_for(struct catnap_halter *h, uint64_t ns)
{
	int cause;

	assert_int_equal(
		halter_halt(h, clock_now(&h->clock) + clock_ns_to_ticks(&h->clock, ns), &cause), 0);
	assert_int_equal(cause, CATNAP_CAUSE_TIMER);
}

static struct catnap_halt_stats stats_of(struct catnap_halter *h)
{
	struct catnap_halt_stats s = {.size = sizeof(s)};

	assert_int_equal(halter_get_stats(h, &s), 0);
	return s;
}

/* Others have the processor from now on. */
static void hold(struct catnap_halter *h)
{
	contention_hold(&h->contention, UINT64_MAX);
}

static void no_poll_is_begun_in_a_pause(void **state)
{
	struct catnap_halter *h;

	for (size_t k = 0; k < BOUNDED; k++) {
		h = make(bounded[k]);
		hold(h);
		for (int i = 0; i < 20; i++)
			halt_for(h, 150 * US);
		assert_int_equal(stats_of(h).halt_exits, 20);
		assert_int_equal(stats_of(h).halt_attempted_poll, 0);
		assert_true(stats_of(h).halt_wait_ns > 0);
		unmake(h);
	}
	/* This one says that it does not. */
	h = make(CATNAP_POLICY_ALWAYS);
	hold(h);
	for (int i = 0; i < 20; i++)
		halt_for(h, 150 * US);
	assert_int_equal(stats_of(h).halt_successful_poll, 20);
	unmake(h);
}

/* As the kernel's does: a halt without a poll is one that was longer than the window. */
static void the_window_of_kernel_learns_all_the_same(void **state)
{
	static const uint64_t windows[] = {10000, 20000, 40000, 80000, 160000};
	struct catnap_halter *h = make(CATNAP_POLICY_KERNEL);

	h->policy.params.max_ns = 4000000000u;
	hold(h);
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
		halt_for(h, 200 * US);
		assert_int_equal(policy_window(&h->policy), windows[i]);
	}
	assert_int_equal(stats_of(h).halt_poll_invalid, 0);
	unmake(h);
}

/* A poll that is cut short is a lesson for kernel, and none for adaptive. */
static void who_learns_from_a_poll_that_was_cut_short(void **state)
{
	struct catnap_halt cut = {
		.halt_ns = 5000, .waited = true, .valid = true, .allowed = true, .gave_way = true};
	struct catnap_halt_poll params;
	struct catnap_policy *p;
	struct catnap_policy_stats s = {.size = sizeof(s), .context_size = sizeof(s.context[0])};

	catnap_halt_poll_init(&params);
	params.policy = CATNAP_POLICY_KERNEL;
	params.max_ns = CATNAP_KERNEL_MAX_NS;
	assert_int_equal(catnap_policy_create(&params, &p), 0);
	catnap_policy_begin(p, true);
	catnap_policy_end(p, &cut);
	assert_int_equal(catnap_policy_window(p), 10000);
	catnap_policy_destroy(&p);

	params.policy = CATNAP_POLICY_ADAPTIVE;
	assert_int_equal(catnap_policy_create(&params, &p), 0);
	for (int i = 0; i < 100; i++) {
		catnap_policy_begin(p, true);
		catnap_policy_end(p, &cut);
	}
	assert_int_equal(catnap_policy_get_stats(p, &s), 0);
	for (int i = 0; i < CATNAP_POLICY_CONTEXTS; i++)
		assert_int_equal(s.context[i].halts, 0);
	catnap_policy_destroy(&p);
}

/* -- others that are really there ------------------------------------------------------------- */

static _Atomic bool stop;

static void *compute(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		;
	return NULL;
}

/* This thread stays on one processor, and so do those that it makes. */
static void on_one_processor(cpu_set_t *before)
{
	cpu_set_t one;

	assert_int_equal(sched_getaffinity(0, sizeof(*before), before), 0);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void a_task_that_computes_is_given_way_to(void **state)
{
	cpu_set_t before;
	pthread_t task;

	on_one_processor(&before);
	stop = false;
	assert_int_equal(pthread_create(&task, NULL, compute, NULL), 0);
	for (size_t k = 0; k < BOUNDED; k++) {
		struct catnap_halter *h = make(bounded[k]);
		uint64_t end = clock_monotonic_ns() + PATIENT;

		/* Noticed, and then not polled beside for a while. */
		while (!contention_paused(&h->contention, clock_now(&h->clock)) &&
		       clock_monotonic_ns() < end)
			halt_for(h, 150 * US);
		assert_true(stats_of(h).halt_poll_contended > 0);
		assert_true(clock_monotonic_ns() < end);
		unmake(h);
	}
	stop = true;
	pthread_join(task, NULL);
	sched_setaffinity(0, sizeof(before), &before);
}

/* -- real-time classes ------------------------------------------------------------------------ */

static int set_class(int policy, int priority)
{
	struct sched_param param = {.sched_priority = priority};

	return sched_setscheduler(0, policy, &param) < 0 ? -errno : 0;
}

/* There nobody can tell who waits. */
static void in_a_real_time_class_nothing_is_polled(void **state)
{
	static const int classes[] = {SCHED_FIFO, SCHED_RR};

	if (set_class(SCHED_FIFO, 1) < 0)
		skip();
	for (size_t c = 0; c < 2; c++)
		for (size_t k = 0; k < BOUNDED; k++) {
			struct catnap_halter *h = make(bounded[k]);
			uint64_t begin = clock_monotonic_ns(), seconds, end, contended;

			assert_int_equal(set_class(classes[c], 1), 0);
			for (int i = 0; i < 200; i++)
				halt_for(h, 150 * US);
			/* The looks at the class are polls that end at their first look. */
			seconds = (clock_monotonic_ns() - begin) / (1000000 * US) + 1;
			assert_true(stats_of(h).halt_attempted_poll <= 2 + 10 * seconds);
			assert_true(stats_of(h).halt_poll_contended > 0);

			/* A thread that leaves the class polls again before long, where nobody else
			 * wants the processor; on a busy host it goes on giving way, to others
			 * now. */
			assert_int_equal(set_class(SCHED_OTHER, 0), 0);
			contended = stats_of(h).halt_poll_contended;
			end = clock_monotonic_ns() + PATIENT;
			while (stats_of(h).halt_successful_poll < 3 && clock_monotonic_ns() < end)
				halt_for(h, 150 * US);
			assert_true(stats_of(h).halt_successful_poll >= 3 ||
				    stats_of(h).halt_poll_contended > contended);
			unmake(h);
		}
}

struct place {
	int policy, priority;
};

static void *where_am_i(void *arg)
{
	struct place *at = arg;
	struct sched_param param;

	at->policy = sched_getscheduler(0);
	sched_getparam(0, &param);
	at->priority = param.sched_priority;
	return NULL;
}

/* A thread made in that class is there. */
static void check_place(int policy, int priority, int want_policy, int want_priority)
{
	struct place at;
	pthread_attr_t attr;
	pthread_t thread;
	bool left;

	assert_int_equal(set_class(policy, priority), 0);
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(realtime_create(&thread, &attr, where_am_i, &at, &left), 0);
	pthread_attr_destroy(&attr);
	assert_int_equal(set_class(SCHED_OTHER, 0), 0);
	pthread_join(thread, NULL);
	assert_int_equal(at.policy, want_policy);
	assert_int_equal(at.priority, want_priority);
	assert_false(left);
}

static void threads_come_after_what_ends_them(void **state)
{
	if (set_class(SCHED_FIFO, 1) < 0)
		skip();
	check_place(SCHED_FIFO, 50, SCHED_RR, 49);
	check_place(SCHED_FIFO, 2, SCHED_RR, 1);
	check_place(SCHED_RR, 99, SCHED_RR, 98);
	/* The lowest: they take turns with it. */
	check_place(SCHED_FIFO, 1, SCHED_RR, 1);
	check_place(SCHED_RR, 1, SCHED_RR, 1);
	check_place(SCHED_FIFO | SCHED_RESET_ON_FORK, 9, SCHED_RR, 8);
	check_place(SCHED_BATCH, 0, SCHED_BATCH, 0);
	check_place(SCHED_OTHER, 0, SCHED_OTHER, 0);
}

/* As the kernel's struct sched_attr. */
struct deadline {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Such a thread can make none of its kind; its own class is what it was, whatever was made. */
static void a_deadline_makes_ordinary_threads(void **state)
{
	for (uint64_t reset = 0; reset < 2; reset++) {
		struct deadline d = {.size = sizeof(d),
				     .policy = SCHED_DEADLINE,
				     .flags = reset,
				     .runtime = 1000 * US,
				     .deadline = 100000 * US,
				     .period = 100000 * US};
		struct deadline after = {.size = 0};
		struct place at;
		pthread_attr_t attr;
		pthread_t thread;
		bool left;
		int ret;

		if (syscall(SYS_sched_setattr, 0, &d, 0) < 0)
			skip();
		assert_int_equal(pthread_attr_init(&attr), 0);
		ret = realtime_create(&thread, &attr, where_am_i, &at, &left);
		assert_int_equal(syscall(SYS_sched_getattr, 0, &after, sizeof(after), 0), 0);
		assert_int_equal(set_class(SCHED_OTHER, 0), 0);
		pthread_attr_destroy(&attr);
		assert_int_equal(ret, 0);
		pthread_join(thread, NULL);
		assert_int_equal(at.policy, SCHED_OTHER);
		assert_false(left);
		assert_int_equal(after.policy, SCHED_DEADLINE);
		assert_int_equal(after.flags, reset);
		assert_int_equal(after.runtime, d.runtime);
		assert_int_equal(after.period, d.period);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_poll_is_begun_in_a_pause),
		cmocka_unit_test(the_window_of_kernel_learns_all_the_same),
		cmocka_unit_test(who_learns_from_a_poll_that_was_cut_short),
		cmocka_unit_test(a_task_that_computes_is_given_way_to),
		cmocka_unit_test(in_a_real_time_class_nothing_is_polled),
		cmocka_unit_test(threads_come_after_what_ends_them),
		cmocka_unit_test(a_deadline_makes_ordinary_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
