/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a VM, told to people: what happened, the registers, the bytes at the instruction. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vcpu/vcpu.h"

struct text {
	char *buf;
	size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->used, t->size - t->used, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->used += (size_t)n < t->size - t->used ? (size_t)n : t->size - t->used - 1;
}

static void add_instruction(struct vcpu *v, struct text *t, const struct kvm_regs *r,
			    const struct kvm_sregs *s)
{
	uint64_t linear = s->cs.base + r->rip;

	add(t, "code:");
	for (unsigned int i = 0; i < 16; i++) {
		struct kvm_translation tr = {.linear_address = linear + i};
		const uint8_t *p = NULL;

		if (ioctl(v->fd, KVM_TRANSLATE, &tr) == 0 && tr.valid)
			p = dma_at(v->host->dma, tr.physical_address, 1);
		if (!p) {
			add(t, i ? "" : " not readable");
			break;
		}
		add(t, " %02x", *p);
	}
	add(t, "\n");
}

static void add_registers(struct vcpu *v, struct text *t, uint32_t reason)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_REGS, &r) < 0 || ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
		return;
	/* KVM on AMD: what SVM leaves after a shutdown is undefined, so KVM resets the
	 * processor. */
	if (reason == CATNAP_EXIT_TRIPLE_FAULT && r.rip == 0xfff0 && s.cs.selector == 0xf000)
		add(t, "(the registers are those after reset: KVM has not kept the guest's)\n");
	add(t, "rip %016llx  rflags %08llx  cs %04x  ss %04x  ds %04x\n", r.rip, r.rflags,
	    s.cs.selector, s.ss.selector, s.ds.selector);
	add(t, "rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx\n", r.rax, r.rbx, r.rcx, r.rdx);
	add(t, "rsi %016llx  rdi %016llx  rsp %016llx  rbp %016llx\n", r.rsi, r.rdi, r.rsp, r.rbp);
	add(t, "r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx\n", r.r8, r.r9, r.r10, r.r11);
	add(t, "r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx\n", r.r12, r.r13, r.r14, r.r15);
	add(t, "cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx\n", s.cr0, s.cr2,
	    s.cr3, s.cr4, s.efer);
	add(t, "gdt %016llx+%04x  idt %016llx+%04x\n", s.gdt.base, s.gdt.limit, s.idt.base,
	    s.idt.limit);
	add_instruction(v, t, &r, &s);
}

void vcpu_end(struct vcpu *v, uint32_t reason, int32_t code, const char *what)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = reason, .code = code, .vcpu = v->id};
	struct text t = {e.report, sizeof(e.report), 0};

	if (what) {
		add(&t, "vCPU %u: %s", v->id, what);
		if (reason == CATNAP_EXIT_HOST_ERROR)
			add(&t, ": %s", strerror(-code));
		add(&t, "\n");
	}
	if (reason == CATNAP_EXIT_TRIPLE_FAULT || reason == CATNAP_EXIT_KVM_ERROR)
		add_registers(v, &t, reason);
	v->leaving = true;
	v->host->end(v->host->ctx, &e);
}

void vcpu_check_ring(struct vcpu *v, int ret)
{
	char text[160];

	if (ret >= 0)
		return;
	if (v->halter.ring.made)
		snprintf(text, sizeof(text), "its io_uring");
	else
		snprintf(text, sizeof(text), "io_uring, which its devices need%s",
			 ring_advice(ret));
	vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, text);
}
