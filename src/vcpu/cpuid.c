/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID policy (Intel SDM volume 2 "CPUID", AMD APM volume 3 appendix E, Linux
 * Documentation/virt/kvm/x86/cpuid.rst). Each vCPU is a core of its own in one package, or
 * in several where it has to be near some and far from others. There is no PMU: see docs/design.md, "The guest's processor".
 */
#include <asm/kvm_para.h>
#include <errno.h>
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

/* Returns how many vCPUs are in a package. */
static uint32_t in_package(const struct cpuid_policy *p)
{
	return p->package_vcpus ? p->package_vcpus : p->vcpus;
}

static void leaf_1(struct kvm_cpuid_entry2 *e, const struct cpuid_policy *p, uint32_t apic_id)
{
	const uint32_t n = in_package(p);

	e->ebx = (e->ebx & 0x0000ffffu) | (n > 255 ? 255 : n) << 16 | apic_id << 24;
	set_bit_to(&e->ecx, 3, false); /* MONITOR/MWAIT: another idle driver would win */
	set_bit_to(&e->ecx, 5, false); /* VMX */
	set_bit_to(&e->ecx, 21, true); /* x2APIC: ours needs nothing of the processor */
	set_bit_to(&e->ecx, 24, p->tsc_deadline);
	set_bit_to(&e->ecx, 31, true);	/* a hypervisor is there */
	set_bit_to(&e->edx, 9, true);	/* APIC */
	set_bit_to(&e->edx, 28, n > 1); /* more than one logical processor per package */
}

/* Fills in the extended topology (0xb, 0x1f): one thread per core, the cores of one package. */
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
		e->eax = bits_for(in_package(p));
		e->ebx = in_package(p);
		e->ecx |= 2 << 8; /* level: core */
	}
}

/*
 * Finds the closest fraction to @value / @of whose numerator is at most @max: the continued
 * fraction, up to there.
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
 * Fills in Intel's leaf: TSC = crystal * EBX / EAX. The APIC timer counts the crystal, and Linux
 * relies on that; it multiplies kHz by EBX in 32 bits, and does not look further. So where that is
 * not exact enough, to a millionth, the leaf says nothing, and Linux measures.
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

/* Removes performance monitoring, and what comes with it. */
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

/* Sets how many vCPUs have a cache together, less one: the last one several, the others none. */
static void set_sharing(struct kvm_cpuid_entry2 *e, const struct cpuid_policy *p)
{
	const uint32_t level = (e->eax >> 5) & 7;
	const uint32_t all = 1u << bits_for(in_package(p));

	e->eax = (e->eax & ~(0xfffu << 14)) | (level >= 3 ? all - 1 : 0) << 14;
}

static void adjust(struct kvm_cpuid_entry2 *e, const struct cpuid_policy *p, uint32_t apic_id)
{
	switch (e->function) {
	case 1:
		leaf_1(e, p, apic_id);
		break;
	case 4: /* caches: shared by how many, cores per package */
		if (e->eax & 0x1f) {
			set_sharing(e, p);
			e->eax = (e->eax & 0x03ffffffu) | ((1u << bits_for(in_package(p))) - 1)
								  << 26;
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
	case 0x80000006:
		/* Of some of AMD's the last cache is taken for that of eight, whatever is said:
		 * where packages may be smaller there is none. */
		if (p->package_vcpus)
			e->edx = 0;
		break;
	case 0x80000008:
		e->ecx = bits_for(in_package(p)) << 12 | (in_package(p) - 1);
		break;
	case 0x8000001d: /* the same, of AMD's */
		if (e->eax & 0x1f)
			set_sharing(e, p);
		break;
	case 0x8000001e:
		e->eax = apic_id;
		e->ebx = apic_id;		  /* core id, one thread per core */
		e->ecx = apic_id / in_package(p); /* node id: a package is one */
		break;
	}
}

/* Adds the second level of the extended topology, which is needed: KVM tells of the first only
 * (Linux 6.2). */
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

/* Adds a leaf, which adjust() fills in. */
static void add_leaf(struct kvm_cpuid2 *c, uint32_t function)
{
	if (!find(c, function))
		c->entries[c->nent++] = (struct kvm_cpuid_entry2){.function = function};
}

/* Adds the leaves where processors tell their frequencies; those whose leaves end below are not
 * made to go on. */
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

uint32_t cpuid_signature(const struct kvm_cpuid2 *c)
{
	const struct kvm_cpuid_entry2 *e = find(c, 1);

	return e ? e->eax : 0;
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

/* -- changes that are asked for --------------------------------------------------------------- */

#define ALWAYS 0
#define USER   1 /* with irqchip user alone */

/* Bits that stay as cpuid_make() has them, and why. */
static const struct {
	uint32_t leaf, reg, bits;
	int when;
	const char *why;
} kept[] = {
	{1, CATNAP_CPUID_EBX, 0xff000000, ALWAYS, "the APIC id"},
	{1, CATNAP_CPUID_ECX, BIT(3), ALWAYS,
	 "MONITOR/MWAIT: a vCPU that idles by it does not halt"},
	{1, CATNAP_CPUID_ECX, BIT(5), ALWAYS, "VMX, which is not offered"},
	{1, CATNAP_CPUID_EDX, BIT(9), ALWAYS, "the APIC"},
	{1, CATNAP_CPUID_ECX, BIT(2) | BIT(15), ALWAYS, "performance monitoring: there is none"},
	{1, CATNAP_CPUID_EDX, BIT(21), ALWAYS, "performance monitoring: there is none"},
	{0xa, CATNAP_CPUID_EAX, UINT32_MAX, ALWAYS, "performance monitoring: there is none"},
	{0xb, CATNAP_CPUID_EDX, UINT32_MAX, ALWAYS, "the APIC id"},
	{0x1f, CATNAP_CPUID_EDX, UINT32_MAX, ALWAYS, "the APIC id"},
	{LEAF_KVM_FEATURES, CATNAP_CPUID_EAX, KVM_NEEDS_KERNEL_APIC, USER,
	 "a feature that needs KVM's local APIC"},
	{0x80000001, CATNAP_CPUID_ECX, BIT(2), ALWAYS, "SVM, which is not offered"},
	{0x80000001, CATNAP_CPUID_ECX, BIT(23) | BIT(24) | BIT(28), ALWAYS,
	 "performance monitoring: there is none"},
	{0x8000001e, CATNAP_CPUID_EAX, UINT32_MAX, ALWAYS, "the APIC id"},
	{0x80000022, CATNAP_CPUID_EAX, UINT32_MAX, ALWAYS, "performance monitoring: there is none"},
};

static const char *not_borne(const struct catnap_cpuid_modifier *m, uint32_t changed, bool set,
			     const struct cpuid_policy *p)
{
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (kept[i].leaf == m->leaf && kept[i].reg == m->reg && (kept[i].bits & changed) &&
		    (kept[i].when == ALWAYS || p->irqchip_user))
			return kept[i].why;
	/* It may be taken away, and given only where it works. */
	if (m->leaf == 1 && m->reg == CATNAP_CPUID_ECX && (changed & BIT(24)) && set &&
	    !p->tsc_deadline)
		return "the TSC deadline, which does not work on this host";
	return NULL;
}

static struct kvm_cpuid_entry2 *find_entry(struct kvm_cpuid2 *c, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];
		bool indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

		if (e->function == leaf && (indexed ? e->index : 0) == subleaf)
			return e;
	}
	return NULL;
}

static int modify(struct kvm_cpuid2 *c, const struct cpuid_policy *p,
		  const struct catnap_cpuid_modifier *m, struct error *err)
{
	static const char names[][4] = {"eax", "ebx", "ecx", "edx"};
	struct kvm_cpuid_entry2 *e = find_entry(c, m->leaf, m->subleaf);
	uint32_t *regs[4], changed;
	const char *why;

	if (m->reg > CATNAP_CPUID_EDX)
		return error_fail(err, -EINVAL, "register %u: expected 0 to 3 (eax to edx)",
				  m->reg);
	if (!e)
		return error_fail(err, -EINVAL,
				  "leaf 0x%x, subleaf 0x%x: this KVM's CPUID does not have it",
				  m->leaf, m->subleaf);
	regs[0] = &e->eax;
	regs[1] = &e->ebx;
	regs[2] = &e->ecx;
	regs[3] = &e->edx;
	changed = (*regs[m->reg] ^ m->value) & m->mask;
	why = not_borne(m, changed, m->value & m->mask & BIT(24), p);
	if (why)
		return error_fail(err, -EINVAL,
				  "leaf 0x%x, subleaf 0x%x, %s: 0x%x cannot be changed there: %s",
				  m->leaf, m->subleaf, names[m->reg], changed, why);
	*regs[m->reg] ^= changed;
	return 0;
}

int cpuid_modify(struct kvm_cpuid2 *c, const struct cpuid_policy *policy,
		 const struct catnap_cpuid_modifier *m, uint32_t count, struct error *err)
{
	for (uint32_t i = 0; i < count; i++) {
		int ret = modify(c, policy, &m[i], err);

		if (ret < 0)
			return error_prefix(err, ret, "cpuid_modifiers: number %u: ", i);
	}
	return 0;
}
