/* SPDX-License-Identifier: Apache-2.0 */
/* Workload prices: what single things cost, in ticks of the TSC. */
#ifndef PROBE_PRICES_H
#define PROBE_PRICES_H

#include <stdint.h>

/* A measurement. Handlers of PROBE_VECTOR_REPLY and PROBE_VECTOR_TIMER are price_handler
 * and shot_handler_x2apic; another processor counts each IPI in *@answered. */
struct price_request {
	uint32_t op, extra, per_halt; /* enum probe_price */
	uint32_t self, peer;	      /* APIC ids */
	uint32_t timer_count;	      /* CYCLE: so far ahead, and that in ticks of the TSC */
	uint64_t timer_tsc;
	uint64_t settle_tsc; /* IPI: until the other one halts again */
	const volatile uint32_t *answered;
};

/* Does it once, and returns the ticks that it took. */
uint64_t price_once(const struct price_request *req, uint32_t op);

#endif
