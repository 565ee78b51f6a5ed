/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The halter by its public interface: what ends a halt and what does not, who is told, what it
 * cost. That no wake-up is lost under load is for tests/stress.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <catnap/poll.h>

#define MS UINT64_C(1000000)
/* The most time between two looks of a poll (contention.c), in ns. */
#define LOOK_MAX 20001

/* The ways to wait that a test is repeated for. */
enum way { PLAIN, RING, RING_NO_FUTEX, NO_RING, WAYS };

static const enum catnap_policy_kind kinds[] = {CATNAP_POLICY_OFF, CATNAP_POLICY_KERNEL,
						CATNAP_POLICY_FIXED, CATNAP_POLICY_ALWAYS,
						CATNAP_POLICY_ADAPTIVE};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct fixture {
	struct catnap_halter *h;
	pthread_t owner;
	_Atomic int fired;
	int fired_fd, wrong_thread;
	_Atomic int kicks;
	int idle_fd; /* armed, so that the halter sleeps in its ring; never signalled */
};

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
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

static void kick(void *ctx)
{
	struct fixture *f = ctx;

	f->kicks++;
}

static void on_eventfd(void *ctx, int fd)
{
	struct fixture *f = ctx;
	uint64_t n;

	if (!pthread_equal(pthread_self(), f->owner))
		f->wrong_thread++;
	if (read(fd, &n, sizeof(n)) == sizeof(n)) {
		f->fired_fd = fd;
		f->fired++;
	}
}

static void make(struct fixture *f, enum catnap_policy_kind kind, enum way way)
{
	struct catnap_halter_config cfg;

	memset(f, 0, sizeof(*f));
	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = kind;
	cfg.kick = kick;
	cfg.on_eventfd = on_eventfd;
	cfg.ctx = f;
	if (way == RING_NO_FUTEX)
		cfg.flags = CATNAP_HALTER_NO_RING_FUTEX;
	if (way == NO_RING)
		cfg.flags = CATNAP_HALTER_NO_RING;
	f->owner = pthread_self();
	f->idle_fd = -1;
	assert_int_equal(catnap_halter_create(&cfg, &f->h), 0);
	if (way != PLAIN) {
		f->idle_fd = event();
		assert_int_equal(catnap_halter_add_eventfd(f->h, f->idle_fd), 0);
	}
}

static void unmake(struct fixture *f)
{
	catnap_halter_destroy(&f->h);
	assert_null(f->h);
	if (f->idle_fd >= 0)
		close(f->idle_fd);
}

static struct catnap_halt_stats stats_of(struct fixture *f)
{
	struct catnap_halt_stats s;

	memset(&s, 0, sizeof(s));
	s.size = sizeof(s);
	assert_int_equal(catnap_halter_get_stats(f->h, &s), 0);
	assert_int_equal(s.size, sizeof(s));
	return s;
}

/* The halt's cause. */
static int halt(struct fixture *f, uint64_t deadline)
{
	int cause = -1;

	assert_int_equal(catnap_halter_halt(f->h, deadline, &cause), 0);
	return cause;
}

/* -- something that happens later ------------------------------------------------------------- */

struct later {
	pthread_t thread;
	struct catnap_halter *h;
	uint64_t delay_ns;
	uint32_t bits; /* to wake with, or else: */
	int fd;	       /* to signal */
	int add_fd;    /* to add first */
};

static void *do_later(void *arg)
{
	struct later *l = arg;
	const struct timespec ts = {.tv_sec = (time_t)(l->delay_ns / 1000000000u),
				    .tv_nsec = (long)(l->delay_ns % 1000000000u)};

	nanosleep(&ts, NULL);
	if (l->add_fd)
		catnap_halter_add_eventfd(l->h, l->add_fd);
	if (l->bits)
		catnap_halter_wake(l->h, l->bits);
	else
		ring_it(l->fd);
	return NULL;
}

static void later(struct later *l)
{
	assert_int_equal(pthread_create(&l->thread, NULL, do_later, l), 0);
}

static void join(struct later *l)
{
	pthread_join(l->thread, NULL);
}

/* -- tests ------------------------------------------------------------------------------------ */

/* The first test of all: it needs a process that has never had a second thread. */
static void a_thread_made_after_the_first_sleep_can_wake(void **state)
{
	struct fixture f;
	struct later l;
	uint64_t begin;

	make(&f, CATNAP_POLICY_OFF, RING);
	assert_int_equal(halt(&f, now() + MS), CATNAP_CAUSE_TIMER);
	l = (struct later){.h = f.h, .bits = CATNAP_WORK_IPI, .delay_ns = 5 * MS};
	later(&l);
	begin = now();
	assert_int_equal(halt(&f, begin + 3000 * MS), CATNAP_CAUSE_IPI);
	assert_true(now() - begin < 2000 * MS); /* and not found by luck at the deadline */
	join(&l);
	unmake(&f);
}

static void sizes_are_checked(void **state)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *h = NULL;
	struct {
		struct catnap_halt_stats s;
		uint8_t more[64];
	} big;
	struct catnap_halt_stats s;
	struct fixture f;

	catnap_halter_config_init(&cfg);
	assert_int_equal(cfg.size, sizeof(cfg));
	assert_int_equal(catnap_halter_create(NULL, &h), -EINVAL);
	assert_int_equal(catnap_halter_create(&cfg, NULL), -EINVAL);
	assert_null(h);
	cfg.size = 0;
	assert_int_equal(catnap_halter_create(&cfg, &h), -EINVAL);
	cfg.size = sizeof(cfg) - 1;
	assert_int_equal(catnap_halter_create(&cfg, &h), -EINVAL);
	assert_null(h);
	cfg.size = sizeof(cfg) + 8; /* of a later version */
	assert_int_equal(catnap_halter_create(&cfg, &h), 0);
	catnap_halter_destroy(&h);
	catnap_halter_destroy(&h);
	cfg.size = sizeof(cfg);
	cfg.halt_poll.size = 4;
	assert_int_equal(catnap_halter_create(&cfg, &h), -EINVAL);
	cfg.halt_poll.size = sizeof(cfg.halt_poll);
	cfg.halt_poll.policy = 99;
	assert_int_equal(catnap_halter_create(&cfg, &h), -EINVAL);
	assert_null(h);

	make(&f, CATNAP_POLICY_OFF, PLAIN);
	s.size = 0;
	assert_int_equal(catnap_halter_get_stats(f.h, &s), -EINVAL);
	s.size = 4;
	assert_int_equal(catnap_halter_get_stats(f.h, &s), -EINVAL);
	/* A caller of an earlier version gets what it knows, and not a byte more. */
	memset(&s, 0xee, sizeof(s));
	s.size = offsetof(struct catnap_halt_stats, halt_successful_poll);
	assert_int_equal(catnap_halter_get_stats(f.h, &s), 0);
	assert_int_equal(s.size, offsetof(struct catnap_halt_stats, halt_successful_poll));
	assert_int_equal(s.halt_attempted_poll, 0);
	assert_true(s.halt_successful_poll == UINT64_C(0xeeeeeeeeeeeeeeee));
	/* One of a later version is told how much there is. */
	memset(&big, 0xee, sizeof(big));
	big.s.size = sizeof(big);
	assert_int_equal(catnap_halter_get_stats(f.h, &big.s), 0);
	assert_int_equal(big.s.size, sizeof(big.s));
	assert_int_equal(big.more[0], 0xee);
	unmake(&f);
}

static void deadlines_are_never_early(void **state)
{
	static const uint64_t ahead[] = {1, 1000, 20000, 70000, 300000, 2 * MS, 11 * MS};

	for (size_t k = 0; k < KINDS; k++)
		for (enum way way = PLAIN; way < WAYS; way++) {
			struct fixture f;
			uint64_t n = 0;

			make(&f, kinds[k], way);
			for (size_t i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++)
				for (int j = 0; j < 5; j++, n++) {
					uint64_t deadline = now() + ahead[i];

					assert_int_equal(halt(&f, deadline), CATNAP_CAUSE_TIMER);
					assert_true(now() >= deadline);
				}
			assert_true(stats_of(&f).wakeups[CATNAP_CAUSE_TIMER] >= n);
			assert_int_equal(stats_of(&f).halt_wakeup, 0);
			unmake(&f);
		}
}

static void a_deadline_in_the_past_ends_it_at_once(void **state)
{
	for (size_t k = 0; k < KINDS; k++)
		for (enum way way = PLAIN; way < WAYS; way++) {
			struct fixture f;
			struct catnap_halt_stats s;

			make(&f, kinds[k], way);
			assert_int_equal(halt(&f, now() - 1), CATNAP_CAUSE_TIMER);
			assert_int_equal(halt(&f, 0), CATNAP_CAUSE_TIMER);
			assert_int_equal(halt(&f, 1), CATNAP_CAUSE_TIMER);
			s = stats_of(&f);
			assert_int_equal(s.halt_exits, 3);
			assert_int_equal(s.halt_wait_ns, 0);
			unmake(&f);
		}
}

static void work_that_is_there_comes_before_the_deadline(void **state)
{
	struct fixture f;

	make(&f, CATNAP_POLICY_OFF, PLAIN);
	catnap_halter_wake(f.h, CATNAP_WORK_IPI);
	assert_int_equal(halt(&f, 0), CATNAP_CAUSE_IPI);
	/* Untaken work stays work. */
	assert_int_equal(halt(&f, CATNAP_NO_DEADLINE), CATNAP_CAUSE_IPI);
	assert_int_equal(catnap_halter_take(f.h), CATNAP_WORK_IPI);
	assert_int_equal(catnap_halter_take(f.h), 0);
	assert_int_equal(halt(&f, 0), CATNAP_CAUSE_TIMER);
	catnap_halter_wake(f.h, 0x10);
	assert_int_equal(halt(&f, 0), CATNAP_CAUSE_OTHER);
	catnap_halter_wake(f.h, 0x20);
	catnap_halter_wake(f.h, CATNAP_WORK_IPI);
	assert_int_equal(halt(&f, 0), CATNAP_CAUSE_IPI);
	assert_int_equal(catnap_halter_take(f.h), 0x31);
	/* The engine's own bits cannot be set, nor taken, from outside. */
	catnap_halter_wake(f.h, ~CATNAP_WORK_USER);
	assert_int_equal(catnap_halter_take(f.h), 0);
	assert_int_equal(halt(&f, 0), CATNAP_CAUSE_TIMER);
	assert_int_equal(catnap_halter_halt(f.h, 0, NULL), 0); /* nobody wants the cause */
	unmake(&f);
}

static void wakes_are_told_by_where_they_found_the_owner(void **state)
{
	struct later l = {.bits = 2, .delay_ns = 60 * MS};
	struct catnap_halt_stats s;
	struct fixture f;
	uint64_t begin;

	for (enum way way = PLAIN; way < WAYS; way++) {
		make(&f, CATNAP_POLICY_OFF, way);
		l.h = f.h;
		later(&l);
		begin = now();
		assert_int_equal(halt(&f, CATNAP_NO_DEADLINE), CATNAP_CAUSE_OTHER);
		join(&l);
		s = stats_of(&f);
		assert_int_equal(s.futex_wakes, 1);
		assert_int_equal(s.kicks_sent, 0);
		assert_int_equal(s.kicks_saved, way != PLAIN); /* the one that added a source */
		assert_int_equal(s.halt_attempted_poll, 0);
		assert_int_equal(s.halt_poll_fail_ns, 0);
		assert_in_range(s.halt_wait_ns, 1, now() - begin);
		/* The cost of coming back is known from the one wake-up. */
		assert_true(s.price_ns > 0 && s.price_ns < s.halt_wait_ns);
		assert_int_equal(s.wakeups[CATNAP_CAUSE_OTHER], 1);
		unmake(&f);

		make(&f, CATNAP_POLICY_ALWAYS, way);
		l.h = f.h;
		later(&l);
		assert_int_equal(halt(&f, CATNAP_NO_DEADLINE), CATNAP_CAUSE_OTHER);
		join(&l);
		s = stats_of(&f);
		assert_int_equal(s.futex_wakes, 0);
		assert_int_equal(s.kicks_sent, 0);
		assert_int_equal(s.kicks_saved, 1 + (way != PLAIN));
		assert_int_equal(s.halt_attempted_poll, 1);
		assert_int_equal(s.halt_successful_poll, 1);
		assert_int_equal(s.halt_wait_ns, 0);
		assert_true(s.halt_poll_success_ns > 5 * MS);
		assert_true(s.window_ns == CATNAP_WINDOW_FOREVER);
		unmake(&f);
	}
}

static void a_poll_that_fails_sleeps_on(void **state)
{
	struct catnap_halt_poll p;
	struct later l = {.bits = 2, .delay_ns = 20 * MS};
	struct catnap_halt_stats s, before;
	struct fixture f;

	make(&f, CATNAP_POLICY_FIXED, PLAIN);
	catnap_halt_poll_init(&p);
	p.policy = CATNAP_POLICY_FIXED;
	p.max_ns = 1000000;
	assert_int_equal(catnap_halter_set_halt_poll(f.h, &p), 0);
	l.h = f.h;
	/* Where others hold our processor for longer than the waker waits there is no sleep, and
	 * where they want it there is no poll for a while: again. */
	for (int i = 0; i < 200; i++) {
		before = stats_of(&f);
		later(&l);
		assert_int_equal(halt(&f, CATNAP_NO_DEADLINE), CATNAP_CAUSE_OTHER);
		join(&l);
		assert_int_equal(catnap_halter_take(f.h), 2);
		s = stats_of(&f);
		if (s.halt_successful_poll == before.halt_successful_poll &&
		    s.halt_attempted_poll != before.halt_attempted_poll)
			break;
	}
	assert_int_equal(s.halt_attempted_poll, before.halt_attempted_poll + 1);
	assert_int_equal(s.halt_successful_poll, before.halt_successful_poll);
	/* All of the window, but for the time in which others had the processor. */
	assert_in_range(s.halt_poll_fail_ns - before.halt_poll_fail_ns, 1, MS + LOOK_MAX);
	assert_true(s.halt_poll_fail_ns + s.halt_wait_ns >=
		    before.halt_poll_fail_ns + before.halt_wait_ns + MS);
	assert_true(s.halt_wait_ns > before.halt_wait_ns);
	assert_int_equal(s.halt_poll_success_ns, before.halt_poll_success_ns);
	assert_int_equal(s.futex_wakes, before.futex_wakes + 1);
	assert_int_equal(s.window_ns, 1000000);
	unmake(&f);
}

static _Atomic bool hog_ends;

static void *hog(void *arg)
{
	while (!atomic_load_explicit(&hog_ends, memory_order_relaxed))
		;
	return NULL;
}

/* A poll that others hold up, in whatever place, is no longer than its window: not the time in
 * which they had the processor counts, but that in which it was polled. */
static void a_poll_counts_while_it_runs(void **state)
{
	struct catnap_halt_poll p;
	cpu_set_t was, one;
	struct fixture f;
	pthread_t other;
	int cpu = sched_getcpu();

	make(&f, CATNAP_POLICY_FIXED, PLAIN);
	catnap_halt_poll_init(&p);
	p.policy = CATNAP_POLICY_FIXED;
	p.max_ns = 20 * MS;
	assert_int_equal(catnap_halter_set_halt_poll(f.h, &p), 0);
	assert_int_equal(sched_getaffinity(0, sizeof(was), &was), 0);
	CPU_ZERO(&one);
	CPU_SET(cpu < 0 ? 0 : cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	atomic_store(&hog_ends, false);
	assert_int_equal(pthread_create(&other, NULL, hog, NULL), 0); /* on this one, too */
	for (int i = 0; i < 10; i++) {
		uint64_t before = stats_of(&f).halt_poll_fail_ns;

		assert_int_equal(halt(&f, now() + 100 * MS), CATNAP_CAUSE_TIMER);
		assert_in_range(stats_of(&f).halt_poll_fail_ns - before, 0, 20 * MS + LOOK_MAX);
	}
	atomic_store(&hog_ends, true);
	pthread_join(other, NULL);
	assert_int_equal(sched_setaffinity(0, sizeof(was), &was), 0);
	unmake(&f);
}

static void eventfds_end_a_halt_on_the_owners_thread(void **state)
{
	for (size_t k = 0; k < KINDS; k++)
		for (enum way way = RING; way < WAYS; way++) {
			struct later l = {.delay_ns = 2 * MS};
			struct fixture f;

			make(&f, kinds[k], way);
			l.fd = event();
			assert_int_equal(catnap_halter_add_eventfd(f.h, l.fd), 0);
			for (int i = 1; i <= 5; i++) {
				later(&l);
				assert_int_equal(halt(&f, CATNAP_NO_DEADLINE),
						 CATNAP_CAUSE_EVENTFD);
				join(&l);
				assert_int_equal(f.fired, i);
				assert_int_equal(f.fired_fd, l.fd);
			}
			assert_int_equal(f.wrong_thread, 0);
			assert_int_equal(catnap_halter_take(f.h), 0);
			assert_int_equal(stats_of(&f).wakeups[CATNAP_CAUSE_EVENTFD], 5);
			/* Deleted on the owner's thread: from here on not even what is there
			 * already. */
			ring_it(l.fd);
			assert_int_equal(catnap_halter_del_eventfd(f.h, l.fd), 0);
			assert_int_equal(halt(&f, now() + MS), CATNAP_CAUSE_TIMER);
			assert_int_equal(catnap_halter_reap(f.h), 0);
			assert_int_equal(f.fired, 5);
			/* And again from the start. */
			assert_int_equal(catnap_halter_add_eventfd(f.h, l.fd), 0);
			assert_int_equal(halt(&f, now() + 1000 * MS), CATNAP_CAUSE_EVENTFD);
			assert_int_equal(f.fired, 6);
			unmake(&f);
			close(l.fd);
		}
}

static void one_added_while_the_owner_sleeps_counts_at_once(void **state)
{
	for (size_t k = 0; k < KINDS; k++)
		for (enum way way = PLAIN; way < WAYS; way++) {
			struct later l = {.delay_ns = 5 * MS};
			struct fixture f;

			make(&f, kinds[k], way);
			l.h = f.h;
			l.fd = l.add_fd = event();
			later(&l);
			assert_int_equal(halt(&f, CATNAP_NO_DEADLINE), CATNAP_CAUSE_EVENTFD);
			join(&l);
			assert_int_equal(f.fired, 1);
			assert_int_equal(f.wrong_thread, 0);
			unmake(&f);
			close(l.fd);
		}
}

static void reap_does_not_wait(void **state)
{
	struct fixture f;
	int fd = event();

	make(&f, CATNAP_POLICY_OFF, PLAIN);
	assert_int_equal(catnap_halter_reap(f.h), 0);
	assert_int_equal(catnap_halter_add_eventfd(f.h, fd), 0);
	assert_int_equal(catnap_halter_reap(f.h), 0);
	ring_it(fd);
	assert_int_equal(catnap_halter_reap(f.h), 1);
	assert_int_equal(f.fired, 1);
	unmake(&f);
	close(fd);
}

static void sources_that_cannot_be_are_refused(void **state)
{
	struct fixture f;
	int fds[65];

	make(&f, CATNAP_POLICY_OFF, PLAIN);
	for (int i = 0; i < 65; i++)
		fds[i] = event();
	assert_int_equal(catnap_halter_add_eventfd(f.h, -1), -EBADF);
	assert_int_equal(catnap_halter_del_eventfd(f.h, fds[0]), -ENOENT);
	for (int i = 0; i < 64; i++)
		assert_int_equal(catnap_halter_add_eventfd(f.h, fds[i]), 0);
	assert_int_equal(catnap_halter_add_eventfd(f.h, fds[0]), -EEXIST);
	assert_int_equal(catnap_halter_add_eventfd(f.h, fds[64]), -ENOSPC);
	assert_int_equal(catnap_halter_del_eventfd(f.h, fds[0]), 0);
	assert_int_equal(catnap_halter_add_eventfd(f.h, fds[64]), 0);
	for (int i = 1; i < 65; i++)
		ring_it(fds[i]);
	for (int i = 0; f.fired < 64 && i < 64; i++)
		assert_int_equal(halt(&f, now() + 1000 * MS), CATNAP_CAUSE_EVENTFD);
	assert_int_equal(f.fired, 64);
	unmake(&f);
	for (int i = 0; i < 65; i++)
		close(fds[i]);
}

/* -- signals ---------------------------------------------------------------------------------- */

static struct catnap_halter *signal_halter;
static volatile sig_atomic_t signals, wake_at;

static void on_alarm(int signo)
{
	int saved = errno;

	signals = signals + 1;
	if (signals == wake_at)
		catnap_halter_wake(signal_halter, 4);
	errno = saved;
}

static void alarms(long us)
{
	const struct itimerval it = {.it_interval.tv_usec = us, .it_value.tv_usec = us};
	struct sigaction sa = {.sa_handler = on_alarm}; /* no SA_RESTART */

	sigaction(SIGALRM, &sa, NULL);
	assert_int_equal(setitimer(ITIMER_REAL, &it, NULL), 0);
}

static void signals_do_not_end_a_halt(void **state)
{
	for (size_t k = 0; k < KINDS; k++)
		for (enum way way = PLAIN; way < WAYS; way++) {
			struct fixture f;
			uint64_t deadline;

			make(&f, kinds[k], way);
			signals = wake_at = 0;
			alarms(1000);
			do { /* on a busy machine signals come together */
				deadline = now() + 20 * MS;
				assert_int_equal(halt(&f, deadline), CATNAP_CAUSE_TIMER);
				assert_true(now() >= deadline);
			} while (signals <= 3);
			alarms(0);
			assert_int_equal(stats_of(&f).wakeups[CATNAP_CAUSE_OTHER], 0);
			unmake(&f);
		}
}

static void a_signal_handler_may_wake(void **state)
{
	for (size_t k = 0; k < KINDS; k++)
		for (enum way way = PLAIN; way < WAYS; way++)
			for (int i = 1; i <= 3; i++) {
				struct fixture f;

				make(&f, kinds[k], way);
				signal_halter = f.h;
				signals = 0;
				wake_at = i;
				alarms(700);
				assert_int_equal(halt(&f, CATNAP_NO_DEADLINE), CATNAP_CAUSE_OTHER);
				alarms(0);
				assert_int_equal(catnap_halter_take(f.h), 4);
				unmake(&f);
			}
}

/* -- the way out, and parameters -------------------------------------------------------------- */

static void the_kick_comes_once_for_each_entry(void **state)
{
	struct fixture f;

	make(&f, CATNAP_POLICY_OFF, PLAIN);
	catnap_halter_wake(f.h, 1);
	assert_false(catnap_halter_enter(f.h)); /* there is work */
	assert_int_equal(f.kicks, 0);
	catnap_halter_take(f.h);
	for (int i = 1; i < 4; i++) {
		assert_true(catnap_halter_enter(f.h));
		assert_int_equal(f.kicks, i - 1);
		catnap_halter_wake(f.h, 1);
		catnap_halter_wake(f.h, 2);
		catnap_halter_wake(f.h, 1);
		assert_int_equal(f.kicks, i);
		catnap_halter_leave(f.h);
		catnap_halter_wake(f.h, 4);
		assert_int_equal(f.kicks, i);
		assert_int_equal(catnap_halter_take(f.h), 7);
	}
	assert_int_equal(stats_of(&f).kicks_sent, 3);
	assert_int_equal(stats_of(&f).kicks_saved, 1 + 3 * 3);
	assert_int_equal(stats_of(&f).halt_exits, 0);
	unmake(&f);
}

static void the_policy_may_change_while_it_runs(void **state)
{
	struct catnap_halt_poll p;
	struct fixture f;
	struct catnap_halt_stats s;

	make(&f, CATNAP_POLICY_OFF, PLAIN);
	catnap_halt_poll_init(&p);
	for (size_t k = 0; k < KINDS; k++) {
		p.policy = kinds[k];
		p.max_ns = 100000;
		assert_int_equal(catnap_halter_set_halt_poll(f.h, &p), 0);
		for (int i = 0; i < 3; i++)
			halt(&f, now() + 50000);
		assert_int_equal(stats_of(&f).policy, kinds[k]);
	}
	s = stats_of(&f);
	/* off: none; kernel: from the second on; fixed and always: each, unless others want the
	 * processor */
	assert_in_range(s.halt_attempted_poll, s.halt_poll_contended ? 3 : 6, s.halt_exits - 3);
	p.policy = 77;
	assert_int_equal(catnap_halter_set_halt_poll(f.h, &p), -EINVAL);
	p.policy = CATNAP_POLICY_OFF;
	p.size = 3;
	assert_int_equal(catnap_halter_set_halt_poll(f.h, &p), -EINVAL);
	assert_int_equal(stats_of(&f).policy, kinds[KINDS - 1]);
	unmake(&f);
}

static void polling_may_be_switched_off_from_outside(void **state)
{
	for (size_t k = 0; k < KINDS; k++) {
		struct fixture f;

		make(&f, kinds[k], PLAIN);
		assert_int_equal(stats_of(&f).poll_allowed, 1);
		catnap_halter_set_poll_allowed(f.h, false);
		assert_int_equal(stats_of(&f).poll_allowed, 0);
		/* Until it has slept, and later polled: where others hold our processor a halt may
		 * be over before it has begun. */
		for (int i = 0; i < 500 && (i < 5 || !stats_of(&f).halt_wait_ns); i++)
			halt(&f, now() + MS);
		assert_int_equal(stats_of(&f).halt_attempted_poll, 0);
		assert_true(stats_of(&f).halt_wait_ns > 0);
		catnap_halter_set_poll_allowed(f.h, true);
		for (int i = 0; i < 500 && (i < 5 || !stats_of(&f).halt_attempted_poll); i++)
			halt(&f, now() + 50000);
		assert_true(stats_of(&f).halt_attempted_poll > 0 || kinds[k] == CATNAP_POLICY_OFF);
		unmake(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_made_after_the_first_sleep_can_wake),
		cmocka_unit_test(sizes_are_checked),
		cmocka_unit_test(deadlines_are_never_early),
		cmocka_unit_test(a_deadline_in_the_past_ends_it_at_once),
		cmocka_unit_test(work_that_is_there_comes_before_the_deadline),
		cmocka_unit_test(wakes_are_told_by_where_they_found_the_owner),
		cmocka_unit_test(a_poll_that_fails_sleeps_on),
		cmocka_unit_test(a_poll_counts_while_it_runs),
		cmocka_unit_test(eventfds_end_a_halt_on_the_owners_thread),
		cmocka_unit_test(one_added_while_the_owner_sleeps_counts_at_once),
		cmocka_unit_test(reap_does_not_wait),
		cmocka_unit_test(sources_that_cannot_be_are_refused),
		cmocka_unit_test(signals_do_not_end_a_halt),
		cmocka_unit_test(a_signal_handler_may_wake),
		cmocka_unit_test(the_kick_comes_once_for_each_entry),
		cmocka_unit_test(the_policy_may_change_while_it_runs),
		cmocka_unit_test(polling_may_be_switched_off_from_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
