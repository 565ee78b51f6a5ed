/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: below and above the hole at 3 to 4 GiB, anonymous, a file of its own
 * (memory_map.h), or a private mapping of a snapshot's file. memory_at() is the only way to it.
 * Constant after memory_init(), but for the account of what was written.
 *
 * Behind it are areas (memory_area.c), which belong to devices: other devices reach them as they do
 * memory, and loaders do not. They are in no account and in no file of all memory. Constant once the
 * VM runs.
 *
 * That account, if memory_track() was called, is KVM's for what the guest writes, and a bit for each
 * page (pages) for what we write, or have written by io_uring. A page's number is its place in a
 * file of all memory: without the hole.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/dma.h"
#include "vcpu/kvm.h"
#include "vmm/memory_map.h"
#include "vmm/numa.h"

#define MEMORY_HOLE_START UINT64_C(0xc0000000)
#define MEMORY_HOLE_END	  UINT64_C(0x100000000)
#define MEMORY_REGIONS	  2
#define MEMORY_AREAS	  16 /* as many as there may be devices */
#define MEMORY_PAGE	  4096u
#define MEMORY_LOW_END	  UINT64_C(0x9fc00)  /* conventional memory, as a PC's BIOS reports it */
#define MEMORY_EXTENDED	  UINT64_C(0x100000) /* where memory goes on */
/* Of areas: what any page size divides, and Linux's blocks of memory. */
#define MEMORY_AREA_ALIGN (UINT64_C(1) << 30)
/* Four pages that KVM needs for itself on Intel; the guest is told that they are taken. */
#define MEMORY_KVM_START UINT64_C(0xfeffc000)
#define MEMORY_KVM_SIZE	 UINT64_C(0x4000)

#define MEMORY_ANYWHERE UINT64_MAX /* in the place of an address */

struct memory_region {
	uint64_t gpa, size;
	uint8_t *host;
	uint64_t at; /* where it begins in a file of all memory */
	bool mapped; /* from a file */
};

struct memory_area {
	uint64_t gpa, size;
	uint8_t *host;
	uint64_t file; /* so many bytes are a file's; 0: none */
	bool readonly; /* the guest cannot write there */
};

struct memory {
	struct memory_region regions[MEMORY_REGIONS];
	unsigned int count;
	struct memory_area areas[MEMORY_AREAS];
	unsigned int area_count;
	uint64_t size;
	struct memory_map map;
	struct numa numa; /* the configuration's */
	bool pci; /* configuration space is in the hole: for the map that guests are given */
	bool tracked;
	bool dump; /* core dumps have it */
	/* Where a page could not be had that is a file's; MEMORY_ANYWHERE: nowhere. */
	_Atomic uint64_t lost;
	/* If it is tracked; a bit for each page. dirty: written by us since memory_collect(). lent:
	 * somebody may write there at any time. Any thread sets; relaxed. */
	_Atomic uint64_t *dirty, *lent;
};

/* Where memory comes from that is not all zeroes. */
struct memory_source {
	int fd;	   /* a file that is as long as memory, or longer; stays the caller's. -1: none, it
		    * comes later */
	bool copy; /* it is read now, and not needed later */
	bool single; /* its pages come one by one, and none that was not touched */
};

/* Returns how many words have a bit for each page of @size bytes. */
static inline size_t memory_words(uint64_t size)
{
	return (size_t)((size / MEMORY_PAGE + 63) / 64);
}

/* Makes the memory, as cfg's memory_size and what follows have it. No child of fork(2) has it, and
 * core dumps have it if dump_memory says so. @source: NULL, or where it comes from. Returns 0 or
 * -errno with a sentence. */
int memory_init(struct memory *m, const struct kvm *kvm, const struct catnap_vm_config *cfg,
		const struct memory_source *source, struct error *err);
/* Makes it all zeroes again. The vCPUs stand. 0 or -errno with a sentence. */
int memory_clear(struct memory *m, struct error *err);
/* Keeps an account of what is written from now on. Before vCPUs run. 0 or -errno with a
 * sentence. */
int memory_track(struct memory *m, const struct kvm *kvm, struct error *err);
/*
 * Moves the account into @pages, memory_words() words, and begins a new one. The vCPUs stand. 0, or
 * -errno with a sentence; then nothing of the account is lost.
 */
int memory_collect(struct memory *m, const struct kvm *kvm, uint64_t *pages, struct error *err);
/* Adds @pages to the account: what was to be done with them has failed. */
void memory_put_back(struct memory *m, const uint64_t *pages);
/* Notes that [gpa, gpa + len) is written by somebody, once or (@lent) from now on. Any thread. */
void memory_wrote(struct memory *m, uint64_t gpa, uint64_t len, bool lent);
void memory_fini(struct memory *m);
/* Disowns the memory before memory_fini() in a child of fork(2): what is at its addresses is
 * something else. */
void memory_disown(struct memory *m);
/* Returns a host pointer to [gpa, gpa + len); NULL unless all of it is memory (a length of 0 never
 * is). */
void *memory_at(const struct memory *m, uint64_t gpa, uint64_t len);
/* Returns the same for devices and vCPUs, which know no more of memory than that, with the areas. */
struct dma memory_dma(struct memory *m);

/* memory_area.c */
/* Returns where the next area of @size bytes begins, at a multiple of MEMORY_AREA_ALIGN; 0: it
 * would end behind what the processor can address. */
uint64_t memory_area_place(const struct memory *m, uint64_t size);
/*
 * Adds an area of @size bytes at @gpa, which memory_area_place() has returned: @fd from its
 * beginning on, @file bytes, and zeroes behind that. @readonly: the guest cannot write there, and
 * what devices write there on its behalf is seen by the guest, and does not reach the file. No child
 * of fork(2) has it. Before vCPUs run. Returns 0 or -errno with a sentence.
 */
int memory_area_add_file(struct memory *m, const struct kvm *kvm, uint64_t gpa, uint64_t size,
			 int fd, uint64_t file, bool readonly, bool dump, struct error *err);
/* Adds one that is private memory, all zeroes, of pages and host nodes as the VM's, but neither
 * prefaulted nor locked. The same. */
int memory_area_add(struct memory *m, const struct kvm *kvm, uint64_t gpa, uint64_t size, bool dump,
		    struct error *err);
/* Takes the last area away again. */
void memory_area_drop(struct memory *m, const struct kvm *kvm);
/* Unmaps all areas. KVM has gone. */
void memory_areas_fini(struct memory *m);
/* Returns a host pointer to [gpa, gpa + len), if all of it is one area; else NULL. */
void *memory_area_at(const struct memory *m, uint64_t gpa, uint64_t len);

#endif
