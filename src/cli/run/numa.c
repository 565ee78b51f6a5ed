/* SPDX-License-Identifier: Apache-2.0 */
/* --numa: the guest's nodes, one option each. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/nodes.h"
#include "cli/run/run.h"

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

int run_check_numa(struct opts *o, const struct run_cfg *cfg)
{
	static const struct nodes_words words = {.cpus = "cpus",
						 .memory = "memory",
						 .host_nodes = "host-nodes",
						 .distances = "distances",
						 .all_memory = "--memory"};
	const struct nodes_vm vm = {
		.cpus = cfg->cpus, .memory = cfg->memory, .pages = cfg->memory_pages};
	char why[256];

	if (cfg->n_nodes && cfg->hw == CATNAP_HW_MPTABLE)
		return opts_fail(o, "--numa: an MP table cannot tell of nodes: expected --hw acpi "
				    "or fdt");
	return nodes_check(cfg->nodes, cfg->n_nodes, &vm, &words, why, sizeof(why)) < 0
		       ? opts_fail(o, "--numa: %s", why)
		       : 0;
}
