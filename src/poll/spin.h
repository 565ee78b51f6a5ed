/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a poll waits between two looks. PAUSE is the way of old: some tens of cycles at full power.
 * UMWAIT (Intel, WAITPKG) and MWAITX (AMD, MONITORX) let the core rest, in C0.1 or the like, until
 * the line of the owner's work is written or a time of the TSC has come. That costs less power, and
 * leaves a sibling thread the core.
 *
 * Only that one line is watched. Completions in a ring and the words of a group are not, so a turn
 * is SPIN_SLICE_NS at most, and what comes there is seen so much later. Both need the TSC as the
 * clock, whose ticks their time is in. The kernel's limit of UMWAIT (IA32_UMWAIT_CONTROL, by default
 * 100000 ticks) is far beyond a slice, and an earlier end does no harm. UMWAIT asks for C0.1, which
 * that register cannot refuse. MWAITX takes its own timer, and hint 0xf0, which is no C-state.
 */
#ifndef POLL_SPIN_H
#define POLL_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#include <catnap/poll.h>

#define SPIN_SLICE_NS 1000
/* A host on which a turn comes back later than that is no place for it: it is intercepted. */
#define SPIN_LATE_NS 2000

/* The registers of CPUID that decide. */
struct spin_cpuid {
	uint32_t leaves;	  /* the highest: leaf 0, eax */
	uint32_t extended_leaves; /* leaf 0x80000000, eax */
	uint32_t leaf7_ecx;	  /* of no meaning where there is no leaf 7 */
	uint32_t ext1_ecx;	  /* leaf 0x80000001 */
};

/* The kinds of turns that this host has. Constant once found; any thread. */
struct spin {
	uint32_t best;	     /* enum catnap_spin, but not AUTO: what auto is */
	bool umwait, mwaitx; /* the processor has it */
	uint32_t late_ns
		[4]; /* by enum catnap_spin: how late a turn of a slice comes back; 0: not measured */
	uint32_t slice_ticks; /* 0: nothing but PAUSE */
};

/* Asks the processor. */
void spin_read_cpuid(struct spin_cpuid *c);
/* Returns what the host has by @c, before anything is measured. */
struct spin spin_by_cpuid(const struct spin_cpuid *c);
/* Returns the same of this host: asks it, and measures once what it has. @khz: of the TSC; 0: it is
 * not the clock. */
struct spin spin_find(uint32_t khz);
/* Returns the kind to use where @wanted was asked for (enum catnap_spin): PAUSE if the host lacks
 * it. */
uint32_t spin_choose(const struct spin *s, uint32_t wanted);
/* Returns why auto is the kind that it is, for people. */
const char *spin_reason(const struct spin *s);
/* Returns "pause", "umwait" or "mwaitx". */
const char *spin_name(uint32_t kind);

/* Waits for one turn: until *@word is not 0, until @until on the TSC, or until something else ends
 * it. Only for a processor that has the instruction. */
void spin_umwait(const volatile void *word, uint64_t until);
void spin_mwaitx(const volatile void *word, uint32_t ticks);

/* Waits for one turn of kind @kind, not AUTO, at @now. The poll ends at @end. */
static inline void spin_turn(const struct spin *s, uint32_t kind, const volatile void *word,
			     uint64_t now, uint64_t end)
{
	uint64_t ticks = end - now < s->slice_ticks ? end - now : s->slice_ticks;

	if (__builtin_expect(kind == CATNAP_SPIN_PAUSE, 1))
		__builtin_ia32_pause();
	else if (kind == CATNAP_SPIN_UMWAIT)
		spin_umwait(word, now + ticks);
	else
		spin_mwaitx(word, (uint32_t)ticks);
}

#endif
