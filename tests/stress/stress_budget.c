/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu-max=5% against an adversary: owners who share a budget, as a VM's vCPUs do, and a thread that
 * reads each one's present window and wakes it a little after that has ended, so that as good as
 * every poll fails. A third party notes every 2 ms how long was polled in vain in sum. Of all
 * seconds, wherever they begin, the worst may have 5.5 per cent of one processor.
 *
 *   stress_budget [--seconds N] [--all]   exit status 1 if there is a worse one
 *
 * That the adversary is one is seen first, without a limit.
 *
 * This can be held on any host, however busy, as no part of it is a matter of time: the samples
 * that make up a second lie within one by the clock that was read before the first and after the
 * last of them; a poll that is preempted does not count meanwhile; and 5.25 per cent is what the
 * budget ever grants. One error is left: a poll is counted when its halt ends, so that each owner
 * may bring one from before the second: the windows are so long that all of them are 0.25 per cent
 * at most.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "poll/halter.h"

#define OWNERS	   4
#define BIT_WAKE   UINT32_C(1)
#define BIT_END	   UINT32_C(2)
#define SECOND	   UINT64_C(1000000000)
#define CPU_MAX	   500 /* 5 per cent */
#define WORST	   (SECOND / 1000 * 55)
#define SAMPLE_NS  2000000
#define SAMPLES	   (1 << 16)
#define DEFEATED   (SECOND / 1000 * 150) /* in a second without a limit: three times 5 per cent */
#define PATIENCE   (60 * SECOND)	 /* for the adversary to be let run on a busy host */
#define CARRIED_NS 2200000		 /* of windows in sum */

struct owner {
	_Alignas(64) _Atomic uint64_t began; /* its halt, ns; 0: it is in none */
	struct catnap_halter *h;
	pthread_t thread;
};

struct sample {
	uint64_t before, after; /* the clock, ns */
	uint64_t fail_ns;
};

struct test {
	struct clock clock;
	struct budget budget;
	struct wake_group group;
	struct owner owners[OWNERS];
	uint32_t count;
	uint64_t random;
	_Atomic bool end; /* of sampling */
	uint32_t n;
	struct sample samples[SAMPLES];
};

/* The conduct of the owners. */
struct conduct {
	const char *name;
	enum catnap_policy_kind policy;
	enum catnap_bias bias;
	bool group;
	bool changing; /* every parameter, all the time */
	uint32_t owners;
};

static void die(const char *what)
{
	fprintf(stderr, "stress_budget: %s\n", what);
	exit(1);
}

static uint32_t below(struct test *t, uint32_t n)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (uint32_t)((t->random >> 32) * n >> 32);
}

static struct catnap_halt_stats stats_of(struct owner *o)
{
	struct catnap_halt_stats s = {.size = sizeof(s)};

	if (catnap_halter_get_stats(o->h, &s) < 0)
		die("no statistics");
	return s;
}

static void *run_owner(void *arg)
{
	struct owner *o = arg;

	for (;;) {
		uint32_t bits = catnap_halter_take(o->h);

		if (bits & BIT_END)
			return NULL;
		atomic_store_explicit(&o->began, clock_monotonic_ns(), memory_order_relaxed);
		if (catnap_halter_halt(o->h, CATNAP_NO_DEADLINE, NULL) < 0)
			die("halt failed");
		atomic_store_explicit(&o->began, 0, memory_order_relaxed);
	}
}

static void *run_sampler(void *arg)
{
	const struct timespec pause = {.tv_nsec = SAMPLE_NS};
	struct test *t = arg;

	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	while (!atomic_load(&t->end) && t->n < SAMPLES) {
		struct sample *s = &t->samples[t->n++];

		s->before = clock_monotonic_ns();
		s->fail_ns = 0;
		for (uint32_t i = 0; i < t->count; i++)
			s->fail_ns += stats_of(&t->owners[i]).halt_poll_fail_ns;
		s->after = clock_monotonic_ns();
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

static struct catnap_halt_poll parameters(const struct conduct *c, uint32_t cpu_max)
{
	struct catnap_halt_poll p;

	catnap_halt_poll_init(&p);
	p.policy = c->policy;
	p.bias = c->bias;
	p.group = c->group;
	p.cpu_max = cpu_max;
	/* As if a sleep were dear here, too: then there are long windows to be had. */
	p.price_ns = 400000;
	/* A poller's halt may bring its own window and those of two that it went on for. */
	if (c->policy == CATNAP_POLICY_ADAPTIVE && !c->group && !c->changing)
		p.max_ns = CARRIED_NS / c->owners < CATNAP_ADAPTIVE_MAX_NS
				   ? (uint32_t)(CARRIED_NS / c->owners)
				   : CATNAP_ADAPTIVE_MAX_NS;
	else if (c->group || c->changing)
		p.max_ns = CARRIED_NS / 3 / OWNERS;
	else
		p.max_ns = CATNAP_KERNEL_MAX_NS;
	return p;
}

static void make(struct test *t, const struct conduct *c, uint32_t cpu_max)
{
	const struct halter_env env = {
		.clock = &t->clock, .budget = &t->budget, .group = &t->group};

	memset(&t->group, 0, sizeof(t->group));
	memset(&t->budget, 0, sizeof(t->budget));
	t->count = c->owners;
	for (uint32_t i = 0; i < t->count; i++) {
		struct owner *o = &t->owners[i];
		struct catnap_halter_config cfg;

		atomic_store(&o->began, 0);
		catnap_halter_config_init(&cfg);
		cfg.halt_poll = parameters(c, cpu_max);
		o->h = aligned_alloc(_Alignof(struct catnap_halter), sizeof(*o->h));
		if (!o->h || halter_init(o->h, &cfg, &env, NULL) < 0)
			die("an owner cannot be made");
		/* Consideration for others would make it easy for the budget. */
		o->h->contention.pause_min = o->h->contention.pause_max = 0;
	}
	for (uint32_t i = 0; i < t->count; i++)
		if (pthread_create(&t->owners[i].thread, NULL, run_owner, &t->owners[i]))
			die("no thread");
}

static void unmake(struct test *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		catnap_halter_wake(t->owners[i].h, BIT_END);
	for (uint32_t i = 0; i < t->count; i++)
		pthread_join(t->owners[i].thread, NULL);
	for (uint32_t i = 0; i < t->count; i++) {
		halter_fini(t->owners[i].h);
		free(t->owners[i].h);
	}
}

/* Wakes whoever has waited a little longer than its window; @woken: the halts that it has ended. */
static void torment(struct test *t, uint64_t *woken)
{
	for (uint32_t i = 0; i < t->count; i++) {
		struct owner *o = &t->owners[i];
		uint64_t began = atomic_load_explicit(&o->began, memory_order_relaxed);
		struct catnap_halt_stats s;

		if (!began || began == woken[i])
			continue;
		s = stats_of(o);
		if (clock_monotonic_ns() < began + s.window_ns + 2000 + below(t, 10000))
			continue;
		woken[i] = began;
		catnap_halter_wake(o->h, BIT_WAKE);
	}
}

static void change(struct test *t, const struct conduct *c)
{
	static const uint32_t kinds[] = {CATNAP_POLICY_KERNEL, CATNAP_POLICY_FIXED,
					 CATNAP_POLICY_ADAPTIVE};
	struct conduct other = *c;
	struct catnap_halt_poll p;

	other.policy = kinds[below(t, 3)];
	other.bias = below(t, CATNAP_BIAS_POWER + 1);
	other.group = below(t, 2);
	p = parameters(&other, below(t, 2) ? CPU_MAX : 1 + below(t, CPU_MAX));
	p.max_ns = 1 + below(t, p.max_ns);
	if (catnap_halter_set_halt_poll(t->owners[below(t, t->count)].h, &p) < 0)
		die("the parameters cannot be changed");
}

static uint64_t failed(struct test *t)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < t->count; i++)
		sum += stats_of(&t->owners[i]).halt_poll_fail_ns;
	return sum;
}

/* Lets the adversary run without a limit, until a tenth of a second shows that there is something
 * to limit. Returns what that showed, in ns per second. */
static uint64_t defeat(struct test *t, const struct conduct *c)
{
	uint64_t woken[OWNERS] = {0}, start = clock_monotonic_ns(), best = 0;

	make(t, c, 0);
	while (best < DEFEATED && clock_monotonic_ns() - start < PATIENCE) {
		uint64_t begin = clock_monotonic_ns(), before = failed(t), now;

		do {
			torment(t, woken);
			now = clock_monotonic_ns();
		} while (now - begin < SECOND / 10);
		before = (failed(t) - before) * 1000 / ((now - begin) / 1000000);
		best = before > best ? before : best;
	}
	unmake(t);
	return best;
}

/* The most in any second of the samples, and the mean of them all, in ns per second. */
static uint64_t worst_second(const struct test *t, uint64_t *mean)
{
	const struct sample *s = t->samples, *last = &s[t->n - 1];
	uint64_t worst = 0;
	uint32_t k = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		while (k + 1 < t->n && s[k + 1].after - s[i].before <= SECOND)
			k++;
		if (k > i && s[k].fail_ns - s[i].fail_ns > worst)
			worst = s[k].fail_ns - s[i].fail_ns;
	}
	*mean = (last->fail_ns - s->fail_ns) * 1000 / ((last->after - s->before) / 1000000);
	return worst;
}

static bool holds(struct test *t, const struct conduct *c, uint64_t ns)
{
	uint64_t woken[OWNERS] = {0}, free_ns, worst, mean, until, next = 0;
	pthread_t sampler;

	free_ns = defeat(t, c);
	t->n = 0;
	atomic_store(&t->end, false);
	make(t, c, CPU_MAX);
	if (pthread_create(&sampler, NULL, run_sampler, t))
		die("no thread");
	until = clock_monotonic_ns() + ns;
	while (clock_monotonic_ns() < until) {
		torment(t, woken);
		if (c->changing && clock_monotonic_ns() >= next) {
			change(t, c);
			next = clock_monotonic_ns() + below(t, 2000000);
		}
	}
	atomic_store(&t->end, true);
	pthread_join(sampler, NULL);
	unmake(t);
	worst = worst_second(t, &mean);
	printf("%-18s %u owner%s %s: without a limit %5.1f %%; at most %d %%: mean %4.2f %%, worst "
	       "second %4.2f %%\n",
	       c->name, c->owners, c->owners > 1 ? "s" : " ",
	       c->group ? "in a group" : "          ", (double)free_ns / 1e7, CPU_MAX / 100,
	       (double)mean / 1e7, (double)worst / 1e7);
	fflush(stdout);
	if (worst > WORST)
		fprintf(stderr, "stress_budget: that is too much\n");
	if (free_ns < DEFEATED)
		fprintf(stderr, "stress_budget: there is nothing to limit\n");
	return worst <= WORST && free_ns >= DEFEATED;
}

int main(int argc, char **argv)
{
	static const struct conduct conducts[] = {
		{"kernel", CATNAP_POLICY_KERNEL, 0, false, false, 1},
		{"fixed", CATNAP_POLICY_FIXED, 0, false, false, 4},
		{"adaptive,latency", CATNAP_POLICY_ADAPTIVE, CATNAP_BIAS_LATENCY, false, false, 4},
		{"adaptive,balanced", CATNAP_POLICY_ADAPTIVE, CATNAP_BIAS_BALANCED, false, false,
		 2},
		{"adaptive,power", CATNAP_POLICY_ADAPTIVE, CATNAP_BIAS_POWER, false, false, 3},
		{"adaptive,latency", CATNAP_POLICY_ADAPTIVE, CATNAP_BIAS_LATENCY, true, false, 4},
		{"changing", CATNAP_POLICY_FIXED, 0, false, true, 4},
	};
	static struct test t;
	uint64_t ns = SECOND + SECOND / 10;
	bool all = false, ok = true;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--all") == 0)
			all = true;
		else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
			ns = strtoull(argv[++i], NULL, 10) * SECOND;
		else
			die("expected --seconds N, --all");
	}
	if (ns < SECOND || ns / SAMPLE_NS > SAMPLES)
		die("so many seconds cannot be");
	clock_init(&t.clock, 0);
	t.random = clock_monotonic_ns() | 1;
	for (size_t i = 0; i < sizeof(conducts) / sizeof(conducts[0]); i++) {
		struct conduct c = conducts[i];

		for (uint32_t n = 1; all && n <= OWNERS; n++) {
			c.owners = n;
			ok &= holds(&t, &c, ns);
		}
		if (!all)
			ok &= holds(&t, &c, ns);
	}
	return ok ? 0 : 1;
}
