/* SPDX-License-Identifier: Apache-2.0 */
/* See route.h. The sentences are Firecracker's, whose clients look at them. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/api/resources.h"
#include "cli/printable.h"

/* Another resource is a table here. */
static const struct route *const tables[] = {
	fc_absent_routes,  fc_balloon_routes, fc_boot_routes,	  fc_cpu_routes,
	fc_drive_routes,   fc_info_routes,    fc_machine_routes,  fc_net_routes,
	fc_hotplug_routes, fc_pmem_routes,    fc_small_routes,	  fc_telling_routes,
	fc_vm_routes,	   fc_vsock_routes,   own_control_routes, own_events_routes,
	own_fs_routes,	   own_halt_routes,   own_look_routes,	  snapshot_routes,
};

#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

const struct route *route_find(const char *method, const char *pattern)
{
	for (size_t i = 0; i < N_TABLES; i++)
		for (const struct route *row = tables[i]; row->method; row++)
			if (strcmp(row->method, method) == 0 && strcmp(row->pattern, pattern) == 0)
				return row;
	return NULL;
}

static bool is_part(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '_')
			return false;
	return true;
}

/* Returns the part of a path at @at, without its slashes; *@len is 0 behind the last. */
static const char *part(const char *at, size_t *len)
{
	while (*at == '/')
		at++;
	*len = strcspn(at, "/");
	return at;
}

/* Returns whether @path follows @pattern. *@id is what stands for {}, *@id_len 0 where that is left
 * out. */
static bool matches(const char *pattern, const char *path, const char **id, size_t *id_len)
{
	*id = NULL;
	*id_len = 0;
	for (;;) {
		size_t n, m;

		pattern = part(pattern, &n);
		path = part(path, &m);
		if (n == 2 && memcmp(pattern, "{}", 2) == 0) {
			*id = path;
			*id_len = m;
		} else if (n != m || memcmp(pattern, path, n) != 0) {
			return false;
		}
		if (n == 0)
			return true;
		pattern += n;
		path += m;
	}
}

static const struct route *find(const struct api_request *rq, const char **id, size_t *id_len)
{
	for (size_t i = 0; i < N_TABLES; i++)
		for (const struct route *row = tables[i]; row->method; row++)
			if (strcmp(row->method, rq->method) == 0 &&
			    matches(row->pattern, rq->path, id, id_len))
				return row;
	return NULL;
}

/* Checks for a GET that has a body and a PUT that has none, whatever the path. Returns false if it
 * is answered. */
static bool check_body(const struct api_request *rq, const struct route *row, struct reply *r)
{
	bool get = strcmp(rq->method, "GET") == 0;

	if (get && rq->len) {
		reply_fault(r, 400, "GET request cannot have a body.");
		return false;
	}
	if (get || rq->len || (row && (row->no_body || !row->body)))
		return true;
	if (strcmp(rq->method, "PUT") != 0 && strcmp(rq->method, "PATCH") != 0)
		return true;
	reply_fault(r, 400, "Empty %s request.", rq->method);
	return false;
}

/* Checks @rq's id, of @len bytes at @id. Returns false if it is answered. */
static bool check_id(struct api_request *rq, const char *id, size_t len, struct reply *r)
{
	char *copy;

	if (!id)
		return true;
	if (len == 0) {
		reply_fault(r, 400, "The ID cannot be empty.");
		return false;
	}
	if (!is_part(id, len)) {
		reply_fault(r, 400,
			    "API Resource IDs can only contain alphanumeric characters and "
			    "underscores.");
		return false;
	}
	copy = reply_alloc(r, len + 1);
	if (copy)
		memcpy(copy, id, len);
	rq->id = copy;
	return copy;
}

static bool check_time(const struct api *api, const struct route *row, struct reply *r)
{
	if (row->when & (api->vm ? ROUTE_AFTER : ROUTE_BEFORE))
		return true;
	reply_fault(r, 400, "The requested operation is not supported %s starting the microVM.",
		    api->vm ? "after" : "before");
	return false;
}

static void call(struct api *api, const struct route *row, struct api_request *rq, struct reply *r)
{
	void *body = NULL;

	if (row->body) {
		body = reply_alloc(r, row->body_size);
		if (!body || body_take(r, rq->len ? rq->body : "{}", rq->len ? rq->len : 2,
				       row->body, body) < 0)
			return;
	}
	if (!check_time(api, row, r))
		return;
	row->handle(api, r, rq, body);
}

static void unknown(const struct api_request *rq, struct reply *r)
{
	char name[64], shown[96];
	size_t len;
	const char *first = part(rq->path, &len);

	snprintf(name, sizeof(name), "%.*s", len < sizeof(name) ? (int)len : 63, first);
	reply_fault(r, 400, "Invalid request method and/or path: %s %s.", rq->method,
		    printable(name, false, shown, sizeof(shown)));
}

void route_request(struct api *api, struct api_request *rq, struct reply *r)
{
	const char *id = NULL;
	size_t id_len = 0;
	const struct route *row = find(rq, &id, &id_len);

	api_log(api, CATNAP_LOG_INFO, "The API server received a %s request on \"%s\".", rq->method,
		rq->path);
	if (!check_body(rq, row, r))
		return;
	if (!row)
		unknown(rq, r);
	else if (check_id(rq, id, id_len, r))
		call(api, row, rq, r);
	if (!r->status && !r->later)
		reply_fault(r, 500, "The request was not answered.");
	if (r->status >= 400)
		api_log(api, CATNAP_LOG_ERROR, "Received Error. Status code: %u. Message: %s",
			r->status, reply_sentence(r));
}
