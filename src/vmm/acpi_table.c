/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI tables as such: their room in the block, their headers and checksums (ACPI 6.5, 5.2.6). */
#include <string.h>

#include "vmm/acpi_impl.h"

#define OEM_ID	     ACPI_OEM_ID
#define OEM_TABLE_ID "CATNAPVM"
#define CREATOR_ID   "CTNP"
#define REVISION     1

#define ACPI_MAX ACPI_TABLES_SIZE

uint8_t acpi_checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

void *acpi_add_table(struct acpi *acpi, const char *name, size_t len)
{
	size_t at = (acpi->len + 15) & ~(size_t)15;
	struct acpi_table *t = &acpi->tables[acpi->count];

	if (acpi->count == ACPI_TABLES || at > ACPI_MAX || len > ACPI_MAX - at)
		return NULL;
	acpi->len = at + len;
	acpi->count++;
	memcpy(t->name, name, sizeof(t->name) - 1);
	t->offset = (uint32_t)at;
	t->len = (uint32_t)len;
	return acpi->bytes + at;
}

void acpi_finish(struct acpi_header *h, const char *signature, uint8_t revision, size_t len)
{
	memcpy(h->signature, signature, sizeof(h->signature));
	h->length = (uint32_t)len;
	h->revision = revision;
	memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
	memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof(h->oem_table_id));
	h->oem_revision = REVISION;
	memcpy(h->creator_id, CREATOR_ID, sizeof(h->creator_id));
	h->creator_revision = REVISION;
	h->checksum = acpi_checksum(h, len);
}
