/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures what the lead of sleeps with a deadline (src/poll/lead.h) is worth: how late they end,
 * and what that costs their thread, with it and without it, in turn. Needs no virtual machine.
 *
 * Usage: bench_lead [--json] [SAMPLES [ROUNDS]]     100 of each, 5 rounds
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "poll/halter.h"

#define MOST   100000
#define WARMUP 600

static const uint64_t gaps_ns[] = {200000, 1000000, 4000000};
#define GAPS (sizeof(gaps_ns) / sizeof(gaps_ns[0]))

static const struct {
	uint32_t policy;
	const char *name;
} policies[] = {{CATNAP_POLICY_ADAPTIVE, "adaptive"}, {CATNAP_POLICY_OFF, "off"}};
#define POLICIES (sizeof(policies) / sizeof(policies[0]))

/* One policy at one gap, with the lead or without. */
struct cell {
	struct catnap_halter halter;
	uint64_t *late_ns;
	size_t n;
	uint64_t cpu_ns;
};

static struct cell cells[POLICIES][GAPS][2];

static void die(const char *what)
{
	fprintf(stderr, "bench_lead: %s\n", what);
	exit(1);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void make(struct cell *c, const struct clock *clock, uint32_t policy, size_t most)
{
	struct catnap_halter_config cfg;

	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = policy;
	c->late_ns = calloc(most, sizeof(*c->late_ns));
	if (!c->late_ns ||
	    halter_init(&c->halter, &cfg, &(struct halter_env){.clock = clock}, NULL) < 0)
		die("out of memory");
}

/* Sleeps until a deadline. Returns by how much that ended late, in ticks. */
static uint64_t sleep_once(struct cell *c, const struct clock *clock, uint64_t gap_ns, int lead)
{
	uint64_t deadline = clock_now(clock) + clock_ns_to_ticks(clock, gap_ns);
	int cause;

	if (!lead)
		c->halter.lead.ticks = 0;
	if (halter_halt(&c->halter, deadline, &cause) < 0)
		die("the halt failed");
	return clock_now(clock) - deadline;
}

/* Has it learn, which takes some hundred sleeps: what it learns is not the gap's. */
static void warm_up(struct cell *c, const struct clock *clock, int lead)
{
	for (int i = 0; i < WARMUP; i++)
		sleep_once(c, clock, gaps_ns[0], lead);
}

static void round_of(struct cell *c, const struct clock *clock, uint64_t gap_ns, int lead,
		     unsigned long samples)
{
	uint64_t begin = cpu_ns();

	for (unsigned long i = 0; i < samples; i++)
		c->late_ns[c->n++] = clock_ticks_to_ns(clock, sleep_once(c, clock, gap_ns, lead));
	c->cpu_ns += cpu_ns() - begin;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void print(struct cell *c, const char *policy, uint64_t gap_ns, int lead, int json,
		  const char *before)
{
	uint64_t p50, p99, each = c->cpu_ns / c->n;

	qsort(c->late_ns, c->n, sizeof(*c->late_ns), by_value);
	p50 = c->late_ns[c->n / 2];
	p99 = c->late_ns[c->n * 99 / 100];
	if (json)
		printf("%s{\"policy\": \"%s\", \"gap_ns\": %llu, \"lead\": %s, \"samples\": %zu, "
		       "\"p50_ns\": %llu, \"p99_ns\": %llu, \"cpu_ns_per_event\": %llu}",
		       before, policy, (unsigned long long)gap_ns, lead ? "true" : "false", c->n,
		       (unsigned long long)p50, (unsigned long long)p99, (unsigned long long)each);
	else
		printf("%-9s %6.1f ms  %-8s %8.2f %8.2f %8.2f\n", policy, (double)gap_ns / 1e6,
		       lead ? "lead" : "no lead", (double)p50 / 1e3, (double)p99 / 1e3,
		       (double)each / 1e3);
}

int main(int argc, char **argv)
{
	int json = argc > 1 && strcmp(argv[1], "--json") == 0;
	unsigned long samples = argc > json + 1 ? strtoul(argv[json + 1], NULL, 10) : 100;
	unsigned long rounds = argc > json + 2 ? strtoul(argv[json + 2], NULL, 10) : 5;
	const char *before = "";
	struct clock clock;

	if (!samples || !rounds || samples > MOST || rounds > MOST / samples)
		die("expected samples and rounds, at most 100000 together");
	clock_init(&clock, 0);
	for (size_t p = 0; p < POLICIES; p++)
		for (size_t g = 0; g < GAPS; g++)
			for (int lead = 0; lead < 2; lead++) {
				make(&cells[p][g][lead], &clock, policies[p].policy,
				     samples * rounds);
				warm_up(&cells[p][g][lead], &clock, lead);
			}
	for (unsigned int r = 0; r < rounds; r++)
		for (size_t p = 0; p < POLICIES; p++)
			for (size_t g = 0; g < GAPS; g++)
				for (int i = 0; i < 2; i++) {
					/* Another one is first in each round. */
					int lead = i ^ (int)(r & 1);

					round_of(&cells[p][g][lead], &clock, gaps_ns[g], lead,
						 samples);
				}
	printf("%s",
	       json ? "{\"runs\": [" : "policy        gap             p50 us      p99   CPU us\n");
	for (size_t p = 0; p < POLICIES; p++)
		for (size_t g = 0; g < GAPS; g++)
			for (int lead = 0; lead < 2; lead++) {
				print(&cells[p][g][lead], policies[p].name, gaps_ns[g], lead, json,
				      before);
				before = ",\n";
				halter_fini(&cells[p][g][lead].halter);
				free(cells[p][g][lead].late_ns);
			}
	if (json)
		puts("]}");
	return 0;
}
