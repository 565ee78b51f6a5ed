/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM that goes on from a snapshot: it is made as any other, but with the snapshot's memory in the
 * place of an image; its devices are added as they were, where the caller says elsewhere; and then
 * the state is loaded into all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sized.h"
#include "vmm/snapshot.h"
#include "vmm/snapshot_devices.h"
#include "vmm/vm.h"
#include "vmm/working_set.h"

void catnap_restore_init_sized(struct catnap_restore *how, size_t size)
{
	static const struct catnap_restore defaults = {.memory_mode = CATNAP_MEMORY_MAP,
						       .disk_size = sizeof(struct catnap_disk),
						       .net_size = sizeof(struct catnap_net),
						       .working_set_fd = -1};

	sized_init(how, size, &defaults, sizeof(defaults));
}

void(catnap_restore_init)(struct catnap_restore *how)
{
	catnap_restore_init_sized(how, sizeof(*how));
}

/* -- its devices ------------------------------------------------------------------------------ */

/* Copies element @n of the caller's array, with defaults where its elements are shorter. */
static int element(void *to, size_t own, const void *array, uint32_t n, uint32_t size, size_t least)
{
	return sized_in(to, own, (const uint8_t *)array + (size_t)n * size, least);
}

static int add_disk(struct catnap_vm *vm, const struct vm_made *m, uint32_t n,
		    const struct catnap_restore *how, struct error *err)
{
	struct catnap_disk disk = m->disk, other;

	disk.size = sizeof(disk);
	disk.path = m->place[0] ? m->place : NULL;
	disk.id = m->id[0] ? m->id : NULL;
	if (n < how->disk_count) {
		catnap_disk_init(&other);
		if (element(&other, sizeof(other), how->disks, n, how->disk_size,
			    offsetof(struct catnap_disk, limit)) < 0)
			return error_fail(err, -EINVAL, "disks: element %u: its size is wrong", n);
		if (other.path || other.fd >= 0) {
			disk.path = other.path;
			disk.fd = other.fd;
			disk.direct = other.direct;
			disk.no_lock = other.no_lock;
			disk.format = other.format;
		}
	}
	if (!disk.path && disk.fd < 0)
		return error_fail(
			err, -EINVAL,
			"disk %u: the snapshot knows no path of its image: expected one in "
			"disks",
			n);
	return catnap_vm_add_disk(vm, &disk);
}

static int add_net(struct catnap_vm *vm, const struct vm_made *m, uint32_t n,
		   const struct catnap_restore *how, struct error *err)
{
	static const uint8_t none[6];
	struct catnap_net net = m->net, other;

	net.size = sizeof(net);
	net.tap = m->place[0] ? m->place : NULL;
	if (n < how->net_count) {
		catnap_net_init(&other);
		if (element(&other, sizeof(other), how->nets, n, how->net_size,
			    offsetof(struct catnap_net, rx_limit)) < 0)
			return error_fail(err, -EINVAL, "nets: element %u: its size is wrong", n);
		if (other.tap || other.tap_fds || other.stream || other.stream_fd >= 0) {
			net.tap = other.tap;
			net.tap_fds = other.tap_fds;
			net.stream = other.stream;
			net.stream_fd = other.stream_fd;
		}
		if (memcmp(other.mac, none, sizeof(none)) != 0)
			memcpy(net.mac, other.mac, sizeof(net.mac));
	}
	if (!net.tap && !net.tap_fds && !net.stream && net.stream_fd < 0)
		return error_fail(err, -EINVAL,
				  "net %u: was on a stream, of which the snapshot knows nothing: "
				  "expected where it leads in nets",
				  n);
	return catnap_vm_add_net(vm, &net);
}

static int add_vsock(struct catnap_vm *vm, const struct vm_made *m,
		     const struct catnap_restore *how)
{
	struct catnap_vsock vsock = m->vsock, other;

	vsock.size = sizeof(vsock);
	vsock.path = m->place[0] ? m->place : NULL;
	catnap_vsock_init(&other);
	if (how->vsock &&
	    sized_in(&other, sizeof(other), how->vsock, offsetof(struct catnap_vsock, fd)) == 0) {
		vsock.path = other.path;
		vsock.fd = other.fd;
	}
	return catnap_vm_set_vsock(vm, &vsock);
}

static int add_console(struct catnap_vm *vm, const struct vm_made *m,
		       const struct catnap_restore *how)
{
	struct catnap_console console = m->console, other;

	console.size = sizeof(console);
	catnap_console_init(&other);
	if (how->console && sized_in(&other, sizeof(other), how->console, sizeof(other)) == 0) {
		console.output = other.output;
		console.ctx = other.ctx;
		if (other.cols && other.rows) {
			console.cols = other.cols;
			console.rows = other.rows;
		}
	}
	return catnap_vm_set_console(vm, &console);
}

static int add_pmem(struct catnap_vm *vm, const struct vm_made *m, uint32_t n, struct error *err)
{
	struct catnap_pmem pmem = m->pmem;

	if (!m->place[0])
		return error_fail(err, -EINVAL, "pmem %u: the snapshot knows no path of its file",
				  n);
	pmem.size = sizeof(pmem);
	pmem.path = m->place;
	return catnap_vm_add_pmem(vm, &pmem);
}

static bool is_limited(const struct catnap_rate_limit *l)
{
	return (l->bw.size && l->bw.refill_ns) || (l->ops.size && l->ops.refill_ns);
}

static int add_device(struct catnap_vm *vm, const struct snapshot_device *d, uint32_t n,
		      const struct catnap_restore *how, struct error *err)
{
	struct catnap_balloon balloon;

	switch (d->type) {
	case VIRTIO_ID_BLOCK:
		return add_disk(vm, d->made, n, how, err);
	case VIRTIO_ID_NET:
		return add_net(vm, d->made, n, how, err);
	case VIRTIO_ID_VSOCK:
		return add_vsock(vm, d->made, how);
	case VIRTIO_ID_CONSOLE:
		return add_console(vm, d->made, how);
	case VIRTIO_ID_BALLOON:
		balloon = d->made->balloon;
		balloon.size = sizeof(balloon);
		return catnap_vm_set_balloon(vm, &balloon);
	case VIRTIO_ID_PMEM:
		return add_pmem(vm, d->made, n, err);
	default: /* entropy, which was made with the VM */
		return is_limited(&d->made->rng) ? catnap_vm_set_rng_limit(vm, &d->made->rng) : 0;
	}
}

static uint32_t number(const struct catnap_snapshot *s, uint32_t i)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < i; k++)
		n += s->devices[k].type == s->devices[i].type;
	return n;
}

static int add_devices(struct catnap_vm *vm, const struct catnap_snapshot *s,
		       const struct catnap_restore *how, struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < s->device_count && ret == 0; i++) {
		ret = add_device(vm, &s->devices[i], number(s, i), how, err);
		if (ret < 0 && !error_is_set(err))
			error_set(err, "%s", catnap_vm_last_error(vm));
	}
	return ret;
}

/* Returns whether rings are needed: some devices wait by them. */
static bool needs_rings(const struct catnap_snapshot *s)
{
	for (uint32_t i = 0; i < s->device_count; i++) {
		uint16_t type = s->devices[i].type;

		if (type == VIRTIO_ID_BLOCK || type == VIRTIO_ID_NET || type == VIRTIO_ID_VSOCK ||
		    type == VIRTIO_ID_PMEM ||
		    (type == VIRTIO_ID_RNG && is_limited(&s->devices[i].made->rng)))
			return true;
	}
	return false;
}

/* -- its memory ------------------------------------------------------------------------------- */

static int lay(void *ctx, uint64_t at, const uint8_t *page)
{
	const struct memory *m = ctx;

	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];

		if (at >= r->at && at - r->at < r->size)
			memcpy(r->host + (at - r->at), page, MEMORY_PAGE);
	}
	return 0;
}

/* Holds all memory files against the state; what the diffs have goes into @m. NULL: it only looks. */
static int check_memory(struct catnap_snapshot *s, const struct catnap_restore *how,
			struct memory *m, struct error *err)
{
	int ret = 0;

	for (uint32_t i = m ? 1 : 0; i < s->chain.count && ret == 0; i++) {
		struct memory_file f = {.sums = NULL};

		ret = chain_open(&s->chain, i, how->memory_fds[i], s->config.memory_size, &f, err);
		if (ret == 0 && m)
			ret = memory_file_each(&f, how->memory_fds[i], lay, m, err);
		memory_file_free(&f);
	}
	return ret;
}

/* -- what its guest touches ------------------------------------------------------------------- */

/* Reads @fd, as working_set_read(). The last of the memory files tells one snapshot from another. */
static int read_working_set(const struct catnap_snapshot *s, int fd, struct working_set *ws,
			    struct error *err)
{
	const uint8_t *id = s->chain.links[s->chain.count - 1].id;
	int ret = working_set_read(ws, fd, id, s->config.memory_size, err);

	return ret < 0 ? error_prefix(err, ret, "the working set ") : 0;
}

/* Opened early: a process that was closed in opens nothing. */
static int open_pagemap(struct catnap_vm *vm, const struct catnap_snapshot *s, struct error *err)
{
	memcpy(vm->restored_from, s->chain.links[s->chain.count - 1].id, MEMORY_ID);
	vm->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (vm->pagemap_fd >= 0)
		return 0;
	return error_fail(err, -errno,
			  "memory_mode WORKING_SET: /proc/self/pagemap: %s: expected /proc, or a "
			  "working set that was recorded elsewhere",
			  strerror(errno));
}

int catnap_vm_write_working_set(struct catnap_vm *vm, int fd)
{
	struct error err = {.text = ""};
	struct working_set ws;
	bool reset;
	int ret;

	if (vm_in_child(vm, "write_working_set"))
		return -EPERM;
	pthread_mutex_lock(&vm->lock);
	reset = vm->reset.runs || vm->reset.done;
	pthread_mutex_unlock(&vm->lock);
	if (vm->pagemap_fd < 0 || reset)
		return vm_fail(vm, -ENOTSUP,
			       "write_working_set: the memory is no snapshot's file: expected "
			       "memory_mode WORKING_SET, and no working_set_fd");
	ret = working_set_take(&ws, &vm->memory, vm->pagemap_fd, &err);
	if (ret == 0)
		ret = working_set_write(&ws, fd, vm->restored_from, vm->memory.size, &err);
	working_set_free(&ws);
	return ret < 0 ? vm_fail(vm, ret, "write_working_set: %s", err.text) : 0;
}

int catnap_snapshot_verify_working_set(struct catnap_snapshot *s, int fd)
{
	struct error err = {.text = ""};
	struct working_set ws;
	int ret = read_working_set(s, fd, &ws, &err);

	working_set_free(&ws);
	return ret < 0 ? vm_fail(NULL, ret, "%s", err.text) : 0;
}

/* -- all of it -------------------------------------------------------------------------------- */

static void fill_config(struct catnap_vm_config *cfg, const struct catnap_snapshot *s)
{
	const struct snapshot_config *c = &s->config;

	cfg->vcpus = c->vcpus;
	cfg->memory_size = c->memory_size;
	cfg->irqchip = c->irqchip;
	cfg->hw = c->hw;
	cfg->transport = c->transport;
	cfg->rng = c->rng;
	cfg->realtime = c->realtime;
	cfg->guest_hlt = c->guest_hlt;
	cfg->hotplug = state_has(&s->reader, HOTPLUG_SECTION, 0);
	cfg->debug_exit_port = c->debug_exit_port;
	cfg->cmdline = c->cmdline;
	cfg->linux_cmdline = c->linux_cmdline;
	cfg->nodes = c->nodes;
	cfg->node_count = c->node_count;
	/* CPUID and MSRs are as they were changed. */
	cfg->cpuid_modifier_count = cfg->msr_modifier_count = 0;
	if (cfg->no_rings)
		cfg->no_rings = !needs_rings(s) && !cfg->hotplug;
	if (cfg->irqchip == CATNAP_IRQCHIP_KERNEL &&
	    cfg->poll_after_guest == CATNAP_AFTER_GUEST_BREAK_EVEN)
		cfg->poll_after_guest = CATNAP_AFTER_GUEST_NEVER;
	if (cfg->on_reset == CATNAP_ON_RESET_END) {
		cfg->kernel_path = cfg->initramfs_path = NULL;
		cfg->kernel_data = cfg->initramfs_data = NULL;
	}
}

static int check_how(const struct catnap_restore *how, const struct catnap_snapshot *s,
		     struct error *err)
{
	if (how->memory_mode > CATNAP_MEMORY_WORKING_SET)
		return error_fail(err, -EINVAL, "memory_mode: %u is none", how->memory_mode);
	if ((how->memory_mode == CATNAP_MEMORY_UFFD) != (how->handler != NULL))
		return error_fail(err, -EINVAL,
				  "handler: expected one with memory_mode UFFD, and with no other");
	if (!how->handler && (!how->memory_fds || how->memory_count != s->chain.count))
		return error_fail(err, -EINVAL, "memory_fds: expected %u, the snapshot's",
				  s->chain.count);
	if (how->working_set_fd >= 0 && how->memory_mode != CATNAP_MEMORY_WORKING_SET)
		return error_fail(err, -EINVAL,
				  "working_set_fd: expected none but with memory_mode WORKING_SET");
	if ((how->disk_count && !how->disks) || (how->net_count && !how->nets))
		return error_fail(err, -EINVAL, "disks, nets: expected arrays, not NULL");
	return 0;
}

/* Does the VM tell later which pages were touched? */
static bool records(const struct catnap_restore *how)
{
	return how->memory_mode == CATNAP_MEMORY_WORKING_SET && how->working_set_fd < 0;
}

/* Makes the VM with its devices, and loads the state into it. */
static int make(const struct catnap_vm_config *given, struct catnap_snapshot *s,
		const struct catnap_restore *how, struct catnap_vm **vm, struct error *err)
{
	struct vm_source source = {.memory = {.fd = how->handler ? -1 : how->memory_fds[0],
					      .copy = how->memory_mode == CATNAP_MEMORY_COPY,
					      .single = records(how)},
				   .handler = how->handler};
	struct catnap_vm_config cfg = *given;
	int ret;

	fill_config(&cfg, s);
	ret = vm_create(&cfg, &source, vm, err);
	if (ret < 0 || !*vm)
		return ret;
	if (records(how))
		ret = open_pagemap(*vm, s, err);
	if (ret == 0 && !how->handler)
		ret = check_memory(s, how, &(*vm)->memory, err);
	if (ret == 0)
		ret = add_devices(*vm, s, how, err);
	if (ret == 0)
		ret = machine_load(*vm, s, how, err);
	if (ret == 0)
		ret = chain_copy(&(*vm)->chain, &s->chain);
	if (ret == 0 && vm_memory_is_lost(*vm, err))
		ret = -EIO;
	if (ret == 0)
		(*vm)->starts_paused = how->paused;
	else
		catnap_vm_destroy(vm);
	return ret;
}

/* Does make() while the disk reads what the guest will touch. */
static int make_with_pass(const struct catnap_vm_config *cfg, struct catnap_snapshot *s,
			  const struct catnap_restore *how, struct catnap_vm **vm,
			  struct error *err)
{
	struct working_set ws;
	struct ahead pass;
	int ret = read_working_set(s, how->working_set_fd, &ws, err);

	if (ret == 0) {
		ahead_begin(&pass, how->memory_fds[0], ws.ranges, ws.count);
		ret = make(cfg, s, how, vm, err);
		ahead_end(&pass);
		if (ret == 0)
			working_set_map(&ws, &(*vm)->memory);
	}
	working_set_free(&ws);
	return ret;
}

static int restore(const struct catnap_vm_config *given, struct catnap_snapshot *s,
		   const struct catnap_restore *how, struct catnap_vm **vm, struct error *err)
{
	struct catnap_vm_config cfg;
	int ret;

	catnap_vm_config_init(&cfg);
	if (sized_in(&cfg, sizeof(cfg), given,
		     offsetof(struct catnap_vm_config, poll_after_guest)) < 0)
		return error_fail(err, -EINVAL, "the configuration's size is not this library's");
	ret = check_how(how, s, err);
	if (ret == 0 && !how->handler)
		ret = check_memory(s, how, NULL, err);
	if (ret < 0)
		return ret;
	return how->working_set_fd < 0 ? make(&cfg, s, how, vm, err)
				       : make_with_pass(&cfg, s, how, vm, err);
}

int catnap_vm_restore(const struct catnap_vm_config *cfg, struct catnap_snapshot *s,
		      const struct catnap_restore *given, struct catnap_vm **vm)
{
	struct error err = {.text = ""};
	struct catnap_restore how;
	int ret;

	if (!vm)
		return vm_no_place(NULL, "restore: vm");
	*vm = NULL;
	catnap_restore_init(&how);
	if (!cfg || !s ||
	    sized_in(&how, sizeof(how), given, offsetof(struct catnap_restore, working_set_fd)) < 0)
		return vm_wrong_size(NULL, "restore: cfg, s, how");
	ret = restore(cfg, s, &how, vm, &err);
	if (ret == 0)
		return 0;
	return vm_fail(NULL, ret, "restore: %s", err.text[0] ? err.text : strerror(-ret));
}

/* -- memory that is served -------------------------------------------------------------------- */

int catnap_vm_get_memory_handler_fd(struct catnap_vm *vm)
{
	if (vm_in_child(vm, "get_memory_handler_fd"))
		return -EPERM;
	if (vm->uffd.socket < 0)
		return vm_fail(vm, -ENOTSUP, "get_memory_handler_fd: memory is not served");
	return vm->uffd.socket;
}

int catnap_vm_check_memory_handler(struct catnap_vm *vm)
{
	struct catnap_exit e = {
		.size = sizeof(e), .reason = CATNAP_EXIT_HOST_ERROR, .code = -EPIPE};

	if (vm_in_child(vm, "check_memory_handler"))
		return -EPERM;
	if (vm->uffd.socket < 0)
		return vm_fail(vm, -ENOTSUP, "check_memory_handler: memory is not served");
	if (uffd_is_served(&vm->uffd))
		return 0;
	snprintf(e.report, sizeof(e.report),
		 "the process that served the guest's memory has gone\n");
	vm_end(vm, &e);
	return 0;
}
