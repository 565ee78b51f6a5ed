/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy `kernel`: the rule of Linux's kvm_vcpu_halt() to the letter, odd corners included. These
 * are u32 arithmetic that wraps, a cap that is applied on entry only, and each parameter read at
 * the moment the rule needs it. The tests hold it against an independent one.
 */
#include "poll/policy_kind.h"
#include "relaxed.h"

static uint64_t kernel_begin(struct catnap_policy *p, const struct policy_query *q)
{
	uint32_t max = relaxed_load(&p->params.max_ns);
	uint32_t window = relaxed_load(&p->window_ns);

	/* Also when polling is not allowed: only the learning at the end depends on that. */
	if (window > max) {
		window = max;
		relaxed_store(&p->window_ns, window);
	}
	return q->allowed ? window : 0;
}

static uint32_t kernel_grow(const struct policy_params *params, uint32_t window)
{
	uint32_t start = relaxed_load(&params->grow_start_ns);
	uint32_t grow = relaxed_load(&params->grow);
	uint32_t grown;

	if (grow == 0)
		return window;
	grown = window * grow; /* wraps, as the kernel's unsigned int does */
	return grown < start ? start : grown;
}

static uint32_t kernel_shrink(const struct policy_params *params, uint32_t window)
{
	uint32_t shrink = relaxed_load(&params->shrink);
	uint32_t start = relaxed_load(&params->grow_start_ns);
	uint32_t shrunk = shrink == 0 ? 0 : window / shrink;

	return shrunk < start ? 0 : shrunk;
}

static void kernel_end(struct catnap_policy *p, const struct catnap_halt *h, uint64_t arrival_ns,
		       bool ipi)
{
	uint32_t window = relaxed_load(&p->window_ns);
	uint32_t max;

	if (!h->allowed)
		return;
	max = relaxed_load(&p->params.max_ns); /* again: it may have changed during the halt */
	if (!h->valid)
		window = kernel_shrink(&p->params, window);
	else if (max == 0)
		window = 0;
	else if (h->halt_ns <= window)
		return;
	else if (window > 0 && h->halt_ns > max)
		window = kernel_shrink(&p->params, window);
	else if (window < max && h->halt_ns < max)
		window = kernel_grow(&p->params, window);
	relaxed_store(&p->window_ns, window);
}

static uint64_t kernel_window(const struct catnap_policy *p)
{
	return relaxed_load(&p->window_ns);
}

const struct policy_ops policy_kernel = {kernel_begin, kernel_end, kernel_window};
