/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: anonymous, below and above the hole at 3 to 4 GiB. memory_at() is the only way to
 * it. Constant after memory_init().
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "vcpu/kvm.h"

#define MEMORY_HOLE_START UINT64_C(0xc0000000)
#define MEMORY_HOLE_END	  UINT64_C(0x100000000)
#define MEMORY_REGIONS	  2
#define MEMORY_LOW_END	  UINT64_C(0x9fc00)  /* conventional memory, as a PC's BIOS reports it */
#define MEMORY_EXTENDED	  UINT64_C(0x100000) /* where memory goes on */
/* Four pages that KVM needs for itself on Intel; the guest is told that they are taken. */
#define MEMORY_KVM_START UINT64_C(0xfeffc000)
#define MEMORY_KVM_SIZE	 UINT64_C(0x4000)

struct memory_region {
	uint64_t gpa, size;
	uint8_t *host;
};

struct memory {
	struct memory_region regions[MEMORY_REGIONS];
	unsigned int count;
	uint64_t size;
	bool pci; /* configuration space is in the hole: for the map that guests are given */
};

/* 0 or -errno with a sentence. */
int memory_init(struct memory *m, const struct kvm *kvm, uint64_t size, struct kvm_error *err);
void memory_fini(struct memory *m);
/* Whether a process that is made from now on gets a copy of it. It does unless this was called. */
void memory_inherit(const struct memory *m, bool on);
/* A host pointer to [gpa, gpa + len); NULL unless all of it is memory (a length of 0 never is). */
void *memory_at(const struct memory *m, uint64_t gpa, uint64_t len);

#endif
