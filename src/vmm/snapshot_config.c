/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a state file that have a VM's configuration, and how its devices were added. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/snapshot.h"
#include "vmm/vm.h"

#define CONFIG_VERSION	1
#define DEVICES_VERSION 1
#define NODES_VERSION	1

#define TEXT_MAX  (1u << 16) /* of a command line */
#define PLACE_MAX sizeof(((struct catnap_snapshot_device *)0)->place)

/* -- the VM ----------------------------------------------------------------------------------- */

void config_save(struct catnap_vm *vm, uint64_t taken_ns, struct state_writer *w)
{
	const struct catnap_vm_config *c = &vm->cfg;

	state_begin(w, STATE_CONFIG, 0, CONFIG_VERSION);
	state_put_text(w, catnap_version());
	state_put_text(w, vm->name);
	state_put_u64(w, taken_ns);
	state_put_u32(w, c->vcpus);
	state_put_u64(w, c->memory_size);
	state_put_u32(w, c->irqchip);
	state_put_u32(w, c->hw);
	state_put_u32(w, c->transport);
	state_put_u32(w, c->rng);
	state_put_u32(w, c->realtime);
	state_put_u32(w, c->guest_hlt);
	state_put_u32(w, (uint32_t)c->debug_exit_port);
	state_put_u32(w, vm->kvm.tsc_khz);
	state_put_text(w, vm->cmdline);
	state_put_text(w, vm->linux_given);
	state_end(w);
}

static char *get_long_text(struct state_in *in)
{
	char *text = calloc(1, TEXT_MAX);

	if (text)
		state_get_text(in, text, TEXT_MAX);
	return text;
}

/* Reads the configuration. A value out of range would be refused when the VM is made; this names it
 * as the file's. */
int config_load(struct snapshot_config *c, struct state_in *in, struct error *err)
{
	state_get_text(in, c->version, sizeof(c->version));
	state_get_text(in, c->name, sizeof(c->name));
	c->taken_ns = state_get_u64(in);
	c->vcpus = state_get_u32(in);
	state_check(in, c->vcpus >= 1 && c->vcpus <= CATNAP_MAX_VCPUS, "the number of vCPUs");
	c->memory_size = state_get_u64(in);
	state_check(in,
		    c->memory_size && c->memory_size % MEMORY_PAGE == 0 &&
			    c->memory_size <= UINT64_C(1) << 46,
		    "the size of memory");
	c->irqchip = state_get_u32(in);
	state_check(in, c->irqchip <= CATNAP_IRQCHIP_KERNEL, "irqchip");
	c->hw = state_get_u32(in);
	state_check(in, c->hw <= CATNAP_HW_MPTABLE, "hw");
	c->transport = state_get_u32(in);
	state_check(in, c->transport <= CATNAP_TRANSPORT_MMIO, "transport");
	c->rng = state_get_u32(in);
	state_check(in, c->rng <= 1, "rng");
	c->realtime = state_get_u32(in);
	c->guest_hlt = state_get_u32(in);
	c->debug_exit_port = (int32_t)state_get_u32(in);
	state_check(in, c->debug_exit_port >= -1 && c->debug_exit_port <= 0xffff,
		    "debug_exit_port");
	c->tsc_khz = state_get_u32(in);
	c->cmdline = get_long_text(in);
	c->linux_cmdline = get_long_text(in);
	if (!c->cmdline || !c->linux_cmdline)
		return error_fail(err, -ENOMEM, "out of memory");
	return state_finish(in, err);
}

void nodes_save(const struct catnap_vm *vm, struct state_writer *w)
{
	const struct numa *n = &vm->memory.numa;

	if (!n->count)
		return;
	state_begin(w, STATE_NODES, 0, NODES_VERSION);
	state_put_u32(w, n->count);
	for (uint32_t i = 0; i < n->count; i++) {
		state_put_u64(w, n->nodes[i].vcpus);
		state_put_u64(w, n->nodes[i].memory_size);
		for (uint32_t k = 0; k < n->count; k++)
			state_put_u8(w, numa_distance(n, i, k));
	}
	state_end(w);
}

int nodes_load(struct snapshot_config *c, struct state_in *in, struct error *err)
{
	const uint32_t n = state_get_u32(in);
	struct catnap_vm_config whole = {.vcpus = c->vcpus,
					 .memory_size = c->memory_size,
					 .hw = c->hw,
					 .nodes = c->nodes,
					 .node_count = n};
	struct error why = {.text = ""};

	if (!state_check(in, n && n <= CATNAP_MAX_NODES, "the number of nodes"))
		return state_finish(in, err);
	for (uint32_t i = 0; i < n; i++) {
		c->nodes[i].vcpus = state_get_u64(in);
		c->nodes[i].memory_size = state_get_u64(in);
		state_get_bytes(in, c->nodes[i].distances, n);
	}
	if (state_good(in))
		state_check(in, numa_check(&whole, &why) == 0, "what is in which node");
	c->node_count = n;
	return state_finish(in, err);
}

/* -- its devices ------------------------------------------------------------------------------ */

static void put_bucket(struct state_writer *w, const struct catnap_bucket *b)
{
	state_put_u64(w, b->refill_ns);
	state_put_u64(w, b->size);
	state_put_u64(w, b->one_time_burst);
}

static void put_limit(struct state_writer *w, const struct catnap_rate_limit *l)
{
	put_bucket(w, &l->bw);
	put_bucket(w, &l->ops);
}

static void get_bucket(struct state_in *in, struct catnap_bucket *b)
{
	b->refill_ns = state_get_u64(in);
	state_check(in, b->refill_ns <= CATNAP_MAX_REFILL_NS, "a rate limit");
	b->size = state_get_u64(in);
	b->one_time_burst = state_get_u64(in);
}

static void get_limit(struct state_in *in, struct catnap_rate_limit *l)
{
	get_bucket(in, &l->bw);
	get_bucket(in, &l->ops);
}

static void put_device(struct state_writer *w, uint16_t type, const struct vm_made *m)
{
	state_put_u16(w, type);
	state_put_text(w, m->place);
	switch (type) {
	case VIRTIO_ID_BLOCK:
		state_put_text(w, m->id);
		state_put_u32(w, m->disk.queues);
		state_put_bool(w, m->disk.readonly);
		state_put_bool(w, m->disk.direct);
		state_put_bool(w, m->disk.no_lock);
		state_put_u32(w, m->disk.format);
		state_put_u32(w, m->disk.block_size);
		put_limit(w, &m->disk.limit);
		break;
	case VIRTIO_ID_NET:
		state_put_u32(w, m->net.queues);
		state_put_bytes(w, m->net.mac, sizeof(m->net.mac));
		state_put_u16(w, m->net.mtu);
		put_limit(w, &m->net.rx_limit);
		put_limit(w, &m->net.tx_limit);
		break;
	case VIRTIO_ID_VSOCK:
		state_put_u32(w, m->vsock.cid);
		break;
	case VIRTIO_ID_CONSOLE:
		state_put_u16(w, m->console.cols);
		state_put_u16(w, m->console.rows);
		break;
	case VIRTIO_ID_BALLOON:
		state_put_u64(w, m->balloon.target);
		state_put_bool(w, m->balloon.deflate_on_oom);
		break;
	case VIRTIO_ID_PMEM:
		state_put_bool(w, m->pmem.readonly);
		state_put_bool(w, m->pmem.no_lock);
		state_put_u32(w, m->pmem.format);
		put_limit(w, &m->pmem.limit);
		break;
	default: /* entropy */
		put_limit(w, &m->rng);
	}
}

void devices_save(struct catnap_vm *vm, struct state_writer *w)
{
	state_begin(w, STATE_DEVICES, 0, DEVICES_VERSION);
	pthread_mutex_lock(&vm->lock);
	state_put_u32(w, vm->virtio_count);
	for (unsigned int i = 0; i < vm->virtio_count; i++)
		put_device(w, vm->virtio[i]->dev->id, &vm->virtio[i]->made);
	pthread_mutex_unlock(&vm->lock);
	state_end(w);
}

static void get_device(struct state_in *in, uint16_t type, struct vm_made *m)
{
	switch (type) {
	case VIRTIO_ID_BLOCK:
		catnap_disk_init(&m->disk);
		state_get_text(in, m->id, sizeof(m->id));
		m->disk.queues = state_get_u32(in);
		m->disk.readonly = state_get_bool(in);
		m->disk.direct = state_get_bool(in);
		m->disk.no_lock = state_get_bool(in);
		m->disk.format = state_get_u32(in);
		m->disk.block_size = state_get_u32(in);
		get_limit(in, &m->disk.limit);
		break;
	case VIRTIO_ID_NET:
		catnap_net_init(&m->net);
		m->net.queues = state_get_u32(in);
		state_get_bytes(in, m->net.mac, sizeof(m->net.mac));
		m->net.mtu = state_get_u16(in);
		get_limit(in, &m->net.rx_limit);
		get_limit(in, &m->net.tx_limit);
		break;
	case VIRTIO_ID_VSOCK:
		catnap_vsock_init(&m->vsock);
		m->vsock.cid = state_get_u32(in);
		break;
	case VIRTIO_ID_CONSOLE:
		catnap_console_init(&m->console);
		m->console.cols = state_get_u16(in);
		m->console.rows = state_get_u16(in);
		break;
	case VIRTIO_ID_BALLOON:
		catnap_balloon_init(&m->balloon);
		m->balloon.target = state_get_u64(in);
		m->balloon.deflate_on_oom = state_get_bool(in);
		break;
	case VIRTIO_ID_PMEM:
		catnap_pmem_init(&m->pmem);
		m->pmem.readonly = state_get_bool(in);
		m->pmem.no_lock = state_get_bool(in);
		m->pmem.format = state_get_u32(in);
		get_limit(in, &m->pmem.limit);
		break;
	case VIRTIO_ID_RNG:
		get_limit(in, &m->rng);
		break;
	default:
		state_check(in, false, "the type of a device");
	}
}

/* The room for what a device was made with, and for its place. */
struct snapshot_room {
	struct vm_made made;
	char place[PLACE_MAX];
};

int devices_load(struct catnap_snapshot *s, struct state_in *in, struct error *err)
{
	uint32_t n = state_get_u32(in);

	if (!state_check(in, n <= VM_VIRTIO_MAX, "the number of devices"))
		return state_finish(in, err);
	s->devices = calloc(VM_VIRTIO_MAX, sizeof(*s->devices));
	s->rooms = calloc(VM_VIRTIO_MAX, sizeof(*s->rooms));
	if (!s->devices || !s->rooms)
		return error_fail(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < n && state_good(in); i++) {
		struct snapshot_device *d = &s->devices[i];

		d->made = &s->rooms[i].made;
		d->made->place = s->rooms[i].place;
		s->device_count = i + 1;
		d->type = state_get_u16(in);
		state_get_text(in, d->made->place, PLACE_MAX);
		get_device(in, d->type, d->made);
		/* It is made with the VM. */
		state_check(in, (d->type == VIRTIO_ID_RNG) == (i == 0 && s->config.rng),
			    "the order of the devices");
	}
	state_check(in, n || !s->config.rng, "the number of devices");
	return state_finish(in, err);
}

void devices_free(struct catnap_snapshot *s)
{
	free(s->devices);
	free(s->rooms);
	s->devices = NULL;
	s->rooms = NULL;
	s->device_count = 0;
}
