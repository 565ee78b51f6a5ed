/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interrupt descriptor table and what ends in an error. The table is laid out by the assembler,
 * not built at run time: the image lies in the 64 KiB from IMAGE_BASE, so a handler's address is
 * that plus 16 bits. The vectors of probe.h are filled in by idt_set(); any other interrupt meets
 * an absent gate and is reported as exception 11. Intel SDM 3A 6.14.
 */
#include "layout.h"

	.section .text.boot, "ax", @progbits
	.code64

	.macro	exception vector:req, has_code=0
trap_\vector:
	.if	!\has_code
	push	$0
	.endif
	push	$\vector
	jmp	trap_common
	.endm

	.irp	v, 0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 31
	exception \v
	.endr
	.irp	v, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
	exception \v, 1
	.endr

trap_common:
	mov	(%rsp), %rdi
	mov	16(%rsp), %rsi
	and	$-16, %rsp
	call	trap

	.globl	spurious
spurious:
	iretq

	/* an empty table, so that the fault cannot be delivered, nor the one that follows */
	.globl	triple_fault
triple_fault:
	lidt	no_idt_pointer
	ud2
1:	hlt
	jmp	1b

	.section .data
	.macro	gate handler:req, ist=0
	.word	\handler - IMAGE_BASE, SEL_CODE64, 0x8e00 | \ist, IMAGE_BASE >> 16
	.quad	0
	.endm

	.balign 16
	.globl	idt
idt:
	.irp	v, 0, 1, 2, 3, 4, 5, 6, 7
	gate	trap_\v
	.endr
	gate	trap_8, 1
	.irp	v, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
	gate	trap_\v
	.endr
	.irp	v, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	gate	trap_\v
	.endr
	.skip	(IDT_ENTRIES - 32) * 16
	.balign 8
	.word	0, 0, 0
	.globl	idt_pointer
idt_pointer:
	.word	IDT_ENTRIES * 16 - 1
	.quad	idt
	.balign 8
no_idt_pointer:
	.word	0
	.quad	0

	.section .note.GNU-stack, "", @progbits
