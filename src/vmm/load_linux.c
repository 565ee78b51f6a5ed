/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux's 64-bit entry, for bzImage and vmlinux (Documentation/arch/x86/boot.rst, "64-bit Boot
 * Protocol"; zero-page.rst): long mode with the first 4 GiB mapped to themselves, a flat GDT,
 * interrupts off, and the zero page's address in RSI.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vcpu/gdt.h"
#include "vmm/acpi.h"
#include "vmm/load.h"

#define BOOT_FLAG      0xaa55
#define HEADER_MAGIC   0x53726448u
#define HEADER_VERSION 0x020f
#define LOADER_OTHER   0xff /* no number assigned */
#define VIDEO_NORMAL   0xffff
#define INITRD_MAX     0x7fffffffu /* its initrd_addr_max */
#define KERNEL_ALIGN   0x1000000u

#define PAGE_ENTRIES 512u
#define PTE_TABLE    UINT64_C(0x3)  /* present, writable */
#define PTE_LARGE    UINT64_C(0x83) /* and 2 MiB */
#define GIBS	     4u

_Static_assert(sizeof(struct boot_params) == 4096, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "zero-page.rst");
_Static_assert(sizeof(struct setup_data) == 16, "boot.rst");

/* The boot information, in one piece. */
struct linux_page {
	uint64_t pml4[PAGE_ENTRIES], pdpt[PAGE_ENTRIES], pd[GIBS][PAGE_ENTRIES];
	struct boot_params params;
	uint8_t gdt[GDT_SIZE];
	struct setup_data dtb_head;
	uint8_t rest[]; /* the device tree, then the command line */
};
_Static_assert(offsetof(struct linux_page, rest) % 8 == 0, "the device tree is aligned");

static void identity_map(struct linux_page *p, uint64_t at)
{
	uint64_t pdpt = at + offsetof(struct linux_page, pdpt);

	p->pml4[0] = pdpt | PTE_TABLE;
	for (unsigned int g = 0; g < GIBS; g++) {
		p->pdpt[g] =
			(at + offsetof(struct linux_page, pd) + g * sizeof(p->pd[0])) | PTE_TABLE;
		for (unsigned int i = 0; i < PAGE_ENTRIES; i++)
			p->pd[g][i] = ((uint64_t)g << 30 | (uint64_t)i << 21) | PTE_LARGE;
	}
}

static void memory_map(struct boot_params *b, const struct memory *m)
{
	struct load_range ranges[LOAD_RANGES];
	unsigned int n = load_memory_map(m, ranges);

	for (unsigned int i = 0; i < n; i++)
		b->e820_table[i] =
			(struct boot_e820_entry){ranges[i].start, ranges[i].len, ranges[i].type};
	b->e820_entries = (uint8_t)n;
}

/* Makes the header that a vmlinux has lost: the fields that the kernel reads after its
 * decompressor. */
static void make_header(struct setup_header *h)
{
	h->boot_flag = BOOT_FLAG;
	h->header = HEADER_MAGIC;
	h->version = HEADER_VERSION;
	h->loadflags = LOADED_HIGH;
	h->kernel_alignment = KERNEL_ALIGN;
	h->cmdline_size = LINUX_CMDLINE_MAX;
	h->initrd_addr_max = INITRD_MAX;
}

int linux_boot(const struct load_request *req, struct load_map *map, uint64_t rip,
	       const struct setup_header *header, struct vcpu_entry *entry, struct error *err)
{
	size_t cmdline = strlen(req->cmdline) + 1, dtb = 0;
	uint64_t at, rsdp = load_firmware(req, map);
	struct setup_header *h;
	struct load_range initrd;
	struct linux_page *p;
	size_t size, room;
	int ret;

	if (req->dtb)
		dtb = (req->dtb_len + req->dtb_more + 7) & ~(size_t)7;
	/* As much as the kernel takes. */
	room = cmdline + req->cmdline_more;
	if (room > (header ? header->cmdline_size : LINUX_CMDLINE_MAX) + (size_t)1)
		room = (header ? header->cmdline_size : LINUX_CMDLINE_MAX) + (size_t)1;
	size = sizeof(struct linux_page) + dtb + room;

	ret = load_initramfs(req, map, (header ? header->initrd_addr_max : INITRD_MAX) + 1ull,
			     &initrd, err);
	if (ret < 0)
		return ret;
	at = load_map_place(map, req->memory, size);
	if (!at)
		return image_bad(req->image, err,
				 "no room for %zu bytes of boot information below 640 KiB", size);
	p = memory_at(req->memory, at, size);
	identity_map(p, at);
	gdt_write(p->gdt, true);
	h = &p->params.hdr;
	if (header)
		*h = *header;
	else
		make_header(h);
	h->type_of_loader = LOADER_OTHER;
	h->ext_loader_ver = h->ext_loader_type = 0;
	h->vid_mode = VIDEO_NORMAL;
	h->ramdisk_image = (uint32_t)initrd.start;
	h->ramdisk_size = (uint32_t)initrd.len;
	h->cmd_line_ptr = (uint32_t)(at + offsetof(struct linux_page, rest) + dtb);
	memcpy(p->rest + dtb, req->cmdline, cmdline);
	if (req->places && req->cmdline_more) {
		req->places->cmdline = h->cmd_line_ptr;
		req->places->cmdline_room = (uint32_t)room;
	}
	h->setup_data = 0;
	if (req->dtb) {
		p->dtb_head = (struct setup_data){.type = SETUP_DTB, .len = (uint32_t)req->dtb_len};
		memcpy(p->rest, req->dtb, req->dtb_len);
		h->setup_data = at + offsetof(struct linux_page, dtb_head);
		if (req->places) {
			req->places->dtb = h->setup_data;
			req->places->dtb_room = (uint32_t)dtb;
		}
	}
	p->params.acpi_rsdp_addr = rsdp;
	memory_map(&p->params, req->memory);
	*entry = (struct vcpu_entry){
		.mode = VCPU_ENTRY_LONG,
		.rip = rip,
		.rsi = at + offsetof(struct linux_page, params),
		.cr3 = at,
		.gdt_base = at + offsetof(struct linux_page, gdt),
		.gdt_limit = GDT_SIZE - 1,
	};
	return 0;
}

int load_linux_dtb(const struct memory *m, const struct load_places *places, const void *dtb,
		   size_t len)
{
	struct setup_data *d = memory_at(m, places->dtb, sizeof(*d) + places->dtb_room);

	if (!d || len > places->dtb_room)
		return -ENOSPC;
	d->len = (uint32_t)len;
	memcpy(d->data, dtb, len);
	return 0;
}

int load_linux_again(const struct memory *m, const struct load_places *places, const char *cmdline)
{
	char *p = memory_at(m, places->cmdline, places->cmdline_room);
	size_t size = strlen(cmdline) + 1;

	if (!p || size > places->cmdline_room)
		return -ENOSPC;
	memcpy(p, cmdline, size);
	return 0;
}
