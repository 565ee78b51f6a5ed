/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets, by a clock of the test's own: vectors, and beside a model that counts tokens one
 * by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "buckets.h"
#include "devices/rate.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static struct rate rate;

static void begin(const struct rate_limits *l)
{
	rate_init(&rate, l, 5 * S);
}

static void without_limits_nobody_waits(void **state)
{
	const struct rate_limits none[] = {
		{.bw = {0, 0, S}, .ops = {5, 5, 0}},
		{.bw = {0, 9, 0}, .ops = {0, 1, S}},
		{.bw = {0}},
	};

	for (size_t n = 0; n < 3; n++) {
		assert_false(rate_limits_any(&none[n]));
		begin(&none[n]);
		for (int i = 0; i < 100; i++) {
			assert_int_equal(rate_wait(&rate, 5 * S), 0);
			rate_charge(&rate, UINT64_MAX, UINT64_MAX);
		}
	}
}

static void operations_come_at_their_rate(void **state)
{
	uint64_t now = 5 * S;

	begin(OPS(1000, 1));
	for (int i = 0; i < 1000; i++) {
		uint64_t ns = rate_wait(&rate, now);

		assert_int_equal(ns, i ? MS : 0);
		if (ns)
			assert_int_not_equal(rate_wait(&rate, now + ns - 1), 0);
		now += ns;
		assert_int_equal(rate_wait(&rate, now), 0);
		rate_charge(&rate, 1, 4096);
	}
	assert_int_equal(now, 5 * S + 999 * MS);
}

/* 4 KiB at a time, at 1 MiB a second: a second is 256 of them beyond the burst. */
static void bytes_come_at_their_rate(void **state)
{
	uint64_t now = 5 * S, done = 0;

	begin(BW(1 << 20, 64 << 10));
	while (now < 6 * S) {
		now += rate_wait(&rate, now);
		assert_int_equal(rate_wait(&rate, now), 0);
		rate_charge(&rate, 1, 4096);
		done += 4096;
	}
	assert_in_range(done, (1 << 20) + (64 << 10) - 4096, (1 << 20) + (64 << 10) + 8192);
}

static void a_rest_saves_up_a_bucket_and_no_more(void **state)
{
	uint64_t n = 0;

	begin(OPS(100, 20));
	while (rate_wait(&rate, 5 * S) == 0)
		rate_charge(&rate, 1, 0);
	for (; rate_wait(&rate, 1000 * S) == 0; n++)
		rate_charge(&rate, 1, 0);
	assert_int_equal(n, 20);
	/* A clock that has not moved, or that another thread has read before, fills nothing. */
	assert_int_not_equal(rate_wait(&rate, 1000 * S), 0);
	assert_int_not_equal(rate_wait(&rate, 999 * S), 0);
	assert_int_not_equal(rate_wait(&rate, 0), 0);
}

/* As Firecracker has it: first the one-time burst, while the bucket stays full; then the bucket;
 * then what it fills with. The burst never comes back. */
static void the_one_time_burst_comes_first_and_once(void **state)
{
	uint64_t n = 0;

	begin(&(struct rate_limits){.ops = {.size = 10, .one_time_burst = 30, .refill_ns = S}});
	for (; n < 25; n++) {
		assert_int_equal(rate_wait(&rate, 5 * S), 0);
		rate_charge(&rate, 1, 0);
	}
	/* An hour later no more is there: 5 of the burst, and the bucket. */
	for (; rate_wait(&rate, 3600 * S) == 0; n++)
		rate_charge(&rate, 1, 0);
	assert_int_equal(n, 40);
	assert_int_equal(rate_wait(&rate, 3600 * S), S / 10);
	for (n = 0; rate_wait(&rate, 7200 * S) == 0; n++)
		rate_charge(&rate, 1, 0);
	assert_int_equal(n, 10);
}

/* One request takes what is left of the burst and the rest from the bucket, which fills from then
 * on, not from when it was made. */
static void a_request_may_take_of_both(void **state)
{
	begin(&(struct rate_limits){.bw = {.size = 1000, .one_time_burst = 50, .refill_ns = S}});
	assert_int_equal(rate_wait(&rate, 100 * S), 0);
	rate_charge(&rate, 1, 1050);
	assert_int_equal(rate_wait(&rate, 100 * S), MS);
	assert_int_equal(rate_wait(&rate, 100 * S + MS), 0);
}

static void what_is_longer_than_a_bucket_is_paid_for_later(void **state)
{
	uint64_t ns;

	begin(BW(1000, 10));
	assert_int_equal(rate_wait(&rate, 5 * S), 0);
	rate_charge(&rate, 1, 5010);
	ns = rate_wait(&rate, 5 * S);
	assert_int_equal(ns, 5 * S + MS);
	assert_int_equal(rate_wait(&rate, 5 * S + ns), 0);
}

/* Ten times as long as the bucket, one after the other: the rate is as it was said all the same. */
static void long_requests_keep_the_rate(void **state)
{
	uint64_t now = 5 * S, done = 0;

	begin(&(struct rate_limits){.bw = {.size = 1000, .refill_ns = 10 * MS}});
	while (now < 25 * S) {
		now += rate_wait(&rate, now);
		rate_charge(&rate, 1, 10000);
		done += 10000;
	}
	assert_in_range(done, 2000000, 2000000 + 1000 + 2 * 10000);
}

static void both_limits_hold(void **state)
{
	struct rate_limits l = {.bw = bucket(1000, 1000), .ops = bucket(10, 10)};

	begin(&l);
	rate_charge(&rate, 1, 2000);
	assert_int_equal(rate_wait(&rate, 5 * S), S + MS);
	begin(&l);
	rate_charge(&rate, 30, 1);
	assert_int_equal(rate_wait(&rate, 5 * S), 2 * S + 100 * MS);
}

/* The bucket that is changed is full, with its burst; the other goes on. */
static void a_change_is_of_one_bucket(void **state)
{
	struct rate_limits l = {.bw = bucket(1000, 1000), .ops = bucket(10, 10)};

	begin(&l);
	rate_charge(&rate, 30, 5000);
	l.bw = (struct rate_bucket){.size = 500, .one_time_burst = 70, .refill_ns = S};
	rate_change(&rate, &l, 6 * S);
	/* 30 operations, 10 of the bucket, 10 of that second. */
	assert_int_equal(rate_wait(&rate, 6 * S), S + 100 * MS);
	assert_int_equal(rate_wait(&rate, 7 * S + 100 * MS), 0);
	rate_charge(&rate, 0, 570);
	assert_int_equal(rate_wait(&rate, 7 * S + 100 * MS), 2 * MS);
	/* None, and back: anew. */
	l.bw = (struct rate_bucket){.size = 0};
	rate_change(&rate, &l, 8 * S);
	assert_int_equal(rate_wait(&rate, 8 * S), 0);
	rate_charge(&rate, 0, UINT64_MAX);
	l.bw = bucket(1000, 1000);
	rate_change(&rate, &l, 8 * S);
	assert_int_equal(rate_wait(&rate, 8 * S), 0);
	rate_charge(&rate, 0, 1000);
	assert_int_equal(rate_wait(&rate, 8 * S), MS);
	/* The same again changes nothing. */
	rate_change(&rate, &l, 8 * S);
	assert_int_equal(rate_wait(&rate, 8 * S), MS);
}

/* The ends of what can be asked for: no overflow, and times that a clock has. */
static void extremes(void **state)
{
	const uint64_t longest = RATE_REFILL_MAX_NS;

	begin(BW(1, 1));
	for (int i = 0; i < 1000; i++)
		rate_charge(&rate, 1, UINT32_MAX);
	assert_true(rate_wait(&rate, 5 * S) > 0);
	assert_true(rate_wait(&rate, 5 * S) <= INT64_MAX);
	begin(&(struct rate_limits){.bw = {UINT64_MAX, 0, S}, .ops = {UINT64_MAX, 0, S}});
	rate_charge(&rate, UINT64_MAX, UINT64_MAX);
	assert_int_equal(rate_wait(&rate, UINT64_MAX), 0);
	rate_charge(&rate, 1, UINT64_MAX);
	rate_charge(&rate, 1, 1);
	assert_int_equal(rate_wait(&rate, UINT64_MAX), 1);
	begin(&(struct rate_limits){.bw = {UINT64_MAX, UINT64_MAX, longest}});
	rate_charge(&rate, 1, UINT64_MAX);
	assert_int_equal(rate_wait(&rate, UINT64_MAX), 0);
	rate_charge(&rate, 1, UINT64_MAX);
	assert_int_equal(rate_wait(&rate, UINT64_MAX), 1);
	/* Debts without end: the clock's, no more. */
	begin(&(struct rate_limits){.bw = {1, 0, longest}});
	for (int i = 0; i < 1000; i++) {
		rate_charge(&rate, 1, UINT64_MAX);
		assert_int_equal(rate_wait(&rate, 5 * S), INT64_MAX);
	}
	assert_int_equal(rate_wait(&rate, UINT64_MAX), INT64_MAX);
	begin(&(struct rate_limits){.bw = {1 << 30, 0, 1}});
	rate_charge(&rate, 1, UINT64_C(1) << 40);
	assert_int_equal(rate_wait(&rate, 5 * S), 1024);
}

/* -- the model --------------------------------------------------------------------------------- */

/* Counts whole tokens, each at its time: token k of a filling that began at t comes once
 * (ns since t) * size / refill_ns has reached k. Slow, and nothing like the thing itself. */
struct model {
	struct rate_bucket b;
	uint64_t once;
	int64_t tokens;
	uint64_t since, given; /* the filling under way, and what has come of it */
};

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void model_init(struct model *m, const struct rate_bucket *b, uint64_t now)
{
	*m = (struct model){
		.b = *b, .once = b->one_time_burst, .tokens = (int64_t)b->size, .since = now};
}

static void model_at(struct model *m, uint64_t now)
{
	if (!rate_bucket_limits(&m->b))
		return;
	while (m->tokens < (int64_t)m->b.size &&
	       (now - m->since) * m->b.size >= (m->given + 1) * m->b.refill_ns) {
		m->given++;
		m->tokens++;
	}
}

static bool model_may(const struct model *m)
{
	return !rate_bucket_limits(&m->b) || m->once || m->tokens >= 1;
}

static void model_charge(struct model *m, uint64_t n, uint64_t now)
{
	uint64_t of_once = n < m->once ? n : m->once;

	if (!rate_bucket_limits(&m->b))
		return;
	m->once -= of_once;
	n -= of_once;
	if (n && m->tokens == (int64_t)m->b.size) {
		m->since = now; /* it was full: a new filling */
		m->given = 0;
	}
	m->tokens -= (int64_t)n;
}

static struct rate_bucket random_bucket(void)
{
	struct rate_bucket b = {.size = random_below(40), .refill_ns = random_below(2000)};

	if (random_below(2))
		b.one_time_burst = random_below(60);
	return b;
}

/* A million steps of time, requests and changes; in each they agree on whether a request may begin,
 * and what rate_wait() says is the first moment at which it may. */
static void it_is_as_the_model(void **state)
{
	uint64_t now = 1000, wait;
	struct rate_limits l = {.bw = random_bucket(), .ops = random_bucket()};
	struct model bw, ops;
	unsigned int passed = 0, waited = 0;

	rate_init(&rate, &l, now);
	model_init(&bw, &l.bw, now);
	model_init(&ops, &l.ops, now);
	for (int i = 0; i < 1000000; i++) {
		now += random_below(4) ? random_below(50) : random_below(3000);
		model_at(&bw, now);
		model_at(&ops, now);
		wait = rate_wait(&rate, now);
		assert_int_equal(wait == 0, model_may(&bw) && model_may(&ops));
		passed += !wait;
		waited += wait > 0;
		if (wait && random_below(2)) {
			model_at(&bw, now + wait - 1);
			model_at(&ops, now + wait - 1);
			assert_false(model_may(&bw) && model_may(&ops));
			now += wait;
			model_at(&bw, now);
			model_at(&ops, now);
			assert_true(model_may(&bw) && model_may(&ops));
			wait = rate_wait(&rate, now);
			assert_int_equal(wait, 0);
		}
		if (!wait) {
			uint64_t bytes = random_below(8) ? random_below(30) : random_below(300);

			rate_charge(&rate, 1, bytes);
			model_charge(&bw, bytes, now);
			model_charge(&ops, 1, now);
		}
		if (random_below(50) == 0) {
			struct rate_bucket b = random_bucket();

			if (random_below(2)) {
				if (memcmp(&b, &l.bw, sizeof(b)) != 0)
					model_init(&bw, &b, now);
				l.bw = b;
			} else {
				if (memcmp(&b, &l.ops, sizeof(b)) != 0)
					model_init(&ops, &b, now);
				l.ops = b;
			}
			rate_change(&rate, &l, now);
		}
	}
	assert_true(passed > 100000 && waited > 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_limits_nobody_waits),
		cmocka_unit_test(operations_come_at_their_rate),
		cmocka_unit_test(bytes_come_at_their_rate),
		cmocka_unit_test(a_rest_saves_up_a_bucket_and_no_more),
		cmocka_unit_test(the_one_time_burst_comes_first_and_once),
		cmocka_unit_test(a_request_may_take_of_both),
		cmocka_unit_test(what_is_longer_than_a_bucket_is_paid_for_later),
		cmocka_unit_test(long_requests_keep_the_rate),
		cmocka_unit_test(both_limits_hold),
		cmocka_unit_test(a_change_is_of_one_bucket),
		cmocka_unit_test(extremes),
		cmocka_unit_test(it_is_as_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
