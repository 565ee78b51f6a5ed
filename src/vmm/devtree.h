/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as a flattened device tree, for kernels with CONFIG_OF (Linux
 * arch/x86/kernel/devicetree.c). */
#ifndef VMM_DEVTREE_H
#define VMM_DEVTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/mmio.h"
#include "vmm/memory.h"

struct devtree_config {
	uint32_t vcpus;
	const struct memory *memory;
	const char *cmdline;
	bool pci; /* a root bus: devices/pci/bus.h */
	const struct virtio_mmio_place *virtio;
	unsigned int virtio_count;
};

/* Builds the tree. On success *blob, of *len bytes, is the caller's to free. Returns 0, -ENOMEM, or
 * -ENOSPC: more than fits. */
int devtree_build(const struct devtree_config *cfg, void **blob, size_t *len);

#endif
