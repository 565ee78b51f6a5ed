/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resource /network-interfaces/{iface_id}. */
#include <net/if.h>
#include <string.h>
#include <strings.h>

#include "cli/api/fc.h"
#include "cli/api/fc_device.h"

struct net_body {
	uint64_t given;
	const char *id, *tap, *mac;
	uint64_t mtu;
	struct limiter_body rx, tx;
};

enum { ID, TAP, MAC, MTU, RX, TX };

/* clang-format off */
#define NET(member) .offset = offsetof(struct net_body, member)

static const struct body_field put_members[] = {
	[ID] = {.name = "iface_id", .type = BODY_STRING, NET(id), .required = true},
	[TAP] = {.name = "host_dev_name", .type = BODY_STRING, NET(tap), .required = true},
	[MAC] = {.name = "guest_mac", .type = BODY_STRING, NET(mac), .nullable = true},
	[MTU] = {.name = "mtu", .type = BODY_U64, NET(mtu), .min = CATNAP_MIN_MTU,
		 .max = UINT16_MAX, .nullable = true, .called = "u16"},
	[RX] = FC_LIMITER("rx_rate_limiter", offsetof(struct net_body, rx)),
	[TX] = FC_LIMITER("tx_rate_limiter", offsetof(struct net_body, tx)),
	{NULL},
};

enum { PATCH_ID, PATCH_RX, PATCH_TX };

static const struct body_field patch_members[] = {
	[PATCH_ID] = {.name = "iface_id", .type = BODY_STRING, NET(id), .required = true},
	[PATCH_RX] = FC_LIMITER("rx_rate_limiter", offsetof(struct net_body, rx)),
	[PATCH_TX] = FC_LIMITER("tx_rate_limiter", offsetof(struct net_body, tx)),
	{NULL},
};
/* clang-format on */

/* ---- before the start ---- */

/* Returns whether it is six bytes in hexadecimal, with colons. */
static bool is_mac(const char *text)
{
	for (int i = 0; i < 17; i++) {
		if (i % 3 == 2 ? text[i] != ':'
			       : !text[i] || !strchr("0123456789abcdefABCDEF", text[i]))
			return false;
	}
	return !text[17];
}

static bool check(const struct api *api, struct reply *r, const struct net_body *b)
{
	const struct fc_model *m = &api->model;

	if (b->mac && !is_mac(b->mac)) {
		reply_fault(
			r, 400,
			"An error occurred when deserializing the json body of a request: The "
			"provided MAC address is invalid. Member guest_mac: \"%.32s\": expected "
			"one such as 02:00:00:00:00:01.",
			b->mac);
		return false;
	}
	for (uint32_t i = 0; i < m->n_nets; i++) {
		const struct fc_net *n = &m->nets[i];

		if (strcmp(n->id, b->id) == 0)
			continue;
		if (b->mac && n->mac && strcasecmp(n->mac, b->mac) == 0) {
			reply_fault(r, 400,
				    "Network config error: The MAC address is already in use: %s",
				    b->mac);
			return false;
		}
		if (strcmp(n->tap, b->tap) == 0) {
			reply_fault(
				r, 400,
				"Network config error: Could not create the network device: Open "
				"tap device failed: host_dev_name: %s is that of %s already.",
				b->tap, n->id);
			return false;
		}
	}
	if (if_nametoindex(b->tap) == 0) {
		reply_fault(
			r, 400,
			"Network config error: Could not create the network device: Open tap "
			"device failed: host_dev_name: there is no interface %s: expected a TAP "
			"that exists.",
			b->tap);
		return false;
	}
	return true;
}

static struct fc_net *place(struct fc_model *m, struct reply *r, const char *id)
{
	struct fc_net *n = fc_net_find(m, id);

	if (n)
		return n;
	if (m->n_nets == FC_MAX_NETS) {
		reply_fault(r, 400,
			    "Network config error: there are %d interfaces: expected no more.",
			    FC_MAX_NETS);
		return NULL;
	}
	return &m->nets[m->n_nets];
}

/* Adds an interface to a VM that runs. Returns 0, or -EINVAL with @r answered. */
static int plug(struct api *api, struct reply *r, struct fc_net *n)
{
	struct catnap_net net;

	fc_net_library(n, &net);
	n->net = fc_next_net(&api->model);
	n->device = fc_next_device(api->vm);
	if (catnap_vm_add_net(api->vm, &net) == 0)
		return 0;
	return reply_fault(r, 400, "Network config error: %s", catnap_vm_last_error(api->vm));
}

/* Returns whether the VM can be given such an interface now; if not, it is answered. */
static bool may_come(struct api *api, struct reply *r, const struct net_body *b)
{
	if (!api->vm)
		return true;
	if (!fc_hotplug_on(api, r))
		return false;
	if (!fc_net_find(&api->model, b->id))
		return true;
	reply_fault(r, 400,
		    "Network config error: iface_id: there is one already: expected another, "
		    "or PATCH.");
	return false;
}

static void put_net(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct net_body *b = body;
	struct fc_model *m = &api->model;
	struct fc_net n = {.mtu = (uint32_t)b->mtu};
	struct fc_net *at;

	if (!fc_same_id(r, rq, b->id) || !may_come(api, r, b) || !check(api, r, b))
		return;
	at = place(m, r, b->id);
	if (!at)
		return;
	fc_limiter_take(&n.rx, &b->rx, body_given(b->given, RX));
	fc_limiter_take(&n.tx, &b->tx, body_given(b->given, TX));
	if (!fc_copy(r, &n.id, b->id) || !fc_copy(r, &n.tap, b->tap) ||
	    !fc_copy(r, &n.mac, b->mac)) {
		fc_net_free(&n);
		return;
	}
	if (api->vm && plug(api, r, &n) < 0) {
		fc_net_free(&n);
		return;
	}
	m->n_nets += at == &m->nets[m->n_nets];
	fc_net_free(at);
	*at = n;
	reply_empty(r);
}

/* ---- while it runs ---- */

#define REMOVE "Network config error: Error during net device removal: "
#define UPDATE "Network config error: Error during net device update: "

static void patch_net(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct net_body *b = body;
	struct catnap_rate_limit rx, tx;
	struct fc_limiter new_rx, new_tx;
	struct fc_net *n;

	if (!fc_same_id(r, rq, b->id))
		return;
	n = fc_net_find(&api->model, b->id);
	if (!n) {
		reply_fault(r, 400, UPDATE "Device with ID %s was not found.", b->id);
		return;
	}
	new_rx = n->rx;
	new_tx = n->tx;
	fc_limiter_update(&new_rx, &b->rx, body_given(b->given, PATCH_RX));
	fc_limiter_update(&new_tx, &b->tx, body_given(b->given, PATCH_TX));
	fc_limiter_library(&new_rx, &rx);
	fc_limiter_library(&new_tx, &tx);
	if (catnap_vm_set_net_limit(api->vm, n->net, &rx, &tx) < 0) {
		reply_fault(r, 400, UPDATE "%s", catnap_vm_last_error(api->vm));
		return;
	}
	n->rx = new_rx;
	n->tx = new_tx;
	reply_empty(r);
}

static void delete_net(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct fc_net *n = fc_net_find(&api->model, rq->id);

	if (!fc_hotplug_on(api, r))
		return;
	if (!n)
		reply_fault(r, 400, REMOVE "Device with ID %s was not found.", rq->id);
	else if (catnap_vm_remove_net(api->vm, n->net) < 0)
		reply_fault(r, 400, REMOVE "%s", catnap_vm_last_error(api->vm));
	else
		fc_asked(api, r, n->device);
}

const struct route fc_net_routes[] = {
	{"DELETE", "/network-interfaces/{}", ROUTE_AFTER, delete_net},
	{"PUT", "/network-interfaces/{}", ROUTE_ALWAYS, put_net, put_members,
	 sizeof(struct net_body)},
	{"PATCH", "/network-interfaces/{}", ROUTE_AFTER, patch_net, patch_members,
	 sizeof(struct net_body)},
	{NULL},
};
