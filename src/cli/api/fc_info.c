/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resources / and /version: who this is. */
#include "cli/api/resources.h"

static const char *state_name(const struct api *api)
{
	if (!api->vm)
		return "Not started";
	return catnap_vm_get_state(api->vm) == CATNAP_VM_PAUSED ? "Paused" : "Running";
}

static void add(struct json_object *o, const char *name, const char *text)
{
	if (o)
		json_object_object_add(o, name, json_object_new_string(text));
}

static void get_info(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct json_object *o = json_object_new_object();

	add(o, "id", api->id);
	add(o, "state", state_name(api));
	add(o, "vmm_version", FC_VERSION);
	add(o, "app_name", "Firecracker");
	reply_json(r, 200, o);
}

static void get_version(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct json_object *o = json_object_new_object();

	add(o, "firecracker_version", FC_VERSION);
	add(o, "catnap_version", catnap_version());
	reply_json(r, 200, o);
}

const struct route fc_info_routes[] = {
	{"GET", "/", ROUTE_ALWAYS, get_info},
	{"GET", "/version", ROUTE_ALWAYS, get_version},
	{NULL},
};
