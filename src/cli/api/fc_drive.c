/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /drives/{drive_id}. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/api/fc.h"
#include "cli/api/fc_device.h"

struct drive_body {
	uint64_t given;
	const char *id, *partuuid, *path, *socket;
	bool root, read_only;
	int cache, engine;
	struct limiter_body limiter;
};

enum { ID, PARTUUID, ROOT, CACHE, READ_ONLY, PATH, LIMITER, ENGINE, SOCKET };

static const struct body_word caches[] = {
	{"Unsafe", FC_CACHE_UNSAFE}, {"Writeback", FC_CACHE_WRITEBACK}, {NULL}};
static const struct body_word engines[] = {
	{"Sync", FC_ENGINE_SYNC}, {"Async", FC_ENGINE_ASYNC}, {NULL}};

/* clang-format off */
#define DRIVE(member) .offset = offsetof(struct drive_body, member)

static const struct body_field put_members[] = {
	[ID] = {.name = "drive_id", .type = BODY_STRING, DRIVE(id), .required = true},
	[PARTUUID] = {.name = "partuuid", .type = BODY_STRING, DRIVE(partuuid), .nullable = true},
	[ROOT] = {.name = "is_root_device", .type = BODY_BOOL, DRIVE(root), .required = true},
	[CACHE] = {.name = "cache_type", .type = BODY_WORD, DRIVE(cache), .words = caches},
	[READ_ONLY] = {.name = "is_read_only", .type = BODY_BOOL, DRIVE(read_only),
		       .nullable = true},
	[PATH] = {.name = "path_on_host", .type = BODY_STRING, DRIVE(path), .nullable = true},
	[LIMITER] = FC_LIMITER("rate_limiter", offsetof(struct drive_body, limiter)),
	[ENGINE] = {.name = "io_engine", .type = BODY_WORD, DRIVE(engine), .words = engines,
		    .nullable = true},
	[SOCKET] = {.name = "socket", .type = BODY_STRING, DRIVE(socket), .nullable = true},
	{NULL},
};

enum { PATCH_ID, PATCH_PATH, PATCH_LIMITER };

static const struct body_field patch_members[] = {
	[PATCH_ID] = {.name = "drive_id", .type = BODY_STRING, DRIVE(id), .required = true},
	[PATCH_PATH] = {.name = "path_on_host", .type = BODY_STRING, DRIVE(path),
			.nullable = true},
	[PATCH_LIMITER] = FC_LIMITER("rate_limiter", offsetof(struct drive_body, limiter)),
	{NULL},
};
/* clang-format on */

/* ---- before the start ---- */

static bool check(const struct api *api, struct reply *r, const struct drive_body *b)
{
	const char *root = fc_root_of(&api->model);
	char why[128];
	int ret;

	if (b->socket && (b->path || body_given(b->given, READ_ONLY) ||
			  body_given(b->given, LIMITER) || body_given(b->given, ENGINE))) {
		reply_fault(r, 400,
			    "Drive config error: socket: path_on_host, is_read_only, rate_limiter "
			    "and io_engine are the back end's: expected none of them.");
		return false;
	}
	if (!b->socket && !b->path) {
		reply_fault(r, 400,
			    "Drive config error: Unable to create the virtio block device: Virtio "
			    "backend error: missing field `path_on_host`: expected a path.");
		return false;
	}
	if (b->root && root && strcmp(root, b->id) != 0) {
		reply_fault(r, 400, "Drive config error: A root block device already exists!");
		return false;
	}
	if (b->socket) /* connected to by the start */
		return true;
	ret = fc_try_open(b->path, b->read_only);
	if (ret < 0) {
		reply_fault(r, 400,
			    "Drive config error: Unable to create the virtio block device: Virtio "
			    "backend error: Error manipulating the backing file: %s %s",
			    fc_os_error(-ret, why, sizeof(why)), b->path);
		return false;
	}
	return true;
}

/* Returns where a drive of that id goes; NULL: there is no room, which is answered. */
static struct fc_drive *place(struct fc_model *m, struct reply *r, const char *id)
{
	struct fc_drive *d = fc_drive_find(m, id);

	if (d)
		return d;
	if (m->n_drives == FC_MAX_DRIVES) {
		reply_fault(r, 400, "Drive config error: there are %d drives: expected no more.",
			    FC_MAX_DRIVES);
		return NULL;
	}
	return &m->drives[m->n_drives];
}

/* Adds a drive to a VM that runs. Returns 0, or -EINVAL with @r answered. */
static int plug(struct api *api, struct reply *r, struct fc_drive *d)
{
	struct catnap_disk disk;

	fc_drive_library(d, &disk);
	d->disk = fc_next_disk(&api->model);
	d->device = fc_next_device(api->vm);
	if (catnap_vm_add_disk(api->vm, &disk) == 0)
		return 0;
	return reply_fault(r, 400, "Drive config error: %s", catnap_vm_last_error(api->vm));
}

/* Returns whether the VM can be given such a drive now; if not, it is answered. */
static bool may_come(struct api *api, struct reply *r, const struct drive_body *b)
{
	const char *wrong = NULL;

	if (!api->vm)
		return true;
	if (!fc_hotplug_on(api, r))
		return false;
	if (fc_drive_find(&api->model, b->id))
		wrong = "drive_id: there is one already: expected another, or PATCH";
	else if (b->root)
		wrong = "is_root_device: one that comes after the start is none: expected false";
	else if (b->socket)
		wrong = "socket: a back end is there from the start: expected path_on_host";
	if (wrong)
		reply_fault(r, 400, "Drive config error: %s.", wrong);
	return !wrong;
}

/* Puts the root device first, so that it is the guest's /dev/vda. */
static void root_first(struct fc_model *m)
{
	for (uint32_t i = 1; i < m->n_drives; i++) {
		struct fc_drive d = m->drives[i];

		if (!d.root)
			continue;
		memmove(&m->drives[1], &m->drives[0], i * sizeof(d));
		m->drives[0] = d;
	}
}

static void put_drive(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct drive_body *b = body;
	struct fc_model *m = &api->model;
	struct fc_drive d = {.root = b->root,
			     .read_only = b->read_only,
			     .cache = (enum fc_cache)b->cache,
			     .engine = (enum fc_engine)b->engine};
	struct fc_drive *at;

	if (!fc_same_id(r, rq, b->id) || !may_come(api, r, b) || !check(api, r, b))
		return;
	at = place(m, r, b->id);
	if (!at)
		return;
	fc_limiter_take(&d.limiter, &b->limiter, body_given(b->given, LIMITER));
	if (!fc_copy(r, &d.id, b->id) || !fc_copy(r, &d.path, b->path) ||
	    !fc_copy(r, &d.socket, b->socket) || !fc_copy(r, &d.partuuid, b->partuuid)) {
		fc_drive_free(&d);
		return;
	}
	if (api->vm && plug(api, r, &d) < 0) {
		fc_drive_free(&d);
		return;
	}
	m->n_drives += at == &m->drives[m->n_drives];
	fc_drive_free(at);
	*at = d;
	root_first(m);
	reply_empty(r);
}

/* ---- while it runs ---- */

#define REMOVE "Drive config error: Error during drive removal: "
#define UPDATE "Drive config error: Error during drive update (patch): "

static int change_limit(struct api *api, struct reply *r, struct fc_drive *d,
			const struct limiter_body *b)
{
	struct catnap_rate_limit limit;
	struct fc_limiter l = d->limiter;

	fc_limiter_update(&l, b, true);
	fc_limiter_library(&l, &limit);
	if (catnap_vm_set_disk_limit(api->vm, d->disk, &limit) < 0)
		return reply_fault(r, 400, UPDATE "%s", catnap_vm_last_error(api->vm));
	d->limiter = l;
	return 0;
}

static int change_image(struct api *api, struct reply *r, struct fc_drive *d, const char *path)
{
	struct catnap_disk image;
	char *copy, why[128];
	int ret;

	if (!fc_copy(r, &copy, path))
		return -EINVAL;
	catnap_disk_init(&image);
	image.path = path;
	image.readonly = d->read_only;
	image.format = CATNAP_DISK_RAW;
	ret = catnap_vm_change_disk(api->vm, d->disk, &image, NULL);
	if (ret < 0) {
		free(copy);
		return reply_fault(r, 400,
				   UPDATE "Virtio backend error: Error manipulating the backing "
					  "file: %s %s: %s",
				   fc_os_error(-ret, why, sizeof(why)), path,
				   catnap_vm_last_error(api->vm));
	}
	free(d->path);
	d->path = copy;
	return 0;
}

static void patch_drive(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct drive_body *b = body;
	struct fc_drive *d;

	if (!fc_same_id(r, rq, b->id))
		return;
	d = fc_drive_find(&api->model, b->id);
	if (!d) {
		reply_fault(r, 400, UPDATE "Device with ID %s was not found.", b->id);
		return;
	}
	if (d->socket ||
	    (!body_given(b->given, PATCH_PATH) && !body_given(b->given, PATCH_LIMITER))) {
		reply_fault(r, 400, UPDATE "Running method expected different backend. %s",
			    d->socket ? "It is a back end's own matter, which tells of a change by "
					"itself."
				      : "Expected path_on_host or rate_limiter.");
		return;
	}
	if (body_given(b->given, PATCH_PATH) && change_image(api, r, d, b->path) < 0)
		return;
	if (body_given(b->given, PATCH_LIMITER) && change_limit(api, r, d, &b->limiter) < 0)
		return;
	reply_empty(r);
}

static void delete_drive(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct fc_drive *d = fc_drive_find(&api->model, rq->id);

	if (!fc_hotplug_on(api, r))
		return;
	if (!d)
		reply_fault(r, 400, REMOVE "Device with ID %s was not found.", rq->id);
	else if (d->socket)
		reply_fault(r, 400, REMOVE "It is a back end's, which stays.");
	else if (catnap_vm_remove_disk(api->vm, d->disk) < 0)
		reply_fault(r, 400, REMOVE "%s", catnap_vm_last_error(api->vm));
	else
		fc_asked(api, r, d->device);
}

const struct route fc_drive_routes[] = {
	{"DELETE", "/drives/{}", ROUTE_AFTER, delete_drive},
	{"PUT", "/drives/{}", ROUTE_ALWAYS, put_drive, put_members, sizeof(struct drive_body)},
	{"PATCH", "/drives/{}", ROUTE_AFTER, patch_drive, patch_members, sizeof(struct drive_body)},
	{NULL},
};
