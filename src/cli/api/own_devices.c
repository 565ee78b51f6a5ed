/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio devices as JSON: GET /catnap/devices, and a part of the statistics. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "cli/api/own.h"
#include "cli/json_out.h"

const char *own_device_kind(uint32_t type)
{
	switch (type) {
	case VIRTIO_ID_NET:
		return "net";
	case VIRTIO_ID_BLOCK:
		return "disk";
	case VIRTIO_ID_CONSOLE:
		return "console";
	case VIRTIO_ID_RNG:
		return "entropy";
	case VIRTIO_ID_BALLOON:
		return "balloon";
	case VIRTIO_ID_VSOCK:
		return "vsock";
	case VIRTIO_ID_MEM:
		return "memory";
	case VIRTIO_ID_PMEM:
		return "pmem";
	case VIRTIO_ID_FS:
		return "fs";
	default:
		return "other";
	}
}

static struct json_object *net_queue(const struct catnap_net_queue_stats *q)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "rx_packets", q->rx_packets);
	add_u64(o, "rx_bytes", q->rx_bytes);
	add_u64(o, "rx_dropped", q->rx_dropped);
	add_u64(o, "rx_unwanted", q->rx_unwanted);
	add_u64(o, "rx_starved", q->rx_starved);
	add_u64(o, "tx_packets", q->tx_packets);
	add_u64(o, "tx_bytes", q->tx_bytes);
	add_u64(o, "tx_dropped", q->tx_dropped);
	add_u64(o, "tx_blocked", q->tx_blocked);
	return o;
}

/* Adds the queues, which network interfaces have. */
static void add_queues(struct json_object *o, const struct catnap_device_stats *s)
{
	struct json_object *list;

	if (!s->net_queues)
		return;
	list = json_object_new_array();
	for (uint32_t i = 0; i < s->net_queues; i++)
		json_object_array_add(list, net_queue(&s->net_queue[i]));
	json_object_object_add(o, "queues", list);
}

struct json_object *own_device(const struct catnap_device_stats *s)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(s->name));
	add_u64(o, "type", s->type);
	add_u64(o, "requests", s->requests);
	add_u64(o, "errors", s->errors);
	add_u64(o, "read_bytes", s->read_bytes);
	add_u64(o, "written_bytes", s->written_bytes);
	add_u64(o, "faults", s->faults);
	add_u64(o, "inflight", s->inflight);
	add_u64(o, "limit_waits", s->limit_waits);
	add_u64(o, "limit_wait_ns", s->limit_wait_ns);
	add_queues(o, s);
	return o;
}

bool own_next_device(struct catnap_vm *vm, uint32_t *i, struct catnap_device_stats *s)
{
	int ret;

	while ((ret = catnap_vm_get_device_stats(vm, *i, s)) == -ENODEV)
		++*i;
	return ret == 0;
}

/* Returns whether a driver of the guest's uses it just now. */
static bool has_driver(const struct catnap_device_stats *s)
{
	return (s->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET |
			     VIRTIO_CONFIG_S_FAILED)) == VIRTIO_CONFIG_S_DRIVER_OK;
}

struct json_object *own_devices(struct catnap_vm *vm)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();
	struct catnap_device_stats s = {.size = sizeof(s),
					.net_queue_size = sizeof(s.net_queue[0])};

	for (uint32_t i = 0; own_next_device(vm, &i, &s); i++) {
		struct json_object *o = own_device(&s);

		add_u64(o, "number", i);
		json_object_object_add(o, "kind", json_object_new_string(own_device_kind(s.type)));
		json_object_object_add(o, "driver", json_object_new_boolean(has_driver(&s)));
		json_object_array_add(list, o);
	}
	json_object_object_add(root, "devices", list);
	return root;
}
