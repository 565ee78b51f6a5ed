/* SPDX-License-Identifier: Apache-2.0 */
/* Tests what CPUID says to a guest (Intel SDM volume 2, Linux
 * Documentation/virt/kvm/x86/cpuid.rst). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vcpu/cpuid.h"

#define BIT(n) (UINT32_C(1) << (n))

static const struct {
	uint32_t function, index;
} leaves[] = {{0, 0},	       {1, 0},		{4, 0},		 {4, 3},	  {4, 4},
	      {5, 0},	       {6, 0},		{7, 0},		 {0xb, 0},	  {0xb, 1},
	      {0xb, 2},	       {0x1f, 0},	{0x1f, 1},	 {0x40000000, 0}, {0x40000001, 0},
	      {0x80000001, 0}, {0x80000006, 0}, {0x80000008, 0}, {0x8000000a, 0}, {0x8000001d, 3},
	      {0x8000001e, 0}};
#define LEAVES (sizeof(leaves) / sizeof(leaves[0]))

/* All bits as @fill: what is to be off is off even if KVM offers it, and the other way round. */
static struct kvm_cpuid2 *make(const struct cpuid_policy *p, uint32_t apic_id, uint32_t fill)
{
	struct kvm_cpuid2 *in = calloc(1, sizeof(*in) + LEAVES * sizeof(in->entries[0])), *out;

	assert_non_null(in);
	in->nent = LEAVES;
	for (size_t i = 0; i < LEAVES; i++)
		in->entries[i] = (struct kvm_cpuid_entry2){.function = leaves[i].function,
							   .index = leaves[i].index,
							   .eax = fill,
							   .ebx = fill,
							   .ecx = fill,
							   .edx = fill};
	in->entries[2].eax = 0x21; /* data cache, level 1 */
	in->entries[3].eax = 0x63; /* unified, level 3 */
	in->entries[4].eax = 0;	   /* no more caches */
	in->entries[LEAVES - 2].eax = 0x3c063;
	out = cpuid_make(in, p, apic_id);
	free(in);
	assert_non_null(out);
	assert_int_equal(out->nent, LEAVES);
	return out;
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *c, uint32_t function,
					   uint32_t index)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function && c->entries[i].index == index)
			return &c->entries[i];
	fail();
	return NULL;
}

static void test_features(void **state)
{
	const struct cpuid_policy p = {.vcpus = 4, .irqchip_user = true, .poll_control = true};

	for (int ones = 0; ones < 2; ones++) {
		struct kvm_cpuid2 *c = make(&p, 2, ones ? UINT32_MAX : 0);
		const struct kvm_cpuid_entry2 *e = leaf(c, 1, 0);

		assert_false(e->ecx & BIT(3));	/* MONITOR/MWAIT */
		assert_false(e->ecx & BIT(5));	/* VMX */
		assert_true(e->ecx & BIT(21));	/* x2APIC */
		assert_false(e->ecx & BIT(24)); /* TSC deadline: not offered here */
		assert_true(e->ecx & BIT(31));	/* hypervisor */
		assert_false(e->ecx & (BIT(2) | BIT(15)) || e->edx & BIT(21)); /* no PMU */
		assert_true(e->edx & BIT(9));				       /* APIC */
		assert_true(e->edx & BIT(28)); /* several processors in the package */
		assert_int_equal(e->ebx >> 24, 2);
		assert_int_equal(e->ebx >> 16 & 0xff, 4);
		/* KVM decides on the rest. */
		assert_int_equal(e->eax, ones ? UINT32_MAX : 0);
		assert_int_equal(e->ebx & 0xffff, ones ? 0xffff : 0);
		assert_int_equal(leaf(c, 7, 0)->ebx, ones ? UINT32_MAX : 0);

		e = leaf(c, 5, 0);
		assert_int_equal(e->eax | e->ebx | e->ecx | e->edx, 0); /* MWAIT */
		e = leaf(c, 6, 0);
		assert_int_equal(e->eax, BIT(2));		    /* the APIC timer always runs */
		assert_false(leaf(c, 0x80000001, 0)->ecx & BIT(2)); /* SVM */
		e = leaf(c, 0x8000000a, 0);
		assert_int_equal(e->eax | e->ebx | e->ecx | e->edx, 0);
		free(c);
	}
}

static void test_kvm_features(void **state)
{
	const uint32_t kernel_only = BIT(KVM_FEATURE_ASYNC_PF) | BIT(KVM_FEATURE_ASYNC_PF_INT) |
				     BIT(KVM_FEATURE_ASYNC_PF_VMEXIT) | BIT(KVM_FEATURE_PV_UNHALT) |
				     BIT(KVM_FEATURE_PV_SEND_IPI);

	for (int user = 0; user < 2; user++) {
		const struct cpuid_policy p = {
			.vcpus = 1, .irqchip_user = user, .poll_control = true};
		struct kvm_cpuid2 *c = make(&p, 0, UINT32_MAX);
		const struct kvm_cpuid_entry2 *e = leaf(c, 0x40000001, 0);

		assert_int_equal(e->eax & kernel_only, user ? 0 : kernel_only);
		assert_true(e->eax & BIT(KVM_FEATURE_CLOCKSOURCE2));
		assert_true(e->eax & BIT(KVM_FEATURE_POLL_CONTROL));
		assert_true(e->eax & BIT(KVM_FEATURE_PV_EOI));
		assert_false(e->edx & BIT(KVM_HINTS_REALTIME));
		/* The signature is KVM's: without it no guest finds any of this. */
		assert_int_equal(leaf(c, 0x40000000, 0)->ebx, UINT32_MAX);
		free(c);
	}
	for (int control = 0; control < 2; control++) {
		const struct cpuid_policy p = {
			.vcpus = 1, .irqchip_user = true, .poll_control = control};
		struct kvm_cpuid2 *c = make(&p, 0, control ? 0 : UINT32_MAX);
		const struct kvm_cpuid_entry2 *e = leaf(c, 0x40000001, 0);

		assert_int_equal(!!(e->eax & BIT(KVM_FEATURE_POLL_CONTROL)), control);
		free(c);
	}
}

/* Linux 6.2 and later offer the first level of leaf 0xb only: the other is made. */
static void test_one_level(void **state)
{
	const struct cpuid_policy p = {.vcpus = 3, .irqchip_user = true};
	struct kvm_cpuid2 *in = calloc(1, sizeof(*in) + 2 * sizeof(in->entries[0])), *c;

	assert_non_null(in);
	in->nent = 2;
	in->entries[1].function = 0xb;
	c = cpuid_make(in, &p, 1);
	assert_non_null(c);
	assert_int_equal(c->nent, 3);
	assert_int_equal(leaf(c, 0xb, 1)->ecx, 2 << 8 | 1);
	assert_int_equal(leaf(c, 0xb, 1)->ebx, 3);
	assert_int_equal(leaf(c, 0xb, 1)->edx, 1);
	for (uint32_t i = 1; i < 3; i++)
		assert_true(c->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	free(c);
	free(in);
}

/* There is no PMU, nor anything that comes with one. */
static void test_no_pmu(void **state)
{
	static const uint32_t zero[] = {0xa, 0x1c, 0x80000022};
	const struct cpuid_policy p = {.vcpus = 1};
	struct kvm_cpuid2 *in = calloc(1, sizeof(*in) + 5 * sizeof(in->entries[0])), *c;

	assert_non_null(in);
	for (size_t i = 0; i < 3; i++)
		in->entries[i].function = zero[i];
	in->entries[3].function = 7;
	in->entries[4].function = 0x80000001;
	in->nent = 5;
	for (size_t i = 0; i < 5; i++)
		in->entries[i].eax = in->entries[i].ebx = in->entries[i].ecx = in->entries[i].edx =
			UINT32_MAX;
	c = cpuid_make(in, &p, 0);
	free(in);
	assert_non_null(c);
	for (size_t i = 0; i < 3; i++) {
		const struct kvm_cpuid_entry2 *e = leaf(c, zero[i], 0);

		assert_int_equal(e->eax | e->ebx | e->ecx | e->edx, 0);
	}
	assert_int_equal(leaf(c, 7, 0)->edx, ~BIT(19));
	assert_int_equal(leaf(c, 0x80000001, 0)->ecx, ~(BIT(2) | BIT(23) | BIT(24) | BIT(28)));
	free(c);
}

static void test_tsc_deadline(void **state)
{
	const struct cpuid_policy p = {.vcpus = 1, .tsc_deadline = true};
	struct kvm_cpuid2 *c = make(&p, 0, 0);

	assert_true(leaf(c, 1, 0)->ecx & BIT(24));
	assert_false(leaf(c, 1, 0)->edx & BIT(28));
	free(c);
}

/* Every vCPU has its own APIC id, in each leaf that tells it; and the ids fit the shifts that are
 * told. */
/* A guest without kvmclock: the TSC's frequency as Linux computes it, in 32 bits. */
static void test_frequencies(void **state)
{
	static const uint32_t khz[] = {999999,	1000000, 1000001, 2445424, 2600000, 3000000,
				       3599997, 4294000, 800000,  3000100, 1999999};
	static const uint32_t lasts[] = {0xd, 0x14, 0x15, 0x16, 0x1f};

	for (size_t i = 0; i < sizeof(khz) / sizeof(khz[0]); i++)
		for (size_t j = 0; j < sizeof(lasts) / sizeof(lasts[0]); j++) {
			const struct cpuid_policy p = {
				.vcpus = 1, .tsc_khz = khz[i], .apic_khz = 1000000};
			struct kvm_cpuid2 *in = calloc(1, sizeof(*in) + 3 * sizeof(in->entries[0]));
			const struct kvm_cpuid_entry2 *e;
			struct kvm_cpuid2 *c;
			uint32_t told;

			assert_non_null(in);
			in->nent = 3;
			in->entries[0].eax = lasts[j];
			in->entries[1].function = 0x40000000;
			in->entries[1].eax = 0x40000001;
			in->entries[2].function = 0x40000001;
			c = cpuid_make(in, &p, 0);
			free(in);
			assert_non_null(c);
			assert_int_equal(c->nent, 4 + (lasts[j] >= 0x15) + (lasts[j] >= 0x16));
			assert_int_equal(leaf(c, 0, 0)->eax, lasts[j]);
			assert_int_equal(leaf(c, 0x40000000, 0)->eax, 0x40000010);
			e = leaf(c, 0x40000010, 0);
			assert_int_equal(e->eax, khz[i]);
			assert_int_equal(e->ebx, 1000000);
			if (lasts[j] >= 0x15) {
				e = leaf(c, 0x15, 0);
				/* Not where the fractions at hand are not close. */
				assert_int_equal(!e->ecx, khz[i] == 3000100);
				if (e->ecx) {
					assert_int_equal(e->ecx, 1000000000);
					assert_true(e->eax && e->ebx);
					assert_true((uint64_t)e->ecx / 1000 * e->ebx <= UINT32_MAX);
					told = e->ecx / 1000 * e->ebx / e->eax;
					/* a millionth, and what is cut off */
					assert_in_range(told, khz[i] - 1 - khz[i] / 1000000,
							khz[i] + 1 + khz[i] / 1000000);
				}
			}
			if (lasts[j] >= 0x16)
				assert_int_equal(leaf(c, 0x16, 0)->eax, (khz[i] + 500) / 1000);
			free(c);
		}
}

/* Not known: what KVM says stays. */
static void test_no_frequencies(void **state)
{
	const struct cpuid_policy p = {.vcpus = 1, .apic_khz = 1000000};
	struct kvm_cpuid2 *c = make(&p, 0, 7);

	assert_int_equal(leaf(c, 0x40000000, 0)->eax, 7);
	free(c);
}

static void test_topology(void **state)
{
	for (uint32_t vcpus = 1; vcpus <= 64; vcpus++) {
		const struct cpuid_policy p = {.vcpus = vcpus, .irqchip_user = true};

		for (uint32_t id = 0; id < vcpus; id++) {
			struct kvm_cpuid2 *c = make(&p, id, UINT32_MAX);
			const struct kvm_cpuid_entry2 *thread = leaf(c, 0xb, 0),
						      *core = leaf(c, 0xb, 1);

			assert_int_equal(leaf(c, 1, 0)->ebx >> 24, id);
			assert_int_equal(thread->edx, id);
			assert_int_equal(core->edx, id);
			assert_int_equal(leaf(c, 0x8000001e, 0)->eax, id);
			/* Level 0: threads of a core; 1: cores of the package; 2: nothing. */
			assert_int_equal(thread->ecx, 1 << 8);
			assert_int_equal(thread->ebx & 0xffff, 1);
			assert_int_equal(thread->eax, 0);
			assert_int_equal(core->ecx, 2 << 8 | 1);
			assert_int_equal(core->ebx & 0xffff, vcpus);
			assert_true(id >> core->eax == 0);
			assert_true(core->eax == 0 || vcpus > 1u << (core->eax - 1));
			assert_int_equal(leaf(c, 0xb, 2)->ecx & 0xff00, 0);
			assert_int_equal(leaf(c, 0xb, 2)->ebx, 0);
			assert_int_equal(leaf(c, 0x1f, 1)->edx, id);
			/* AMD: cores less one, and the size of the APIC id's field. */
			assert_int_equal(leaf(c, 0x80000008, 0)->ecx & 0xff, vcpus - 1);
			assert_true(id >> (leaf(c, 0x80000008, 0)->ecx >> 12 & 15) == 0);
			/* Leaf 4: maximum of addressable ids, a power of 2, less one. */
			assert_true((leaf(c, 4, 0)->eax >> 26) + 1 >= vcpus);
			assert_int_equal(leaf(c, 4, 0)->eax >> 14 & 0xfff, 0);
			assert_true((leaf(c, 4, 3)->eax >> 14 & 0xfff) + 1 >= vcpus);
			assert_int_equal(leaf(c, 4, 4)->eax, 0);
			/* The same in AMD's place. */
			assert_int_equal(leaf(c, 0x8000001d, 3)->eax >> 14,
					 leaf(c, 4, 3)->eax >> 14 & 0xfff);
			free(c);
		}
	}
}

/* So many vCPUs are a package, with its last cache, by what each processor's driver looks at. */
static void test_packages(void **state)
{
	const struct cpuid_policy p = {.vcpus = 4, .package_vcpus = 2};

	for (uint32_t id = 0; id < 4; id++) {
		struct kvm_cpuid2 *c = make(&p, id, 0);

		assert_int_equal(leaf(c, 1, 0)->ebx >> 16 & 0xff, 2);
		assert_int_equal(leaf(c, 4, 0)->eax >> 14 & 0xfff, 0);
		assert_int_equal(leaf(c, 4, 3)->eax >> 14 & 0xfff, 1);
		assert_int_equal(leaf(c, 4, 3)->eax >> 26, 1);
		assert_int_equal(leaf(c, 0xb, 1)->eax, 1);
		assert_int_equal(leaf(c, 0xb, 1)->ebx, 2);
		assert_int_equal(leaf(c, 0xb, 1)->edx, id);
		assert_int_equal(leaf(c, 0x80000008, 0)->ecx & 0xff, 1);
		assert_int_equal(leaf(c, 0x80000008, 0)->ecx >> 12 & 15, 1);
		assert_int_equal(leaf(c, 0x8000001d, 3)->eax >> 14, 1);
		assert_int_equal(leaf(c, 0x8000001e, 0)->ecx, id / 2);
		free(c);
		c = make(&p, id, UINT32_MAX);
		assert_int_equal(leaf(c, 0x80000006, 0)->edx, 0);
		free(c);
	}
}

static int modify(struct kvm_cpuid2 *c, const struct cpuid_policy *p, uint32_t leaf_, uint32_t sub,
		  uint32_t reg, uint32_t mask, uint32_t value, struct error *err)
{
	const struct catnap_cpuid_modifier m = {leaf_, sub, reg, mask, value, 0};

	err->text[0] = '\0';
	return cpuid_modify(c, p, &m, 1, err);
}

static void test_modifiers(void **state)
{
	const struct cpuid_policy user = {.vcpus = 2, .irqchip_user = true},
				  kernel = {.vcpus = 2, .tsc_deadline = true};
	struct kvm_cpuid2 *c = make(&user, 1, 0xf0f0f0f0);
	struct error err;

	assert_int_equal(modify(c, &user, 7, 0, CATNAP_CPUID_EBX, 0xff, 0x0f, &err), 0);
	assert_int_equal(leaf(c, 7, 0)->ebx, 0xf0f0f00f);
	assert_int_equal(modify(c, &user, 1, 0, CATNAP_CPUID_EAX, UINT32_MAX, 0x306c3, &err), 0);
	assert_int_equal(cpuid_signature(c), 0x306c3);
	/* A bit that is so already is no change. */
	assert_int_equal(modify(c, &user, 1, 0, CATNAP_CPUID_ECX, BIT(3) | BIT(5), 0, &err), 0);
	assert_int_equal(modify(c, &user, 1, 0, CATNAP_CPUID_ECX, BIT(3), BIT(3), &err), -EINVAL);
	assert_non_null(strstr(err.text, "MONITOR"));
	assert_int_equal(modify(c, &user, 1, 0, CATNAP_CPUID_ECX, BIT(5), BIT(5), &err), -EINVAL);
	assert_int_equal(modify(c, &user, 1, 0, CATNAP_CPUID_EDX, BIT(9), 0, &err), -EINVAL);
	assert_int_equal(modify(c, &user, 0x80000001, 0, CATNAP_CPUID_ECX, BIT(2), BIT(2), &err),
			 -EINVAL);
	assert_int_equal(modify(c, &user, 0x8000001e, 0, CATNAP_CPUID_EAX, 1, 0, &err), -EINVAL);
	assert_int_equal(modify(c, &user, 1, 0, CATNAP_CPUID_ECX, BIT(24), BIT(24), &err), -EINVAL);
	assert_int_equal(modify(c, &kernel, 1, 0, CATNAP_CPUID_ECX, BIT(24), BIT(24), &err), 0);
	assert_int_equal(modify(c, &kernel, 1, 0, CATNAP_CPUID_ECX, BIT(24), 0, &err), 0);
	assert_int_equal(modify(c, &user, 0x40000001, 0, CATNAP_CPUID_EAX,
				BIT(KVM_FEATURE_PV_UNHALT), BIT(KVM_FEATURE_PV_UNHALT), &err),
			 -EINVAL);
	assert_int_equal(modify(c, &kernel, 0x40000001, 0, CATNAP_CPUID_EAX,
				BIT(KVM_FEATURE_PV_UNHALT), BIT(KVM_FEATURE_PV_UNHALT), &err),
			 0);
	assert_int_equal(modify(c, &user, 0x77, 0, CATNAP_CPUID_EAX, 1, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "number 0: leaf 0x77"));
	assert_int_equal(modify(c, &user, 1, 0, 9, 1, 1, &err), -EINVAL);
	free(c);
}

/* A guest that was told of more than a host has is refused by the name of what is missing. */
static void test_carries(void **state)
{
	static const struct {
		uint32_t leaf, subleaf, bit;
		int reg;
		const char *name;
	} asked[] = {
		{7, 0, 16, CATNAP_CPUID_EBX, "avx512f"},
		{1, 0, 25, CATNAP_CPUID_ECX, "aes"},
		{1, 0, 24, CATNAP_CPUID_ECX, "tsc_deadline_timer"},
		{0x80000001, 0, 26, CATNAP_CPUID_EDX, "pdpe1gb"},
		{7, 0, 2, CATNAP_CPUID_EBX, "CPUID leaf 0x7, subleaf 0x0, ebx, bit 2"},
	};
	struct error err = {.text = ""};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct kvm_cpuid2 *own = calloc(1, sizeof(*own) + sizeof(own->entries[0]));
		struct kvm_cpuid2 *wanted = calloc(1, sizeof(*own) + sizeof(own->entries[0]));
		uint32_t *reg;

		assert_non_null(own);
		assert_non_null(wanted);
		own->nent = wanted->nent = 1;
		own->entries[0].function = wanted->entries[0].function = asked[i].leaf;
		own->entries[0].index = wanted->entries[0].index = asked[i].subleaf;
		assert_int_equal(cpuid_carries(own, wanted, &err), 0);
		reg = asked[i].reg == CATNAP_CPUID_EBX	 ? &wanted->entries[0].ebx
		      : asked[i].reg == CATNAP_CPUID_ECX ? &wanted->entries[0].ecx
							 : &wanted->entries[0].edx;
		*reg = BIT(asked[i].bit);
		assert_int_equal(cpuid_carries(own, wanted, &err), -ENOTSUP);
		assert_non_null(strstr(err.text, asked[i].name));
		/* What the host has more does no harm. */
		assert_int_equal(cpuid_carries(wanted, own, &err), 0);
		free(own);
		free(wanted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features),     cmocka_unit_test(test_kvm_features),
		cmocka_unit_test(test_tsc_deadline), cmocka_unit_test(test_topology),
		cmocka_unit_test(test_packages),     cmocka_unit_test(test_one_level),
		cmocka_unit_test(test_frequencies),  cmocka_unit_test(test_no_frequencies),
		cmocka_unit_test(test_no_pmu),	     cmocka_unit_test(test_modifiers),
		cmocka_unit_test(test_carries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
