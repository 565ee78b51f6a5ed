/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF images, 32- and 64-bit: the segments go to their physical addresses. Started by their PVH
 * note (Xen public headers, elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY), by their Multiboot header, or by
 * Linux's 64-bit entry.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/load.h"

#define PVH_NOTE_TYPE 18
/* Of notes, in all segments together, this much is looked at: a kernel has a few hundred bytes. */
#define NOTES_MAX 65536
/* Segments may share a page of the file with their neighbours, but not much more: what is loaded is
 * no more work than the file is long. */
#define SHARED 4096
/* Where 64-bit Linux is mapped (Documentation/arch/x86/x86_64/mm.rst): nothing else lies there. */
#define LINUX_TEXT UINT64_C(0xffffffff80000000)

/* Both classes in one form. */
struct elf {
	bool is64;
	uint16_t phnum;
	uint64_t entry, phoff;
};

struct segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz;
};

static const char *machine_name(uint16_t machine)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = {
		{EM_AARCH64, "arm64"}, {EM_ARM, "32-bit ARM"},
		{EM_RISCV, "RISC-V"},  {EM_PPC64, "64-bit PowerPC"},
		{EM_PPC, "PowerPC"},   {EM_S390, "s390"},
		{EM_MIPS, "MIPS"},     {EM_SPARCV9, "SPARC"},
		{EM_IA_64, "Itanium"}, {258, "LoongArch"},
		{EM_BPF, "BPF"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].machine == machine)
			return names[i].name;
	return "not one of x86";
}

/* Refuses an ELF file for another machine, or of another kind than an executable. */
static int check_header(const struct load_request *req, uint16_t machine, uint16_t type,
			struct error *err)
{
	if (machine != EM_X86_64 && machine != EM_386)
		return image_bad(req->image, err,
				 "an ELF file for another machine (e_machine %u: %s)", machine,
				 machine_name(machine));
	if (type != ET_EXEC && type != ET_DYN)
		return image_bad(req->image, err, "an ELF file, but not an executable (%s)",
				 type == ET_REL	   ? "an object file or a kernel module"
				 : type == ET_CORE ? "a core dump"
						   : "its e_type is none that is known");
	return 0;
}

static int read_header(const struct load_request *req, const struct image_head *h, struct elf *e,
		       struct error *err)
{
	const Elf64_Ehdr *e64 = (const void *)h->bytes;
	const Elf32_Ehdr *e32 = (const void *)h->bytes;
	uint16_t phentsize;
	int ret;

	if (h->len >= EI_NIDENT && e32->e_ident[EI_DATA] == ELFDATA2MSB)
		return image_bad(req->image, err, "an ELF file for another machine (big-endian)");
	if (h->len < sizeof(*e32) || e32->e_ident[EI_DATA] != ELFDATA2LSB ||
	    (e32->e_ident[EI_CLASS] != ELFCLASS32 && e32->e_ident[EI_CLASS] != ELFCLASS64))
		return image_bad(req->image, err, "a truncated or damaged ELF file");
	e->is64 = e32->e_ident[EI_CLASS] == ELFCLASS64;
	if (e->is64 && h->len < sizeof(*e64))
		return image_bad(req->image, err, "a truncated ELF file");
	/* At the same place in both. */
	ret = check_header(req, e32->e_machine, e32->e_type, err);
	if (ret < 0)
		return ret;
	e->entry = e->is64 ? e64->e_entry : e32->e_entry;
	e->phoff = e->is64 ? e64->e_phoff : e32->e_phoff;
	e->phnum = e->is64 ? e64->e_phnum : e32->e_phnum;
	phentsize = e->is64 ? e64->e_phentsize : e32->e_phentsize;
	if (!e->phnum)
		return image_bad(req->image, err, "an ELF file without program headers");
	if (phentsize != (e->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return image_bad(req->image, err, "an ELF file with program headers of %u bytes",
				 phentsize);
	return 0;
}

static int read_segment(const struct load_request *req, const struct elf *e, uint16_t i,
			struct segment *s, struct error *err)
{
	union {
		Elf64_Phdr p64;
		Elf32_Phdr p32;
	} p;
	uint64_t size = e->is64 ? sizeof(p.p64) : sizeof(p.p32), at = e->phoff + i * size;
	int ret = at < e->phoff ? -ENODATA : image_read(req->image, at, &p, size);

	if (ret == -ENODATA)
		return image_bad(req->image, err,
				 "a truncated ELF file: program header %u lies outside it", i);
	if (ret < 0)
		return image_bad(req->image, err, "%s", strerror(-ret));
	if (e->is64)
		*s = (struct segment){p.p64.p_type,  p.p64.p_offset, p.p64.p_vaddr,
				      p.p64.p_paddr, p.p64.p_filesz, p.p64.p_memsz};
	else
		*s = (struct segment){p.p32.p_type,  p.p32.p_offset, p.p32.p_vaddr,
				      p.p32.p_paddr, p.p32.p_filesz, p.p32.p_memsz};
	return 0;
}

static int load_segment(const struct load_request *req, const struct segment *s, uint16_t i,
			struct load_map *map, struct error *err)
{
	uint8_t *to;
	int ret;

	if (s->filesz > s->memsz)
		return image_bad(req->image, err,
				 "ELF segment %u is larger in the file than in memory", i);
	if (!s->memsz)
		return 0;
	to = memory_at(req->memory, s->paddr, s->memsz);
	if (!to)
		return image_bad(
			req->image, err,
			"ELF segment %u (0x%llx, %llu bytes) lies outside guest memory (%llu MiB)",
			i, (unsigned long long)s->paddr, (unsigned long long)s->memsz,
			(unsigned long long)(req->memory->size >> 20));
	ret = load_map_add(map, s->paddr, s->memsz);
	if (ret < 0)
		return image_bad(req->image, err,
				 ret == -EEXIST ? "ELF segment %u overlaps another"
						: "more ELF segments than %u",
				 i);
	/* Guest memory is fresh, so what is not in the file is zero already. */
	ret = s->filesz ? image_read(req->image, s->offset, to, s->filesz) : 0;
	if (ret == -ENODATA)
		return image_bad(req->image, err,
				 "a truncated ELF file: segment %u ends outside it", i);
	if (ret < 0)
		return image_bad(req->image, err, "%s", strerror(-ret));
	return 0;
}

/* Looks for the PVH note in @len bytes of notes. true: found, *entry set. */
static bool find_note(const uint8_t *notes, uint64_t len, uint64_t *entry)
{
	uint64_t at = 0;

	while (len >= sizeof(Elf32_Nhdr) && at <= len - sizeof(Elf32_Nhdr)) {
		Elf32_Nhdr n; /* the same in both classes */
		uint64_t name = at + sizeof(n), desc, next;

		memcpy(&n, notes + at, sizeof(n));
		desc = name + (((uint64_t)n.n_namesz + 3) & ~UINT64_C(3));
		next = desc + (((uint64_t)n.n_descsz + 3) & ~UINT64_C(3));
		if (next > len)
			return false;
		if (n.n_type == PVH_NOTE_TYPE && n.n_namesz == 4 &&
		    (n.n_descsz == 4 || n.n_descsz == 8) && memcmp(notes + name, "Xen", 4) == 0) {
			*entry = 0;
			memcpy(entry, notes + desc, n.n_descsz);
			return true;
		}
		at = next;
	}
	return false;
}

/* The findings on the way through the segments. */
struct found {
	struct load_map map;
	bool has_pvh, is_linux;
	bool is_program; /* asks for an operating system's loader */
	uint64_t pvh;
	uint64_t entry;	 /* physical */
	uint64_t loaded; /* bytes of the file */
	uint32_t notes;	 /* how much of notes was looked at */
};

/* Looks through a PT_NOTE segment. Bytes outside the file, or too many, have no note for us. */
static int find_pvh(const struct load_request *req, const struct segment *s, struct found *f,
		    struct error *err)
{
	uint64_t len = s->filesz < NOTES_MAX - f->notes ? s->filesz : NOTES_MAX - f->notes;
	uint64_t there = s->offset < req->image->size ? req->image->size - s->offset : 0;
	uint8_t *notes;
	int ret;

	if (len > there)
		len = there;
	if (f->has_pvh || !len)
		return 0;
	notes = malloc(len);
	if (!notes)
		return -ENOMEM;
	ret = image_read(req->image, s->offset, notes, len);
	if (ret < 0)
		image_bad(req->image, err, "%s", strerror(-ret));
	else
		f->has_pvh = find_note(notes, len, &f->pvh);
	f->notes += (uint32_t)len;
	free(notes);
	return ret;
}

/* Finds the entry. It is a virtual address where it starts with paging off; Linux's is a physical
 * one. */
static void find_entry(const struct elf *e, const struct segment *s, struct found *f)
{
	if (!f->is_linux && e->entry >= s->vaddr && e->entry - s->vaddr < s->memsz)
		f->entry = s->paddr + (e->entry - s->vaddr);
	if (e->is64 && s->vaddr >= LINUX_TEXT && e->entry >= s->paddr &&
	    e->entry - s->paddr < s->memsz) {
		f->entry = e->entry;
		f->is_linux = true;
	}
}

static int take_segment(const struct load_request *req, const struct elf *e, uint16_t i,
			struct found *f, struct error *err)
{
	struct segment s = {0};
	int ret = read_segment(req, e, i, &s, err);

	if (ret < 0)
		return ret;
	if (s.type == PT_INTERP)
		f->is_program = true;
	if (s.type == PT_NOTE)
		return find_pvh(req, &s, f, err);
	if (s.type != PT_LOAD)
		return 0;
	/* Before it is read. More than the file is for load_segment() to refuse. */
	f->loaded += s.filesz < req->image->size ? s.filesz : req->image->size;
	if (f->loaded > req->image->size + (uint64_t)LOAD_EXTENTS * SHARED)
		return image_bad(req->image, err,
				 "a damaged ELF file: its segments are larger than it is");
	ret = load_segment(req, &s, i, &f->map, err);
	if (ret == 0)
		find_entry(e, &s, f);
	return ret;
}

static int load_segments(const struct load_request *req, const struct elf *e, struct found *f,
			 struct error *err)
{
	f->entry = e->entry;
	for (uint16_t i = 0; i < e->phnum; i++) {
		int ret = take_segment(req, e, i, f, err);

		if (ret < 0)
			return ret;
	}
	if (!f->map.count)
		return image_bad(req->image, err, "an ELF file with nothing to load");
	return 0;
}

static int start_linux(const struct load_request *req, const struct elf *e, struct found *f,
		       struct vcpu_entry *entry, struct error *err)
{
	if (!e->is64)
		return image_bad(req->image, err, "a 32-bit ELF file, without a 64-bit entry");
	if (!memory_at(req->memory, f->entry, 1))
		return image_bad(req->image, err, "the entry 0x%llx lies outside guest memory",
				 (unsigned long long)f->entry);
	return linux_boot(req, &f->map, f->entry, NULL, entry, err);
}

/* Tries the entries in this order, unless one is asked for; with a device tree, Linux's own entry,
 * which can carry it. */
static int start(const struct load_request *req, const struct image_head *head, const struct elf *e,
		 struct found *f, struct vcpu_entry *entry, struct error *err)
{
	const struct multiboot_header *mb;
	uint32_t offset;

	if (req->kind == CATNAP_IMAGE_LINUX64 ||
	    (req->kind == CATNAP_IMAGE_AUTO && f->is_linux && (req->dtb || req->mptable)))
		return start_linux(req, e, f, entry, err);
	if (f->has_pvh && f->is_linux && req->mptable)
		return image_bad(
			req->image, err,
			"by PVH Linux cannot be told of its devices with an MP table: start "
			"it by its 64-bit entry");
	if (f->has_pvh && req->kind != CATNAP_IMAGE_MULTIBOOT)
		return pvh_boot(req, &f->map, f->pvh, entry, err);
	if (req->kind == CATNAP_IMAGE_PVH)
		return image_bad(req->image, err, "an ELF file without a PVH entry");
	mb = multiboot_find(head, &offset);
	if (mb) {
		int ret = multiboot_check(req, mb, err);

		return ret < 0 ? ret : multiboot_boot(req, &f->map, f->entry, entry, err);
	}
	if (req->kind == CATNAP_IMAGE_AUTO && f->is_linux)
		return start_linux(req, e, f, entry, err);
	return image_bad(req->image, err, "%s without a PVH entry or a Multiboot header%s",
			 f->is_program ? "a program for an operating system, an ELF file"
			 : e->is64     ? "an ELF file"
				       : "a 32-bit ELF file",
			 multiboot2_is(head) ? ", but with one of Multiboot 2, which is not known "
					       "here"
					     : "");
}

/* Makes the command line, and checks the initramfs, which Linux takes along by whichever entry. */
static int linux_cmdline(const struct load_request *req, char **cmdline, struct error *err)
{
	int ret = load_check_initramfs(req, err);

	if (ret < 0)
		return ret;
	*cmdline = load_linux_cmdline(req);
	if (!*cmdline)
		return -ENOMEM;
	if (strlen(*cmdline) > LINUX_CMDLINE_MAX)
		return image_bad(req->image, err,
				 "the command line has %zu bytes; Linux takes %u, with what is "
				 "added",
				 strlen(*cmdline), LINUX_CMDLINE_MAX);
	return 0;
}

int load_elf(const struct load_request *req, const struct image_head *head,
	     struct vcpu_entry *entry, struct error *err)
{
	struct load_request r = *req;
	struct found f = {.map = {.count = 0}};
	char *cmdline = NULL;
	struct elf e = {0};
	int ret = read_header(req, head, &e, err);

	if (ret == 0)
		ret = load_segments(req, &e, &f, err);
	if (ret < 0)
		return ret;
	if (f.is_linux || req->kind == CATNAP_IMAGE_LINUX64) {
		ret = linux_cmdline(req, &cmdline, err);
		r.cmdline = cmdline;
	}
	if (ret == 0)
		ret = start(&r, head, &e, &f, entry, err);
	free(cmdline);
	return ret;
}
