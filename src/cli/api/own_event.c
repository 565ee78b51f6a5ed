/* SPDX-License-Identifier: Apache-2.0 */
/* An event of a VM as JSON: a line of GET /catnap/events. */
#include <string.h>

#include "cli/api/own.h"
#include "cli/json_out.h"

/* The compiler tells when one is missing. */
static const char *name_of(uint32_t type)
{
	switch ((enum catnap_event_type)type) {
	case CATNAP_EVENT_STARTED:
		return "started";
	case CATNAP_EVENT_PAUSED:
		return "paused";
	case CATNAP_EVENT_RESUMED:
		return "resumed";
	case CATNAP_EVENT_LINK:
		return "link";
	case CATNAP_EVENT_RESET:
		return "reset";
	case CATNAP_EVENT_PANIC:
		return "panic";
	case CATNAP_EVENT_DEVICE_NEEDS_RESET:
		return "device_needs_reset";
	case CATNAP_EVENT_GUEST_OUT_OF_MEMORY:
		return "guest_out_of_memory";
	case CATNAP_EVENT_ENDED:
		return "ended";
	case CATNAP_EVENT_LOST:
		return "lost";
	case CATNAP_EVENT_RESTARTED:
		return "restarted";
	case CATNAP_EVENT_DEVICE_REMOVED:
		return "device_removed";
	case CATNAP_EVENT_DEVICE_KEPT:
		return "device_kept";
	}
	return "other";
}

/* Returns a text in JSON. A guest or a file's name may have chosen parts of it, and JSON is UTF-8:
 * what is not ASCII becomes a question mark. */
static struct json_object *text_of(const char *text)
{
	char ascii[sizeof(((struct catnap_event *)NULL)->text)];
	size_t n = 0;

	for (; text[n] && n + 1 < sizeof(ascii); n++)
		ascii[n] = (unsigned char)text[n] < 0x80 ? text[n] : '?';
	ascii[n] = '\0';
	return json_object_new_string(ascii);
}

static void add_value(struct json_object *o, const struct catnap_event *e)
{
	switch (e->type) {
	case CATNAP_EVENT_LINK:
		json_object_object_add(o, "up", json_object_new_boolean(e->value != 0));
		break;
	case CATNAP_EVENT_PANIC:
		json_object_object_add(o, "dead", json_object_new_boolean(e->value == 0));
		break;
	case CATNAP_EVENT_ENDED:
		json_object_object_add(o, "reason",
				       json_object_new_string(own_exit_reason(e->value)));
		json_object_object_add(o, "code", json_object_new_int(e->code));
		break;
	case CATNAP_EVENT_LOST:
		add_u64(o, "events", e->value);
		break;
	default:
		break;
	}
}

struct json_object *own_event(const struct catnap_event *e)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "number", e->number);
	add_u64(o, "time_ns", e->time_ns);
	json_object_object_add(o, "event", json_object_new_string(name_of(e->type)));
	if (e->device != UINT32_MAX)
		add_u64(o, "device", e->device);
	if (e->vcpu != UINT32_MAX)
		add_u64(o, "vcpu", e->vcpu);
	add_value(o, e);
	if (e->text[0])
		json_object_object_add(o, "text", text_of(e->text));
	return o;
}
