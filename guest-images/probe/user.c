/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments and stacks for interrupts that come from user mode (Intel SDM 3A 3.4.5, 7.2.3, 6.14.2),
 * and pages that it may use (4.6.1).
 */
#include "user.h"
#include "hot.h"
#include "layout.h"

#define PAGE_USER     4u
#define TSS_AVAILABLE 0x89ull

_Static_assert(USER_STACKS + USER_CPUS * USER_STACK_SIZE <= 0x400000, "4 MiB of memory are enough");

extern uint64_t page_map[], page_dir_ptrs[], page_dirs[];

struct __attribute__((packed)) table_pointer {
	uint16_t limit;
	uint64_t base;
};

void user_open_memory(void)
{
	page_map[0] |= PAGE_USER;
	page_dir_ptrs[0] |= PAGE_USER;
	page_dirs[0] |= PAGE_USER;
	page_dirs[1] |= PAGE_USER;
}

void user_open_below(uint64_t end)
{
	for (uint64_t i = 0; i << 21 < end; i++)
		page_dirs[i] |= PAGE_USER;
}

void user_segments_load(struct user_segments *s)
{
	const struct table_pointer pointer = {sizeof(s->gdt) - 1, (uintptr_t)s->gdt};
	uint64_t at = (uintptr_t)&s->tss, cr3;

	s->tss = (struct user_tss){.io_map = sizeof(s->tss)};
	s->gdt[0] = 0;
	s->gdt[1] = 0x00af9b000000ffff; /* SEL_CODE64 */
	s->gdt[2] = 0x00cf93000000ffff; /* SEL_DATA */
	s->gdt[3] = 0x00cf9b000000ffff; /* SEL_CODE32 */
	s->gdt[4] = (at & 0xffffff) << 16 | TSS_AVAILABLE << 40 | (at >> 24 & 0xff) << 56 |
		    (sizeof(s->tss) - 1);
	s->gdt[5] = at >> 32;
	s->gdt[6] = 0x00cff3000000ffff; /* SEL_USER_DATA */
	s->gdt[7] = 0x00affb000000ffff; /* SEL_USER_CODE */
	__asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(cr3) : : "memory");
	__asm__ volatile("lgdt %0" : : "m"(pointer), "m"(*s));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS), "m"(*s));
}

void user_run(uint32_t index, void (*f)(void *), void *arg)
{
	struct user_segments s;

	user_segments_load(&s);
	user_enter(&s.tss.rsp[0], USER_STACKS + (index + 1) * USER_STACK_SIZE, f, arg);
}
