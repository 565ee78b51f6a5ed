/* SPDX-License-Identifier: Apache-2.0 */
/* See nodes.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "cli/nodes.h"
#include "vcpus.h"

#define HOME 10u /* from a node to itself, as ACPI has it */

struct check {
	const struct catnap_node *nodes;
	uint32_t n;
	const struct nodes_vm *vm;
	const struct nodes_words *words;
	char *why;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct check *c, const char *format,
						       ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(c->why, c->size, format, args);
	va_end(args);
	return -EINVAL;
}

static uint64_t all_of(const struct nodes_vm *vm)
{
	return UINT64_MAX >> (64 - vm->cpus);
}

static unsigned long long mega(uint64_t bytes)
{
	return (unsigned long long)(bytes >> 20);
}

static int check_distances(const struct check *c, uint32_t i)
{
	const struct catnap_node *n = &c->nodes[i];
	const char *name = c->words->distances;

	if (!n->distances[0])
		return 0;
	for (uint32_t k = 0; k < CATNAP_MAX_NODES; k++) {
		if ((n->distances[k] != 0) != (k < c->n))
			return wrong(c, "%s: of node %u are not one for each node: expected %u",
				     name, i, c->n);
		if (n->distances[k] && (n->distances[k] == HOME) != (k == i))
			return wrong(c, "%s: \"%u\" from node %u to node %u: expected %s", name,
				     n->distances[k], i, k, k == i ? "10" : "11 to 255");
	}
	return 0;
}

static int check_node(const struct check *c, uint32_t i)
{
	const struct catnap_node *n = &c->nodes[i];
	const struct nodes_words *w = c->words;
	const uint64_t other = n->vcpus & ~all_of(c->vm);
	const uint64_t page = c->vm->pages == CATNAP_PAGES_1G	? UINT64_C(1) << 30
			      : c->vm->pages == CATNAP_PAGES_2M ? UINT64_C(1) << 21
								: 4096;

	if (!n->vcpus && !n->memory_size)
		return wrong(c, "node %u has nothing: expected %s, %s or both", i, w->cpus,
			     w->memory);
	if (other)
		return wrong(c, "%s: there is no vCPU %d: the VM has %s", w->cpus,
			     __builtin_ctzll(other), vcpus_words(c->vm->cpus).text);
	if (n->memory_size % page)
		return wrong(c, "%s: of node %u is no multiple of a page: expected one of %lluK",
			     w->memory, i, (unsigned long long)page >> 10);
	if (n->host_nodes && !n->memory_size)
		return wrong(c, "%s: has no effect without %s", w->host_nodes, w->memory);
	return check_distances(c, i);
}

int nodes_check(const struct catnap_node *nodes, uint32_t n, const struct nodes_vm *vm,
		const struct nodes_words *words, char *why, size_t size)
{
	const struct check c = {nodes, n, vm, words, why, size};
	uint64_t cpus = 0, memory = 0, missing;

	for (uint32_t i = 0; i < n; i++) {
		if (check_node(&c, i))
			return -EINVAL;
		if (cpus & nodes[i].vcpus)
			return wrong(&c, "%s: vCPU %d is in two nodes: expected one", words->cpus,
				     __builtin_ctzll(cpus & nodes[i].vcpus));
		cpus |= nodes[i].vcpus;
		memory += nodes[i].memory_size;
	}
	missing = n ? all_of(vm) & ~cpus : 0;
	if (missing)
		return wrong(&c, "%s: vCPU %d is in no node: expected one", words->cpus,
			     __builtin_ctzll(missing));
	if (n && memory != vm->memory)
		return wrong(&c, "%s: the nodes have %lluM together: expected %lluM, all of %s",
			     words->memory, mega(memory), mega(vm->memory), words->all_memory);
	return 0;
}
