/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the boot loader to main(): the PVH and Multiboot 1 entries, the identity map of the first
 * 4 GiB, the switch to long mode, and the trampoline by which the other processors follow.
 *
 * PVH: Xen docs/misc/pvh.pandoc; both entries come in 32-bit protected mode, flat, without paging,
 * with the information's address in %ebx. Multiboot 1 (specification 0.6.96, 3.2) has its magic in
 * %eax; with PVH %eax is anything, so that entry clears it. Long mode: Intel SDM 3A 9.8.5;
 * other processors: 8.4.
 */
#include "layout.h"

#define PVH_MAGIC	   0x336ec578
#define PVH_CMDLINE	   24
#define MB_HEADER_MAGIC	   0x1badb002
#define MB_HEADER_FLAGS	   0x00010000 /* address fields valid: the file may be ELF64 */
#define MB_LOADER_MAGIC	   0x2badb002
#define MB_INFO_HAS_CMDLINE 4
#define MB_INFO_CMDLINE	   16

#define CR0_PG_NE_ET_PE 0x80000031
#define CR4_PAE		0x20
#define MSR_EFER	0xc0000080
#define EFER_LME	0x100
#define PDE_LARGE_RW_P	0x83
#define PTE_RW_P	0x03

	.section .note.xen, "a", @note
	.balign 4
	.long 4, 4, 18 /* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long pvh_entry

	/* probe.ld puts this at the end of the file's first 8 KiB, and says why */
	.section .multiboot, "a", @progbits
	.globl multiboot_header
multiboot_header:
	.long MB_HEADER_MAGIC
	.long MB_HEADER_FLAGS
	.long -(MB_HEADER_MAGIC + MB_HEADER_FLAGS)
	.long multiboot_header
	.long image_start
	.long image_load_end
	.long image_end
	.long multiboot_entry

	.section .text.boot, "ax", @progbits
	.code32
	.globl pvh_entry
pvh_entry:
	xor	%eax, %eax
	.globl multiboot_entry
multiboot_entry:
	mov	%eax, %ebp
	rdtsc
	mov	%eax, %esi
	mov	%edx, %edi
	/* A sign of life, for those who time the way here: the first letter of "probe: ..." */
	mov	$COM1, %edx
	mov	$'p', %al
	outb	%al, %dx
	cli
	cld
	mov	$boot_stack_top, %esp

	/* take the command line's address before anything is written */
	xor	%ecx, %ecx
	cmp	$MB_LOADER_MAGIC, %ebp
	jne	1f
	testb	$MB_INFO_HAS_CMDLINE, (%ebx)
	jz	2f
	mov	MB_INFO_CMDLINE(%ebx), %ecx
	jmp	2f
1:	cmpl	$PVH_MAGIC, (%ebx)
	jne	2f
	mov	PVH_CMDLINE(%ebx), %ecx
2:	mov	%ecx, boot_cmdline

	/* A loader that left its information in the shared page (QEMU's Multiboot does) knows
	 * nothing of the page: then it is cleared, stop included. Otherwise it is the host's, and
	 * fresh. */
	and	$~0xfff, %ebx
	cmp	$SHARED, %ebx
	jne	3f
	mov	%edi, %ebp
	mov	$SHARED, %edi
	mov	$SHARED_SIZE / 4, %ecx
	xor	%eax, %eax
	rep stosl
	mov	%ebp, %edi
3:	mov	%esi, SHARED + SHARED_FIRST_TSC
	mov	%edi, SHARED + SHARED_FIRST_TSC + 4
	movl	$ABI, SHARED + SHARED_ABI
	movl	$1, SHARED + SHARED_CPUS
	movl	$MAGIC, SHARED + SHARED_MAGIC

	/* Identity map, 2 MiB pages: 1 GiB pages would be less work, but CPUID cannot be trusted
	 * about them on every host. Unrolled, for hosts that emulate each instruction. The upper
	 * halves are zero as loaded. */
	mov	$page_dirs, %edi
	mov	$PDE_LARGE_RW_P, %eax
	mov	$0x200000, %edx
	mov	$2048 / 16, %ecx
4:
	.set	off, 0
	.rept	16
	mov	%eax, off(%edi)
	add	%edx, %eax
	.set	off, off + 8
	.endr
	add	$off, %edi
	dec	%ecx
	jnz	4b
	movl	$page_dir_ptrs + PTE_RW_P, page_map
	movl	$page_dirs + 0x0000 + PTE_RW_P, page_dir_ptrs
	movl	$page_dirs + 0x1000 + PTE_RW_P, page_dir_ptrs + 8
	movl	$page_dirs + 0x2000 + PTE_RW_P, page_dir_ptrs + 16
	movl	$page_dirs + 0x3000 + PTE_RW_P, page_dir_ptrs + 24

	mov	$boot_cpu64, %ebx
	jmp	enter_long

ap_start32:
	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %ss
	mov	ap_stack_top, %esp
	mov	$ap_cpu64, %ebx
	/* fall through */

	/* in: %ebx where to go on, %esp a stack of one's own */
enter_long:
	lgdt	gdt_pointer
	mov	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$page_map, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	mov	$EFER_LME, %eax
	xor	%edx, %edx
	wrmsr
	mov	$CR0_PG_NE_ET_PE, %eax
	mov	%eax, %cr0
	ljmp	$SEL_CODE64, $1f
	.code64
1:	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	lidt	idt_pointer
	/* One TSS serves all: it holds only the double fault's stack. Processors come up one at a
	 * time, so each may take the busy mark of the one before away. */
	movb	$0x89, gdt_tss + 5
	mov	$SEL_TSS, %eax
	ltr	%ax
	mov	%ebx, %ebx
	jmp	*%rbx

boot_cpu64:
	mov	%esp, %esp
	mov	boot_cmdline, %edi
	call	main

ap_cpu64:
	mov	%esp, %esp
	call	apic_enable
	jmp	*ap_loop

	.code16
	.globl ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	ap_gdt_pointer - ap_trampoline
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$SEL_CODE32, $ap_start32
ap_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
	.balign	8
ap_trampoline_end:

	.section .data
	.balign 8
gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00cf9b000000ffff
gdt_tss: /* the image lies in the 64 KiB from IMAGE_BASE, so the base's upper half is known */
	.word	tss_end - tss - 1
	.word	tss - IMAGE_BASE
	.byte	IMAGE_BASE >> 16, 0x89, 0, 0
	.quad	0
gdt_end:
	.balign 8
tss:
	.long	0
	.quad	0, 0, 0, 0
	.quad	fault_stack_top /* IST1 */
	.quad	0, 0, 0, 0, 0, 0, 0
	.word	0, tss_end - tss
tss_end:
	.balign 4
	.word	0
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt
	.balign 8
boot_cmdline:
	.long	0
	.globl	ap_stack_top
ap_stack_top:
	.long	0

	.section .bss
	.balign 4096
	.globl	page_map, page_dir_ptrs, page_dirs
page_map:
	.skip	4096
page_dir_ptrs:
	.skip	4096
page_dirs:
	.skip	4 * 4096
	.skip	4096
boot_stack_top:
	.skip	1024
fault_stack_top:

	.section .note.GNU-stack, "", @progbits
