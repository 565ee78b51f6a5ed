/* SPDX-License-Identifier: Apache-2.0 */
/* The PVH start of day (Xen docs/misc/pvh.pandoc, public header arch-x86/hvm/start_info.h). */
#include <errno.h>
#include <string.h>

#include "vcpu/gdt.h"
#include "vmm/load.h"

#define PVH_MAGIC 0x336ec578u

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries, reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "hvm_start_info version 1");

struct pvh_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};
_Static_assert(sizeof(struct pvh_memmap_entry) == 24, "hvm_memmap_table_entry");

struct pvh_module {
	uint64_t addr, size, cmdline_addr, reserved;
};
_Static_assert(sizeof(struct pvh_module) == 32, "hvm_modlist_entry");

/* The boot information, in one piece. */
struct pvh_page {
	uint8_t gdt[GDT_SIZE];
	struct pvh_start_info info;
	struct pvh_module module;
	struct pvh_memmap_entry map[LOAD_RANGES];
	char cmdline[];
};

int pvh_boot(const struct load_request *req, struct load_map *map, uint64_t rip,
	     struct vcpu_entry *entry, struct error *err)
{
	size_t cmdline = strlen(req->cmdline) + 1, size = sizeof(struct pvh_page) + cmdline;
	uint64_t rsdp = load_firmware(req, map), at = load_map_place(map, req->memory, size);
	struct load_range ranges[LOAD_RANGES], initramfs;
	struct pvh_page *p;
	int ret;

	if (req->dtb)
		return image_bad(req->image, err,
				 "PVH cannot carry a device tree: start it with ACPI, or by "
				 "Linux's 64-bit entry");
	if (rip > UINT32_MAX || !memory_at(req->memory, rip, 1))
		return image_bad(req->image, err, "the PVH entry 0x%llx lies outside guest memory",
				 (unsigned long long)rip);
	if (!at)
		return image_bad(req->image, err,
				 "no room for %zu bytes of boot information below 640 KiB", size);
	ret = load_initramfs(req, map, UINT32_MAX, &initramfs, err);
	if (ret < 0)
		return ret;
	p = memory_at(req->memory, at, size);
	gdt_write(p->gdt, false);
	p->info = (struct pvh_start_info){
		.magic = PVH_MAGIC,
		.version = 1,
		.cmdline_paddr = at + offsetof(struct pvh_page, cmdline),
		.memmap_paddr = at + offsetof(struct pvh_page, map),
		.memmap_entries = load_memory_map(req->memory, ranges),
		.rsdp_paddr = rsdp,
	};
	if (initramfs.len) {
		p->info.nr_modules = 1;
		p->info.modlist_paddr = at + offsetof(struct pvh_page, module);
		p->module = (struct pvh_module){.addr = initramfs.start, .size = initramfs.len};
	}
	for (unsigned int i = 0; i < p->info.memmap_entries; i++)
		p->map[i] = (struct pvh_memmap_entry){
			.addr = ranges[i].start, .size = ranges[i].len, .type = ranges[i].type};
	memcpy(p->cmdline, req->cmdline, cmdline);
	*entry = (struct vcpu_entry){
		.mode = VCPU_ENTRY_PROTECTED,
		.rip = rip,
		.rbx = at + offsetof(struct pvh_page, info),
		.gdt_base = at,
		.gdt_limit = GDT_SIZE - 1,
	};
	return 0;
}
