/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that a guest plugs and unplugs: an area of its addresses, and the device for it. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/mman.h>

#include "devices/virtio/mem.h"
#include "sized.h"
#include "vmm/vm.h"

void catnap_hotplug_init_sized(struct catnap_hotplug *hotplug, size_t size)
{
	static const struct catnap_hotplug defaults = {.block = MEM_BLOCK_LEAST};

	sized_init(hotplug, size, &defaults, sizeof(defaults));
}

void(catnap_hotplug_init)(struct catnap_hotplug *hotplug)
{
	catnap_hotplug_init_sized(hotplug, sizeof(*hotplug));
}

/* Gives a part of the area back. It is private and anonymous: zeroes when it is touched again. */
static void release(void *ctx, uint64_t offset, uint64_t len)
{
	const struct memory_area *a = ctx;

	madvise(a->host + offset, len, MADV_DONTNEED);
}

static struct virtio_device *find(struct catnap_vm *vm)
{
	return vm_find_virtio(vm, VIRTIO_ID_MEM);
}

/* Checks that the VM's memory is such that parts of it can come and go. */
static int check_memory(const struct catnap_vm *vm, const struct catnap_hotplug *h,
			struct error *err)
{
	const uint64_t most = catnap_host_memory();

	if (vm->cfg.memory_lock || vm->cfg.memory_shared)
		return error_fail(err, -EINVAL,
				  "hotplug: memory that is %s does not come and go: expected a VM "
				  "without memory_%s",
				  vm->cfg.memory_lock ? "locked" : "shared",
				  vm->cfg.memory_lock ? "lock" : "shared");
	if (memory_page_size(vm->cfg.memory_pages) > MEMORY_PAGE)
		return error_fail(
			err, -EINVAL,
			"hotplug: pages of 2 MiB and 1 GiB do not come and go: expected a "
			"VM without them");
	if (vm->memory.size > most || h->max > most - vm->memory.size)
		return error_fail(err, -ENOMEM,
				  "hotplug: max: %llu bytes, with the VM's memory, are more than "
				  "this host has: %llu, swap space included",
				  (unsigned long long)h->max, (unsigned long long)most);
	return 0;
}

static int check_sizes(const struct catnap_hotplug *h, struct error *err)
{
	if (h->block < MEM_BLOCK_LEAST || h->block & (h->block - 1) || h->block > MEMORY_AREA_ALIGN)
		return error_fail(err, -EINVAL,
				  "hotplug: block: %llu bytes: expected a power of two, 2 MiB to 1 "
				  "GiB",
				  (unsigned long long)h->block);
	if (!h->max || h->max % h->block)
		return error_fail(
			err, -EINVAL,
			"hotplug: max: %llu bytes: expected a multiple of the block's %llu",
			(unsigned long long)h->max, (unsigned long long)h->block);
	if (h->requested % h->block || h->requested > h->max)
		return error_fail(
			err, -EINVAL,
			"hotplug: requested: %llu bytes: expected a multiple of the block's "
			"%llu, at most max",
			(unsigned long long)h->requested, (unsigned long long)h->block);
	return 0;
}

/* Makes the area, and the device for it. */
static int make(struct catnap_vm *vm, const struct catnap_hotplug *h, struct virtio_device **dev,
		struct error *err)
{
	struct mem_config cfg = {.size = h->max,
				 .block = h->block,
				 .requested = h->requested,
				 .release = release,
				 .dma = &vm->dma};
	int ret;

	cfg.start = memory_area_place(&vm->memory, h->max);
	if (!cfg.start)
		return error_fail(
			err, -ENOSPC,
			"hotplug: max: this processor's guests have no addresses for %llu "
			"bytes",
			(unsigned long long)h->max);
	ret = memory_area_add(&vm->memory, &vm->kvm, cfg.start, h->max, vm->cfg.dump_memory, err);
	if (ret < 0)
		return error_prefix(err, ret, "hotplug: ");
	cfg.release_ctx = &vm->memory.areas[vm->memory.area_count - 1];
	ret = mem_create(&cfg, dev);
	if (ret < 0)
		memory_area_drop(&vm->memory, &vm->kvm);
	return ret;
}

static int add(struct catnap_vm *vm, const struct catnap_hotplug *given, struct error *err)
{
	struct catnap_hotplug h = {.size = sizeof(h)};
	struct virtio_device *dev = NULL;
	int ret = vm_may_add(vm, "hotplug", &h, sizeof(h), given, sizeof(h), err);

	if (ret == 0)
		ret = check_sizes(&h, err);
	if (ret == 0)
		ret = check_memory(vm, &h, err);
	if (ret < 0)
		return ret;
	if (find(vm))
		return error_fail(err, -EEXIST, "hotplug: there is such memory already");
	ret = make(vm, &h, &dev, err);
	if (ret < 0)
		return ret;
	ret = vm_add_virtio(vm, dev, mem_destroy, NULL, err);
	if (ret < 0) {
		memory_area_drop(&vm->memory, &vm->kvm);
		mem_destroy(dev);
	}
	return ret;
}

int catnap_vm_set_hotplug(struct catnap_vm *vm, const struct catnap_hotplug *hotplug)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "hotplug"))
		return -EPERM;
	return vm_added(vm, "hotplug", add(vm, hotplug, &err), &err);
}

int catnap_vm_set_hotplug_size(struct catnap_vm *vm, uint64_t bytes)
{
	struct virtio_device *dev = find(vm);
	struct mem_state now;

	if (vm_in_child(vm, "set_hotplug_size"))
		return -EPERM;
	if (!dev)
		return vm_fail(vm, -ENOENT, "set_hotplug_size: there is no such memory");
	if (mem_request(dev, bytes) == 0)
		return 0;
	mem_get_state(dev, &now);
	return vm_fail(
		vm, -EINVAL,
		"set_hotplug_size: %llu bytes: expected a multiple of its block, %llu, at most "
		"max, %llu",
		(unsigned long long)bytes, (unsigned long long)now.block,
		(unsigned long long)now.size);
}

int catnap_vm_get_hotplug_stats(struct catnap_vm *vm, struct catnap_hotplug_stats *stats)
{
	struct catnap_hotplug_stats s = {.size = sizeof(s)};
	struct virtio_device *dev = find(vm);
	struct mem_state now;

	if (vm_in_child(vm, "get_hotplug_stats"))
		return -EPERM;
	if (!stats || stats->size < sizeof(s))
		return vm_wrong_size(vm, "get_hotplug_stats");
	if (!dev)
		return vm_fail(vm, -ENOENT, "get_hotplug_stats: there is no such memory");
	mem_get_state(dev, &now);
	s.requested = now.requested;
	s.plugged = now.plugged;
	s.max = now.size;
	s.block = now.block;
	return sized_out(stats, &s, sizeof(s), sizeof(s.size));
}

void vm_unplug(struct catnap_vm *vm)
{
	struct virtio_device *dev = find(vm);

	if (dev)
		mem_restart(dev);
}
