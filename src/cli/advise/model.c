/* SPDX-License-Identifier: Apache-2.0 */
/* KVM's rule over halts that there were: of each vCPU by itself, as its window is its own. */
#include <catnap/poll.h>

#include "cli/advise/advise.h"

const uint32_t advise_limits[ADVISE_LIMITS] = {0,      5000,   10000,  20000,  30000,
					       50000,  75000,  100000, 150000, 200000,
					       300000, 500000, 1000000};

static void one_halt(struct catnap_policy *p, uint64_t ns, bool valid, struct advise_cost *cost)
{
	struct catnap_halt halt = {.halt_ns = ns, .valid = valid, .allowed = true};
	uint64_t window = catnap_policy_begin(p, true);

	halt.waited = ns > window;
	cost->polled_ns += halt.waited ? window : ns;
	cost->in_vain_ns += halt.waited ? window : 0;
	cost->sleeps += halt.waited;
	cost->found += !halt.waited && window;
	catnap_policy_end(p, &halt);
}

int advise_model(const struct advise_vm *vm, const struct advise_rule *rule, uint64_t price_ns,
		 struct advise_cost *cost)
{
	struct catnap_halt_poll params;
	struct catnap_policy *p;
	int ret;

	*cost = (struct advise_cost){.polled_ns = 0};
	catnap_halt_poll_init(&params);
	params.policy = CATNAP_POLICY_KERNEL;
	params.max_ns = rule->max_ns;
	params.grow = rule->grow;
	params.grow_start_ns = rule->grow_start_ns;
	params.shrink = rule->shrink;
	for (const struct advise_thread *t = vm->threads; t; t = t->next) {
		ret = catnap_policy_create(&params, &p);
		if (ret < 0)
			return ret;
		for (size_t k = 0; k < t->n; k++)
			one_halt(p, t->halts[k] >> 2, t->halts[k] & 1, cost);
		catnap_policy_destroy(&p);
	}
	cost->cost_ns = cost->polled_ns + cost->sleeps * price_ns;
	return 0;
}
