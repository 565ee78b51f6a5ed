/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel images: what a good one becomes in guest memory, and the refusal of each bad one. No KVM:
 * the guest's memory is the heap, and images have just their size, so that the sanitizers see each
 * step aside.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "vmm/load.h"

#define MIB	 (UINT64_C(1) << 20)
#define LOW	 (4 * MIB)
#define HIGH	 (1 * MIB)
#define TEXT	 UINT64_C(0x100000)
#define TEXT_LEN 256
#define DATA	 UINT64_C(0x200000)
#define DATA_LEN 100
#define BSS_LEN	 5000
#define VIRTUAL	 UINT64_C(0xffffffff80000000)
#define PVH	 (TEXT + 0x20)
#define MB_FLAGS 0x00000003u
#define MB_MAGIC 0x1badb002u

/* ---- the machine ---- */

struct machine {
	struct memory memory;
	struct vcpu_entry entry;
	struct error err;
};

static void setup(struct machine *m)
{
	memset(m, 0, sizeof(*m));
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

static void *at(struct machine *m, uint64_t gpa)
{
	void *p = memory_at(&m->memory, gpa, 1);

	assert_non_null(p);
	return p;
}

static uint64_t word(struct machine *m, uint64_t gpa, unsigned int len)
{
	uint64_t value = 0;

	assert_non_null(memory_at(&m->memory, gpa, len));
	memcpy(&value, at(m, gpa), len);
	return value;
}

static int load_into(struct machine *m, const void *bytes, size_t len, enum catnap_image_kind kind,
		     const char *cmdline)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct image img = {.name = "the-image", .fd = -1, .data = copy, .size = len};
	struct load_request req = {&img, &m->memory, cmdline, kind};
	int ret;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	ret = load_image(&req, &m->entry, &m->err);
	free(copy);
	return ret;
}

/* Refused with -ENOEXEC and a sentence that has the name and @why. */
static void refused(const void *bytes, size_t len, enum catnap_image_kind kind, const char *why)
{
	struct machine m;
	int ret;

	setup(&m);
	ret = load_into(&m, bytes, len, kind, "");
	if (ret != -ENOEXEC || !strstr(m.err.text, why))
		fail_msg("%d \"%s\", expected \"%s\"", ret, m.err.text, why);
	assert_true(strncmp(m.err.text, "kernel the-image: ", 18) == 0);
	assert_null(strchr(m.err.text, '\n'));
	teardown(&m);
}

/* ---- images ---- */

#define LOADS 70

struct elf_image {
	bool is64;
	uint16_t machine, type, phentsize, phnum;
	uint8_t data_encoding;
	uint64_t entry;
	struct {
		uint32_t type;
		uint64_t offset, vaddr, paddr, filesz, memsz;
	} ph[LOADS];
	uint8_t bytes[16384]; /* the headers come when it is built */
	size_t len;
};

static void note(struct elf_image *e, uint32_t namesz, uint32_t descsz, uint32_t type,
		 const char *name, uint64_t desc)
{
	uint8_t *p = e->bytes + e->len;
	uint32_t head[3] = {namesz, descsz, type};

	memcpy(p, head, 12);
	memcpy(p + 12, name, 4);
	memcpy(p + 16, &desc, descsz > 8 ? 8 : descsz);
	e->len += 16 + ((descsz + 3) & ~3u);
}

/* Text, data with bss, and a PVH note, in this order in the file, with nothing behind. */
static void elf_image(struct elf_image *e, bool is64)
{
	memset(e, 0, sizeof(*e));
	*e = (struct elf_image){.is64 = is64,
				.machine = is64 ? EM_X86_64 : EM_386,
				.type = ET_EXEC,
				.phentsize = is64 ? 56 : 32,
				.phnum = 3,
				.data_encoding = ELFDATA2LSB,
				.len = 0x1000};
	for (int i = 0; i < TEXT_LEN; i++)
		e->bytes[e->len + (size_t)i] = (uint8_t)(i | 1);
	e->ph[0].type = PT_LOAD;
	e->ph[0].offset = e->len;
	e->ph[0].paddr = TEXT;
	e->ph[0].vaddr = is64 ? VIRTUAL + TEXT : 0xc0000000 + TEXT;
	e->ph[0].filesz = e->ph[0].memsz = TEXT_LEN;
	e->entry = e->ph[0].vaddr + 0x40; /* virtual: not Linux */
	e->len += TEXT_LEN;
	memset(e->bytes + e->len, 0xda, DATA_LEN);
	e->ph[1].type = PT_LOAD;
	e->ph[1].offset = e->len;
	e->ph[1].paddr = DATA;
	e->ph[1].vaddr = is64 ? VIRTUAL + DATA : 0xc0000000 + DATA;
	e->ph[1].filesz = DATA_LEN;
	e->ph[1].memsz = DATA_LEN + BSS_LEN;
	e->len += DATA_LEN;
	e->ph[2].type = PT_NOTE;
	e->ph[2].offset = e->len;
	note(e, 4, 4, 18, "Xen", PVH);
	e->ph[2].filesz = e->ph[2].memsz = e->len - e->ph[2].offset;
}

/* A Multiboot header in front of the text, and no PVH note. */
static void multiboot_elf(struct elf_image *e, bool is64)
{
	const uint32_t header[3] = {MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)};

	elf_image(e, is64);
	memcpy(e->bytes + 0x1000, header, sizeof(header));
	e->entry = e->ph[0].vaddr + 0x40;
	e->phnum = 2;
	e->len = e->ph[2].offset;
}

static void build(struct elf_image *e)
{
	if (e->is64) {
		Elf64_Ehdr h = {.e_type = e->type,
				.e_machine = e->machine,
				.e_version = 1,
				.e_entry = e->entry,
				.e_phoff = sizeof(h),
				.e_ehsize = sizeof(h),
				.e_phentsize = e->phentsize,
				.e_phnum = e->phnum};

		memcpy(h.e_ident, ELFMAG, SELFMAG);
		h.e_ident[EI_CLASS] = ELFCLASS64;
		h.e_ident[EI_DATA] = e->data_encoding;
		h.e_ident[EI_VERSION] = 1;
		memcpy(e->bytes, &h, sizeof(h));
		for (size_t i = 0; i < e->phnum && i < LOADS; i++) {
			Elf64_Phdr p = {.p_type = e->ph[i].type,
					.p_offset = e->ph[i].offset,
					.p_vaddr = e->ph[i].vaddr,
					.p_paddr = e->ph[i].paddr,
					.p_filesz = e->ph[i].filesz,
					.p_memsz = e->ph[i].memsz};

			memcpy(e->bytes + sizeof(h) + i * sizeof(p), &p, sizeof(p));
		}
	} else {
		Elf32_Ehdr h = {.e_type = e->type,
				.e_machine = e->machine,
				.e_version = 1,
				.e_entry = (uint32_t)e->entry,
				.e_phoff = sizeof(h),
				.e_ehsize = sizeof(h),
				.e_phentsize = e->phentsize,
				.e_phnum = e->phnum};

		memcpy(h.e_ident, ELFMAG, SELFMAG);
		h.e_ident[EI_CLASS] = ELFCLASS32;
		h.e_ident[EI_DATA] = e->data_encoding;
		h.e_ident[EI_VERSION] = 1;
		memcpy(e->bytes, &h, sizeof(h));
		for (size_t i = 0; i < e->phnum && i < LOADS; i++) {
			Elf32_Phdr p = {.p_type = e->ph[i].type,
					.p_offset = (uint32_t)e->ph[i].offset,
					.p_vaddr = (uint32_t)e->ph[i].vaddr,
					.p_paddr = (uint32_t)e->ph[i].paddr,
					.p_filesz = (uint32_t)e->ph[i].filesz,
					.p_memsz = (uint32_t)e->ph[i].memsz};

			memcpy(e->bytes + sizeof(h) + i * sizeof(p), &p, sizeof(p));
		}
	}
}

static void elf_refused(struct elf_image *e, const char *why)
{
	build(e);
	refused(e->bytes, e->len, CATNAP_IMAGE_AUTO, why);
}

/* The header at @offset, then text up to @len. */
static size_t kludge_image(uint8_t *bytes, uint32_t offset, size_t len)
{
	const uint32_t flags = MB_FLAGS | MULTIBOOT_HAS_ADDRESSES;
	struct multiboot_header h = {.magic = MB_MAGIC,
				     .flags = flags,
				     .checksum = -(MB_MAGIC + flags),
				     .header_addr = (uint32_t)TEXT + offset,
				     .load_addr = (uint32_t)TEXT,
				     .load_end_addr = (uint32_t)(TEXT + len),
				     .bss_end_addr = (uint32_t)(TEXT + len + BSS_LEN),
				     .entry_addr = (uint32_t)TEXT + 0x100};

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 7 | 0x81); /* not text */
	memcpy(bytes + offset, &h, sizeof(h));
	return len;
}

static struct multiboot_header *header_of(uint8_t *bytes, uint32_t offset)
{
	return (void *)(bytes + offset);
}

/* ---- good ones ---- */

static void check_segments(struct machine *m, const struct elf_image *e)
{
	assert_memory_equal(at(m, TEXT), e->bytes + e->ph[0].offset, TEXT_LEN);
	assert_memory_equal(at(m, DATA), e->bytes + e->ph[1].offset, DATA_LEN);
	for (int i = 0; i < BSS_LEN; i++)
		assert_int_equal(word(m, DATA + DATA_LEN + (uint64_t)i, 1), 0);
}

/* Boot information lies in conventional memory, and not in the image. */
static void check_place(uint64_t start, uint64_t len)
{
	assert_true(start >= 0x1000);
	assert_true(start + len <= MEMORY_LOW_END);
}

static void test_pvh(void **state)
{
	for (int is64 = 0; is64 < 2; is64++) {
		const char *cmdline = "console=ttyS0 one";
		struct elf_image e;
		struct machine m;
		uint64_t info, map, text;

		setup(&m);
		elf_image(&e, is64);
		build(&e);
		assert_int_equal(load_into(&m, e.bytes, e.len,
					   is64 ? CATNAP_IMAGE_AUTO : CATNAP_IMAGE_PVH, cmdline),
				 0);
		check_segments(&m, &e);
		assert_int_equal(m.entry.mode, VCPU_ENTRY_PROTECTED);
		assert_int_equal(m.entry.rip, PVH);
		info = m.entry.rbx;
		check_place(info, 56);
		assert_int_equal(word(&m, info, 4), 0x336ec578);
		assert_int_equal(word(&m, info + 4, 4), 1);
		assert_int_equal(word(&m, info + 12, 4), 0); /* no modules */
		text = word(&m, info + 24, 8);
		check_place(text, strlen(cmdline) + 1);
		assert_string_equal((char *)at(&m, text), cmdline);
		map = word(&m, info + 40, 8);
		assert_int_equal(word(&m, info + 48, 4), 5);
		check_place(map, 5 * 24);
		assert_int_equal(word(&m, map, 8), 0);
		assert_int_equal(word(&m, map + 8, 8), MEMORY_LOW_END);
		assert_int_equal(word(&m, map + 16, 4), 1);
		assert_int_equal(word(&m, map + 24, 8), MEMORY_LOW_END);
		assert_int_equal(word(&m, map + 40, 4), 2);
		assert_int_equal(word(&m, map + 48, 8), MIB);
		assert_int_equal(word(&m, map + 56, 8), LOW - MIB);
		assert_int_equal(word(&m, map + 72, 8), MEMORY_KVM_START);
		assert_int_equal(word(&m, map + 88, 4), 2);
		assert_int_equal(word(&m, map + 96, 8), MEMORY_HOLE_END);
		assert_int_equal(word(&m, map + 104, 8), HIGH);
		assert_int_equal(word(&m, map + 112, 4), 1);
		/* The GDT that the segments were loaded from. */
		assert_int_equal(m.entry.gdt_limit, 39);
		assert_int_equal(word(&m, m.entry.gdt_base + 16, 8), 0x00cf9b000000ffff);
		assert_int_equal(word(&m, m.entry.gdt_base + 24, 8), 0x00cf93000000ffff);
		teardown(&m);
	}
}

static void check_multiboot(struct machine *m, uint64_t rip, const char *cmdline)
{
	uint64_t info = m->entry.rbx, map, end;

	assert_int_equal(m->entry.mode, VCPU_ENTRY_PROTECTED);
	assert_int_equal(m->entry.rax, 0x2badb002);
	assert_int_equal(m->entry.rip, rip);
	check_place(info, 120);
	assert_int_equal(word(m, info, 4) & 0x45, 0x45);
	assert_int_equal(word(m, info + 4, 4), 639);
	assert_int_equal(word(m, info + 8, 4), (LOW - MIB) / 1024);
	assert_int_equal(word(m, info + 20, 4), 0);
	assert_string_equal((char *)at(m, word(m, info + 16, 4)), cmdline);
	map = word(m, info + 48, 4);
	end = map + word(m, info + 44, 4);
	check_place(map, end - map);
	for (int i = 0; map < end; i++, map += word(m, map, 4) + 4) {
		assert_true(word(m, map, 4) >= 20);
		if (i == 0)
			assert_int_equal(word(m, map + 12, 8), MEMORY_LOW_END);
		if (i == 4)
			assert_int_equal(word(m, map + 4, 8), MEMORY_HOLE_END);
	}
	assert_int_equal(map, end);
}

static void test_multiboot_elf(void **state)
{
	for (int is64 = 0; is64 < 2; is64++) {
		struct elf_image e;
		struct machine m;

		setup(&m);
		multiboot_elf(&e, is64);
		build(&e);
		assert_int_equal(load_into(&m, e.bytes, e.len,
					   is64 ? CATNAP_IMAGE_AUTO : CATNAP_IMAGE_MULTIBOOT,
					   "a b"),
				 0);
		check_segments(&m, &e);
		/* The entry is virtual, and starts without paging. */
		check_multiboot(&m, TEXT + 0x40, "the-image a b");
		teardown(&m);
	}
}

/* Both: PVH goes first, unless the other one is asked for. */
static void test_both(void **state)
{
	struct elf_image e;
	struct machine m;

	multiboot_elf(&e, true);
	e.phnum = 3;
	e.len += e.ph[2].filesz;
	build(&e);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_AUTO, ""), 0);
	assert_int_equal(m.entry.rip, PVH);
	teardown(&m);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_MULTIBOOT, ""), 0);
	check_multiboot(&m, TEXT + 0x40, "the-image");
	teardown(&m);
}

static void test_kludge(void **state)
{
	static const uint32_t offsets[] = {0, 4, 0x200, 8192 - 32};
	uint8_t bytes[9000];

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		size_t len = kludge_image(bytes, offsets[i], sizeof(bytes));
		struct machine m;

		setup(&m);
		assert_int_equal(load_into(&m, bytes, len, CATNAP_IMAGE_AUTO, "x"), 0);
		assert_memory_equal(at(&m, TEXT), bytes, len);
		assert_int_equal(word(&m, TEXT + len, 8), 0);
		check_multiboot(&m, TEXT + 0x100, "the-image x");
		teardown(&m);
	}
	/* Load from the middle of the file; to its end; no bss. */
	for (int to_end = 0; to_end < 2; to_end++) {
		size_t len = kludge_image(bytes, 0x200, sizeof(bytes));
		struct multiboot_header *h = header_of(bytes, 0x200);
		struct machine m;

		h->load_addr = h->header_addr - 0x80;
		h->load_end_addr = to_end ? 0 : h->load_addr + 0x400;
		h->bss_end_addr = 0;
		setup(&m);
		assert_int_equal(load_into(&m, bytes, len, CATNAP_IMAGE_AUTO, "x"), 0);
		assert_memory_equal(at(&m, h->load_addr), bytes + 0x180, 0x400);
		assert_int_equal(word(&m, h->load_addr + 0x400, 1), to_end ? bytes[0x580] : 0);
		assert_int_equal(word(&m, h->load_addr - 1, 1), 0);
		teardown(&m);
	}
}

/* Without addresses a header is 12 bytes, and may be the last of the 8 KiB. */
static void test_header_at_the_end(void **state)
{
	const uint32_t header[3] = {MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)};
	struct elf_image e;
	struct machine m;

	multiboot_elf(&e, false);
	memset(e.bytes + 0x1000, 0, 12);
	memcpy(e.bytes + 8192 - 12, header, 12);
	e.len = 8192;
	build(&e);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_AUTO, ""), 0);
	check_multiboot(&m, TEXT + 0x40, "the-image");
	teardown(&m);
	/* Not one byte further. */
	memset(e.bytes + 8192 - 12, 0, 12);
	memcpy(e.bytes + 8192 - 8, header, 12);
	e.len = 8192 + 4;
	elf_refused(&e, "without a PVH entry or a Multiboot header");
}

static void test_flat(void **state)
{
	uint8_t bytes[2000];
	struct machine m;

	memset(bytes, 0xf4, sizeof(bytes));
	setup(&m);
	assert_int_equal(load_into(&m, bytes, sizeof(bytes), CATNAP_IMAGE_FLAT, "x"), 0);
	assert_int_equal(m.entry.mode, VCPU_ENTRY_REAL);
	assert_int_equal(m.entry.rip, 0x7c00);
	assert_int_equal(m.entry.cs_selector, 0);
	assert_memory_equal(at(&m, 0x7c00), bytes, sizeof(bytes));
	assert_int_equal(word(&m, 0x7c00 - 1, 1), 0);
	assert_int_equal(word(&m, 0x7c00 + sizeof(bytes), 1), 0);
	teardown(&m);
	/* Nothing is flat that was not asked to be. */
	refused(bytes, sizeof(bytes), CATNAP_IMAGE_AUTO, "needs --kernel-format flat");
	refused(bytes, 1, CATNAP_IMAGE_AUTO, "needs --kernel-format flat");
	/* Asked for, anything is flat. */
	setup(&m);
	assert_int_equal(load_into(&m,
				   "\x7f"
				   "ELF text",
				   9, CATNAP_IMAGE_FLAT, ""),
			 0);
	assert_int_equal(m.entry.rip, 0x7c00);
	teardown(&m);
}

/* The first page that is free from the top of conventional memory down. */
static void test_place(void **state)
{
	struct elf_image e;
	struct machine m;

	elf_image(&e, true);
	e.ph[1].paddr = 0x80000;
	e.ph[1].memsz = MEMORY_LOW_END - 0x80000;
	build(&e);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_AUTO, "x"), 0);
	assert_true(m.entry.rbx < 0x80000);
	check_place(m.entry.rbx, 56);
	assert_memory_equal(at(&m, 0x80000), e.bytes + e.ph[1].offset, DATA_LEN);
	assert_int_equal(word(&m, 0x80000 + DATA_LEN, 8), 0);
	teardown(&m);
}

/* ---- bad ones ---- */

static void test_no_room(void **state)
{
	struct elf_image e;
	char *cmdline = malloc(0xa0000);
	struct machine m;

	elf_image(&e, true);
	e.ph[1].paddr = 0x1000;
	e.ph[1].memsz = MEMORY_LOW_END - 0x1000;
	elf_refused(&e, "no room for");
	multiboot_elf(&e, true);
	e.ph[1].paddr = 0;
	e.ph[1].memsz = MEMORY_LOW_END;
	elf_refused(&e, "no room for");
	/* A command line that is too long for it. */
	assert_non_null(cmdline);
	memset(cmdline, 'x', 0xa0000 - 1);
	cmdline[0xa0000 - 1] = '\0';
	elf_image(&e, true);
	build(&e);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_AUTO, cmdline), -ENOEXEC);
	assert_non_null(strstr(m.err.text, "no room for"));
	teardown(&m);
	free(cmdline);
}

/* Cut off anywhere, an image is refused, not half loaded and started. */
static void test_truncated(void **state)
{
	static struct elf_image images[4];
	uint8_t kludge[600];

	elf_image(&images[0], true);
	elf_image(&images[1], false);
	multiboot_elf(&images[2], true);
	multiboot_elf(&images[3], false);
	for (int i = 0; i < 4; i++) {
		struct machine m;

		build(&images[i]);
		setup(&m);
		assert_int_equal(
			load_into(&m, images[i].bytes, images[i].len, CATNAP_IMAGE_AUTO, ""), 0);
		for (size_t len = 0; len < images[i].len; len++)
			for (int kind = CATNAP_IMAGE_AUTO; kind <= CATNAP_IMAGE_MULTIBOOT; kind++)
				if (load_into(&m, images[i].bytes, len,
					      (enum catnap_image_kind)kind, "") != -ENOEXEC)
					fail_msg("image %d of %zu bytes as %d", i, len, kind);
		teardown(&m);
	}
	kludge_image(kludge, 0x20, sizeof(kludge));
	for (size_t len = 0; len < sizeof(kludge); len++) {
		refused(kludge, len, CATNAP_IMAGE_MULTIBOOT, "");
		/* From where the header can be seen. */
		if (len >= 0x20 + 12)
			refused(kludge, len, CATNAP_IMAGE_AUTO, "truncated");
	}
}

static void test_elf_header(void **state)
{
	for (int is64 = 0; is64 < 2; is64++) {
		struct elf_image e;

		elf_image(&e, is64);
		e.machine = EM_AARCH64;
		elf_refused(&e, "another machine (e_machine 183: arm64)");
		elf_image(&e, is64);
		e.data_encoding = ELFDATA2MSB;
		elf_refused(&e, "another machine");
		elf_image(&e, is64);
		e.type = ET_REL;
		elf_refused(&e, "not an executable");
		elf_image(&e, is64);
		e.type = ET_CORE;
		elf_refused(&e, "not an executable");
		elf_image(&e, is64);
		e.phnum = 0;
		elf_refused(&e, "without program headers");
		elf_image(&e, is64);
		e.phentsize = 0;
		elf_refused(&e, "program headers of 0 bytes");
		elf_image(&e, is64);
		e.phentsize = is64 ? 32 : 56;
		elf_refused(&e, "program headers of");
		elf_image(&e, is64);
		build(&e);
		e.bytes[EI_CLASS] = 3;
		refused(e.bytes, e.len, CATNAP_IMAGE_AUTO, "ELF");
		/* Program headers outside the file, and where adding wraps around. */
		build(&e);
		if (is64)
			((Elf64_Ehdr *)(void *)e.bytes)->e_phoff = e.len - 60;
		else
			((Elf32_Ehdr *)(void *)e.bytes)->e_phoff = (uint32_t)e.len - 60;
		refused(e.bytes, e.len, CATNAP_IMAGE_AUTO, "");
		if (is64)
			((Elf64_Ehdr *)(void *)e.bytes)->e_phoff = UINT64_MAX - 55;
		else
			((Elf32_Ehdr *)(void *)e.bytes)->e_phoff = UINT32_MAX - 31;
		refused(e.bytes, e.len, CATNAP_IMAGE_AUTO, "truncated");
		elf_image(&e, is64);
		e.phnum = 0xffff;
		build(&e);
		refused(e.bytes, e.len, CATNAP_IMAGE_AUTO, "");
	}
}

static void test_elf_segments(void **state)
{
	static const struct {
		uint64_t paddr, memsz;
	} outside[] = {{LOW - 10, 11 + DATA_LEN},
		       {LOW, DATA_LEN},
		       {MEMORY_HOLE_START, DATA_LEN},
		       {MEMORY_HOLE_END - 1, DATA_LEN}, /* begins in the hole, ends in memory */
		       {MEMORY_HOLE_END + HIGH - 1, DATA_LEN},
		       {DATA, UINT64_MAX},
		       {DATA, UINT64_MAX - DATA + 1 + DATA}, /* wraps to itself */
		       {UINT64_MAX - 10, DATA_LEN},
		       {DATA, UINT64_C(1) << 32}};
	struct elf_image e;
	struct machine m;

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		elf_image(&e, true);
		e.ph[1].paddr = outside[i].paddr;
		e.ph[1].memsz = outside[i].memsz;
		elf_refused(&e, "ELF segment 1");
	}
	/* 32 bits: up to 4 GiB. */
	elf_image(&e, false);
	e.ph[1].paddr = UINT32_MAX - 50;
	elf_refused(&e, "outside guest memory (5 MiB)");

	elf_image(&e, true);
	e.ph[1].paddr = TEXT + TEXT_LEN - 1;
	elf_refused(&e, "ELF segment 1 overlaps another");
	e.ph[1].paddr = TEXT - DATA_LEN - BSS_LEN + 1;
	elf_refused(&e, "ELF segment 1 overlaps another");
	e.ph[1].paddr = TEXT;
	elf_refused(&e, "ELF segment 1 overlaps another");
	e.ph[1].paddr = TEXT + TEXT_LEN; /* a neighbour */
	build(&e);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_AUTO, ""), 0);
	teardown(&m);

	elf_image(&e, true);
	e.ph[1].memsz = e.ph[1].filesz - 1;
	elf_refused(&e, "larger in the file than in memory");
	elf_image(&e, true);
	e.ph[1].offset = e.len;
	elf_refused(&e, "truncated");
	e.ph[1].offset = UINT64_MAX - 50; /* the end wraps around */
	elf_refused(&e, "truncated");
	elf_image(&e, true);
	e.ph[0].type = e.ph[1].type = PT_NULL;
	elf_refused(&e, "nothing to load");
	elf_image(&e, true);
	e.ph[0].filesz = e.ph[0].memsz = e.ph[1].filesz = e.ph[1].memsz = 0;
	elf_refused(&e, "nothing to load");

	/* Memory above the hole is memory. */
	elf_image(&e, true);
	e.ph[1].paddr = MEMORY_HOLE_END + HIGH - DATA_LEN - BSS_LEN;
	build(&e);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_AUTO, ""), 0);
	assert_memory_equal(at(&m, e.ph[1].paddr), e.bytes + e.ph[1].offset, DATA_LEN);
	teardown(&m);

	/* More segments than are kept. */
	elf_image(&e, true);
	e.ph[2].type = PT_LOAD;
	for (int i = 0; i < LOADS; i++) {
		e.ph[i] = e.ph[0];
		e.ph[i].paddr = TEXT + (uint64_t)i * TEXT_LEN;
	}
	e.phnum = LOADS;
	elf_refused(&e, "more ELF segments than 64");
}

static void test_notes(void **state)
{
	static const struct {
		uint32_t namesz, descsz, type;
		const char *name;
	} others[] = {{4, 4, 18, "GNU"},
		      {4, 4, 17, "Xen"},
		      {4, 0, 18, "Xen"},
		      {4, 2, 18, "Xen"},
		      {4, 5, 18, "Xen"},
		      {4, 16, 18, "Xen"},
		      {3, 4, 18, "Xen"},
		      {UINT32_MAX, 4, 18, "Xen"},
		      {UINT32_MAX - 2, 4, 18, "Xen"},
		      {4, UINT32_MAX, 18, "Xen"},
		      {0x80000000, 0x80000000, 18, "Xen"}};
	struct elf_image e;
	struct machine m;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		elf_image(&e, true);
		e.len = e.ph[2].offset;
		note(&e, others[i].namesz, others[i].descsz > 16 ? 4 : others[i].descsz,
		     others[i].type, others[i].name, PVH);
		memcpy(e.bytes + e.ph[2].offset + 4, &others[i].descsz, 4);
		e.ph[2].filesz = e.len - e.ph[2].offset;
		elf_refused(&e, "without a PVH entry or a Multiboot header");
	}
	/* Outside the file, or no note fits in. */
	elf_image(&e, true);
	e.ph[2].offset = UINT64_MAX - 3;
	elf_refused(&e, "without a PVH entry");
	elf_image(&e, true);
	e.ph[2].filesz = 11;
	elf_refused(&e, "without a PVH entry");
	elf_image(&e, true);
	e.ph[2].filesz = 19;
	elf_refused(&e, "without a PVH entry");
	/* Behind another one, and of 8 bytes: found. */
	elf_image(&e, true);
	e.len = e.ph[2].offset;
	note(&e, 4, 7, 1, "GNU", 1);
	note(&e, 4, 8, 18, "Xen", PVH + 1);
	e.ph[2].filesz = e.len - e.ph[2].offset;
	build(&e);
	setup(&m);
	assert_int_equal(load_into(&m, e.bytes, e.len, CATNAP_IMAGE_PVH, ""), 0);
	assert_int_equal(m.entry.rip, PVH + 1);
	teardown(&m);
}

static void test_entry(void **state)
{
	static const uint64_t outside[] = {LOW, MEMORY_HOLE_START, UINT32_MAX, MEMORY_HOLE_END,
					   UINT64_MAX};
	struct elf_image e;

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		elf_image(&e, true);
		e.len = e.ph[2].offset;
		note(&e, 4, 8, 18, "Xen", outside[i]);
		e.ph[2].filesz = e.len - e.ph[2].offset;
		elf_refused(&e, "the PVH entry 0x");
		multiboot_elf(&e, true);
		e.entry = outside[i];
		elf_refused(&e, "the Multiboot entry 0x");
	}
}

static void test_bad_kludge(void **state)
{
	static const struct {
		uint32_t header, load, load_end, bss_end, entry;
		const char *why;
	} bad[] = {
		/* the header before the load address; the load address before the file */
		{0x100020, 0x100021, 0, 0, 0x100000, "is not in the file"},
		{0x100020, 0x0fffff, 0, 0, 0x100000, "is not in the file"},
		{0x100020, 0x000000, 0, 0, 0x100000, "is not in the file"},
		{0x100020, 0x100000, 0x0fffff, 0, 0x100000, "out of order"},
		{0x100020, 0x100000, 0x100000, 0, 0x100000, "out of order"},
		{0x100020, 0x100000, 0x100200, 0x1001ff, 0x100000, "out of order"},
		{0x100020, 0x100000, 0x100200, 0x000001, 0x100000, "out of order"},
		{0x100020, 0x100000, 0x100200, 0xffffffff, 0x100000, "outside guest memory"},
		{0xffffff20, 0xffffff00, 0, 0, 0x100000, "outside guest memory"},
		{0x3fff20, 0x3fff00, 0, 0, 0x3fff00, "outside guest memory"},
		{0x100020, 0x100000, 0x100300, 0, 0x100000, "truncated"},
		{0x100020, 0x100000, 0x100200, 0, 0x400000, "the Multiboot entry 0x400000"},
		{0x1020, 0x1000, 0x1200, 0x9fc00, 0x1000, "no room for"},
	};
	uint8_t bytes[0x200];
	struct multiboot_header *h = header_of(bytes, 0x20);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		kludge_image(bytes, 0x20, sizeof(bytes));
		h->header_addr = bad[i].header;
		h->load_addr = bad[i].load;
		h->load_end_addr = bad[i].load_end;
		h->bss_end_addr = bad[i].bss_end;
		h->entry_addr = bad[i].entry;
		refused(bytes, sizeof(bytes), CATNAP_IMAGE_AUTO, bad[i].why);
	}
	/* It must have what is not known: bits 0 to 15. */
	kludge_image(bytes, 0x20, sizeof(bytes));
	h->flags |= 0x8000;
	h->checksum = -(h->magic + h->flags);
	refused(bytes, sizeof(bytes), CATNAP_IMAGE_AUTO, "0x8000");
	/* Optional bits may be unknown: 16 to 31. */
	kludge_image(bytes, 0x20, sizeof(bytes));
	h->flags |= 0x80000000;
	h->checksum = -(h->magic + h->flags);
	{
		struct machine m;

		setup(&m);
		assert_int_equal(load_into(&m, bytes, sizeof(bytes), CATNAP_IMAGE_AUTO, ""), 0);
		teardown(&m);
	}
	/* A wrong checksum, or not at a multiple of 4: no header. */
	kludge_image(bytes, 0x20, sizeof(bytes));
	h->checksum++;
	refused(bytes, sizeof(bytes), CATNAP_IMAGE_MULTIBOOT, "not an ELF file");
	kludge_image(bytes, 0x20, sizeof(bytes));
	memmove(bytes + 0x22, bytes + 0x20, 32);
	refused(bytes, sizeof(bytes), CATNAP_IMAGE_MULTIBOOT, "not an ELF file");
}

static void test_other_files(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *why;
	} files[] = {
		{"", 0, "the file is empty"},
		{"\x1f\x8b\x08\x00\x00", 5, "a gzip file"},
		{"\xfd"
		 "7zXZ\x00\x00",
		 7, "an xz file"},
		{"\x28\xb5\x2f\xfd\x00", 5, "a zstd file"},
		{"BZh9\x00", 5, "a bzip2 file"},
		{"070701\x00", 7, "a cpio archive"},
		{"QFI\xfb\x00", 5, "a qcow2 disk image"},
		{"#!/bin/sh\n", 10, "a script"},
		{"hello\n", 6, "a text file"},
		{"a", 1, "a text file"},
	};
	uint8_t bzimage[0x400] = {0xeb, 0x66};
	uint8_t *big;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		refused(files[i].bytes, files[i].len, CATNAP_IMAGE_AUTO, files[i].why);
	refused("x\xf4", 2, CATNAP_IMAGE_PVH, "not an ELF file");
	refused("x\xf4", 2, CATNAP_IMAGE_BZIMAGE, "not a bzImage");
	/* The sentence says what it is, whatever was asked for. */
	refused("070701\x00", 7, CATNAP_IMAGE_PVH, "not an ELF file, but a cpio archive");
	refused("hsqs\x00", 5, CATNAP_IMAGE_BZIMAGE, "not a bzImage, but a squashfs");
	memcpy(bzimage + 0x202, "HdrS", 4);
	refused(bzimage, sizeof(bzimage), CATNAP_IMAGE_AUTO, "bzImage");
	/* Larger than memory. */
	big = calloc(1, LOW);
	assert_non_null(big);
	memset(big, 0xf4, LOW);
	refused(big, LOW - 0x7c00 + 1, CATNAP_IMAGE_FLAT, "does not fit in");
	free(big);
}

/* By names that lie behind the beginning of the file, and by that of Multiboot 2. */
static void test_other_images(void **state)
{
	static const struct {
		uint32_t offset;
		const char *bytes;
		const char *why;
	} files[] = {
		{56, "ARM\x64", "a Linux kernel for arm64, not a kernel image"},
		{56, "RSC\x05", "a Linux kernel for RISC-V"},
		{510, "\x55\xaa", "MBR"},
		{512, "EFI PART", "GPT"},
		{1080, "\x53\xef", "ext4"},
		{32769, "CD001", "ISO 9660"},
		{65600, "_BHRfS_M", "btrfs"},
	};
	static const uint32_t header[4] = {0xe85250d6, 0, 16, -(0xe85250d6u + 16)};
	static uint8_t file[70000];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		memset(file, 0, sizeof(file));
		memcpy(file + files[i].offset, files[i].bytes, strlen(files[i].bytes));
		refused(file, sizeof(file), CATNAP_IMAGE_AUTO, files[i].why);
	}
	memset(file, 0, sizeof(file));
	memcpy(file + 0x100, header, sizeof(header));
	refused(file, sizeof(file), CATNAP_IMAGE_AUTO, "a Multiboot 2 image");
	memcpy(file + 0x104, header, sizeof(header)); /* not at a multiple of 8 */
	refused(file, sizeof(file), CATNAP_IMAGE_AUTO, "needs --kernel-format flat");
}

/* An ELF file that is a program, and one that has the other Multiboot's header. */
static void test_other_elf(void **state)
{
	static const uint32_t header[4] = {0xe85250d6, 0, 16, -(0xe85250d6u + 16)};
	struct elf_image e;

	elf_image(&e, true);
	e.ph[2].type = PT_INTERP;
	elf_refused(&e, "a program for an operating system");
	elf_image(&e, false);
	e.ph[2].type = PT_NULL;
	elf_refused(&e, "a 32-bit ELF file without a PVH entry");
	elf_image(&e, true);
	e.ph[2].type = PT_NULL;
	build(&e);
	memcpy(e.bytes + e.ph[0].offset + 16, header, sizeof(header));
	refused(e.bytes, e.len, CATNAP_IMAGE_AUTO, "Multiboot 2");
}

/* Processor time of a load that is refused, in ms. */
static long refused_within(const uint8_t *bytes, size_t len, const char *why)
{
	struct timespec a, b;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	refused(bytes, len, CATNAP_IMAGE_AUTO, why);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	return (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
}

/*
 * The work of loading is bounded by the file's length, not by what it says of itself. Quadratic
 * work took minutes; the limit is one that a busy machine with sanitizers keeps.
 */
static void test_work(void **state)
{
	const size_t headers = 65534, len = 64 + headers * 56 + 65536;
	uint8_t *file = calloc(1, len);
	struct elf_image e;

	assert_non_null(file);
	elf_image(&e, true);
	build(&e);
	memcpy(file, e.bytes, 64);
	((Elf64_Ehdr *)(void *)file)->e_phoff = 64;
	((Elf64_Ehdr *)(void *)file)->e_phnum = (uint16_t)headers;
	for (size_t i = 0; i < headers; i++) {
		Elf64_Phdr p = {.p_type = PT_NOTE, .p_offset = len - 65536, .p_filesz = 65536};

		memcpy(file + 64 + i * 56, &p, sizeof(p));
	}
	assert_true(refused_within(file, len, "with nothing to load") < 3000);
	free(file);
	/* The same bytes of the file in many segments. */
	elf_image(&e, true);
	e.phnum = LOADS;
	for (unsigned int i = 0; i < LOADS; i++) {
		e.ph[i].type = PT_LOAD;
		e.ph[i].offset = 0;
		e.ph[i].vaddr = e.ph[i].paddr = 0x100000 + i * 0x4000;
		e.ph[i].filesz = e.ph[i].memsz = e.len;
	}
	e.len = sizeof(e.bytes);
	for (unsigned int i = 0; i < LOADS; i++)
		e.ph[i].filesz = e.ph[i].memsz = e.len;
	elf_refused(&e, "its segments are larger than it is");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_multiboot_elf),
		cmocka_unit_test(test_both),
		cmocka_unit_test(test_kludge),
		cmocka_unit_test(test_header_at_the_end),
		cmocka_unit_test(test_flat),
		cmocka_unit_test(test_place),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_elf_header),
		cmocka_unit_test(test_elf_segments),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_entry),
		cmocka_unit_test(test_bad_kludge),
		cmocka_unit_test(test_other_files),
		cmocka_unit_test(test_other_images),
		cmocka_unit_test(test_other_elf),
		cmocka_unit_test(test_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
