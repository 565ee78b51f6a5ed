/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures the cost of one decision of policy adaptive: begin and end of halts whose lengths are
 * drawn at random over the whole range, so that every path is in it. Prints numbers; neither passes
 * nor fails.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <catnap/poll.h>

#define HALTS 4000000
#define DRAWN 65536

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void measure(uint32_t kind, uint32_t price_ns, const char *name, const uint64_t *lengths)
{
	struct catnap_halt_poll params;
	struct catnap_policy *p = NULL;
	uint64_t windows = 0;
	double began;

	catnap_halt_poll_init(&params);
	params.policy = kind;
	params.max_ns = CATNAP_ADAPTIVE_MAX_NS;
	params.price_ns = price_ns;
	if (catnap_policy_create(&params, &p) < 0)
		exit(1);
	began = now_ns();
	for (int i = 0; i < HALTS; i++) {
		uint64_t window = catnap_policy_begin(p, true);
		struct catnap_halt h = {
			.halt_ns = lengths[i % DRAWN], .valid = true, .allowed = true};

		h.waited = h.halt_ns > window;
		catnap_policy_end(p, &h);
		windows += window;
	}
	printf("%s, price %u us: %.1f ns a halt (mean window %.1f us)\n", name, price_ns / 1000,
	       (now_ns() - began) / HALTS, (double)windows / HALTS / 1000);
	catnap_policy_destroy(&p);
}

int main(void)
{
	static uint64_t lengths[DRAWN];
	uint64_t state = 88172645463325252u;

	/* Even over the octaves from 1 us to 4 ms. */
	for (int i = 0; i < DRAWN; i++) {
		unsigned int octave = 10 + (unsigned int)(next(&state) % 12);

		lengths[i] = (UINT64_C(1) << octave) + next(&state) % (UINT64_C(1) << octave);
	}
	measure(CATNAP_POLICY_KERNEL, 50000, "kernel", lengths);
	measure(CATNAP_POLICY_ADAPTIVE, 10000, "adaptive", lengths);
	measure(CATNAP_POLICY_ADAPTIVE, 50000, "adaptive", lengths);
	measure(CATNAP_POLICY_ADAPTIVE, 200000, "adaptive", lengths);
	for (int i = 0; i < DRAWN; i++)
		lengths[i] = 20000;
	measure(CATNAP_POLICY_ADAPTIVE, 50000, "adaptive, all halts alike", lengths);
	return 0;
}
