/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl snapshot`: pauses the VM, has a snapshot made in a folder, and lets it go on. */
#include <errno.h>
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

/* What follows where the VM ran before. */
static const char *const after[] = {[THEN_AS_BEFORE] = "resume",
				    [THEN_RESUME] = "resume",
				    [THEN_STOP] = "stop",
				    [THEN_PAUSE] = "pause"};

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

static int is_paused(struct ctl *ctl, bool *paused)
{
	struct client_answer a = {.status = 0};
	int status = ctl_get(ctl, "/catnap/status", &a);
	const char *state = status == CMD_OK ? client_text(a.json, "state") : NULL;

	*paused = state && strcmp(state, "paused") == 0;
	client_answer_free(&a);
	return status;
}

/* Lets a VM go on of which no snapshot could be made, and that was said. One that ran is not to stand
 * still for that. */
static void go_on(struct ctl *ctl, int failed)
{
	struct json_object *body;

	/* It has ended, or is still at it. */
	if (client_is_gone(failed) || failed == -ETIMEDOUT)
		return;
	body = json_object_new_object();
	add_text(body, "state", "Resumed");
	client_send(ctl->client, "PATCH", "/vm", body);
}

/* @then: what the VM's process is to do by itself. */
static int make(struct ctl *ctl, const struct keys *k, const char *then, bool paused)
{
	struct json_object *body = json_object_new_object();
	int ret = -EINVAL;

	if (add_dir(body, k->dir) == 0) {
		json_object_object_add(body, "diff", json_object_new_boolean(k->diff));
		add_text(body, "then", then);
		ret = client_send(ctl->client, "PUT", "/catnap/snapshot", body);
		if (ret < 0)
			client_failed(ctl->client);
	} else {
		fprintf(stderr, "catnap ctl: snapshot: the working directory has no path\n");
		json_object_put(body);
	}
	if (ret < 0 && !paused)
		go_on(ctl, ret);
	return ret < 0 ? CMD_ERROR : CMD_OK;
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
	if (!paused)
		return make(ctl, &k, after[k.then], false);
	/* One that failed leaves the VM as it was. */
	status = make(ctl, &k, "pause", true);
	if (status == CMD_OK && k.then == THEN_STOP)
		status = stop(ctl);
	else if (status == CMD_OK && k.then == THEN_RESUME)
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
