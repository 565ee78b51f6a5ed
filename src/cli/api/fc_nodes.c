/* SPDX-License-Identifier: Apache-2.0 */
/* The member numa_nodes of /machine-config, which is catnap's own: the guest's NUMA nodes. */
#include <errno.h>
#include <string.h>

#include "cli/api/fc_nodes.h"
#include "cli/nodes.h"

#define LAST_BIT 63u
#define FARTHEST 255u
#define HOME	 10u
#define MOST_MIB (UINT64_C(1) << 26) /* 64 TiB, as the library's */

struct node_body {
	uint64_t given;
	struct json_object *vcpus, *host_nodes, *distances;
	uint64_t mem_mib;
};

/* clang-format off */
#define NODE(member) .offset = offsetof(struct node_body, member)

const struct body_field fc_node_members[] = {
	{.name = "vcpus", .type = BODY_ANY, NODE(vcpus)},
	{.name = "mem_size_mib", .type = BODY_U64, NODE(mem_mib), .max = MOST_MIB,
	 .called = "usize"},
	{.name = "host_nodes", .type = BODY_ANY, NODE(host_nodes)},
	{.name = "distances", .type = BODY_ANY, NODE(distances)},
	{NULL},
};
/* clang-format on */

_Static_assert(sizeof(struct node_body) == FC_NODE_SIZE, "what the table of the machine says");

#define WRONG "Machine config error: numa_nodes: "

/* Takes element @i of a list of numbers. Returns false if it is none, or out of range. */
static bool element(struct json_object *list, size_t i, uint64_t min, uint64_t max, uint64_t *n)
{
	struct json_object *o = json_object_array_get_idx(list, i);

	if (!json_object_is_type(o, json_type_int))
		return false;
	/* A negative one is the largest there is. */
	*n = json_object_get_int64(o) < 0 ? UINT64_MAX : json_object_get_uint64(o);
	return *n >= min && *n <= max;
}

/* Takes a list of numbers as bits; NULL: none was given. */
static int take_mask(struct reply *r, const char *name, struct json_object *list, uint64_t *mask)
{
	const bool is = !list || json_object_is_type(list, json_type_array);
	uint64_t n;

	*mask = 0;
	for (size_t i = 0; is && list && i < json_object_array_length(list); i++) {
		if (!element(list, i, 0, LAST_BIT, &n))
			goto bad;
		*mask |= UINT64_C(1) << n;
	}
	if (is)
		return 0;
bad:
	return reply_fault(r, 400, WRONG "%s: expected a list of numbers, 0 to %u.", name,
			   LAST_BIT);
}

static int take_distances(struct reply *r, struct json_object *list, uint8_t *distances)
{
	const bool is = !list || json_object_is_type(list, json_type_array);
	uint64_t n;

	for (size_t i = 0; is && list && i < json_object_array_length(list); i++) {
		if (i == CATNAP_MAX_NODES || !element(list, i, HOME, FARTHEST, &n))
			goto bad;
		distances[i] = (uint8_t)n;
	}
	if (is)
		return 0;
bad:
	return reply_fault(r, 400, WRONG "distances: expected a number for each node, %u to %u.",
			   HOME, FARTHEST);
}

int fc_take_nodes(struct reply *r, const struct body_array *given, struct fc_machine *m)
{
	const struct node_body *b = given->items;

	m->n_nodes = (uint32_t)given->n;
	memset(m->nodes, 0, sizeof(m->nodes));
	for (uint32_t i = 0; i < m->n_nodes; i++) {
		struct catnap_node *n = &m->nodes[i];

		n->memory_size = b[i].mem_mib << FC_MIB_BITS;
		if (take_mask(r, "vcpus", b[i].vcpus, &n->vcpus) < 0 ||
		    take_mask(r, "host_nodes", b[i].host_nodes, &n->host_nodes) < 0 ||
		    take_distances(r, b[i].distances, n->distances) < 0)
			return -EINVAL;
	}
	return 0;
}

int fc_check_nodes(struct reply *r, const struct fc_machine *m)
{
	static const struct nodes_words words = {.cpus = "vcpus",
						 .memory = "mem_size_mib",
						 .host_nodes = "host_nodes",
						 .distances = "distances",
						 .all_memory = "the machine's mem_size_mib"};
	const struct nodes_vm vm = {
		.cpus = (uint32_t)m->vcpus,
		.memory = (m->mem_mib < MOST_MIB ? m->mem_mib : MOST_MIB) << FC_MIB_BITS,
		.pages = m->huge == FC_HUGE_2M ? CATNAP_PAGES_2M : CATNAP_PAGES_HOST};
	char why[256];

	if (nodes_check(m->nodes, m->n_nodes, &vm, &words, why, sizeof(why)) == 0)
		return 0;
	return reply_fault(r, 400, WRONG "%s.", why);
}

static struct json_object *mask_json(uint64_t mask)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int i = 0; list && i <= LAST_BIT; i++)
		if (mask >> i & 1)
			json_object_array_add(list, json_object_new_int((int)i));
	return list;
}

struct json_object *fc_nodes_json(const struct fc_machine *m)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; list && i < m->n_nodes; i++) {
		const struct catnap_node *n = &m->nodes[i];
		struct json_object *o = json_object_new_object(), *row;

		json_object_object_add(o, "vcpus", mask_json(n->vcpus));
		json_object_object_add(o, "mem_size_mib",
				       json_object_new_uint64(n->memory_size >> FC_MIB_BITS));
		if (n->host_nodes)
			json_object_object_add(o, "host_nodes", mask_json(n->host_nodes));
		row = n->distances[0] ? json_object_new_array() : NULL;
		for (uint32_t k = 0; row && k < m->n_nodes; k++)
			json_object_array_add(row, json_object_new_int(n->distances[k]));
		if (row)
			json_object_object_add(o, "distances", row);
		json_object_array_add(list, o);
	}
	return list;
}
