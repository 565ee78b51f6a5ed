/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learner of a limit for the kernel's polling; see limit.h.
 *
 * Ranges: a step is taken to be 64 times COUNT_MAX halts at most, whatever the counters say, and
 * none is longer than 2^31 ns. So a histogram's sum is below 2^30, the cost of a halt is below 2^34,
 * and their products with ratios and weights fit 64 bits.
 */
#include <string.h>

#include "poll/halt_poll.h"
#include "poll/limit.h"
#include "poll/stats.h"

/* A step with larger counts does not weigh more. */
#define COUNT_MAX  8192u
#define HALT_UNIT  256u
#define RATIO_ONE  65536u
#define RATIO_MOST (16 * RATIO_ONE)

/* For how many halts what was learned counts: lengths, and ratios. */
#define MEMORY	     150u
#define RATIO_MEMORY 2000u
/* The model counts for so many halts beside what a limit has really cost. */
#define MODEL_SAMPLES 4u
/* Another limit has to be better by this part. */
#define BETTER_BY 50u

#define FIRST_INTERVAL_NS   UINT64_C(1000000)
#define SHORT_INTERVAL_NS   UINT64_C(10000000)
#define LONGEST_INTERVAL_NS UINT64_C(250000000)
#define INTERVAL_HALTS	    64u /* to be learned from at once */
/* Of cpu_max. */
#define CPU_WHOLE   10000u
#define DEBT_MAX_NS UINT64_C(1000000000)

/* The lowest limit above 0 that is of use, as a power of two: 4 us. */
#define LOWEST_BIT 12u
/* The first one above what Linux has by default. */
#define KERNEL_BIT 18u

_Static_assert(CATNAP_KERNEL_MAX_NS >> (KERNEL_BIT - 1) == 1, "in ascending order");

/* The changes of the statistics in one step. */
struct step {
	uint64_t success[CATNAP_HIST_BUCKETS], wait[CATNAP_HIST_BUCKETS];
	uint64_t successes, fails, waits;
	uint64_t success_ns, fail_ns;
	uint64_t elapsed_ns;
};

static uint64_t at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void add_choice(struct catnap_poll_limit *l, uint64_t limit)
{
	if (limit <= l->params.max_ns &&
	    (!l->choices || limit > l->choice[l->choices - 1].limit_ns))
		l->choice[l->choices++] =
			(struct limit_choice){.limit_ns = (uint32_t)limit, .ratio = RATIO_ONE};
}

/* Returns the choice until anything is known: to poll for as long as a sleep is worth costs twice
 * the optimum at most. */
static unsigned int first_choice(const struct catnap_poll_limit *l)
{
	unsigned int i = l->choices - 1;

	while (i > 0 && l->choice[i].limit_ns > l->worth_ns)
		i--;
	return i;
}

static void list_choices(struct catnap_poll_limit *l)
{
	l->choices = 0;
	add_choice(l, 0);
	for (unsigned int bit = LOWEST_BIT; bit < 32; bit++) {
		if (bit == KERNEL_BIT)
			add_choice(l, CATNAP_KERNEL_MAX_NS);
		add_choice(l, UINT64_C(1) << bit);
	}
	add_choice(l, l->params.max_ns);
	l->now = first_choice(l);
}

static void weigh(struct catnap_poll_limit *l)
{
	l->price.given_ns = l->params.price_ns;
	l->worth_ns = sleep_worth(&l->price, l->params.bias);
}

void limit_set(struct catnap_poll_limit *l, const struct catnap_halt_poll *params)
{
	uint32_t max = l->params.max_ns;

	l->params = halt_poll_known(params);
	l->rule = (struct limit_rule){.grow = l->params.grow,
				      .grow_start_ns = l->params.grow_start_ns,
				      .shrink = l->params.shrink};
	weigh(l);
	if (!l->choices || l->params.max_ns != max)
		list_choices(l);
	if (!l->params.cpu_max) {
		l->debt_ns = 0;
		l->paused = false;
	}
}

void limit_init(struct catnap_poll_limit *l, const struct catnap_halt_poll *params)
{
	memset(l, 0, sizeof(*l));
	l->interval_ns = FIRST_INTERVAL_NS;
	limit_set(l, params);
}

void limit_set_price(struct catnap_poll_limit *l, uint32_t late_ns, uint32_t cpu_ns)
{
	l->price.late_ns = late_ns;
	l->price.cpu_ns = cpu_ns;
	weigh(l);
}

uint32_t limit_ns(const struct catnap_poll_limit *l)
{
	return l->paused ? 0 : l->choice[l->now].limit_ns;
}

bool limit_halts(const struct catnap_poll_limit *l, struct limit_halts *halts)
{
	uint64_t all = 0;

	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++)
		all += l->halts[i];
	for (int i = 0; all && i < CATNAP_HIST_BUCKETS; i++)
		halts->weight[i] = (uint32_t)(l->halts[i] * LIMIT_WEIGHTS / all);
	return all != 0;
}

/* ---- what a step has brought ---- */

/* Subtracts histograms, and sums the difference up. False: a number has become lower. */
static bool subtract(uint64_t *to, const uint64_t *now, const uint64_t *before, uint64_t *sum)
{
	*sum = 0;
	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		if (now[i] < before[i])
			return false;
		to[i] = now[i] - before[i];
		*sum += to[i];
	}
	return true;
}

static bool take_step(struct step *d, const struct catnap_halt_stats *now,
		      const struct catnap_halt_stats *before)
{
	uint64_t fail[CATNAP_HIST_BUCKETS];

	if (now->halt_poll_success_ns < before->halt_poll_success_ns ||
	    now->halt_poll_fail_ns < before->halt_poll_fail_ns)
		return false;
	d->success_ns = now->halt_poll_success_ns - before->halt_poll_success_ns;
	d->fail_ns = now->halt_poll_fail_ns - before->halt_poll_fail_ns;
	return subtract(d->success, now->halt_poll_success_hist, before->halt_poll_success_hist,
			&d->successes) &&
	       subtract(fail, now->halt_poll_fail_hist, before->halt_poll_fail_hist, &d->fails) &&
	       subtract(d->wait, now->halt_wait_hist, before->halt_wait_hist, &d->waits);
}

/* Halves a step until it is small enough. Counters may be anything, their sums wrap; so no bucket is
 * above COUNT_MAX either. */
static void bound_step(struct step *d)
{
	unsigned int shift = 0;

	while ((d->successes >> shift) > COUNT_MAX || (d->waits >> shift) > COUNT_MAX)
		shift++;
	d->successes = d->waits = 0;
	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		d->success[i] = at_most(d->success[i] >> shift, COUNT_MAX);
		d->wait[i] = at_most(d->wait[i] >> shift, COUNT_MAX);
		d->successes += d->success[i];
		d->waits += d->wait[i];
	}
	d->fails = at_most(d->fails >> shift, d->waits);
	d->success_ns >>= shift;
	d->fail_ns >>= shift;
	d->elapsed_ns >>= shift;
}

/* Returns about how long waits of bucket @b are. */
static uint64_t middle(unsigned int b)
{
	if (b < 2)
		return b;
	return UINT64_C(3) << (b - 2);
}

/* Adds the lengths of halts. A halt that slept was a wait, and before it a poll if one was tried:
 * then of the mean length. */
static void add_lengths(struct catnap_poll_limit *l, const struct step *d, uint64_t halts)
{
	uint64_t polled = d->fails ? at_most(d->fail_ns / d->fails, UINT32_MAX) : 0;

	for (unsigned int i = 0; i < CATNAP_HIST_BUCKETS; i++)
		l->halts[i] = l->halts[i] * MEMORY / (MEMORY + halts);
	for (unsigned int i = 0; i < CATNAP_HIST_BUCKETS; i++) {
		uint64_t waits = d->wait[i] * HALT_UNIT, tried = 0;

		if (waits)
			tried = waits * d->fails / d->waits;
		l->halts[i] += d->success[i] * HALT_UNIT + waits - tried;
		if (tried)
			l->halts[stats_bucket(middle(i) + polled)] += tried;
	}
}

/* ---- the choice ---- */

static uint64_t modelled(const struct catnap_poll_limit *l, const struct limit_cost *c)
{
	return c->poll_ns + (uint64_t)l->worth_ns * c->sleeps / LIMIT_WEIGHTS;
}

/* Learns what the choice in force has really cost. */
static void add_ratio(struct catnap_poll_limit *l, const struct step *d, uint64_t halts,
		      uint64_t expected)
{
	struct limit_choice *c = &l->choice[l->now];
	uint64_t polled = at_most((d->success_ns + d->fail_ns) / halts, UINT32_MAX), ratio;

	for (unsigned int i = 0; i < l->choices; i++)
		l->choice[i].samples = (uint32_t)((uint64_t)l->choice[i].samples * RATIO_MEMORY /
						  (RATIO_MEMORY + halts));
	if (l->paused)
		return;
	ratio = (polled + l->worth_ns * d->waits / halts) * RATIO_ONE / (expected ? expected : 1);
	ratio = at_most(ratio, RATIO_MOST);
	c->ratio = (uint32_t)((c->ratio * (uint64_t)c->samples + ratio * halts) /
			      (c->samples + halts));
	c->samples += (uint32_t)halts;
}

static uint64_t corrected(const struct limit_choice *c, uint64_t expected)
{
	uint64_t ratio = ((uint64_t)c->ratio * c->samples + RATIO_ONE * MODEL_SAMPLES) /
			 (c->samples + MODEL_SAMPLES);

	return expected * ratio / RATIO_ONE;
}

/* Returns whether polls would fail for more than cpu_max with that cost of each halt. */
static bool too_dear(const struct catnap_poll_limit *l, const struct limit_cost *c, uint64_t halts,
		     uint64_t elapsed_ns)
{
	return l->params.cpu_max && c->fail_ns * halts > elapsed_ns / CPU_WHOLE * l->params.cpu_max;
}

static void choose(struct catnap_poll_limit *l, const struct step *d)
{
	const uint64_t halts = d->successes + d->waits;
	struct limit_cost cost[LIMIT_CHOICES] = {{0}};
	uint64_t least = UINT64_MAX, now;
	unsigned int best = 0;
	struct limit_halts h;

	if (!halts)
		return;
	add_lengths(l, d, halts);
	if (!limit_halts(l, &h))
		return;
	for (unsigned int i = 0; i < l->choices; i++)
		cost[i] = limit_expect(&h, &l->rule, l->choice[i].limit_ns);
	add_ratio(l, d, halts, modelled(l, &cost[l->now]));
	for (unsigned int i = 0; i < l->choices; i++) {
		uint64_t one = corrected(&l->choice[i], modelled(l, &cost[i]));

		if (one >= least || too_dear(l, &cost[i], halts, d->elapsed_ns))
			continue;
		least = one;
		best = i;
	}
	now = corrected(&l->choice[l->now], modelled(l, &cost[l->now]));
	if (least < now - now / BETTER_BY || too_dear(l, &cost[l->now], halts, d->elapsed_ns))
		l->now = best;
}

/* ---- the budget and the interval ---- */

static void settle(struct catnap_poll_limit *l, uint64_t fail_ns, uint64_t elapsed_ns)
{
	uint64_t earned = elapsed_ns / CPU_WHOLE * l->params.cpu_max;

	if (!l->params.cpu_max)
		return;
	l->debt_ns += at_most(fail_ns, DEBT_MAX_NS);
	l->debt_ns -= at_most(earned, l->debt_ns);
	l->debt_ns = at_most(l->debt_ns, DEBT_MAX_NS);
	l->paused = l->debt_ns != 0;
}

static uint64_t next_interval(const struct catnap_poll_limit *l, const struct step *d)
{
	const uint64_t halts = d->successes + d->waits;
	uint64_t ns = LONGEST_INTERVAL_NS;

	if (l->paused)
		ns = at_most(ns, l->debt_ns * CPU_WHOLE / l->params.cpu_max);
	else if (l->params.cpu_max && limit_ns(l))
		ns = SHORT_INTERVAL_NS;
	else if (halts && d->elapsed_ns < LONGEST_INTERVAL_NS * 4)
		ns = at_most(ns, d->elapsed_ns * INTERVAL_HALTS / halts);
	if (ns < SHORT_INTERVAL_NS)
		ns = SHORT_INTERVAL_NS;
	return l->paused ? ns : at_most(ns, 2 * l->interval_ns);
}

bool limit_learn(struct catnap_poll_limit *l, const struct catnap_halt_stats *s, uint64_t now_ns)
{
	const uint32_t before = limit_ns(l);
	struct step d = {.elapsed_ns = now_ns > l->at_ns ? now_ns - l->at_ns : 0};
	bool counts = l->begun && take_step(&d, s, &l->last);

	l->begun = true;
	l->last = *s;
	l->at_ns = now_ns;
	if (!counts)
		return false;
	settle(l, d.fail_ns, d.elapsed_ns);
	bound_step(&d);
	choose(l, &d);
	l->interval_ns = next_interval(l, &d);
	return limit_ns(l) != before;
}
