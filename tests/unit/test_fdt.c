/* SPDX-License-Identifier: Apache-2.0 */
/* The device tree: what arch/x86/kernel/devicetree.c in Linux looks for is there, and right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libfdt.h>

#include <cmocka.h>

#include "vmm/devtree.h"

static uint32_t cell(const void *fdt, int node, const char *name, int i)
{
	int len = 0;
	const fdt32_t *p = fdt_getprop(fdt, node, name, &len);

	assert_non_null(p);
	assert_true(len >= (i + 1) * 4);
	return fdt32_to_cpu(p[i]);
}

static int compatible(const void *fdt, const char *what)
{
	int node = fdt_node_offset_by_compatible(fdt, -1, what);

	assert_true(node >= 0);
	return node;
}

static void *build(uint32_t vcpus, const struct memory *m, const char *cmdline)
{
	const struct devtree_config cfg = {vcpus, m, cmdline, .pci = true};
	void *fdt = NULL;
	size_t len = 0;

	assert_int_equal(devtree_build(&cfg, &fdt, &len), 0);
	assert_int_equal(fdt_check_full(fdt, len), 0);
	assert_int_equal(fdt_totalsize(fdt), len);
	return fdt;
}

static void test_machine(void **state)
{
	const struct memory m = {.regions = {{0, 0xc0000000, NULL},
					     {MEMORY_HOLE_END, 0x140000000, NULL}},
				 .count = 2};
	void *fdt = build(3, &m, "console=ttyS0 one");
	int node, len, n = 0;

	node = fdt_path_offset(fdt, "/chosen");
	assert_string_equal(fdt_getprop(fdt, node, "bootargs", &len), "console=ttyS0 one");
	node = fdt_path_offset(fdt, "/memory@0");
	assert_int_equal(cell(fdt, node, "reg", 3), 0xc0000000);
	assert_int_equal(cell(fdt, node, "reg", 4), 1);
	assert_int_equal(cell(fdt, node, "reg", 5), 0);
	assert_int_equal(cell(fdt, node, "reg", 6), 1);
	assert_int_equal(cell(fdt, node, "reg", 7), 0x40000000);
	node = fdt_path_offset(fdt, "/cpus");
	assert_int_equal(cell(fdt, node, "#address-cells", 0), 1);
	assert_int_equal(cell(fdt, node, "#size-cells", 0), 0);
	for (int c = fdt_first_subnode(fdt, node); c >= 0; c = fdt_next_subnode(fdt, c), n++) {
		assert_string_equal(fdt_getprop(fdt, c, "device_type", &len), "cpu");
		assert_int_equal(cell(fdt, c, "reg", 0), n);
	}
	assert_int_equal(n, 3);
	free(fdt);
}

static void test_interrupts(void **state)
{
	const struct memory m = {.regions = {{0, 1 << 20, NULL}}, .count = 1};
	void *fdt = build(1, &m, "");
	int ioapic = compatible(fdt, "intel,ce4100-ioapic"), node, len;
	const char *console;

	assert_int_equal(cell(fdt, ioapic, "reg", 1), 0xfec00000);
	assert_int_equal(cell(fdt, ioapic, "#interrupt-cells", 0), 2);
	node = compatible(fdt, "intel,ce4100-lapic");
	assert_int_equal(cell(fdt, node, "reg", 1), 0xfee00000);
	node = compatible(fdt, "ns16550a");
	assert_int_equal(cell(fdt, node, "reg", 0), 1);
	assert_int_equal(cell(fdt, node, "reg", 1), 0x3f8);
	assert_int_equal(cell(fdt, node, "interrupts", 0), 4);
	assert_int_equal(cell(fdt, node, "interrupts", 1), 3); /* rising edge */
	assert_int_equal(cell(fdt, 0, "interrupt-parent", 0), fdt_get_phandle(fdt, ioapic));
	/* The console's path leads to it, and its bus is one whose children Linux looks at. */
	console = fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "stdout-path", &len);
	assert_int_equal(fdt_path_offset_namelen(fdt, console, (int)strcspn(console, ":")), node);
	node = fdt_parent_offset(fdt, fdt_parent_offset(fdt, node));
	assert_int_equal(fdt_node_check_compatible(fdt, node, "simple-bus"), 0);
	/* These say that the guest goes on from a snapshot. */
	node = compatible(fdt, "microsoft,vmgenid");
	assert_int_equal(cell(fdt, node, "reg", 1), 0xee000);
	assert_int_equal(cell(fdt, node, "interrupts", 0), 13);
	node = compatible(fdt, "amazon,vmclock");
	assert_int_equal(cell(fdt, node, "reg", 1), 0xef000);
	assert_int_equal(cell(fdt, node, "reg", 3), 0x1000);
	assert_int_equal(cell(fdt, node, "interrupts", 0), 13);
	/* The register that powers it off is where it says. */
	node = compatible(fdt, "syscon-poweroff");
	assert_int_equal(cell(fdt, node, "value", 0), 0x34);
	assert_int_equal(fdt_node_offset_by_phandle(fdt, cell(fdt, node, "regmap", 0)),
			 compatible(fdt, "syscon"));
	free(fdt);
}

static void test_pci(void **state)
{
	static const uint32_t ranges[] = {0x02000000, 0, 0xd0000000, 0, 0xd0000000, 0, 0x10000000};
	const struct memory m = {.regions = {{0, 1 << 20, NULL}}, .count = 1};
	const struct devtree_config without = {1, &m, "", .pci = false};
	void *fdt = build(1, &m, "");
	int node = compatible(fdt, "pci-host-ecam-generic"), len;
	size_t size;

	assert_string_equal(fdt_getprop(fdt, node, "device_type", &len), "pci");
	assert_int_equal(cell(fdt, node, "reg", 1), 0xe0000000);
	assert_int_equal(cell(fdt, node, "reg", 3), 0x100000);
	assert_int_equal(cell(fdt, node, "bus-range", 0), 0);
	assert_int_equal(cell(fdt, node, "bus-range", 1), 0);
	for (int i = 0; i < 7; i++)
		assert_int_equal(cell(fdt, node, "ranges", i), ranges[i]);
	free(fdt);
	assert_int_equal(devtree_build(&without, &fdt, &size), 0);
	assert_true(fdt_node_offset_by_compatible(fdt, -1, "pci-host-ecam-generic") < 0);
	free(fdt);
}

static void test_large(void **state)
{
	const struct memory m = {.regions = {{0, 1 << 20, NULL}}, .count = 1};
	char *cmdline = malloc(100001);
	void *fdt;
	int len;

	memset(cmdline, 'x', 100000);
	cmdline[100000] = '\0';
	fdt = build(64, &m, cmdline);
	assert_string_equal(fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "bootargs", &len),
			    cmdline);
	free(fdt);
	free(cmdline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_pci),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
