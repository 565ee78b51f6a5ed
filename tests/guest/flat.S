/* SPDX-License-Identifier: Apache-2.0 */
/* An image without a format: at 0x7c00 in real mode, as a PC starts a boot sector, but of any length. */
#define COM1	   0x3f8
#define DEBUG_EXIT 0xf4
#define PASSED	   0x21
#define FAILED	   0x22

	.code16
	.text
	.globl	start
start:
	call	1f
1:	pop	%bp
	mov	$'1', %cl
	cmp	$0x7c00 + (1b - start), %bp
	jne	fail
	inc	%cl
	cmp	$0x7c00, %sp
	jne	fail
	inc	%cl
	mov	%cs, %ax
	mov	%ds, %bx
	or	%bx, %ax
	mov	%es, %bx
	or	%bx, %ax
	mov	%ss, %bx
	or	%bx, %ax
	jnz	fail
	inc	%cl
	mov	%cr0, %eax
	test	$0x80000001, %eax
	jnz	fail
	inc	%cl
	pushf
	pop	%ax
	test	$0x0300, %ax
	jnz	fail
	inc	%cl
	/* far behind the sector */
	mov	$0x1000, %ax
	mov	%ax, %ds
	cmpw	$0x600d, marker - start + 0x7c00 - 0x10000
	jne	fail
	xor	%ax, %ax
	mov	%ax, %ds
	mov	$text_ok - start + 0x7c00, %si
	mov	$PASSED, %bl
	jmp	print
fail:
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%cl, text_fail - start + 0x7c00 + 8
	mov	$text_fail - start + 0x7c00, %si
	mov	$FAILED, %bl
print:
	mov	$COM1, %dx
2:	lodsb
	test	%al, %al
	jz	3f
	out	%al, %dx
	jmp	2b
3:	mov	%bl, %al
	out	%al, $DEBUG_EXIT
4:	hlt
	jmp	4b

text_ok:
	.asciz	"ok\n"
text_fail:
	.asciz	"not ok: ?\n"

	.org	0x9000
marker:
	.word	0x600d

	.section .note.GNU-stack, "", @progbits
