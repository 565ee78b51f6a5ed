/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the PVH entry (Xen docs/misc/pvh.pandoc) to main() in long mode (Intel SDM 3A 9.8.5), with the
 * first 4 GiB mapped one to one; the other processors' way there (SDM 3A 8.4); and 256 interrupt stubs.
 * The state at the entry is kept for pvh.c.
 */
#define PVH_NOTE_PHYS32_ENTRY 18
#define SEL_CODE64 0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18
#define CR0_PG_NE_ET_PE 0x80000031
#define CR4_PAE	   0x20
#define MSR_EFER   0xc0000080
#define EFER_LME   0x100
#define PDE_LARGE_RW_P 0x83
#define PTE_RW_P   0x03

	.section .note.xen, "a", @note
	.balign 4
	.long 4, 4, PVH_NOTE_PHYS32_ENTRY
	.asciz "Xen"
	.long pvh_entry

	.section .text.boot, "ax", @progbits
	.code32
	.globl pvh_entry
pvh_entry:
	mov	%ebx, entry_ebx
	mov	$boot_stack_top, %esp
	pushf
	popl	entry_eflags
	mov	%cr0, %eax
	mov	%eax, entry_cr0
	mov	%cr4, %eax
	mov	%eax, entry_cr4
	mov	%cs, entry_cs
	mov	%ds, entry_ds
	mov	%es, entry_es
	mov	%ss, entry_ss
	str	entry_tr
	sgdt	entry_gdt
	cli
	cld

	/* Identity map, 2 MiB pages, unrolled for hosts that emulate each instruction. */
	mov	$page_dirs, %edi
	mov	$PDE_LARGE_RW_P, %eax
	mov	$0x200000, %edx
	mov	$2048 / 16, %ecx
1:
	.set	off, 0
	.rept	16
	mov	%eax, off(%edi)
	add	%edx, %eax
	.set	off, off + 8
	.endr
	add	$off, %edi
	dec	%ecx
	jnz	1b
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
	mov	%eax, %es
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
	mov	%esp, %esp
	mov	%ebx, %ebx
	jmp	*%rbx

boot_cpu64:
	call	guest_start
ap_cpu64:
	call	guest_start_ap

	.code16
	.globl ap_trampoline, ap_trampoline_end, ap_trampoline_cs
ap_trampoline:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	mov	%ax, ap_trampoline_cs - ap_trampoline
	lgdtl	ap_gdt_pointer - ap_trampoline
	mov	%cr0, %eax
	and	$0x9fffffff, %eax /* CD and NW are set after INIT */
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$SEL_CODE32, $ap_start32
ap_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
ap_trampoline_cs:
	.word	0
	.balign	8
ap_trampoline_end:

	.code64
	.text
	.globl	interrupt_stubs
	.balign	16
interrupt_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.if	vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
	.else
	push	$0
	.endif
	push	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

common:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rdi
	cld
	call	guest_trap
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp
	iretq

	/* an empty table: the fault cannot be delivered, nor the one that follows */
	.globl	guest_triple_fault, guest_triple_fault_at
guest_triple_fault:
	lidt	no_idt_pointer
guest_triple_fault_at:
	ud2
	.byte	0xc0, 0xff, 0xee, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b

	.section .data
	.balign 8
gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00cf9b000000ffff
gdt_end:
	.balign	4
	.word	0
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt
	.balign	8
	.word	0, 0, 0
idt_pointer:
	.word	256 * 16 - 1
	.quad	guest_idt
	.balign	8
no_idt_pointer:
	.word	0
	.quad	0
	.globl	ap_stack_top
	.balign	8
ap_stack_top:
	.quad	0
	.globl	entry_ebx, entry_eflags, entry_cr0, entry_cr4, entry_cs, entry_ds, entry_es, entry_ss
	.globl	entry_tr, entry_gdt
entry_ebx:
	.long	0
entry_eflags:
	.long	0
entry_cr0:
	.long	0
entry_cr4:
	.long	0
entry_cs:
	.word	0
entry_ds:
	.word	0
entry_es:
	.word	0
entry_ss:
	.word	0
entry_tr:
	.word	0
entry_gdt:
	.word	0
	.long	0

	.section .bss
	.balign 4096
page_map:
	.skip	4096
	.globl page_dir_ptrs
page_dir_ptrs:
	.skip	4096
page_dirs:
	.skip	4 * 4096
	.skip	8192
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
