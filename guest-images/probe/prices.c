/* SPDX-License-Identifier: Apache-2.0 */
/* Single operations between two looks at the TSC. */
#include "prices.h"
#include "hot.h"
#include "layout.h"
#include "probe.h"
#include "x86.h"

#define MSR_APIC_BASE 0x1b
#define FAR_AHEAD     1000000000

/* @insn finds @c in %ecx, @a in %eax and @d in %edx. All of it but @insn is the same for every one,
 * so that what it takes itself can be subtracted. */
#define TIMED(insn, c, a, d)                                                                  \
	({                                                                                    \
		uint32_t low0_, high0_, low1_, high1_;                                        \
                                                                                              \
		__asm__ volatile("rdtsc\n\t"                                                  \
				 "mov %%eax, %2\n\t"                                          \
				 "mov %%edx, %3\n\t"                                          \
				 "mov %6, %%eax\n\t"                                          \
				 "mov %7, %%edx\n\t" insn "\n\t"                              \
				 "rdtsc"                                                      \
				 : "=&a"(low1_), "=&d"(high1_), "=&r"(low0_), "=&r"(high0_),  \
				   "=c"(clobbered_c)                                          \
				 : "4"((uint32_t)(c)), "r"((uint32_t)(a)), "r"((uint32_t)(d)) \
				 : "memory", "rbx");                                          \
		((uint64_t)high1_ << 32 | low1_) - ((uint64_t)high0_ << 32 | low0_);          \
	})

/* The other processor has to halt again: else the next one finds it awake. */
static uint64_t price_ipi(const struct price_request *req)
{
	uint32_t before = *req->answered, clobbered_c;
	uint64_t took, from;

	took = TIMED("wrmsr", X2APIC_ICR, ICR_ASSERT | PROBE_VECTOR_IPI, req->peer);
	while (*req->answered == before)
		;
	for (from = rdtsc(); rdtsc() - from < req->settle_tsc;)
		;
	(void)clobbered_c;
	return took;
}

static uint64_t price_irq(const struct price_request *req, int halts)
{
	uint64_t before, after;

	after = (halts ? shot_x2apic : price_spin)(X2APIC_ICR, ICR_ASSERT | PROBE_VECTOR_REPLY,
						   req->self, &before);
	return after - before;
}

static uint64_t price_cycle(const struct price_request *req)
{
	uint64_t armed, woken, sum;
	uint32_t i;

	woken = shot_x2apic(X2APIC_TIMER, req->timer_count, 0, &armed);
	armed += req->timer_tsc;
	sum = woken > armed ? woken - armed : 0;
	for (i = 0; i < req->per_halt; i++)
		sum += price_once(req, req->extra);
	return sum;
}

uint64_t price_once(const struct price_request *req, uint32_t op)
{
	uint32_t clobbered_c;

	switch (op) {
	case PROBE_PRICE_CPUID:
		return TIMED("cpuid", 0, 1, 0);
	case PROBE_PRICE_PORT:
		return TIMED("outb %%al, $0x80", 0, 0, 0);
	case PROBE_PRICE_MSR:
		return TIMED("rdmsr", MSR_APIC_BASE, 0, 0);
	case PROBE_PRICE_APIC:
		return TIMED("rdmsr", X2APIC_VERSION, 0, 0);
	case PROBE_PRICE_EOI:
		return TIMED("wrmsr", X2APIC_EOI, 0, 0);
	case PROBE_PRICE_ARM:
		return TIMED("wrmsr", X2APIC_TIMER, FAR_AHEAD, 0);
	case PROBE_PRICE_IRQ:
		return price_irq(req, 0);
	case PROBE_PRICE_HALT:
		return price_irq(req, 1);
	case PROBE_PRICE_CYCLE:
		return price_cycle(req);
	case PROBE_PRICE_IPI:
		return price_ipi(req);
	default:
		return TIMED("", 0, 0, 0);
	}
}
