/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learner of policy `adaptive`; see adaptive.h and docs/policy.md. The constants have been
 * chosen over many arrival processes, worths and seeds; none of them is sharp.
 *
 * Ranges: a histogram's total is at most TOTAL_MAX, so its counts fit 16 bits; the weighed counts
 * of search() are below 2^31 together and times are below 2^26, so that costs fit 64 bits with room
 * to spare.
 */
#include <string.h>

#include <catnap/poll.h>
#include "poll/adaptive.h"
#include "relaxed.h"

/* Each sample makes a histogram forget 1/512 of what it has. */
#define MEMORY_SHIFT 9
#define WEIGHT_SHIFT 6 /* weights are kept in 1/64 */
#define WEIGHT_FIRST (32u << WEIGHT_SHIFT)
/* The most that a histogram's total comes to, just before it is halved: 64 * 512, and 8 % more since
 * the weight grows by what is rounded down. */
#define TOTAL_MAX 35481u

/* In the weighed sum of three histograms one sample is this. */
#define SAMPLE (1u << 20)
/* How many samples the two wider histograms count for beside the context's own. */
#define PRIOR_ONE 12u
#define PRIOR_ALL 3u
/* Beside them there is always half a sample of a halt of 3/4 of the worth. Where next to nothing
 * has been longer than the window, the window may as well be the worth, and is ready for what comes
 * next. To wait all of the worth for such a halt would gain nothing, so it is a little shorter. */
#define PRIOR_WORTH (SAMPLE / 2)

/* Of the highest place in a bucket, in 1/65536 of the bucket: see top_add(). */
#define TOP_MEMORY   1024u
#define SLACK_FIRST  8192u
#define SLACK_LEAST  512u
#define SLACK_MOST   16384u
#define SLACK_MEMORY 64u

/* The longest window is so many times the worth: a poll that fails there has cost 5 times the
 * optimum. */
#define LIMIT_TIMES 4u
/* A halt of up to so many times the worth is of the middle class. */
#define MIDDLE_TIMES 8u

/* Context's samples below which each halt searches anew; beyond it every SEARCH_EVERYth does. */
#define SEARCH_ALWAYS 16u
#define SEARCH_EVERY  16u

/*
 * The guard. A window that needs no histogram takes over when it has been better by 3.5 times
 * the worth. A quarter of the worth is taken off for each halt in which they differ, so that near
 * ties do not wander there, and one halt counts for twice the worth at most. The window stays for
 * 64 halts, or until the learned windows are better by half the worth. If meanwhile it is better
 * than they by 3 times the worth more, it was no accident: then the histograms keep the weight of 8
 * samples.
 */
#define GUARD_HALTS  64
#define KEEP_SAMPLES 8u
/* The longest of the short halts fades by this with each that is shorter. */
#define RECENT_MEMORY 16u

/* The fixed point of per_worth: to multiply by that is to divide by the worth. */
#define PER_WORTH_SHIFT 24

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

/* Makes the samples that are there count for KEEP_SAMPLES at most. */
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

/* Returns the factor that makes a histogram count for what it has seen, but @samples at most. */
static uint32_t prior_factor(const struct adaptive_hist *h, uint32_t samples)
{
	uint32_t weight = sample_weight(h);

	if (h->total <= samples * weight)
		return SAMPLE / weight;
	return (uint32_t)((uint64_t)samples * SAMPLE / h->total);
}

/*
 * Follows how far up in its bucket halts have been lately (the top), and how much further the next
 * may be (the slack). The slack follows the steps by which the top has been passed, so that halts
 * that grow longer are not missed one by one. It shrinks while there are no such steps, and not
 * before, as a window is kept for many halts.
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
 * Returns the window of the least expected cost in the present context, up to @limit ns, and that
 * cost in *@expected.
 *
 * It ends with a bucket, or with the top of what has been seen in it. The shorter window saves time
 * whenever no wake-up comes. It costs the worth for each halt above the top, and the next such halt
 * is expected as often as any one sample. So it has to save the worth within a histogram's memory.
 */
static uint32_t search(const struct adaptive *a, uint32_t worth, uint32_t limit, uint64_t *expected)
{
	const struct adaptive_hist *pair = &a->pair[a->before * ADAPTIVE_CLASSES + a->last];
	const struct adaptive_hist *one = &a->one[a->last], *all = &a->all;
	uint32_t f_pair = SAMPLE / sample_weight(pair);
	uint32_t f_one = prior_factor(one, PRIOR_ONE), f_all = prior_factor(all, PRIOR_ALL);
	uint64_t longer, samples, polled = 0, best, beyond = 0;
	const uint32_t first = min_u32(worth, limit);
	unsigned int guess = adaptive_bucket((uint64_t)first * 3 / 4);
	unsigned int last = 0;
	uint32_t window = 0, from = 0, top;

	longer = (uint64_t)pair->total * f_pair + (uint64_t)one->total * f_one +
		 (uint64_t)all->total * f_all;
	/* Nothing is known: polling for the worth costs at most twice the optimum. */
	if (longer < SAMPLE + SAMPLE / 2) {
		*expected = worth;
		return first;
	}
	longer += PRIOR_WORTH;
	samples = longer;
	best = longer * worth;
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS - 1 && from < limit; i++) {
		uint32_t to = adaptive_edge(i + 1);
		uint64_t n, cost;

		n = (uint64_t)pair->n[i] * f_pair + (uint64_t)one->n[i] * f_one +
		    (uint64_t)all->n[i] * f_all;
		if (i == guess)
			n += PRIOR_WORTH;
		if (to > limit) { /* as if the bucket were evenly filled */
			n = n * (limit - from) / (to - from);
			to = limit;
		}
		if (n != 0) {
			longer -= n;
			polled += n * ((from + to) / 2);
			cost = polled + longer * (to + worth);
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
	if (top < window && (window - top) * beyond > (uint64_t)worth * SAMPLE)
		return top;
	return window;
}

/* Finds where the bucket begins in which the median of a histogram is, and the bucket of its ninth
 * tenth; 0 if it is empty. */
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
	relaxed_store(&s->samples, h->total / sample_weight(h));
	relaxed_store(&s->p50_ns, p50);
	relaxed_store(&s->p90_ns, p90);
	relaxed_store(&s->window_ns, a->window[context]);
	relaxed_store(&s->cost_ns, cost);
}

/* The windows of the guard: none; the worth; the longest; a little more than the short halts of
 * late. */
enum { GUARD_SLEEP, GUARD_WORTH, GUARD_LONG, GUARD_RECENT };

static void set_recent(struct adaptive *a, uint32_t recent_ns)
{
	a->recent_ns = min_u32(recent_ns, a->worth_ns);
	a->guard_ns[GUARD_RECENT] =
		min_u32(a->recent_ns + a->recent_ns / 8, a->guard_ns[GUARD_WORTH]);
}

_Static_assert((int)PATTERN_SLEEP == (int)GUARD_SLEEP && (int)PATTERN_POLL == (int)GUARD_WORTH,
	       "the windows they stand for");

/* Returns the window that the histograms say, unless the course of the last halts has a better
 * one. */
static uint32_t advised(const struct adaptive *a)
{
	if (a->pattern.advice != PATTERN_NONE)
		return a->guard_ns[a->pattern.advice];
	return a->histogram_ns;
}

static void set_worth(struct adaptive *a, uint32_t worth, uint32_t limit)
{
	if (worth == a->worth_ns && limit == a->limit_ns)
		return;
	/* A worth that is measured moves a little all the time, and the windows that were found
	 * stay good. They do not if they may be above the limit. */
	if (limit != a->limit_ns || worth > a->worth_ns + a->worth_ns / 16 ||
	    worth < a->worth_ns - a->worth_ns / 16) {
		memset(a->age, 0, sizeof(a->age));
		a->worth_ns = worth;
		a->limit_ns = limit;
		a->per_worth = worth ? ((uint32_t)PATTERN_GAIN_UNIT << PER_WORTH_SHIFT) / worth : 0;
		a->guard_ns[GUARD_WORTH] = min_u32(worth, limit);
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

uint32_t adaptive_begin(struct adaptive *a, uint32_t worth_ns, uint32_t max_ns)
{
	unsigned int context = a->before * ADAPTIVE_CLASSES + a->last;
	uint32_t limit;

	if (worth_ns > ADAPTIVE_WORTH_MAX)
		return a->chosen_ns = a->learned_ns = a->histogram_ns = min_u32(worth_ns, max_ns);
	limit = worth_ns * LIMIT_TIMES;
	set_worth(a, worth_ns, min_u32(limit, max_ns));
	if (a->age[context] == 0) {
		const struct adaptive_hist *h = &a->pair[context];
		uint64_t expected;

		a->window[context] = search(a, a->worth_ns, a->limit_ns, &expected);
		tell(a, context, expected);
		a->age[context] = h->total < SEARCH_ALWAYS * sample_weight(h) ? 1 : SEARCH_EVERY;
	}
	a->histogram_ns = a->window[context];
	a->learned_ns = advised(a);
	a->chosen_ns = a->left ? a->guard_ns[a->guard] : a->learned_ns;
	/* The worth may be a little away from the one that was searched for. */
	if (a->chosen_ns > max_ns)
		a->chosen_ns = max_ns;
	return a->chosen_ns;
}

/* ---- learning ---- */

static int64_t cost(uint64_t halt, uint32_t window, uint32_t worth)
{
	return halt <= window ? (int64_t)halt : (int64_t)window + worth;
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
	relaxed_store(&a->changes, relaxed_load(&a->changes) + 1);
}

/* Reviews a fixed window that has taken over: does it do better than what was learned? */
static void review(struct adaptive *a, uint64_t halt, int64_t mine)
{
	int64_t better = mine - cost(halt, a->learned_ns, a->worth_ns);

	a->left--;
	a->relief = at_least_0(a->relief + better);
	a->doubt = at_least_0(a->doubt - better);
	if (a->doubt > (int64_t)a->worth_ns * 3)
		forget(a);
	if (a->relief > a->worth_ns / 2)
		a->left = 0;
}

/* Compares what was done with what the fixed windows would have done, and lets one of them take
 * over when it is time. @fixed: what this halt would have cost with each of them. */
static void update_guard(struct adaptive *a, uint64_t halt, const int64_t fixed[ADAPTIVE_GUARDS])
{
	const int64_t worth = a->worth_ns;
	int64_t mine = cost(halt, a->chosen_ns, a->worth_ns), worst = worth * 7 / 2;
	bool changed = false;

	if (a->left)
		review(a, halt, mine);
	for (unsigned int i = 0; i < ADAPTIVE_GUARDS; i++) {
		int64_t better = mine - fixed[i];

		better -= better ? worth / 4 : 0;
		a->regret[i] = at_least_0(a->regret[i] + at_most(better, 2 * worth));
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

/* Tells the pattern what each advice would have gained over the histograms, in parts of the
 * worth. */
static void pattern_add(struct adaptive *a, uint64_t halt, const int64_t fixed[ADAPTIVE_GUARDS])
{
	const int64_t most = (int64_t)a->worth_ns * PATTERN_GAIN_MAX / PATTERN_GAIN_UNIT;
	int64_t done = cost(halt, a->histogram_ns, a->worth_ns);
	int gain[PATTERN_ADVICES];

	for (unsigned int i = 0; i < PATTERN_ADVICES; i++) {
		int64_t better = at_most(done - fixed[i], most);

		better = better < -most ? -most : better;
		gain[i] = (int)(better * a->per_worth / (INT64_C(1) << PER_WORTH_SHIFT));
	}
	pattern_learn(&a->pattern, gain, halt <= a->worth_ns);
}

void adaptive_end(struct adaptive *a, uint64_t halt_ns, bool censored)
{
	unsigned int context = a->before * ADAPTIVE_CLASSES + a->last, bucket;
	int64_t fixed[ADAPTIVE_GUARDS] = {0};

	if (a->worth_ns == 0) /* no begin yet, or sleeping costs nothing: no class has a meaning */
		return;
	for (unsigned int i = 0; i < ADAPTIVE_GUARDS; i++)
		fixed[i] = cost(halt_ns, a->guard_ns[i], a->worth_ns);
	update_guard(a, halt_ns, fixed);
	bucket = censored ? ADAPTIVE_BUCKETS - 1 : adaptive_bucket(halt_ns);
	hist_add(&a->pair[context], bucket);
	hist_add(&a->one[a->last], bucket);
	hist_add(&a->all, bucket);
	if (bucket < ADAPTIVE_BUCKETS - 1)
		top_add(a, bucket, halt_ns);
	if (a->age[context])
		a->age[context]--;
	relaxed_store(&a->seen[context].halts, relaxed_load(&a->seen[context].halts) + 1);
	pattern_add(a, halt_ns, fixed);
	if (halt_ns <= a->worth_ns) {
		uint32_t recent = a->recent_ns - a->recent_ns / RECENT_MEMORY;

		set_recent(a, halt_ns > recent ? (uint32_t)halt_ns : recent);
	}
	a->before = a->last;
	a->last = halt_ns <= a->worth_ns			    ? CATNAP_HALT_SHORT
		  : halt_ns <= (uint64_t)a->worth_ns * MIDDLE_TIMES ? CATNAP_HALT_MIDDLE
								    : CATNAP_HALT_LONG;
}

/* ---- for another process ---- */

static void hist_save(const struct adaptive_hist *h, struct state_writer *w)
{
	state_put_u16(w, h->weight);
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS; i++)
		state_put_u16(w, h->n[i]);
}

static void hist_load(struct adaptive_hist *h, struct state_in *in)
{
	h->weight = state_get_u16(in);
	state_check(in, h->weight >= WEIGHT_FIRST && h->weight < 2 * WEIGHT_FIRST,
		    "the weight of a histogram");
	h->total = 0;
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS; i++) {
		h->n[i] = state_get_u16(in);
		h->total += h->n[i];
	}
	state_check(in, h->total <= TOTAL_MAX, "the sum of a histogram");
}

void adaptive_save(const struct adaptive *a, struct state_writer *w)
{
	for (unsigned int i = 0; i < ADAPTIVE_CONTEXTS; i++)
		hist_save(&a->pair[i], w);
	for (unsigned int i = 0; i < ADAPTIVE_CLASSES; i++)
		hist_save(&a->one[i], w);
	hist_save(&a->all, w);
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS; i++) {
		state_put_u16(w, a->top[i]);
		state_put_u16(w, a->slack[i]);
	}
	state_put_u8(w, a->before);
	state_put_u8(w, a->last);
	state_put_u8(w, a->guard);
	state_put_u8(w, a->left);
	state_put_u32(w, a->recent_ns);
	pattern_save(&a->pattern, w);
}

void adaptive_load(struct adaptive *a, struct state_in *in)
{
	for (unsigned int i = 0; i < ADAPTIVE_CONTEXTS; i++)
		hist_load(&a->pair[i], in);
	for (unsigned int i = 0; i < ADAPTIVE_CLASSES; i++)
		hist_load(&a->one[i], in);
	hist_load(&a->all, in);
	for (unsigned int i = 0; i < ADAPTIVE_BUCKETS; i++) {
		a->top[i] = state_get_u16(in);
		a->slack[i] = state_get_u16(in);
		state_check(in, a->slack[i] <= SLACK_MOST, "the slack of a bucket");
	}
	a->before = state_get_u8(in);
	a->last = state_get_u8(in);
	state_check(in, a->before < ADAPTIVE_CLASSES && a->last < ADAPTIVE_CLASSES,
		    "the class of a halt");
	a->guard = state_get_u8(in);
	a->left = state_get_u8(in);
	state_check(in, a->guard < ADAPTIVE_GUARDS && a->left <= GUARD_HALTS,
		    "the window that has taken over");
	/* Without what adaptive_load_windows() reads, windows are searched for anew, once the worth is
	 * known. */
	a->recent_ns = state_get_u32(in);
	pattern_load(&a->pattern, in);
}

/* What the guard has counted is below this many times the worth: it takes over at 7/2, and one halt
 * adds no more than a window of LIMIT_TIMES and a sleep. */
#define COUNTED_TIMES 16

void adaptive_save_windows(const struct adaptive *a, struct state_writer *w)
{
	state_put_u32(w, a->worth_ns);
	state_put_u32(w, a->limit_ns);
	for (unsigned int i = 0; i < ADAPTIVE_CONTEXTS; i++) {
		state_put_u32(w, a->window[i]);
		state_put_u8(w, a->age[i]);
	}
	for (unsigned int i = 0; i < ADAPTIVE_GUARDS; i++)
		state_put_u64(w, (uint64_t)a->regret[i]);
	state_put_u64(w, (uint64_t)a->relief);
	state_put_u64(w, (uint64_t)a->doubt);
}

static int64_t get_counted(const struct adaptive *a, struct state_in *in)
{
	uint64_t ns = state_get_u64(in);

	return state_check(in, ns <= (uint64_t)a->worth_ns * COUNTED_TIMES,
			   "what the guard has counted")
		       ? (int64_t)ns
		       : 0;
}

void adaptive_load_windows(struct adaptive *a, struct state_in *in)
{
	uint32_t worth = state_get_u32(in), limit = state_get_u32(in);

	if (!state_check(in, worth <= ADAPTIVE_WORTH_MAX && limit <= worth * LIMIT_TIMES,
			 "what a sleep is worth"))
		return;
	set_worth(a, worth, limit);
	for (unsigned int i = 0; i < ADAPTIVE_CONTEXTS; i++) {
		a->window[i] = state_get_u32(in);
		a->age[i] = state_get_u8(in);
		state_check(in,
			    a->window[i] <= ADAPTIVE_WORTH_MAX * LIMIT_TIMES &&
				    a->age[i] <= SEARCH_EVERY,
			    "a window");
	}
	for (unsigned int i = 0; i < ADAPTIVE_GUARDS; i++)
		a->regret[i] = get_counted(a, in);
	a->relief = get_counted(a, in);
	a->doubt = get_counted(a, in);
}
