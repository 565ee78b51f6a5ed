/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading an image into guest memory. The image is not trusted: every number in it is checked
 * against the image's size and against guest memory before it is used.
 */
#ifndef VMM_LOAD_H
#define VMM_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <catnap/catnap.h>
#include "vcpu/vcpu.h"
#include "vmm/image.h"
#include "vmm/memory.h"

/* The places of things that may be written again, until the first vCPU starts. */
struct load_places {
	bool acpi;	       /* the tables are at ACPI_BASE */
	bool firmware;	       /* what is firmware's there, is firmware's: no image lies there */
	uint64_t dtb;	       /* of the device tree's struct setup_data; 0: there is none */
	uint32_t dtb_room;     /* for the tree */
	uint64_t cmdline;      /* of a Linux image's command line; 0: not to be changed */
	uint32_t cmdline_room; /* with its NUL */
};

/* The request to a loader: the image, and all that goes with it. */
struct load_request {
	const struct image *image;
	const struct memory *memory;
	const char *cmdline;
	enum catnap_image_kind kind;   /* CATNAP_IMAGE_AUTO: whatever it turns out to be */
	const char *linux_cmdline;     /* added to cmdline if the image is Linux; may be NULL */
	const struct image *initramfs; /* NULL: none */
	const struct acpi *acpi;       /* NULL: none */
	const void *dtb;	       /* NULL: none */
	size_t dtb_len;
	size_t dtb_more;     /* how much longer it may become */
	const void *mptable; /* NULL: none */
	size_t mptable_len;
	size_t cmdline_more;	    /* how much longer that of Linux may become; 0: it is settled */
	struct load_places *places; /* NULL: nobody wants to know */
};

/* Finds out what the image is, loads it, and says how the first vCPU starts. */
int load_image(const struct load_request *req, struct vcpu_entry *entry, struct error *err);

/* ---- the loaders, and what they share ---- */

/* The beginning of the image, as identification has read it. */
struct image_head {
	_Alignas(8) uint8_t bytes[8192]; /* zero padded */
	uint64_t len;
};

int load_elf(const struct load_request *req, const struct image_head *head,
	     struct vcpu_entry *entry, struct error *err);
int load_multiboot_kludge(const struct load_request *req, const struct image_head *head,
			  struct vcpu_entry *entry, struct error *err);
int load_flat(const struct load_request *req, struct vcpu_entry *entry, struct error *err);
/* Returns whether the image is a bzImage, or a damaged one. */
bool bzimage_is(const struct image_head *head);
int load_bzimage(const struct load_request *req, const struct image_head *head,
		 struct vcpu_entry *entry, struct error *err);

/* A piece of the memory map. */
struct load_range {
	uint64_t start, len;
	uint32_t type; /* 1 memory, 2 reserved */
};

/* Where the image's parts lie in guest memory, so that nothing else is put there. */
#define LOAD_EXTENTS 64
struct load_map {
	struct {
		uint64_t start, end;
	} extents[LOAD_EXTENTS];
	unsigned int count;
};

/* Adds a range. Returns 0, -EEXIST (it overlaps one that is there) or -ENOSPC. */
int load_map_add(struct load_map *map, uint64_t start, uint64_t len);
/* Returns room for boot information in conventional memory, page-aligned; 0: none. */
uint64_t load_map_place(const struct load_map *map, const struct memory *m, uint64_t len);

/* load_parts.c: what goes along with an image. */
/*
 * Refuses an initramfs that Linux would not take for one, or for an old-style initrd. Kernels that
 * are not Linux may be given anything. Returns 0, or an error with a sentence.
 */
int load_check_initramfs(const struct load_request *req, struct error *err);
/* COMMAND_LINE_SIZE of a vmlinux, which does not tell. */
#define LINUX_CMDLINE_MAX 2047u
/* Returns the command line for Linux, in memory that the caller frees; NULL: no memory. */
char *load_linux_cmdline(const struct load_request *req);
/* Loads the initramfs as high as it can be below @limit and below the hole; a length of 0 if there
 * is none. */
int load_initramfs(const struct load_request *req, struct load_map *map, uint64_t limit,
		   struct load_range *where, struct error *err);
/*
 * Writes what a PC's firmware leaves between 0xe0000 and 1 MiB: the ACPI tables, and code for a
 * reset at the reset vector. Returns the RSDP's address; 0 if there are no tables or the image is
 * there.
 */
uint64_t load_firmware(const struct load_request *req, struct load_map *map);

/* A PC's memory map. */
#define LOAD_RANGES 6
unsigned int load_memory_map(const struct memory *m, struct load_range *ranges);

/* Multiboot 1: the header in the first 8 KiB; NULL: none. */
struct multiboot_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};
_Static_assert(sizeof(struct multiboot_header) == 32, "Multiboot 1, section 3.1.1");
const struct multiboot_header *multiboot_find(const struct image_head *head, uint32_t *offset);
/* Returns whether there is a header of the second version in what was read. For a message. */
bool multiboot2_is(const struct image_head *head);
#define MULTIBOOT_HAS_ADDRESSES 0x00010000u
int multiboot_check(const struct load_request *req, const struct multiboot_header *mb,
		    struct error *err);
/* Writes the boot information and fills @entry for a start at @rip. */
int multiboot_boot(const struct load_request *req, struct load_map *map, uint64_t rip,
		   struct vcpu_entry *entry, struct error *err);
int pvh_boot(const struct load_request *req, struct load_map *map, uint64_t rip,
	     struct vcpu_entry *entry, struct error *err);

/* Linux's 64-bit entry. @header: the setup header of a bzImage, NULL for a vmlinux. */
struct setup_header;
int linux_boot(const struct load_request *req, struct load_map *map, uint64_t rip,
	       const struct setup_header *header, struct vcpu_entry *entry, struct error *err);
/* Writes another device tree in the place of the first. Returns 0, or -ENOSPC. */
int load_linux_dtb(const struct memory *m, const struct load_places *places, const void *dtb,
		   size_t len);
/* Writes another command line in the same way. */
int load_linux_again(const struct memory *m, const struct load_places *places, const char *cmdline);

#endif
