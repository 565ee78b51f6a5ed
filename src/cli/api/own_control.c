/* SPDX-License-Identifier: Apache-2.0 */
/* The resources under /catnap that change a VM, beside halt polling: its power button, its cables,
 * input to its serial port. */
#include <stdlib.h>
#include <string.h>

#include "cli/api/limiter.h"
#include "cli/api/resources.h"
#include "cli/json_out.h"

static void post_power_button(struct api *api, struct reply *r, const struct api_request *rq,
			      void *body)
{
	if (catnap_vm_power_button(api->vm) < 0)
		reply_fault(r, 400, "%s", catnap_vm_last_error(api->vm));
	else
		reply_empty(r);
}

/* ---- nets ---- */

struct net_body {
	uint64_t given;
	int link;
	struct limiter_body rx, tx;
};

enum { NET_LINK, NET_RX, NET_TX };

static const struct body_word links[] = {{"up", 1}, {"down", 0}, {NULL, 0}};

static const struct body_field net_members[] = {
	[NET_LINK] = {.name = "link",
		      .type = BODY_WORD,
		      .words = links,
		      .offset = offsetof(struct net_body, link)},
	[NET_RX] = FC_LIMITER("rx_rate_limiter", offsetof(struct net_body, rx)),
	[NET_TX] = FC_LIMITER("tx_rate_limiter", offsetof(struct net_body, tx)),
	{.name = NULL},
};

/* Changes all of it, or nothing: the part that may fail comes first. Returns 0, or -errno with what
 * the library said. */
static int change_net(struct catnap_vm *vm, struct fc_net *net, const struct net_body *b)
{
	struct fc_limiter rx = net->rx, tx = net->tx;
	struct catnap_rate_limit new_rx, new_tx;
	int ret = 0;

	fc_limiter_update(&rx, &b->rx, body_given(b->given, NET_RX));
	fc_limiter_update(&tx, &b->tx, body_given(b->given, NET_TX));
	fc_limiter_library(&rx, &new_rx);
	fc_limiter_library(&tx, &new_tx);
	if (body_given(b->given, NET_RX) || body_given(b->given, NET_TX))
		ret = catnap_vm_set_net_limit(vm, net->net, &new_rx, &new_tx);
	if (ret < 0)
		return ret;
	net->rx = rx;
	net->tx = tx;
	return body_given(b->given, NET_LINK) ? catnap_vm_set_link(vm, net->device, b->link) : 0;
}

static void patch_net(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct net_body *b = body;
	struct fc_net *net = fc_net_find(&api->model, rq->id);

	if (!net)
		reply_fault(r, 400, "There is no network interface \"%s\".", rq->id);
	else if (!b->given)
		reply_fault(r, 400, "Nothing is to be changed: expected one member at least.");
	else if (change_net(api->vm, net, b) < 0)
		reply_fault(r, 400, "%s", catnap_vm_last_error(api->vm));
	else
		reply_empty(r);
}

/* ---- the serial port ---- */

struct input_body {
	uint64_t given;
	const char *data, *base64;
};

enum { INPUT_DATA, INPUT_BASE64 };

static const struct body_field input_members[] = {
	{.name = "data", .type = BODY_STRING, .offset = offsetof(struct input_body, data)},
	{.name = "data_base64", .type = BODY_STRING, .offset = offsetof(struct input_body, base64)},
	{.name = NULL},
};

/* Returns the value of a letter of base64 (RFC 4648, section 4); -1: not of the alphabet. */
static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes base64 into @to, which has room for 3 bytes for each 4 of @text. Returns false if it is
 * none. */
static bool decode(const char *text, uint8_t *to, size_t *len)
{
	size_t n = strlen(text), data = strcspn(text, "=");
	uint32_t bits = 0;

	*len = 0;
	if (n % 4 || n - data > 2 || strspn(text + data, "=") != n - data)
		return false;
	for (size_t i = 0; i < data; i++) {
		int value = base64_value(text[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4)
			to[(*len)++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	/* The bits that are left over are 0, or another text would say the same. */
	return data % 4 == 0 || !(bits & (data % 4 == 2 ? 0xfu : 0x3u));
}

static void put_input(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct input_body *b = body;
	struct json_object *o;
	uint8_t *bytes = NULL;
	size_t len;

	if (body_given(b->given, INPUT_DATA) == body_given(b->given, INPUT_BASE64)) {
		reply_fault(r, 400, "Expected one of the members data and data_base64.");
		return;
	}
	if (b->base64) {
		bytes = reply_alloc(r, strlen(b->base64) + 1);
		if (!bytes)
			return;
		if (!decode(b->base64, bytes, &len)) {
			reply_fault(r, 400,
				    "data_base64: expected base64 with padding (RFC 4648).");
			return;
		}
	} else {
		len = strlen(b->data);
	}
	len = catnap_vm_serial_input(api->vm, bytes ? (const void *)bytes : b->data, len);
	o = json_object_new_object();
	add_u64(o, "taken_bytes", len);
	reply_json(r, 200, o);
}

const struct route own_control_routes[] = {
	{"POST", "/catnap/power-button", ROUTE_AFTER, post_power_button},
	{"PATCH", "/catnap/nets/{}", ROUTE_AFTER, patch_net, .body = net_members,
	 .body_size = sizeof(struct net_body)},
	{"PUT", "/catnap/serial-input", ROUTE_AFTER, put_input, .body = input_members,
	 .body_size = sizeof(struct input_body)},
	{NULL},
};
