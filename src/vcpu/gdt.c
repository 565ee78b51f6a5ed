/* SPDX-License-Identifier: Apache-2.0 */
/* See gdt.h; Intel SDM volume 3, "Segment Descriptors". */
#include <string.h>

#include "vcpu/gdt.h"

#define ENTRIES (GDT_SIZE / sizeof(uint64_t))

/* All flat, but the task state. */
#define CODE32 UINT64_C(0x00cf9b000000ffff)
#define CODE64 UINT64_C(0x00af9b000000ffff)
#define DATA   UINT64_C(0x00cf93000000ffff)
#define TSS    UINT64_C(0x00008b0000000067)

static uint64_t descriptor(unsigned int index, bool code64)
{
	switch (index * sizeof(uint64_t)) {
	case GDT_CODE:
		return code64 ? CODE64 : CODE32;
	case GDT_DATA:
		return DATA;
	case GDT_TSS:
		return TSS;
	default:
		return 0;
	}
}

void gdt_write(void *page, bool code64)
{
	uint64_t gdt[ENTRIES];

	for (unsigned int i = 0; i < ENTRIES; i++)
		gdt[i] = descriptor(i, code64);
	memcpy(page, gdt, sizeof(gdt));
}

struct kvm_segment gdt_segment(uint16_t selector, bool code64)
{
	uint64_t d = descriptor(selector / sizeof(d), code64);
	uint32_t limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
	bool pages = d >> 55 & 1;

	return (struct kvm_segment){
		.base = (d >> 16 & 0xffffff) | (d >> 56) << 24,
		.limit = pages ? limit << 12 | 0xfff : limit,
		.selector = selector,
		.type = d >> 40 & 0xf,
		.s = d >> 44 & 1,
		.dpl = d >> 45 & 3,
		.present = d >> 47 & 1,
		.l = d >> 53 & 1,
		.db = d >> 54 & 1,
		.g = pages,
	};
}
