/* SPDX-License-Identifier: Apache-2.0 */
/* See log_limit.h. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "devices/log_limit.h"
#include "poll/clock.h"
#include "relaxed.h"

#define EVERY_NS UINT64_C(1000000000)

bool log_limit_pass(struct log_limit *l, char *text, size_t size)
{
	uint64_t now = clock_monotonic_ns(), next = relaxed_load(&l->next);
	uint64_t left_out;
	size_t used;

	if (now < next || !atomic_compare_exchange_strong(&l->next, &next, now + EVERY_NS)) {
		atomic_fetch_add_explicit(&l->left_out, 1, memory_order_relaxed);
		return false;
	}
	left_out = atomic_exchange_explicit(&l->left_out, 0, memory_order_relaxed);
	used = strlen(text);
	if (left_out)
		snprintf(text + used, size - used, " (%" PRIu64 " more were left out before this)",
			 left_out);
	return true;
}
