/* SPDX-License-Identifier: Apache-2.0 */
/* Tests that each event is told once, in order, and that those that nobody took in time are
 * counted. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "vmm/history.h"

static int set_up(void **state)
{
	struct history *h = calloc(1, sizeof(*h));

	if (!h)
		return -1;
	history_init(h);
	*state = h;
	return 0;
}

static int tear_down(void **state)
{
	history_fini(*state);
	free(*state);
	return 0;
}

static void add(struct history *h, enum catnap_event_type type, uint32_t value)
{
	struct catnap_event e = history_event(type);

	e.value = value;
	history_add(h, &e);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void each_is_told_once_in_order(void **state)
{
	struct history *h = *state;
	struct catnap_event e;
	uint64_t before = 0;

	assert_false(history_take(h, &e));
	for (uint32_t i = 0; i < 3 * HISTORY_EVENTS; i++) {
		add(h, CATNAP_EVENT_LINK, i);
		if (i % 3 < 2)
			continue;
		for (uint32_t k = i - 2; k <= i; k++) {
			assert_true(history_take(h, &e));
			assert_int_equal(e.type, CATNAP_EVENT_LINK);
			assert_int_equal(e.size, sizeof(e));
			assert_int_equal(e.number, k + 1);
			assert_int_equal(e.value, k);
			assert_int_equal(e.device, UINT32_MAX);
			assert_int_equal(e.vcpu, UINT32_MAX);
			assert_true(e.time_ns >= before);
			before = e.time_ns;
		}
		assert_false(history_take(h, &e));
	}
}

static void the_oldest_make_room(void **state)
{
	struct history *h = *state;
	struct catnap_event e;

	for (uint32_t i = 0; i < HISTORY_EVENTS + 5; i++)
		add(h, CATNAP_EVENT_PANIC, i);
	assert_true(history_take(h, &e));
	assert_int_equal(e.type, CATNAP_EVENT_LOST);
	assert_int_equal(e.size, sizeof(e));
	assert_int_equal(e.value, 5);
	assert_int_equal(e.number, 5); /* that of the last that is gone */
	assert_true(e.time_ns > 0);
	for (uint32_t i = 5; i < HISTORY_EVENTS + 5; i++) {
		assert_true(history_take(h, &e));
		assert_int_equal(e.type, CATNAP_EVENT_PANIC);
		assert_int_equal(e.number, i + 1);
		assert_int_equal(e.value, i);
	}
	assert_false(history_take(h, &e));
	add(h, CATNAP_EVENT_RESET, 0);
	assert_true(history_take(h, &e));
	assert_int_equal(e.type, CATNAP_EVENT_RESET);
	assert_int_equal(e.number, HISTORY_EVENTS + 6);
}

static void the_descriptor_tells_whether_there_is_one(void **state)
{
	struct history *h = *state;
	struct catnap_event e;
	int fd;

	add(h, CATNAP_EVENT_STARTED, 0);
	fd = history_make_fd(h); /* late */
	assert_true(fd >= 0);
	assert_int_equal(history_make_fd(h), fd);
	assert_true(readable(fd));
	add(h, CATNAP_EVENT_RESET, 0);
	assert_true(history_take(h, &e));
	assert_true(readable(fd));
	assert_true(history_take(h, &e));
	assert_false(readable(fd));
	for (unsigned int i = 0; i < 2 * HISTORY_EVENTS; i++)
		add(h, CATNAP_EVENT_RESET, 0);
	for (unsigned int i = 0; i < HISTORY_EVENTS + 1; i++) {
		assert_true(readable(fd));
		assert_true(history_take(h, &e));
	}
	assert_false(readable(fd));
	assert_false(history_take(h, &e));
}

static void nothing_comes_after_the_end(void **state)
{
	struct history *h = *state;
	struct catnap_event e;

	add(h, CATNAP_EVENT_ENDED, 0);
	add(h, CATNAP_EVENT_LINK, 0);
	add(h, CATNAP_EVENT_ENDED, 0);
	assert_true(history_take(h, &e));
	assert_int_equal(e.type, CATNAP_EVENT_ENDED);
	assert_false(history_take(h, &e));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(each_is_told_once_in_order),
		T(the_oldest_make_room),
		T(the_descriptor_tells_whether_there_is_one),
		T(nothing_comes_after_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
