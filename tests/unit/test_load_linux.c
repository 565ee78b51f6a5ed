/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux images: what a bzImage and a vmlinux become in guest memory, the initramfs and the tables
 * that go along with them, and the refusal of each bad one. No KVM: guest memory is the heap.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/acpi.h"
#include "vmm/load.h"

#define MIB	 (UINT64_C(1) << 20)
#define LOW	 (32 * MIB)
#define HIGH	 (1 * MIB)
#define PREFER	 (16 * MIB)
#define SECTS	 3
#define CODE	 ((SECTS + 1) * 512)
#define CODE_LEN 4096
#define INIT	 (2 * MIB)
#define VIRTUAL	 UINT64_C(0xffffffff81000000)

struct machine {
	struct memory memory;
	struct vcpu_entry entry;
	struct error err;
	/* The parts of the request besides the image. */
	const char *cmdline, *more;
	const void *initramfs, *dtb;
	size_t initramfs_len, dtb_len;
	struct load_places places;
	size_t dtb_more, cmdline_more;
	const struct acpi *acpi;
	enum catnap_image_kind kind;
};

static void setup(struct machine *m)
{
	*m = (struct machine){.cmdline = "console=ttyS0"};
	m->memory.regions[0] = (struct memory_region){0, LOW, calloc(1, LOW)};
	m->memory.regions[1] = (struct memory_region){MEMORY_HOLE_END, HIGH, calloc(1, HIGH)};
	m->memory.count = 2;
	m->memory.size = LOW + HIGH;
	assert_non_null(m->memory.regions[0].host);
	assert_non_null(m->memory.regions[1].host);
}

static void teardown(struct machine *m)
{
	free(m->memory.regions[0].host);
	free(m->memory.regions[1].host);
}

static void *at(struct machine *m, uint64_t gpa, uint64_t len)
{
	void *p = memory_at(&m->memory, gpa, len);

	assert_non_null(p);
	return p;
}

static int load(struct machine *m, const void *bytes, size_t len)
{
	/* Of just this size, so that the sanitizers see each step aside. */
	uint8_t *copy = malloc(len ? len : 1);
	struct image img = {.name = "the-image", .fd = -1, .data = copy, .size = len};
	struct image initramfs = {.what = "initramfs",
				  .name = "the-initramfs",
				  .fd = -1,
				  .data = m->initramfs,
				  .size = m->initramfs_len};
	struct load_request req = {.image = &img,
				   .memory = &m->memory,
				   .cmdline = m->cmdline,
				   .kind = m->kind,
				   .linux_cmdline = m->more,
				   .initramfs = m->initramfs ? &initramfs : NULL,
				   .acpi = m->acpi,
				   .dtb = m->dtb,
				   .dtb_len = m->dtb_len,
				   .dtb_more = m->dtb_more,
				   .cmdline_more = m->cmdline_more,
				   .places = &m->places};
	int ret;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	ret = load_image(&req, &m->entry, &m->err);
	free(copy);
	return ret;
}

static void expect(struct machine *m, const void *bytes, size_t len, const char *why)
{
	int ret = load(m, bytes, len);

	if (ret != -ENOEXEC || !strstr(m->err.text, why))
		fail_msg("%d \"%s\", expected \"%s\"", ret, m->err.text, why);
	assert_null(strchr(m->err.text, '\n'));
}

static void refused(const void *bytes, size_t len, const char *why)
{
	/* Kept: what is refused leaves nothing behind that matters here, and making it takes
	 * long. */
	static struct machine m;

	if (!m.memory.count)
		setup(&m);
	expect(&m, bytes, len, why);
	assert_true(strncmp(m.err.text, "kernel the-image: ", 18) == 0);
}

/* ---- images ---- */

struct bzimage {
	uint8_t bytes[CODE + CODE_LEN];
};

static struct setup_header *header(struct bzimage *b)
{
	return (void *)(b->bytes + 0x1f1);
}

static void make_bzimage(struct bzimage *b)
{
	struct setup_header *h = header(b);

	memset(b, 0, sizeof(*b));
	memcpy(b->bytes, "MZ", 2);
	b->bytes[0x1ef] = 0xff; /* the sentinel, which must not get into the zero page */
	h->setup_sects = SECTS;
	h->syssize = CODE_LEN / 16;
	h->boot_flag = 0xaa55;
	h->jump = 0x6aeb;
	h->header = 0x53726448;
	h->version = 0x020f;
	h->loadflags = LOADED_HIGH;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 0x200000;
	h->relocatable_kernel = 1;
	h->xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G;
	h->cmdline_size = 2047;
	h->payload_offset = 600;
	h->payload_length = 3000;
	h->pref_address = PREFER;
	h->init_size = INIT;
	for (size_t i = 0; i < CODE_LEN; i++)
		b->bytes[CODE + i] = (uint8_t)(i * 7 | 1);
}

struct vmlinux {
	Elf64_Ehdr h;
	Elf64_Phdr load, note;
	uint32_t pvh[5];
	uint8_t text[512];
};

/* As Linux's: a physical entry, in a segment that is mapped in the kernel's half. */
static void make_vmlinux(struct vmlinux *v, bool pvh)
{
	const uint32_t note[5] = {4, 4, 18, 0x006e6558, PREFER + 0x40};

	memset(v, 0, sizeof(*v));
	memcpy(v->h.e_ident, ELFMAG "\x02\x01\x01", 7);
	v->h.e_type = ET_EXEC;
	v->h.e_machine = EM_X86_64;
	v->h.e_entry = PREFER + 0x10;
	v->h.e_phoff = offsetof(struct vmlinux, load);
	v->h.e_phentsize = sizeof(Elf64_Phdr);
	v->h.e_phnum = pvh ? 2 : 1;
	v->load = (Elf64_Phdr){.p_type = PT_LOAD,
			       .p_offset = offsetof(struct vmlinux, text),
			       .p_vaddr = VIRTUAL,
			       .p_paddr = PREFER,
			       .p_filesz = sizeof(v->text),
			       .p_memsz = INIT};
	v->note = (Elf64_Phdr){.p_type = PT_NOTE,
			       .p_offset = offsetof(struct vmlinux, pvh),
			       .p_filesz = sizeof(note),
			       .p_memsz = sizeof(note)};
	memcpy(v->pvh, note, sizeof(note));
	memset(v->text, 0x90, sizeof(v->text));
}

/* ---- good ones ---- */

/* Walks the page tables as a processor does. */
static uint64_t translate(struct machine *m, uint64_t cr3, uint64_t va)
{
	uint64_t table = cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		uint64_t *t = at(m, table, 4096), e = t[va >> shift & 511];

		assert_int_equal(e & 3, 3);
		if (shift == 21) {
			assert_int_equal(e & 0x80, 0x80);
			return (e & ~UINT64_C(0x1fffff)) | (va & 0x1fffff);
		}
		table = e & ~UINT64_C(0xfff);
	}
	return UINT64_MAX;
}

static void check_boot(struct machine *m, uint64_t rip, const char *cmdline)
{
	static const uint64_t addresses[] = {0,		 0x1fffff,   PREFER,
					     0xbfffffff, 0xfee00000, 0xffffffff};
	const struct boot_params *b = at(m, m->entry.rsi, sizeof(*b));
	const uint64_t *gdt;

	assert_int_equal(m->entry.mode, VCPU_ENTRY_LONG);
	assert_int_equal(m->entry.rip, rip);
	assert_true(m->entry.rsi >= 0x1000 && m->entry.rsi + 4096 <= MEMORY_LOW_END);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		assert_int_equal(translate(m, m->entry.cr3, addresses[i]), addresses[i]);
	gdt = at(m, m->entry.gdt_base, 40);
	assert_int_equal(m->entry.gdt_limit, 39);
	assert_int_equal(gdt[2], 0x00af9b000000ffff);
	assert_int_equal(b->sentinel, 0);
	assert_int_equal(b->hdr.boot_flag, 0xaa55);
	assert_int_equal(b->hdr.header, 0x53726448);
	assert_int_equal(b->hdr.type_of_loader, 0xff);
	assert_string_equal((char *)at(m, b->hdr.cmd_line_ptr, strlen(cmdline) + 1), cmdline);
	assert_int_equal(b->e820_entries, 5);
	assert_int_equal(b->e820_table[0].size, MEMORY_LOW_END);
	assert_int_equal(b->e820_table[1].type, 2);
	assert_int_equal(b->e820_table[2].addr, MIB);
	assert_int_equal(b->e820_table[2].size, LOW - MIB);
	assert_int_equal(b->e820_table[3].type, 2);
	assert_int_equal(b->e820_table[4].addr, MEMORY_HOLE_END);
	assert_int_equal(b->e820_table[4].size, HIGH);
	assert_int_equal(b->e820_table[4].type, 1);
}

static void test_bzimage(void **state)
{
	static const enum catnap_image_kind kinds[] = {CATNAP_IMAGE_AUTO, CATNAP_IMAGE_BZIMAGE};

	for (int i = 0; i < 2; i++) {
		const struct boot_params *p;
		struct bzimage b;
		struct machine m;

		setup(&m);
		make_bzimage(&b);
		m.kind = kinds[i];
		m.more = i ? "two three" : NULL;
		assert_int_equal(load(&m, &b, sizeof(b)), 0);
		check_boot(&m, PREFER + 0x200, i ? "console=ttyS0 two three" : "console=ttyS0");
		assert_memory_equal(at(&m, PREFER, CODE_LEN), b.bytes + CODE, CODE_LEN);
		p = at(&m, m.entry.rsi, sizeof(*p));
		assert_int_equal(p->hdr.pref_address, PREFER);
		assert_int_equal(p->hdr.ramdisk_size, 0);
		assert_int_equal(p->acpi_rsdp_addr, 0);
		assert_int_equal(p->hdr.setup_data, 0);
		teardown(&m);
	}
}

static void test_alignment(void **state)
{
	struct bzimage b;
	struct machine m;

	setup(&m);
	make_bzimage(&b);
	header(&b)->pref_address = PREFER + 0x1000;
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	assert_int_equal(m.entry.rip, PREFER + 0x200000 + 0x200);
	/* One that is not relocatable has no choice. */
	header(&b)->relocatable_kernel = 0;
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	assert_int_equal(m.entry.rip, PREFER + 0x1000 + 0x200);
	/* The default number of sectors, which old images leave out. */
	make_bzimage(&b);
	header(&b)->setup_sects = 0;
	header(&b)->syssize -= 32;
	header(&b)->payload_length = 0;
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	assert_memory_equal(at(&m, PREFER, 100), b.bytes + CODE + 512, 100);
	teardown(&m);
}

/* A program that only borrows the header, without a payload, may leave its last paragraph
 * unfilled. */
static void test_last_paragraph(void **state)
{
	struct bzimage b;
	struct machine m;

	setup(&m);
	make_bzimage(&b);
	header(&b)->payload_offset = header(&b)->payload_length = 0;
	assert_int_equal(load(&m, &b, sizeof(b) - 15), 0);
	assert_memory_equal(at(&m, PREFER, CODE_LEN - 15), b.bytes + CODE, CODE_LEN - 15);
	assert_int_equal(*(uint8_t *)at(&m, PREFER + CODE_LEN - 15, 1), 0);
	teardown(&m);
	refused(&b, sizeof(b) - 16, "truncated");
}

static void test_vmlinux(void **state)
{
	struct vmlinux v;
	struct machine m;

	for (int pvh = 0; pvh < 2; pvh++) {
		setup(&m);
		make_vmlinux(&v, pvh);
		m.more = "more";
		m.kind = pvh ? CATNAP_IMAGE_LINUX64 : CATNAP_IMAGE_AUTO;
		assert_int_equal(load(&m, &v, sizeof(v)), 0);
		check_boot(&m, PREFER + 0x10, "console=ttyS0 more");
		teardown(&m);
	}
	/* By its note if it may choose; Linux gets its words that way, too. */
	setup(&m);
	m.more = "more";
	assert_int_equal(load(&m, &v, sizeof(v)), 0);
	assert_int_equal(m.entry.mode, VCPU_ENTRY_PROTECTED);
	assert_int_equal(m.entry.rip, PREFER + 0x40);
	assert_string_equal((char *)at(&m, *(uint64_t *)at(&m, m.entry.rbx + 24, 8), 19),
			    "console=ttyS0 more");
	teardown(&m);
}

static void test_initramfs(void **state)
{
	const struct boot_params *p;
	struct bzimage b;
	struct vmlinux v;
	struct machine m;
	uint8_t data[5000];
	uint64_t where, *module;

	memset(data, 0xa5, sizeof(data));
	setup(&m);
	m.initramfs = data;
	m.initramfs_len = sizeof(data);
	make_bzimage(&b);
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	p = at(&m, m.entry.rsi, sizeof(*p));
	where = LOW - 8192;
	assert_int_equal(p->hdr.ramdisk_image, where);
	assert_int_equal(p->hdr.ramdisk_size, sizeof(data));
	assert_memory_equal(at(&m, where, sizeof(data)), data, sizeof(data));
	/* Not above what the kernel can reach: here, below the kernel. */
	header(&b)->initrd_addr_max = PREFER + 100;
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	p = at(&m, m.entry.rsi, sizeof(*p));
	assert_int_equal(p->hdr.ramdisk_image, PREFER - 8192);
	/* PVH: as a module. */
	make_vmlinux(&v, true);
	assert_int_equal(load(&m, &v, sizeof(v)), 0);
	assert_int_equal(*(uint32_t *)at(&m, m.entry.rbx + 12, 4), 1);
	module = at(&m, *(uint64_t *)at(&m, m.entry.rbx + 16, 8), 32);
	assert_int_equal(module[0], where);
	assert_int_equal(module[1], sizeof(data));
	teardown(&m);
}

/* An initramfs that Linux could not unpack: a kernel, above all, where the two were exchanged. */
static void test_no_initramfs(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *why; /* NULL: taken */
	} files[] = {
		{"\177ELF\2\1\1", 7, "this is an ELF file, not an initramfs: are kernel and"},
		{"#!/bin/sh\n", 10, "this is a script, not an initramfs"},
		{"init\n", 5, "this is a text file"},
		{"PK\3\4", 4, "this is a zip archive"},
		{"QFI\373\0\0\0\3", 8, "this is a qcow2 disk image"},
		{"070701", 6, NULL},
		{"\37\213\10\0", 4, NULL},
		{"\50\265\57\375", 4, NULL},
		{"hsqs\0", 5, NULL},
		{"\0\1\2\3", 4, NULL},
	};
	struct bzimage b, other;
	struct vmlinux v;
	struct machine m;

	make_bzimage(&b);
	make_bzimage(&other);
	for (int pvh = 0; pvh < 2; pvh++) {
		make_vmlinux(&v, pvh);
		for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
			setup(&m);
			m.initramfs = files[i].bytes;
			m.initramfs_len = files[i].len;
			if (files[i].why) {
				expect(&m, &b, sizeof(b), files[i].why);
				expect(&m, &v, sizeof(v), files[i].why);
			} else {
				assert_int_equal(load(&m, &b, sizeof(b)), 0);
				assert_int_equal(load(&m, &v, sizeof(v)), 0);
			}
			teardown(&m);
		}
	}
	setup(&m);
	m.initramfs = &other;
	m.initramfs_len = sizeof(other);
	expect(&m, &b, sizeof(b), "this is a Linux bzImage, not an initramfs");
	/* And the reverse. */
	expect(&m, "070701", 6, "this is a cpio archive, not a kernel image: it may be the init");
	teardown(&m);
}

static void test_large_initramfs(void **state)
{
	uint8_t *data = calloc(1, LOW + 1);
	/* All but the first MiB, and the kernel in the middle: the largest hole is below it. */
	const size_t sizes[] = {PREFER - MIB, PREFER - MIB + 1, LOW, LOW + 1};
	struct bzimage b;
	struct machine m;

	assert_non_null(data);
	make_bzimage(&b);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		setup(&m);
		m.initramfs = data;
		m.initramfs_len = sizes[i];
		if (i == 0)
			assert_int_equal(load(&m, &b, sizeof(b)), 0);
		else
			expect(&m, &b, sizeof(b), "initramfs the-initramfs: ");
		teardown(&m);
	}
	setup(&m);
	m.initramfs = data;
	m.initramfs_len = 0;
	expect(&m, &b, sizeof(b), "initramfs the-initramfs: the file is empty");
	m.initramfs_len = 1;
	m.kind = CATNAP_IMAGE_FLAT;
	expect(&m, "\xf4\xf4", 2, "initramfs the-initramfs: a flat image takes none");
	teardown(&m);
	free(data);
}

static void test_tables(void **state)
{
	const struct acpi_config cfg = {.vcpus = 2};
	const uint8_t dtb[24] = "a device tree";
	const struct boot_params *p;
	const struct setup_data *d;
	struct acpi acpi;
	struct bzimage b;
	struct vmlinux v;
	struct machine m;

	assert_int_equal(acpi_build(&cfg, &acpi), 0);
	setup(&m);
	m.acpi = &acpi;
	make_bzimage(&b);
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	p = at(&m, m.entry.rsi, sizeof(*p));
	assert_int_equal(p->acpi_rsdp_addr, acpi.rsdp);
	assert_memory_equal(at(&m, ACPI_BASE, acpi.len), acpi.bytes, acpi.len);
	/* mov $0xfe, %al; out %al, $0x64 where a processor begins after reset */
	assert_memory_equal(at(&m, 0xffff0, 4), "\xb0\xfe\xe6\x64", 4);
	make_vmlinux(&v, true);
	assert_int_equal(load(&m, &v, sizeof(v)), 0);
	assert_int_equal(*(uint64_t *)at(&m, m.entry.rbx + 32, 8), acpi.rsdp);
	teardown(&m);

	/* An image that lies there keeps its bytes. */
	setup(&m);
	m.acpi = &acpi;
	v.load.p_paddr = 0xef000;
	v.load.p_memsz = sizeof(v.text);
	v.h.e_entry = 0xef010;
	v.h.e_phnum = 1;
	assert_int_equal(load(&m, &v, sizeof(v)), 0);
	p = at(&m, m.entry.rsi, sizeof(*p));
	assert_int_equal(p->acpi_rsdp_addr, 0);
	assert_memory_equal(at(&m, 0xef000, sizeof(v.text)), v.text, sizeof(v.text));
	assert_int_equal(*(uint64_t *)at(&m, ACPI_BASE, 8), 0);
	teardown(&m);

	/* The device tree: by the 64-bit entry, even if there is another; not by PVH. */
	setup(&m);
	m.dtb = dtb;
	m.dtb_len = sizeof(dtb);
	make_vmlinux(&v, true);
	assert_int_equal(load(&m, &v, sizeof(v)), 0);
	assert_int_equal(m.entry.mode, VCPU_ENTRY_LONG);
	p = at(&m, m.entry.rsi, sizeof(*p));
	d = at(&m, p->hdr.setup_data, sizeof(*d) + sizeof(dtb));
	assert_int_equal(d->type, SETUP_DTB);
	assert_int_equal(d->next, 0);
	assert_int_equal(d->len, sizeof(dtb));
	assert_memory_equal(d->data, dtb, sizeof(dtb));
	assert_int_equal(p->acpi_rsdp_addr, 0);
	m.kind = CATNAP_IMAGE_PVH;
	expect(&m, &v, sizeof(v), "PVH cannot carry a device tree");
	teardown(&m);
	acpi_free(&acpi);
}

/* ---- bad ones ---- */

static void test_truncated(void **state)
{
	struct bzimage b;

	make_bzimage(&b);
	for (size_t len = 1; len < sizeof(b); len += len < 0x280 || len > CODE - 4 ? 1 : 97)
		refused(&b, len,
			len < 2	      ? "a text file"
			: len < 0x206 ? "without Linux's boot header"
			: len < 0x26c ? "truncated"
			: len <= CODE ? "setup_sects"
				      : "truncated");
}

static void test_fields(void **state)
{
	struct bzimage good, b;

	make_bzimage(&good);
#define BAD(field, value, why)               \
	do {                                 \
		b = good;                    \
		header(&b)->field = value;   \
		refused(&b, sizeof(b), why); \
	} while (0)
	BAD(boot_flag, 0xaa54, "boot_flag is 0xaa54");
	BAD(version, 0x020b, "boot protocol 2.11");
	BAD(version, 0, "boot protocol 0.00");
	BAD(loadflags, 0, "zImage");
	BAD(xloadflags, 0, "a 32-bit kernel");
	BAD(xloadflags, XLF_EFI_HANDOVER_32, "a 32-bit kernel");
	BAD(setup_sects, 255, "setup_sects 255");
	BAD(setup_sects, 11, "setup_sects 11");
	BAD(setup_sects, 4, "truncated");
	BAD(syssize, 0, "syssize 0");
	BAD(syssize, 32, "syssize 32");
	BAD(syssize, CODE_LEN / 16 + 1, "truncated");
	BAD(syssize, UINT32_MAX, "truncated");
	BAD(payload_offset, 1097, "payload");
	BAD(payload_length, UINT32_MAX, "payload");
	BAD(kernel_alignment, 0, "power of two");
	BAD(kernel_alignment, 0x180000, "power of two");
	BAD(pref_address, 0, "below 1 MiB");
	BAD(pref_address, LOW, "needs memory up to");
	BAD(pref_address, UINT64_MAX, "needs memory up to");
	BAD(pref_address, UINT64_MAX - 0x1fffff, "needs memory up to");
	BAD(init_size, LOW - PREFER + 1, "needs memory up to");
	BAD(init_size, UINT32_MAX, "needs memory up to");
	BAD(kernel_alignment, 0x80000000, "needs memory up to");
	BAD(cmdline_size, 12, "command line has 13 bytes; this kernel takes 12");
#undef BAD
}

/* Each bit of what is read, one at a time: loaded or refused, and nothing outside memory is
 * touched. */
static void test_flipped_bits(void **state)
{
	struct bzimage b;
	struct machine m;

	setup(&m);
	for (size_t bit = 0x1e0 * 8; bit < 0x280 * 8; bit++) {
		int ret;

		make_bzimage(&b);
		b.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ret = load(&m, &b, sizeof(b));
		assert_true(ret == 0 || (ret == -ENOEXEC && m.err.text[0]));
		if (ret == 0)
			assert_non_null(memory_at(&m.memory, m.entry.rip, 1));
	}
	teardown(&m);
}

static void test_command_line(void **state)
{
	char text[2100];
	struct bzimage b;
	struct vmlinux v;
	struct machine m;

	memset(text, 'x', sizeof(text));
	make_bzimage(&b);
	make_vmlinux(&v, false);
	for (size_t len = 2046; len < 2049; len++) {
		setup(&m);
		text[len] = '\0';
		m.cmdline = text;
		for (int elf = 0; elf < 3; elf++) {
			const void *image = elf ? (void *)&v : (void *)&b;
			size_t size = elf ? sizeof(v) : sizeof(b);

			make_vmlinux(&v, elf == 2);
			if (len <= 2047)
				assert_int_equal(load(&m, image, size), 0);
			else
				expect(&m, image, size, "command line has 2048 bytes");
		}
		/* The additions count. */
		m.more = "y";
		if (len == 2046)
			expect(&m, &b, sizeof(b), "command line has 2048 bytes");
		text[len] = 'x';
		teardown(&m);
	}
}

/* Each addition is a parameter: before init's words, whatever the image. */
static void test_parameters(void **state)
{
	struct bzimage b;
	struct vmlinux v;
	struct machine m;
	const char *text;

	make_bzimage(&b);
	for (int kind = 0; kind < 3; kind++) {
		make_vmlinux(&v, kind == 2);
		setup(&m);
		m.cmdline = "console=ttyS0 a=\"b -- c\" -- one two";
		m.more = "cpuidle_haltpoll.force=Y";
		assert_int_equal(kind ? load(&m, &v, sizeof(v)) : load(&m, &b, sizeof(b)), 0);
		if (kind == 2)
			text = at(&m, *(uint64_t *)at(&m, m.entry.rbx + 24, 8), 80);
		else
			text = at(
				&m,
				((struct boot_params *)at(&m, m.entry.rsi, 4096))->hdr.cmd_line_ptr,
				80);
		assert_string_equal(text, "console=ttyS0 a=\"b -- c\" cpuidle_haltpoll.force=Y -- "
					  "one two");
		teardown(&m);
	}
}

/* Tests additions that are known only after the image was loaded. */
static void test_again(void **state)
{
	const uint8_t dtb[24] = "a device tree", longer[40] = "another, with devices in it";
	struct setup_data *d;
	struct boot_params *p;
	struct bzimage b;
	struct machine m;
	char text[80];

	setup(&m);
	make_bzimage(&b);
	m.cmdline = "words";
	m.dtb = dtb;
	m.dtb_len = sizeof(dtb);
	m.dtb_more = 16;
	m.cmdline_more = 32;
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	p = at(&m, m.entry.rsi, sizeof(*p));
	assert_int_equal(load_linux_dtb(&m.memory, &m.places, longer, sizeof(longer)), 0);
	d = at(&m, p->hdr.setup_data, sizeof(*d) + sizeof(longer));
	assert_int_equal(d->len, sizeof(longer));
	assert_memory_equal(d->data, longer, sizeof(longer));
	assert_int_equal(load_linux_dtb(&m.memory, &m.places, text, 41), -ENOSPC);
	assert_int_equal(d->len, sizeof(longer));

	memset(text, 'x', sizeof(text));
	text[5 + 32] = '\0';
	assert_int_equal(load_linux_again(&m.memory, &m.places, text), 0);
	assert_string_equal(at(&m, p->hdr.cmd_line_ptr, 38), text);
	assert_memory_equal(d->data, longer, sizeof(longer));
	text[5 + 32] = 'x';
	text[5 + 33] = '\0';
	assert_int_equal(load_linux_again(&m.memory, &m.places, text), -ENOSPC);
	teardown(&m);

	/* No more than the kernel takes. */
	setup(&m);
	header(&b)->cmdline_size = 10;
	m.cmdline = "words";
	m.cmdline_more = 32;
	assert_int_equal(load(&m, &b, sizeof(b)), 0);
	assert_int_equal(load_linux_again(&m.memory, &m.places, "ten words."), 0);
	assert_int_equal(load_linux_again(&m.memory, &m.places, "ten words!."), -ENOSPC);
	teardown(&m);
}

static void test_other(void **state)
{
	struct vmlinux v;
	struct machine m;

	setup(&m);
	m.kind = CATNAP_IMAGE_BZIMAGE;
	make_vmlinux(&v, false);
	expect(&m, &v, sizeof(v), "not a bzImage");
	m.kind = CATNAP_IMAGE_LINUX64;
	expect(&m, "text", 4, "not an ELF file");
	v.h.e_entry = LOW;
	expect(&m, &v, sizeof(v), "outside guest memory");
	teardown(&m);
	/* A program, not a kernel: nothing in it says how it would be started. */
	make_vmlinux(&v, false);
	v.load.p_vaddr = PREFER;
	refused(&v, sizeof(v), "without a PVH entry or a Multiboot header");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage),		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_last_paragraph),	cmocka_unit_test(test_vmlinux),
		cmocka_unit_test(test_initramfs),	cmocka_unit_test(test_no_initramfs),
		cmocka_unit_test(test_large_initramfs), cmocka_unit_test(test_tables),
		cmocka_unit_test(test_truncated),	cmocka_unit_test(test_fields),
		cmocka_unit_test(test_flipped_bits),	cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_parameters),	cmocka_unit_test(test_again),
		cmocka_unit_test(test_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
