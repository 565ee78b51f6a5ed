/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /hotplug/memory: memory that the guest plugs and unplugs. */
#include "cli/api/fc.h"

#define SLOT_MIB  128
#define BLOCK_MIB 2

struct hotplug_body {
	uint64_t given;
	uint64_t total_mib, slot_mib, block_mib, requested_mib;
};

enum { TOTAL, SLOT, BLOCK };

/* clang-format off */
#define HOTPLUG(member) .offset = offsetof(struct hotplug_body, member)
#define NUMBER(key, member, needed) {.name = (key), .type = BODY_U64, HOTPLUG(member), \
				     .max = UINT32_MAX, .called = "u32", .required = (needed)}

static const struct body_field put_members[] = {
	[TOTAL] = NUMBER("total_size_mib", total_mib, true),
	[SLOT] = NUMBER("slot_size_mib", slot_mib, false),
	[BLOCK] = NUMBER("block_size_mib", block_mib, false),
	{NULL},
};
/* clang-format on */

static const struct body_field patch_members[] = {NUMBER("requested_size_mib", requested_mib, true),
						  {NULL}};

#define WRONG "Memory hotplug config error: "

static bool is_power(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* Returns what is wrong with it; NULL: nothing. */
static const char *fault_of(const struct fc_hotplug *h)
{
	if (h->block_mib < BLOCK_MIB || !is_power(h->block_mib) || h->block_mib > 1024)
		return "block_size_mib: expected a power of two, 2 to 1024";
	if (h->slot_mib < SLOT_MIB || h->slot_mib % h->block_mib)
		return "slot_size_mib: expected a multiple of block_size_mib, 128 or more";
	if (!h->total_mib || h->total_mib % h->slot_mib)
		return "total_size_mib: expected a multiple of slot_size_mib";
	return NULL;
}

static void put_hotplug(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct hotplug_body *b = body;
	struct fc_hotplug h = {.on = true,
			       .total_mib = b->total_mib,
			       .slot_mib = body_given(b->given, SLOT) ? b->slot_mib : SLOT_MIB,
			       .block_mib = body_given(b->given, BLOCK) ? b->block_mib : BLOCK_MIB};
	const char *fault = fault_of(&h);

	if (fault) {
		reply_fault(r, 400, WRONG "%s.", fault);
		return;
	}
	api->model.hotplug = h;
	reply_empty(r);
}

/* Returns false if there is none, which is answered. */
static bool have(const struct api *api, struct reply *r)
{
	if (!api->model.hotplug.on)
		reply_fault(r, 400, WRONG "No memory hotplug device found.");
	return api->model.hotplug.on;
}

static void get_hotplug(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct catnap_hotplug_stats s = {.size = sizeof(s)};
	struct json_object *o;

	if (!have(api, r))
		return;
	if (catnap_vm_get_hotplug_stats(api->vm, &s) < 0) {
		reply_fault(r, 400, WRONG "%s", catnap_vm_last_error(api->vm));
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "total_size_mib", json_object_new_uint64(s.max >> FC_MIB_BITS));
	json_object_object_add(o, "slot_size_mib",
			       json_object_new_uint64(api->model.hotplug.slot_mib));
	json_object_object_add(o, "block_size_mib", json_object_new_uint64(s.block >> FC_MIB_BITS));
	json_object_object_add(o, "plugged_size_mib",
			       json_object_new_uint64(s.plugged >> FC_MIB_BITS));
	json_object_object_add(o, "requested_size_mib",
			       json_object_new_uint64(s.requested >> FC_MIB_BITS));
	reply_json(r, 200, o);
}

static void patch_hotplug(struct api *api, struct reply *r, const struct api_request *rq,
			  void *body)
{
	const struct hotplug_body *b = body;

	if (!have(api, r))
		return;
	if (catnap_vm_set_hotplug_size(api->vm, b->requested_mib << FC_MIB_BITS) < 0)
		reply_fault(r, 400, WRONG "requested_size_mib: %s", catnap_vm_last_error(api->vm));
	else
		reply_empty(r);
}

const struct route fc_hotplug_routes[] = {
	{"GET", "/hotplug/memory", ROUTE_AFTER, get_hotplug},
	{"PUT", "/hotplug/memory", ROUTE_BEFORE, put_hotplug, put_members,
	 sizeof(struct hotplug_body)},
	{"PATCH", "/hotplug/memory", ROUTE_AFTER, patch_hotplug, patch_members,
	 sizeof(struct hotplug_body)},
	{NULL},
};
