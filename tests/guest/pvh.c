/* SPDX-License-Identifier: Apache-2.0 */
/* The PVH start of day (Xen docs/misc/pvh.pandoc): the machine state, hvm_start_info, the memory
 * map. */
#include "lib/guest.h"

extern uint32_t entry_ebx, entry_eflags, entry_cr0, entry_cr4;
extern uint16_t entry_cs, entry_ds, entry_es, entry_ss, entry_tr;
extern struct {
	uint16_t limit;
	uint32_t base;
} __attribute__((packed)) entry_gdt;

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

void test(void)
{
	const struct start_info *info = (const void *)(uintptr_t)entry_ebx;
	const struct entry *map = (const void *)(uintptr_t)info->memmap;
	const uint64_t *gdt = (const void *)(uintptr_t)entry_gdt.base;

	check((entry_cr0 & 0x80000001) == 1); /* PE, not PG */
	check(entry_cr4 == 0);
	check(!(entry_eflags & 0x20300)); /* VM, IF, TF */
	/* Segments can be loaded again from the GDT that is there, with the same result. */
	check(entry_gdt.limit >= (entry_cs | 7) && entry_gdt.limit >= (entry_ds | 7));
	check(gdt[entry_cs / 8] == 0x00cf9b000000ffff);
	check(gdt[entry_ds / 8] == 0x00cf93000000ffff);
	check(entry_es == entry_ds && entry_ss == entry_ds);
	check(entry_tr);

	check(info->magic == 0x336ec578);
	check(info->version >= 1);
	check(info->nr_modules == 0);
	put_str("cmdline ");
	put_str((const char *)(uintptr_t)info->cmdline);
	put_str("\n");
	for (uint32_t i = 0; i < info->memmap_entries; i++) {
		put_str("map ");
		put_hex(map[i].addr);
		put_str(" ");
		put_hex(map[i].size);
		put_str(" ");
		put_dec(map[i].type);
		put_str("\n");
	}
	/* The last byte of memory is there. */
	for (uint32_t i = 0; i < info->memmap_entries; i++) {
		volatile uint8_t *last = (void *)(uintptr_t)(map[i].addr + map[i].size - 1);

		if (map[i].type != 1 || map[i].addr + map[i].size > UINT32_MAX)
			continue;
		*last = 0x5a;
		check(*last == 0x5a);
	}
}
