/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces made by arrival processes. The same kind, keys and seed give the same trace on every host:
 * the generator of random numbers is our own (xoshiro256**, seeded through splitmix64; Blackman and
 * Vigna).
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/generate.h"

/* No halt is longer than an hour: a Pareto tail would otherwise make ones that mean nothing. */
#define LONGEST_NS UINT64_C(3600000000000)

/* ---- random numbers ---- */

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void rng_seed(struct generate_rng *r, uint64_t seed)
{
	int i;

	for (i = 0; i < 4; i++)
		r->s[i] = splitmix64(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static uint64_t rng_next(struct generate_rng *r)
{
	uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

/* Returns a number in (0, 1]: its logarithm exists. */
static double rng_unit(struct generate_rng *r)
{
	return ((double)(rng_next(r) >> 11) + 1) / 9007199254740992.0;
}

/* ---- halts; at least 1 ns, since the next event is never now ---- */

static uint64_t to_ns(double ns)
{
	if (!(ns >= 1))
		return 1;
	return ns < (double)LONGEST_NS ? (uint64_t)ns : LONGEST_NS;
}

static uint64_t exponential(struct generate_rng *r, uint64_t mean_ns)
{
	return to_ns(-log(rng_unit(r)) * (double)mean_ns + 0.5);
}

/* Returns @ns, up to @percent per cent more or less. */
static uint64_t jittered(struct generate_rng *r, uint64_t ns, uint32_t percent)
{
	return to_ns((double)ns * (1 + (2 * rng_unit(r) - 1) * percent / 100) + 0.5);
}

/* Returns a halt by a timer tick and network packets: it ends with whichever is first, and the next
 * one begins there. */
static uint64_t tick_halt(struct generator *p)
{
	uint64_t *due = p->tick_ns <= p->net_ns ? &p->tick_ns : &p->net_ns;
	uint64_t at = *due, halt = at > p->now_ns ? at - p->now_ns : 1;

	*due = at + (due == &p->tick_ns ? p->g->period_ns : exponential(&p->rng, p->g->net_ns));
	p->now_ns = at;
	return halt;
}

uint64_t generator_next(struct generator *p)
{
	const struct generate *g = p->g;

	switch ((enum generate_kind)g->kind) {
	case GENERATE_CONSTANT:
		return jittered(&p->rng, g->gap_ns, g->jitter);
	case GENERATE_POISSON:
		return exponential(&p->rng, g->mean_ns);
	case GENERATE_BURSTY:
		/* Each halt is with the same chance the last of its burst: lengths are
		 * geometric. */
		if (rng_unit(&p->rng) * g->burst <= 1)
			return exponential(&p->rng, g->pause_ns);
		return exponential(&p->rng, g->gap_ns);
	case GENERATE_BIMODAL:
		return jittered(&p->rng, rng_unit(&p->rng) * 100 <= g->share ? g->a_ns : g->b_ns,
				g->jitter);
	case GENERATE_PARETO: {
		double ns = (double)g->min_ns * pow(rng_unit(&p->rng), -1 / g->alpha);

		return to_ns(ns < (double)g->max_ns ? ns : (double)g->max_ns);
	}
	case GENERATE_TICK:
		return tick_halt(p);
	}
	return 1;
}

void generator_init(struct generator *p, const struct generate *g, uint64_t seed)
{
	*p = (struct generator){.g = g, .tick_ns = g->period_ns};
	rng_seed(&p->rng, seed);
	if (g->kind == GENERATE_TICK)
		p->net_ns = exponential(&p->rng, g->net_ns);
}

void generate_write(const struct generate *g, uint64_t halts, uint64_t seed, FILE *out)
{
	struct generator p;
	uint64_t i;

	generator_init(&p, g, seed);
	fputs("halt_ns\n", out);
	for (i = 0; i < halts && !ferror(out); i++)
		fprintf(out, "%" PRIu64 "\n", generator_next(&p));
}

/* ---- --generate ---- */

static const struct opt_word kinds[] = {
	{"constant", GENERATE_CONSTANT},
	{"poisson", GENERATE_POISSON},
	{"bursty", GENERATE_BURSTY},
	{"bimodal", GENERATE_BIMODAL},
	{"pareto", GENERATE_PARETO},
	{"tick", GENERATE_TICK},
	{NULL, 0},
};

#define AT(member) offsetof(struct generate, member)
#define KIND                                                                         \
	{                                                                            \
		.name = "kind", .type = OPT_WORD, .offset = AT(kind), .words = kinds \
	}
#define TIME(key, member)                                                                        \
	{                                                                                        \
		.name = key, .type = OPT_TIME, .offset = AT(member), .min = 1, .max = LONGEST_NS \
	}
#define PERCENT(key, member)                                                   \
	{                                                                      \
		.name = key, .type = OPT_U32, .offset = AT(member), .max = 100 \
	}

static const struct opt_field constant_keys[] = {
	KIND, TIME("gap", gap_ns), PERCENT("jitter", jitter), {.name = NULL}};
static const struct opt_field poisson_keys[] = {KIND, TIME("mean", mean_ns), {.name = NULL}};
static const struct opt_field bursty_keys[] = {
	KIND,
	TIME("gap", gap_ns),
	TIME("pause", pause_ns),
	{.name = "burst", .type = OPT_U32, .offset = AT(burst), .min = 1, .max = 1000000},
	{.name = NULL}};
static const struct opt_field bimodal_keys[] = {KIND,
						TIME("a", a_ns),
						TIME("b", b_ns),
						PERCENT("share", share),
						PERCENT("jitter", jitter),
						{.name = NULL}};
static const struct opt_field pareto_keys[] = {
	KIND,
	TIME("min", min_ns),
	TIME("max", max_ns),
	{.name = "alpha", .type = OPT_REAL, .offset = AT(alpha), .max = 100},
	{.name = NULL}};
static const struct opt_field tick_keys[] = {
	KIND, TIME("period", period_ns), TIME("net", net_ns), {.name = NULL}};

static const struct opt_field *const keys_of[] = {
	[GENERATE_CONSTANT] = constant_keys, [GENERATE_POISSON] = poisson_keys,
	[GENERATE_BURSTY] = bursty_keys,     [GENERATE_BIMODAL] = bimodal_keys,
	[GENERATE_PARETO] = pareto_keys,     [GENERATE_TICK] = tick_keys,
};

int generate_parse(struct opts *o, const struct opt_arg *arg, struct generate *g)
{
	static const struct opt_field kind_only = KIND;
	struct opt_arg kind = {.option = arg->option, .key = "kind"};

	/* The kind comes first, since it decides which keys there are. */
	kind.text = opt_first(o, arg, "kind");
	if (!kind.text)
		return -EINVAL;
	*g = (struct generate){
		.gap_ns = 100000,
		.mean_ns = 100000,
		.pause_ns = 2000000,
		.burst = 20,
		.a_ns = 20000,
		.b_ns = 1000000,
		.share = 50,
		.min_ns = 10000,
		.max_ns = UINT64_C(10000000000),
		.alpha = 1.5,
		.period_ns = 4000000,
		.net_ns = 500000,
	};
	if (opt_value(o, &kind, &kind_only, &g->kind))
		return -EINVAL;
	/* Within a burst the halts are short, between the peaks of bimodal each is spread a
	 * little. */
	if (g->kind == GENERATE_BURSTY)
		g->gap_ns = 20000;
	if (g->kind == GENERATE_BIMODAL)
		g->jitter = 10;
	if (opt_keys(o, arg, keys_of[g->kind], g))
		return -EINVAL;
	if (g->kind == GENERATE_PARETO && g->alpha < 0.1)
		return opt_fail(o, arg, "has an alpha out of range: expected 0.1 to 100");
	if (g->kind == GENERATE_PARETO && g->min_ns > g->max_ns)
		return opt_fail(o, arg, "has a min above its max");
	return 0;
}
