/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables that tell of NUMA nodes: SRAT, which says what is in which, and SLIT, which says how
 * far they are from each other (ACPI 6.5, 5.2.16 and 5.2.17). */
#include "vmm/acpi_impl.h"

struct srat {
	struct acpi_header h;
	uint32_t one; /* reserved, and 1 */
	uint64_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct srat) == 48, "ACPI 6.5, table 5.69");
#define SRAT_REVISION 3

struct srat_lapic {
	uint8_t type, len, domain_low, id;
	uint32_t flags;
	uint8_t sapic, domain_high[3];
	uint32_t clock_domain;
} __attribute__((packed));
_Static_assert(sizeof(struct srat_lapic) == 16, "ACPI 6.5, table 5.70");

struct srat_memory {
	uint8_t type, len;
	uint32_t domain;
	uint16_t reserved;
	uint64_t base, size;
	uint32_t reserved_too, flags;
	uint64_t reserved_last;
} __attribute__((packed));
_Static_assert(sizeof(struct srat_memory) == 40, "ACPI 6.5, table 5.71");

enum { SRAT_LAPIC = 0, SRAT_MEMORY = 1 };
#define SRAT_ENABLED 1u

/* Their ids fit into the old form. */
_Static_assert(CATNAP_MAX_VCPUS <= 255, "no x2APIC structures");

struct slit {
	struct acpi_header h;
	uint64_t count;
	uint8_t distances[]; /* row by row */
} __attribute__((packed));
_Static_assert(sizeof(struct slit) == 44, "ACPI 6.5, table 5.77");
#define SLIT_REVISION 1

/* Returns how many parts memory has: a node that lies on both sides of the hole has two. With @to,
 * writes a structure for each. */
static unsigned int memory_parts(const struct memory *m, struct srat_memory *to)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];
		struct numa_part part;

		for (uint64_t at = r->at; at < r->at + r->size; at += part.size, n++) {
			part = numa_part_at(&m->numa, at, r->at + r->size);
			if (to)
				to[n] = (struct srat_memory){.type = SRAT_MEMORY,
							     .len = sizeof(*to),
							     .domain = part.node,
							     .base = r->gpa + (at - r->at),
							     .size = part.size,
							     .flags = SRAT_ENABLED};
		}
	}
	return n;
}

struct acpi_header *acpi_add_srat(struct acpi *acpi, const struct acpi_config *cfg)
{
	const struct memory *m = cfg->memory;
	const size_t len = sizeof(struct srat) + cfg->vcpus * sizeof(struct srat_lapic) +
			   memory_parts(m, NULL) * sizeof(struct srat_memory);
	struct srat *s = acpi_add_table(acpi, "SRAT", len);
	struct srat_lapic *lapic;

	if (!s)
		return NULL;
	s->one = 1;
	lapic = (struct srat_lapic *)(s + 1);
	for (uint32_t i = 0; i < cfg->vcpus; i++)
		*lapic++ = (struct srat_lapic){.type = SRAT_LAPIC,
					       .len = sizeof(*lapic),
					       .domain_low = (uint8_t)numa_node_of(&m->numa, i),
					       .id = (uint8_t)i,
					       .flags = SRAT_ENABLED};
	memory_parts(m, (struct srat_memory *)lapic);
	acpi_finish(&s->h, "SRAT", SRAT_REVISION, len);
	return &s->h;
}

struct acpi_header *acpi_add_slit(struct acpi *acpi, const struct numa *n)
{
	const size_t len = sizeof(struct slit) + (size_t)n->count * n->count;
	struct slit *s = acpi_add_table(acpi, "SLIT", len);

	if (!s)
		return NULL;
	s->count = n->count;
	for (uint32_t from = 0; from < n->count; from++)
		for (uint32_t to = 0; to < n->count; to++)
			s->distances[from * n->count + to] = numa_distance(n, from, to);
	acpi_finish(&s->h, "SLIT", SLIT_REVISION, len);
	return &s->h;
}
