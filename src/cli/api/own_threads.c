/* SPDX-License-Identifier: Apache-2.0 */
/* GET /catnap/threads: which thread does what, by the ids that taskset(1) and chrt(1) take. */
#include <unistd.h>

#include "cli/api/own.h"

static struct json_object *thread(const char *role, int tid)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "role", json_object_new_string(role));
	json_object_object_add(o, "tid", json_object_new_int(tid));
	return o;
}

struct json_object *own_threads(struct catnap_vm *vm)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();
	int tid;

	/* The one that answers, and has the signals and the terminal. */
	json_object_array_add(list, thread("main", getpid()));
	for (uint32_t i = 0; vm && i < catnap_vm_get_vcpu_count(vm); i++) {
		struct json_object *o;

		tid = catnap_vm_get_vcpu_tid(vm, i);
		if (tid < 0)
			continue;
		o = thread("vcpu", tid);
		json_object_object_add(o, "vcpu", json_object_new_int((int)i));
		json_object_array_add(list, o);
	}
	tid = vm ? catnap_vm_get_io_tid(vm) : -1;
	if (tid > 0)
		json_object_array_add(list, thread("io", tid));
	json_object_object_add(root, "threads", list);
	return root;
}
