/* SPDX-License-Identifier: Apache-2.0 */
/* Writes what policy adaptive has learned, as JSON: names as in struct catnap_policy_stats. */
#include <catnap/poll.h>

#include "cli/json_out.h"

static struct json_object *class_name(uint32_t class)
{
	static const char *const names[] = {"short", "middle", "long"};

	return json_object_new_string(class < sizeof(names) / sizeof(names[0]) ? names[class] : "");
}

struct json_object *policy_json(const struct catnap_policy_stats *s)
{
	struct json_object *o = json_object_new_object(), *contexts = json_object_new_array();

	add_window(o, s->window_ns);
	add_u64(o, "price_ns", s->price_ns);
	add_u64(o, "cpu_ns", s->cpu_ns);
	add_u64(o, "worth_ns", s->worth_ns);
	add_u64(o, "relearned", s->relearned);
	json_object_object_add(o, "after_guest", json_object_new_boolean(s->after_guest != 0));
	for (uint32_t i = 0; i < s->contexts; i++) {
		const struct catnap_policy_context *c = &s->context[i];
		struct json_object *one = json_object_new_object();

		json_object_object_add(one, "before", class_name(c->before));
		json_object_object_add(one, "last", class_name(c->last));
		add_u64(one, "halts", c->halts);
		add_u64(one, "samples", c->samples);
		add_u64(one, "window_ns", c->window_ns);
		add_u64(one, "p50_ns", c->p50_ns);
		add_u64(one, "p90_ns", c->p90_ns);
		add_u64(one, "cost_ns", c->cost_ns);
		json_object_array_add(contexts, one);
	}
	json_object_object_add(o, "contexts", contexts);
	return o;
}
