/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reckons what halts of known lengths cost below a limit of the kernel's rule; see limit.h.
 *
 * If each halt is drawn from the same lengths, the window is a Markov chain. It goes up one step at
 * a time: 0, grow_start, that times grow, and so on to the limit. It goes down by the divisor
 * shrink, or to 0. In the long run what goes up across a border comes down across it. So the shares
 * of the windows follow from the longest window on, one by one.
 *
 * Within an octave halts are taken to lie at four points.
 */
#include "poll/limit.h"

#define POINTS 4 /* of an octave */
/* From 0 by doubling 1, which is the slowest; and the limit. */
#define WINDOWS 34
/* The largest share while they are being found; they are numbers without a unit. */
#define SHARE_MAX (UINT64_C(1) << 32)
/* The sum of all shares in the end, about. */
#define SHARE_BITS 20

struct window {
	uint32_t ns;
	unsigned int down; /* the window that follows on a long halt */
	uint64_t share;
	uint64_t found_ns; /* the sum of the lengths of halts that it catches, by weight */
	uint64_t missed;   /* the weight of those that it does not */
	uint64_t up;	   /* the weight of those that make it grow */
};

struct chain {
	struct window window[WINDOWS];
	unsigned int n;
	uint64_t total, longer; /* the weight of all halts, and of those above the limit */
};

/* Returns the point @k of bucket @b. */
static uint64_t point(unsigned int b, unsigned int k)
{
	uint64_t from = b ? UINT64_C(1) << (b - 1) : 0;

	return from + from * (2 * k + 1) / (2 * POINTS);
}

static uint32_t grown(const struct limit_rule *rule, uint32_t window)
{
	uint32_t ns = window * rule->grow; /* wraps, as the kernel's does */

	if (!rule->grow)
		return window;
	return ns < rule->grow_start_ns ? rule->grow_start_ns : ns;
}

static uint32_t shrunk(const struct limit_rule *rule, uint32_t window)
{
	uint32_t ns = rule->shrink ? window / rule->shrink : 0;

	return ns < rule->grow_start_ns ? 0 : ns;
}

/* Lists the windows that there are below the limit, in ascending order. */
static void list_windows(struct chain *c, const struct limit_rule *rule, uint32_t limit)
{
	uint32_t ns = 0, next;

	c->n = 0;
	do {
		struct window *w = &c->window[c->n];
		uint32_t less = shrunk(rule, ns);

		*w = (struct window){.ns = ns, .down = c->n};
		while (c->window[w->down].ns > less)
			w->down--;
		c->n++;
		next = grown(rule, ns);
		if (next > limit)
			next = limit;
		if (next <= ns)
			break;
		ns = next;
	} while (c->n < WINDOWS);
}

static void add_halts(struct chain *c, uint64_t ns, uint32_t weight, uint32_t limit)
{
	c->total += weight;
	if (ns > limit)
		c->longer += weight;
	for (unsigned int i = 0; i < c->n; i++) {
		struct window *w = &c->window[i];

		if (ns <= w->ns) {
			w->found_ns += ns * weight;
			continue;
		}
		w->missed += weight;
		if (ns < limit)
			w->up += weight;
	}
}

/* Keeps the shares from @from on small enough. */
static void scale(struct chain *c, unsigned int from)
{
	while (c->window[from].share > SHARE_MAX)
		for (unsigned int i = from; i < c->n; i++)
			c->window[i].share >>= 1;
}

static void find_shares(struct chain *c)
{
	c->window[c->n - 1].share = SHARE_MAX;
	for (unsigned int i = c->n - 1; i > 0; i--) {
		uint64_t down = 0, up = c->window[i - 1].up;

		for (unsigned int j = i; j < c->n; j++)
			if (c->window[j].down < i)
				down += c->window[j].share;
		if (up) {
			c->window[i - 1].share = down * c->longer / up;
			scale(c, i - 1);
			continue;
		}
		/* Nothing leads there from below. */
		for (unsigned int j = i; j < c->n; j++)
			c->window[j].share = 0;
		c->window[i - 1].share = SHARE_MAX;
	}
}

static struct limit_cost sum_up(const struct chain *c)
{
	struct limit_cost cost = {0};
	uint64_t all = 0, sleeps = 0;

	for (unsigned int i = 0; i < c->n; i++)
		all += c->window[i].share;
	for (unsigned int i = 0; i < c->n; i++) {
		const struct window *w = &c->window[i];
		uint64_t share = (w->share << SHARE_BITS) / all;
		uint64_t failed = w->missed * w->ns / c->total;

		cost.fail_ns += share * failed;
		cost.poll_ns += share * (failed + w->found_ns / c->total);
		sleeps += share * (w->missed * LIMIT_WEIGHTS / c->total);
	}
	cost.fail_ns >>= SHARE_BITS;
	cost.poll_ns >>= SHARE_BITS;
	cost.sleeps = (uint32_t)(sleeps >> SHARE_BITS);
	return cost;
}

struct limit_cost limit_expect(const struct limit_halts *halts, const struct limit_rule *rule,
			       uint32_t limit)
{
	struct chain c = {.total = 0};

	list_windows(&c, rule, limit);
	for (unsigned int b = 0; b < CATNAP_HIST_BUCKETS; b++)
		for (unsigned int k = 0; halts->weight[b] && k < POINTS; k++)
			add_halts(&c, point(b, k), halts->weight[b], limit);
	find_shares(&c);
	return sum_up(&c);
}
