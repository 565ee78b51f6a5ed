/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register states: after reset or INIT (Intel SDM volume 3, "Processor State After Reset"), after
 * SIPI, and the entries that boot protocols ask for.
 */
#include <errno.h>
#include <string.h>

#include "vcpu/gdt.h"
#include "vcpu/vcpu.h"

#define CR0_PE	 UINT64_C(0x1)
#define CR0_ET	 UINT64_C(0x10)
#define CR0_NW	 UINT64_C(0x20000000)
#define CR0_CD	 UINT64_C(0x40000000)
#define CR0_PG	 UINT64_C(0x80000000)
#define CR4_PAE	 UINT64_C(0x20)
#define EFER_LME UINT64_C(0x100)
#define EFER_LMA UINT64_C(0x400)

static struct kvm_segment real_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){.base = (uint64_t)selector << 4,
				    .limit = 0xffff,
				    .selector = selector,
				    .type = type,
				    .present = 1,
				    .s = 1};
}

/* Sets them as after reset, but for CS:IP, which entries set; APIC base and CR8 stay. */
static void reset_sregs(struct kvm_sregs *s)
{
	struct kvm_segment data = real_segment(0, 3);
	uint64_t apic_base = s->apic_base;

	memset(s, 0, sizeof(*s));
	s->apic_base = apic_base;
	s->cs = real_segment(0xf000, 11);
	s->cs.base = 0xffff0000;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = (struct kvm_segment){.limit = 0xffff, .type = 11, .present = 1};
	s->ldt = (struct kvm_segment){.limit = 0xffff, .type = 2, .present = 1};
	s->gdt.limit = s->idt.limit = 0xffff;
	s->cr0 = CR0_ET | CR0_NW | CR0_CD;
}

static int get_sregs(struct vcpu *v, struct kvm_sregs *s)
{
	return ioctl(v->fd, KVM_GET_SREGS, s) < 0 ? -errno : 0;
}

static int set_state(struct vcpu *v, const struct kvm_sregs *s, const struct kvm_regs *r)
{
	struct kvm_vcpu_events ev;

	if (ioctl(v->fd, KVM_SET_SREGS, s) < 0 || ioctl(v->fd, KVM_SET_REGS, r) < 0)
		return -errno;
	/* Drop the events that were under way. */
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) == 0) {
		ev.exception.injected = 0;
		ev.exception.pending = 0;
		ev.interrupt.injected = 0;
		ev.interrupt.shadow = 0;
		ev.nmi.injected = 0;
		ev.nmi.pending = 0;
		ev.nmi.masked = 0;
		ev.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
		ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev);
		v->run->s.regs.events = ev;
	}
	v->run->kvm_dirty_regs = 0;
	/* The last exit's word on the interrupt flag no longer holds. */
	v->run->if_flag = (r->rflags >> 9) & 1;
	v->run->ready_for_interrupt_injection = 0;
	return 0;
}

int vcpu_reset_registers(struct vcpu *v)
{
	/* RDX holds the processor's signature after reset. */
	struct kvm_regs r = {.rip = 0xfff0, .rflags = 2, .rdx = v->signature};
	struct kvm_sregs s;
	int ret;

	/* The instruction of an access that has just been done is completed by the next KVM_RUN
	 * (api.rst, KVM_EXIT_MMIO): it would go on behind it, not where it starts. */
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
	ioctl(v->fd, KVM_RUN, 0);
	ret = get_sregs(v, &s);
	if (ret < 0)
		return ret;
	reset_sregs(&s);
	return set_state(v, &s, &r);
}

int vcpu_reset_apic_base(struct vcpu *v)
{
	struct kvm_sregs s;
	int ret = get_sregs(v, &s);

	if (ret < 0)
		return ret;
	s.apic_base = LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE | (v->id == 0 ? LAPIC_BASE_BSP : 0);
	s.cr8 = 0;
	return ioctl(v->fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

int vcpu_startup(struct vcpu *v, uint8_t vector)
{
	struct kvm_regs r = {.rip = 0, .rflags = 2, .rdx = v->signature};
	struct kvm_sregs s;
	int ret = get_sregs(v, &s);

	if (ret < 0)
		return ret;
	reset_sregs(&s);
	s.cs = real_segment((uint16_t)(vector << 8), 11);
	return set_state(v, &s, &r);
}

int vcpu_set_entry(struct vcpu *v, const struct vcpu_entry *e, struct error *err)
{
	struct kvm_regs r = {.rip = e->rip,
			     .rflags = 2,
			     .rax = e->rax,
			     .rbx = e->rbx,
			     .rsi = e->rsi,
			     .rsp = e->rsp};
	struct kvm_sregs s;
	int ret = get_sregs(v, &s);

	if (ret == 0) {
		bool long_mode = e->mode == VCPU_ENTRY_LONG;

		if (v->host->irqchip_user)
			s.apic_base = LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE |
				      (v->id == 0 ? LAPIC_BASE_BSP : 0);
		reset_sregs(&s);
		if (e->mode == VCPU_ENTRY_REAL) {
			s.cs = real_segment(e->cs_selector, 11);
			s.cr0 = CR0_ET;
		} else {
			s.cs = gdt_segment(GDT_CODE, long_mode);
			s.ds = s.es = s.fs = s.gs = s.ss = gdt_segment(GDT_DATA, long_mode);
			s.tr = gdt_segment(GDT_TSS, long_mode);
			s.gdt.base = e->gdt_base;
			s.gdt.limit = e->gdt_limit;
			s.idt.limit = 0;
			s.cr0 = CR0_ET | CR0_PE;
		}
		if (long_mode) {
			s.cr0 |= CR0_PG;
			s.cr3 = e->cr3;
			s.cr4 = CR4_PAE;
			s.efer = EFER_LME | EFER_LMA;
		}
		ret = set_state(v, &s, &r);
	}
	if (ret < 0)
		error_errno(err, ret, "setting the registers of vCPU %u", v->id);
	else if (v->host->irqchip_user)
		lapic_set_base(&v->lapic, s.apic_base);
	return ret;
}
