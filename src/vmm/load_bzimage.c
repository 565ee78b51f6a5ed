/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzImage: Linux's boot protocol (Documentation/arch/x86/boot.rst), version 2.12 and later, 64-bit
 * entry. Each field of the setup header that is used is checked against the file and against guest
 * memory.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/load.h"

#define SECTOR	       512u
#define HEADER_OFFSET  0x1f1u
#define HEADER_MAGIC   0x53726448u /* "HdrS" */
#define BOOT_FLAG      0xaa55
#define JUMP_END       0x202u /* the header ends here plus the jump's distance, the byte before */
#define VERSION_NEEDED 0x020c
#define ENTRY_64       0x200u
#define SECTS_DEFAULT  4u

_Static_assert(offsetof(struct setup_header, header) == 0x202 - HEADER_OFFSET, "boot.rst");
_Static_assert(offsetof(struct setup_header, init_size) == 0x260 - HEADER_OFFSET, "boot.rst");
_Static_assert(offsetof(struct boot_params, hdr) == HEADER_OFFSET, "boot.rst");

/* The plan of what becomes of the file. */
struct plan {
	struct setup_header h;
	uint64_t offset, len; /* the protected-mode part, in the file */
	uint64_t start, all;  /* where it goes, and how much memory it needs there */
};

bool bzimage_is(const struct image_head *head)
{
	uint32_t magic;

	memcpy(&magic, head->bytes + HEADER_OFFSET + offsetof(struct setup_header, header), 4);
	return head->len > JUMP_END && magic == HEADER_MAGIC;
}

static unsigned long long ull(uint64_t v)
{
	return v;
}

/* Checks the fields that say what kind of kernel it is. */
static int check_kind(const struct load_request *req, const struct setup_header *h,
		      struct error *err)
{
	const struct image *img = req->image;

	if (h->boot_flag != BOOT_FLAG)
		return image_bad(img, err, "a damaged bzImage: boot_flag is 0x%x, not 0xaa55",
				 h->boot_flag);
	if (h->version < VERSION_NEEDED)
		return image_bad(img, err,
				 "a bzImage of boot protocol %u.%02u: 2.12 (Linux 3.8) or later is "
				 "needed",
				 h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return image_bad(img, err, "a zImage, which is loaded below 1 MiB: not supported");
	if (!(h->xloadflags & XLF_KERNEL_64))
		return image_bad(img, err, "a 32-bit kernel: only 64-bit ones can be started");
	return 0;
}

/* Finds where its parts lie in the file. */
static int check_file(const struct load_request *req, struct plan *p, struct error *err)
{
	const struct image *img = req->image;
	uint32_t sects = p->h.setup_sects ? p->h.setup_sects : SECTS_DEFAULT;
	uint64_t there;

	p->offset = (uint64_t)(sects + 1) * SECTOR;
	p->len = (uint64_t)p->h.syssize * 16;
	if (p->offset >= img->size)
		return image_bad(
			img, err,
			"setup_sects %u: the setup code's %llu bytes are more than the file "
			"has (%llu)",
			sects, ull(p->offset), ull(img->size));
	if (p->len <= ENTRY_64)
		return image_bad(img, err, "a damaged bzImage: syssize %u", p->h.syssize);
	/*
	 * syssize counts paragraphs. Linux fills its last one up and says where its payload is;
	 * programs that only borrow the header (Memtest86+) do neither, and are whole with less
	 * than that.
	 */
	there = img->size - p->offset;
	if (!p->h.payload_length && p->len > there && p->len - there < 16)
		p->len = there;
	if (p->len > there)
		return image_bad(img, err, "a truncated bzImage: %llu bytes of %llu",
				 ull(img->size), ull(p->offset + p->len));
	if ((uint64_t)p->h.payload_offset + p->h.payload_length > p->len)
		return image_bad(img, err,
				 "a damaged bzImage: the payload (0x%x, %u bytes) ends outside it",
				 p->h.payload_offset, p->h.payload_length);
	return 0;
}

/*
 * Finds its place in memory. The kernel runs where it prefers to ("kernel runtime start", boot.rst,
 * init_size). A relocatable one that is loaded below that moves there by itself, so nothing would
 * be won by loading it lower.
 */
static int check_memory(const struct load_request *req, struct plan *p, struct error *err)
{
	uint64_t low = req->memory->regions[0].size, align = p->h.kernel_alignment;
	const struct image *img = req->image;

	p->start = p->h.pref_address;
	if (p->h.relocatable_kernel) {
		if (!align || align & (align - 1))
			return image_bad(
				img, err,
				"a damaged bzImage: kernel_alignment 0x%llx is not a power of two",
				ull(align));
		if (p->start <= low)
			p->start = (p->start + align - 1) & ~(align - 1);
	}
	if (p->start < MEMORY_EXTENDED)
		return image_bad(img, err,
				 "a damaged bzImage: pref_address 0x%llx lies below 1 MiB",
				 ull(p->start));
	p->all = p->h.init_size > p->len ? p->h.init_size : p->len;
	if (p->start >= low || p->all > low - p->start)
		return image_bad(img, err,
				 "the kernel needs memory up to 0x%llx (%llu MiB); there are %llu "
				 "MiB below 3 GiB",
				 ull(p->start + p->all), ull((p->start + p->all + 0xfffff) >> 20),
				 ull(low >> 20));
	if (strlen(req->cmdline) > p->h.cmdline_size)
		return image_bad(img, err,
				 "the command line has %zu bytes; this kernel takes %u, with what "
				 "is added",
				 strlen(req->cmdline), p->h.cmdline_size);
	return 0;
}

static int load(const struct load_request *req, const struct image_head *head, struct plan *p,
		struct vcpu_entry *entry, struct error *err)
{
	/* 2.12 has fields up to 0x268; what is not in the file's header does not get into ours. */
	uint64_t end = JUMP_END + head->bytes[JUMP_END - 1];
	struct load_map map = {.count = 0};
	int ret;

	if (head->len < end || head->len < HEADER_OFFSET + sizeof(p->h))
		return image_bad(req->image, err, "a truncated bzImage: it ends within its header");
	if (end > HEADER_OFFSET + sizeof(p->h))
		end = HEADER_OFFSET + sizeof(p->h);
	memset(&p->h, 0, sizeof(p->h));
	memcpy(&p->h, head->bytes + HEADER_OFFSET, end - HEADER_OFFSET);
	ret = check_kind(req, &p->h, err);
	if (ret == 0)
		ret = check_file(req, p, err);
	if (ret == 0)
		ret = check_memory(req, p, err);
	if (ret < 0)
		return ret;
	ret = image_read(req->image, p->offset, memory_at(req->memory, p->start, p->all), p->len);
	if (ret < 0)
		return image_bad(req->image, err, "%s", strerror(-ret));
	load_map_add(&map, p->start, p->all);
	return linux_boot(req, &map, p->start + ENTRY_64, &p->h, entry, err);
}

int load_bzimage(const struct load_request *req, const struct image_head *head,
		 struct vcpu_entry *entry, struct error *err)
{
	struct load_request r = *req;
	struct plan plan;
	char *cmdline;
	int ret;

	ret = load_check_initramfs(req, err);
	if (ret < 0)
		return ret;
	cmdline = load_linux_cmdline(req);
	if (!cmdline)
		return -ENOMEM;
	r.cmdline = cmdline;
	ret = load(&r, head, &plan, entry, err);
	free(cmdline);
	return ret;
}
