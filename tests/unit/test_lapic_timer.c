/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC's timer, rule by rule of the Intel SDM volume 3, "APIC Timer" and "TSC-Deadline
 * Mode". */
#include "lapic_fixture.h"

/* One-shot and periodic */

static void test_timer_divide_values(void **state)
{
	static const struct {
		uint32_t reg, divide;
	} values[] = {{0x0, 2},	 {0x1, 4},  {0x2, 8},	{0x3, 16},
		      {0x8, 32}, {0x9, 64}, {0xa, 128}, {0xb, 1}};
	struct vm vm;
	struct lapic *l = xapic(&vm);

	for (size_t i = 0; i < 8; i++) {
		mmio_write(l, TIMER_DIVIDE, values[i].reg);
		assert_int_equal(mmio_read(l, TIMER_DIVIDE), values[i].reg);
		mmio_write_at(l, TIMER_INITIAL, 1000, 500);
		assert_int_equal(lapic_deadline(l), 500 + 1000 * values[i].divide * TICKS_PER_NS);
	}
}

static void test_timer_one_shot_fires_once(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, LVT_TIMER, 0x40);
	mmio_write(l, TIMER_INITIAL, 1000);
	assert_int_equal(lapic_deadline(l), 2000);
	assert_false(lapic_timer_run(l, 1999));
	assert_false(lapic_has_irr(l));
	assert_true(lapic_timer_run(l, 2000));
	take(l, 0x40);
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_false(lapic_timer_run(l, 1000000));
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 3000), 0);
	assert_int_equal(mmio_read(l, TIMER_INITIAL), 1000);
	assert_int_equal(mmio_read(l, TMR + 2), 0);
}

static void test_timer_current_count_counts_down(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0x1); /* 4 */
	mmio_write(l, TIMER_INITIAL, 1000);
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 0), 1000);
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 8 * 400), 600);
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 8 * 1000 - 1), 1);
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 8 * 1000), 0);
	/* A reader on a vCPU with an earlier clock sees at most the initial count. */
	mmio_write_at(l, TIMER_INITIAL, 1000, 1000000);
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 0), 1000);
}

static void test_timer_initial_count_0_stops(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, LVT_TIMER, PERIODIC | 0x40);
	mmio_write(l, TIMER_INITIAL, 100000);
	mmio_write_at(l, TIMER_INITIAL, 0, 10);
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_false(lapic_timer_run(l, 10000000));
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 20), 0);
}

static void test_timer_initial_count_restarts(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, TIMER_INITIAL, 1000);
	mmio_write_at(l, TIMER_INITIAL, 1000, 1500);
	assert_int_equal(lapic_deadline(l), 3500);
}

static void test_timer_masked_expires_without_interrupt(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, LVT_TIMER, MASKED | 0x40);
	mmio_write(l, TIMER_INITIAL, 100);
	assert_true(lapic_timer_run(l, 100000));
	assert_false(lapic_has_irr(l));
}

static void test_timer_periodic_reloads(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, LVT_TIMER, PERIODIC | 0x40);
	mmio_write(l, TIMER_INITIAL, 100000);
	for (uint64_t period = 1; period < 5; period++) {
		assert_int_equal(lapic_deadline(l), period * 200000);
		assert_true(lapic_timer_run(l, period * 200000 + 7));
		take(l, 0x40);
		lapic_eoi(l);
	}
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 4 * 200000 + 50000), 75000);
}

static void test_timer_periodic_missed_periods_count_once_and_keep_phase(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, LVT_TIMER, PERIODIC | 0x40);
	mmio_write_at(l, TIMER_INITIAL, 100000, 11);
	/* Not run yet: the count goes on all the same. */
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 11 + 200000 * 7 + 40000), 80000);
	assert_true(lapic_timer_run(l, 11 + 200000 * 7 + 40000));
	take(l, 0x40);
	lapic_eoi(l);
	assert_int_equal(lapic_pending_vector(l), -1);
	assert_int_equal(lapic_deadline(l), 11 + 200000 * 8);
	assert_false(lapic_timer_run(l, 11 + 200000 * 7 + 40001));
}

static void test_timer_periodic_has_a_floor(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, LVT_TIMER, PERIODIC | 0x40);
	mmio_write(l, TIMER_INITIAL, 1);
	assert_int_equal(lapic_deadline(l), 20000 * TICKS_PER_NS);
	assert_true(lapic_timer_run(l, 20000 * TICKS_PER_NS));
	assert_int_equal(lapic_deadline(l), 2 * 20000 * TICKS_PER_NS);
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 50000), 1);
	/* One-shots have none: a guest that wants one soon gets it. */
	mmio_write(l, LVT_TIMER, 0x40);
	mmio_write(l, TIMER_INITIAL, 1);
	assert_int_equal(lapic_deadline(l), TICKS_PER_NS);
}

static void test_timer_catch_up_takes_no_time(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, LVT_TIMER, PERIODIC | 0x40);
	mmio_write(l, TIMER_INITIAL, 1);
	/* A loop over the periods would take hours. */
	assert_true(lapic_timer_run(l, UINT64_MAX - 5));
	take(l, 0x40);
	lapic_timer_run(l, UINT64_MAX);
}

static void test_timer_deadline_saturates(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xa);
	mmio_write_at(l, TIMER_INITIAL, 0xffffffff, UINT64_MAX - 1000);
	assert_int_equal(lapic_deadline(l), NEVER);
	mmio_write(l, TIMER_INITIAL, 0xffffffff);
	assert_int_equal(lapic_deadline(l), UINT64_C(0xffffffff) * 128 * TICKS_PER_NS);
}

static void test_timer_mode_switch_between_one_shot_and_periodic_keeps_counting(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, LVT_TIMER, 0x40);
	mmio_write(l, TIMER_INITIAL, 100000);
	mmio_write_at(l, LVT_TIMER, PERIODIC | 0x41, 1000);
	assert_int_equal(lapic_deadline(l), 200000);
	assert_true(lapic_timer_run(l, 200000));
	take(l, 0x41);
	assert_int_equal(lapic_deadline(l), 400000);
}

static void test_timer_divide_change_scales_what_is_left(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, TIMER_INITIAL, 1000);
	mmio_write_at(l, TIMER_DIVIDE, 0x0, 1000); /* 500 left */
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, 1000), 500);
	assert_int_equal(lapic_deadline(l), 1000 + 500 * 2 * TICKS_PER_NS);
}

static void test_timer_works_while_the_clock_is_not_the_tsc(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	vm.clock = (struct clock){
		.khz = 1000000, .to_ns = UINT64_C(1) << 32, .to_ticks = UINT64_C(1) << 32};
	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, TIMER_INITIAL, 1000);
	assert_int_equal(lapic_deadline(l), 1000);
}

static void test_timer_mode_3_is_reserved(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	l->tsc_deadline_offered = true;
	assert_write_gp(l, LVT_TIMER, 3u << 17 | 0x40);
	l = xapic(&vm);
	l->tsc_deadline_offered = true;
	mmio_write(l, TIMER_INITIAL, 1000);
	mmio_write(l, LVT_TIMER, 3u << 17 | 0x40);
	assert_int_equal(lapic_deadline(l), NEVER);
	mmio_write(l, TIMER_INITIAL, 1000);
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_int_equal(l->illegal, 1);
}

/* TSC deadline */

static struct lapic *deadline_mode(struct vm *vm)
{
	struct lapic *l = x2apic(vm);

	l->tsc_deadline_offered = true;
	msr_write(l, LVT_TIMER, TSC_DEADLINE | 0x40);
	return l;
}

static void test_tsc_deadline_gives_gp_unless_offered(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	assert_read_gp(l, LAPIC_MSR_TSC_DEADLINE);
	assert_write_gp(l, LAPIC_MSR_TSC_DEADLINE, 1);
	assert_write_gp(l, LVT_TIMER, TSC_DEADLINE | 0x40);
}

static void test_tsc_deadline_fires_once_and_clears_itself(void **state)
{
	struct vm vm;
	struct lapic *l = deadline_mode(&vm);

	msr_write_at(l, LAPIC_MSR_TSC_DEADLINE, 5000, 1000);
	assert_int_equal(lapic_deadline(l), 5000);
	assert_int_equal(msr_read(l, LAPIC_MSR_TSC_DEADLINE), 5000);
	assert_false(lapic_timer_run(l, 4999));
	assert_true(lapic_timer_run(l, 5000));
	take(l, 0x40);
	assert_int_equal(msr_read(l, LAPIC_MSR_TSC_DEADLINE), 0);
	assert_int_equal(lapic_deadline(l), NEVER);
}

static void test_tsc_deadline_is_in_guest_time(void **state)
{
	struct vm vm;
	struct lapic *l = deadline_mode(&vm);

	l->tsc_offset = (uint64_t)-100000; /* the guest's TSC started at host 100000 */
	msr_write_at(l, LAPIC_MSR_TSC_DEADLINE, 5000, 101000);
	assert_int_equal(lapic_deadline(l), 105000);
}

static void test_tsc_deadline_in_the_past_fires_at_once(void **state)
{
	struct vm vm;
	struct lapic *l = deadline_mode(&vm);

	msr_write_at(l, LAPIC_MSR_TSC_DEADLINE, 1, 1000);
	assert_int_equal(lapic_deadline(l), 1000);
	assert_true(lapic_timer_run(l, 1000));
	take(l, 0x40);
}

static void test_tsc_deadline_0_disarms(void **state)
{
	struct vm vm;
	struct lapic *l = deadline_mode(&vm);

	msr_write(l, LAPIC_MSR_TSC_DEADLINE, 5000);
	msr_write(l, LAPIC_MSR_TSC_DEADLINE, 0);
	assert_int_equal(lapic_deadline(l), NEVER);
}

static void test_tsc_deadline_far_away_saturates(void **state)
{
	struct vm vm;
	struct lapic *l = deadline_mode(&vm);

	l->tsc_offset = (uint64_t)-1000;
	msr_write_at(l, LAPIC_MSR_TSC_DEADLINE, UINT64_MAX, 2000);
	assert_int_equal(lapic_deadline(l), NEVER);
}

static void test_tsc_deadline_mode_ignores_the_initial_count(void **state)
{
	struct vm vm;
	struct lapic *l = deadline_mode(&vm);

	msr_write(l, TIMER_INITIAL, 1000);
	assert_int_equal(lapic_deadline(l), NEVER);
	msr_write(l, LAPIC_MSR_TSC_DEADLINE, 5000);
	msr_write(l, TIMER_INITIAL, 0);
	msr_write(l, TIMER_DIVIDE, 1);
	assert_int_equal(lapic_deadline(l), 5000);
	assert_int_equal(msr_read_at(l, TIMER_CURRENT, 1000), 0);
}

static void test_other_modes_ignore_the_tsc_deadline(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	l->tsc_deadline_offered = true;
	msr_write(l, LVT_TIMER, 0x40);
	msr_write(l, LAPIC_MSR_TSC_DEADLINE, 5000);
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_int_equal(msr_read(l, LAPIC_MSR_TSC_DEADLINE), 0);
}

static void test_switch_to_and_from_tsc_deadline_disarms(void **state)
{
	struct vm vm;
	struct lapic *l = x2apic(&vm);

	l->tsc_deadline_offered = true;
	msr_write(l, LVT_TIMER, 0x40);
	msr_write(l, TIMER_INITIAL, 1000);
	msr_write(l, LVT_TIMER, TSC_DEADLINE | 0x40);
	assert_int_equal(lapic_deadline(l), NEVER);
	msr_write(l, LAPIC_MSR_TSC_DEADLINE, 5000);
	msr_write(l, LVT_TIMER, TSC_DEADLINE | 0x41); /* same mode: still armed */
	assert_int_equal(lapic_deadline(l), 5000);
	msr_write(l, LVT_TIMER, PERIODIC | 0x40);
	assert_int_equal(lapic_deadline(l), NEVER);
	assert_int_equal(msr_read(l, LAPIC_MSR_TSC_DEADLINE), 0);
}

static void test_tsc_deadline_works_in_xapic_mode(void **state)
{
	struct vm vm;
	struct lapic *l = xapic(&vm);

	l->tsc_deadline_offered = true;
	mmio_write(l, LVT_TIMER, TSC_DEADLINE | 0x40);
	assert_int_equal(mmio_read(l, LVT_TIMER), TSC_DEADLINE | 0x40);
	msr_write(l, LAPIC_MSR_TSC_DEADLINE, 77);
	assert_int_equal(lapic_deadline(l), 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_divide_values),
		cmocka_unit_test(test_timer_one_shot_fires_once),
		cmocka_unit_test(test_timer_current_count_counts_down),
		cmocka_unit_test(test_timer_initial_count_0_stops),
		cmocka_unit_test(test_timer_initial_count_restarts),
		cmocka_unit_test(test_timer_masked_expires_without_interrupt),
		cmocka_unit_test(test_timer_periodic_reloads),
		cmocka_unit_test(test_timer_periodic_missed_periods_count_once_and_keep_phase),
		cmocka_unit_test(test_timer_periodic_has_a_floor),
		cmocka_unit_test(test_timer_catch_up_takes_no_time),
		cmocka_unit_test(test_timer_deadline_saturates),
		cmocka_unit_test(
			test_timer_mode_switch_between_one_shot_and_periodic_keeps_counting),
		cmocka_unit_test(test_timer_divide_change_scales_what_is_left),
		cmocka_unit_test(test_timer_works_while_the_clock_is_not_the_tsc),
		cmocka_unit_test(test_timer_mode_3_is_reserved),
		cmocka_unit_test(test_tsc_deadline_gives_gp_unless_offered),
		cmocka_unit_test(test_tsc_deadline_fires_once_and_clears_itself),
		cmocka_unit_test(test_tsc_deadline_is_in_guest_time),
		cmocka_unit_test(test_tsc_deadline_in_the_past_fires_at_once),
		cmocka_unit_test(test_tsc_deadline_0_disarms),
		cmocka_unit_test(test_tsc_deadline_far_away_saturates),
		cmocka_unit_test(test_tsc_deadline_mode_ignores_the_initial_count),
		cmocka_unit_test(test_other_modes_ignore_the_tsc_deadline),
		cmocka_unit_test(test_switch_to_and_from_tsc_deadline_disarms),
		cmocka_unit_test(test_tsc_deadline_works_in_xapic_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
