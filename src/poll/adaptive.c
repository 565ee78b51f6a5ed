/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learner of policy `adaptive`; see adaptive.h and docs/policy.md. The constants have been
 * chosen over many arrival processes, prices and seeds; none of them is sharp.
 *
 * Ranges: a histogram's total is at most 64 * 512 plus rounding, so its counts fit 16 bits; the
 * weighed counts of search() are below 2^30 together and times are below 2^26, so that costs fit 64
 * bits with room to spare.
 */
#include <string.h>

#include "poll/adaptive.h"

/* A histogram forgets by 1/512 with each sample. */
#define MEMORY_SHIFT 9
#define WEIGHT_SHIFT 6 /* weights are kept in 1/64 */
#define WEIGHT_FIRST (32u << WEIGHT_SHIFT)

/* In the weighed sum of three histograms one sample is this. */
#define SAMPLE (1u << 20)
/* How many samples the two wider histograms count for beside the context's own. */
#define PRIOR_ONE 12u
#define PRIOR_ALL 3u
/* And half a sample of a halt that is nearly as long as the price: where next to nothing has been
 * longer than the window, it may as well be the price, and is ready for what comes next. Nearly: to
 * wait all of the price for it would be worth no more than not to. */
#define PRIOR_PRICE (SAMPLE / 2)

/* Of the highest place in a bucket, in 1/65536 of the bucket: see top_add(). */
#define TOP_MEMORY   1024u
#define SLACK_FIRST  8192u
#define SLACK_LEAST  512u
#define SLACK_MOST   16384u
#define SLACK_MEMORY 64u

/* The longest window, in prices: a poll that fails there has cost 5 times the optimum. */
#define LIMIT_PRICES 4u
/* A halt of up to so many prices is of the middle class. */
#define MIDDLE_PRICES 8u

/* Context's samples below which each halt searches anew; beyond it every SEARCH_EVERYth does. */
#define SEARCH_ALWAYS 16u
#define SEARCH_EVERY  16u

/*
 * The guard. A window that needs no histogram takes over when it has been better by 3.5 prices, net
 * of 1/4 of a price for each halt that they differ in (so that near ties do not wander there); one
 * halt counts for 2 prices at most. It stays until the learned windows are better by half a price,
 * or for 64 halts. If meanwhile it is better than they by 3 prices more, it was no accident: then
 * the histograms keep the weight of 8 samples.
 */
#define GUARD_HALTS  64
#define KEEP_SAMPLES 8u
/* The longest of the short halts fades by this with each that is shorter. */
#define RECENT_MEMORY 16u

/* To multiply by this is to divide by the price. */
#define PER_PRICE_SHIFT 24

enum { CLASS_SHORT, CLASS_MIDDLE, CLASS_LONG };

_Static_assert(sizeof(struct adaptive) <= 5120, "5 KiB");

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

unsigned int adaptive_bucket(uint64_t ns)
{
	unsigned int octave, bucket;

	if (ns < UINT64_C(1) << ADAPTIVE_LOW_BITS)
		return 0;
	octave = 63u - (unsigned int)__builtin_clzll(ns);
	if (octave >= ADAPTIVE_LOW_BITS + ADAPTIVE_OCTAVES)
		return ADAPTIVE_BUCKETS - 1;
	bucket = (unsigned int)(ns >> (octave - ADAPTIVE_SUB_BITS)) - (1u << ADAPTIVE_SUB_BITS);
	return 1 + ((octave - ADAPTIVE_LOW_BITS) << ADAPTIVE_SUB_BITS) + bucket;
}

uint32_t adaptive_edge(unsigned int bucket)
{
	const unsigned int sub = 1u << ADAPTIVE_SUB_BITS;

	if (bucket == 0)
		return 0;
	bucket--;
	return (sub + (bucket & (sub - 1)))
	       << (ADAPTIVE_LOW_BITS - ADAPTIVE_SUB_BITS + (bucket >> ADAPTIVE_SUB_BITS));
}

/* ---- histograms ---- */

static uint32_t sample_weight(const struct adaptive_hist *h)
{
	return h->weight >> WEIGHT_SHIFT;
}

static void hist_add(struct adaptive_hist *h, unsigned int bucket)
{
	uint32_t weight = sample_weight(h);

	h->n[bucket] = (uint16_t)(h->n[bucket] + weight);
	h->total += weight;
	h->weight = (uint16_t)(h->weight + (h->weight >> MEMORY_SHIFT));
	if (h->weight < 2 * WEIGHT_FIRST)
		return;
	h->weight /= 2;
	h->total = 0;
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS; i++) {
		h->n[i] /= 2;
		h->total += h->n[i];
	}
}

/* Makes what is there count for KEEP_SAMPLES samples at most. */
static void hist_forget(struct adaptive_hist *h)
{
	uint32_t keep = KEEP_SAMPLES * sample_weight(h), total = h->total;

	if (total <= keep)
		return;
	h->total = 0;
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS; i++) {
		h->n[i] = (uint16_t)(h->n[i] * keep / total);
		h->total += h->n[i];
	}
}

/* The factor that makes a histogram count for what it has seen, but @samples at most. */
static uint32_t prior_factor(const struct adaptive_hist *h, uint32_t samples)
{
	uint32_t weight = sample_weight(h);

	if (h->total <= samples * weight)
		return SAMPLE / weight;
	return (uint32_t)((uint64_t)samples * SAMPLE / h->total);
}

/*
 * How far up in its bucket halts have been lately, and how much further the next may be: the slack
 * follows the steps by which the top has been passed, so that halts that grow longer are not missed
 * one by one, and shrinks while there are none. Only then: a window is kept for many halts.
 */
static void top_add(struct adaptive *a, unsigned int bucket, uint64_t ns)
{
	/* The width is a power of two. */
	uint32_t from = adaptive_edge(bucket), width = adaptive_edge(bucket + 1) - from;
	uint32_t at = (uint32_t)(((ns - from) << 16) >> __builtin_ctz(width));
	uint32_t top = a->top[bucket], slack = a->slack[bucket];

	if (at == 0) /* 0: none yet */
		at = 1;
	if (top == 0) {
		top = at;
		slack = SLACK_FIRST;
	} else if (at > top) {
		if (slack < 2 * (at - top))
			slack = 2 * (at - top);
		if (slack > SLACK_MOST)
			slack = SLACK_MOST;
		top = at;
	} else {
		top -= (top - at) / TOP_MEMORY;
		slack -= slack / SLACK_MEMORY;
		if (slack < SLACK_LEAST)
			slack = SLACK_LEAST;
	}
	a->top[bucket] = (uint16_t)top;
	a->slack[bucket] = (uint16_t)slack;
}

static uint32_t top_of(const struct adaptive *a, unsigned int bucket)
{
	uint32_t from = adaptive_edge(bucket), to = adaptive_edge(bucket + 1);
	uint64_t at = (uint64_t)a->top[bucket] + a->slack[bucket];

	if (at > 65536)
		return to;
	return from + (uint32_t)((to - from) * at >> 16);
}

/* ---- the window ---- */

/*
 * The window of the least expected cost in the present context, up to @limit ns; and that cost.
 *
 * It ends with a bucket, or with the top of what has been seen in it. What the shorter one saves is
 * saved whenever no wake-up comes. What it costs is the price for each halt above the top, and of
 * those the next one is expected as often as any one sample. So it has to save the price within a
 * histogram's memory.
 */
static uint32_t search(const struct adaptive *a, uint32_t price, uint32_t limit, uint64_t *expected)
{
	const struct adaptive_hist *pair = &a->pair[a->before * ADAPTIVE_CLASSES + a->last];
	const struct adaptive_hist *one = &a->one[a->last], *all = &a->all;
	uint32_t f_pair = SAMPLE / sample_weight(pair);
	uint32_t f_one = prior_factor(one, PRIOR_ONE), f_all = prior_factor(all, PRIOR_ALL);
	uint64_t longer, samples, polled = 0, best, beyond = 0;
	const uint32_t first = min_u32(price, limit);
	unsigned int guess = adaptive_bucket((uint64_t)first * 3 / 4);
	unsigned int last = 0;
	uint32_t window = 0, from = 0, top;

	longer = (uint64_t)pair->total * f_pair + (uint64_t)one->total * f_one +
		 (uint64_t)all->total * f_all;
	/* Nothing is known: polling for the price costs at most twice the optimum. */
	if (longer < SAMPLE + SAMPLE / 2) {
		*expected = price;
		return first;
	}
	longer += PRIOR_PRICE;
	samples = longer;
	best = longer * price;
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS - 1 && from < limit; i++) {
		uint32_t to = adaptive_edge(i + 1);
		uint64_t n, cost;

		n = (uint64_t)pair->n[i] * f_pair + (uint64_t)one->n[i] * f_one +
		    (uint64_t)all->n[i] * f_all;
		if (i == guess)
			n += PRIOR_PRICE;
		if (to > limit) { /* as if the bucket were evenly filled */
			n = n * (limit - from) / (to - from);
			to = limit;
		}
		if (n != 0) {
			longer -= n;
			polled += n * ((from + to) / 2);
			cost = polled + longer * (to + price);
			if (cost < best) {
				best = cost;
				window = to;
				last = i;
				beyond = longer;
			}
		}
		from = to;
	}
	*expected = best / samples;
	if (window == 0)
		return 0;
	if (last == guess && a->top[last] == 0)
		return first; /* it is only the guess that has led there */
	top = top_of(a, last);
	if (top < window && (window - top) * beyond > (uint64_t)price * SAMPLE)
		return top;
	return window;
}

/* Where the bucket begins in which the median of a histogram is, and that of the nine tenths; 0 if
 * it is empty. */
static void quantiles(const struct adaptive_hist *h, uint32_t *p50, uint32_t *p90)
{
	const uint32_t half = (h->total + 1) / 2, most = (h->total * 9 + 9) / 10;
	unsigned int i = 0;
	uint32_t sum = h->n[0];

	*p50 = *p90 = 0;
	if (h->total == 0)
		return;
	while (sum < half)
		sum += h->n[++i];
	*p50 = adaptive_edge(i);
	while (sum < most)
		sum += h->n[++i];
	*p90 = adaptive_edge(i);
}

static void tell(struct adaptive *a, unsigned int context, uint64_t expected)
{
	const struct adaptive_hist *h = &a->pair[context];
	struct adaptive_seen *s = &a->seen[context];
	uint32_t cost = expected < UINT32_MAX ? (uint32_t)expected : UINT32_MAX, p50, p90;

	quantiles(h, &p50, &p90);
	atomic_store_explicit(&s->samples, h->total / sample_weight(h), memory_order_relaxed);
	atomic_store_explicit(&s->p50_ns, p50, memory_order_relaxed);
	atomic_store_explicit(&s->p90_ns, p90, memory_order_relaxed);
	atomic_store_explicit(&s->window_ns, a->window[context], memory_order_relaxed);
	atomic_store_explicit(&s->cost_ns, cost, memory_order_relaxed);
}

/* The windows of the guard: never; the price; the longest; and a little above the short halts of
 * late. */
enum { GUARD_SLEEP, GUARD_PRICE, GUARD_LONG, GUARD_RECENT };

static void set_recent(struct adaptive *a, uint32_t recent_ns)
{
	a->recent_ns = min_u32(recent_ns, a->price_ns);
	a->guard_ns[GUARD_RECENT] =
		min_u32(a->recent_ns + a->recent_ns / 8, a->guard_ns[GUARD_PRICE]);
}

_Static_assert((int)PATTERN_SLEEP == (int)GUARD_SLEEP && (int)PATTERN_POLL == (int)GUARD_PRICE,
	       "the windows they stand for");

/* What the histograms say, unless the course of the last halts has another lesson. */
static uint32_t advised(const struct adaptive *a)
{
	if (a->pattern.advice != PATTERN_NONE)
		return a->guard_ns[a->pattern.advice];
	return a->histogram_ns;
}

static void set_price(struct adaptive *a, uint32_t price, uint32_t limit)
{
	if (price == a->price_ns && limit == a->limit_ns)
		return;
	/* A price that is measured moves a little all the time: then the windows found are still
	 * good. Not so if they may be above the limit. */
	if (limit != a->limit_ns || price > a->price_ns + a->price_ns / 16 ||
	    price < a->price_ns - a->price_ns / 16) {
		memset(a->age, 0, sizeof(a->age));
		a->price_ns = price;
		a->limit_ns = limit;
		a->per_price = price ? ((uint32_t)PATTERN_GAIN_UNIT << PER_PRICE_SHIFT) / price : 0;
		a->guard_ns[GUARD_PRICE] = min_u32(price, limit);
		a->guard_ns[GUARD_LONG] = limit;
		set_recent(a, a->recent_ns);
	}
}

void adaptive_init(struct adaptive *a)
{
	memset(a, 0, sizeof(*a));
	for (unsigned int i = 0; i < ADAPTIVE_CONTEXTS; i++)
		a->pair[i].weight = WEIGHT_FIRST;
	for (unsigned int i = 0; i < ADAPTIVE_CLASSES; i++)
		a->one[i].weight = WEIGHT_FIRST;
	a->all.weight = WEIGHT_FIRST;
	pattern_init(&a->pattern);
}

uint32_t adaptive_begin(struct adaptive *a, uint32_t price_ns, uint32_t max_ns)
{
	unsigned int context = a->before * ADAPTIVE_CLASSES + a->last;
	uint32_t limit;

	if (price_ns > ADAPTIVE_PRICE_MAX)
		return a->chosen_ns = a->learned_ns = a->histogram_ns = min_u32(price_ns, max_ns);
	limit = price_ns * LIMIT_PRICES;
	set_price(a, price_ns, min_u32(limit, max_ns));
	if (a->age[context] == 0) {
		const struct adaptive_hist *h = &a->pair[context];
		uint64_t expected;

		a->window[context] = search(a, a->price_ns, a->limit_ns, &expected);
		tell(a, context, expected);
		a->age[context] = h->total < SEARCH_ALWAYS * sample_weight(h) ? 1 : SEARCH_EVERY;
	}
	a->histogram_ns = a->window[context];
	a->learned_ns = advised(a);
	a->chosen_ns = a->left ? a->guard_ns[a->guard] : a->learned_ns;
	/* The price may be a little away from the one that was searched for. */
	if (a->chosen_ns > max_ns)
		a->chosen_ns = max_ns;
	return a->chosen_ns;
}

/* ---- learning ---- */

static int64_t cost(uint64_t halt, uint32_t window, uint32_t price)
{
	return halt <= window ? (int64_t)halt : (int64_t)window + price;
}

static int64_t at_least_0(int64_t sum)
{
	return sum < 0 ? 0 : sum;
}

static int64_t at_most(int64_t value, int64_t most)
{
	return value > most ? most : value;
}

static void forget(struct adaptive *a)
{
	for (unsigned int i = 0; i < ADAPTIVE_CONTEXTS; i++)
		hist_forget(&a->pair[i]);
	for (unsigned int i = 0; i < ADAPTIVE_CLASSES; i++)
		hist_forget(&a->one[i]);
	hist_forget(&a->all);
	pattern_forget(&a->pattern);
	memset(a->age, 0, sizeof(a->age));
	memset(a->regret, 0, sizeof(a->regret));
	a->relief = a->doubt = 0;
	atomic_store_explicit(&a->changes,
			      atomic_load_explicit(&a->changes, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* A fixed window has taken over: should it have? */
static void review(struct adaptive *a, uint64_t halt, int64_t mine)
{
	int64_t better = mine - cost(halt, a->learned_ns, a->price_ns);

	a->left--;
	a->relief = at_least_0(a->relief + better);
	a->doubt = at_least_0(a->doubt - better);
	if (a->doubt > (int64_t)a->price_ns * 3)
		forget(a);
	if (a->relief > a->price_ns / 2)
		a->left = 0;
}

/* Compares what was done with what could have been done, and hands over if that is time. @fixed:
 * what this halt would have cost with the fixed windows. */
static void watch(struct adaptive *a, uint64_t halt, const int64_t fixed[ADAPTIVE_GUARDS])
{
	const int64_t price = a->price_ns;
	int64_t mine = cost(halt, a->chosen_ns, a->price_ns), worst = price * 7 / 2;
	bool changed = false;

	if (a->left)
		review(a, halt, mine);
	for (unsigned int i = 0; i < ADAPTIVE_GUARDS; i++) {
		int64_t better = mine - fixed[i];

		better -= better ? price / 4 : 0;
		a->regret[i] = at_least_0(a->regret[i] + at_most(better, 2 * price));
		if (a->regret[i] > worst) {
			worst = a->regret[i];
			a->guard = (uint8_t)i;
			changed = true;
		}
	}
	if (changed) {
		a->left = GUARD_HALTS;
		memset(a->regret, 0, sizeof(a->regret));
		a->relief = a->doubt = 0;
	}
}

/* What the advices would have gained over the histograms, in units of the price. */
static void pattern_add(struct adaptive *a, uint64_t halt, const int64_t fixed[ADAPTIVE_GUARDS])
{
	const int64_t most = (int64_t)a->price_ns * PATTERN_GAIN_MAX / PATTERN_GAIN_UNIT;
	int64_t done = cost(halt, a->histogram_ns, a->price_ns);
	int gain[PATTERN_ADVICES];

	for (unsigned int i = 0; i < PATTERN_ADVICES; i++) {
		int64_t better = at_most(done - fixed[i], most);

		better = better < -most ? -most : better;
		gain[i] = (int)(better * a->per_price / (INT64_C(1) << PER_PRICE_SHIFT));
	}
	pattern_learn(&a->pattern, gain, halt <= a->price_ns);
}

void adaptive_end(struct adaptive *a, uint64_t halt_ns, bool censored)
{
	unsigned int context = a->before * ADAPTIVE_CLASSES + a->last, bucket;
	int64_t fixed[ADAPTIVE_GUARDS] = {0};

	if (a->price_ns == 0) /* no begin yet, or sleeping costs nothing: no class has a meaning */
		return;
	for (unsigned int i = 0; i < ADAPTIVE_GUARDS; i++)
		fixed[i] = cost(halt_ns, a->guard_ns[i], a->price_ns);
	watch(a, halt_ns, fixed);
	bucket = censored ? ADAPTIVE_BUCKETS - 1 : adaptive_bucket(halt_ns);
	hist_add(&a->pair[context], bucket);
	hist_add(&a->one[a->last], bucket);
	hist_add(&a->all, bucket);
	if (bucket < ADAPTIVE_BUCKETS - 1)
		top_add(a, bucket, halt_ns);
	if (a->age[context])
		a->age[context]--;
	atomic_store_explicit(&a->seen[context].halts,
			      atomic_load_explicit(&a->seen[context].halts, memory_order_relaxed) +
				      1,
			      memory_order_relaxed);
	pattern_add(a, halt_ns, fixed);
	if (halt_ns <= a->price_ns) {
		uint32_t recent = a->recent_ns - a->recent_ns / RECENT_MEMORY;

		set_recent(a, halt_ns > recent ? (uint32_t)halt_ns : recent);
	}
	a->before = a->last;
	a->last = halt_ns <= a->price_ns			     ? CLASS_SHORT
		  : halt_ns <= (uint64_t)a->price_ns * MIDDLE_PRICES ? CLASS_MIDDLE
								     : CLASS_LONG;
}
