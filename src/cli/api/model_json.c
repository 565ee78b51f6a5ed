/* SPDX-License-Identifier: Apache-2.0 */
/* The model as Firecracker's answers and configuration files have it. */
#include "cli/api/fc_nodes.h"

static void add_text_or_null(struct json_object *o, const char *name, const char *text)
{
	json_object_object_add(o, name, text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *o, const char *name, uint64_t n)
{
	json_object_object_add(o, name, json_object_new_uint64(n));
}

static void add_bool(struct json_object *o, const char *name, bool on)
{
	json_object_object_add(o, name, json_object_new_boolean(on));
}

struct json_object *fc_machine_json(const struct fc_model *m)
{
	static const char *const pages[] = {"None", "Transparent", "2M"};
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_number(o, "vcpu_count", m->machine.vcpus);
	add_number(o, "mem_size_mib", m->machine.mem_mib);
	add_bool(o, "smt", m->machine.smt);
	add_bool(o, "track_dirty_pages", m->machine.track_dirty_pages);
	add_text_or_null(o, "huge_pages", pages[m->machine.huge]);
	if (m->machine.n_nodes)
		json_object_object_add(o, "numa_nodes", fc_nodes_json(&m->machine));
	return o;
}

struct json_object *fc_balloon_json(const struct fc_model *m)
{
	const struct fc_balloon *b = &m->balloon;
	struct json_object *o = b->on ? json_object_new_object() : NULL;

	if (!o)
		return NULL;
	add_number(o, "amount_mib", b->amount_mib);
	add_bool(o, "deflate_on_oom", b->deflate_on_oom);
	add_number(o, "stats_polling_interval_s", b->stats_interval_s);
	add_bool(o, "free_page_hinting", b->hinting);
	add_bool(o, "free_page_reporting", b->reporting);
	return o;
}

static struct json_object *boot_json(const struct fc_boot *b)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	/* A place to put it is always there, as in Firecracker. */
	add_text_or_null(o, "kernel_image_path", b->on ? b->kernel : "");
	add_text_or_null(o, "initrd_path", b->initrd);
	if (b->args)
		add_text_or_null(o, "boot_args", b->args);
	return o;
}

static struct json_object *drive_json(const struct fc_drive *d)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_text_or_null(o, "drive_id", d->id);
	add_text_or_null(o, "partuuid", d->partuuid);
	add_bool(o, "is_root_device", d->root);
	add_text_or_null(o, "cache_type", d->cache == FC_CACHE_WRITEBACK ? "Writeback" : "Unsafe");
	/* Of a back end's disk they are the back end's. */
	if (d->socket)
		add_text_or_null(o, "is_read_only", NULL);
	else
		add_bool(o, "is_read_only", d->read_only);
	add_text_or_null(o, "path_on_host", d->path);
	json_object_object_add(o, "rate_limiter", fc_limiter_json(&d->limiter));
	add_text_or_null(o, "io_engine",
			 d->socket			? NULL
			 : d->engine == FC_ENGINE_ASYNC ? "Async"
							: "Sync");
	add_text_or_null(o, "socket", d->socket);
	return o;
}

static struct json_object *net_json(const struct fc_net *n)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_text_or_null(o, "iface_id", n->id);
	add_text_or_null(o, "host_dev_name", n->tap);
	add_text_or_null(o, "guest_mac", n->mac);
	json_object_object_add(o, "mtu", n->mtu ? json_object_new_uint64(n->mtu) : NULL);
	json_object_object_add(o, "rx_rate_limiter", fc_limiter_json(&n->rx));
	json_object_object_add(o, "tx_rate_limiter", fc_limiter_json(&n->tx));
	return o;
}

static struct json_object *pmem_json(const struct fc_pmem *p)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_text_or_null(o, "id", p->id);
	add_text_or_null(o, "path_on_host", p->path);
	add_bool(o, "root_device", p->root);
	add_bool(o, "read_only", p->read_only);
	json_object_object_add(o, "rate_limiter", fc_limiter_json(&p->limiter));
	return o;
}

static struct json_object *hotplug_json(const struct fc_hotplug *h)
{
	struct json_object *o = h->on ? json_object_new_object() : NULL;

	if (!o)
		return NULL;
	add_number(o, "total_size_mib", h->total_mib);
	add_number(o, "slot_size_mib", h->slot_mib);
	add_number(o, "block_size_mib", h->block_mib);
	return o;
}

static struct json_object *vsock_json(const struct fc_vsock *v)
{
	struct json_object *o = v->on ? json_object_new_object() : NULL;

	if (!o)
		return NULL;
	add_number(o, "guest_cid", v->cid);
	add_text_or_null(o, "uds_path", v->path);
	if (v->id)
		add_text_or_null(o, "vsock_id", v->id);
	return o;
}

static struct json_object *entropy_json(const struct fc_entropy *e)
{
	struct json_object *o = e->on ? json_object_new_object() : NULL;

	if (o)
		json_object_object_add(o, "rate_limiter", fc_limiter_json(&e->limiter));
	return o;
}

static void add_devices(struct json_object *o, const struct fc_model *m)
{
	struct json_object *drives = json_object_new_array(), *nets = json_object_new_array();
	struct json_object *pmems = json_object_new_array();

	for (uint32_t i = 0; drives && i < m->n_drives; i++)
		json_object_array_add(drives, drive_json(&m->drives[i]));
	for (uint32_t i = 0; nets && i < m->n_nets; i++)
		json_object_array_add(nets, net_json(&m->nets[i]));
	for (uint32_t i = 0; pmems && i < m->n_pmems; i++)
		json_object_array_add(pmems, pmem_json(&m->pmems[i]));
	json_object_object_add(o, "pmem", pmems);
	json_object_object_add(o, "drives", drives);
	json_object_object_add(o, "network-interfaces", nets);
}

struct json_object *fc_config_json(const struct fc_model *m)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_object_object_add(o, "balloon", fc_balloon_json(m));
	add_devices(o, m);
	json_object_object_add(o, "boot-source", boot_json(&m->boot));
	/* As in Firecracker, which does not tell of a template. */
	json_object_object_add(o, "cpu-config", NULL);
	/* Where they lead is the process', not the VM's: as in Firecracker. */
	json_object_object_add(o, "logger", NULL);
	json_object_object_add(o, "metrics", NULL);
	json_object_object_add(o, "machine-config", fc_machine_json(m));
	json_object_object_add(o, "memory-hotplug", hotplug_json(&m->hotplug));
	json_object_object_add(o, "mmds-config", NULL);
	json_object_object_add(o, "vsock", vsock_json(&m->vsock));
	json_object_object_add(o, "entropy", entropy_json(&m->entropy));
	return o;
}
