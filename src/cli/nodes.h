/* SPDX-License-Identifier: Apache-2.0 */
/* NUMA nodes of a guest that were given one by one, on the command line or by a request: whether they
 * are one VM's. */
#ifndef CLI_NODES_H
#define CLI_NODES_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/catnap.h>

/* The VM that they are to be of. */
struct nodes_vm {
	uint32_t cpus;
	uint64_t memory;
	int pages; /* enum catnap_pages */
};

/* What a node's members are called by who gave them. */
struct nodes_words {
	const char *cpus, *memory, *host_nodes, *distances;
	const char *all_memory; /* what the VM's memory is called */
};

/* Checks whether @n @nodes are all of the vCPUs and of the memory, each once. 0, or -EINVAL with a
 * sentence in @why. */
int nodes_check(const struct catnap_node *nodes, uint32_t n, const struct nodes_vm *vm,
		const struct nodes_words *words, char *why, size_t size);

#endif
