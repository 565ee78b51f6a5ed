/* SPDX-License-Identifier: Apache-2.0 */
/* Where an image's parts lie in guest memory, what room is left, and the map that guests get. */
#include <errno.h>

#include "devices/pci/bus.h"
#include "vmm/load.h"

int load_map_add(struct load_map *map, uint64_t start, uint64_t len)
{
	if (!len)
		return 0;
	for (unsigned int i = 0; i < map->count; i++)
		if (start < map->extents[i].end && map->extents[i].start < start + len)
			return -EEXIST;
	if (map->count == LOAD_EXTENTS)
		return -ENOSPC;
	map->extents[map->count].start = start;
	map->extents[map->count].end = start + len;
	map->count++;
	return 0;
}

uint64_t load_map_place(const struct load_map *map, const struct memory *m, uint64_t len)
{
	struct load_map try = *map;

	len = (len + 0xfff) & ~UINT64_C(0xfff);
	/* From the top of conventional memory down; the first page is the real-mode vectors'. */
	for (uint64_t at = 0x9f000; at > len + 0x1000; at -= 0x1000)
		if (load_map_add(&try, at - len, len) == 0 && memory_at(m, at - len, len))
			return at - len;
	return 0;
}

unsigned int load_memory_map(const struct memory *m, struct load_range *r)
{
	unsigned int n = 0;

	r[n++] = (struct load_range){0, MEMORY_LOW_END, 1};
	r[n++] = (struct load_range){MEMORY_LOW_END, MEMORY_EXTENDED - MEMORY_LOW_END, 2};
	if (m->regions[0].size > MEMORY_EXTENDED)
		r[n++] = (struct load_range){MEMORY_EXTENDED, m->regions[0].size - MEMORY_EXTENDED,
					     1};
	/* Linux looks for this one before it has read the ACPI tables. */
	if (m->pci)
		r[n++] = (struct load_range){PCI_ECAM_BASE, PCI_ECAM_SIZE, 2};
	r[n++] = (struct load_range){MEMORY_KVM_START, MEMORY_KVM_SIZE, 2};
	if (m->count > 1)
		r[n++] = (struct load_range){m->regions[1].gpa, m->regions[1].size, 1};
	return n;
}
