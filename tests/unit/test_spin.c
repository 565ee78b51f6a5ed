/* SPDX-License-Identifier: Apache-2.0 */
/* How polls wait between two looks: what is chosen for eight processors, and that whatever was asked
 * for runs here without an illegal instruction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "poll/spin.h"

#define WAITPKG	 (UINT32_C(1) << 5)
#define MONITORX (UINT32_C(1) << 29)

static const struct {
	const char *name;
	struct spin_cpuid cpuid;
	uint32_t best;
	bool umwait, mwaitx;
} processors[] = {
	{"Alder Lake",
	 {0x20, 0x80000008, WAITPKG | 0x98c027ac, 0x121},
	 CATNAP_SPIN_UMWAIT,
	 true,
	 false},
	{"Skylake, without WAITPKG", {0x16, 0x80000008, 0, 0x121}, CATNAP_SPIN_PAUSE, false, false},
	{"Zen 4",
	 {0x10, 0x80000028, 0x405fce, MONITORX | 0x75c237ff},
	 CATNAP_SPIN_MWAITX,
	 false,
	 true},
	{"Zen 4 under a hypervisor that hides it",
	 {0x10, 0x80000028, 0x405fce, 0x4003f3},
	 CATNAP_SPIN_PAUSE,
	 false,
	 false},
	/* Leaf 7 is that of the highest leaf there, and no leaf 7. */
	{"Core 2, with leaf 7 of garbage",
	 {6, 0x80000008, UINT32_MAX, 1},
	 CATNAP_SPIN_PAUSE,
	 false,
	 false},
	{"a processor without extended leaves",
	 {7, 0x7, 0, UINT32_MAX},
	 CATNAP_SPIN_PAUSE,
	 false,
	 false},
	{"one whose extended leaves end before",
	 {7, 0x80000000, 0, UINT32_MAX},
	 CATNAP_SPIN_PAUSE,
	 false,
	 false},
	{"one that has both",
	 {0x20, 0x80000028, WAITPKG, MONITORX},
	 CATNAP_SPIN_UMWAIT,
	 true,
	 true},
};

#define N (sizeof(processors) / sizeof(processors[0]))

static void chosen_by_cpuid(void **state)
{
	for (size_t i = 0; i < N; i++) {
		struct spin s = spin_by_cpuid(&processors[i].cpuid);

		if (s.best != processors[i].best || s.umwait != processors[i].umwait ||
		    s.mwaitx != processors[i].mwaitx)
			fail_msg("%s: %s", processors[i].name, spin_name(s.best));
		assert_true(strlen(spin_reason(&s)) > 0);
	}
}

static void what_is_missing_is_pause(void **state)
{
	for (size_t i = 0; i < N; i++) {
		struct spin s = spin_by_cpuid(&processors[i].cpuid);

		/* Not by a clock that is not the TSC. */
		for (uint32_t wanted = 0; wanted <= CATNAP_SPIN_MWAITX; wanted++)
			assert_int_equal(spin_choose(&s, wanted), CATNAP_SPIN_PAUSE);
		s.slice_ticks = 2000;
		assert_int_equal(spin_choose(&s, CATNAP_SPIN_AUTO), s.best);
		assert_int_equal(spin_choose(&s, CATNAP_SPIN_PAUSE), CATNAP_SPIN_PAUSE);
		assert_int_equal(spin_choose(&s, CATNAP_SPIN_UMWAIT),
				 s.umwait ? CATNAP_SPIN_UMWAIT : CATNAP_SPIN_PAUSE);
		assert_int_equal(spin_choose(&s, CATNAP_SPIN_MWAITX),
				 s.mwaitx ? CATNAP_SPIN_MWAITX : CATNAP_SPIN_PAUSE);
	}
}

static void whatever_is_asked_for_runs_here(void **state)
{
	_Alignas(64) uint32_t word[16] = {0};
	struct spin s = spin_find(2000000);

	for (uint32_t wanted = 0; wanted <= CATNAP_SPIN_MWAITX; wanted++) {
		uint32_t kind = spin_choose(&s, wanted);

		for (int i = 0; i < 100; i++) {
			uint64_t now = __builtin_ia32_rdtsc();

			word[0] = (uint32_t)i & 1;
			spin_turn(&s, kind, word, now, now + 5000);
		}
	}
	s = spin_find(0);
	assert_int_equal(s.best, CATNAP_SPIN_PAUSE);
	assert_int_equal(spin_choose(&s, CATNAP_SPIN_UMWAIT), CATNAP_SPIN_PAUSE);
}

/* A halter polls with each, and sees its work. */
static void a_halter_takes_each(void **state)
{
	for (uint32_t spin = 0; spin <= CATNAP_SPIN_MWAITX; spin++) {
		struct catnap_halter_config cfg;
		struct catnap_halter *h;
		int cause = -1;

		catnap_halter_config_init(&cfg);
		cfg.halt_poll.policy = CATNAP_POLICY_FIXED;
		cfg.halt_poll.max_ns = 200000;
		cfg.halt_poll.spin = spin;
		assert_int_equal(catnap_halter_create(&cfg, &h), 0);
		for (int i = 0; i < 20; i++)
			assert_int_equal(catnap_halter_halt(h, 1, &cause), 0);
		catnap_halter_wake(h, 2);
		assert_int_equal(catnap_halter_halt(h, CATNAP_NO_DEADLINE, &cause), 0);
		assert_int_equal(catnap_halter_take(h), 2);
		cfg.halt_poll.spin = CATNAP_SPIN_MWAITX + 1;
		assert_int_equal(catnap_halt_poll_check(&cfg.halt_poll), -22);
		catnap_halter_destroy(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chosen_by_cpuid),
		cmocka_unit_test(what_is_missing_is_pause),
		cmocka_unit_test(whatever_is_asked_for_runs_here),
		cmocka_unit_test(a_halter_takes_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
