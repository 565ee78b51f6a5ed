/* SPDX-License-Identifier: Apache-2.0 */
/* Following the price of a sleep; see price.h. */
#include "poll/price.h"

/* The first few samples move it by 1/8 each, those after them by 1/32. */
#define FAST_SAMPLES 32
#define FAST_SHIFT   3
#define SLOW_SHIFT   5

static uint32_t bounded(uint64_t ns)
{
	if (ns < PRICE_MIN_NS)
		return PRICE_MIN_NS;
	return ns > PRICE_MAX_NS ? PRICE_MAX_NS : (uint32_t)ns;
}

void price_add(struct price *p, uint64_t ns, bool timer)
{
	uint32_t price = price_get(p), step;

	if (ns > PRICE_NONSENSE_NS)
		return;
	if (p->seen == 0 || (p->by_timer && !timer)) {
		price = bounded(ns);
		p->seen = 0;
		p->by_timer = timer;
	} else if (timer && !p->by_timer) {
		return;
	} else {
		step = price >> (p->seen < FAST_SAMPLES ? FAST_SHIFT : SLOW_SHIFT);
		price = bounded(ns > price ? (uint64_t)price + step : price - step);
	}
	if (p->seen < FAST_SAMPLES)
		p->seen++;
	atomic_store_explicit(&p->ns, price, memory_order_relaxed);
}

uint64_t price_arrival(const struct price *p, uint64_t slept_from, uint64_t halt, int64_t sent,
		       bool *known)
{
	uint64_t cost = price_get(p), slept = halt - slept_from;

	*known = sent >= 0 && (uint64_t)sent >= slept_from && (uint64_t)sent <= halt;
	if (*known)
		return (uint64_t)sent;
	return halt - (cost < slept ? cost : slept);
}
