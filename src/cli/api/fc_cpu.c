/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker's resource /cpu-config: bits of CPUID and of model specific registers that the guest
 * is to find, and KVM's capabilities. In a bitmap, "0b1x0", each x stays as it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/api/fc.h"

struct register_body {
	uint64_t given;
	int reg;
	const char *bitmap;
};

struct cpuid_body {
	uint64_t given;
	const char *leaf, *subleaf;
	uint64_t flags;
	struct body_array modifiers;
};

struct msr_body {
	uint64_t given;
	const char *addr, *bitmap;
};

struct cpu_body {
	uint64_t given;
	struct body_array capabilities, cpuid, msrs;
	struct json_object *registers, *features;
};

static const struct body_word registers[] = {{"eax", CATNAP_CPUID_EAX},
					     {"ebx", CATNAP_CPUID_EBX},
					     {"ecx", CATNAP_CPUID_ECX},
					     {"edx", CATNAP_CPUID_EDX},
					     {NULL}};

/* clang-format off */
#define AT(type, member) .offset = offsetof(struct type, member)

static const struct body_field register_members[] = {
	{.name = "register", .type = BODY_WORD, AT(register_body, reg), .words = registers,
	 .required = true},
	{.name = "bitmap", .type = BODY_STRING, AT(register_body, bitmap), .required = true},
	{NULL},
};

static const struct body_field cpuid_members[] = {
	{.name = "leaf", .type = BODY_STRING, AT(cpuid_body, leaf), .required = true},
	{.name = "subleaf", .type = BODY_STRING, AT(cpuid_body, subleaf), .required = true},
	{.name = "flags", .type = BODY_U64, AT(cpuid_body, flags), .max = UINT32_MAX,
	 .called = "u32", .required = true},
	{.name = "modifiers", .type = BODY_ARRAY, AT(cpuid_body, modifiers),
	 .table = register_members, .size = sizeof(struct register_body), .max = 4,
	 .required = true},
	{NULL},
};

static const struct body_field msr_members[] = {
	{.name = "addr", .type = BODY_STRING, AT(msr_body, addr), .required = true},
	{.name = "bitmap", .type = BODY_STRING, AT(msr_body, bitmap), .required = true},
	{NULL},
};

static const struct body_field cpu_members[] = {
	{.name = "kvm_capabilities", .type = BODY_ARRAY, AT(cpu_body, capabilities),
	 .max = FC_MAX_CAPABILITIES},
	{.name = "cpuid_modifiers", .type = BODY_ARRAY, AT(cpu_body, cpuid), .table = cpuid_members,
	 .size = sizeof(struct cpuid_body), .max = FC_MAX_LEAVES},
	{.name = "msr_modifiers", .type = BODY_ARRAY, AT(cpu_body, msrs), .table = msr_members,
	 .size = sizeof(struct msr_body), .max = FC_MAX_MSRS},
	{.name = "reg_modifiers", .type = BODY_ANY, AT(cpu_body, registers)},
	{.name = "vcpu_features", .type = BODY_ANY, AT(cpu_body, features)},
	{NULL},
};
/* clang-format on */

#define FAULT "An error occurred when deserializing the json body of a request: "

/* ---- texts ---- */

/* Takes a number: "0x10a", "0b101", "266". */
static int number(struct reply *r, const char *member, const char *text, uint32_t *value)
{
	bool binary = strncmp(text, "0b", 2) == 0, hex = strncmp(text, "0x", 2) == 0;
	const char *digits = binary || hex ? text + 2 : text;
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(digits, &end, binary ? 2 : hex ? 16 : 10);
	if (!errno && *digits && !*end && strchr("+- \t\n", *digits) == NULL && n <= UINT32_MAX) {
		*value = (uint32_t)n;
		return 0;
	}
	return reply_fault(r, 400,
			   FAULT "Failed to parse string [%.64s] as a number. Member %s: expected "
				 "one such as \"0x10a\", of 32 bits.",
			   text, member);
}

/* Takes a bitmap: "0b" and then, from the highest bit on, 0, 1 or x for each; bits that are not
 * there are x. */
static int bitmap(struct reply *r, const char *member, const char *text, unsigned int bits,
		  uint64_t *mask, uint64_t *value)
{
	unsigned int n = 0;
	const char *c = text;

	*mask = *value = 0;
	if (strncmp(c, "0b", 2) == 0)
		for (c += 2; *c && n <= bits; c++) {
			if (*c == '_')
				continue;
			if (!strchr("01x", *c))
				break;
			*mask = *mask << 1 | (*c != 'x');
			*value = *value << 1 | (*c == '1');
			n++;
		}
	if (n && n <= bits && !*c)
		return 0;
	return reply_fault(r, 400,
			   FAULT "Failed to parse string [%.80s] as a bitmap. Member %s: expected "
				 "\"0b\" and up to %u of 0, 1 and x.",
			   text, member, bits);
}

/* ---- the parts ---- */

static int take_leaf(struct reply *r, const struct cpuid_body *b, struct fc_cpu *cpu)
{
	const struct register_body *regs = b->modifiers.items;
	uint32_t leaf, subleaf;

	if (number(r, "cpuid_modifiers.leaf", b->leaf, &leaf) < 0 ||
	    number(r, "cpuid_modifiers.subleaf", b->subleaf, &subleaf) < 0)
		return -EINVAL;
	for (size_t i = 0; i < b->modifiers.n; i++) {
		uint64_t mask, value;

		if (bitmap(r, "cpuid_modifiers.modifiers.bitmap", regs[i].bitmap, 32, &mask,
			   &value) < 0)
			return -EINVAL;
		cpu->cpuid[cpu->n_cpuid++] =
			(struct catnap_cpuid_modifier){.leaf = leaf,
						       .subleaf = subleaf,
						       .reg = (uint32_t)regs[i].reg,
						       .mask = (uint32_t)mask,
						       .value = (uint32_t)value};
	}
	return 0;
}

static int take_msr(struct reply *r, const struct msr_body *b, struct fc_cpu *cpu)
{
	struct catnap_msr_modifier m = {.reserved = 0};

	if (number(r, "msr_modifiers.addr", b->addr, &m.index) < 0 ||
	    bitmap(r, "msr_modifiers.bitmap", b->bitmap, 64, &m.mask, &m.value) < 0)
		return -EINVAL;
	cpu->msrs[cpu->n_msrs++] = m;
	return 0;
}

/* Takes a capability: "121" is needed, "!121" is not to be used. */
static int take_capability(struct reply *r, const char *text, struct fc_cpu *cpu)
{
	bool drop = *text == '!';
	uint32_t n = 0;

	if (number(r, "kvm_capabilities", text + drop, &n) < 0)
		return -EINVAL;
	if (drop)
		cpu->dropped[cpu->n_dropped++] = n;
	else
		cpu->required[cpu->n_required++] = n;
	return 0;
}

/* Checks that a member for other processors has nothing in it. */
static int check_empty(struct reply *r, struct json_object *v, const char *member)
{
	if (!v || (json_object_is_type(v, json_type_array) && json_object_array_length(v) == 0))
		return 0;
	return reply_fault(r, 400, "Configure CPU error: %s: is of aarch64: expected none.",
			   member);
}

static int take(struct reply *r, const struct cpu_body *b, struct fc_cpu *cpu)
{
	const struct cpuid_body *leaves = b->cpuid.items;
	const struct msr_body *msrs = b->msrs.items;
	const char *const *capabilities = b->capabilities.items;

	if (check_empty(r, b->registers, "reg_modifiers") < 0 ||
	    check_empty(r, b->features, "vcpu_features") < 0)
		return -EINVAL;
	for (size_t i = 0; i < b->cpuid.n; i++)
		if (take_leaf(r, &leaves[i], cpu) < 0)
			return -EINVAL;
	for (size_t i = 0; i < b->msrs.n; i++)
		if (take_msr(r, &msrs[i], cpu) < 0)
			return -EINVAL;
	for (size_t i = 0; i < b->capabilities.n; i++)
		if (take_capability(r, capabilities[i], cpu) < 0)
			return -EINVAL;
	return 0;
}

static void put_cpu(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct fc_cpu *cpu = calloc(1, sizeof(*cpu));

	if (!cpu) {
		reply_fault(r, 500, "out of memory");
		return;
	}
	if (take(r, body, cpu) < 0) {
		free(cpu);
		return;
	}
	free(api->model.cpu);
	api->model.cpu = cpu;
	reply_empty(r);
}

const struct route fc_cpu_routes[] = {
	{"PUT", "/cpu-config", ROUTE_BEFORE, put_cpu, cpu_members, sizeof(struct cpu_body)},
	{NULL},
};
