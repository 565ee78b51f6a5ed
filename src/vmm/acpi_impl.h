/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that build ACPI tables share. */
#ifndef VMM_ACPI_IMPL_H
#define VMM_ACPI_IMPL_H

#include "vmm/acpi.h"

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.5, table 5.4");

#define ACPI_OEM_ID "CATNAP"

/* acpi_table.c */
/* Returns what makes the sum of all bytes 0. */
uint8_t acpi_checksum(const void *data, size_t len);
/* Returns room for a table of @len bytes, at a multiple of 16; NULL: none. */
void *acpi_add_table(struct acpi *acpi, const char *name, size_t len);
/* Fills in the header of a table that is complete otherwise. */
void acpi_finish(struct acpi_header *h, const char *signature, uint8_t revision, size_t len);

/* acpi_numa.c: the tables of nodes. Return the table, or NULL: there is no room. */
struct acpi_header *acpi_add_srat(struct acpi *acpi, const struct acpi_config *cfg);
struct acpi_header *acpi_add_slit(struct acpi *acpi, const struct numa *n);

#endif
