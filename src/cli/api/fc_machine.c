/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /machine-config. */
#include "cli/api/fc_nodes.h"

struct machine_body {
	uint64_t given;
	uint64_t vcpus, mem_mib;
	bool smt, track_dirty_pages;
	int template, huge;
	struct body_array nodes;
};

enum { VCPUS, MEM, SMT, TEMPLATE, TRACK, HUGE_PAGES, NODES };
enum { TEMPLATE_NONE, TEMPLATE_OTHER };

static const struct body_word templates[] = {
	{"C3", TEMPLATE_OTHER},	 {"T2", TEMPLATE_OTHER},
	{"T2S", TEMPLATE_OTHER}, {"T2CL", TEMPLATE_OTHER},
	{"T2A", TEMPLATE_OTHER}, {"V1N1", TEMPLATE_OTHER},
	{"None", TEMPLATE_NONE}, {NULL},
};

static const struct body_word pages[] = {
	{"None", FC_HUGE_NONE},
	{"Transparent", FC_HUGE_TRANSPARENT},
	{"2M", FC_HUGE_2M},
	{NULL},
};

/* clang-format off */
#define MEMBERS(all)                                                                             \
	[VCPUS] = {.name = "vcpu_count", .type = BODY_U64, .max = 255, .called = "u8",           \
		   .offset = offsetof(struct machine_body, vcpus), .required = (all)},           \
	[MEM] = {.name = "mem_size_mib", .type = BODY_U64, .called = "usize",                    \
		 .offset = offsetof(struct machine_body, mem_mib), .required = (all)},           \
	[SMT] = {.name = "smt", .type = BODY_BOOL, .offset = offsetof(struct machine_body, smt), \
		 .nullable = !(all)},                                                            \
	[TEMPLATE] = {.name = "cpu_template", .type = BODY_WORD, .words = templates,             \
		      .offset = offsetof(struct machine_body, template), .nullable = true},      \
	[TRACK] = {.name = "track_dirty_pages", .type = BODY_BOOL, .nullable = !(all),           \
		   .offset = offsetof(struct machine_body, track_dirty_pages)},                  \
	[HUGE_PAGES] = {.name = "huge_pages", .type = BODY_WORD, .words = pages,                 \
			.offset = offsetof(struct machine_body, huge), .nullable = !(all)},      \
	[NODES] = {.name = "numa_nodes", .type = BODY_ARRAY, .max = CATNAP_MAX_NODES,            \
		   .offset = offsetof(struct machine_body, nodes), .table = fc_node_members,     \
		   .size = FC_NODE_SIZE},                                                        \
	{NULL}
/* clang-format on */

static const struct body_field put_members[] = {MEMBERS(true)};
static const struct body_field patch_members[] = {MEMBERS(false)};

static void get_machine(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	reply_json(r, 200, fc_machine_json(&api->model));
}

/* Returns whether a VM can be so; if not, it is answered. */
static bool check(const struct api *api, struct reply *r, const struct fc_machine *m)
{
	const struct fc_balloon *balloon = &api->model.balloon;

	if (m->vcpus == 0 || m->vcpus > FC_MAX_VCPUS ||
	    (m->smt && m->vcpus > 1 && m->vcpus % 2 == 1))
		reply_fault(
			r, 400,
			"Machine config error: The number of vCPUs must be greater than 0, less "
			"than %d and must be 1 or an even number if SMT is enabled.",
			FC_MAX_VCPUS);
	else if (m->mem_mib == 0 || (m->huge == FC_HUGE_2M && m->mem_mib % 2))
		reply_fault(r, 400,
			    "Machine config error: The memory size (MiB) is either 0, or not a "
			    "multiple of the configured page size.");
	else if (balloon->on && m->mem_mib < balloon->amount_mib)
		reply_fault(r, 400,
			    "Machine config error: The memory size (MiB) is smaller than the "
			    "previously set balloon device target size.");
	else if (m->smt)
		reply_fault(r, 400,
			    "Machine config error: smt: each vCPU is a core of its own here: "
			    "expected false.");
	else
		return true;
	return false;
}

static void set(struct api *api, struct reply *r, const char *method, const struct machine_body *b,
		struct fc_machine *m)
{
	if (body_given(b->given, VCPUS))
		m->vcpus = b->vcpus;
	if (body_given(b->given, MEM))
		m->mem_mib = b->mem_mib;
	if (body_given(b->given, SMT))
		m->smt = b->smt;
	if (body_given(b->given, TRACK))
		m->track_dirty_pages = b->track_dirty_pages;
	if (body_given(b->given, HUGE_PAGES))
		m->huge = (enum fc_huge)b->huge;
	if (body_given(b->given, TEMPLATE)) {
		r->deprecated = true;
		api_log(api, CATNAP_LOG_WARN,
			"%s /machine-config: cpu_template field is deprecated.", method);
		if (b->template != TEMPLATE_NONE) {
			reply_fault(
				r, 400,
				"Machine config error: cpu_template: the templates of Firecracker "
				"are not offered: expected None, and the modifiers in "
				"/cpu-config.");
			return;
		}
	}
	if (body_given(b->given, NODES) && fc_take_nodes(r, &b->nodes, m) < 0)
		return;
	if (!check(api, r, m) || fc_check_nodes(r, m) < 0)
		return;
	api->model.machine = *m;
	reply_empty(r);
}

static void put_machine(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct fc_machine m = {.vcpus = 1};

	set(api, r, "PUT", body, &m);
}

static void patch_machine(struct api *api, struct reply *r, const struct api_request *rq,
			  void *body)
{
	const struct machine_body *b = body;
	struct fc_machine m = api->model.machine;

	if (!b->given)
		reply_fault(r, 400, "Empty PATCH request.");
	else
		set(api, r, "PATCH", b, &m);
}

const struct route fc_machine_routes[] = {
	{"GET", "/machine-config", ROUTE_ALWAYS, get_machine},
	{"PUT", "/machine-config", ROUTE_BEFORE, put_machine, put_members,
	 sizeof(struct machine_body)},
	{"PATCH", "/machine-config", ROUTE_BEFORE, patch_machine, patch_members,
	 sizeof(struct machine_body)},
	{NULL},
};
