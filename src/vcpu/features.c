/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can this host carry a guest that was told of other processors' features? Each bit of CPUID that
 * stands for a feature, and that the guest has seen, must be offered here as well (Intel SDM volume
 * 2, "CPUID"; AMD APM volume 3, appendix E; Linux Documentation/virt/kvm/x86/cpuid.rst).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vcpu/cpuid.h"

#define LEAF_KVM_FEATURES 0x40000001u

enum { EAX, EBX, ECX, EDX };

/* Registers that consist of features. */
static const struct {
	uint32_t leaf, subleaf;
	int reg;
	uint32_t mask;
} feature_words[] = {
	{1, 0, ECX, ~(UINT32_C(1) << 27)}, /* OSXSAVE is the guest's own doing */
	{1, 0, EDX, UINT32_MAX},
	{7, 0, EBX, UINT32_MAX},
	{7, 0, ECX, ~(UINT32_C(1) << 4)}, /* OSPKE, too */
	{7, 0, EDX, UINT32_MAX},
	{7, 1, EAX, UINT32_MAX},
	{7, 1, EDX, UINT32_MAX},
	{7, 2, EDX, UINT32_MAX},
	{0xd, 0, EAX, UINT32_MAX},
	{0xd, 0, EDX, UINT32_MAX},
	{0xd, 1, EAX, UINT32_MAX},
	{LEAF_KVM_FEATURES, 0, EAX, UINT32_MAX},
	{0x80000001, 0, ECX, UINT32_MAX},
	{0x80000001, 0, EDX, UINT32_MAX},
	{0x80000007, 0, EDX, UINT32_C(1) << 8},
	{0x80000008, 0, EBX, UINT32_MAX},
	{0x80000021, 0, EAX, UINT32_MAX},
};

/* As Linux has them in /proc/cpuinfo, where it has. Others are told by their place. */
static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg, bit;
	const char *name;
} names[] = {
	{1, 0, ECX, 0, "sse3"},
	{1, 0, ECX, 1, "pclmulqdq"},
	{1, 0, ECX, 9, "ssse3"},
	{1, 0, ECX, 12, "fma"},
	{1, 0, ECX, 13, "cx16"},
	{1, 0, ECX, 17, "pcid"},
	{1, 0, ECX, 19, "sse4_1"},
	{1, 0, ECX, 20, "sse4_2"},
	{1, 0, ECX, 21, "x2apic"},
	{1, 0, ECX, 22, "movbe"},
	{1, 0, ECX, 23, "popcnt"},
	{1, 0, ECX, 24, "tsc_deadline_timer"},
	{1, 0, ECX, 25, "aes"},
	{1, 0, ECX, 26, "xsave"},
	{1, 0, ECX, 28, "avx"},
	{1, 0, ECX, 29, "f16c"},
	{1, 0, ECX, 30, "rdrand"},
	{1, 0, EDX, 8, "cx8"},
	{1, 0, EDX, 16, "pat"},
	{1, 0, EDX, 19, "clflush"},
	{1, 0, EDX, 24, "fxsr"},
	{1, 0, EDX, 25, "sse"},
	{1, 0, EDX, 26, "sse2"},
	{7, 0, EBX, 0, "fsgsbase"},
	{7, 0, EBX, 1, "tsc_adjust"},
	{7, 0, EBX, 3, "bmi1"},
	{7, 0, EBX, 4, "hle"},
	{7, 0, EBX, 5, "avx2"},
	{7, 0, EBX, 7, "smep"},
	{7, 0, EBX, 8, "bmi2"},
	{7, 0, EBX, 9, "erms"},
	{7, 0, EBX, 10, "invpcid"},
	{7, 0, EBX, 11, "rtm"},
	{7, 0, EBX, 14, "mpx"},
	{7, 0, EBX, 16, "avx512f"},
	{7, 0, EBX, 17, "avx512dq"},
	{7, 0, EBX, 18, "rdseed"},
	{7, 0, EBX, 19, "adx"},
	{7, 0, EBX, 20, "smap"},
	{7, 0, EBX, 21, "avx512ifma"},
	{7, 0, EBX, 23, "clflushopt"},
	{7, 0, EBX, 24, "clwb"},
	{7, 0, EBX, 28, "avx512cd"},
	{7, 0, EBX, 29, "sha_ni"},
	{7, 0, EBX, 30, "avx512bw"},
	{7, 0, EBX, 31, "avx512vl"},
	{7, 0, ECX, 1, "avx512vbmi"},
	{7, 0, ECX, 2, "umip"},
	{7, 0, ECX, 3, "pku"},
	{7, 0, ECX, 5, "waitpkg"},
	{7, 0, ECX, 6, "avx512_vbmi2"},
	{7, 0, ECX, 7, "shstk"},
	{7, 0, ECX, 8, "gfni"},
	{7, 0, ECX, 9, "vaes"},
	{7, 0, ECX, 10, "vpclmulqdq"},
	{7, 0, ECX, 11, "avx512_vnni"},
	{7, 0, ECX, 12, "avx512_bitalg"},
	{7, 0, ECX, 14, "avx512_vpopcntdq"},
	{7, 0, ECX, 16, "la57"},
	{7, 0, ECX, 22, "rdpid"},
	{7, 0, ECX, 24, "bus_lock_detect"},
	{7, 0, ECX, 25, "cldemote"},
	{7, 0, ECX, 27, "movdiri"},
	{7, 0, ECX, 28, "movdir64b"},
	{7, 0, EDX, 4, "fsrm"},
	{7, 0, EDX, 8, "avx512_vp2intersect"},
	{7, 0, EDX, 10, "md_clear"},
	{7, 0, EDX, 14, "serialize"},
	{7, 0, EDX, 20, "ibt"},
	{7, 0, EDX, 22, "amx_bf16"},
	{7, 0, EDX, 23, "avx512_fp16"},
	{7, 0, EDX, 24, "amx_tile"},
	{7, 0, EDX, 25, "amx_int8"},
	{7, 0, EDX, 26, "spec_ctrl"},
	{7, 0, EDX, 27, "intel_stibp"},
	{7, 0, EDX, 28, "flush_l1d"},
	{7, 0, EDX, 29, "arch_capabilities"},
	{7, 0, EDX, 31, "spec_ctrl_ssbd"},
	{7, 1, EAX, 4, "avx_vnni"},
	{7, 1, EAX, 5, "avx512_bf16"},
	{7, 1, EAX, 21, "amx_fp16"},
	{7, 1, EAX, 23, "avx_ifma"},
	{0xd, 0, EAX, 2, "the AVX state of XSAVE"},
	{0xd, 0, EAX, 5, "the AVX-512 state of XSAVE"},
	{0xd, 0, EAX, 9, "the PKRU state of XSAVE"},
	{0xd, 0, EAX, 17, "the AMX state of XSAVE"},
	{0xd, 0, EAX, 18, "the AMX state of XSAVE"},
	{0xd, 1, EAX, 0, "xsaveopt"},
	{0xd, 1, EAX, 1, "xsavec"},
	{0xd, 1, EAX, 2, "xgetbv1"},
	{0xd, 1, EAX, 3, "xsaves"},
	{LEAF_KVM_FEATURES, 0, EAX, 3, "kvmclock"},
	{LEAF_KVM_FEATURES, 0, EAX, 5, "KVM's steal time"},
	{LEAF_KVM_FEATURES, 0, EAX, 6, "KVM's paravirtual end of interrupt"},
	{LEAF_KVM_FEATURES, 0, EAX, 9, "KVM's paravirtual TLB flush"},
	{LEAF_KVM_FEATURES, 0, EAX, 12, "KVM's poll control"},
	{LEAF_KVM_FEATURES, 0, EAX, 24, "a stable kvmclock"},
	{0x80000001, 0, ECX, 0, "lahf_lm"},
	{0x80000001, 0, ECX, 5, "abm"},
	{0x80000001, 0, ECX, 6, "sse4a"},
	{0x80000001, 0, ECX, 8, "3dnowprefetch"},
	{0x80000001, 0, ECX, 11, "xop"},
	{0x80000001, 0, ECX, 16, "fma4"},
	{0x80000001, 0, ECX, 22, "topoext"},
	{0x80000001, 0, EDX, 11, "syscall"},
	{0x80000001, 0, EDX, 20, "nx"},
	{0x80000001, 0, EDX, 26, "pdpe1gb"},
	{0x80000001, 0, EDX, 27, "rdtscp"},
	{0x80000001, 0, EDX, 29, "lm"},
	{0x80000007, 0, EDX, 8, "an invariant TSC"},
	{0x80000008, 0, EBX, 0, "clzero"},
	{0x80000008, 0, EBX, 9, "wbnoinvd"},
	{0x80000008, 0, EBX, 12, "ibpb"},
	{0x80000008, 0, EBX, 14, "ibrs"},
	{0x80000008, 0, EBX, 15, "stibp"},
	{0x80000008, 0, EBX, 24, "amd_ssbd"},
	{0x80000008, 0, EBX, 25, "virt_ssbd"},
};

static uint32_t word_of(const struct kvm_cpuid2 *c, uint32_t leaf, uint32_t subleaf, int reg)
{
	for (uint32_t i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];
		bool indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

		if (e->function == leaf && (indexed ? e->index : 0) == subleaf)
			return reg == EAX   ? e->eax
			       : reg == EBX ? e->ebx
			       : reg == ECX ? e->ecx
					    : e->edx;
	}
	return 0;
}

static int lacks(struct error *err, uint32_t leaf, uint32_t subleaf, int reg, int bit)
{
	static const char regs[][4] = {"eax", "ebx", "ecx", "edx"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].leaf == leaf && names[i].subleaf == subleaf && names[i].reg == reg &&
		    names[i].bit == bit)
			return error_fail(err, -ENOTSUP,
					  "the guest was told of %s, which this host does not have",
					  names[i].name);
	return error_fail(err, -ENOTSUP,
			  "the guest was told of a feature that this host does not have: CPUID "
			  "leaf 0x%x, subleaf 0x%x, %s, bit %d",
			  leaf, subleaf, regs[reg], bit);
}

int cpuid_carries(const struct kvm_cpuid2 *own, const struct kvm_cpuid2 *wanted, struct error *err)
{
	for (size_t i = 0; i < sizeof(feature_words) / sizeof(feature_words[0]); i++) {
		uint32_t leaf = feature_words[i].leaf, sub = feature_words[i].subleaf;
		int reg = feature_words[i].reg;
		uint32_t missing = word_of(wanted, leaf, sub, reg) & feature_words[i].mask &
				   ~word_of(own, leaf, sub, reg);

		if (missing)
			return lacks(err, leaf, sub, reg, __builtin_ctz(missing));
	}
	return 0;
}
