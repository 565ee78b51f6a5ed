/* SPDX-License-Identifier: Apache-2.0 */
/* See numa.h. */
#include <errno.h>
#include <string.h>

#include "vmm/memory_map.h"
#include "vmm/numa.h"

/* ACPI 6.5, 5.2.17. */
#define DISTANCE_HOME 10
#define DISTANCE_AWAY 20

_Static_assert(CATNAP_MAX_VCPUS <= 64, "a node's vCPUs are bits of one word");

static bool has_distances(const struct catnap_node *n)
{
	static const uint8_t none[CATNAP_MAX_NODES];

	return memcmp(n->distances, none, sizeof(none)) != 0;
}

static int check_distances(const struct catnap_vm_config *cfg, uint32_t i, struct error *err)
{
	const struct catnap_node *n = &cfg->nodes[i];

	for (uint32_t k = 0; k < CATNAP_MAX_NODES && has_distances(n); k++) {
		const uint8_t d = n->distances[k];

		if (k >= cfg->node_count && d)
			return error_fail(err, -EINVAL,
					  "nodes: node %u: distances: there is no node %u", i, k);
		if (k == i && d != DISTANCE_HOME)
			return error_fail(err, -EINVAL,
					  "nodes: node %u: distances: %u to itself: expected %d", i,
					  d, DISTANCE_HOME);
		if (k < cfg->node_count && k != i && d <= DISTANCE_HOME)
			return error_fail(err, -EINVAL,
					  "nodes: node %u: distances: %u to node %u: expected %d "
					  "to 255",
					  i, d, k, DISTANCE_HOME + 1);
	}
	return 0;
}

static int check_vcpus(const struct catnap_vm_config *cfg, uint32_t i, uint64_t *taken,
		       struct error *err)
{
	const uint64_t all = UINT64_MAX >> (64 - cfg->vcpus), mine = cfg->nodes[i].vcpus;

	if (mine & ~all)
		return error_fail(err, -EINVAL, "nodes: node %u: vCPU %d: there are %u", i,
				  __builtin_ctzll(mine & ~all), cfg->vcpus);
	if (mine & *taken)
		return error_fail(err, -EINVAL, "nodes: node %u: vCPU %d is another node's already",
				  i, __builtin_ctzll(mine & *taken));
	*taken |= mine;
	return 0;
}

static int check_memory(const struct catnap_vm_config *cfg, uint32_t i, uint64_t *left,
			struct error *err)
{
	const struct catnap_node *n = &cfg->nodes[i];
	const uint64_t page = memory_page_size(cfg->memory_pages);

	if (n->memory_size % page)
		return error_fail(err, -EINVAL,
				  "nodes: node %u: memory_size: %llu bytes: expected a multiple of "
				  "its pages, %llu",
				  i, (unsigned long long)n->memory_size, (unsigned long long)page);
	if (n->memory_size > *left)
		return error_fail(err, -EINVAL,
				  "nodes: node %u: memory_size: %llu bytes: expected at most %llu, "
				  "what those before leave of the VM's",
				  i, (unsigned long long)n->memory_size, (unsigned long long)*left);
	if (!n->memory_size && !n->vcpus)
		return error_fail(err, -EINVAL, "nodes: node %u: has neither vCPUs nor memory", i);
	if (!n->memory_size && n->host_nodes)
		return error_fail(err, -EINVAL,
				  "nodes: node %u: host_nodes: has no effect without memory", i);
	*left -= n->memory_size;
	return 0;
}

int numa_check(const struct catnap_vm_config *cfg, struct error *err)
{
	uint64_t left = cfg->memory_size, taken = 0, all;
	int ret = 0;

	if (!cfg->node_count)
		return 0;
	if (cfg->node_count > CATNAP_MAX_NODES || !cfg->nodes)
		return error_fail(err, -EINVAL, "nodes: expected an array of at most %d elements",
				  CATNAP_MAX_NODES);
	if (cfg->hw == CATNAP_HW_MPTABLE)
		return error_fail(err, -EINVAL,
				  "nodes: an MP table cannot tell of them: expected hw ACPI or "
				  "FDT");
	for (uint32_t i = 0; i < cfg->node_count && ret == 0; i++) {
		ret = check_vcpus(cfg, i, &taken, err);
		if (ret == 0)
			ret = check_memory(cfg, i, &left, err);
		if (ret == 0)
			ret = check_distances(cfg, i, err);
	}
	if (ret < 0)
		return ret;
	all = UINT64_MAX >> (64 - cfg->vcpus);
	if (taken != all)
		return error_fail(err, -EINVAL, "nodes: vCPU %d is in none",
				  __builtin_ctzll(all & ~taken));
	if (left)
		return error_fail(err, -EINVAL,
				  "nodes: %llu bytes of memory are in none: expected memory_size "
				  "of all together",
				  (unsigned long long)left);
	return 0;
}

struct numa_part numa_part_at(const struct numa *n, uint64_t at, uint64_t end)
{
	uint64_t node_end = 0;

	for (uint32_t i = 0; i < n->count; i++) {
		node_end += n->nodes[i].memory_size;
		if (at < node_end)
			return (struct numa_part){.node = i,
						  .size = (end < node_end ? end : node_end) - at,
						  .host_nodes = n->nodes[i].host_nodes};
	}
	return (struct numa_part){.size = end - at};
}

uint32_t numa_node_of(const struct numa *n, uint32_t vcpu)
{
	for (uint32_t i = 0; i < n->count; i++)
		if (n->nodes[i].vcpus >> vcpu & 1)
			return i;
	return 0;
}

uint8_t numa_distance(const struct numa *n, uint32_t from, uint32_t to)
{
	if (has_distances(&n->nodes[from]))
		return n->nodes[from].distances[to];
	return from == to ? DISTANCE_HOME : DISTANCE_AWAY;
}

/* Returns whether each @size vCPUs, from a multiple of that on, are in one node. */
static bool fits(const struct numa *n, uint32_t vcpus, uint32_t size)
{
	for (uint32_t i = 0; i < vcpus; i++)
		if (numa_node_of(n, i) != numa_node_of(n, i - i % size))
			return false;
	return true;
}

uint32_t numa_package_vcpus(const struct numa *n, uint32_t vcpus)
{
	uint32_t size = 1;

	if (fits(n, vcpus, vcpus))
		return 0;
	while (fits(n, vcpus, size * 2))
		size *= 2;
	return size;
}
