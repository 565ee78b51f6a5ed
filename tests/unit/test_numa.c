/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NUMA nodes: each vCPU and each byte is in one, and SRAT, SLIT and the device tree say so. What
 * cannot be is refused by its name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libfdt.h>

#include <cmocka.h>

#include "vmm/acpi.h"
#include "vmm/devtree.h"
#include "vmm/numa.h"

#define GIB (UINT64_C(1) << 30)

/* The second lies across the hole; the last has no vCPU, the third no memory. */
static const struct catnap_node four[] = {{.vcpus = 0x5, .memory_size = GIB},
					  {.vcpus = 0x2, .memory_size = 4 * GIB, .host_nodes = 2},
					  {.vcpus = 0x8, .distances = {11, 12, 10, 255}},
					  {.memory_size = GIB}};
static const struct memory machine = {
	.regions = {{0, MEMORY_HOLE_START, NULL, 0},
		    {MEMORY_HOLE_END, 3 * GIB, NULL, MEMORY_HOLE_START}},
	.count = 2,
	.size = 6 * GIB,
	.numa = {four, 4},
};

/* Where the nodes' parts are. */
static const struct {
	uint32_t node;
	uint64_t gpa, size;
} parts[] = {{0, 0, GIB}, {1, GIB, 2 * GIB}, {1, 4 * GIB, 2 * GIB}, {3, 6 * GIB, GIB}};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static uint64_t number(const uint8_t *p, unsigned int len)
{
	uint64_t value = 0;

	memcpy(&value, p, len);
	return value;
}

static const uint8_t *table(const struct acpi *a, const char *name, uint32_t *len)
{
	for (unsigned int i = 0; i < a->count; i++)
		if (strcmp(a->tables[i].name, name) == 0) {
			const uint8_t *t = a->bytes + a->tables[i].offset;
			uint8_t sum = 0;

			*len = a->tables[i].len;
			for (uint32_t k = 0; k < *len; k++)
				sum = (uint8_t)(sum + t[k]);
			assert_int_equal(sum, 0);
			assert_int_equal(number(t + 4, 4), *len);
			return t;
		}
	return NULL;
}

static void test_srat(void **state)
{
	static const uint32_t node_of[] = {0, 1, 0, 2};
	const struct acpi_config cfg = {.vcpus = 4, .pci = true, .memory = &machine};
	uint32_t vcpus = 0, memories = 0, len = 0;
	const uint8_t *s;
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	s = table(&a, "SRAT", &len);
	assert_non_null(s);
	assert_int_equal(number(s + 36, 4), 1);
	for (const uint8_t *p = s + 48; p < s + len; p += p[1]) {
		if (p[0] == 0) {
			assert_int_equal(p[1], 16);
			assert_int_equal(p[3], vcpus); /* the APIC id */
			assert_int_equal(p[2], node_of[vcpus]);
			assert_int_equal(number(p + 4, 4), 1);
			vcpus++;
		} else {
			assert_int_equal(p[0], 1);
			assert_int_equal(p[1], 40);
			assert_true(memories < PARTS);
			assert_int_equal(number(p + 2, 4), parts[memories].node);
			assert_int_equal(number(p + 8, 8), parts[memories].gpa);
			assert_int_equal(number(p + 16, 8), parts[memories].size);
			assert_int_equal(number(p + 28, 4), 1);
			memories++;
		}
	}
	assert_int_equal(vcpus, 4);
	assert_int_equal(memories, PARTS);
	/* Name (_PXM, Zero) of the PCI bus. */
	assert_non_null(memmem(a.bytes, a.len, "\x08_PXM\x00", 6));
	acpi_free(&a);
}

static const uint8_t distance[4][4] = {
	{10, 20, 20, 20}, {20, 10, 20, 20}, {11, 12, 10, 255}, {20, 20, 20, 10}};

static void test_slit(void **state)
{
	const struct acpi_config cfg = {.vcpus = 4, .memory = &machine};
	uint32_t len = 0;
	const uint8_t *s;
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	s = table(&a, "SLIT", &len);
	assert_non_null(s);
	assert_int_equal(len, 44 + 16);
	assert_int_equal(number(s + 36, 8), 4);
	assert_memory_equal(s + 44, distance, sizeof(distance));
	acpi_free(&a);
}

static void test_none(void **state)
{
	const struct memory m = {.regions = {{0, 1 << 20, NULL, 0}}, .count = 1, .size = 1 << 20};
	const struct acpi_config cfg = {.vcpus = 4, .memory = &m};
	uint32_t len;
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	assert_null(table(&a, "SRAT", &len));
	assert_null(table(&a, "SLIT", &len));
	acpi_free(&a);
}

/* As many as there can be, with all vCPUs: there is room. */
static void test_most(void **state)
{
	struct catnap_node nodes[CATNAP_MAX_NODES] = {{.vcpus = UINT64_MAX}};
	struct memory m = machine;
	const struct acpi_config cfg = {.vcpus = CATNAP_MAX_VCPUS, .pci = true, .memory = &m};
	const struct devtree_config tree = {.vcpus = CATNAP_MAX_VCPUS, .memory = &m, .cmdline = ""};
	uint32_t len;
	struct acpi a;
	size_t size;
	void *fdt;

	for (int i = 0; i < CATNAP_MAX_NODES; i++)
		nodes[i].memory_size = m.size / CATNAP_MAX_NODES;
	m.numa = (struct numa){nodes, CATNAP_MAX_NODES};
	assert_int_equal(acpi_build(&cfg, &a), 0);
	assert_non_null(table(&a, "SRAT", &len));
	assert_non_null(table(&a, "SLIT", &len));
	acpi_free(&a);
	assert_int_equal(devtree_build(&tree, &fdt, &size), 0);
	free(fdt);
}

static uint32_t cell(const void *fdt, int node, const char *name, int i)
{
	int len = 0;
	const fdt32_t *p = fdt_getprop(fdt, node, name, &len);

	assert_non_null(p);
	assert_true(len >= (i + 1) * 4);
	return fdt32_to_cpu(p[i]);
}

static void test_device_tree(void **state)
{
	const struct devtree_config cfg = {.vcpus = 4, .memory = &machine, .cmdline = ""};
	unsigned int memories = 0;
	int node, map, i = 0;
	size_t len;
	void *fdt;

	assert_int_equal(devtree_build(&cfg, &fdt, &len), 0);
	assert_int_equal(fdt_check_full(fdt, len), 0);
	fdt_for_each_subnode(node, fdt, 0)
	{
		const char *type = fdt_getprop(fdt, node, "device_type", NULL);

		if (!type || strcmp(type, "memory") != 0)
			continue;
		assert_true(memories < PARTS);
		assert_int_equal(cell(fdt, node, "numa-node-id", 0), parts[memories].node);
		assert_int_equal((uint64_t)cell(fdt, node, "reg", 0) << 32 |
					 cell(fdt, node, "reg", 1),
				 parts[memories].gpa);
		assert_int_equal((uint64_t)cell(fdt, node, "reg", 2) << 32 |
					 cell(fdt, node, "reg", 3),
				 parts[memories].size);
		memories++;
	}
	assert_int_equal(memories, PARTS);
	fdt_for_each_subnode(node, fdt, fdt_path_offset(fdt, "/cpus"))
		assert_int_equal(cell(fdt, node, "numa-node-id", 0),
				 numa_node_of(&machine.numa, cell(fdt, node, "reg", 0)));
	map = fdt_node_offset_by_compatible(fdt, -1, "numa-distance-map-v1");
	assert_true(map >= 0);
	for (uint32_t from = 0; from < 4; from++)
		for (uint32_t to = 0; to < 4; to++) {
			assert_int_equal(cell(fdt, map, "distance-matrix", i++), from);
			assert_int_equal(cell(fdt, map, "distance-matrix", i++), to);
			assert_int_equal(cell(fdt, map, "distance-matrix", i++),
					 distance[from][to]);
		}
	free(fdt);
}

static void test_parts(void **state)
{
	const struct numa *n = &machine.numa;
	const struct numa none = {.count = 0};
	struct numa_part p = numa_part_at(n, GIB - 4096, 3 * GIB);

	assert_int_equal(p.node, 0);
	assert_int_equal(p.size, 4096);
	p = numa_part_at(n, GIB, 3 * GIB);
	assert_int_equal(p.node, 1);
	assert_int_equal(p.size, 2 * GIB);
	assert_int_equal(p.host_nodes, 2);
	p = numa_part_at(&none, 5, 105);
	assert_int_equal(p.size, 100);
	assert_int_equal(p.host_nodes, 0);
}

static void test_packages(void **state)
{
	static const struct {
		uint64_t first, second;
		uint32_t vcpus, together;
	} cases[] = {{0xf, 0, 4, 0},	{0x3, 0xc, 4, 2},      {0x5, 0xa, 4, 1}, {0x7, 0x8, 4, 1},
		     {0xf, 0x30, 6, 4}, {0xff, 0xff00, 16, 8}, {0, 0x1, 1, 0}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct catnap_node nodes[] = {{.vcpus = cases[i].first},
						    {.vcpus = cases[i].second}};
		const struct numa n = {nodes, 2};

		assert_int_equal(numa_package_vcpus(&n, cases[i].vcpus), cases[i].together);
	}
}

/* Each spoils a configuration with four vCPUs and these nodes, and is named. */
struct wrong {
	void (*spoil)(struct catnap_vm_config *c, struct catnap_node *n);
	const char *says;
};

#define SPOIL(name, assignment)                                             \
	static void name(struct catnap_vm_config *c, struct catnap_node *n) \
	{                                                                   \
		assignment;                                                 \
	}

SPOIL(many, c->node_count = CATNAP_MAX_NODES + 1)
SPOIL(nowhere, c->nodes = NULL)
SPOIL(mptable, c->hw = CATNAP_HW_MPTABLE)
SPOIL(not_there, n[0].vcpus |= 0x10)
SPOIL(twice, n[0].vcpus |= 0x2)
SPOIL(forgotten, n[0].vcpus = 0x1)
SPOIL(empty, (n[0].vcpus |= 0x8, n[2].vcpus = 0))
SPOIL(too_much, n[3].memory_size += 4096)
SPOIL(overflow, n[1].memory_size = UINT64_MAX & ~UINT64_C(4095))
SPOIL(too_little, n[3].memory_size -= 4096)
SPOIL(odd, n[0].memory_size += 1)
SPOIL(odd_page, (n[0].memory_size += 4096, c->memory_pages = CATNAP_PAGES_2M))
SPOIL(bound_to_nothing, n[2].host_nodes = 1)
SPOIL(far_from_home, n[2].distances[2] = 11)
SPOIL(too_near, n[2].distances[0] = 10)
SPOIL(no_distance, n[2].distances[3] = 0)
SPOIL(one_more, n[2].distances[4] = 20)

static const struct wrong wrongs[] = {
	{many, "nodes: expected an array of at most 16"},
	{nowhere, "nodes: expected an array"},
	{mptable, "nodes: an MP table"},
	{not_there, "node 0: vCPU 4: there are 4"},
	{twice, "node 1: vCPU 1 is another node's already"},
	{forgotten, "vCPU 2 is in none"},
	{empty, "node 2: has neither"},
	{too_much, "node 3: memory_size: 1073745920 bytes: expected at most 1073741824"},
	{overflow, "node 1: memory_size: "},
	{too_little, "4096 bytes of memory are in none"},
	{odd, "node 0: memory_size: 1073741825 bytes: expected a multiple"},
	{odd_page, "its pages, 2097152"},
	{bound_to_nothing, "node 2: host_nodes: "},
	{far_from_home, "node 2: distances: 11 to itself: expected 10"},
	{too_near, "node 2: distances: 10 to node 0: expected 11"},
	{no_distance, "node 2: distances: 0 to node 3"},
	{one_more, "node 2: distances: there is no node 4"},
};

static void test_wrong(void **state)
{
	for (size_t i = 0; i <= sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct catnap_node nodes[CATNAP_MAX_NODES] = {four[0], four[1], four[2], four[3]};
		struct catnap_vm_config cfg = {
			.vcpus = 4, .memory_size = 6 * GIB, .nodes = nodes, .node_count = 4};
		struct error err = {.text = ""};

		if (i == sizeof(wrongs) / sizeof(wrongs[0])) {
			assert_int_equal(numa_check(&cfg, &err), 0);
			break;
		}
		wrongs[i].spoil(&cfg, nodes);
		assert_int_equal(numa_check(&cfg, &err), -22);
		if (!strstr(err.text, wrongs[i].says))
			fail_msg("%s: \"%s\"", wrongs[i].says, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_srat),	    cmocka_unit_test(test_slit),
		cmocka_unit_test(test_none),	    cmocka_unit_test(test_most),
		cmocka_unit_test(test_device_tree), cmocka_unit_test(test_parts),
		cmocka_unit_test(test_packages),    cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
