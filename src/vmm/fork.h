/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM belongs to the process that made it. A child of fork(2) has a copy without its threads and
 * without its guest's memory, and shares its descriptors. All that it can do with it is to give it
 * back; whatever else it asks for is refused, so that the parent's VM goes on as it was.
 */
#ifndef VMM_FORK_H
#define VMM_FORK_H

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/filter.h"

struct catnap_vm;

/* Memory that only the process has that made the VM: all zeroes in a child. */
struct vm_own {
	uint32_t here; /* not 0 */
	/* From the start on, unless cfg.sandbox is off. */
	struct sandbox_filter vcpu_filter, io_filter;
};

/* Makes the memory. Returns 0, or -errno if there is none. */
int vm_own_init(struct catnap_vm *vm);
void vm_own_fini(struct catnap_vm *vm);
/* Returns whether this is a child's copy. It costs one load. Any thread. */
bool vm_is_copy(const struct catnap_vm *vm);
/* Returns whether this is a child's copy, with which @what cannot be done. If so there is a
 * sentence, for -EPERM. */
bool vm_in_child(const struct catnap_vm *vm, const char *what);

#endif
