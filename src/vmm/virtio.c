/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices as parts of the VM: the transport, for virtio-mmio a window and a pin, and who
 * runs them. Devices are added between create and start.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/rng.h"
#include "sized.h"
#include "vmm/vm.h"

_Static_assert(CATNAP_MAX_DISK_QUEUES == BLK_QUEUES_MAX, "what the header says");

/* Nobody else drives these; first those that are no ISA interrupts. */
static const uint8_t pins[VM_VIRTIO_MAX] = {16, 17, 18, 19, 20, 21, 22, 23,
					    5,	6,  7,	10, 11, 12, 14, 15};

/* What a device of this type calls, beyond what every thread may: SANDBOX_BIT()s. */
static uint32_t sandbox_features(uint16_t id)
{
	uint32_t ring = SANDBOX_BIT(SANDBOX_RING);

	switch (id) {
	case VIRTIO_ID_BLOCK:
		return ring | SANDBOX_BIT(SANDBOX_FILES);
	case VIRTIO_ID_NET:
		return ring | SANDBOX_BIT(SANDBOX_TAP);
	case VIRTIO_ID_VSOCK:
		return ring | SANDBOX_BIT(SANDBOX_SOCKETS) | SANDBOX_BIT(SANDBOX_TIMER) |
		       SANDBOX_BIT(SANDBOX_EPOLL);
	default: /* entropy, balloon, console */
		return 0;
	}
}

static void set_pin(void *ctx, bool level)
{
	struct vm_virtio *v = ctx;

	vm_set_pin(v->vm, v->place.pin, level);
}

static void *dma_memory(void *ctx, uint64_t gpa, uint64_t len)
{
	struct catnap_vm *vm = ctx;

	return memory_at(&vm->memory, gpa, len);
}

static void log_message(void *ctx, const char *message)
{
	struct catnap_vm *vm = ctx;

	vm->host.log(vm, CATNAP_LOG_WARN, message);
}

struct catnap_halter *vm_home(struct catnap_vm *vm, uint32_t vcpu)
{
	return vm->io ? &vm->io->halter : &vm->vcpus[vcpu]->halter;
}

void vm_init_virtio(struct catnap_vm *vm)
{
	vm->dma = (struct dma){dma_memory, vm};
}

int vm_make_virtio(struct catnap_vm *vm, struct kvm_error *err)
{
	struct virtio_device *dev;
	int ret;

	if (!vm->cfg.rng)
		return 0;
	ret = rng_create(&vm->dma, &dev);
	if (ret < 0)
		return ret;
	ret = vm_add_virtio(vm, dev, rng_destroy, err);
	if (ret < 0)
		rng_destroy(dev);
	return ret;
}

/* A window and a pin. */
static int attach_mmio(struct catnap_vm *vm, struct vm_virtio *v, struct kvm_error *err)
{
	unsigned int n = vm->virtio_count - 1;
	int ret;

	v->place.base = VM_VIRTIO_MMIO_BASE + n * VIRTIO_MMIO_SIZE;
	v->place.pin = pins[n];
	virtio_mmio_init(&v->mmio, v->dev, set_pin, v);
	ret = bus_add(&vm->mmio, v->place.base, VIRTIO_MMIO_SIZE, &virtio_mmio_ops, &v->mmio);
	if (ret < 0)
		return ret;
	/* In create() everything is described at its end. */
	ret = vm->dtb ? hardware_describe(vm, err) : 0;
	if (ret < 0)
		vm->mmio.count--; /* it was added last */
	return ret;
}

#define N_THROTTLES (sizeof(((struct virtio_device *)NULL)->throttles) / sizeof(struct throttle *))

static bool is_limited(const struct virtio_device *dev)
{
	for (size_t i = 0; i < N_THROTTLES; i++)
		if (dev->throttles[i] && dev->throttles[i]->on)
			return true;
	return false;
}

static void detach_limits(struct virtio_device *dev)
{
	for (size_t i = 0; i < N_THROTTLES; i++)
		if (dev->throttles[i])
			throttle_detach(dev->throttles[i]);
}

static int attach_limits(struct virtio_device *dev)
{
	int ret = 0;

	for (size_t i = 0; i < N_THROTTLES && ret == 0; i++)
		if (dev->throttles[i])
			ret = throttle_attach(dev->throttles[i], dev->home);
	if (ret < 0)
		detach_limits(dev);
	return ret;
}

int vm_add_virtio(struct catnap_vm *vm, struct virtio_device *dev,
		  void (*destroy)(struct virtio_device *dev), struct kvm_error *err)
{
	uint32_t features = sandbox_features(dev->id);
	struct vm_virtio *v;
	int ret;

	if (vm->virtio_count == VM_VIRTIO_MAX) {
		snprintf(err->text, sizeof(err->text),
			 "%s: there are %d devices, which is the most", dev->name, VM_VIRTIO_MAX);
		return -ENOSPC;
	}
	if (features & SANDBOX_BIT(SANDBOX_RING)) {
		ret = vm_prepare_rings(vm);
		if (ret < 0)
			return ret;
		features &= ~SANDBOX_BIT(SANDBOX_RING); /* it says so by itself, or another */
	}
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->dev = dev;
	v->destroy = destroy;
	dev->io = vm->io ? &vm->io->halter : NULL;
	dev->home = vm_home(vm, 0);
	dev->log = log_message;
	dev->log_ctx = vm;
	ret = attach_limits(dev);
	if (ret < 0) {
		free(v);
		return ret;
	}
	vm->virtio[vm->virtio_count++] = v;
	/* On the PCI bus it is found, and needs no description. */
	if (vm->cfg.transport == CATNAP_TRANSPORT_MMIO)
		ret = attach_mmio(vm, v, err);
	else
		ret = pci_attach(vm, dev, err);
	if (ret < 0) {
		vm->virtio_count--;
		detach_limits(dev);
		free(v);
	} else {
		vm->sandbox_features |= features;
		if (is_limited(dev))
			vm->sandbox_features |= SANDBOX_BIT(SANDBOX_TIMER);
	}
	return ret;
}

void vm_fini_virtio(struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < vm->virtio_count; i++) {
		vm->virtio[i]->destroy(vm->virtio[i]->dev);
		free(vm->virtio[i]);
	}
	vm->virtio_count = 0;
}

/* -- public ----------------------------------------------------------------------------------- */

void catnap_disk_init_sized(struct catnap_disk *disk, size_t size)
{
	static const struct catnap_disk defaults = {.size = 0};

	sized_init(disk, size, &defaults, sizeof(defaults));
}

void(catnap_disk_init)(struct catnap_disk *disk)
{
	catnap_disk_init_sized(disk, sizeof(*disk));
}

int vm_may_add(struct catnap_vm *vm, const char *what, uint32_t size, size_t least,
	       struct kvm_error *err)
{
	bool started;

	pthread_mutex_lock(&vm->lock);
	started = vm->started;
	pthread_mutex_unlock(&vm->lock);
	if (size >= least && !started)
		return 0;
	snprintf(err->text, sizeof(err->text), "%s: %s", what,
		 started ? "the VM was started before"
			 : "the structure's size is not this library's");
	return -EINVAL;
}

int vm_added(struct catnap_vm *vm, const char *what, int ret, const struct kvm_error *err)
{
	if (ret < 0 && err->text[0])
		vm->error = *err;
	else if (ret < 0)
		snprintf(vm->error.text, sizeof(vm->error.text), "%s: %s", what, strerror(-ret));
	return ret;
}

struct virtio_device *vm_find_virtio(struct catnap_vm *vm, uint16_t id)
{
	for (unsigned int i = 0; i < vm->virtio_count; i++)
		if (vm->virtio[i]->dev->id == id)
			return vm->virtio[i]->dev;
	return NULL;
}

int vm_rate_limits(struct rate_limits *to, const char *what, const struct catnap_rate_limit *from,
		   struct kvm_error *err)
{
	*to = (struct rate_limits){from->bw, from->bw_burst, from->ops, from->ops_burst};
	if ((from->bw || !from->bw_burst) && (from->ops || !from->ops_burst))
		return 0;
	snprintf(err->text, sizeof(err->text), "%s: %s: a burst without a rate", what,
		 from->bw ? "ops-burst" : "bw-burst");
	return -EINVAL;
}

/* What an older caller's structure lacks has its default. */
static int add_disk(struct catnap_vm *vm, const struct catnap_disk *given, struct kvm_error *err)
{
	struct catnap_disk copy = {.size = 0}, *disk = &copy;
	struct blk_config cfg;
	struct virtio_device *dev;
	int ret = vm_may_add(vm, "disk", given->size, offsetof(struct catnap_disk, limit), err);

	if (ret < 0)
		return ret;
	memcpy(&copy, given, given->size < sizeof(copy) ? given->size : sizeof(copy));
	cfg = (struct blk_config){.path = disk->path,
				  .id = disk->id,
				  .readonly = disk->readonly,
				  .direct = disk->direct,
				  .no_lock = disk->no_lock,
				  .raw = disk->format == CATNAP_DISK_RAW};
	ret = vm_rate_limits(&cfg.limits, "disk", &disk->limit, err);
	if (ret < 0)
		return ret;
	if (!disk->path) {
		snprintf(err->text, sizeof(err->text), "disk: no path");
		return -EINVAL;
	}
	if (disk->format > CATNAP_DISK_RAW) {
		snprintf(err->text, sizeof(err->text), "disk: format: %u is none", disk->format);
		return -EINVAL;
	}
	/* Too many are for blk_create() to refuse. */
	cfg.queues = disk->queues > UINT16_MAX ? UINT16_MAX : (uint16_t)disk->queues;
	if (!disk->queues)
		cfg.queues =
			(uint16_t)(vm->cfg.vcpus < BLK_QUEUES_MAX ? vm->cfg.vcpus : BLK_QUEUES_MAX);
	ret = blk_create(&cfg, &vm->dma, &dev, err->text, sizeof(err->text));
	if (ret < 0)
		return ret;
	ret = vm_add_virtio(vm, dev, blk_destroy, err);
	if (ret < 0)
		blk_destroy(dev);
	return ret;
}

int catnap_vm_add_disk(struct catnap_vm *vm, const struct catnap_disk *disk)
{
	struct kvm_error err = {.text = ""};

	return vm_added(vm, "disk", add_disk(vm, disk, &err), &err);
}

/* The @n-th disk, as they were added; NULL: there are not so many. */
static struct virtio_device *find_disk(struct catnap_vm *vm, uint32_t n)
{
	for (unsigned int i = 0; i < vm->virtio_count; i++)
		if (vm->virtio[i]->dev->id == VIRTIO_ID_BLOCK && n-- == 0)
			return vm->virtio[i]->dev;
	return NULL;
}

int catnap_vm_update_disk(struct catnap_vm *vm, uint32_t disk, uint64_t *bytes)
{
	struct virtio_device *dev = find_disk(vm, disk);
	struct kvm_error err = {.text = ""};
	uint64_t now = 0;
	int ret = -ENOENT;

	if (dev)
		ret = blk_update(dev, &now, err.text, sizeof(err.text));
	else
		snprintf(err.text, sizeof(err.text), "disk: there is none of number %u", disk);
	if (ret == 0 && bytes)
		*bytes = now;
	return vm_added(vm, "disk", ret, &err);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

int catnap_vm_get_device_stats(struct catnap_vm *vm, uint32_t device,
			       struct catnap_device_stats *stats)
{
	struct catnap_device_stats s = {.size = stats->size};
	struct virtio_device *dev;

	if (stats->size < offsetof(struct catnap_device_stats, requests))
		return -EINVAL;
	if (device >= vm->virtio_count)
		return -ENOENT;
	dev = vm->virtio[device]->dev;
	s.type = dev->id;
	snprintf(s.name, sizeof(s.name), "%s", dev->name);
	s.requests = get(&dev->counters.requests);
	s.errors = get(&dev->counters.errors);
	s.read_bytes = get(&dev->counters.read_bytes);
	s.written_bytes = get(&dev->counters.written_bytes);
	s.faults = get(&dev->faults);
	s.inflight = atomic_load_explicit(&dev->inflight, memory_order_relaxed);
	s.status = virtio_status(dev);
	for (size_t i = 0; i < N_THROTTLES; i++) {
		uint64_t waits = 0, ns = 0;

		if (dev->throttles[i])
			throttle_get(dev->throttles[i], &waits, &ns);
		s.limit_waits += waits;
		s.limit_wait_ns += ns;
	}
	if (s.size > sizeof(s))
		s.size = sizeof(s);
	memcpy(stats, &s, s.size);
	return 0;
}

int catnap_vm_get_io_stats(struct catnap_vm *vm, struct catnap_io_stats *stats)
{
	struct catnap_io_stats s = {.size = stats->size};

	if (stats->size < offsetof(struct catnap_io_stats, halt))
		return -EINVAL;
	if (!vm->io)
		return -ENOENT;
	s.halt.size = sizeof(s.halt);
	halter_get_stats(&vm->io->halter, &s.halt);
	s.cpu_ns = cpu_time_read(&vm->io->cpu_time);
	if (s.size > sizeof(s))
		s.size = sizeof(s);
	memcpy(stats, &s, s.size);
	return 0;
}
