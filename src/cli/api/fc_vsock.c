/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /vsock. */
#include <stdlib.h>
#include <string.h>

#include "cli/api/fc.h"

#define PATH_LIMIT 96 /* struct catnap_vsock */

struct vsock_body {
	uint64_t given;
	uint64_t cid;
	const char *path, *id;
};

enum { CID, PATH, ID };

static const struct body_field members[] = {
	[CID] = {.name = "guest_cid",
		 .type = BODY_U64,
		 .offset = offsetof(struct vsock_body, cid),
		 .min = 3,
		 .max = UINT32_MAX - 1,
		 .called = "u32",
		 .required = true},
	[PATH] = {.name = "uds_path",
		  .type = BODY_STRING,
		  .offset = offsetof(struct vsock_body, path),
		  .max = PATH_LIMIT,
		  .required = true},
	[ID] = {.name = "vsock_id",
		.type = BODY_STRING,
		.offset = offsetof(struct vsock_body, id),
		.nullable = true},
	{NULL},
};

static void put_vsock(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct vsock_body *b = body;
	struct fc_vsock *old = &api->model.vsock, v = {.on = true, .cid = b->cid};

	if (body_given(b->given, ID)) {
		r->deprecated = true;
		api_log(api, CATNAP_LOG_WARN, "PUT /vsock: vsock_id field is deprecated.");
	}
	if (!*b->path) {
		reply_fault(r, 400, "Vsock config error: uds_path: is empty: expected a path.");
		return;
	}
	if (!fc_copy(r, &v.path, b->path) || !fc_copy(r, &v.id, b->id)) {
		free(v.path);
		return;
	}
	free(old->path);
	free(old->id);
	*old = v;
	reply_empty(r);
}

const struct route fc_vsock_routes[] = {
	{"PUT", "/vsock", ROUTE_BEFORE, put_vsock, members, sizeof(struct vsock_body)},
	{NULL},
};
