/* SPDX-License-Identifier: Apache-2.0 */
/* How long polls are put off when others want the processor. Whether they do is the host's to
 * say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "poll/contention.h"

#define MS 1000000u

/* Ticks are nanoseconds here. */
static const struct clock ns_clock = {
	.khz = 1000000, .to_ns = UINT64_C(1) << 32, .to_ticks = UINT64_C(1) << 32};

static void pauses(void **state)
{
	struct contention c;
	uint64_t now = 77, pause = MS;

	contention_init(&c, &ns_clock);
	assert_true(contention_may_poll(&c, now));
	/* While it goes on each is four times as long. */
	for (int i = 0; i < 20; i++) {
		contention_pause(&c, now);
		assert_false(contention_may_poll(&c, now));
		assert_false(contention_may_poll(&c, now + pause - 1));
		assert_true(contention_may_poll(&c, now + pause));
		now += pause + pause / 2;
		pause = pause * 4 < 1000 * MS ? pause * 4 : 1000 * MS;
	}
	/* Four of them without, or eight offers: one half is forgotten. */
	contention_init(&c, &ns_clock);
	for (int i = 0; i < 4; i++) {
		contention_pause(&c, now);
		now = c.resume;
	}
	assert_int_equal(c.pause, 64 * MS);
	now += 4 * 64 * MS;
	contention_pause(&c, now);
	assert_int_equal(c.pause, 128 * MS);
	contention_init(&c, &ns_clock);
	contention_pause(&c, now);
	contention_pause(&c, c.resume + 32 * MS - 1);
	assert_int_equal(c.pause, 4 * MS);
	contention_pause(&c, c.resume + 32 * MS);
	assert_int_equal(c.pause, 8 * MS);
	/* After a pause the processor is offered at once. */
	assert_true(c.next_offer == c.resume);
	/* After a longer time without, they begin anew. */
	now = c.resume + 10000ull * MS;
	contention_pause(&c, now);
	assert_int_equal(c.pause, MS);
}

/* Where nobody could poll, for another reason, nothing is forgotten. */
static void held(void **state)
{
	struct contention c;
	uint64_t now = 77;

	contention_init(&c, &ns_clock);
	contention_hold(&c, now);
	assert_true(contention_may_poll(&c, now));
	for (int i = 0; i < 4; i++) {
		contention_pause(&c, now);
		contention_hold(&c, now); /* ends no pause */
		assert_false(contention_may_poll(&c, now));
		now = c.resume;
	}
	now += 10000ull * MS;
	contention_hold(&c, now);
	assert_true(contention_may_poll(&c, now));
	contention_pause(&c, now + MS);
	assert_int_equal(c.pause, 256 * MS);
}

/* Time that others take now and then is no reason to stop; time that they take all the while is,
 * and a slice at once. */
static void taken(void **state)
{
	struct contention c;
	uint64_t now = 1000 * MS;
	int n = 0;

	contention_init(&c, &ns_clock);
	/* 5 % of the time, in pieces of 50 us. */
	for (int i = 0; i < 10000; i++) {
		contention_taken(&c, now, MS / 20);
		assert_true(contention_may_poll(&c, now));
		now += MS;
	}
	/* 10 %. */
	do {
		contention_taken(&c, now, MS / 10);
		now += MS;
	} while (contention_may_poll(&c, now - MS) && ++n < 1000);
	assert_in_range(n, 5, 20);
	/* A time slice. */
	contention_init(&c, &ns_clock);
	contention_taken(&c, now, 3 * MS);
	assert_false(contention_may_poll(&c, now));
	assert_true(contention_may_poll(&c, now + MS));
}

/* Many looks close to each other cost no system call, and find nothing. */
static void looks(void **state)
{
	struct contention c;
	uint64_t now = 5;

	contention_init(&c, &ns_clock);
	c.next_offer = UINT64_MAX;
	assert_true(contention_may_poll(&c, now));
	for (int i = 0; i < 100000; i++) {
		now += 19999;
		assert_false(contention_ask(&c, &ns_clock, now));
	}
	assert_int_equal(c.switches, -1);
	/* The first gap has nothing to compare with. */
	assert_false(contention_ask(&c, &ns_clock, now + 20000));
	assert_true(c.switches >= 0);
	assert_true(contention_may_poll(&c, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(pauses), cmocka_unit_test(held),
					   cmocka_unit_test(taken), cmocka_unit_test(looks)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
