/* SPDX-License-Identifier: Apache-2.0 */
/* For how long the host polls once its guest has polled in vain: docs/halt-polling.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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
	/* What comes out can be used. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_limit)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
