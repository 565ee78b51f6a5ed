/* SPDX-License-Identifier: Apache-2.0 */
/* Tests the meaning of the statistics: KVM's meanings, and the histogram's buckets at their
 * edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "poll/stats.h"

static struct catnap_halt_stats counted(const struct halt_record *r, size_t n)
{
	struct halt_stats s;
	struct catnap_halt_stats out;

	memset(&s, 0, sizeof(s));
	memset(&out, 0, sizeof(out));
	for (size_t i = 0; i < n; i++)
		stats_count(&s, &r[i]);
	stats_read(&s, &out);
	return out;
}

static void buckets_have_powers_of_two_for_edges(void **state)
{
	assert_int_equal(stats_bucket(0), 0);
	assert_int_equal(stats_bucket(1), 1);
	assert_int_equal(stats_bucket(2), 2);
	assert_int_equal(stats_bucket(3), 2);
	for (unsigned int k = 1; k < 64; k++) {
		unsigned int last = CATNAP_HIST_BUCKETS - 1;
		uint64_t edge = UINT64_C(1) << k;

		assert_int_equal(stats_bucket(edge - 1), k < last ? k : last);
		assert_int_equal(stats_bucket(edge), k + 1 < last ? k + 1 : last);
		assert_int_equal(stats_bucket(edge + 1), k + 1 < last ? k + 1 : last);
	}
	assert_int_equal(stats_bucket(UINT64_MAX), CATNAP_HIST_BUCKETS - 1);
}

static void a_poll_that_found_its_wake_up_was_successful(void **state)
{
	const struct halt_record r = {
		.poll_ns = 1000, .attempted = true, .valid = true, .cause = CATNAP_CAUSE_IPI};
	struct catnap_halt_stats s = counted(&r, 1);

	assert_int_equal(s.halt_exits, 1);
	assert_int_equal(s.halt_attempted_poll, 1);
	assert_int_equal(s.halt_successful_poll, 1);
	assert_int_equal(s.halt_poll_invalid, 0);
	assert_int_equal(s.halt_poll_success_ns, 1000);
	assert_int_equal(s.halt_poll_fail_ns, 0);
	assert_int_equal(s.halt_wait_ns, 0);
	assert_int_equal(s.halt_wakeup, 1);
	assert_int_equal(s.halt_poll_success_hist[10], 1); /* [512, 1024) */
	assert_int_equal(s.wakeups[CATNAP_CAUSE_IPI], 1);
	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		assert_int_equal(s.halt_poll_success_hist[i], i == 10);
		assert_int_equal(s.halt_poll_fail_hist[i], 0);
		assert_int_equal(s.halt_wait_hist[i], 0);
	}
}

static void a_poll_that_ended_in_sleep_failed(void **state)
{
	const struct halt_record r = {.poll_ns = 1024,
				      .wait_ns = 70000,
				      .attempted = true,
				      .waited = true,
				      .valid = true,
				      .cause = CATNAP_CAUSE_OTHER};
	struct catnap_halt_stats s = counted(&r, 1);

	assert_int_equal(s.halt_attempted_poll, 1);
	assert_int_equal(s.halt_successful_poll, 0);
	assert_int_equal(s.halt_poll_success_ns, 0);
	assert_int_equal(s.halt_poll_fail_ns, 1024); /* the poll alone, without the sleep */
	assert_int_equal(s.halt_wait_ns, 70000);
	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		assert_int_equal(s.halt_poll_success_hist[i], 0);
		assert_int_equal(s.halt_poll_fail_hist[i], i == 11); /* [1024, 2048) */
		assert_int_equal(s.halt_wait_hist[i], i == 17);	     /* [65536, 131072) */
	}
	assert_int_equal(s.wakeups[CATNAP_CAUSE_OTHER], 1);
}

static void without_polling_only_the_sleep_counts(void **state)
{
	const struct halt_record r[] = {
		{.wait_ns = 5, .waited = true, .valid = true, .cause = CATNAP_CAUSE_EVENTFD},
		{.valid = true, .cause = CATNAP_CAUSE_IO}, /* found at the last look */
	};
	struct catnap_halt_stats s = counted(r, 2);

	assert_int_equal(s.halt_exits, 2);
	assert_int_equal(s.halt_attempted_poll, 0);
	assert_int_equal(s.halt_successful_poll, 0);
	assert_int_equal(s.halt_poll_fail_ns + s.halt_poll_success_ns, 0);
	assert_int_equal(s.halt_wait_ns, 5);
	assert_int_equal(s.halt_wait_hist[3], 1);
	assert_int_equal(s.halt_wakeup, 2);
	assert_int_equal(s.wakeups[CATNAP_CAUSE_EVENTFD], 1);
	assert_int_equal(s.wakeups[CATNAP_CAUSE_IO], 1);
}

static void an_invalid_one_counts_only_if_it_polled(void **state)
{
	const struct halt_record r[] = {
		{.poll_ns = 10,
		 .attempted = true,
		 .waited = true,
		 .wait_ns = 1,
		 .cause = CATNAP_CAUSE_OTHER},
		{.waited = true, .wait_ns = 1, .cause = CATNAP_CAUSE_OTHER},
	};
	struct catnap_halt_stats s = counted(r, 2);

	assert_int_equal(s.halt_exits, 2);
	assert_int_equal(s.halt_poll_invalid, 1);
}

static void a_deadline_is_no_wake_up(void **state)
{
	const struct halt_record r = {
		.poll_ns = 1, .attempted = true, .valid = true, .cause = CATNAP_CAUSE_TIMER};
	struct catnap_halt_stats s = counted(&r, 1);

	assert_int_equal(s.halt_exits, 1);
	assert_int_equal(s.halt_successful_poll, 1);
	assert_int_equal(s.halt_wakeup, 0);
	assert_int_equal(s.wakeups[CATNAP_CAUSE_TIMER], 1);
}

static void huge_times_go_to_the_last_bucket(void **state)
{
	const struct halt_record r[] = {
		{.poll_ns = (UINT64_C(1) << 30) - 1, .attempted = true, .valid = true, .cause = 0},
		{.poll_ns = UINT64_C(1) << 30, .attempted = true, .valid = true, .cause = 0},
		{.poll_ns = UINT64_C(1) << 62, .attempted = true, .valid = true, .cause = 0},
	};
	struct catnap_halt_stats s = counted(r, 3);

	assert_int_equal(s.halt_poll_success_hist[30], 1);
	assert_int_equal(s.halt_poll_success_hist[31], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_have_powers_of_two_for_edges),
		cmocka_unit_test(a_poll_that_found_its_wake_up_was_successful),
		cmocka_unit_test(a_poll_that_ended_in_sleep_failed),
		cmocka_unit_test(without_polling_only_the_sleep_counts),
		cmocka_unit_test(an_invalid_one_counts_only_if_it_polled),
		cmocka_unit_test(a_deadline_is_no_wake_up),
		cmocka_unit_test(huge_times_go_to_the_last_bucket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
