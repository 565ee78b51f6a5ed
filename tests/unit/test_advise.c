/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the event kvm_vcpu_wakeup, as kernels write them and as threads may make them look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/advise/advise.h"

#define TAIL "    [001] ..... 12345.678901: kvm_vcpu_wakeup: "

static void good(const char *line, pid_t thread, uint64_t ns, bool waited, bool valid)
{
	struct advise_halt h;
	uint64_t lost;

	assert_true(advise_trace_parse(line, &h, &lost));
	assert_int_equal(h.thread, thread);
	assert_int_equal(h.ns, ns);
	assert_int_equal(h.waited, waited);
	assert_int_equal(h.valid, valid);
	assert_int_equal(lost, 0);
}

static void none(const char *line, uint64_t expected_lost)
{
	struct advise_halt h;
	uint64_t lost;

	assert_false(advise_trace_parse(line, &h, &lost));
	assert_int_equal(lost, expected_lost);
}

static void test_good(void **state)
{
	good("       CPU 0/KVM-4711 " TAIL "wait time 123456 ns, polling valid", 4711, 123456, true,
	     true);
	good("  qemu-system-x86-17" TAIL "poll time 1 ns, polling invalid", 17, 1, false, false);
	good("           <...>-99999 " TAIL "wait time 0 ns, polling valid", 99999, 0, true, true);
	/* With the thread's process (option record-tgid). */
	good("  catnap-vcpu0-1234  (   1200)" TAIL "poll time 77 ns, polling valid", 1234, 77,
	     false, true);
	/* Without flags, as old kernels. */
	good("a-1 [000] 1.0: kvm_vcpu_wakeup: wait time 5 ns, polling valid", 1, 5, true, true);
}

static void test_windows(void **state)
{
	struct advise_halt h;
	uint64_t lost;

	assert_true(advise_trace_parse("CPU 0/KVM-5 [001] ..... 1.5: kvm_halt_poll_ns: vcpu 0: "
				       "halt_poll_ns 20000 (grow 10000)",
				       &h, &lost));
	assert_true(h.window && h.thread == 5 && h.now_ns == 20000 && h.before_ns == 10000);
	none("x-5 [001] 1.5: kvm_halt_poll_ns: vcpu 0: halt_poll_ns 20000 (grow 10000", 0);
	none("x-5 [001] 1.5: kvm_halt_poll_ns: vcpu 0: halt_poll_ns 20000 (stay 10000)", 0);
	none("x-5 [001] 1.5: kvm_halt_poll_ns: vcpu 0: halt_poll_ns 20000 (grow 10000) x", 0);
}

static void test_names(void **state)
{
	/* A name that looks like an event: what counts stands behind it. */
	good(" [1]-2: x-3 " TAIL "wait time 9 ns, polling valid", 3, 9, true, true);
	good(": kvm_vcpu_wak-4 " TAIL "wait time 9 ns, polling valid", 4, 9, true, true);
	good("-5-6-7 " TAIL "wait time 9 ns, polling valid", 7, 9, true, true);
	good("a b c)-8 " TAIL "wait time 9 ns, polling valid", 8, 9, true, true);
}

static void test_none(void **state)
{
	none("", 0);
	none("# tracer: nop", 0);
	none("x-1" TAIL, 0);
	none("x-1" TAIL "wait time 9 ns, polling", 0);
	none("x-1" TAIL "wait time 9 ns, polling perhaps", 0);
	none("x-1" TAIL "sleep time 9 ns, polling valid", 0);
	none("x-1" TAIL "wait time 9 ns, polling valid and more", 0);
	none("x-" TAIL "wait time 9 ns, polling valid", 0);
	none("1" TAIL "wait time 9 ns, polling valid", 0);
	none("x-1234567890" TAIL "wait time 9 ns, polling valid", 0);
	none(": kvm_vcpu_wakeup: wait time 9 ns, polling valid", 0);
	none("CPU:1 [LOST 17 EVENTS]", 17);
	none("CPU:1 [LOST many EVENTS]", 0);
}

/* Lines arrive in pieces, and one that is too long is passed over. */
static void test_reading(void **state)
{
	static const char line[] = "x-7" TAIL "wait time 9 ns, polling valid\n";
	struct advise_trace t = {.fd = -1};
	struct advise_halt h;
	char longest[3000];
	int p[2];

	assert_int_equal(pipe(p), 0);
	t.fd = p[0];
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\n';
	assert_int_equal(write(p[1], longest, sizeof(longest)), sizeof(longest));
	assert_int_equal(write(p[1], line, 10), 10);
	assert_int_equal(write(p[1], line + 10, sizeof(line) - 11), sizeof(line) - 11);
	assert_int_equal(write(p[1], "CPU:0 [LOST 3 EVENTS]\n", 22), 22);
	assert_int_equal(write(p[1], line, sizeof(line) - 1), sizeof(line) - 1);
	close(p[1]);
	assert_int_equal(advise_trace_next(&t, &h), 1);
	assert_int_equal(h.thread, 7);
	assert_int_equal(t.lost, 0);
	assert_int_equal(advise_trace_next(&t, &h), 1);
	assert_int_equal(t.lost, 3);
	assert_int_equal(advise_trace_next(&t, &h), 0);
	assert_true(t.at_end);
	advise_trace_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	cmocka_unit_test(test_windows),
		cmocka_unit_test(test_names),	cmocka_unit_test(test_none),
		cmocka_unit_test(test_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
