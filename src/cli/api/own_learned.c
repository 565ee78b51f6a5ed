/* SPDX-License-Identifier: Apache-2.0 */
/* GET /catnap/learned: what the vCPUs' policies have learned, by the names of struct
 * catnap_policy_stats. */
#include "cli/api/own.h"
#include "cli/json_out.h"
#include "cli/opts.h"

/* Returns what a vCPU has learned; NULL: nobody knows, for KVM has it. */
static struct json_object *learned_of(struct catnap_vm *vm, uint32_t vcpu)
{
	struct catnap_policy_stats s = {.size = sizeof(s), .context_size = sizeof(s.context[0])};
	struct json_object *o;
	const char *policy;

	if (catnap_vm_get_policy_stats(vm, vcpu, &s) < 0)
		return NULL;
	o = policy_json(&s);
	policy = opt_policy_name(s.policy);
	json_object_object_add(o, "policy", json_object_new_string(policy ? policy : "unknown"));
	return o;
}

struct json_object *own_learned(struct catnap_vm *vm)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();
	struct json_object *one;

	for (uint32_t i = 0; i < catnap_vm_get_vcpu_count(vm); i++) {
		one = learned_of(vm, i);
		if (!one)
			continue;
		add_u64(one, "vcpu", i);
		json_object_array_add(list, one);
	}
	json_object_object_add(root, "vcpus", list);
	one = learned_of(vm, CATNAP_IO_THREAD_VCPU);
	if (one)
		json_object_object_add(root, "io", one);
	return root;
}
