/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a bzImage or vmlinux with an initramfs, in a machine of 32 MiB; its last four bytes
 * choose the format that is asked for, what goes along, and its sizes. Its end is a command line,
 * too. Loading may refuse it or succeed; then the zero page, the page tables, the command line and
 * the initramfs are where they should be, and nothing lies on anything else. The sanitizers see
 * what is written outside guest memory.
 */
#include <asm/bootparam.h>
#include <errno.h>

#include "../unit/cmdline_rules.h"
#include "fuzz.h"
#include "vmm/cmdline.h"
#include "vmm/load.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define LOW	(UINT64_C(32) << 20)
#define PREFER	(UINT64_C(16) << 20)
#define CMDLINE "fuzz"
#define TAIL	4

static bool apart(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a + a_len <= b || b + b_len <= a;
}

static void check_long(const struct memory *m, const struct vcpu_entry *e, uint64_t initrd_len,
		       bool dtb)
{
	const struct boot_params *b = memory_at(m, e->rsi, sizeof(*b));
	const uint64_t *pml4 = memory_at(m, e->cr3, 6 * 4096);
	const struct setup_header *h;
	const char *cmdline;

	check(b && pml4 && memory_at(m, e->gdt_base, e->gdt_limit + 1u));
	check(e->rsi + 4096 <= MEMORY_LOW_END && e->cr3 + 6 * 4096 <= MEMORY_LOW_END);
	check(pml4[0] == ((e->cr3 + 4096) | 3));
	check(b->sentinel == 0 && b->e820_entries == 4);
	h = &b->hdr;
	check(h->boot_flag == 0xaa55 && h->header == 0x53726448);
	cmdline = memory_at(m, h->cmd_line_ptr, sizeof(CMDLINE));
	check(cmdline && strcmp(cmdline, CMDLINE) == 0);
	check(h->ramdisk_size == initrd_len);
	if (initrd_len) {
		check(memory_at(m, h->ramdisk_image, initrd_len));
		check(h->ramdisk_image >= MEMORY_EXTENDED);
		check((uint64_t)h->ramdisk_image + initrd_len - 1 <= h->initrd_addr_max);
		check(*(uint8_t *)memory_at(m, h->ramdisk_image, 1) == 0x5a);
		check(apart(h->ramdisk_image, initrd_len, e->rip, 1));
		/* Where a bzImage unpacks itself, too. */
		if (h->init_size)
			check(apart(h->ramdisk_image, initrd_len, e->rip - 0x200, h->init_size));
	}
	check(!dtb == !h->setup_data);
	if (dtb)
		check(memory_at(m, h->setup_data, sizeof(struct setup_data) + 8));
}

/* The end of the input as a command line: what is added to it is a parameter, and nothing is
 * lost. */
static void check_cmdline(const uint8_t *data, size_t size)
{
	size_t len = size < 96 ? size : 96;
	char line[97], *all;
	const char *ours;

	memcpy(line, data + size - len, len);
	line[len] = '\0';
	all = cmdline_add(line, "\1ours");
	check(all);
	ours = strstr(all, "\1ours");
	check(ours && has_parameter(all, "\1ours"));
	check(memcmp(all, line, (size_t)(ours - all)) == 0 || ours[-1] == ' ');
	check(strlen(all) <= strlen(line) + strlen("\1ours") + 1);
	check(strlen(all) >= strlen(line) + strlen("\1ours"));
	free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum catnap_image_kind kinds[4] = {CATNAP_IMAGE_AUTO, CATNAP_IMAGE_BZIMAGE,
							CATNAP_IMAGE_LINUX64, CATNAP_IMAGE_PVH};
	static const uint64_t lengths[8] = {1,	      4096,	      4097,	1 << 20,
					    15 << 20, (15 << 20) + 1, 31 << 20, 33 << 20};
	static const uint64_t dtb = 0x1122334455667788;
	/* Kept: making and clearing them would take most of the time. */
	static uint8_t *low, *initrd;
	struct memory m = {.count = 1, .size = LOW};
	struct vcpu_entry entry = {0};
	struct error err = {""};
	uint8_t *image, how;
	int ret;

	if (size < TAIL)
		return 0;
	if (!low) {
		low = calloc(1, LOW);
		initrd = malloc(lengths[7]);
		memset(initrd, 0x5a, lengths[7]);
	}
	m.regions[0] = (struct memory_region){0, LOW, low};
	check_cmdline(data, size);
	size -= TAIL;
	how = data[size + 1];
	image = malloc(size ? size : 1);
	memcpy(image, data, size);
	{
		struct image img = {.name = "fuzz", .fd = -1, .data = image, .size = size};
		struct image ramfs = {.what = "initramfs",
				      .name = "fuzz",
				      .fd = -1,
				      .data = initrd,
				      .size = lengths[how & 7]};
		struct load_request req = {.image = &img,
					   .memory = &m,
					   .cmdline = CMDLINE,
					   .kind = kinds[data[size] & 3],
					   .initramfs = how & 8 ? &ramfs : NULL,
					   .dtb = how & 16 ? &dtb : NULL,
					   .dtb_len = how & 16 ? sizeof(dtb) : 0};

		ret = load_image(&req, &entry, &err);
		if (ret == 0) {
			check(memory_at(&m, entry.rip, 1));
			if (entry.mode == VCPU_ENTRY_LONG)
				check_long(&m, &entry, how & 8 ? ramfs.size : 0, how & 16);
		} else {
			check(ret == -ENOEXEC);
			check(err.text[0] && !strchr(err.text, '\n'));
		}
	}
	free(image);
	return 0;
}

/* A good bzImage to begin with. */
static size_t template(uint8_t *data, size_t max_size, unsigned int seed)
{
	struct setup_header *h = (void *)(data + 0x1f1);
	size_t size = 3072;

	if (max_size < size + TAIL)
		return 0;
	memset(data, 0, size + TAIL);
	memcpy(data, "MZ", 2);
	h->setup_sects = 1;
	h->syssize = (uint32_t)(size - 1024) / 16;
	h->boot_flag = 0xaa55;
	h->jump = 0x6aeb;
	h->header = 0x53726448;
	h->version = 0x020f;
	h->loadflags = LOADED_HIGH;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 0x200000;
	h->relocatable_kernel = 1;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = 2047;
	h->pref_address = PREFER;
	h->init_size = 1 << 20;
	data[size] = (uint8_t)(seed & 1);
	data[size + 1] = (uint8_t)(seed >> 1);
	return size + TAIL;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static const uint64_t edges[] = {0,	     1,		 0xfff,	     0x100000,	0x200000,
					 0xffffff,   0x1000000,	 0x1ffffff,  0x2000000, 0x7fffffff,
					 0x80000000, 0xfffffff0, 0xffffffff, UINT64_MAX};
	static const uint8_t sizes[] = {1, 2, 4, 8};

	if (size < 0x280 || seed % 32 == 0)
		size = template(data, max_size, seed >> 5);
	/* Half of the time, a number at the edge of something, in the header. */
	if (size > 0x280 && seed & 1) {
		size_t at = 0x1f1 + (seed >> 8) % 0x78;

		memcpy(data + at, &edges[(seed >> 20) % (sizeof(edges) / sizeof(edges[0]))],
		       sizes[seed >> 1 & 3]);
		return size;
	}
	return LLVMFuzzerMutate(data, size, max_size);
}
