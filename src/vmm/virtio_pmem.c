/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent memory in a VM: a file is an area of guest memory, and a device that flushes it. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/virtio/pmem.h"
#include "sized.h"
#include "vmm/vm.h"

void catnap_pmem_init_sized(struct catnap_pmem *pmem, size_t size)
{
	static const struct catnap_pmem defaults = {.fd = -1};

	sized_init(pmem, size, &defaults, sizeof(defaults));
}

void(catnap_pmem_init)(struct catnap_pmem *pmem)
{
	catnap_pmem_init_sized(pmem, sizeof(*pmem));
}

#define DESCRIPTOR_SIZE 24

/* Fills @cfg with what the device takes of @pmem. @descriptor: DESCRIPTOR_SIZE bytes, which @cfg
 * points to. */
static int take(const struct catnap_pmem *pmem, char *descriptor, struct pmem_config *cfg,
		struct error *err)
{
	if (!pmem->path == (pmem->fd < 0))
		return error_fail(err, -EINVAL,
				  pmem->path ? "pmem: either a path or fd, not both"
					     : "pmem: no path");
	if (pmem->path && !pmem->path[0])
		return error_fail(err, -EINVAL, "pmem: path: expected a file's, not \"\"");
	if (pmem->format > CATNAP_DISK_RAW)
		return error_fail(err, -EINVAL, "pmem: format: %u is none", pmem->format);
	snprintf(descriptor, DESCRIPTOR_SIZE, "descriptor %d", pmem->fd);
	*cfg = (struct pmem_config){.path = pmem->path ? pmem->path : descriptor,
				    .given = pmem->fd >= 0,
				    .fd = pmem->fd,
				    .readonly = pmem->readonly,
				    .raw = pmem->format == CATNAP_DISK_RAW,
				    .no_lock = pmem->no_lock};
	return vm_rate_limits(&cfg->limits, "pmem", &pmem->limit, err);
}

/* Maps the device's file into the guest, at the next free place, and tells the device. */
static int map(struct catnap_vm *vm, struct virtio_device *dev, const struct pmem_config *cfg,
	       struct error *err)
{
	uint64_t bytes, size, at;
	int fd = pmem_file(dev, &bytes), ret;

	size = (bytes + PMEM_ALIGN - 1) & ~(PMEM_ALIGN - 1);
	if (size != bytes && !cfg->readonly)
		return error_fail(err, -EINVAL,
				  "pmem: %s: has %llu bytes: expected a multiple of 2 MiB, as the "
				  "guest could write behind its end, or readonly",
				  cfg->path, (unsigned long long)bytes);
	at = memory_area_place(&vm->memory, size);
	if (!at)
		return error_fail(err, -ENOSPC,
				  "pmem: %s: has %llu bytes, for which this processor's guests "
				  "have no addresses",
				  cfg->path, (unsigned long long)bytes);
	ret = memory_area_add_file(&vm->memory, &vm->kvm, at, size, fd, bytes, cfg->readonly,
				   vm->cfg.dump_memory, err);
	if (ret < 0)
		return error_prefix(err, ret, "pmem: %s: ", cfg->path);
	pmem_place(dev, at, size);
	return 0;
}

static int add(struct catnap_vm *vm, const struct catnap_pmem *given, struct error *err)
{
	struct vm_made made = {.place = NULL};
	struct catnap_pmem pmem = {.fd = -1};
	char descriptor[DESCRIPTOR_SIZE];
	struct virtio_device *dev;
	struct pmem_config cfg;
	int ret = vm_may_add(vm, "pmem", &pmem, sizeof(pmem), given, sizeof(pmem), err);

	if (ret == 0)
		ret = take(&pmem, descriptor, &cfg, err);
	if (ret < 0)
		return ret;
	ret = pmem_create(&cfg, &vm->dma, &dev, err);
	if (ret < 0)
		return ret;
	ret = map(vm, dev, &cfg, err);
	if (ret < 0) {
		pmem_destroy(dev);
		return ret;
	}
	made.pmem = pmem;
	made.pmem.path = NULL;
	made.pmem.fd = -1;
	made.place = (char *)pmem.path;
	ret = vm_add_virtio(vm, dev, pmem_destroy, &made, err);
	if (ret < 0) {
		memory_area_drop(&vm->memory, &vm->kvm);
		pmem_destroy(dev);
		return ret;
	}
	if (pmem.fd >= 0)
		close(pmem.fd); /* taken: the device has its duplicate */
	return 0;
}

int catnap_vm_add_pmem(struct catnap_vm *vm, const struct catnap_pmem *pmem)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "pmem"))
		return -EPERM;
	return vm_added(vm, "pmem", add(vm, pmem, &err), &err);
}

static int set_limit(struct catnap_vm *vm, uint32_t n, const struct catnap_rate_limit *limit,
		     struct error *err)
{
	struct virtio_device *dev = vm_nth_virtio(vm, VIRTIO_ID_PMEM, n);
	struct rate_limits limits;
	int ret;

	if (!dev)
		return error_fail(err, -ENOENT, "pmem: there is none of number %u", n);
	if (!limit)
		return error_fail(err, -EINVAL, "pmem: limit: expected a structure, not NULL");
	ret = vm_rate_limits(&limits, "pmem", limit, err);
	if (ret == 0)
		ret = pmem_set_limits(dev, &limits);
	if (ret == 0)
		vm_nth_made(vm, VIRTIO_ID_PMEM, n)->pmem.limit = *limit;
	return ret;
}

int catnap_vm_set_pmem_limit(struct catnap_vm *vm, uint32_t pmem,
			     const struct catnap_rate_limit *limit)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "set_pmem_limit"))
		return -EPERM;
	return vm_added(vm, "pmem", set_limit(vm, pmem, limit, &err), &err);
}
