/* SPDX-License-Identifier: Apache-2.0 */
/* Firecracker's resources /logger and /metrics: where the process tells of itself. */
#include "cli/api/fc.h"

struct logger_body {
	uint64_t given;
	const char *path, *module;
	int level;
	bool show_level, show_origin;
};

enum { LEVEL, LOG_PATH, SHOW_LEVEL, SHOW_ORIGIN, MODULE };

static const struct body_word levels[] = {
	{"Off", FC_OFF},   {"Error", FC_ERROR}, {"Warning", FC_WARN}, {"Warn", FC_WARN},
	{"Info", FC_INFO}, {"Debug", FC_DEBUG}, {"Trace", FC_TRACE},  {NULL},
};

/* clang-format off */
#define LOGGER(member) .offset = offsetof(struct logger_body, member)

static const struct body_field logger_members[] = {
	[LEVEL] = {.name = "level", .type = BODY_WORD, LOGGER(level), .words = levels,
		   .any_case = true, .nullable = true},
	[LOG_PATH] = {.name = "log_path", .type = BODY_STRING, LOGGER(path), .nullable = true},
	[SHOW_LEVEL] = {.name = "show_level", .type = BODY_BOOL, LOGGER(show_level),
			.nullable = true},
	[SHOW_ORIGIN] = {.name = "show_log_origin", .type = BODY_BOOL, LOGGER(show_origin),
			 .nullable = true},
	[MODULE] = {.name = "module", .type = BODY_STRING, LOGGER(module), .nullable = true},
	{NULL},
};
/* clang-format on */

/* Changes what is given; the rest stays as it is. The texts are the body's: whoever keeps them
 * copies them. */
static void put_logger(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct logger_body *b = body;
	struct fc_logger_change change = {
		.path = b->path,
		.module = b->module,
		.level = body_given(b->given, LEVEL) ? b->level : -1,
		.show_level = body_given(b->given, SHOW_LEVEL) ? b->show_level : -1,
		.show_origin = body_given(b->given, SHOW_ORIGIN) ? b->show_origin : -1,
	};

	if (!api->owner || !api->owner->set_logger)
		reply_fault(r, 400, "Logger error: this process has its log from its options.");
	else if (api->owner->set_logger(api->ctx, r, &change) == 0)
		reply_empty(r);
}

struct metrics_body {
	uint64_t given;
	const char *path;
	bool emit_id;
	struct json_object *properties;
};

enum { METRICS_PATH, EMIT_ID, PROPERTIES };

static const struct body_field metrics_members[] = {
	[METRICS_PATH] = {.name = "metrics_path",
			  .type = BODY_STRING,
			  .offset = offsetof(struct metrics_body, path),
			  .required = true},
	[EMIT_ID] = {.name = "emit_id",
		     .type = BODY_BOOL,
		     .offset = offsetof(struct metrics_body, emit_id)},
	[PROPERTIES] = {.name = "properties",
			.type = BODY_ANY,
			.offset = offsetof(struct metrics_body, properties),
			.nullable = true},
	{NULL},
};

/* Names and strings. */
static bool check_properties(struct reply *r, struct json_object *properties)
{
	if (!properties)
		return true;
	if (json_object_is_type(properties, json_type_object)) {
		json_object_object_foreach(properties, name, value)
		{
			if (json_object_is_type(value, json_type_string))
				continue;
			reply_fault(
				r, 400,
				"An error occurred when deserializing the json body of a request: "
				"invalid type, expected a string. Member properties.%.64s: "
				"expected a string.",
				name);
			return false;
		}
		return true;
	}
	reply_fault(
		r, 400,
		"An error occurred when deserializing the json body of a request: invalid type, "
		"expected a map. Member properties: expected an object of strings.");
	return false;
}

static void put_metrics(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct metrics_body *b = body;
	const struct fc_metrics_setting setting = {
		.path = b->path, .emit_id = b->emit_id, .properties = b->properties};

	if (!check_properties(r, b->properties))
		return;
	if (!api->owner || !api->owner->set_metrics)
		reply_fault(r, 400, "Metrics error: this process has no metrics file.");
	else if (api->owner->set_metrics(api->ctx, r, &setting) == 0)
		reply_empty(r);
}

const struct route fc_telling_routes[] = {
	{"PUT", "/logger", ROUTE_BEFORE, put_logger, logger_members, sizeof(struct logger_body)},
	{"PUT", "/metrics", ROUTE_BEFORE, put_metrics, metrics_members,
	 sizeof(struct metrics_body)},
	{NULL},
};
