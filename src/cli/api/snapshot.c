/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots by the control socket: Firecracker's /snapshot/create and /snapshot/load, and catnap's own
 * /catnap/snapshot, for a folder. */
#include <string.h>

#include "cli/api/resources.h"
#include "cli/snapshot_files.h"

/* Returns whether files may be made; if not, it is answered. A thread that may make none would be
 * ended for trying. */
static bool may(struct api *api, struct reply *r)
{
	if (api->snapshots)
		return true;
	reply_fault(r, 400,
		    "Create snapshot error: the sandbox lets no file be made: expected catnap run "
		    "--snapshots DIR.");
	return false;
}

/* Returns whether @path leads somewhere; if not, it is answered. */
static bool leads(struct reply *r, const char *error, const char *member, const char *path)
{
	if (*path)
		return true;
	reply_fault(r, 400, "%s snapshot error: %s: expected a path, it is empty.", error, member);
	return false;
}

/* ---- /catnap/snapshot ---- */

struct own_body {
	uint64_t given;
	const char *dir;
	bool diff;
	int then;
};

enum { THEN_PAUSE, THEN_RESUME, THEN_STOP };

static const struct body_word thens[] = {
	{"pause", THEN_PAUSE}, {"resume", THEN_RESUME}, {"stop", THEN_STOP}, {NULL}};

static const struct body_field own_members[] = {
	{.name = "dir",
	 .type = BODY_STRING,
	 .offset = offsetof(struct own_body, dir),
	 .required = true},
	{.name = "diff", .type = BODY_BOOL, .offset = offsetof(struct own_body, diff)},
	{.name = "then",
	 .type = BODY_WORD,
	 .offset = offsetof(struct own_body, then),
	 .words = thens},
	{NULL},
};

/* Makes it; a failure is answered. */
static bool make_own(struct api *api, struct reply *r, const struct own_body *b)
{
	char why[SNAPSHOT_WHY];

	if (!may(api, r) || !leads(r, "Create", "dir", b->dir))
		return false;
	if (snapshot_make(api->vm, b->dir, b->diff, why) == 0)
		return true;
	reply_fault(r, 400, "Create snapshot error: %s", why);
	return false;
}

/* What follows is done here, so that a client which does not wait for the end leaves no VM behind that
 * stands still. */
static void put_own(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct own_body *b = body;
	const bool made = make_own(api, r, b);

	if (made && b->then == THEN_STOP) {
		catnap_vm_request_stop(api->vm);
	} else if (b->then != THEN_PAUSE) {
		if (catnap_vm_resume(api->vm) == 0) {
			api_resumed(api);
		} else if (made) {
			reply_fault(r, 400, "Internal Vmm error: %s",
				    catnap_vm_last_error(api->vm));
			return;
		}
	}
	if (made)
		reply_empty(r);
}

/* ---- /snapshot/create ---- */

enum { FULL, DIFF };

static const struct body_word kinds[] = {{"Full", FULL}, {"Diff", DIFF}, {NULL}};

struct create_body {
	uint64_t given;
	const char *memory, *state;
	int kind;
};

static const struct body_field create_members[] = {
	{.name = "mem_file_path",
	 .type = BODY_STRING,
	 .offset = offsetof(struct create_body, memory),
	 .required = true},
	{.name = "snapshot_path",
	 .type = BODY_STRING,
	 .offset = offsetof(struct create_body, state),
	 .required = true},
	{.name = "snapshot_type",
	 .type = BODY_WORD,
	 .offset = offsetof(struct create_body, kind),
	 .words = kinds},
	{NULL},
};

static void put_create(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct create_body *b = body;
	char why[SNAPSHOT_WHY];

	if (!may(api, r) || !leads(r, "Create", "mem_file_path", b->memory) ||
	    !leads(r, "Create", "snapshot_path", b->state))
		return;
	if (snapshot_make_files(api->vm, b->state, b->memory, b->kind == DIFF, why) < 0)
		reply_fault(r, 400, "Create snapshot error: %s", why);
	else
		reply_empty(r);
}

/* ---- /snapshot/load ---- */

enum { BACKEND_FILE, BACKEND_UFFD };
enum { HUGE_SNAPSHOT, HUGE_NONE, HUGE_TRANSPARENT, HUGE_2M };

static const struct body_word backends[] = {{"File", BACKEND_FILE}, {"Uffd", BACKEND_UFFD}, {NULL}};
static const struct body_word huge[] = {{"Snapshot", HUGE_SNAPSHOT},
					{"None", HUGE_NONE},
					{"Transparent", HUGE_TRANSPARENT},
					{"2M", HUGE_2M},
					{NULL}};

struct backend_body {
	uint64_t given;
	const char *path;
	int type;
};

struct net_body {
	uint64_t given;
	const char *id, *tap;
};

struct vsock_body {
	uint64_t given;
	const char *path;
};

struct load_body {
	uint64_t given;
	const char *state, *memory;
	struct backend_body backend;
	struct body_array nets;
	struct vsock_body vsock;
	bool clock_realtime, diffs, track, resume;
	int huge;
};

static const struct body_field backend_members[] = {
	{.name = "backend_path",
	 .type = BODY_STRING,
	 .offset = offsetof(struct backend_body, path),
	 .required = true},
	{.name = "backend_type",
	 .type = BODY_WORD,
	 .offset = offsetof(struct backend_body, type),
	 .words = backends,
	 .required = true},
	{NULL},
};

static const struct body_field net_members[] = {
	{.name = "iface_id",
	 .type = BODY_STRING,
	 .offset = offsetof(struct net_body, id),
	 .required = true},
	{.name = "host_dev_name",
	 .type = BODY_STRING,
	 .offset = offsetof(struct net_body, tap),
	 .required = true},
	{NULL},
};

static const struct body_field vsock_members[] = {
	{.name = "uds_path",
	 .type = BODY_STRING,
	 .offset = offsetof(struct vsock_body, path),
	 .required = true},
	{NULL},
};

enum {
	LOAD_STATE,
	LOAD_MEMORY,
	LOAD_BACKEND,
	LOAD_NETS,
	LOAD_VSOCK,
	LOAD_CLOCK,
	LOAD_DIFFS,
	LOAD_TRACK,
	LOAD_RESUME,
	LOAD_HUGE
};

#define AT(member) .offset = offsetof(struct load_body, member)

static const struct body_field load_members[] = {
	[LOAD_STATE] = {.name = "snapshot_path", .type = BODY_STRING, AT(state), .required = true},
	[LOAD_MEMORY] = {.name = "mem_file_path",
			 .type = BODY_STRING,
			 AT(memory),
			 .nullable = true},
	[LOAD_BACKEND] = {.name = "mem_backend",
			  .type = BODY_OBJECT,
			  AT(backend),
			  .table = backend_members,
			  .nullable = true},
	[LOAD_NETS] = {.name = "network_overrides",
		       .type = BODY_ARRAY,
		       AT(nets),
		       .table = net_members,
		       .size = sizeof(struct net_body),
		       .max = FC_MAX_NETS},
	[LOAD_VSOCK] = {.name = "vsock_override",
			.type = BODY_OBJECT,
			AT(vsock),
			.table = vsock_members,
			.nullable = true},
	[LOAD_CLOCK] = {.name = "clock_realtime", .type = BODY_BOOL, AT(clock_realtime)},
	[LOAD_DIFFS] = {.name = "enable_diff_snapshots", .type = BODY_BOOL, AT(diffs)},
	[LOAD_TRACK] = {.name = "track_dirty_pages", .type = BODY_BOOL, AT(track)},
	[LOAD_RESUME] = {.name = "resume_vm", .type = BODY_BOOL, AT(resume)},
	[LOAD_HUGE] = {.name = "huge_pages", .type = BODY_WORD, AT(huge), .words = huge},
	{NULL},
};

static int check_load(struct reply *r, const struct load_body *b)
{
	bool memory = body_given(b->given, LOAD_MEMORY);
	bool backend = body_given(b->given, LOAD_BACKEND);

	if (memory == backend)
		return reply_fault(r, 400,
				   memory ? "too many fields: either `mem_backend` or "
					    "`mem_file_path` exclusively is required."
					  : "missing field: either `mem_backend` or "
					    "`mem_file_path` is required.");
	if (b->huge == HUGE_2M)
		return reply_fault(
			r, 400, "Load snapshot error: huge_pages: 2M is not offered for a file.");
	return 0;
}

static void put_load(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct load_body *b = body;
	const struct net_body *nets = b->nets.items;
	struct api_load load = {.state = b->state,
				.memory = b->memory ? b->memory : b->backend.path,
				.uffd = body_given(b->given, LOAD_BACKEND) &&
					b->backend.type == BACKEND_UFFD,
				.vsock = b->vsock.path,
				.clock_realtime = b->clock_realtime,
				.track_dirty = b->diffs || b->track,
				.resume = b->resume,
				.n_nets = (uint32_t)b->nets.n};

	if (check_load(r, b) < 0 || !leads(r, "Load", "snapshot_path", load.state) ||
	    !leads(r, "Load", body_given(b->given, LOAD_MEMORY) ? "mem_file_path" : "backend_path",
		   load.memory))
		return;
	if (!api->owner || !api->owner->load) {
		reply_fault(r, 400,
			    "Load snapshot error: this process has its VM from its options.");
		return;
	}
	r->deprecated = b->diffs || body_given(b->given, LOAD_MEMORY);
	for (uint32_t i = 0; i < load.n_nets; i++) {
		load.nets[i].id = nets[i].id;
		load.nets[i].tap = nets[i].tap;
	}
	if (api->owner->load(api->ctx, r, &load) == 0)
		reply_empty(r);
}

const struct route snapshot_routes[] = {
	{"PUT", "/catnap/snapshot", ROUTE_AFTER, put_own, own_members, sizeof(struct own_body)},
	{"PUT", "/snapshot/create", ROUTE_AFTER, put_create, create_members,
	 sizeof(struct create_body)},
	{"PUT", "/snapshot/load", ROUTE_BEFORE, put_load, load_members, sizeof(struct load_body)},
	{NULL},
};
