/* SPDX-License-Identifier: Apache-2.0 */
/* Following the price of a sleep; see price.h. */
#include "poll/price.h"
#include "relaxed.h"

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

/* Moves the median by one step. The first sample is taken as it is. */
static void follow(_Atomic uint32_t *value, uint32_t *seen, uint64_t ns)
{
	uint32_t now = relaxed_load(value), step;

	if (*seen == 0) {
		now = bounded(ns);
	} else {
		step = now >> (*seen < PRICE_FEW ? FAST_SHIFT : SLOW_SHIFT);
		now = bounded(ns > now ? (uint64_t)now + step : now - step);
	}
	if (*seen < PRICE_FEW)
		++*seen;
	relaxed_store(value, now);
}

void price_add(struct price *p, uint64_t ns, bool timer)
{
	uint32_t price = price_measured(p);

	if (ns > PRICE_NONSENSE_NS)
		return;
	if (p->seen == 0 || (p->by_timer && !timer)) {
		p->seen = 0;
		p->by_timer = timer;
	} else if (timer && !p->by_timer) {
		return;
	}
	/* An owner that sleeps rarely has few samples to learn a change from. */
	if (p->unslept >= RARE_HALTS && ns < price / 2)
		relaxed_store(&p->ns, bounded((price + ns) / 2));
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
	uint32_t most = price_measured(p);

	follow(&p->waker_ns, &p->waker_seen, ns < most ? ns : most);
}

uint64_t price_arrival(const struct price *p, uint64_t slept_from, uint64_t halt, int64_t sent,
		       bool *known)
{
	uint64_t cost = price_measured(p), slept = halt - slept_from;

	*known = sent >= 0 && (uint64_t)sent >= slept_from && (uint64_t)sent <= halt;
	if (*known)
		return (uint64_t)sent;
	return halt - (cost < slept ? cost : slept);
}

void price_save(const struct price *p, struct state_writer *w)
{
	state_put_u32(w, relaxed_load(&p->ns));
	state_put_bool(w, p->by_timer);
	state_put_u32(w, relaxed_load(&p->sleeper_ns));
	state_put_u32(w, relaxed_load(&p->waker_ns));
}

void price_load(struct price *p, struct state_in *in)
{
	uint32_t ns = state_get_u32(in);
	bool by_timer = state_get_bool(in);
	uint32_t sleeper = state_get_u32(in), waker = state_get_u32(in);

	if (!state_check(in,
			 (!ns || (ns >= PRICE_MIN_NS && ns <= PRICE_MAX_NS)) &&
				 sleeper <= PRICE_MAX_NS && waker <= PRICE_MAX_NS,
			 "the price of a sleep"))
		return;
	relaxed_store(&p->ns, ns);
	p->by_timer = by_timer;
	p->seen = ns ? PRICE_FEW : 0;
	relaxed_store(&p->sleeper_ns, sleeper);
	relaxed_store(&p->waker_ns, waker);
	p->sleeper_seen = sleeper ? 1 : 0;
	p->waker_seen = waker ? 1 : 0;
}
