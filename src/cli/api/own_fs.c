/* SPDX-License-Identifier: Apache-2.0 */
/* The resource /catnap/fs: folders of the host's that the guest mounts, which come and go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/api/fc.h"
#include "cli/api/fc_device.h"
#include "cli/json_out.h"

struct fs_body {
	uint64_t given;
	const char *id, *tag, *path, *socket;
	bool read_only;
	int cache;
};

enum { ID, TAG, PATH, SOCKET, READ_ONLY, CACHE };

static const struct body_word caches[] = {{"auto", FC_FS_CACHE_AUTO},
					  {"always", FC_FS_CACHE_ALWAYS},
					  {"none", FC_FS_CACHE_NONE},
					  {NULL}};

/* clang-format off */
#define FS(member) .offset = offsetof(struct fs_body, member)

static const struct body_field put_members[] = {
	[ID] = {.name = "fs_id", .type = BODY_STRING, FS(id), .required = true},
	[TAG] = {.name = "tag", .type = BODY_STRING, FS(tag), .max = CATNAP_MAX_TAG},
	[PATH] = {.name = "path_on_host", .type = BODY_STRING, FS(path)},
	[SOCKET] = {.name = "socket", .type = BODY_STRING, FS(socket)},
	[READ_ONLY] = {.name = "is_read_only", .type = BODY_BOOL, FS(read_only)},
	[CACHE] = {.name = "cache", .type = BODY_WORD, FS(cache), .words = caches},
	{NULL},
};
/* clang-format on */

#define WRONG "Folder config error: "

/* Returns whether another folder has its tag: a guest mounts one of them, and knows not which. */
static bool tag_is_taken(const struct fc_model *m, const struct fs_body *b)
{
	const char *tag = b->tag ? b->tag : b->id;

	for (uint32_t i = 0; i < m->n_fss; i++)
		if (strcmp(m->fss[i].id, b->id) != 0 && strcmp(m->fss[i].tag, tag) == 0)
			return true;
	return false;
}

/* Returns what is wrong with it; NULL: nothing. */
static const char *fault_of(struct api *api, const struct fs_body *b)
{
	if (!b->path == !b->socket)
		return "expected one of path_on_host and socket";
	if (b->socket && (body_given(b->given, READ_ONLY) || body_given(b->given, CACHE)))
		return "socket: is_read_only and cache are the back end's: expected none of them";
	if (!b->tag && strlen(b->id) > CATNAP_MAX_TAG)
		return "tag: the id is too long for one: expected a tag";
	if (b->tag && !*b->tag)
		return "tag: expected 1 to 36 bytes";
	if (tag_is_taken(&api->model, b))
		return "tag: is another folder's: expected one of its own";
	if (b->path && !api->owner->start_folder)
		return "path_on_host: no program is started for it here: expected socket";
	if (api->vm && fc_fs_find(&api->model, b->id))
		return "fs_id: there is one already: expected another";
	if (!fc_fs_find(&api->model, b->id) && api->model.n_fss == FC_MAX_FSS)
		return "there are 16 folders: expected no more";
	return NULL;
}

/* Returns what keeps the VM, which is there, from being given a folder now; NULL: nothing. */
static const char *obstacle(const struct api *api, const struct fs_body *b)
{
	struct catnap_vm_config cfg;

	catnap_vm_config_init(&cfg);
	catnap_vm_get_config(api->vm, &cfg);
	if (!cfg.memory_shared)
		return "a back end needs the guest's memory: expected memory that is shared";
	if (b->socket && cfg.sandbox == CATNAP_SANDBOX_ON)
		return "socket: in the sandbox no back end is connected to after the start: "
		       "expected path_on_host, a folder from the start, or no sandbox";
	return NULL;
}

/* Adds a folder to a VM that runs. Returns 0, or -EINVAL with @r answered. */
static int plug(struct api *api, struct reply *r, struct fc_fs *f)
{
	char why[256] = "";
	int fd = -1, ret;

	if (f->path && api->owner->start_folder(api->ctx, f, &fd, why, sizeof(why)) < 0)
		return reply_fault(r, 400, WRONG "path_on_host: %s.", why);
	f->device = fc_next_device(api->vm);
	ret = fc_fs_add(api->vm, f, fd);
	if (ret == 0)
		return 0;
	if (ret == -EPIPE && f->path)
		return reply_fault(r, 400,
				   WRONG "path_on_host: the program that serves it has ended at "
					 "once.");
	return reply_fault(r, 400, WRONG "%s", catnap_vm_last_error(api->vm));
}

static void put_fs(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct fs_body *b = body;
	struct fc_model *m = &api->model;
	struct fc_fs f = {.read_only = b->read_only, .cache = (enum fc_fs_cache)b->cache}, *at;
	const char *fault;

	if (!fc_same_id(r, rq, b->id) || (api->vm && !fc_hotplug_on(api, r)))
		return;
	fault = fault_of(api, b);
	if (!fault && api->vm)
		fault = obstacle(api, b);
	if (fault) {
		reply_fault(r, 400, WRONG "%s.", fault);
		return;
	}
	if (!fc_copy(r, &f.id, b->id) || !fc_copy(r, &f.tag, b->tag ? b->tag : b->id) ||
	    !fc_copy(r, &f.path, b->path) || !fc_copy(r, &f.socket, b->socket) ||
	    (api->vm && plug(api, r, &f) < 0)) {
		fc_fs_free(&f);
		return;
	}
	at = fc_fs_find(m, b->id);
	if (!at)
		at = &m->fss[m->n_fss++];
	fc_fs_free(at);
	*at = f;
	reply_empty(r);
}

static void delete_fs(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct fc_fs *f = fc_fs_find(&api->model, rq->id);

	if (!fc_hotplug_on(api, r))
		return;
	if (!f)
		reply_fault(r, 400, WRONG "Folder with ID %s was not found.", rq->id);
	else if (catnap_vm_remove_vhost(api->vm, f->device) < 0)
		reply_fault(r, 400, WRONG "%s", catnap_vm_last_error(api->vm));
	else
		fc_asked(api, r, f->device);
}

static void get_fs(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	for (uint32_t i = 0; i < api->model.n_fss; i++) {
		const struct fc_fs *f = &api->model.fss[i];
		struct json_object *one = json_object_new_object();

		add_text(one, "fs_id", f->id);
		add_text(one, "tag", f->tag);
		add_text(one, "path_on_host", f->path);
		add_text(one, "socket", f->socket);
		if (f->path) {
			json_object_object_add(one, "is_read_only",
					       json_object_new_boolean(f->read_only));
			add_text(one, "cache", caches[f->cache].name);
		}
		json_object_array_add(list, one);
	}
	json_object_object_add(o, "fs", list);
	reply_json(r, 200, o);
}

const struct route own_fs_routes[] = {
	{"GET", "/catnap/fs", ROUTE_ALWAYS, get_fs},
	{"PUT", "/catnap/fs/{}", ROUTE_ALWAYS, put_fs, put_members, sizeof(struct fs_body)},
	{"DELETE", "/catnap/fs/{}", ROUTE_AFTER, delete_fs},
	{NULL},
};
