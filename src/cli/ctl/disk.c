/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl disk`: lists the disks, and gives one another image, size or limits while it is used. */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/ctl/bucket.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/json_out.h"

struct keys {
	const char *id, *image, *add;
	bool refresh, readonly, remove;
	struct bucket_keys limit;
};

enum { ID, IMAGE, REFRESH, ADD, READONLY, REMOVE, LIMIT };

static const struct opt_field fields[] = {
	[ID] = {.name = "id",
		.type = OPT_STRING,
		.offset = offsetof(struct keys, id),
		.required = true},
	[IMAGE] = {.name = "image", .type = OPT_STRING, .offset = offsetof(struct keys, image)},
	[REFRESH] = {.name = "refresh",
		     .type = OPT_SWITCH,
		     .offset = offsetof(struct keys, refresh)},
	[ADD] = {.name = "add", .type = OPT_STRING, .offset = offsetof(struct keys, add)},
	[READONLY] = {.name = "readonly",
		      .type = OPT_SWITCH,
		      .offset = offsetof(struct keys, readonly)},
	[REMOVE] = {.name = "remove", .type = OPT_SWITCH, .offset = offsetof(struct keys, remove)},
	[LIMIT] = BUCKET_FIELDS("", offsetof(struct keys, limit)),
	{.name = NULL},
};

static int print(struct json_object *o)
{
	static const char *const heads[] = {"<id", "<access", "<cache", "<limits", "<image", NULL};
	struct json_object *list = client_member(o, "drives");
	struct table t;
	char text[96];

	table_init(&t, heads);
	for (size_t i = 0; i < client_length(list); i++) {
		struct json_object *d = json_object_array_get_idx(list, i);

		table_add(&t, client_text(d, "drive_id"));
		table_add(&t,
			  json_object_get_boolean(client_member(d, "is_read_only")) ? "ro" : "rw");
		table_add(&t, client_text(d, "cache_type"));
		table_add(&t, bucket_text(text, sizeof(text), client_member(d, "rate_limiter")));
		table_add(&t, client_text(d, "path_on_host"));
	}
	return table_print(&t) < 0 ? CMD_ERROR : CMD_OK;
}

/* Returns its image as it is now, opened anew: so the size is. The caller's to put. */
static struct json_object *image_now(struct ctl *ctl, const char *id)
{
	struct client_answer a = {.status = 0};
	struct json_object *image = NULL, *list;
	char shown[96];

	if (ctl_get(ctl, "/vm/config", &a) == CMD_OK) {
		list = client_member(a.json, "drives");
		for (size_t i = 0; i < client_length(list); i++) {
			struct json_object *d = json_object_array_get_idx(list, i);
			const char *its = client_text(d, "drive_id");

			if (its && strcmp(its, id) == 0)
				image = json_object_get(client_member(d, "path_on_host"));
		}
		if (!image)
			fprintf(stderr, "catnap ctl: disk: no disk with a path has the id %s\n",
				show_text(shown, sizeof(shown), id));
	}
	client_answer_free(&a);
	return image;
}

static int change(struct ctl *ctl, const struct keys *k, uint64_t given)
{
	struct json_object *body, *image = NULL, *limit = bucket_json(&k->limit, given >> LIMIT);
	char path[512];

	if (k->image)
		image = json_object_new_string(k->image);
	else if (k->refresh)
		image = image_now(ctl, k->id);
	if (k->refresh && !image) {
		json_object_put(limit);
		return CMD_ERROR;
	}
	body = json_object_new_object();
	add_text(body, "drive_id", k->id);
	if (image)
		json_object_object_add(body, "path_on_host", image);
	if (limit)
		json_object_object_add(body, "rate_limiter", limit);
	return ctl_send(ctl, "PATCH", ctl_path(path, sizeof(path), "/drives/", k->id), body);
}

static int add(struct ctl *ctl, const struct keys *k, uint64_t given)
{
	struct json_object *body = json_object_new_object();
	struct json_object *limit = bucket_json(&k->limit, given >> LIMIT);
	char path[512];

	add_text(body, "drive_id", k->id);
	add_text(body, "path_on_host", k->add);
	json_object_object_add(body, "is_root_device", json_object_new_boolean(false));
	json_object_object_add(body, "is_read_only", json_object_new_boolean(k->readonly));
	if (limit)
		json_object_object_add(body, "rate_limiter", limit);
	return ctl_send(ctl, "PUT", ctl_path(path, sizeof(path), "/drives/", k->id), body);
}

/* Returns the exit status of settings that do not go together; CMD_OK: they do. */
static int check(struct ctl *ctl, const struct keys *k, uint64_t given)
{
	const uint64_t others = given & ~(UINT64_C(1) << ID);

	if (k->remove && others != UINT64_C(1) << REMOVE)
		opts_fail(ctl->opts, "disk: remove: not with other settings: expected id= alone");
	else if (k->add && (k->image || k->refresh))
		opts_fail(ctl->opts, "disk: add: not with image and refresh: expected one of them");
	else if (!k->add && given >> READONLY & 1)
		opts_fail(ctl->opts, "disk: readonly: has no effect without add");
	else
		return CMD_OK;
	return ctl_usage(ctl);
}

static const struct ctl_kind kind = {"disk", "/drives/", "/vm/config", "drives", "drive_id"};

static int run(struct ctl *ctl)
{
	struct keys keys = {.id = NULL};
	uint64_t given;

	if (!ctl->settings.text)
		return ctl_show(ctl, "/vm/config", print);
	if (opt_keys_given(ctl->opts, &ctl->settings, fields, &keys, &given) < 0)
		return ctl_usage(ctl);
	if (check(ctl, &keys, given) != CMD_OK)
		return CMD_USAGE;
	if (keys.remove)
		return ctl_remove(ctl, &kind, keys.id);
	if (!keys.image && !keys.refresh && !keys.add && !(given >> LIMIT)) {
		opts_fail(ctl->opts, "disk: nothing is to change: expected add=, remove=on, "
				     "image=, refresh=on, or " BUCKET_FORM);
		return ctl_usage(ctl);
	}
	if (bucket_check(ctl->opts, "disk", "", (unsigned int)(given >> LIMIT)) < 0)
		return ctl_usage(ctl);
	return keys.add ? add(ctl, &keys, given) : change(ctl, &keys, given);
}

const struct ctl_command ctl_disk = {
	.name = "disk",
	.form = "id=ID,add=PATH,remove=on,image=PATH,refresh=on,bw=SIZE,ops=N,...",
	.keys = fields,
	.summary = "Lists the disks, adds, removes, or changes one while it is used.",
	.more = "Without settings: a line for each disk.\n"
		"  id=ID            its first column: that of --disk id=, or disk0, disk1\n"
		"  add=PATH         another disk, on this file; readonly=on: not to be written\n"
		"  remove=on        asks the guest to let go of it, and waits for some seconds\n"
		"  image=PATH       it becomes this file, when what is under way has ended\n"
		"  refresh=on       looks how large its file is now\n"
		"  bw=SIZE, ops=N   bytes and requests a second; 0 takes the limit away\n"
		"  bw-once=SIZE, ops-once=N   so much more at first, once\n",
	.run = run,
};
