/* SPDX-License-Identifier: Apache-2.0 */
/* --numa: the guest's nodes, one option each. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run/run.h"
#include "vcpus.h"

#define BITS	  64u
#define HOME	  10u
#define AWAY_LAST 255u

int run_parse_mask(struct opts *o, const struct opt_arg *arg, const char *what, uint64_t *mask)
{
	const char *c = arg->text;

	*mask = 0;
	do {
		unsigned long first, last;
		char *end;

		if (*c < '0' || *c > '9')
			goto bad;
		first = last = strtoul(c, &end, 10);
		if (*end == '-' && end[1] >= '0' && end[1] <= '9')
			last = strtoul(end + 1, &end, 10);
		if ((*end && *end != ':') || last < first || last >= BITS)
			goto bad;
		for (; first <= last; first++)
			*mask |= UINT64_C(1) << first;
		c = *end ? end + 1 : end;
	} while (*c || c[-1] == ':');
	return 0;
bad:
	return opt_fail(o, arg, "is not a list of %s: expected one such as 0-1 or 0:2, up to %u",
			what, BITS - 1);
}

static int set_cpus(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	return run_parse_mask(o, arg, "vCPUs", &((struct catnap_node *)ptr)->vcpus);
}

static int set_host_nodes(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	return run_parse_mask(o, arg, "nodes", &((struct catnap_node *)ptr)->host_nodes);
}

/* Takes a row of the table of distances, such as 10:20. Whether it is as long as there are nodes is
 * known at the end. */
static int set_distances(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct catnap_node *n = ptr;
	const char *c = arg->text;
	unsigned int i = 0;

	memset(n->distances, 0, sizeof(n->distances));
	do {
		unsigned long d;
		char *end;

		if (*c < '0' || *c > '9')
			goto bad;
		d = strtoul(c, &end, 10);
		if ((*end && *end != ':') || d < HOME || d > AWAY_LAST || i == CATNAP_MAX_NODES)
			goto bad;
		n->distances[i++] = (uint8_t)d;
		c = *end ? end + 1 : end;
	} while (*c || c[-1] == ':');
	return 0;
bad:
	return opt_fail(o, arg,
			"is not a list of distances: expected one for each node, such as 10:20, of "
			"%u to %u",
			HOME, AWAY_LAST);
}

#define AT(member) .offset = offsetof(struct catnap_node, member)
/* clang-format off */
const struct opt_field run_numa_keys[] = {
	{.name = "cpus", .type = OPT_CALL, .set = set_cpus},
	{.name = "memory", .type = OPT_SIZE, AT(memory_size), .min = 4096, .max = UINT64_C(1) << 46},
	{.name = "host-nodes", .type = OPT_CALL, .set = set_host_nodes},
	{.name = "distances", .type = OPT_CALL, .set = set_distances},
	{.name = NULL},
};
/* clang-format on */
#undef AT

int run_set_numa(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	struct catnap_node n = {.vcpus = 0};

	if (cfg->n_nodes == CATNAP_MAX_NODES)
		return opts_fail(o, "--numa: too many nodes: expected at most %d",
				 CATNAP_MAX_NODES);
	if (opt_keys(o, arg, run_numa_keys, &n))
		return -EINVAL;
	cfg->nodes[cfg->n_nodes++] = n;
	return 0;
}

static unsigned long long mega(uint64_t bytes)
{
	return (unsigned long long)(bytes >> 20);
}

/* Checks one node by itself. */
static int check_node(struct opts *o, const struct run_cfg *cfg, uint32_t i)
{
	const struct catnap_node *n = &cfg->nodes[i];
	const uint64_t all = UINT64_MAX >> (64 - cfg->cpus);
	const uint64_t page = cfg->memory_pages == CATNAP_PAGES_1G   ? UINT64_C(1) << 30
			      : cfg->memory_pages == CATNAP_PAGES_2M ? UINT64_C(1) << 21
								     : 4096;

	if (!n->vcpus && !n->memory_size)
		return opts_fail(o, "--numa: node %u has nothing: expected cpus, memory or both",
				 i);
	if (n->vcpus & ~all)
		return opts_fail(o, "--numa: cpus: there is no vCPU %d: the VM has %s",
				 __builtin_ctzll(n->vcpus & ~all), vcpus_words(cfg->cpus).text);
	if (n->memory_size % page)
		return opts_fail(o,
				 "--numa: memory: of node %u is no multiple of a page: expected "
				 "one of %lluK",
				 i, (unsigned long long)page >> 10);
	if (n->host_nodes && !n->memory_size)
		return opts_fail(o, "--numa: host-nodes: has no effect without memory");
	if (!n->distances[0])
		return 0;
	for (uint32_t k = 0; k < CATNAP_MAX_NODES; k++) {
		if ((n->distances[k] != 0) != (k < cfg->n_nodes))
			return opts_fail(o,
					 "--numa: distances: of node %u are not one for each node: "
					 "expected %u",
					 i, cfg->n_nodes);
		if (n->distances[k] && (n->distances[k] == HOME) != (k == i))
			return opts_fail(o,
					 "--numa: distances: \"%u\" from node %u to node %u: "
					 "expected %s",
					 n->distances[k], i, k, k == i ? "10" : "11 to 255");
	}
	return 0;
}

int run_check_numa(struct opts *o, const struct run_cfg *cfg)
{
	uint64_t cpus = 0, memory = 0, missing;

	if (!cfg->n_nodes)
		return 0;
	if (cfg->hw == CATNAP_HW_MPTABLE)
		return opts_fail(o, "--numa: an MP table cannot tell of nodes: expected --hw acpi "
				    "or fdt");
	for (uint32_t i = 0; i < cfg->n_nodes; i++) {
		const struct catnap_node *n = &cfg->nodes[i];

		if (check_node(o, cfg, i))
			return -EINVAL;
		if (cpus & n->vcpus)
			return opts_fail(o, "--numa: cpus: vCPU %d is in two nodes: expected one",
					 __builtin_ctzll(cpus & n->vcpus));
		cpus |= n->vcpus;
		memory += n->memory_size;
	}
	missing = (UINT64_MAX >> (64 - cfg->cpus)) & ~cpus;
	if (missing)
		return opts_fail(o, "--numa: cpus: vCPU %d is in no node: expected one",
				 __builtin_ctzll(missing));
	if (memory != cfg->memory)
		return opts_fail(o,
				 "--numa: memory: the nodes have %lluM together: expected %lluM, "
				 "all of --memory",
				 mega(memory), mega(cfg->memory));
	return 0;
}
