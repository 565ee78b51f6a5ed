/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops that are measured, and the interrupt handlers that end them. Interrupts are on only
 * here, from `sti` to the handler, so a handler owns every register the loop has prepared for it,
 * saves nothing, and does not return: it drops its frame (the loop left its stack pointer in %rbp)
 * and goes on after the halt, with interrupts off. That leaves so few instructions that even a host
 * that emulates each of them measures the wake-up and not the guest.
 *
 * Each comes twice, for x2APIC (MSR) and xAPIC (memory at APIC_BASE, which is not a sign-extended
 * 32-bit address and so needs a register).
 */
#include "layout.h"

	.section .text.hot, "ax", @progbits
	.code64

	.macro	halt
	sti
.Lhalt\@:
	hlt
	jmp	.Lhalt\@ /* woken without an interrupt: not by any of ours */
	.endm

	/* prepares an EOI: %rcx where, %eax and %edx what */
	.macro	eoi_prepare x2
	.if	\x2
	mov	$X2APIC_EOI, %ecx
	xor	%edx, %edx
	.else
	mov	$APIC_BASE + APIC_EOI, %ecx
	.endif
	xor	%eax, %eax
	.endm

	/*
	 * With x2APIC, a paravirtual EOI first: where the hypervisor has set bit 0 of this
	 * processor's word, clearing it ends the interrupt, with no exit.
	 */
	.macro	eoi_prepared x2, word=PV_EOI_WORDS
	.if	\x2
	btrl	$0, \word
	jc	.Lended\@
	wrmsr
.Lended\@:
	.else
	mov	%eax, (%rcx)
	.endif
	.endm

	/*
	 * event_loop: tells the host that it halts for the nth time, halts, and has n stored by the
	 * event handler's first instruction; until stop is found set after an event.
	 */
	.macro	event_code mode, x2
	.globl	event_loop_\mode, event_handler_\mode
	.balign	64
event_loop_\mode:
	push	%rbp
	push	%r14
	push	%r15
	mov	%rsp, %rbp
	mov	$SHARED + SHARED_HANDLED, %r14d
	xor	%r15d, %r15d
	eoi_prepare \x2
	jmp	.Levent_next_\mode

event_handler_\mode:
	mov	%r15d, (%r14)
	eoi_prepared \x2
	mov	%rbp, %rsp
.Levent_next_\mode:
	cmpl	$0, SHARED_STOP - SHARED_HANDLED(%r14)
	jne	1f
	inc	%r15d
	mov	%r15d, SHARED_HALTING - SHARED_HANDLED(%r14)
	halt
1:	pop	%r15
	pop	%r14
	pop	%rbp
	ret
	.endm

	/*
	 * idle_loop: halts until an event or a tick finds stop set. The event's handler does not
	 * count.
	 */
	.macro	idle_code mode, x2
	.globl	idle_loop_\mode, idle_tick_\mode, idle_event_\mode
	.balign	64
idle_loop_\mode:
	push	%rbp
	mov	%rsp, %rbp
	mov	$SHARED, %esi
	eoi_prepare \x2
	jmp	.Lidle_next_\mode

idle_tick_\mode:
	incl	SHARED_TICKS(%rsi)
idle_event_\mode:
	eoi_prepared \x2
	mov	%rbp, %rsp
.Lidle_next_\mode:
	cmpl	$0, SHARED_STOP(%rsi)
	jne	1f
	halt
1:	pop	%rbp
	ret
	.endm

	/*
	 * uint64_t shot(uint32_t where, uint32_t low, uint32_t high, uint64_t *before): reads the
	 * TSC into *before, writes an APIC register that will bring an interrupt (the timer's
	 * initial count; the ICR, for the reply), halts, and returns the TSC at the interrupt
	 * handler's first instruction. where is an MSR with x2APIC and an address with xAPIC, which
	 * leaves high out.
	 */
	.globl	shot_x2apic, shot_handler_x2apic
	.balign	64
shot_x2apic:
	push	%rbp
	push	%rcx
	mov	%rsp, %rbp
	mov	%edx, %r9d
	mov	%esi, %r8d
	mov	%edi, %ecx
	rdtsc
	xchg	%rax, %r8
	xchg	%rdx, %r9
	wrmsr
	halt

shot_handler_x2apic:
	rdtsc
	mov	%eax, %esi
	mov	%rdx, %rdi
	eoi_prepare 1
	eoi_prepared 1
	jmp	.Lshot_end

	.globl	shot_xapic, shot_handler_xapic
	.balign	64
shot_xapic:
	push	%rbp
	push	%rcx
	mov	%rsp, %rbp
	mov	%edi, %ecx
	rdtsc
	mov	%esi, (%rcx)
	mov	%rax, %r8
	mov	%rdx, %r9
	halt

shot_handler_xapic:
	rdtsc
	mov	%eax, %esi
	mov	%rdx, %rdi
	eoi_prepare 0
	eoi_prepared 0

.Lshot_end:
	mov	%rbp, %rsp
	pop	%rcx
	pop	%rbp
	shl	$32, %r9
	or	%r8, %r9
	mov	%r9, (%rcx)
	shl	$32, %rdi
	lea	(%rsi, %rdi), %rax
	ret

	/*
	 * uint64_t price_spin(uint32_t msr, uint32_t low, uint32_t high, uint64_t *before): as
	 * shot_x2apic, but with interrupts on from before the write, so that it comes before the halt. With
	 * price_handler for the interrupt, the result is the TSC after its end; for shot_x2apic too.
	 */
	.globl	price_spin, price_handler
	.balign	64
price_spin:
	push	%rbp
	push	%rcx
	mov	%rsp, %rbp
	mov	%edx, %r9d
	mov	%esi, %r8d
	mov	%edi, %ecx
	sti
	rdtsc
	xchg	%rax, %r8
	xchg	%rdx, %r9
	wrmsr
1:	hlt	/* after a host that emulates all this, and looks for interrupts here */
	jmp	1b

price_handler:
	eoi_prepare 1
	eoi_prepared 1
	rdtsc
	mov	%eax, %esi
	mov	%rdx, %rdi
	jmp	.Lshot_end

	/*
	 * uint64_t io_shot(uint64_t doorbell, uint32_t value, uint64_t *before): as shot, but what
	 * brings the interrupt is a 16-bit write to a device's doorbell. The handlers are the same.
	 */
	.globl	io_shot
	.balign	64
io_shot:
	push	%rbp
	push	%rdx
	mov	%rsp, %rbp
	rdtsc
	mov	%si, (%rdi)
	mov	%rax, %r8
	mov	%rdx, %r9
	halt

	/*
	 * ap_loop: where the other processors stay. The IPI handler's first instruction sends the
	 * reply.
	 */
	.globl	ap_loop_x2apic, ap_handler_x2apic
	.balign	64
ap_loop_x2apic:
	mov	%rsp, %rbp
	mov	$X2APIC_ID, %ecx
	rdmsr
	lea	PV_EOI_WORDS(, %rax, 4), %r9d
	cmpl	$0, pv_eoi
	je	2f
	mov	$MSR_PV_EOI, %ecx
	lea	1(%r9), %eax
	xor	%edx, %edx
	wrmsr
2:
	mov	boot_apic_id, %r8d
	lock incl SHARED + SHARED_CPUS
	jmp	1f

ap_handler_x2apic:
	wrmsr
	eoi_prepare 1
	eoi_prepared 1, (%r9)
	mov	%rbp, %rsp
1:	mov	%r8d, %edx
	mov	$X2APIC_ICR, %ecx
	mov	$ICR_ASSERT | VECTOR_REPLY, %eax
	halt

	.globl	ap_loop_xapic, ap_handler_xapic
	.balign	64
ap_loop_xapic:
	mov	%rsp, %rbp
	mov	boot_apic_id, %eax
	shl	$24, %eax
	mov	$APIC_BASE + APIC_ICR_HIGH, %ecx
	mov	%eax, (%rcx)
	mov	$APIC_BASE + APIC_ICR_LOW, %esi
	mov	$ICR_ASSERT | VECTOR_REPLY, %edi
	eoi_prepare 0
	lock incl SHARED + SHARED_CPUS
	jmp	1f

ap_handler_xapic:
	mov	%edi, (%rsi)
	eoi_prepared 0
	mov	%rbp, %rsp
1:	halt

	/*
	 * void compute_enter(void *rsp0, uint64_t *progress, const struct compute_regs *regs):
	 * counts in user mode, at @progress, until an event finds stop set. Interrupts find this
	 * stack by @rsp0, which lies in this processor's TSS. They come from user mode only, so a
	 * handler's frame lies right below what is pushed here. The loop leaves %rax, %rcx, %rdx to
	 * the handlers, and theirs are
	 *   %r14 the shared page's handled, %r15d the event's number, %r8 its sample,
	 *   %r9 the TSC at the doorbell of the read in flight (0: none), %r10 its sample,
	 *   %rbp the end of those, %rdi the doorbell (0: no disk), %esi the mask of sectors.
	 */
	.globl	compute_enter
	.balign	64
compute_enter:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rax
	and	$-16, %rsp /* as an interrupt would */
	push	%rax
	push	%rax
	mov	%rsp, (%rdi)
	mov	%rsi, %r13
	mov	$SHARED + SHARED_HANDLED, %r14d
	mov	$1, %r15d
	mov	$SAMPLES, %r8d
	xor	%r9d, %r9d
	mov	(%rdx), %r10
	mov	8(%rdx), %rbp
	mov	16(%rdx), %rdi
	mov	24(%rdx), %rsi
	xor	%r12d, %r12d
	mov	$1, %ebx
	push	$SEL_USER_DATA
	push	$0
	push	$0x202
	push	$SEL_USER_CODE
	push	$1f
	iretq
1:	imul	$1664525, %rbx, %rbx
	add	$1013904223, %rbx
	inc	%r12
	mov	%r12, (%r13)
	jmp	1b

	.macro	compute_eoi
	eoi_prepare 1
	cmp	%eax, apic_x2
	je	2f
	eoi_prepared 1
	jmp	3f
2:	eoi_prepare 0
	eoi_prepared 0
3:
	.endm

	.globl	compute_event
compute_event:
	rdtsc
	mov	%eax, (%r8)
	mov	%edx, 4(%r8)
	mov	%r15d, (%r14)
	add	$8, %r8
	inc	%r15d
	compute_eoi
	cmpl	$0, SHARED_STOP - SHARED_HANDLED(%r14)
	jne	5f
	test	%r9, %r9
	jne	4f
	test	%rdi, %rdi
	je	4f
	mov	BLK_SECTOR, %eax
	add	$8 * 1009, %eax
	and	%esi, %eax
	mov	%eax, BLK_SECTOR
	incw	BLK_AVAIL_IDX
	rdtsc
	mov	%eax, %r9d
	shl	$32, %rdx
	or	%rdx, %r9
	movw	$0, (%rdi)
4:	iretq
5:	add	$40, %rsp /* the frame */
	pop	%rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.globl	compute_read
compute_read:
	rdtsc
	cmp	%rbp, %r10
	je	6f
	mov	%r9, (%r10)
	mov	%eax, 8(%r10)
	mov	%edx, 12(%r10)
	add	$16, %r10
6:	xor	%r9d, %r9d
	compute_eoi
	iretq

	event_code x2apic, 1
	event_code xapic, 0
	idle_code x2apic, 1
	idle_code xapic, 0

	.section .note.GNU-stack, "", @progbits
