/* SPDX-License-Identifier: Apache-2.0 */
/* Multiboot Specification version 0.6.96: the header, the information structure, the machine
 * state. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vcpu/gdt.h"
#include "vmm/load.h"

#define HEADER_MAGIC	0x1badb002u
#define HEADER2_MAGIC	0xe85250d6u
#define HEADER_SHORT	12u /* without addresses */
#define LOADER_MAGIC	0x2badb002u
#define FLAGS_MANDATORY 0x0000ffffu
#define FLAGS_KNOWN	0x00000007u /* align modules, memory information, video mode */

#define INFO_MEMORY  0x001u
#define INFO_CMDLINE 0x004u
#define INFO_MODS    0x008u
#define INFO_MMAP    0x040u
#define INFO_LOADER  0x200u

struct multiboot_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
	uint32_t apm_table, vbe[4];
};
_Static_assert(offsetof(struct multiboot_info, mmap_length) == 44, "Multiboot 1, section 3.3");
_Static_assert(offsetof(struct multiboot_info, boot_loader_name) == 64, "Multiboot 1, section 3.3");

struct multiboot_mmap {
	uint32_t size; /* of what follows */
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct multiboot_mmap) == 24, "Multiboot 1, section 3.3");

struct multiboot_module {
	uint32_t start, end, string, reserved;
};
_Static_assert(sizeof(struct multiboot_module) == 16, "Multiboot 1, section 3.3");

struct multiboot_page {
	uint8_t gdt[GDT_SIZE];
	struct multiboot_info info;
	struct multiboot_module module;
	struct multiboot_mmap map[LOAD_RANGES];
	char loader[16];
	char cmdline[];
};

const struct multiboot_header *multiboot_find(const struct image_head *head, uint32_t *offset)
{
	/* The whole header lies in the first 8 KiB, at a multiple of 4. Its addresses are
	 * optional. */
	for (uint32_t at = 0; at + HEADER_SHORT <= head->len; at += 4) {
		const struct multiboot_header *mb = (const void *)(head->bytes + at);
		uint32_t size = mb->flags & MULTIBOOT_HAS_ADDRESSES ? sizeof(*mb) : HEADER_SHORT;

		if (mb->magic == HEADER_MAGIC && mb->magic + mb->flags + mb->checksum == 0 &&
		    at + size <= sizeof(head->bytes)) {
			*offset = at;
			return mb;
		}
	}
	return NULL;
}

bool multiboot2_is(const struct image_head *head)
{
	/* 3.1.1: magic number, architecture, length, and what makes their sum 0; 64-bit aligned. */
	for (uint32_t at = 0; at + 16 <= head->len; at += 8) {
		uint32_t h[4];

		memcpy(h, head->bytes + at, sizeof(h));
		if (h[0] == HEADER2_MAGIC && h[0] + h[1] + h[2] + h[3] == 0)
			return true;
	}
	return false;
}

int multiboot_check(const struct load_request *req, const struct multiboot_header *mb,
		    struct error *err)
{
	uint32_t unknown = mb->flags & FLAGS_MANDATORY & ~FLAGS_KNOWN;

	if (unknown)
		return image_bad(req->image, err,
				 "the Multiboot header asks for what is not known: 0x%x", unknown);
	return 0;
}

/*
 * Returns the image's name, which is the first word, as boot loaders do it. Where it lies on the
 * host is nothing for the guest to know.
 */
static const char *guest_name(const struct image *img)
{
	const char *slash = strrchr(img->name, '/');

	return slash ? slash + 1 : img->name;
}

static void one_word(char *p, size_t len)
{
	for (; len; p++, len--)
		if (*p > 0 && *p <= ' ')
			*p = '_';
}

int multiboot_boot(const struct load_request *req, struct load_map *map, uint64_t rip,
		   struct vcpu_entry *entry, struct error *err)
{
	const char *name = guest_name(req->image);
	size_t cmdline = strlen(name) + 1 + strlen(req->cmdline) + 1;
	size_t size = sizeof(struct multiboot_page) + cmdline;
	uint64_t at, upper = req->memory->regions[0].size;
	struct load_range ranges[LOAD_RANGES], module;
	struct multiboot_page *p;
	unsigned int n;
	int ret;

	load_firmware(req, map);
	at = load_map_place(map, req->memory, size);

	if (rip > UINT32_MAX || !memory_at(req->memory, rip, 1))
		return image_bad(req->image, err,
				 "the Multiboot entry 0x%llx lies outside guest memory",
				 (unsigned long long)rip);
	if (!at)
		return image_bad(req->image, err,
				 "no room for %zu bytes of boot information below 640 KiB", size);
	ret = load_initramfs(req, map, UINT32_MAX, &module, err);
	if (ret < 0)
		return ret;
	p = memory_at(req->memory, at, size);
	gdt_write(p->gdt, false);
	n = load_memory_map(req->memory, ranges);
	for (unsigned int i = 0; i < n; i++)
		p->map[i] =
			(struct multiboot_mmap){20, ranges[i].start, ranges[i].len, ranges[i].type};
	p->info = (struct multiboot_info){
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER,
		.mem_lower = MEMORY_LOW_END / 1024,
		.mem_upper =
			(uint32_t)(upper > MEMORY_EXTENDED ? (upper - MEMORY_EXTENDED) / 1024 : 0),
		.cmdline = (uint32_t)(at + offsetof(struct multiboot_page, cmdline)),
		.mmap_length = n * (uint32_t)sizeof(struct multiboot_mmap),
		.mmap_addr = (uint32_t)(at + offsetof(struct multiboot_page, map)),
		.boot_loader_name = (uint32_t)(at + offsetof(struct multiboot_page, loader)),
	};
	if (module.len) {
		p->info.flags |= INFO_MODS;
		p->info.mods_count = 1;
		p->info.mods_addr = (uint32_t)(at + offsetof(struct multiboot_page, module));
		p->module.start = (uint32_t)module.start;
		p->module.end = (uint32_t)(module.start + module.len);
		/* Its string is empty: the end of the command line. */
		p->module.string = p->info.cmdline + (uint32_t)cmdline - 1;
	}
	snprintf(p->loader, sizeof(p->loader), "catnap");
	snprintf(p->cmdline, cmdline, "%s%s%s", name, *req->cmdline ? " " : "", req->cmdline);
	one_word(p->cmdline, strlen(name));
	*entry = (struct vcpu_entry){
		.mode = VCPU_ENTRY_PROTECTED,
		.rip = rip,
		.rax = LOADER_MAGIC,
		.rbx = at + offsetof(struct multiboot_page, info),
		.gdt_base = at,
		.gdt_limit = GDT_SIZE - 1,
	};
	return 0;
}

/* Loads by the address fields of the header: one piece of the file, from load_addr to
 * load_end_addr, then bss. */
int load_multiboot_kludge(const struct load_request *req, const struct image_head *head,
			  struct vcpu_entry *entry, struct error *err)
{
	struct load_map map = {.count = 0};
	const struct multiboot_header *mb;
	uint32_t offset;
	uint64_t from, len, all;
	uint8_t *to;
	int ret;

	mb = multiboot_find(head, &offset);
	if (!mb)
		return image_bad(req->image, err, "no Multiboot header");
	if (offset + sizeof(*mb) > head->len)
		return image_bad(req->image, err,
				 "truncated: the Multiboot header ends outside the file");
	ret = multiboot_check(req, mb, err);
	if (ret < 0)
		return ret;
	if (mb->load_addr > mb->header_addr || mb->header_addr - mb->load_addr > offset)
		return image_bad(req->image, err,
				 "the Multiboot load address 0x%x is not in the file",
				 mb->load_addr);
	from = offset - (mb->header_addr - mb->load_addr);
	len = mb->load_end_addr ? (uint64_t)mb->load_end_addr - mb->load_addr
				: req->image->size - from;
	all = mb->bss_end_addr ? (uint64_t)mb->bss_end_addr - mb->load_addr : len;
	if ((mb->load_end_addr && mb->load_end_addr < mb->load_addr) ||
	    (mb->bss_end_addr && mb->bss_end_addr < mb->load_addr) || all < len || !len)
		return image_bad(req->image, err, "the Multiboot addresses are out of order");
	to = memory_at(req->memory, mb->load_addr, all);
	if (!to)
		return image_bad(req->image, err,
				 "0x%x, %llu bytes, lies outside guest memory (%llu MiB)",
				 mb->load_addr, (unsigned long long)all,
				 (unsigned long long)(req->memory->size >> 20));
	ret = image_read(req->image, from, to, len);
	if (ret == -ENODATA)
		return image_bad(req->image, err,
				 "truncated: the Multiboot image ends outside the file");
	if (ret < 0)
		return image_bad(req->image, err, "%s", strerror(-ret));
	load_map_add(&map, mb->load_addr, all);
	return multiboot_boot(req, &map, mb->entry_addr, entry, err);
}
