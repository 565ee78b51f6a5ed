/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments and stacks for interrupts that come from user mode (Intel SDM 3A 3.4.5, 7.2.3, 6.14.2),
 * and pages that it may use (4.6.1). Each processor has a descriptor table and a task state segment
 * of its own, on its stack, because the stack for interrupts is named there.
 */
#include "compute.h"
#include "layout.h"

#include <stddef.h>

#define PAGE_USER 4u

#define TSS_AVAILABLE 0x89ull

extern uint64_t page_map[], page_dir_ptrs[], page_dirs[];

struct __attribute__((packed)) tss {
	uint32_t reserved;
	uint64_t rsp[3];
	uint8_t rest[74];
	uint16_t io_map;
};

_Static_assert(sizeof(struct tss) == 104, "fixed by the processor");

struct __attribute__((packed)) table_pointer {
	uint16_t limit;
	uint64_t base;
};

void compute_open_memory(void)
{
	page_map[0] |= PAGE_USER;
	page_dir_ptrs[0] |= PAGE_USER;
	page_dirs[0] |= PAGE_USER;
}

void compute_run(uint32_t index, const struct compute_regs *regs)
{
	struct tss tss = {.io_map = sizeof(tss)};
	uint64_t at = (uintptr_t)&tss;
	const uint64_t gdt[] = {
		0,
		0x00af9b000000ffff, /* SEL_CODE64 */
		0x00cf93000000ffff, /* SEL_DATA */
		0x00cf9b000000ffff, /* SEL_CODE32 */
		(at & 0xffffff) << 16 | TSS_AVAILABLE << 40 | (at >> 24 & 0xff) << 56 |
			(sizeof(tss) - 1),
		at >> 32,
		0x00cff3000000ffff, /* SEL_USER_DATA */
		0x00affb000000ffff, /* SEL_USER_CODE */
	};
	const struct table_pointer pointer = {sizeof(gdt) - 1, (uintptr_t)gdt};
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(cr3) : : "memory");
	__asm__ volatile("lgdt %0" : : "m"(pointer), "m"(gdt));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS), "m"(tss));
	compute_enter(&tss.rsp[0], (volatile uint64_t *)(uintptr_t)PROGRESS + index, regs);
}
