/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's NUMA nodes: which vCPUs and which memory are near each other. Memory is given to the
 * nodes in their order, from address 0 on; the hole is no node's.
 */
#ifndef VMM_NUMA_H
#define VMM_NUMA_H

#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>

#include "errors.h"

/* All zeroes: there are none, and the machine is one. */
struct numa {
	const struct catnap_node *nodes;
	uint32_t count;
};

/* A piece of memory that belongs to one node. */
struct numa_part {
	uint32_t node;
	uint64_t size, host_nodes;
};

/* Checks the nodes of a configuration of which vcpus, memory_size and memory_pages are right.
 * Returns 0, or -EINVAL with a sentence. */
int numa_check(const struct catnap_vm_config *cfg, struct error *err);
/* Returns the part that begins at @at and ends at @end or before. Both are places in memory without
 * its hole. Without nodes that is all of it. */
struct numa_part numa_part_at(const struct numa *n, uint64_t at, uint64_t end);
/* Returns the node of a vCPU. */
uint32_t numa_node_of(const struct numa *n, uint32_t vcpu);
/* Returns how far it is from one node to the memory of another: 10 at home. */
uint8_t numa_distance(const struct numa *n, uint32_t from, uint32_t to);
/* Returns how many vCPUs, a power of two, can be a package and have its last cache together, such that
 * no package has vCPUs of two nodes. 0: all. */
uint32_t numa_package_vcpus(const struct numa *n, uint32_t vcpus);

#endif
