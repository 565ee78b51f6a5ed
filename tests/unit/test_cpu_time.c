/* SPDX-License-Identifier: Apache-2.0 */
/* A thread's processor time, read while it begins, runs and ends. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vcpu/cpu_time.h"

#define THREADS 200
#define READERS 2

struct meter {
	struct cpu_time time;
	_Atomic bool ended;
	uint64_t last[READERS];
	int went_back[READERS];
};

struct reader {
	struct meter *m;
	int nr;
};

static uint64_t own(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *lives(void *arg)
{
	struct meter *m = arg;
	uint64_t end;

	cpu_time_begin(&m->time);
	for (end = own() + 20000; own() < end;)
		;
	cpu_time_end(&m->time);
	m->ended = true;
	return NULL;
}

static void *reads(void *arg)
{
	struct reader *r = arg;
	struct meter *m = r->m;
	uint64_t now;
	bool ended;

	do {
		ended = m->ended;
		now = cpu_time_read(&m->time);
		m->went_back[r->nr] += now < m->last[r->nr];
		m->last[r->nr] = now;
	} while (!ended);
	return NULL;
}

/* Also when it is read between the thread's last reading of its clock and its telling so. */
static void it_never_goes_back(void **state)
{
	for (int i = 0; i < THREADS; i++) {
		struct meter m = {0};
		struct reader r[READERS];
		pthread_t thread, reader[READERS];

		assert_int_equal(cpu_time_read(&m.time), 0);
		for (int k = 0; k < READERS; k++) {
			r[k] = (struct reader){&m, k};
			assert_int_equal(pthread_create(&reader[k], NULL, reads, &r[k]), 0);
		}
		assert_int_equal(pthread_create(&thread, NULL, lives, &m), 0);
		pthread_join(thread, NULL);
		for (int k = 0; k < READERS; k++) {
			pthread_join(reader[k], NULL);
			assert_int_equal(m.went_back[k], 0);
			/* The time that it has when it has ended stays, and is what it used. */
			assert_int_equal(m.last[k], cpu_time_read(&m.time));
		}
		assert_true(m.last[0] >= 20000);
	}
}

/* The clock's name is free then: another thread's is not taken for it. */
static void after_its_end_the_clock_is_not_read(void **state)
{
	struct cpu_time t = {0};
	uint64_t last, end;

	cpu_time_begin(&t);
	cpu_time_end(&t);
	last = cpu_time_read(&t);
	for (end = own() + 1000000; own() < end;)
		;
	assert_int_equal(cpu_time_read(&t), last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_never_goes_back),
		cmocka_unit_test(after_its_end_the_clock_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
