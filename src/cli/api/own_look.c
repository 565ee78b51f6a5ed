/* SPDX-License-Identifier: Apache-2.0 */
/* The resources under /catnap that can be looked at, and the metrics. */
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/api/openmetrics.h"
#include "cli/api/resources.h"
#include "cli/json_out.h"
#include "cli/now.h"

static void add_vm(struct json_object *o, struct api *api)
{
	struct catnap_vm_config cfg = {.size = sizeof(cfg)};

	add_text(o, "name", api->vm ? catnap_vm_get_name(api->vm) : "");
	if (!api->vm)
		return;
	catnap_vm_get_config(api->vm, &cfg);
	add_u64(o, "vcpus", catnap_vm_get_vcpu_count(api->vm));
	add_u64(o, "memory_bytes", cfg.memory_size);
	add_text(o, "irqchip", cfg.irqchip == CATNAP_IRQCHIP_KERNEL ? "kernel" : "user");
}

/* Returns the end of the VM, with what is said of it for people. */
static struct json_object *exit_of(struct api *api)
{
	struct catnap_exit e = {.size = sizeof(e)};
	struct json_object *o;
	int state = api->vm ? catnap_vm_get_state(api->vm) : CATNAP_VM_MADE;

	if (state != CATNAP_VM_ENDING && state != CATNAP_VM_ENDED)
		return NULL;
	catnap_vm_wait(api->vm, 0, &e);
	o = own_exit(&e);
	add_text(o, "report", e.report);
	return o;
}

static void get_status(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct json_object *o = json_object_new_object();
	uint64_t now = clock_ns(CLOCK_REALTIME), then = api->own.started_ns;

	add_text(o, "state", own_state(api->vm));
	add_text(o, "id", api->id);
	add_vm(o, api);
	add_u64(o, "pid", (uint64_t)getpid());
	add_text(o, "version", catnap_version());
	add_u64(o, "uptime_ns", then && now > then ? now - then : 0);
	json_object_object_add(o, "exit", exit_of(api));
	reply_json(r, 200, o);
}

static void get_stats(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	reply_json(r, 200, own_stats(api->vm, api->own.ended ? &api->own.exit : NULL));
}

static void get_learned(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	reply_json(r, 200, own_learned(api->vm));
}

static void get_threads(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	reply_json(r, 200, own_threads(api->vm));
}

/* Returns the id by which the API knows device number @number, a disk, an interface or a folder; NULL:
 * none. */
static const char *id_of(const struct fc_model *m, const char *kind, uint32_t number)
{
	for (uint32_t i = 0; strcmp(kind, "disk") == 0 && i < m->n_drives; i++)
		if (m->drives[i].device == number)
			return m->drives[i].id;
	for (uint32_t i = 0; strcmp(kind, "net") == 0 && i < m->n_nets; i++)
		if (m->nets[i].device == number)
			return m->nets[i].id;
	for (uint32_t i = 0; strcmp(kind, "fs") == 0 && i < m->n_fss; i++)
		if (m->fss[i].device == number)
			return m->fss[i].id;
	return NULL;
}

static void add_ids(struct api *api, struct json_object *root)
{
	struct json_object *list = NULL, *kind = NULL, *number = NULL;

	if (!json_object_object_get_ex(root, "devices", &list))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *what, *id;
		uint32_t device;

		json_object_object_get_ex(o, "kind", &kind);
		json_object_object_get_ex(o, "number", &number);
		what = json_object_get_string(kind);
		device = (uint32_t)json_object_get_int(number);
		id = id_of(&api->model, what, device);
		if (id)
			add_text(o, "id", id);
		if (device < OWN_DEVICES && api->own.kept[device])
			json_object_object_add(o, "kept", json_object_new_boolean(true));
		if (strcmp(what, "net") == 0)
			add_text(o, "link",
				 device < OWN_DEVICES && api->own.unplugged[device] ? "down"
										    : "up");
	}
}

static void get_devices(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct json_object *o = own_devices(api->vm);

	add_ids(api, o);
	reply_json(r, 200, o);
}

/* Adds a figure. One that the guest has not said is not there. */
static void add_told(struct json_object *o, const char *name, uint64_t value)
{
	if (value != UINT64_MAX)
		add_u64(o, name, value);
}

static void get_balloon(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct catnap_balloon_stats s = {.size = sizeof(s)};
	struct json_object *o;

	if (catnap_vm_get_balloon_stats(api->vm, &s) < 0) {
		reply_fault(r, 400, "%s", catnap_vm_last_error(api->vm));
		return;
	}
	o = json_object_new_object();
	add_u64(o, "target_bytes", s.target);
	add_u64(o, "actual_bytes", s.actual);
	add_u64(o, "released_bytes", s.released);
	add_u64(o, "reported_bytes", s.reported);
	add_told(o, "total_bytes", s.total);
	add_told(o, "free_bytes", s.free);
	add_told(o, "available_bytes", s.available);
	add_told(o, "caches_bytes", s.caches);
	add_told(o, "swap_in_bytes", s.swap_in);
	add_told(o, "swap_out_bytes", s.swap_out);
	add_told(o, "major_faults", s.major_faults);
	add_told(o, "minor_faults", s.minor_faults);
	reply_json(r, 200, o);
}

static void get_config(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	if (api->own.config)
		reply_json(r, 200, json_object_get(api->own.config));
	else
		reply_fault(r, 400,
			    "This VM has no configuration of catnap run: expected GET /vm/config.");
}

/* Returns whether the client asks for OpenMetrics. Prometheus does; a client that does not say gets
 * the older format, which promtool and people can read as well. */
static bool wants_openmetrics(const char *accept)
{
	static const char type[] = "application/openmetrics-text";

	for (const char *c = accept; c && *c; c++)
		if (strncasecmp(c, type, sizeof(type) - 1) == 0)
			return true;
	return false;
}

static void get_metrics(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct openmetrics m = {.vm = api->vm,
				      .id = api->id,
				      .state = own_state(api->vm),
				      .started_ns = api->own.started_ns,
				      .api = &api->own.metrics,
				      .strict = wants_openmetrics(rq->accept)};
	size_t len = 0;
	char *text = openmetrics_text(&m, &len);

	reply_text(r, 200, m.strict ? OPENMETRICS_TYPE : PROMETHEUS_TYPE, text, len);
}

const struct route own_look_routes[] = {
	{"GET", "/catnap/status", ROUTE_ALWAYS, get_status},
	{"GET", "/catnap/stats", ROUTE_AFTER, get_stats},
	{"GET", "/catnap/learned", ROUTE_AFTER, get_learned},
	{"GET", "/catnap/threads", ROUTE_ALWAYS, get_threads},
	{"GET", "/catnap/devices", ROUTE_AFTER, get_devices},
	{"GET", "/catnap/balloon", ROUTE_AFTER, get_balloon},
	{"GET", "/catnap/config", ROUTE_ALWAYS, get_config},
	{"GET", "/metrics/openmetrics", ROUTE_ALWAYS, get_metrics},
	{NULL},
};
