/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GDT that protected and long mode start with. A loader puts it in guest memory, so that the
 * guest can load its segments again. The first vCPU starts with the segments that it describes. Its
 * entries are null, null, code, data and task state, as PVH and Linux have them.
 */
#ifndef VCPU_GDT_H
#define VCPU_GDT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* Selectors. */
#define GDT_CODE 0x10
#define GDT_DATA 0x18
#define GDT_TSS	 0x20
/* Bytes. */
#define GDT_SIZE 0x28

/* Writes it to @page, GDT_SIZE bytes. @code64: code of long mode, else of protected mode. */
void gdt_write(void *page, bool code64);
/* Returns the segment that a load of @selector makes of its descriptor. */
struct kvm_segment gdt_segment(uint16_t selector, bool code64);

#endif
