/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl net`: lists the network interfaces, takes one's link down, and changes its limits. */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/ctl/bucket.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/json_out.h"

#define NETS "/network-interfaces/"

struct keys {
	const char *id, *add, *mac;
	int link;
	bool remove;
	struct bucket_keys rx, tx;
};

enum { ID, LINK, ADD, MAC, REMOVE, RX, TX = RX + 4 };

static const struct opt_word links[] = {{"down", 0}, {"up", 1}, {NULL, 0}};

static const struct opt_field fields[] = {
	[ID] = {.name = "id",
		.type = OPT_STRING,
		.offset = offsetof(struct keys, id),
		.required = true},
	[LINK] = {.name = "link",
		  .type = OPT_WORD,
		  .offset = offsetof(struct keys, link),
		  .words = links},
	[ADD] = {.name = "add", .type = OPT_STRING, .offset = offsetof(struct keys, add)},
	[MAC] = {.name = "mac", .type = OPT_STRING, .offset = offsetof(struct keys, mac)},
	[REMOVE] = {.name = "remove", .type = OPT_SWITCH, .offset = offsetof(struct keys, remove)},
	[RX] = BUCKET_FIELDS("rx-", offsetof(struct keys, rx)),
	[TX] = BUCKET_FIELDS("tx-", offsetof(struct keys, tx)),
	{.name = NULL},
};

static int print(struct json_object *o)
{
	static const char *const heads[] = {"<id", "<tap", "<mac", "<received", "<sent", NULL};
	struct json_object *list = client_member(o, "network-interfaces");
	struct table t;
	char text[96];

	table_init(&t, heads);
	for (size_t i = 0; i < client_length(list); i++) {
		struct json_object *n = json_object_array_get_idx(list, i);

		table_add(&t, client_text(n, "iface_id"));
		table_add(&t, client_text(n, "host_dev_name"));
		table_add(&t, client_text(n, "guest_mac"));
		table_add(&t, bucket_text(text, sizeof(text), client_member(n, "rx_rate_limiter")));
		table_add(&t, bucket_text(text, sizeof(text), client_member(n, "tx_rate_limiter")));
	}
	return table_print(&t) < 0 ? CMD_ERROR : CMD_OK;
}

/* Returns the exit status of settings that do not go together; CMD_OK: they do. */
static int check(struct ctl *ctl, const struct keys *k, uint64_t given)
{
	const uint64_t others = given & ~(UINT64_C(1) << ID);

	if (k->remove && others != UINT64_C(1) << REMOVE)
		opts_fail(ctl->opts, "net: remove: not with other settings: expected id= alone");
	else if (k->add && given >> LINK & 1)
		opts_fail(ctl->opts, "net: add: not with link: expected one of them");
	else if (!k->add && k->mac)
		opts_fail(ctl->opts, "net: mac: has no effect without add");
	else if (!others)
		opts_fail(ctl->opts,
			  "net: nothing is to change: expected add=, remove=on, link= or a limit");
	else
		return CMD_OK;
	return ctl_usage(ctl);
}

static const struct ctl_kind kind = {"net", NETS, "/vm/config", "network-interfaces", "iface_id"};

static int run(struct ctl *ctl)
{
	struct keys keys = {.id = NULL};
	struct json_object *body, *rx, *tx;
	char path[512];
	uint64_t given;

	if (!ctl->settings.text)
		return ctl_show(ctl, "/vm/config", print);
	if (opt_keys_given(ctl->opts, &ctl->settings, fields, &keys, &given) < 0)
		return ctl_usage(ctl);
	if (check(ctl, &keys, given) != CMD_OK)
		return CMD_USAGE;
	if (keys.remove)
		return ctl_remove(ctl, &kind, keys.id);
	if (bucket_check(ctl->opts, "net", "rx-", (unsigned int)(given >> RX)) < 0 ||
	    bucket_check(ctl->opts, "net", "tx-", (unsigned int)(given >> TX)) < 0)
		return ctl_usage(ctl);
	body = json_object_new_object();
	rx = bucket_json(&keys.rx, (unsigned int)(given >> RX));
	tx = bucket_json(&keys.tx, (unsigned int)(given >> TX));
	if (given >> LINK & 1)
		add_text(body, "link", links[keys.link].name);
	if (rx)
		json_object_object_add(body, "rx_rate_limiter", rx);
	if (tx)
		json_object_object_add(body, "tx_rate_limiter", tx);
	if (!keys.add)
		return ctl_send(ctl, "PATCH",
				ctl_path(path, sizeof(path), "/catnap/nets/", keys.id), body);
	add_text(body, "iface_id", keys.id);
	add_text(body, "host_dev_name", keys.add);
	if (keys.mac)
		add_text(body, "guest_mac", keys.mac);
	return ctl_send(ctl, "PUT", ctl_path(path, sizeof(path), NETS, keys.id), body);
}

const struct ctl_command ctl_net = {
	.name = "net",
	.form = "id=ID,add=TAP,remove=on,link=up|down,rx-bw=SIZE,tx-bw=SIZE,...",
	.keys = fields,
	.summary = "Lists the network interfaces, adds, removes, or changes one.",
	.more = "Without settings: a line for each interface.\n"
		"  add=TAP        another one, on this interface of the host; mac=ADDRESS\n"
		"  remove=on      asks the guest to let go of it, and waits for some seconds\n"
		"  link=up|down   what its guest sees of the cable\n"
		"  rx-bw=SIZE, rx-ops=N, tx-bw=SIZE, tx-ops=N   bytes and packets a second, of\n"
		"                 what the guest receives and sends; 0 takes the limit away\n"
		"  rx-bw-once=SIZE, rx-ops-once=N, tx-bw-once=SIZE, tx-ops-once=N\n"
		"                 so much more at first, once\n",
	.run = run,
};
