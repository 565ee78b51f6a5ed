/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Describes the machine in ACPI tables: hardware-reduced (ACPI 6.5, 4.1), that is, no SCI, no fixed
 * events, no PM registers; sleep registers instead, and a Generic Event Device for the power
 * button. The PM timer is there all the same.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/genid.h"
#include "devices/virtio/mmio.h"
#include "vmm/memory.h"

/* In the BIOS area, where the RSDP is searched for, at multiples of 16 (5.2.5.1). */
#define ACPI_BASE UINT64_C(0xe0000)
#define ACPI_SIZE UINT64_C(0x20000)
/* Up to here; behind it are devices/genid.h and vmm/mptable.h. */
#define ACPI_TABLES_SIZE (GENID_AREA - ACPI_BASE)

#define ACPI_TABLES 10

/* The machine that the tables describe. */
struct acpi_config {
	uint32_t vcpus;
	bool pci;     /* a root bus: devices/pci/bus.h */
	bool hotplug; /* whose devices come and go: devices/pci/hotplug.h */
	const struct virtio_mmio_place *virtio;
	unsigned int virtio_count;
	const struct memory *memory; /* its nodes and where they are; NULL: no nodes */
};

struct acpi_table {
	char name[5];
	uint32_t offset, len;
};

struct acpi {
	uint8_t *bytes;			       /* for ACPI_BASE */
	size_t len;			       /* ACPI_TABLES_SIZE at most */
	uint64_t rsdp;			       /* guest-physical */
	struct acpi_table tables[ACPI_TABLES]; /* the RSDP is "RSDP" */
	unsigned int count;
};

/* Builds the tables. Returns 0, -ENOMEM, or -ENOSPC: more than fits. */
int acpi_build(const struct acpi_config *cfg, struct acpi *acpi);
void acpi_free(struct acpi *acpi);
/* dsdt.c: writes the DSDT's AML, without a header, into at most @size bytes. Returns its length, or
 * -ENOSPC. */
int dsdt_build(const struct acpi_config *cfg, void *buffer, size_t size);

#endif
