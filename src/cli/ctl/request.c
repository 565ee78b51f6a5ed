/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that all commands of `catnap ctl` take alike: see ctl.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/printable.h"

int ctl_usage(struct ctl *ctl)
{
	fprintf(stderr, "%s\n", ctl->opts->error);
	return CMD_USAGE;
}

int ctl_send(struct ctl *ctl, const char *method, const char *path, struct json_object *body)
{
	return client_send(ctl->client, method, path, body) < 0 ? client_failed(ctl->client)
								: CMD_OK;
}

int ctl_get(struct ctl *ctl, const char *path, struct client_answer *a)
{
	return client_get(ctl->client, path, a) < 0 ? client_failed(ctl->client) : CMD_OK;
}

int ctl_print_json(const struct client_answer *a)
{
	printable_json(a->body, stdout);
	if (!a->len || a->body[a->len - 1] != '\n')
		putchar('\n');
	return CMD_OK;
}

int ctl_show(struct ctl *ctl, const char *path, int (*print)(struct json_object *o))
{
	struct client_answer a = {.status = 0};
	int status = ctl_get(ctl, path, &a);

	if (status == CMD_OK)
		status = ctl->json ? ctl_print_json(&a) : print(a.json);
	client_answer_free(&a);
	return status;
}

const char *ctl_path(char *buf, size_t size, const char *folder, const char *id)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
	size_t n = (size_t)snprintf(buf, size, "%s", folder);

	for (; *id && n + 4 < size; id++) {
		if (strchr(plain, *id))
			n += (size_t)snprintf(buf + n, size - n, "%c", *id);
		else
			n += (size_t)snprintf(buf + n, size - n, "%%%02X", (unsigned char)*id);
	}
	return buf;
}

#define REMOVE_TRIES	50
#define REMOVE_TRY_USEC 100000

/* Looks whether @id is there. Returns an exit status. */
static int look(struct ctl *ctl, const struct ctl_kind *kind, const char *id, bool *there)
{
	struct client_answer a = {.status = 0};
	int status = ctl_get(ctl, kind->where, &a);
	struct json_object *all = status == CMD_OK ? client_member(a.json, kind->list) : NULL;

	*there = false;
	for (size_t i = 0; i < client_length(all); i++) {
		const char *its = client_text(json_object_array_get_idx(all, i), kind->key);

		*there = *there || (its && strcmp(its, id) == 0);
	}
	client_answer_free(&a);
	return status;
}

/* Looks whether the guest has refused to let go of @id, of kind->what. Returns an exit status. */
static int look_whether_kept(struct ctl *ctl, const struct ctl_kind *kind, const char *id,
			     bool *kept)
{
	struct client_answer a = {.status = 0};
	int status = ctl_get(ctl, "/catnap/devices", &a);
	struct json_object *all = status == CMD_OK ? client_member(a.json, "devices") : NULL;

	for (size_t i = 0; i < client_length(all); i++) {
		struct json_object *d = json_object_array_get_idx(all, i);
		const char *its = client_text(d, "id"), *what = client_text(d, "kind");

		if (its && what && strcmp(its, id) == 0 && strcmp(what, kind->what) == 0)
			*kept = json_object_get_boolean(client_member(d, "kept"));
	}
	client_answer_free(&a);
	return status;
}

int ctl_remove(struct ctl *ctl, const struct ctl_kind *kind, const char *id)
{
	char shown[96], path[512];
	int status = ctl_send(ctl, "DELETE", ctl_path(path, sizeof(path), kind->folder, id), NULL);
	bool there = true, kept = false;

	for (int i = 0; status == CMD_OK && i < REMOVE_TRIES; i++) {
		status = look(ctl, kind, id, &there);
		if (status == CMD_OK && there)
			status = look_whether_kept(ctl, kind, id, &kept);
		if (!there || kept)
			break;
		usleep(REMOVE_TRY_USEC);
	}
	if (status != CMD_OK || !there)
		return status;
	if (kept) {
		fprintf(stderr,
			"catnap ctl: %s: the guest refuses to let go of it, as something in it "
			"uses "
			"it: it can be asked again\n",
			show_text(shown, sizeof(shown), id));
		return CMD_ERROR;
	}
	fprintf(stderr,
		"catnap ctl: %s: the guest has not let go of it so far: it goes when the guest "
		"does, "
		"which can be asked again\n",
		show_text(shown, sizeof(shown), id));
	return CMD_ERROR;
}
