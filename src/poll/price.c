/* SPDX-License-Identifier: Apache-2.0 */
/* Following the price of a sleep; see price.h. */
#include "poll/price.h"

/* The first few samples move it by 1/8 each, those after them by 1/32. */
#define FAST_SHIFT 3
#define SLOW_SHIFT 5
/* After so many halts without a sleep a sample that is below half of it counts for half. */
#define RARE_HALTS 256

static uint32_t bounded(uint64_t ns)
{
	if (ns < PRICE_MIN_NS)
		return PRICE_MIN_NS;
	return ns > PRICE_MAX_NS ? PRICE_MAX_NS : (uint32_t)ns;
}

/* One step of the median that is followed; the first sample is taken as it is. */
static void follow(_Atomic uint32_t *value, uint32_t *seen, uint64_t ns)
{
	uint32_t now = atomic_load_explicit(value, memory_order_relaxed), step;

	if (*seen == 0) {
		now = bounded(ns);
	} else {
		step = now >> (*seen < PRICE_FEW ? FAST_SHIFT : SLOW_SHIFT);
		now = bounded(ns > now ? (uint64_t)now + step : now - step);
	}
	if (*seen < PRICE_FEW)
		++*seen;
	atomic_store_explicit(value, now, memory_order_relaxed);
}

void price_add(struct price *p, uint64_t ns, bool timer)
{
	uint32_t price = price_get(p);

	if (ns > PRICE_NONSENSE_NS)
		return;
	if (p->seen == 0 || (p->by_timer && !timer)) {
		p->seen = 0;
		p->by_timer = timer;
	} else if (timer && !p->by_timer) {
		return;
	}
	/* Who sleeps rarely has few samples to learn a change from. */
	if (p->unslept >= RARE_HALTS && ns < price / 2)
		atomic_store_explicit(&p->ns, bounded((price + ns) / 2), memory_order_relaxed);
	else
		follow(&p->ns, &p->seen, ns);
}

void price_add_sleeper(struct price *p, uint64_t ns)
{
	if (ns <= PRICE_NONSENSE_NS)
		follow(&p->sleeper_ns, &p->sleeper_seen, ns);
}

void price_add_waker(struct price *p, uint64_t ns)
{
	uint32_t most = price_get(p);

	follow(&p->waker_ns, &p->waker_seen, ns < most ? ns : most);
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
