/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl fs`: lists the folders that the guest can mount, adds one, or removes one. */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/json_out.h"

#define FOLDERS "/catnap/fs"

struct keys {
	const char *id, *add, *socket, *tag;
	int cache;
	bool readonly, remove;
};

enum { ID, ADD, SOCKET, TAG, READONLY, CACHE, REMOVE };

static const struct opt_word caches[] = {{"auto", 0}, {"always", 1}, {"none", 2}, {NULL, 0}};

static const struct opt_field fields[] = {
	[ID] = {.name = "id",
		.type = OPT_STRING,
		.offset = offsetof(struct keys, id),
		.required = true},
	[ADD] = {.name = "add", .type = OPT_STRING, .offset = offsetof(struct keys, add)},
	[SOCKET] = {.name = "socket", .type = OPT_STRING, .offset = offsetof(struct keys, socket)},
	[TAG] = {.name = "tag", .type = OPT_STRING, .offset = offsetof(struct keys, tag)},
	[READONLY] = {.name = "readonly",
		      .type = OPT_SWITCH,
		      .offset = offsetof(struct keys, readonly)},
	[CACHE] = {.name = "cache",
		   .type = OPT_WORD,
		   .offset = offsetof(struct keys, cache),
		   .words = caches},
	[REMOVE] = {.name = "remove", .type = OPT_SWITCH, .offset = offsetof(struct keys, remove)},
	{.name = NULL},
};

static const struct ctl_kind kind = {"fs", FOLDERS "/", FOLDERS, "fs", "fs_id"};

static int print(struct json_object *o)
{
	static const char *const heads[] = {"<id", "<tag", "<access", "<cache", "<place", NULL};
	struct json_object *list = client_member(o, kind.list);
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < client_length(list); i++) {
		struct json_object *f = json_object_array_get_idx(list, i);
		struct json_object *ro = client_member(f, "is_read_only");
		const char *path = client_text(f, "path_on_host");

		table_add(&t, client_text(f, kind.key));
		table_add(&t, client_text(f, "tag"));
		table_add(&t, !ro ? "-" : json_object_get_boolean(ro) ? "ro" : "rw");
		table_add(&t, ro ? client_text(f, "cache") : "-");
		table_add(&t, path ? path : client_text(f, "socket"));
	}
	return table_print(&t) < 0 ? CMD_ERROR : CMD_OK;
}

/* Returns the exit status of settings that do not go together; CMD_OK: they do. */
static int check(struct ctl *ctl, const struct keys *k, uint64_t given)
{
	const uint64_t others = given & ~(UINT64_C(1) << ID);

	if (k->remove && others != UINT64_C(1) << REMOVE)
		opts_fail(ctl->opts, "fs: remove: not with other settings: expected id= alone");
	else if (!k->remove && !k->add == !k->socket)
		opts_fail(ctl->opts, "fs: %s: expected one of add=, socket= and remove=on",
			  k->add ? "has both add and socket" : "nothing is to change");
	else if (k->socket && (given >> READONLY & 1 || given >> CACHE & 1))
		opts_fail(ctl->opts,
			  "fs: %s: has no effect with socket: expected the back end's "
			  "own options",
			  given >> READONLY & 1 ? "readonly" : "cache");
	else
		return CMD_OK;
	return ctl_usage(ctl);
}

static int add(struct ctl *ctl, const struct keys *k, uint64_t given)
{
	struct json_object *body = json_object_new_object();
	char path[512];

	add_text(body, kind.key, k->id);
	add_text(body, k->add ? "path_on_host" : "socket", k->add ? k->add : k->socket);
	if (k->tag)
		add_text(body, "tag", k->tag);
	if (given >> READONLY & 1)
		json_object_object_add(body, "is_read_only", json_object_new_boolean(k->readonly));
	if (given >> CACHE & 1)
		add_text(body, "cache", caches[k->cache].name);
	return ctl_send(ctl, "PUT", ctl_path(path, sizeof(path), kind.folder, k->id), body);
}

static int run(struct ctl *ctl)
{
	struct keys keys = {.id = NULL};
	uint64_t given;

	if (!ctl->settings.text)
		return ctl_show(ctl, FOLDERS, print);
	if (opt_keys_given(ctl->opts, &ctl->settings, fields, &keys, &given) < 0)
		return ctl_usage(ctl);
	if (check(ctl, &keys, given) != CMD_OK)
		return CMD_USAGE;
	return keys.remove ? ctl_remove(ctl, &kind, keys.id) : add(ctl, &keys, given);
}

const struct ctl_command ctl_fs = {
	.name = "fs",
	.form = "id=ID,add=DIR,socket=SOCKET,remove=on,tag=NAME,...",
	.keys = fields,
	.summary = "Lists the folders that the guest can mount, adds or removes one.",
	.more = "Without settings: a line for each folder.\n"
		"  id=ID           its first column: the tag of --fs, if it has no other\n"
		"  add=DIR         another one, which virtiofsd serves; readonly=on,\n"
		"                  cache=auto|always|none\n"
		"  socket=SOCKET   another one, whose back end listens there\n"
		"  tag=NAME        what its guest mounts; without it that is the id\n"
		"  remove=on       asks the guest to let go of it, and waits for some seconds\n",
	.run = run,
};
