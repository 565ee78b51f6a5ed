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

/* Returns whether KVM has polled for another time than @said, both in ns. */
static bool differs(const struct advise_found *f, double is, double said)
{
	/* A hundredth of a processor is within what halts at either end make of it. */
	return fabs(is - said) > (double)f->lasted_ns / 100 &&
	       (is > ANOTHER_RULE * said || said > ANOTHER_RULE * is);
}

bool advise_another_rule(const struct advise_found *f, const struct advise_vm *vm,
			 const struct advise_tried *t)
{
	const double said = (double)t->cost[ADVISE_LIMITS].polled_ns;
	bool counted, told;
	double windows = (double)advise_vm_told(vm, &told);

	/* On a slow or busy host the count tells of polls that end late, as windows do not. */
	return f->vms->live && differs(f, (double)advise_vm_polled(vm, &counted), said) &&
	       (!told || differs(f, windows, said));
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
