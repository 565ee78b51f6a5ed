/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot 1 (specification 0.6.96): the machine state and the information structure, which the runner
 * compares. As an ELF32 file, or with -DKLUDGE as a file without a format that is loaded by the
 * header's addresses.
 */
#define COM1	     0x3f8
#define DEBUG_EXIT   0xf4
#define PASSED	     0x21
#define FAILED	     0x22
#define HEADER_MAGIC 0x1badb002
#define LOADER_MAGIC 0x2badb002
#define MEMORY_INFO  0x00000002
#define ADDRESSES    0x00010000

#ifdef KLUDGE
#define FLAGS (MEMORY_INFO | ADDRESSES)
#else
#define FLAGS MEMORY_INFO
#endif

	.macro	fail_if cond, number
	mov	$\number, %ecx
	j\cond	fail
	.endm

	.macro	field name, offset
	mov	$\name, %esi
	call	print
	mov	\offset(%ebx), %eax
	call	print_hex
	.endm

	.code32
	.text
	.globl	start
image_start:
#ifdef KLUDGE
	.ascii	"This does not belong to the header."
#endif
	.balign	4
header:
	.long	HEADER_MAGIC
	.long	FLAGS
	.long	-(HEADER_MAGIC + FLAGS)
#ifdef KLUDGE
	.long	header
	.long	image_start
	.long	image_end
	.long	bss_end
	.long	start
#endif

start:
	mov	$stack_top, %esp
	mov	%eax, %edi
	pushf
	pop	%edx
	cmp	$LOADER_MAGIC, %edi
	fail_if	ne, 1
	test	$0x20200, %edx /* VM, IF */
	fail_if	nz, 2
	mov	%cr0, %eax
	and	$0x80000001, %eax
	cmp	$1, %eax
	fail_if	ne, 3
	/* A20 and flat segments: what is written at 1 MiB and more is not at 0 MiB and more. */
	movl	$0x12345678, scratch
	mov	$scratch, %eax
	xor	$0x100000, %eax
	cmpl	$0x12345678, (%eax)
	fail_if	e, 4
	mov	bss_word, %eax
	test	%eax, %eax
	fail_if	nz, 5
	cmpl	$0x600dda7a, data_word
	fail_if	ne, 6

	field	text_flags, 0
	field	text_lower, 4
	field	text_upper, 8
	field	text_mods, 20
	mov	$text_cmdline, %esi
	call	print
	mov	16(%ebx), %esi
	call	print
	mov	$text_loader, %esi
	call	print
	mov	64(%ebx), %esi
	call	print
	mov	$text_newline, %esi
	call	print

	mov	48(%ebx), %edi
	mov	%edi, %ebp
	add	44(%ebx), %ebp
1:	cmp	%ebp, %edi
	jae	2f
	mov	%edi, %ebx
	field	text_base, 4
	field	text_base_high, 8
	field	text_length, 12
	field	text_length_high, 16
	field	text_type, 20
	mov	$text_newline, %esi
	call	print
	mov	(%edi), %eax
	lea	4(%edi,%eax), %edi
	jmp	1b
2:	fail_if	ne, 7
	mov	$text_ok, %esi
	call	print
	mov	$PASSED, %eax
	jmp	finish

fail:
	mov	%ecx, %eax
	mov	$text_fail, %esi
	call	print
	call	print_hex
	mov	$FAILED, %eax
finish:
	mov	$DEBUG_EXIT, %edx
	out	%eax, %dx
3:	hlt
	jmp	3b

	/* %esi: text. Keeps all but %esi. */
print:
	push	%eax
	push	%edx
	mov	$COM1, %edx
1:	lodsb
	test	%al, %al
	jz	2f
	out	%al, %dx
	jmp	1b
2:	pop	%edx
	pop	%eax
	ret

	/* %eax: number. Keeps all. */
print_hex:
	push	%eax
	push	%ecx
	push	%edx
	push	%ebx
	mov	%eax, %ebx
	mov	$8, %ecx
	mov	$COM1, %edx
1:	rol	$4, %ebx
	mov	%bl, %al
	and	$15, %al
	cmp	$10, %al
	jb	2f
	add	$'a' - '0' - 10, %al
2:	add	$'0', %al
	out	%al, %dx
	dec	%ecx
	jnz	1b
	pop	%ebx
	pop	%edx
	pop	%ecx
	pop	%eax
	ret

text_flags:
	.asciz	"flags "
text_lower:
	.asciz	"\nlower "
text_upper:
	.asciz	"\nupper "
text_mods:
	.asciz	"\nmods "
text_cmdline:
	.asciz	"\ncmdline "
text_loader:
	.asciz	"\nloader "
text_base:
	.asciz	"map "
text_base_high:
	.asciz	" "
text_length:
	.asciz	" "
text_length_high:
	.asciz	" "
text_type:
	.asciz	" "
text_newline:
	.asciz	"\n"
text_ok:
	.asciz	"ok\n"
text_fail:
	.asciz	"not ok: "

	.data
	.balign	4
data_word:
	.long	0x600dda7a

	.bss
	.balign	4
bss_word:
	.skip	4
scratch:
	.skip	4
	.skip	1024
stack_top:

	.section .note.GNU-stack, "", @progbits
