/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resources /actions, /vm and /vm/config. */
#include "cli/api/fc.h"

/* ---- /actions ---- */

struct action_body {
	uint64_t given;
	int type;
};

enum { FLUSH_METRICS, INSTANCE_START, CTRL_ALT_DEL };

static const struct body_word types[] = {{"FlushMetrics", FLUSH_METRICS},
					 {"InstanceStart", INSTANCE_START},
					 {"SendCtrlAltDel", CTRL_ALT_DEL},
					 {NULL}};

static const struct body_field action_members[] = {
	{.name = "action_type",
	 .type = BODY_WORD,
	 .offset = offsetof(struct action_body, type),
	 .words = types,
	 .required = true},
	{NULL},
};

static void flush_metrics(struct api *api, struct reply *r)
{
	if (!api->owner || !api->owner->flush_metrics)
		reply_fault(r, 400, "Internal Vmm error: this process has no metrics file.");
	else if (api->owner->flush_metrics(api->ctx, r) == 0)
		reply_empty(r);
}

static void press_button(struct api *api, struct reply *r)
{
	if (catnap_vm_power_button(api->vm) < 0)
		reply_fault(r, 400, "Internal Vmm error: %s", catnap_vm_last_error(api->vm));
	else
		reply_empty(r);
}

static void start(struct api *api, struct reply *r)
{
	if (!api->owner || !api->owner->start)
		reply_fault(r, 400,
			    "Start microvm error: this process has its VM from its options.");
	else if (api->owner->start(api->ctx, r) == 0)
		reply_empty(r);
}

static void put_action(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct action_body *b = body;
	bool before = b->type == INSTANCE_START;

	if (before == !!api->vm)
		reply_fault(r, 400,
			    "The requested operation is not supported %s starting the microVM.",
			    api->vm ? "after" : "before");
	else if (b->type == INSTANCE_START)
		start(api, r);
	else if (b->type == CTRL_ALT_DEL)
		press_button(api, r);
	else
		flush_metrics(api, r);
}

/* ---- /vm ---- */

struct vm_body {
	uint64_t given;
	int state;
};

enum { PAUSED, RESUMED };

static const struct body_word states[] = {{"Paused", PAUSED}, {"Resumed", RESUMED}, {NULL}};

static const struct body_field vm_members[] = {
	{.name = "state",
	 .type = BODY_WORD,
	 .offset = offsetof(struct vm_body, state),
	 .words = states,
	 .required = true},
	{NULL},
};

static void patch_vm(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct vm_body *b = body;

	if (b->state == PAUSED) {
		api_pause(api, r);
		return;
	}
	if (catnap_vm_resume(api->vm) < 0) {
		reply_fault(r, 400, "Internal Vmm error: %s", catnap_vm_last_error(api->vm));
		return;
	}
	api_resumed(api);
	reply_empty(r);
}

static void get_config(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	reply_json(r, 200, fc_config_json(&api->model));
}

const struct route fc_vm_routes[] = {
	{"PUT", "/actions", ROUTE_ALWAYS, put_action, action_members, sizeof(struct action_body)},
	{"PATCH", "/vm", ROUTE_AFTER, patch_vm, vm_members, sizeof(struct vm_body)},
	{"GET", "/vm/config", ROUTE_ALWAYS, get_config},
	{NULL},
};
