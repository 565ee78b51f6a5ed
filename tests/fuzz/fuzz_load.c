/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a kernel image; its last two bytes choose how it is started and how much memory
 * there is. Loading may refuse it or succeed, and then the first instruction lies in guest memory
 * and the boot information in conventional memory, with the header that its protocol asks for. The
 * sanitizers see what is written outside guest memory.
 */
#include <elf.h>
#include <errno.h>

#include "devices/format.h"
#include "fuzz.h"
#include "vmm/load.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define LOW  (UINT64_C(1) << 21)
#define HIGH (UINT64_C(1) << 16)

static uint32_t word(const struct memory *m, uint64_t gpa)
{
	uint32_t value;
	const void *p = memory_at(m, gpa, 4);

	check(p);
	memcpy(&value, p, 4);
	return value;
}

static void check_entry(const struct memory *m, const struct vcpu_entry *e)
{
	check(memory_at(m, e->rip, 1));
	if (e->mode == VCPU_ENTRY_REAL) {
		check(e->rip == 0x7c00);
		return;
	}
	if (e->mode == VCPU_ENTRY_LONG) { /* fuzz_linux.c looks closer */
		check(memory_at(m, e->rsi, 4096) && memory_at(m, e->cr3, 6 * 4096));
		return;
	}
	check(e->mode == VCPU_ENTRY_PROTECTED);
	check(e->rip <= UINT32_MAX);
	check(e->gdt_base >= 0x1000 && e->gdt_base + e->gdt_limit < MEMORY_LOW_END);
	check(e->rbx >= 0x1000 && e->rbx < MEMORY_LOW_END);
	if (e->rax == 0x2badb002) {
		check(word(m, e->rbx + 44) % 24 == 0);
		check(memory_at(m, word(m, e->rbx + 48), word(m, e->rbx + 44)));
		check(memcmp(memory_at(m, word(m, e->rbx + 16), 12), "fuzz command", 12) == 0);
	} else {
		check(word(m, e->rbx) == 0x336ec578);
		check(memory_at(m, word(m, e->rbx + 40), word(m, e->rbx + 48) * 24));
		check(memcmp(memory_at(m, word(m, e->rbx + 24), 8), "command", 8) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum catnap_image_kind kinds[4] = {CATNAP_IMAGE_AUTO, CATNAP_IMAGE_PVH,
							CATNAP_IMAGE_MULTIBOOT, CATNAP_IMAGE_FLAT};
	/* Kept: making and clearing them would take most of the time. */
	static uint8_t *low, *high;
	struct memory m = {.count = 1, .size = LOW};
	struct vcpu_entry entry;
	struct error err = {""};
	uint8_t *image;
	int ret;

	if (size < 2)
		return 0;
	if (!low) {
		low = calloc(1, LOW);
		high = calloc(1, HIGH);
	}
	m.regions[0] = (struct memory_region){0, LOW, low};
	if (data[size - 1] & 1) {
		m.regions[1] = (struct memory_region){MEMORY_HOLE_END, HIGH, high};
		m.count = 2;
		m.size += HIGH;
	}
	size -= 2;
	/* Of just this size, so that reading past it is seen. */
	image = malloc(size ? size : 1);
	memcpy(image, data, size);
	{
		struct image img = {.name = "fuzz", .fd = -1, .data = image, .size = size};
		struct load_request req = {&img, &m, "command", kinds[data[size] & 3]};

		ret = load_image(&req, &entry, &err);
		if (ret < 0) {
			struct format f;

			/* The sentence has the name of what it is, where that is the reason. */
			check(image_format(&img, &f) == 0);
			check(!f.name == (f.kind == FORMAT_UNKNOWN));
		}
	}
	free(image);
	if (ret == 0) {
		check_entry(&m, &entry);
		/* Nothing is flat that was not asked to be. */
		check((entry.mode == VCPU_ENTRY_REAL) ==
		      (kinds[data[size] & 3] == CATNAP_IMAGE_FLAT));
	} else {
		check(ret == -ENOEXEC);
		check(err.text[0] && !strchr(err.text, '\n'));
	}
	return 0;
}

/* An ELF file of either class, or a Multiboot image, in some order, to begin with. */
static size_t template(uint8_t *data, size_t max_size, unsigned int seed)
{
	const uint32_t flags = seed & 4 ? 0x00010003 : 3;
	struct multiboot_header mb = {0x1badb002, flags,    -(0x1badb002 + flags),
				      0x100400,	  0x100000, 0,
				      0x101000,	  0x100420};
	static const uint32_t note[] = {4, 4, 18, 0x006e6558, 0x100020};
	size_t size = 1200;

	if (max_size < size + 2)
		return 0;
	memset(data, 0, size + 2);
	if (seed & 1) {
		Elf64_Ehdr h = {.e_type = ET_EXEC,
				.e_machine = EM_X86_64,
				.e_entry = 0x100020,
				.e_phoff = 64,
				.e_phentsize = 56,
				.e_phnum = 2};
		Elf64_Phdr load = {.p_type = PT_LOAD,
				   .p_offset = 1024,
				   .p_paddr = 0x100000,
				   .p_vaddr = 0x100000,
				   .p_filesz = 100,
				   .p_memsz = 4096};
		Elf64_Phdr notes = {.p_type = PT_NOTE, .p_offset = 300, .p_filesz = sizeof(note)};

		memcpy(h.e_ident,
		       "\x7f"
		       "ELF\x02\x01\x01",
		       7);
		memcpy(data, &h, sizeof(h));
		memcpy(data + 64, &load, sizeof(load));
		memcpy(data + 120, &notes, sizeof(notes));
	} else if (seed & 2) {
		Elf32_Ehdr h = {.e_type = ET_EXEC,
				.e_machine = EM_386,
				.e_entry = 0x100020,
				.e_phoff = 64,
				.e_phentsize = 32,
				.e_phnum = 2};
		Elf32_Phdr load = {.p_type = PT_LOAD,
				   .p_offset = 1024,
				   .p_paddr = 0x100000,
				   .p_vaddr = 0x100000,
				   .p_filesz = 100,
				   .p_memsz = 4096};
		Elf32_Phdr notes = {.p_type = PT_NOTE, .p_offset = 300, .p_filesz = sizeof(note)};

		memcpy(h.e_ident,
		       "\x7f"
		       "ELF\x01\x01\x01",
		       7);
		memcpy(data, &h, sizeof(h));
		memcpy(data + 64, &load, sizeof(load));
		memcpy(data + 96, &notes, sizeof(notes));
	}
	if (!(seed & 8))
		memcpy(data + 300, note, sizeof(note));
	memcpy(data + 1024, &mb, sizeof(mb));
	data[size] = seed >> 4 & 3;
	data[size + 1] = seed >> 6 & 1;
	return size + 2;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static const uint64_t edges[] = {0,
					 1,
					 0xfff,
					 0x100000,
					 0x1fffff,
					 0x200000,
					 0x7fffffff,
					 0xbfffffff,
					 0xfffffff0,
					 0xffffffff,
					 0x100000000,
					 0x10000ffff,
					 0x7fffffffffffffff,
					 0xfffffffffffff000,
					 UINT64_MAX};

	if (size < 64 || seed % 64 == 0)
		size = template(data, max_size, seed >> 6);
	/* Half of the time, a number at the edge of something, in the headers. */
	if (size > 200 && seed & 1) {
		size_t at = (seed >> 8) % 192 & ~(size_t)3;

		memcpy(data + at, &edges[(seed >> 20) % (sizeof(edges) / sizeof(edges[0]))],
		       seed & 2 ? 8 : 4);
		return size;
	}
	return LLVMFuzzerMutate(data, size, max_size);
}
