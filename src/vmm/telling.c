/* SPDX-License-Identifier: Apache-2.0 */
/* See telling.h. */
#include <stddef.h>

#include "vmm/telling.h"

static _Thread_local struct telling *innermost;

void telling_begin(struct telling *t, const struct catnap_vm *vm)
{
	*t = (struct telling){vm, innermost};
	innermost = t;
}

void telling_end(const struct telling *t)
{
	innermost = t->outer;
}

bool telling_runs(const struct catnap_vm *vm)
{
	const struct telling *t = innermost;

	while (t && t->vm != vm)
		t = t->outer;
	return t != NULL;
}

void telling_forget(const struct catnap_vm *vm)
{
	for (struct telling *t = innermost; t; t = t->outer)
		if (t->vm == vm)
			t->vm = NULL;
}
