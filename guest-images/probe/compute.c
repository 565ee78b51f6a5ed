/* SPDX-License-Identifier: Apache-2.0 */
/* A processor that computes: compute_enter in hot.S has the loop. */
#include "compute.h"
#include "layout.h"
#include "user.h"

#include <stddef.h>

void compute_run(uint32_t index, const struct compute_regs *regs)
{
	struct user_segments s;

	user_segments_load(&s);
	compute_enter(&s.tss.rsp[0], (volatile uint64_t *)(uintptr_t)PROGRESS + index, regs);
}
