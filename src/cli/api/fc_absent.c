/* SPDX-License-Identifier: Apache-2.0 */
/* Refuses with a sentence each resource that Firecracker's API has and this one has not. */
#include <string.h>

#include "cli/api/fc.h"

static void absent(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	static const struct {
		const char *path, *what;
	} names[] = {
		{"/mmds", "the metadata service (MMDS)"},
		{"/balloon", "free page hinting"},
	};
	const char *what = rq->path;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(rq->path, names[i].path, strlen(names[i].path)) == 0)
			what = names[i].what;
	reply_fault(r, 400, "The requested operation is not supported: %s: is not offered yet.",
		    what);
}

const struct route fc_absent_routes[] = {
	{"GET", "/mmds", ROUTE_ALWAYS, absent},
	{"PUT", "/mmds", ROUTE_ALWAYS, absent},
	{"PATCH", "/mmds", ROUTE_ALWAYS, absent},
	{"PUT", "/mmds/config", ROUTE_BEFORE, absent},
	{"PATCH", "/balloon/hinting/start", ROUTE_AFTER, absent},
	{"GET", "/balloon/hinting/status", ROUTE_AFTER, absent},
	{"PATCH", "/balloon/hinting/stop", ROUTE_AFTER, absent},
	{NULL},
};
