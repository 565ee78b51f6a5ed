/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the TSC's frequency: from who knows it (KVM, CPUID), or by comparing it with
 * CLOCK_MONOTONIC for a few milliseconds.
 */
#include <cpuid.h>

#include "poll/clock.h"

static bool tsc_is_invariant(void)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid(0x80000007, &a, &b, &c, &d))
		return false;
	return d & (1u << 8);
}

/* Returns the frequency by CPUID, or 0. Leaf 0x15 has crystal and ratio; 0x40000010 has what a
 * hypervisor says, in kHz. */
static uint32_t tsc_khz_from_cpuid(void)
{
	unsigned int a, b, c, d;

	if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c)
		return (uint32_t)((uint64_t)c * b / a / 1000);
	if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 31))) {
		__cpuid(0x40000000, a, b, c, d);
		if (a >= 0x40000010) {
			__cpuid(0x40000010, a, b, c, d);
			return a;
		}
	}
	return 0;
}

/*
 * Measures the frequency. Both clocks are read as a pair, twice; each time the tightest of several
 * readings counts. 4 ms at a reading error of some 30 ns is good to 10 ppm. Long sleeps do not
 * depend on it, since the kernel times those.
 */
static uint32_t tsc_khz_by_measuring(void)
{
	uint64_t t[2] = {0, 0}, ns[2] = {0, 0};

	for (int i = 0; i < 2; i++) {
		uint64_t best = UINT64_MAX;

		for (int k = 0; k < 16; k++) {
			uint64_t before = __builtin_ia32_rdtsc();
			uint64_t now = clock_monotonic_ns();
			uint64_t after = __builtin_ia32_rdtsc();

			if (after - before < best) {
				best = after - before;
				t[i] = before + (after - before) / 2;
				ns[i] = now;
			}
		}
		if (i == 0)
			while (clock_monotonic_ns() - ns[0] < 4000000)
				__builtin_ia32_pause();
	}
	return (uint32_t)((t[1] - t[0]) * 1000000 / (ns[1] - ns[0]));
}

void clock_init(struct clock *c, uint32_t tsc_khz)
{
	c->tsc = tsc_is_invariant();
	if (!c->tsc)
		tsc_khz = 1000000; /* one tick is one nanosecond */
	else if (!tsc_khz)
		tsc_khz = tsc_khz_from_cpuid();
	if (!tsc_khz)
		tsc_khz = tsc_khz_by_measuring();
	c->khz = tsc_khz;
	c->to_ns = (uint64_t)(((unsigned __int128)1000000 << 32) / tsc_khz);
	c->to_ticks = ((uint64_t)tsc_khz << 32) / 1000000;
}

int clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int ret = pthread_condattr_init(&attr);

	if (ret)
		return -ret;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* one that it knows */
	ret = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return -ret;
}
