/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU in a snapshot: what KVM has of it, and what is ours but for the local APIC. The structures
 * of KVM are kept as KVM has them (Linux, include/uapi: asm/kvm.h, linux/kvm.h), which do not change.
 *
 * A processor's state in a file is a guest's at the worst: KVM takes nothing that would harm the
 * host. So it is read whole and checked for its form, and what KVM refuses is told by name.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relaxed.h"
#include "vcpu/state_clock.h"
#include "vcpu/vcpu.h"

#define VERSION 1

#define MSRS_MAX   4096u
#define LEAVES_MAX 256u
#define XSAVE_MAX  (1u << 20)

/* The parts beside registers, events and MSRs; those that a KVM has not are left out. */
#define HAS_XSAVE     (1u << 0)
#define HAS_FPU	      (1u << 1)
#define HAS_XCRS      (1u << 2)
#define HAS_DEBUGREGS (1u << 3)
#define HAS_APIC      (1u << 4) /* irqchip kernel: the local APIC, and the state of INIT and SIPI */
#define HAS_ALL	      (HAS_XSAVE | HAS_FPU | HAS_XCRS | HAS_DEBUGREGS | HAS_APIC)

/* The last takes none that this bit would tell of. */
#define EVENT_FLAGS                                                          \
	(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | \
	 KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM)

_Static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags),
	       "one begins as the other");

/* Of an MSR in the file. */
struct msr_entry {
	uint32_t index, reserved;
	uint64_t value;
};

/* Of a leaf in the file. */
struct leaf {
	uint32_t function, index, flags, eax, ebx, ecx, edx;
};

_Static_assert(sizeof(struct msr_entry) == 16 && sizeof(struct leaf) == 28, "as the file has it");

/* All of a section, before anything is applied. */
struct vcpu_image {
	uint32_t has;
	uint8_t life;
	bool halted, nmi_pending;
	uint64_t pv_eoi, poll_control, guest_tsc, tsc_adjust;
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_vcpu_events events;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	uint32_t mp_state;
	uint32_t xsave_len, msr_count, leaf_count;
	const uint8_t *xsave, *msrs, *leaves; /* in the file */
};

/* -- saving ----------------------------------------------------------------------------------- */

/* Returns whether the file has the MSR elsewhere, or it is ours. */
static bool is_apart(const struct vcpu *v, uint32_t index)
{
	if (index == MSR_TSC || index == MSR_TSC_ADJUST)
		return true;
	return v->host->irqchip_user &&
	       (index == MSR_KVM_PV_EOI_EN || index == MSR_KVM_POLL_CONTROL ||
		index == LAPIC_MSR_TSC_DEADLINE);
}

/* Reads all of the list that can be read. KVM stops at the first that cannot. Returns how many; the
 * caller frees *@to. */
static int read_msrs(const struct vcpu *v, struct kvm_msrs **to)
{
	const struct kvm_msr_list *list = v->host->kvm->msrs;
	struct kvm_msrs *batch, *all;
	uint32_t n = 0, i = 0;

	batch = calloc(1, sizeof(*batch) + list->nmsrs * sizeof(batch->entries[0]));
	if (!batch)
		return -ENOMEM;
	all = calloc(1, sizeof(*all) + list->nmsrs * sizeof(all->entries[0]));
	if (!all) {
		free(batch);
		return -ENOMEM;
	}
	while (i < list->nmsrs) {
		int got;

		batch->nmsrs = 0;
		for (uint32_t k = i; k < list->nmsrs; k++)
			batch->entries[batch->nmsrs++].index = list->indices[k];
		got = ioctl(v->fd, KVM_GET_MSRS, batch);
		if (got < 0)
			got = 0;
		for (int k = 0; k < got; k++)
			if (!is_apart(v, batch->entries[k].index))
				all->entries[n++] = batch->entries[k];
		i += (uint32_t)got + 1; /* and beyond the one that could not be read */
	}
	free(batch);
	all->nmsrs = n;
	*to = all;
	return (int)n;
}

static int put_msrs(const struct vcpu *v, struct state_writer *w)
{
	struct kvm_msrs *m;
	int n = read_msrs(v, &m);

	if (n < 0)
		return n;
	state_put_u32(w, (uint32_t)n);
	for (int i = 0; i < n; i++) {
		struct msr_entry e = {.index = m->entries[i].index, .value = m->entries[i].data};

		state_put_bytes(w, &e, sizeof(e));
	}
	free(m);
	return 0;
}

static void put_leaves(const struct kvm_cpuid2 *c, struct state_writer *w)
{
	state_put_u32(w, c->nent);
	for (uint32_t i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];
		struct leaf leaf = {.function = e->function,
				    .index = e->index,
				    .flags = e->flags,
				    .eax = e->eax,
				    .ebx = e->ebx,
				    .ecx = e->ecx,
				    .edx = e->edx};

		state_put_bytes(w, &leaf, sizeof(leaf));
	}
}

static int get_sregs(const struct vcpu *v, struct kvm_sregs2 *s)
{
	struct kvm_sregs old;

	memset(s, 0, sizeof(*s));
	if (v->host->kvm->sregs2)
		return ioctl(v->fd, KVM_GET_SREGS2, s);
	if (ioctl(v->fd, KVM_GET_SREGS, &old) < 0)
		return -1;
	memcpy(s, &old, offsetof(struct kvm_sregs2, flags));
	return 0;
}

static int get_xsave(const struct vcpu *v, void *to)
{
	return ioctl(v->fd, v->host->kvm->xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, to);
}

/* Asks KVM; has says which parts it had. */
static const char *read_image(const struct vcpu *v, struct vcpu_image *m, uint8_t *xsave,
			      uint64_t host_tsc)
{
	struct kvm_mp_state mp;

	/* An INIT or SIPI that waits is taken in by this, which changes the registers and events. */
	if (!v->host->irqchip_user) {
		if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
			return "KVM_GET_MP_STATE";
		if (ioctl(v->fd, KVM_GET_LAPIC, &m->lapic) < 0)
			return "KVM_GET_LAPIC";
		vcpu_shift_apic_timer(v, &m->lapic, __builtin_ia32_rdtsc() - host_tsc, true);
		m->mp_state = mp.mp_state;
		m->has |= HAS_APIC;
	}
	if (ioctl(v->fd, KVM_GET_REGS, &m->regs) < 0)
		return "KVM_GET_REGS";
	if (get_sregs(v, &m->sregs) < 0)
		return "KVM_GET_SREGS";
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &m->events) < 0)
		return "KVM_GET_VCPU_EVENTS";
	if (get_xsave(v, xsave) == 0)
		m->has |= HAS_XSAVE;
	else if (ioctl(v->fd, KVM_GET_FPU, &m->fpu) == 0)
		m->has |= HAS_FPU;
	else
		return "KVM_GET_XSAVE";
	if (ioctl(v->fd, KVM_GET_XCRS, &m->xcrs) == 0)
		m->has |= HAS_XCRS;
	if (ioctl(v->fd, KVM_GET_DEBUGREGS, &m->debugregs) == 0)
		m->has |= HAS_DEBUGREGS;
	return NULL;
}

int vcpu_save(struct vcpu *v, struct state_writer *w, uint64_t host_tsc, struct error *err)
{
	const struct kvm *kvm = v->host->kvm;
	struct vcpu_image m = {.has = 0};
	uint8_t *xsave = calloc(1, kvm->xsave_size);
	const char *failed;
	int ret;

	if (!xsave)
		return -ENOMEM;
	failed = read_image(v, &m, xsave, host_tsc);
	if (failed) {
		ret = -errno;
		free(xsave);
		return error_errno(err, ret, "%s of vCPU %u", failed, v->id);
	}
	if (!vcpu_one_msr(v, KVM_GET_MSRS, MSR_TSC_ADJUST, &m.tsc_adjust))
		m.tsc_adjust = 0;
	state_begin(w, STATE_VCPU, v->id, VERSION);
	state_put_u32(w, m.has);
	state_put_u8(w, (uint8_t)v->life);
	state_put_bool(w, v->halted);
	state_put_bool(w, v->nmi_pending);
	state_put_u64(w, v->pv_eoi_msr);
	state_put_u64(w, relaxed_load(&v->poll_control));
	state_put_u64(w, vcpu_guest_tsc(v, host_tsc));
	state_put_u64(w, m.tsc_adjust);
	state_put_bytes(w, &m.regs, sizeof(m.regs));
	state_put_bytes(w, &m.sregs, sizeof(m.sregs));
	state_put_bytes(w, &m.events, sizeof(m.events));
	if (m.has & HAS_XSAVE) {
		state_put_u32(w, kvm->xsave_size);
		state_put_bytes(w, xsave, kvm->xsave_size);
	}
	if (m.has & HAS_FPU)
		state_put_bytes(w, &m.fpu, sizeof(m.fpu));
	if (m.has & HAS_XCRS)
		state_put_bytes(w, &m.xcrs, sizeof(m.xcrs));
	if (m.has & HAS_DEBUGREGS)
		state_put_bytes(w, &m.debugregs, sizeof(m.debugregs));
	if (m.has & HAS_APIC) {
		state_put_u32(w, m.mp_state);
		state_put_bytes(w, &m.lapic, sizeof(m.lapic));
	}
	free(xsave);
	put_leaves(v->cpuid, w);
	ret = put_msrs(v, w);
	return ret < 0 ? ret : state_end(w);
}

/* -- reading ---------------------------------------------------------------------------------- */

static void get_counted(struct state_in *in, uint32_t max, size_t size, const char *what,
			uint32_t *count, const uint8_t **at)
{
	*count = state_get_u32(in);
	*at = NULL;
	if (state_check(in, *count <= max, what))
		*at = state_get_view(in, *count * size);
	if (!*at)
		*count = 0;
}

static void parse(const struct vcpu *v, struct state_in *in, struct vcpu_image *m)
{
	m->has = state_get_u32(in);
	state_check(in, !(m->has & ~HAS_ALL), "what it has");
	state_check(in, !(m->has & HAS_APIC) == v->host->irqchip_user, "whose its local APIC is");
	m->life = state_get_u8(in);
	state_check(in, m->life <= VCPU_WAIT_SIPI, "whether it was started");
	m->halted = state_get_bool(in);
	m->nmi_pending = state_get_bool(in);
	m->pv_eoi = state_get_u64(in);
	m->poll_control = state_get_u64(in);
	state_check(in, !(m->poll_control & ~VCPU_POLL_CONTROL_ALLOW), "its MSR_KVM_POLL_CONTROL");
	m->guest_tsc = state_get_u64(in);
	m->tsc_adjust = state_get_u64(in);
	state_get_bytes(in, &m->regs, sizeof(m->regs));
	state_get_bytes(in, &m->sregs, sizeof(m->sregs));
	state_get_bytes(in, &m->events, sizeof(m->events));
	if (m->has & HAS_XSAVE) {
		get_counted(in, XSAVE_MAX, 1, "the size of its XSAVE area", &m->xsave_len,
			    &m->xsave);
		state_check(in, m->xsave_len >= sizeof(struct kvm_xsave),
			    "the size of its XSAVE area");
	}
	if (m->has & HAS_FPU)
		state_get_bytes(in, &m->fpu, sizeof(m->fpu));
	if (m->has & HAS_XCRS) {
		state_get_bytes(in, &m->xcrs, sizeof(m->xcrs));
		state_check(in, m->xcrs.nr_xcrs <= KVM_MAX_XCRS && !m->xcrs.flags,
			    "how many XCRs it has");
	}
	if (m->has & HAS_DEBUGREGS)
		state_get_bytes(in, &m->debugregs, sizeof(m->debugregs));
	if (m->has & HAS_APIC) {
		m->mp_state = state_get_u32(in);
		state_get_bytes(in, &m->lapic, sizeof(m->lapic));
	}
	get_counted(in, LEAVES_MAX, sizeof(struct leaf), "how many leaves CPUID has",
		    &m->leaf_count, &m->leaves);
	get_counted(in, MSRS_MAX, sizeof(struct msr_entry), "how many MSRs it has", &m->msr_count,
		    &m->msrs);
}

/* -- what this host must have ------------------------------------------------------------------ */

/* Sets the guest's CPUID, if this host can carry it. */
static int set_cpuid(struct vcpu *v, const struct vcpu_image *m, struct error *err)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + m->leaf_count * sizeof(c->entries[0]));
	int ret;

	if (!c)
		return -ENOMEM;
	c->nent = m->leaf_count;
	for (uint32_t i = 0; i < m->leaf_count; i++) {
		struct leaf e;

		memcpy(&e, m->leaves + i * sizeof(e), sizeof(e));
		c->entries[i] = (struct kvm_cpuid_entry2){.function = e.function,
							  .index = e.index,
							  .flags = e.flags,
							  .eax = e.eax,
							  .ebx = e.ebx,
							  .ecx = e.ecx,
							  .edx = e.edx};
	}
	ret = cpuid_carries(v->cpuid, c, err);
	if (ret == 0 && ioctl(v->fd, KVM_SET_CPUID2, c) < 0) {
		ret = -errno;
		error_errno(err, ret, "KVM_SET_CPUID2");
	}
	if (ret < 0) {
		free(c);
		return ret;
	}
	free(v->cpuid);
	v->cpuid = c;
	v->signature = cpuid_signature(c);
	return 0;
}

static int set_sregs(const struct vcpu *v, const struct kvm_sregs2 *s)
{
	struct kvm_sregs old;

	if (v->host->kvm->sregs2)
		return ioctl(v->fd, KVM_SET_SREGS2, s);
	memset(&old, 0, sizeof(old));
	memcpy(&old, s, offsetof(struct kvm_sregs2, flags));
	return ioctl(v->fd, KVM_SET_SREGS, &old);
}

/* Sets the extended state. KVM reads as many bytes as it has itself; what it would read beyond the
 * file's is 0. */
static int set_xsave(const struct vcpu *v, const struct vcpu_image *m)
{
	uint32_t own = v->host->kvm->xsave_size, len = m->xsave_len;
	uint8_t *area;
	int ret;

	for (uint32_t i = own; i < len; i++)
		if (m->xsave[i]) {
			errno = E2BIG;
			return -1;
		}
	area = calloc(1, own);
	if (!area)
		return -1;
	memcpy(area, m->xsave, len < own ? len : own);
	ret = ioctl(v->fd, KVM_SET_XSAVE, area);
	free(area);
	return ret;
}

static int set_lapic(const struct vcpu *v, const struct vcpu_image *m, uint64_t host_tsc)
{
	struct kvm_lapic_state lapic = m->lapic;

	vcpu_shift_apic_timer(v, &lapic, __builtin_ia32_rdtsc() - host_tsc, false);
	vcpu_settle_apic_timer(&lapic);
	return ioctl(v->fd, KVM_SET_LAPIC, &lapic);
}

static int set_mp_state(const struct vcpu *v, const struct vcpu_image *m)
{
	struct kvm_mp_state mp = {.mp_state = m->mp_state};

	return ioctl(v->fd, KVM_SET_MP_STATE, &mp);
}

/*
 * Sets those MSRs that differ: KVM puts some others down in the kernel's log, and some are not to
 * be set, since they tell of the host. One that differs and cannot be set is one that this host
 * lacks.
 */
static int set_msrs(struct vcpu *v, const struct vcpu_image *m, struct error *err)
{
	for (uint32_t i = 0; i < m->msr_count; i++) {
		struct msr_entry e;
		uint64_t now;

		memcpy(&e, m->msrs + i * sizeof(e), sizeof(e));
		now = 0;
		if (is_apart(v, e.index) ||
		    (vcpu_one_msr(v, KVM_GET_MSRS, e.index, &now) && now == e.value))
			continue;
		if (!vcpu_one_msr(v, KVM_SET_MSRS, e.index, &e.value) && e.value)
			return error_fail(err, -ENOTSUP,
					  "MSR 0x%x: this host does not take the value 0x%llx",
					  e.index, (unsigned long long)e.value);
	}
	return 0;
}

static int set_events(struct vcpu *v, const struct vcpu_image *m)
{
	struct kvm_vcpu_events ev = m->events;

	ev.flags &= EVENT_FLAGS;
	if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev) < 0)
		return -1;
	return ioctl(v->fd, KVM_GET_VCPU_EVENTS, &v->run->s.regs.events);
}

static const char *apply_registers(struct vcpu *v, const struct vcpu_image *m, uint64_t host_tsc)
{
	if (set_sregs(v, &m->sregs) < 0)
		return "its segments and control registers";
	if (ioctl(v->fd, KVM_SET_REGS, &m->regs) < 0)
		return "its registers";
	if ((m->has & HAS_XCRS) && m->xcrs.nr_xcrs && ioctl(v->fd, KVM_SET_XCRS, &m->xcrs) < 0)
		return "its XCR0";
	if ((m->has & HAS_XSAVE) && set_xsave(v, m) < 0)
		return "its XSAVE area";
	if ((m->has & HAS_FPU) && ioctl(v->fd, KVM_SET_FPU, &m->fpu) < 0)
		return "its FPU";
	if ((m->has & HAS_DEBUGREGS) && ioctl(v->fd, KVM_SET_DEBUGREGS, &m->debugregs) < 0)
		return "its debug registers";
	if ((m->has & HAS_APIC) && set_lapic(v, m, host_tsc) < 0)
		return "its local APIC";
	if ((m->has & HAS_APIC) && set_mp_state(v, m) < 0)
		return "whether it was started";
	return NULL;
}

static int apply(struct vcpu *v, const struct vcpu_image *m, uint64_t host_tsc, struct error *err)
{
	const char *failed;
	int ret = set_cpuid(v, m, err);

	if (ret < 0)
		return ret;
	failed = apply_registers(v, m, host_tsc);
	if (failed)
		return error_errno(err, -errno, "KVM does not take %s", failed);
	/* Before the MSRs, among which the deadline of KVM's local APIC is. */
	if (!vcpu_set_tsc(v, m->guest_tsc, host_tsc, m->tsc_adjust))
		return error_fail(err, -ENOTSUP, "KVM does not take its time stamp counter");
	ret = set_msrs(v, m, err);
	if (ret < 0)
		return ret;
	if (set_events(v, m) < 0)
		return error_errno(err, -errno, "KVM does not take its pending events");
	if (v->host->irqchip_user && vcpu_set_pv_eoi(v, m->pv_eoi) < 0)
		return error_fail(err, -EINVAL, "its MSR_KVM_PV_EOI_EN is wrong");
	if (v->host->irqchip_user)
		vcpu_set_poll_control(v, m->poll_control);
	v->life = v->host->irqchip_user ? (enum vcpu_life)m->life : VCPU_RUNNABLE;
	v->halted = m->halted;
	v->nmi_pending = m->nmi_pending;
	v->nmi_given = false;
	/* As the next exit would tell. */
	v->run->kvm_dirty_regs = 0;
	v->run->if_flag = (m->regs.rflags >> 9) & 1;
	v->run->ready_for_interrupt_injection = 0;
	v->run->cr8 = m->sregs.cr8;
	v->run->apic_base = m->sregs.apic_base;
	return 0;
}

int vcpu_load(struct vcpu *v, struct state_in *in, uint64_t host_tsc, struct error *err)
{
	struct vcpu_image *m = calloc(1, sizeof(*m));
	struct error why = {.text = ""};
	int ret;

	if (!m)
		return -ENOMEM;
	parse(v, in, m);
	ret = state_finish(in, err);
	if (ret == 0) {
		ret = apply(v, m, host_tsc, &why);
		if (ret < 0)
			error_fail(err, ret, "vCPU %u: %s", v->id,
				   why.text[0] ? why.text : strerror(-ret));
	}
	free(m);
	return ret;
}

/* -- standing still --------------------------------------------------------------------------- */

#define SETTLE_TURNS 64

void vcpu_settle(struct vcpu *v)
{
	/* An access that was just done is completed by the next KVM_RUN, and what was injected is
	 * taken in by it. A wide access may need several. */
	for (int i = 0; i < SETTLE_TURNS && !v->leaving; i++) {
		int ret;

		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
		/* KVM takes it in, and it may have been written to since the last entry. */
		if (v->host->irqchip_user)
			v->run->cr8 = lapic_cr8(&v->lapic);
		ret = ioctl(v->fd, KVM_RUN, 0);
		if (v->host->irqchip_user)
			vcpu_after_exit(v);
		if (ret < 0)
			break;
		if (vcpu_handle_exit(v) == VCPU_END)
			v->leaving = true;
	}
}
