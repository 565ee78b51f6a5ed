/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device tree, written with libfdt. x86 Linux finds its APICs by the compatible strings of the
 * Intel CE4100, its interrupts' second cell is an index (0 falling edge, 1 high level, 2 low level,
 * 3 rising edge), and the buses whose children become devices are "isa" and "intel,ce4100-cp".
 */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/genid.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/pci/bus.h"
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "vmm/devtree.h"

#define TREE_SIZE     32768 /* without the command line */
#define PHANDLE_PINS  1	    /* the I/O APIC */
#define PHANDLE_POWER 2
#define EDGE_RISING   3
#define PCI_MEMORY    0x02000000 /* the first cell of a PCI address: memory of 32 bits */
#define ISA_IO	      1		 /* the first cell of an ISA address: I/O space */

/* The first error stays: looked at once, at the end. */
struct tree {
	void *fdt;
	int error;
};

static void note(struct tree *t, int ret)
{
	if (ret < 0 && !t->error)
		t->error = ret;
}

static void begin(struct tree *t, const char *name)
{
	note(t, fdt_begin_node(t->fdt, name));
}

static void begin_at(struct tree *t, const char *name, uint64_t address)
{
	char full[64];

	snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)address);
	begin(t, full);
}

static void end(struct tree *t)
{
	note(t, fdt_end_node(t->fdt));
}

static void empty(struct tree *t, const char *name)
{
	note(t, fdt_property(t->fdt, name, NULL, 0));
}

static void string(struct tree *t, const char *name, const char *value)
{
	note(t, fdt_property_string(t->fdt, name, value));
}

static void cells(struct tree *t, const char *name, const uint32_t *values, unsigned int n)
{
	uint32_t big[16];

	for (unsigned int i = 0; i < n; i++)
		big[i] = cpu_to_fdt32(values[i]);
	note(t, fdt_property(t->fdt, name, big, (int)(n * sizeof(big[0]))));
}

#define CELLS(t, name, ...)                                              \
	do {                                                             \
		const uint32_t list_[] = {__VA_ARGS__};                  \
		_Static_assert(sizeof(list_) <= 64, "cells() takes 16"); \
		cells(t, name, list_, sizeof(list_) / sizeof(list_[0])); \
	} while (0)

static uint32_t high(uint64_t v)
{
	return (uint32_t)(v >> 32);
}

static void reg64(struct tree *t, uint64_t base, uint64_t size)
{
	CELLS(t, "reg", high(base), (uint32_t)base, high(size), (uint32_t)size);
}

static void processors(struct tree *t, uint32_t n, const struct numa *numa)
{
	begin(t, "cpus");
	CELLS(t, "#address-cells", 1);
	CELLS(t, "#size-cells", 0);
	for (uint32_t i = 0; i < n; i++) {
		begin_at(t, "cpu", i);
		string(t, "device_type", "cpu");
		string(t, "compatible", "intel,ce4100");
		CELLS(t, "reg", i); /* the APIC id */
		if (numa->count)
			CELLS(t, "numa-node-id", numa_node_of(numa, i));
		end(t);
	}
	end(t);
}

static void memory(struct tree *t, const struct memory *m)
{
	uint32_t reg[4 * MEMORY_REGIONS], n = 0;

	for (unsigned int i = 0; i < m->count; i++) {
		reg[n++] = high(m->regions[i].gpa);
		reg[n++] = (uint32_t)m->regions[i].gpa;
		reg[n++] = high(m->regions[i].size);
		reg[n++] = (uint32_t)m->regions[i].size;
	}
	begin_at(t, "memory", 0);
	string(t, "device_type", "memory");
	cells(t, "reg", reg, n);
	end(t);
}

/* Adds memory as a device for each node's part, as Linux's of_numa.c reads it. */
static void memory_of_nodes(struct tree *t, const struct memory *m)
{
	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];
		struct numa_part part;

		for (uint64_t at = r->at; at < r->at + r->size; at += part.size) {
			part = numa_part_at(&m->numa, at, r->at + r->size);
			begin_at(t, "memory", r->gpa + (at - r->at));
			string(t, "device_type", "memory");
			reg64(t, r->gpa + (at - r->at), part.size);
			CELLS(t, "numa-node-id", part.node);
			end(t);
		}
	}
}

/* Adds how far the nodes are from each other: from, to, distance. */
static void distances(struct tree *t, const struct numa *n)
{
	uint32_t matrix[CATNAP_MAX_NODES * CATNAP_MAX_NODES * 3], *p = matrix;

	for (uint32_t from = 0; from < n->count; from++)
		for (uint32_t to = 0; to < n->count; to++) {
			*p++ = cpu_to_fdt32(from);
			*p++ = cpu_to_fdt32(to);
			*p++ = cpu_to_fdt32(numa_distance(n, from, to));
		}
	begin(t, "distance-map");
	string(t, "compatible", "numa-distance-map-v1");
	note(t, fdt_property(t->fdt, "distance-matrix", matrix,
			     (int)((size_t)(p - matrix) * sizeof(*p))));
	end(t);
}

static void interrupt_controllers(struct tree *t)
{
	begin_at(t, "interrupt-controller", IOAPIC_MMIO_BASE);
	string(t, "compatible", "intel,ce4100-ioapic");
	empty(t, "interrupt-controller");
	CELLS(t, "#interrupt-cells", 2);
	CELLS(t, "#address-cells", 0);
	reg64(t, IOAPIC_MMIO_BASE, IOAPIC_MMIO_SIZE);
	CELLS(t, "phandle", PHANDLE_PINS);
	end(t);

	begin_at(t, "local-apic", LAPIC_MMIO_BASE);
	string(t, "compatible", "intel,ce4100-lapic");
	reg64(t, LAPIC_MMIO_BASE, LAPIC_MMIO_SIZE);
	end(t);
}

/* Adds the registers of power.c and pvpanic.c, by the drivers that Linux has for such things. */
static void power(struct tree *t)
{
	static const char compatible[] = "catnap,power\0syscon";

	begin_at(t, "power", POWER_MMIO_BASE);
	note(t, fdt_property(t->fdt, "compatible", compatible, sizeof(compatible)));
	reg64(t, POWER_MMIO_BASE, 8);
	CELLS(t, "phandle", PHANDLE_POWER);
	end(t);

	begin_at(t, "pvpanic", PVPANIC_MMIO_BASE);
	string(t, "compatible", "qemu,pvpanic-mmio");
	reg64(t, PVPANIC_MMIO_BASE, PVPANIC_MMIO_SIZE);
	end(t);
}

/* Adds devices/genid.h, by the drivers that Linux has. */
static void generation(struct tree *t)
{
	begin_at(t, "vmgenid", GENID_BASE);
	string(t, "compatible", "microsoft,vmgenid");
	reg64(t, GENID_BASE, GENID_SIZE);
	CELLS(t, "interrupts", GENID_GSI, EDGE_RISING);
	end(t);

	begin_at(t, "vmclock", VMCLOCK_BASE);
	string(t, "compatible", "amazon,vmclock");
	reg64(t, VMCLOCK_BASE, VMCLOCK_SIZE);
	CELLS(t, "interrupts", GENID_GSI, EDGE_RISING);
	end(t);
}

static void poweroff(struct tree *t)
{
	begin(t, "poweroff");
	string(t, "compatible", "syscon-poweroff");
	CELLS(t, "regmap", PHANDLE_POWER);
	CELLS(t, "offset", 0);
	CELLS(t, "value", POWER_S5_CONTROL);
	end(t);
}

static void isa(struct tree *t)
{
	char name[32];

	begin_at(t, "isa", 0);
	string(t, "compatible", "isa");
	CELLS(t, "#address-cells", 2);
	CELLS(t, "#size-cells", 1);
	CELLS(t, "ranges", ISA_IO, 0, 0, 0, 0x10000); /* ports are themselves */
	/* A unit address on ISA: i for I/O, and the port. */
	snprintf(name, sizeof(name), "serial@i%x", SERIAL_COM1_PORT);
	begin(t, name);
	string(t, "device_type", "serial");
	string(t, "compatible", "ns16550a");
	CELLS(t, "reg", ISA_IO, SERIAL_COM1_PORT, SERIAL_PORTS);
	CELLS(t, "interrupts", SERIAL_COM1_IRQ, EDGE_RISING);
	CELLS(t, "clock-frequency", 1843200);
	CELLS(t, "current-speed", 115200);
	end(t);
	end(t);
}

/*
 * Adds the PCI bus. x86 Linux reads the buses of the node of type pci, and finds the rest by the
 * ports. It does not map interrupt pins, so functions have none then (pci.c).
 */
static void pci(struct tree *t)
{
	const uint32_t window = (uint32_t)PCI_WINDOW_BASE;

	begin_at(t, "pcie", PCI_ECAM_BASE);
	string(t, "device_type", "pci");
	string(t, "compatible", "pci-host-ecam-generic");
	reg64(t, PCI_ECAM_BASE, PCI_ECAM_SIZE);
	CELLS(t, "bus-range", 0, 0);
	CELLS(t, "#address-cells", 3);
	CELLS(t, "#size-cells", 2);
	CELLS(t, "ranges", PCI_MEMORY, 0, window, 0, window, 0, (uint32_t)PCI_WINDOW_SIZE);
	end(t);
}

static void virtio(struct tree *t, const struct virtio_mmio_place *place)
{
	begin_at(t, "virtio", place->base);
	string(t, "compatible", "virtio,mmio");
	reg64(t, place->base, VIRTIO_MMIO_SIZE);
	CELLS(t, "interrupts", place->pin, EDGE_RISING);
	end(t);
}

static void root(struct tree *t, const struct devtree_config *cfg)
{
	/* The second is the one whose children Linux makes devices of. */
	static const char bus[] = "intel,ce4100-cp\0simple-bus";
	char console[64];

	begin(t, "");
	string(t, "model", "catnap");
	string(t, "compatible", "catnap,vm");
	CELLS(t, "#address-cells", 2);
	CELLS(t, "#size-cells", 2);
	CELLS(t, "interrupt-parent", PHANDLE_PINS);

	snprintf(console, sizeof(console), "/soc/isa@0/serial@i%x:115200n8", SERIAL_COM1_PORT);
	begin(t, "chosen");
	string(t, "bootargs", cfg->cmdline);
	string(t, "stdout-path", console);
	end(t);

	if (cfg->memory->numa.count) {
		memory_of_nodes(t, cfg->memory);
		distances(t, &cfg->memory->numa);
	} else {
		memory(t, cfg->memory);
	}
	processors(t, cfg->vcpus, &cfg->memory->numa);
	poweroff(t);

	begin(t, "soc");
	note(t, fdt_property(t->fdt, "compatible", bus, sizeof(bus)));
	CELLS(t, "#address-cells", 2);
	CELLS(t, "#size-cells", 2);
	empty(t, "ranges");
	interrupt_controllers(t);
	power(t);
	generation(t);
	isa(t);
	if (cfg->pci)
		pci(t);
	for (unsigned int i = 0; i < cfg->virtio_count; i++)
		virtio(t, &cfg->virtio[i]);
	end(t);
	end(t);
}

int devtree_build(const struct devtree_config *cfg, void **blob, size_t *len)
{
	size_t size = TREE_SIZE + strlen(cfg->cmdline);
	struct tree t = {.fdt = calloc(1, size)};
	void *less;

	if (!t.fdt)
		return -ENOMEM;
	note(&t, fdt_create(t.fdt, (int)size));
	note(&t, fdt_finish_reservemap(t.fdt));
	root(&t, cfg);
	note(&t, fdt_finish(t.fdt));
	if (t.error) {
		free(t.fdt);
		return -ENOSPC;
	}
	*len = fdt_totalsize(t.fdt);
	/* It is kept as long as the VM is. */
	less = realloc(t.fdt, *len);
	*blob = less ? less : t.fdt;
	return 0;
}
