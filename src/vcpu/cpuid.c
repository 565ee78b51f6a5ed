/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID policy (Intel SDM volume 2 "CPUID", AMD APM volume 3 appendix E, Linux
 * Documentation/virt/kvm/x86/cpuid.rst). Each vCPU is a core of its own in one package. There is no
 * PMU: see docs/design.md, "The guest's processor".
 */
#include <asm/kvm_para.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/cpuid.h"

#define LEAF_KVM_SIGNATURE 0x40000000u
#define LEAF_KVM_FEATURES  0x40000001u
#define LEAF_TSC_CRYSTAL   0x15u
#define LEAF_FREQUENCIES   0x16u
#define LEAF_HV_TIMING	   0x40000010u /* VMware's, which others read, too */

/* Entries that may be added: two of topology, two of frequencies, one of the hypervisor. */
#define MORE_LEAVES 5u

#define BIT(n) (UINT32_C(1) << (n))

/* Features of the KVM leaf that need the APIC to be in the kernel. */
#define KVM_NEEDS_KERNEL_APIC                                              \
	(BIT(KVM_FEATURE_ASYNC_PF) | BIT(KVM_FEATURE_PV_UNHALT) |          \
	 BIT(KVM_FEATURE_ASYNC_PF_VMEXIT) | BIT(KVM_FEATURE_PV_SEND_IPI) | \
	 BIT(KVM_FEATURE_ASYNC_PF_INT) | BIT(KVM_FEATURE_MSI_EXT_DEST_ID))

static uint32_t bits_for(uint32_t count)
{
	return count <= 1 ? 0 : 32u - (uint32_t)__builtin_clz(count - 1);
}

static void set_bit_to(uint32_t *reg, unsigned int bit, bool on)
{
	*reg = on ? *reg | BIT(bit) : *reg & ~BIT(bit);
}

static void leaf_1(struct kvm_cpuid_entry2 *e, const struct cpuid_policy *p, uint32_t apic_id)
{
	e->ebx = (e->ebx & 0x0000ffffu) | (p->vcpus > 255 ? 255 : p->vcpus) << 16 | apic_id << 24;
	set_bit_to(&e->ecx, 3, false); /* MONITOR/MWAIT: another idle driver would win */
	set_bit_to(&e->ecx, 5, false); /* VMX */
	set_bit_to(&e->ecx, 21, true); /* x2APIC: ours needs nothing of the processor */
	set_bit_to(&e->ecx, 24, p->tsc_deadline);
	set_bit_to(&e->ecx, 31, true);	       /* a hypervisor is there */
	set_bit_to(&e->edx, 9, true);	       /* APIC */
	set_bit_to(&e->edx, 28, p->vcpus > 1); /* more than one logical processor per package */
}

/* Extended topology (0xb, 0x1f): one thread per core, the cores of one package. */
static void leaf_topology(struct kvm_cpuid_entry2 *e, const struct cpuid_policy *p,
			  uint32_t apic_id)
{
	e->eax = e->ebx = 0;
	e->ecx = e->index & 0xff;
	e->edx = apic_id;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= 1 << 8; /* level: thread */
	} else if (e->index == 1) {
		e->eax = bits_for(p->vcpus);
		e->ebx = p->vcpus;
		e->ecx |= 2 << 8; /* level: core */
	}
}

/*
 * The closest fraction to @value / @of whose numerator is at most @max: the continued fraction, up
 * to there.
 */
static void closest_fraction(uint32_t value, uint32_t of, uint32_t max, uint32_t *num,
			     uint32_t *den)
{
	uint64_t n0 = 0, n1 = 1, d0 = 1, d1 = 0, a = value, b = of;

	while (b) {
		uint64_t q = a / b, n2 = q * n1 + n0, d2 = q * d1 + d0, rest = a % b;

		if (n2 > max)
			break;
		n0 = n1, n1 = n2;
		d0 = d1, d1 = d2;
		a = b, b = rest;
	}
	*num = (uint32_t)n1;
	*den = (uint32_t)d1;
}

/*
 * Intel's: TSC = crystal * EBX / EAX. The crystal is what the APIC timer counts, and Linux relies
 * on that; it multiplies kHz by EBX in 32 bits, and does not look further. So where that is not
 * exact enough, to a millionth, nothing is said, and it measures.
 */
static void leaf_crystal(struct kvm_cpuid_entry2 *e, const struct cpuid_policy *p)
{
	uint64_t khz, off;

	e->ecx = p->apic_khz * 1000u;
	e->edx = 0;
	closest_fraction(p->tsc_khz, p->apic_khz, UINT32_MAX / p->apic_khz, &e->ebx, &e->eax);
	khz = e->eax ? (uint64_t)p->apic_khz * e->ebx / e->eax : 0;
	off = khz > p->tsc_khz ? khz - p->tsc_khz : p->tsc_khz - khz;
	if (!e->ebx || off > 1 + p->tsc_khz / 1000000)
		e->eax = e->ebx = e->ecx = 0;
}

/* Performance monitoring, and what comes with it. */
static void remove_pmu(struct kvm_cpuid_entry2 *e)
{
	switch (e->function) {
	case 1:
		set_bit_to(&e->ecx, 2, false);	/* DTES64: of the debug store */
		set_bit_to(&e->ecx, 15, false); /* PDCM: capabilities of the PMU */
		set_bit_to(&e->edx, 21, false); /* DS */
		break;
	case 7:
		if (e->index == 0)
			set_bit_to(&e->edx, 19, false); /* last branches by an architecture */
		break;
	case 0xa:	 /* Intel's performance monitoring */
	case 0x1c:	 /* last branch records */
	case 0x80000022: /* AMD's performance monitoring, version 2 */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000001: /* AMD's counters: of the core, of the northbridge, of the last cache */
		set_bit_to(&e->ecx, 23, false);
		set_bit_to(&e->ecx, 24, false);
		set_bit_to(&e->ecx, 28, false);
		break;
	}
}

static void adjust(struct kvm_cpuid_entry2 *e, const struct cpuid_policy *p, uint32_t apic_id)
{
	switch (e->function) {
	case 1:
		leaf_1(e, p, apic_id);
		break;
	case 4: /* caches: shared by how many, cores per package */
		if (e->eax & 0x1f) {
			uint32_t level = (e->eax >> 5) & 7;
			uint32_t shared = level >= 3 ? (1u << bits_for(p->vcpus)) - 1 : 0;

			e->eax = (e->eax & 0x3fffu) | shared << 14 |
				 ((1u << bits_for(p->vcpus)) - 1) << 26;
		}
		break;
	case 5:		 /* MWAIT */
	case 0x8000000a: /* SVM features */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 6: /* the APIC timer never stops; no power interfaces */
		e->eax = BIT(2);
		e->ebx = e->ecx = e->edx = 0;
		break;
	case 0xb:
	case 0x1f:
		leaf_topology(e, p, apic_id);
		break;
	case LEAF_KVM_SIGNATURE:
		if (p->tsc_khz && e->eax < LEAF_HV_TIMING)
			e->eax = LEAF_HV_TIMING;
		break;
	case LEAF_TSC_CRYSTAL:
		if (p->tsc_khz)
			leaf_crystal(e, p);
		break;
	case LEAF_FREQUENCIES: /* base, maximum, bus, in MHz */
		if (p->tsc_khz) {
			e->eax = e->ebx = (p->tsc_khz + 500) / 1000;
			e->ecx = 100;
			e->edx = 0;
		}
		break;
	case LEAF_HV_TIMING:
		if (p->tsc_khz) {
			e->eax = p->tsc_khz;
			e->ebx = p->apic_khz;
			e->ecx = e->edx = 0;
		}
		break;
	case LEAF_KVM_FEATURES:
		if (p->irqchip_user)
			e->eax &= ~KVM_NEEDS_KERNEL_APIC;
		set_bit_to(&e->eax, KVM_FEATURE_POLL_CONTROL, p->poll_control);
		set_bit_to(&e->eax, KVM_FEATURE_PV_EOI, true);
		e->edx = p->realtime ? BIT(KVM_HINTS_REALTIME) : 0;
		break;
	case 0x80000001:
		set_bit_to(&e->ecx, 2, false); /* SVM */
		break;
	case 0x80000008:
		e->ecx = bits_for(p->vcpus) << 12 | (p->vcpus - 1);
		break;
	case 0x8000001e:
		e->eax = apic_id;
		e->ebx = apic_id; /* core id, one thread per core */
		e->ecx = 0;
		break;
	}
}

/* KVM tells of the first level of the extended topology only (Linux 6.2): the second is needed. */
static void add_topology(struct kvm_cpuid2 *c, uint32_t function)
{
	bool first = false;

	for (uint32_t i = 0; i < c->nent; i++) {
		if (c->entries[i].function != function)
			continue;
		if (c->entries[i].index == 1)
			return;
		c->entries[i].flags |= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		first = true;
	}
	if (first)
		c->entries[c->nent++] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = 1,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *c, uint32_t function)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function)
			return &c->entries[i];
	return NULL;
}

/* adjust() fills it in. */
static void add_leaf(struct kvm_cpuid2 *c, uint32_t function)
{
	if (!find(c, function))
		c->entries[c->nent++] = (struct kvm_cpuid_entry2){.function = function};
}

/* Where processors tell them; those that end below are not made to go on. */
static void add_frequencies(struct kvm_cpuid2 *c)
{
	const struct kvm_cpuid_entry2 *max = find(c, 0);

	if (max && max->eax >= LEAF_TSC_CRYSTAL)
		add_leaf(c, LEAF_TSC_CRYSTAL);
	if (max && max->eax >= LEAF_FREQUENCIES)
		add_leaf(c, LEAF_FREQUENCIES);
	if (find(c, LEAF_KVM_SIGNATURE))
		add_leaf(c, LEAF_HV_TIMING);
}

struct kvm_cpuid2 *cpuid_make(const struct kvm_cpuid2 *supported, const struct cpuid_policy *policy,
			      uint32_t apic_id)
{
	size_t size = sizeof(*supported) + supported->nent * sizeof(supported->entries[0]);
	struct kvm_cpuid2 *c = malloc(size + MORE_LEAVES * sizeof(supported->entries[0]));

	if (!c)
		return NULL;
	memcpy(c, supported, size);
	add_topology(c, 0xb);
	add_topology(c, 0x1f);
	if (policy->tsc_khz)
		add_frequencies(c);
	for (uint32_t i = 0; i < c->nent; i++)
		adjust(&c->entries[i], policy, apic_id);
	for (uint32_t i = 0; i < c->nent; i++)
		remove_pmu(&c->entries[i]);
	return c;
}
