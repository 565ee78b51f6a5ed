/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl snapshot`: pauses the VM, has a snapshot made in a folder, and lets it go on. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/json_out.h"

enum then { THEN_AS_BEFORE, THEN_RESUME, THEN_STOP, THEN_PAUSE };

struct keys {
	const char *dir;
	bool diff;
	int then;
};

static const struct opt_word thens[] = {
	{"resume", THEN_RESUME}, {"stop", THEN_STOP}, {"pause", THEN_PAUSE}, {NULL, 0}};

static const struct opt_field fields[] = {
	{.name = "dir",
	 .type = OPT_STRING,
	 .offset = offsetof(struct keys, dir),
	 .max = PATH_MAX - 1,
	 .required = true},
	{.name = "diff", .type = OPT_SWITCH, .offset = offsetof(struct keys, diff)},
	{.name = "then", .type = OPT_WORD, .offset = offsetof(struct keys, then), .words = thens},
	{.name = NULL},
};

/* Adds a folder by its whole path: the VM's process has a working directory of its own. */
static int add_dir(struct json_object *body, const char *dir)
{
	char cwd[PATH_MAX], *path;

	if (*dir == '/') {
		add_text(body, "dir", dir);
		return 0;
	}
	if (!getcwd(cwd, sizeof(cwd)) || asprintf(&path, "%s/%s", cwd, dir) < 0)
		return -1;
	add_text(body, "dir", path);
	free(path);
	return 0;
}

static int set_state(struct ctl *ctl, const char *state)
{
	struct json_object *body = json_object_new_object();

	add_text(body, "state", state);
	return ctl_send(ctl, "PATCH", "/vm", body);
}

/* Lets the VM go on of which no snapshot could be made. If it has ended that was said already. */
static void go_on(struct ctl *ctl)
{
	struct json_object *body = json_object_new_object();
	int ret;

	add_text(body, "state", "Resumed");
	ret = client_send(ctl->client, "PATCH", "/vm", body);
	if (ret < 0 && !client_is_gone(ret))
		client_failed(ctl->client);
}

static int is_paused(struct ctl *ctl, bool *paused)
{
	struct client_answer a = {.status = 0};
	int status = ctl_get(ctl, "/catnap/status", &a);
	const char *state = status == CMD_OK ? client_text(a.json, "state") : NULL;

	*paused = state && strcmp(state, "paused") == 0;
	client_answer_free(&a);
	return status;
}

static int make(struct ctl *ctl, const struct keys *k)
{
	struct json_object *body = json_object_new_object();

	if (add_dir(body, k->dir) < 0) {
		fprintf(stderr, "catnap ctl: snapshot: the working directory has no path\n");
		json_object_put(body);
		return CMD_ERROR;
	}
	json_object_object_add(body, "diff", json_object_new_boolean(k->diff));
	return ctl_send(ctl, "PUT", "/catnap/snapshot", body);
}

static int stop(struct ctl *ctl)
{
	struct json_object *body = json_object_new_object();

	json_object_object_add(body, "wait", json_object_new_boolean(false));
	return ctl_send(ctl, "POST", "/catnap/stop", body);
}

static int run(struct ctl *ctl)
{
	struct keys k = {.diff = ctl->diff, .then = THEN_AS_BEFORE};
	bool paused;
	int status;

	if (!ctl->settings.text) {
		opts_fail(ctl->opts, "snapshot: no folder: expected DIR");
		return ctl_usage(ctl);
	}
	if (opt_keys(ctl->opts, &ctl->settings, fields, &k) < 0)
		return ctl_usage(ctl);
	if (ctl->then)
		k.then = ctl->then;
	status = is_paused(ctl, &paused);
	if (status == CMD_OK && !paused)
		status = set_state(ctl, "Paused");
	if (status != CMD_OK)
		return status;
	status = make(ctl, &k);
	/* One that failed leaves the VM as it was. */
	if (status != CMD_OK && !paused)
		go_on(ctl);
	else if (status == CMD_OK && k.then == THEN_STOP)
		status = stop(ctl);
	else if (status == CMD_OK &&
		 (k.then == THEN_RESUME || (!paused && k.then == THEN_AS_BEFORE)))
		status = set_state(ctl, "Resumed");
	return status;
}

const struct opt_word *const ctl_snapshot_thens = thens;

const struct ctl_command ctl_snapshot = {
	.name = "snapshot",
	.form = "dir=DIR,diff=on|off,then=resume|stop|pause",
	.summary = "Makes a snapshot in a folder, for catnap run --restore.",
	.more = "  diff=on          what has changed since the last one; the same is --diff\n"
		"  then=resume|stop|pause   what becomes of the VM; without it, it is as it was\n"
		"                   before; the same is --then\n",
	.run = run,
};
