/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way into user mode and out of it, what user mode has the kernel do, the idle processor's wait
 * (idle.h), and the interrupt handlers that end it.
 *
 * Interrupts are on in user mode, so a handler gives back every register, but for those of
 * user_stamp: what it ends has been begun inside idle_wait, which expects it. Each handler says that
 * there is work by this processor's flag, as Linux's handlers do by TIF_NEED_RESCHED, and returns.
 */
#include "layout.h"

	.section .text.hot, "ax", @progbits
	.code64

	/*
	 * From user mode: goes on in kernel mode at %r11, with user mode's frame on the stack. An
	 * undefined instruction is the way there that every host has: where KVM emulates kernel
	 * mode, INT does not get there from user mode.
	 */
	.macro	kernel
	ud2
	.endm

	.globl	user_trap
user_trap:
	addq	$2, (%rsp)
	jmp	*%r11

	/*
	 * void user_enter(void *rsp0, uint64_t stack, void (*f)(void *), void *arg): calls f in user
	 * mode, on that stack. Interrupts find this stack by @rsp0, which lies in this processor's
	 * TSS.
	 */
	.globl	user_enter
user_enter:
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
	mov	%rcx, %rdi
	push	$SEL_USER_DATA
	push	%rsi
	push	$0x202
	push	$SEL_USER_CODE
	push	$1f
	iretq
1:	call	*%rdx
	mov	$kernel_leave, %r11d
	kernel
kernel_leave:
	add	$40, %rsp /* the frame */
	pop	%rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	/* %rdi: the processor's flags. Halts, unless there is work. */
kernel_halt:
	testl	$IDLE_WORK, (%rdi)
	jnz	1f
	sti
	hlt
	testl	$IDLE_WORK, (%rdi)
	jz	2f
1:	iretq
2:	cli /* woken by nothing of ours */
	jmp	kernel_halt

	/*
	 * Write %r8d to where %rcx says, after a look at the TSC, which is left in %r8 and %r9: an
	 * MSR with %r9d as its upper half, or 32 or 16 bits of memory.
	 */
	.globl	kernel_wrmsr, kernel_write32, kernel_write16
kernel_wrmsr:
	rdtsc
	xchg	%rax, %r8
	xchg	%rdx, %r9
	wrmsr
	iretq
	.irp	bits, 32, 16
kernel_write\bits:
	mov	%r8d, %r10d
	rdtsc
	.if	\bits == 32
	mov	%r10d, (%rcx)
	.else
	mov	%r10w, (%rcx)
	.endif
	mov	%rax, %r8
	mov	%rdx, %r9
	iretq
	.endr

	/* Writes %r8b to port %ecx. */
	.globl	kernel_out
kernel_out:
	mov	%ecx, %edx
	mov	%r8d, %eax
	outb	%al, %dx
	iretq

	/*
	 * void user_call(const struct user_op *op, uint64_t *before): in user mode; has the kernel do
	 * @op.
	 */
	.globl	user_call
user_call:
	mov	(%rdi), %r11
	mov	8(%rdi), %rcx
	mov	16(%rdi), %r8
	mov	24(%rdi), %r9
	kernel
	shl	$32, %r9
	or	%r8, %r9
	mov	%r9, (%rsi)
	ret

	/* into %rax; %rdx is lost */
	.macro	tsc
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	.endm

	/*
	 * void idle_wait(struct idle *cpu, const struct user_op *op, uint64_t window): in user mode;
	 * has the kernel do @op (NULL: nothing), which is to bring work; polls for that many ticks
	 * of the TSC (0: not at all), and halts if none came. Fills cpu->before to cpu->woken.
	 *
	 * user_stamp may change %rax and %rdx anywhere in here. It leaves the flag set, so what is
	 * computed of them is not used before the flag has been looked at again.
	 */
	.globl	idle_wait
	.balign	64
idle_wait:
	push	%rbx
	push	%r12
	push	%r13
	mov	%rdi, %rbx
	mov	%rdx, %r12
	xor	%r13d, %r13d
	mov	%r13, IDLE_HALTED(%rbx)
	mov	%rsi, %rdi
	lea	IDLE_BEFORE(%rbx), %rsi
	test	%rdi, %rdi
	jz	1f
	call	user_call
1:	test	%r12, %r12
	jz	.Lhalt
	tsc
	testl	$IDLE_WORK, (%rbx)
	jnz	.Lwork
	mov	%rax, %r13
	/* As Linux's poll_idle(): the clock is looked at after 201 looks at the flag. */
2:	mov	$IDLE_LOOKS, %ecx
3:	testl	$IDLE_WORK, (%rbx)
	jnz	.Lwork
	pause
	dec	%ecx
	jnz	3b
	tsc
	mov	%rax, IDLE_POLLED(%rbx)
	sub	%r13, %rax
	cmp	%r12, %rax
	jbe	2b
.Lhalt:
	lock andl $~IDLE_POLLING, (%rbx)
	tsc
	testl	$IDLE_WORK, (%rbx)
	jnz	.Lwork
	mov	%rax, IDLE_HALTED(%rbx)
	mov	%rbx, %rdi
	mov	$kernel_halt, %r11d
	kernel
.Lwork:
	lock andl $~(IDLE_WORK | IDLE_POLLING), (%rbx)
	tsc
	mov	%rax, IDLE_WOKEN(%rbx)
	mov	%r13, IDLE_BEGAN(%rbx)
	pop	%r13
	pop	%r12
	pop	%rbx
	ret

	/* The end of a handler, on processor @cpu of those that poll. */
	.macro	work cpu
	lock orl $IDLE_WORK, idle_cpus + \cpu * IDLE_SIZE
	btrl	$0, PV_EOI_WORDS + 4 * \cpu
	jnc	.Leoi\@
	iretq
.Leoi\@:
	push	%rax
	push	%rcx
	push	%rdx
	xor	%eax, %eax
	xor	%edx, %edx
	cmp	%eax, apic_x2
	je	.Lxapic\@
	mov	$X2APIC_EOI, %ecx
	wrmsr
	jmp	.Lended\@
.Lxapic\@:
	mov	$APIC_BASE + APIC_EOI, %ecx
	mov	%eax, (%rcx)
.Lended\@:
	pop	%rdx
	pop	%rcx
	pop	%rax
	iretq
	.endm

	.macro	stamp
	mov	%eax, idle_cpus + IDLE_STAMP
	mov	%edx, idle_cpus + IDLE_STAMP + 4
	.endm

	.globl	user_event, user_wake, user_tick, user_stamp, user_stamp_kept, user_ipi
user_event:
	incl	SHARED + SHARED_HANDLED
	work	0
user_tick:
	incl	SHARED + SHARED_TICKS
user_wake:
	work	0
user_stamp:
	rdtsc
	stamp
	work	0
user_stamp_kept:
	push	%rax
	push	%rdx
	rdtsc
	stamp
	pop	%rdx
	pop	%rax
	work	0
user_ipi:
	work	1

	.section .note.GNU-stack, "", @progbits
