/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resources /entropy and /serial. */
#include <stdlib.h>

#include "cli/api/fc.h"

struct entropy_body {
	uint64_t given;
	struct limiter_body limiter;
};

enum { ENTROPY_LIMITER };

static const struct body_field entropy_members[] = {
	[ENTROPY_LIMITER] = FC_LIMITER("rate_limiter", offsetof(struct entropy_body, limiter)),
	{NULL},
};

static void put_entropy(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct entropy_body *b = body;
	struct fc_entropy *e = &api->model.entropy;

	fc_limiter_take(&e->limiter, &b->limiter, body_given(b->given, ENTROPY_LIMITER));
	e->on = true;
	reply_empty(r);
}

struct serial_body {
	uint64_t given;
	const char *path;
	struct bucket_body limit;
};

enum { SERIAL_PATH, SERIAL_LIMIT };

static const struct body_field serial_members[] = {
	[SERIAL_PATH] = {.name = "serial_out_path",
			 .type = BODY_STRING,
			 .offset = offsetof(struct serial_body, path),
			 .nullable = true},
	[SERIAL_LIMIT] = {.name = "rate_limiter",
			  .type = BODY_OBJECT,
			  .offset = offsetof(struct serial_body, limit),
			  .table = fc_bucket_members,
			  .nullable = true},
	{NULL},
};

static void put_serial(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct serial_body *b = body;
	struct fc_serial *s = &api->model.serial;
	char *path;

	if (!fc_copy(r, &path, b->path))
		return;
	free(s->path);
	s->path = path;
	fc_bucket_take(&s->limit, &b->limit);
	reply_empty(r);
}

const struct route fc_small_routes[] = {
	{"PUT", "/entropy", ROUTE_BEFORE, put_entropy, entropy_members,
	 sizeof(struct entropy_body)},
	{"PUT", "/serial", ROUTE_BEFORE, put_serial, serial_members, sizeof(struct serial_body)},
	{NULL},
};
