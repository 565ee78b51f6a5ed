/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /balloon, with its statistics. */
#include "cli/api/fc.h"

#define PAGE_BITS 12

struct balloon_body {
	uint64_t given;
	uint64_t amount_mib, interval_s;
	bool deflate_on_oom, hinting, reporting;
};

/* clang-format off */
#define BALLOON(member) .offset = offsetof(struct balloon_body, member)
#define AMOUNT {.name = "amount_mib", .type = BODY_U64, BALLOON(amount_mib), .max = UINT32_MAX, \
		.called = "u32", .required = true}
#define INTERVAL(all) {.name = "stats_polling_interval_s", .type = BODY_U64, BALLOON(interval_s), \
		       .max = UINT16_MAX, .called = "u16", .required = (all)}

static const struct body_field put_members[] = {
	AMOUNT,
	{.name = "deflate_on_oom", .type = BODY_BOOL, BALLOON(deflate_on_oom), .required = true},
	INTERVAL(false),
	{.name = "free_page_hinting", .type = BODY_BOOL, BALLOON(hinting)},
	{.name = "free_page_reporting", .type = BODY_BOOL, BALLOON(reporting)},
	{NULL},
};
/* clang-format on */

static const struct body_field patch_members[] = {AMOUNT, {NULL}};
static const struct body_field interval_members[] = {INTERVAL(true), {NULL}};

/* Returns false if there is no balloon, which is answered. */
static bool have(const struct api *api, struct reply *r)
{
	if (!api->model.balloon.on)
		reply_fault(r, 400, "Balloon config error: No balloon device found.");
	return api->model.balloon.on;
}

static bool have_statistics(const struct api *api, struct reply *r)
{
	if (!have(api, r))
		return false;
	if (!api->model.balloon.stats_interval_s)
		reply_fault(
			r, 400,
			"Balloon config error: Statistics for the balloon device are not enabled");
	return api->model.balloon.stats_interval_s;
}

/* Checks that something is left to the guest. */
static bool check_amount(const struct api *api, struct reply *r, uint64_t mib)
{
	if (mib < api->model.machine.mem_mib)
		return true;
	reply_fault(
		r, 400,
		"Balloon config error: Amount of pages requested is too large. Member amount_mib: "
		"expected less than the guest's memory, %llu MiB.",
		(unsigned long long)api->model.machine.mem_mib);
	return false;
}

static void get_balloon(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	if (have(api, r))
		reply_json(r, 200, fc_balloon_json(&api->model));
}

static void put_balloon(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct balloon_body *b = body;

	if (!check_amount(api, r, b->amount_mib))
		return;
	if (b->hinting) {
		reply_fault(r, 400,
			    "Balloon config error: free_page_hinting: is not offered yet: expected "
			    "false.");
		return;
	}
	api->model.balloon = (struct fc_balloon){.on = true,
						 .amount_mib = b->amount_mib,
						 .deflate_on_oom = b->deflate_on_oom,
						 .stats_interval_s = b->interval_s,
						 .reporting = b->reporting};
	reply_empty(r);
}

static void patch_balloon(struct api *api, struct reply *r, const struct api_request *rq,
			  void *body)
{
	const struct balloon_body *b = body;

	if (!have(api, r) || !check_amount(api, r, b->amount_mib))
		return;
	if (catnap_vm_set_balloon_target(api->vm, b->amount_mib << FC_MIB_BITS) < 0) {
		reply_fault(r, 400, "Balloon update error: %s", catnap_vm_last_error(api->vm));
		return;
	}
	api->model.balloon.amount_mib = b->amount_mib;
	reply_empty(r);
}

static void add(struct json_object *o, const char *name, uint64_t n)
{
	/* A figure that the guest does not say is not there. */
	if (o && n != UINT64_MAX)
		json_object_object_add(o, name, json_object_new_uint64(n));
}

static void get_statistics(struct api *api, struct reply *r, const struct api_request *rq,
			   void *body)
{
	struct catnap_balloon_stats s = {.size = sizeof(s)};
	struct json_object *o;

	if (!have_statistics(api, r))
		return;
	if (catnap_vm_get_balloon_stats(api->vm, &s) < 0) {
		reply_fault(r, 400, "Balloon config error: %s", catnap_vm_last_error(api->vm));
		return;
	}
	o = json_object_new_object();
	add(o, "target_pages", s.target >> PAGE_BITS);
	add(o, "actual_pages", s.actual >> PAGE_BITS);
	add(o, "target_mib", s.target >> FC_MIB_BITS);
	add(o, "actual_mib", s.actual >> FC_MIB_BITS);
	add(o, "swap_in", s.swap_in);
	add(o, "swap_out", s.swap_out);
	add(o, "major_faults", s.major_faults);
	add(o, "minor_faults", s.minor_faults);
	add(o, "free_memory", s.free);
	add(o, "total_memory", s.total);
	add(o, "available_memory", s.available);
	add(o, "disk_caches", s.caches);
	reply_json(r, 200, o);
}

static void patch_statistics(struct api *api, struct reply *r, const struct api_request *rq,
			     void *body)
{
	const struct balloon_body *b = body;
	struct fc_balloon *balloon = &api->model.balloon;

	if (!have(api, r))
		return;
	if (!balloon->stats_interval_s != !b->interval_s) {
		reply_fault(
			r, 400,
			"Balloon update error: Cannot enable/disable the statistics after boot.");
		return;
	}
	balloon->stats_interval_s = b->interval_s;
	if (api->owner && api->owner->set_balloon_interval)
		api->owner->set_balloon_interval(api->ctx, b->interval_s);
	reply_empty(r);
}

const struct route fc_balloon_routes[] = {
	{"GET", "/balloon", ROUTE_ALWAYS, get_balloon},
	{"PUT", "/balloon", ROUTE_BEFORE, put_balloon, put_members, sizeof(struct balloon_body)},
	{"PATCH", "/balloon", ROUTE_AFTER, patch_balloon, patch_members,
	 sizeof(struct balloon_body)},
	{"GET", "/balloon/statistics", ROUTE_AFTER, get_statistics},
	{"PATCH", "/balloon/statistics", ROUTE_AFTER, patch_statistics, interval_members,
	 sizeof(struct balloon_body)},
	{NULL},
};
