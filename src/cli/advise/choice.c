/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from the findings: which limit is best, and what KVM would poll with it. */
#include <math.h>

#include "cli/advise/advise.h"

/* It is worth a change if it costs so much less. */
#define WORTH 0.95
/* KVM has polled so many times more, or less, than its rule says: something else decides. */
#define ANOTHER_RULE 2.0

static bool within(const struct advise_found *f, size_t i)
{
	return advise_limits[i] >= f->least_ns && advise_limits[i] <= f->most_ns;
}

size_t advise_best(const struct advise_found *f, const struct advise_tried *t)
{
	size_t best = ADVISE_LIMITS;

	for (size_t i = 0; i < ADVISE_LIMITS; i++)
		if (within(f, i) &&
		    (best == ADVISE_LIMITS || t->cost[i].cost_ns < t->cost[best].cost_ns))
			best = i;
	return best;
}

bool advise_worth(const struct advise_found *f, const struct advise_tried *t)
{
	size_t best = advise_best(f, t);
	const struct advise_cost *now = &t->cost[ADVISE_LIMITS];

	return best < ADVISE_LIMITS && advise_limits[best] != f->rule.max_ns &&
	       (double)t->cost[best].cost_ns < WORTH * (double)now->cost_ns;
}

bool advise_another_rule(const struct advise_found *f, const struct advise_vm *vm,
			 const struct advise_tried *t)
{
	double said = (double)t->cost[ADVISE_LIMITS].polled_ns, is;
	bool counted;

	is = (double)advise_vm_polled(vm, &counted);
	/* A hundredth of a processor is within what halts at either end make of it. */
	return f->vms->live && fabs(is - said) > (double)f->lasted_ns / 100 &&
	       (is > ANOTHER_RULE * said || said > ANOTHER_RULE * is);
}

uint64_t advise_polled(const struct advise_found *f)
{
	uint64_t ns = 0;
	bool counted;

	for (size_t i = 0; i < f->vms->n; i++)
		ns += advise_vm_polled(&f->vms->v[i], &counted);
	return ns;
}

/* Of one process. */
static double expected(const struct advise_found *f, const struct advise_vm *vm,
		       const struct advise_tried *t, size_t limit)
{
	const double said = (double)t->cost[ADVISE_LIMITS].polled_ns;
	const double then = (double)t->cost[limit].polled_ns;
	bool counted;
	double is = (double)advise_vm_polled(vm, &counted);

	if (advise_another_rule(f, vm, t))
		return is;
	return said > 0 ? is * then / said : then;
}

uint64_t advise_expected(const struct advise_found *f, size_t limit)
{
	double ns = 0;

	for (size_t i = 0; i < f->vms->n; i++)
		ns += expected(f, &f->vms->v[i], &f->vm[i], limit);
	return (uint64_t)ns;
}
