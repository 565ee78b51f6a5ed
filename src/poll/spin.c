/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which spin there is, and the instructions; see spin.h. They are written as bytes: no compiler flag
 * is needed for them, and no compiler puts them anywhere else. (Intel SDM 2B, UMONITOR and UMWAIT;
 * AMD APM 3, MONITORX and MWAITX.)
 */
#include <cpuid.h>

#include "poll/spin.h"

#define LEAF7_ECX_WAITPKG (UINT32_C(1) << 5)
#define EXT1_ECX_MONITORX (UINT32_C(1) << 29)
#define EXTENDED	  UINT32_C(0x80000000)
#define UMWAIT_C01	  1u	/* bit 0: C0.1, the lighter one */
#define MWAITX_TIMER	  2u	/* ecx bit 1: ebx is a time */
#define MWAITX_NO_C_STATE 0xf0u /* eax */
#define MEASURED_TURNS	  9

void spin_read_cpuid(struct spin_cpuid *c)
{
	uint32_t eax, ebx, ecx, edx;

	*c = (struct spin_cpuid){.leaves = 0};
	__cpuid(0, c->leaves, ebx, ecx, edx);
	__cpuid(EXTENDED, c->extended_leaves, ebx, ecx, edx);
	if (c->leaves >= 7) {
		__cpuid_count(7, 0, eax, ebx, ecx, edx);
		c->leaf7_ecx = ecx;
	}
	if (c->extended_leaves > EXTENDED) {
		__cpuid(EXTENDED + 1, eax, ebx, ecx, edx);
		c->ext1_ecx = ecx;
	}
	(void)eax;
	(void)edx;
}

struct spin spin_by_cpuid(const struct spin_cpuid *c)
{
	struct spin s = {.best = CATNAP_SPIN_PAUSE};

	s.umwait = c->leaves >= 7 && c->leaf7_ecx & LEAF7_ECX_WAITPKG;
	/* Old processors answer to leaves that they do not have with those of the highest. */
	s.mwaitx = c->extended_leaves > EXTENDED && c->extended_leaves < EXTENDED + 0x10000 &&
		   c->ext1_ecx & EXT1_ECX_MONITORX;
	if (s.umwait)
		s.best = CATNAP_SPIN_UMWAIT;
	else if (s.mwaitx)
		s.best = CATNAP_SPIN_MWAITX;
	return s;
}

/* Waits by UMWAIT. Never inlined: here is all that a processor without them must not meet. */
__attribute__((noinline)) void spin_umwait(const volatile void *word, uint64_t until)
{
	/* umonitor %rax */
	__asm__ volatile(".byte 0xf3, 0x0f, 0xae, 0xf0" : : "a"(word) : "memory");
	/* A write that came before the line was watched wakes nobody. */
	if (*(const volatile uint32_t *)word)
		return;
	/* umwait %ecx */
	__asm__ volatile(".byte 0xf2, 0x0f, 0xae, 0xf1"
			 :
			 : "c"(UMWAIT_C01), "a"((uint32_t)until), "d"((uint32_t)(until >> 32))
			 : "memory", "cc");
}

__attribute__((noinline)) void spin_mwaitx(const volatile void *word, uint32_t ticks)
{
	/* monitorx %rax, %ecx, %edx */
	__asm__ volatile(".byte 0x0f, 0x01, 0xfa" : : "a"(word), "c"(0), "d"(0) : "memory");
	if (*(const volatile uint32_t *)word)
		return;
	/* mwaitx %eax, %ecx, %ebx */
	__asm__ volatile(".byte 0x0f, 0x01, 0xfb"
			 :
			 : "a"(MWAITX_NO_C_STATE), "b"(ticks), "c"(MWAITX_TIMER)
			 : "memory");
}

/* Returns how late a turn of a slice comes back that nothing ends: the median of some, in ns. */
static uint32_t measure(const struct spin *s, uint32_t kind, uint32_t khz)
{
	_Alignas(64) volatile uint32_t word[16] = {0};
	uint64_t late[MEASURED_TURNS];

	for (int i = 0; i < MEASURED_TURNS; i++) {
		uint64_t begin = __builtin_ia32_rdtsc(), took;
		int k = i;

		spin_turn(s, kind, word, begin, begin + s->slice_ticks);
		took = __builtin_ia32_rdtsc() - begin;
		took -= took < s->slice_ticks ? took : s->slice_ticks;
		for (; k > 0 && late[k - 1] > took; k--)
			late[k] = late[k - 1];
		late[k] = took;
	}
	return (uint32_t)(late[MEASURED_TURNS / 2] * 1000000 / khz) + 1;
}

struct spin spin_find(uint32_t khz)
{
	struct spin_cpuid c;
	struct spin s;

	spin_read_cpuid(&c);
	s = spin_by_cpuid(&c);
	if (!khz) {
		s.best = CATNAP_SPIN_PAUSE;
		return s;
	}
	s.slice_ticks = (uint32_t)((uint64_t)khz * SPIN_SLICE_NS / 1000000);
	if (s.umwait)
		s.late_ns[CATNAP_SPIN_UMWAIT] = measure(&s, CATNAP_SPIN_UMWAIT, khz);
	if (s.mwaitx)
		s.late_ns[CATNAP_SPIN_MWAITX] = measure(&s, CATNAP_SPIN_MWAITX, khz);
	if (s.late_ns[s.best] > SPIN_LATE_NS)
		s.best = CATNAP_SPIN_PAUSE;
	return s;
}

uint32_t spin_choose(const struct spin *s, uint32_t wanted)
{
	if (!s->slice_ticks)
		return CATNAP_SPIN_PAUSE;
	if (wanted == CATNAP_SPIN_AUTO)
		return s->best;
	if ((wanted == CATNAP_SPIN_UMWAIT && s->umwait) ||
	    (wanted == CATNAP_SPIN_MWAITX && s->mwaitx))
		return wanted;
	return CATNAP_SPIN_PAUSE;
}

const char *spin_reason(const struct spin *s)
{
	if (s->best == CATNAP_SPIN_UMWAIT)
		return "the processor has WAITPKG";
	if (s->best == CATNAP_SPIN_MWAITX)
		return "the processor has MONITORX";
	if (!s->umwait && !s->mwaitx)
		return "the processor has neither WAITPKG nor MONITORX";
	if (!s->slice_ticks)
		return "the TSC is not invariant";
	return "what the processor has comes back too late";
}

const char *spin_name(uint32_t kind)
{
	static const char *const names[] = {"auto", "pause", "umwait", "mwaitx"};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}
