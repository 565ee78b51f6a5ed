/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any sequence of halts, of parameters and of kinds, with changes between a begin and its end: what
 * a policy promises must hold whatever it has learned. The halts are whole ones or what a guest has
 * left of them, as its poll control says, which may change in the middle of one. Each step of the
 * input is two bytes of what to do and their numbers.
 */

#include "fuzz.h"
#include "poll/policy.h"

/* The size of struct catnap_halt_poll in its first version. */
#define HALT_POLL_SIZE_1 24

struct input {
	const uint8_t *data;
	size_t left;
};

static uint64_t take(struct input *in, unsigned int bytes)
{
	return fuzz_take(&in->data, &in->left, bytes);
}

/* Returns what is known of the parameters of a caller whose struct has @given->size bytes. */
static struct catnap_halt_poll known(const struct catnap_halt_poll *given)
{
	struct catnap_halt_poll all;

	catnap_halt_poll_init(&all);
	memcpy(&all, given, given->size < sizeof(all) ? given->size : sizeof(all));
	all.size = sizeof(all);
	return all;
}

static bool good(const struct catnap_halt_poll *given)
{
	struct catnap_halt_poll all = known(given);

	for (size_t i = 0; i < sizeof(all.reserved) / sizeof(all.reserved[0]); i++)
		if (all.reserved[i])
			return false;
	return given->size >= HALT_POLL_SIZE_1 && given->policy <= CATNAP_POLICY_ADAPTIVE &&
	       all.bias <= CATNAP_BIAS_POWER && all.cpu_max <= 10000 &&
	       all.spin <= CATNAP_SPIN_MWAITX && !all.reserved32;
}

static void change(struct catnap_policy *p, struct catnap_halt_poll *params, struct input *in)
{
	struct catnap_halt_poll next = *params;
	uint8_t what = (uint8_t)take(in, 1);
	uint64_t before = catnap_policy_window(p);
	int ok;

	if (what & 1)
		next.policy = (uint32_t)take(in, 1) % 7;
	if (what & 2)
		next.max_ns = (uint32_t)take(in, 4);
	if (what & 4)
		next.grow = (uint32_t)take(in, what & 128 ? 4 : 1);
	if (what & 8)
		next.grow_start_ns = (uint32_t)take(in, 4);
	if (what & 16)
		next.shrink = (uint32_t)take(in, what & 128 ? 4 : 1);
	if (what & 32)
		next.size = (uint32_t)take(in, 1);
	if (what & 64) {
		next.bias = (uint32_t)take(in, 1) % 4;
		next.price_ns = (uint32_t)take(in, what & 128 ? 4 : 3);
		next.cpu_max = (uint32_t)take(in, 2) % 10005;
		next.spin = next.cpu_max % 5;
		next.reserved32 = next.bias == 3 && next.cpu_max % 2;
		next.reserved[next.cpu_max % 5] = next.bias == 3;
	}
	ok = catnap_halt_poll_check(&next) == 0;
	check(ok == good(&next));
	check((catnap_policy_set(p, &next) == 0) == ok);
	if (ok)
		*params = known(&next);
	if (!ok)
		check(catnap_policy_window(p) == before);
}

static void check_begin(const struct catnap_policy *p, const struct catnap_halt_poll *params,
			bool allowed, uint64_t poll)
{
	uint64_t window = catnap_policy_window(p);

	switch ((enum catnap_policy_kind)params->policy) {
	case CATNAP_POLICY_OFF:
		check(window == 0);
		break;
	case CATNAP_POLICY_KERNEL:
		check(window <= params->max_ns);
		break;
	case CATNAP_POLICY_FIXED:
		check(window == params->max_ns);
		break;
	case CATNAP_POLICY_ADAPTIVE:
		check(window <= params->max_ns);
		break;
	case CATNAP_POLICY_ALWAYS:
		check(window == CATNAP_WINDOW_FOREVER);
		break;
	}
	check(poll == (allowed ? window : 0));
}

static void check_end(const struct catnap_policy *p, const struct catnap_halt_poll *params,
		      const struct catnap_halt *h, uint64_t before)
{
	uint64_t window = catnap_policy_window(p);

	if (params->policy != CATNAP_POLICY_KERNEL)
		return;
	check(window <= UINT32_MAX);
	if (!h->allowed || (h->valid && params->max_ns && h->halt_ns <= before))
		check(window == before);
	/* The learned window is 0 or at least the start, unless growing by 0 keeps it. */
	if (window != before)
		check(window == 0 || window >= params->grow_start_ns);
	if (!h->valid || h->halt_ns > params->max_ns)
		check(window <= before);
}

/* How many halts of @kind the learner has seen. */
static uint64_t seen(const struct catnap_policy *p, enum policy_halts kind)
{
	uint64_t halts = 0;

	for (int i = 0; i < ADAPTIVE_CONTEXTS; i++)
		halts += p->learners[kind].adaptive.seen[i].halts;
	return halts;
}

/* Checks that the statistics are of the kind that the next halt has. */
static void check_stats(const struct catnap_policy *p, const struct catnap_halt_poll *params)
{
	struct catnap_policy_stats s = {.size = sizeof(s), .context_size = sizeof(s.context[0])};
	uint64_t halts = 0;

	check(catnap_policy_get_stats(p, &s) == 0);
	check(s.policy == params->policy);
	for (uint32_t i = 0; i < s.contexts; i++)
		halts += s.context[i].halts;
	if (params->policy == CATNAP_POLICY_ADAPTIVE)
		check(halts == seen(p, s.after_guest ? POLICY_REMAINDER : POLICY_WHOLE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.data = data, .left = size};
	struct catnap_halt_poll params;
	struct catnap_policy *p = NULL;

	catnap_halt_poll_init(&params);
	check(catnap_policy_create(&params, &p) == 0);
	while (in.left > 0) {
		uint8_t what = (uint8_t)take(&in, 1), control = (uint8_t)take(&in, 1);
		bool allowed = !(what & 1);
		struct policy_query q = {.allowed = allowed, .timer_ns = UINT64_MAX};
		uint64_t poll, before, arrival, other;
		struct catnap_halt h = {.allowed = allowed, .valid = !(what & 2)};

		if (what == 0xff) { /* all that a halter may know */
			q.timer_ns = take(&in, 5);
			q.inflight = (uint32_t)take(&in, 1) & 1;
			q.price_ns = (uint32_t)take(&in, 4);
		}
		policy_set_halts(p, control & 1 ? POLICY_REMAINDER : POLICY_WHOLE);
		poll = policy_begin(p, &q);
		check_begin(p, &params, allowed, poll);
		h.halt_ns = take(&in, what & 4 ? 8 : what & 8 ? 4 : 3);
		if (what & 16) /* right at the window's edge */
			h.halt_ns = poll + (what >> 6) - 1;
		h.waited = h.halt_ns > poll;
		if (what & 32)
			change(p, &params, &in);
		if (control & 2)
			policy_set_halts(p, control & 4 ? POLICY_REMAINDER : POLICY_WHOLE);
		other = seen(p, p->of_halt == POLICY_WHOLE ? POLICY_REMAINDER : POLICY_WHOLE);
		before = catnap_policy_window(p);
		arrival = what == 0xff ? take(&in, 8) : h.halt_ns;
		policy_end(p, &h, arrival, what & 64);
		check_end(p, &params, &h, before);
		check(other ==
		      seen(p, p->of_halt == POLICY_WHOLE ? POLICY_REMAINDER : POLICY_WHOLE));
		if (control & 8)
			check_stats(p, &params);
	}
	catnap_policy_destroy(&p);
	check(!p);
	return 0;
}
