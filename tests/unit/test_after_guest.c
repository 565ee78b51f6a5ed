/* SPDX-License-Identifier: Apache-2.0 */
/* For how long the host polls once its guest has polled in vain: docs/halt-polling.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vcpu/vcpu.h"

static void limit(uint32_t policy, uint32_t max_ns, uint32_t price_ns, uint32_t policy_then,
		  uint32_t max_then)
{
	struct catnap_halt_poll p;

	catnap_halt_poll_init(&p);
	p.policy = policy;
	p.max_ns = max_ns;
	vcpu_limit_poll(&p, price_ns);
	assert_int_equal(p.policy, policy_then);
	assert_int_equal(p.max_ns, max_then);
	/* The parameters that come out can be used. */
	assert_int_equal(catnap_halt_poll_check(&p), 0);
}

static void test_limit(void **state)
{
	/* For the price, ... */
	limit(CATNAP_POLICY_KERNEL, 200000, 50000, CATNAP_POLICY_FIXED, 50000);
	limit(CATNAP_POLICY_FIXED, 200000, 50000, CATNAP_POLICY_FIXED, 50000);
	limit(CATNAP_POLICY_FIXED, 50001, 50000, CATNAP_POLICY_FIXED, 50000);
	/* ... but not for longer than was asked for, and never if it was not asked for. */
	limit(CATNAP_POLICY_KERNEL, 20000, 50000, CATNAP_POLICY_FIXED, 20000);
	limit(CATNAP_POLICY_FIXED, 0, 50000, CATNAP_POLICY_FIXED, 0);
	limit(CATNAP_POLICY_OFF, 200000, 50000, CATNAP_POLICY_OFF, 200000);
	/* `always` has no maximum of its own: its max_ns is one that nobody meant. */
	limit(CATNAP_POLICY_ALWAYS, 20000, 50000, CATNAP_POLICY_FIXED, 50000);
	limit(CATNAP_POLICY_ALWAYS, 0, 50000, CATNAP_POLICY_FIXED, 50000);
}

static void test_moved(void **state)
{
	assert_false(vcpu_price_moved(50000, 50000));
	assert_false(vcpu_price_moved(50000, 56000));
	assert_false(vcpu_price_moved(50000, 44000));
	assert_true(vcpu_price_moved(50000, 57000));
	assert_true(vcpu_price_moved(50000, 8000));
	assert_true(vcpu_price_moved(0, 500));
	assert_false(vcpu_price_moved(500, 500));
}

/* One that halts, with no guest; its halt polling is the default. */
static struct vcpu *make(const struct vcpu_host *host, struct clock *clock)
{
	struct vcpu *v = aligned_alloc(_Alignof(struct vcpu), sizeof(*v));
	struct catnap_halter_config cfg;
	struct catnap_halt_poll p;

	assert_non_null(v);
	memset(v, 0, sizeof(*v));
	v->host = host;
	clock_init(clock, 0);
	catnap_halter_config_init(&cfg);
	assert_int_equal(halter_init(&v->halter, &cfg, &(struct halter_env){.clock = clock}, NULL),
			 0);
	pthread_mutex_init(&v->poll_lock, NULL);
	lapic_init(&v->lapic, NULL, 0, true, clock);
	catnap_halt_poll_init(&p);
	vcpu_set_halt_poll(v, &p);
	return v;
}

static void unmake(struct vcpu *v)
{
	halter_fini(&v->halter);
	pthread_mutex_destroy(&v->poll_lock);
	free(v);
}

/* The poll after the guest lasts for the price that was measured, once it was. */
static void test_follows_the_price(void **state)
{
	struct vcpu_host host = {.poll_after_guest = CATNAP_AFTER_GUEST_BREAK_EVEN};
	struct vcpu *v;
	struct clock clock;

	v = make(&host, &clock);
	vcpu_set_poll_control(v, 0);
	assert_int_equal(policy_window(&v->halter.policy), 50000);
	price_add(&v->halter.price, 8000, false);
	vcpu_wake(v, VCPU_WORK_IRQ);
	vcpu_halt(v);
	assert_int_equal(policy_window(&v->halter.policy), 8000);
	/* And the guest gives it back. */
	vcpu_set_poll_control(v, VCPU_POLL_CONTROL_ALLOW);
	assert_int_equal(policy_window(&v->halter.policy), 0);
	unmake(v);
}

static uint64_t learned_from(struct vcpu *v, uint32_t *after_guest)
{
	struct catnap_policy_stats s = {.size = sizeof(s), .context_size = sizeof(s.context[0])};
	uint64_t halts = 0;

	assert_int_equal(halter_get_policy_stats(&v->halter, &s), 0);
	for (uint32_t i = 0; i < s.contexts; i++)
		halts += s.context[i].halts;
	*after_guest = s.after_guest;
	return halts;
}

static void halt_once(struct vcpu *v)
{
	vcpu_wake(v, VCPU_WORK_IRQ);
	vcpu_halt(v);
	halter_take(&v->halter);
}

/* The policy is asked, and keeps what it learns of such halts to itself. */
static void test_learned(void **state)
{
	struct vcpu_host host = {.poll_after_guest = CATNAP_AFTER_GUEST_LEARNED};
	struct vcpu *v;
	struct catnap_halt_poll p;
	struct clock clock;
	uint32_t after;

	v = make(&host, &clock);
	vcpu_set_poll_control(v, VCPU_POLL_CONTROL_ALLOW);
	for (int i = 0; i < 40; i++)
		halt_once(v);
	assert_in_range(learned_from(v, &after), 39, 40); /* the last one's turn comes later */
	assert_int_equal(after, 0);
	vcpu_set_poll_control(v, 0);
	assert_int_equal(learned_from(v, &after), 0);
	assert_int_equal(after, 1);
	for (int i = 0; i < 100; i++)
		halt_once(v);
	assert_in_range(learned_from(v, &after), 99, 100);
	assert_int_equal(v->counters.after_guest_attempted, 100);
	vcpu_set_poll_control(v, VCPU_POLL_CONTROL_ALLOW);
	assert_in_range(learned_from(v, &after), 39, 40);

	/* Policy kernel: one of the two polls. */
	catnap_halt_poll_init(&p);
	p.policy = CATNAP_POLICY_KERNEL;
	vcpu_set_halt_poll(v, &p);
	vcpu_set_poll_control(v, 0);
	assert_int_equal(atomic_load(&v->halter.poll_allowed), 0);
	p.policy = CATNAP_POLICY_FIXED;
	vcpu_set_halt_poll(v, &p);
	assert_int_equal(atomic_load(&v->halter.poll_allowed), 1);
	unmake(v);
}

/* Whether it polls after the guest or not: who waits for the processor is counted, and not for a
 * guest that leaves the polling to its host. */
static void test_contended(void **state)
{
	const struct vcpu_host hosts[] = {{.poll_after_guest = CATNAP_AFTER_GUEST_LEARNED},
					  {.poll_after_guest = CATNAP_AFTER_GUEST_NEVER}};

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct clock clock;
		struct vcpu *v = make(&hosts[i], &clock);

		v->halter.contention.pause_min = clock_ns_to_ticks(&clock, 3600000000000);
		v->halter.contention.pause_max = v->halter.contention.pause_min;
		vcpu_set_poll_control(v, 0);
		halt_once(v);
		assert_int_equal(v->counters.after_guest_contended, 0);
		contention_pause(&v->halter.contention, clock_now(&clock));
		halt_once(v);
		halt_once(v);
		assert_int_equal(v->counters.after_guest_contended, 2);
		vcpu_set_poll_control(v, VCPU_POLL_CONTROL_ALLOW);
		halt_once(v);
		assert_int_equal(v->counters.after_guest_contended, 2);
		unmake(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_limit),
					   cmocka_unit_test(test_moved),
					   cmocka_unit_test(test_follows_the_price),
					   cmocka_unit_test(test_learned),
					   cmocka_unit_test(test_contended)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
