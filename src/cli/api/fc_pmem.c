/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /pmem/{id}: persistent memory. */
#include <string.h>

#include "cli/api/fc.h"

struct pmem_body {
	uint64_t given;
	const char *id, *path;
	bool root, read_only;
	struct limiter_body limiter;
};

enum { ID, PATH, ROOT, READ_ONLY, LIMITER };
enum { PATCH_ID, PATCH_LIMITER };

/* clang-format off */
#define PMEM(member) .offset = offsetof(struct pmem_body, member)

static const struct body_field put_members[] = {
	[ID] = {.name = "id", .type = BODY_STRING, PMEM(id), .required = true},
	[PATH] = {.name = "path_on_host", .type = BODY_STRING, PMEM(path), .required = true},
	[ROOT] = {.name = "root_device", .type = BODY_BOOL, PMEM(root)},
	[READ_ONLY] = {.name = "read_only", .type = BODY_BOOL, PMEM(read_only)},
	[LIMITER] = FC_LIMITER("rate_limiter", offsetof(struct pmem_body, limiter)),
	{NULL},
};

static const struct body_field patch_members[] = {
	[PATCH_ID] = {.name = "id", .type = BODY_STRING, PMEM(id), .required = true},
	[PATCH_LIMITER] = FC_LIMITER("rate_limiter", offsetof(struct pmem_body, limiter)),
	{NULL},
};
/* clang-format on */

#define WRONG "Pmem device error: "

static bool check(const struct api *api, struct reply *r, const struct pmem_body *b)
{
	const struct fc_model *m = &api->model;
	const char *root = fc_root_of(m);
	char why[128];
	int ret;

	if (b->root && root && strcmp(root, b->id) != 0) {
		reply_fault(r, 400, WRONG "there is a root device already: %s.", root);
		return false;
	}
	ret = fc_try_open(b->path, b->read_only);
	if (ret < 0)
		reply_fault(r, 400, WRONG "Error accessing backing file: %s %s",
			    fc_os_error(-ret, why, sizeof(why)), b->path);
	return ret == 0;
}

/* Returns where one of that id goes; NULL: there is no room, which is answered. */
static struct fc_pmem *place(struct fc_model *m, struct reply *r, const char *id)
{
	struct fc_pmem *p = fc_pmem_find(m, id);

	if (p)
		return p;
	if (m->n_pmems < FC_MAX_PMEMS)
		return &m->pmems[m->n_pmems];
	reply_fault(r, 400, WRONG "there are %d: expected no more.", FC_MAX_PMEMS);
	return NULL;
}

static void put_pmem(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct pmem_body *b = body;
	struct fc_model *m = &api->model;
	struct fc_pmem p = {.root = b->root, .read_only = b->read_only};
	struct fc_pmem *at;

	if (!fc_same_id(r, rq, b->id) || !check(api, r, b))
		return;
	at = place(m, r, b->id);
	if (!at)
		return;
	fc_limiter_take(&p.limiter, &b->limiter, body_given(b->given, LIMITER));
	if (!fc_copy(r, &p.id, b->id) || !fc_copy(r, &p.path, b->path)) {
		fc_pmem_free(&p);
		return;
	}
	m->n_pmems += at == &m->pmems[m->n_pmems];
	fc_pmem_free(at);
	*at = p;
	reply_empty(r);
}

static void patch_pmem(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct pmem_body *b = body;
	struct catnap_rate_limit limit;
	struct fc_limiter l;
	struct fc_pmem *p;

	if (!fc_same_id(r, rq, b->id))
		return;
	p = fc_pmem_find(&api->model, b->id);
	if (!p) {
		reply_fault(r, 400, WRONG "Device with ID %s was not found.", b->id);
		return;
	}
	l = p->limiter;
	if (body_given(b->given, PATCH_LIMITER)) {
		fc_limiter_update(&l, &b->limiter, true);
		fc_limiter_library(&l, &limit);
		if (catnap_vm_set_pmem_limit(api->vm, (uint32_t)(p - api->model.pmems), &limit) <
		    0) {
			reply_fault(r, 400, WRONG "%s", catnap_vm_last_error(api->vm));
			return;
		}
		p->limiter = l;
	}
	reply_empty(r);
}

const struct route fc_pmem_routes[] = {
	{"PUT", "/pmem/{}", ROUTE_BEFORE, put_pmem, put_members, sizeof(struct pmem_body)},
	{"PATCH", "/pmem/{}", ROUTE_AFTER, patch_pmem, patch_members, sizeof(struct pmem_body)},
	{NULL},
};
