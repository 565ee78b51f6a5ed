/* SPDX-License-Identifier: Apache-2.0 */
/* Disks in a VM: from the public structure to the block device. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "sized.h"
#include "vmm/vm.h"

_Static_assert(CATNAP_MAX_DISK_QUEUES == BLK_QUEUES_MAX, "what the header says");
_Static_assert(CATNAP_MAX_DISK_ID == BLK_ID_MAX, "what the header says");

void catnap_disk_init_sized(struct catnap_disk *disk, size_t size)
{
	static const struct catnap_disk defaults = {.fd = -1};

	sized_init(disk, size, &defaults, sizeof(defaults));
}

void(catnap_disk_init)(struct catnap_disk *disk)
{
	catnap_disk_init_sized(disk, sizeof(*disk));
}

#define DESCRIPTOR_SIZE 24

/* Fills @cfg with what the device takes of @disk. @descriptor: DESCRIPTOR_SIZE bytes, which @cfg
 * points to. */
static int take(const struct catnap_disk *disk, char *descriptor, struct blk_config *cfg,
		struct error *err)
{
	int ret;

	if (!disk->path == (disk->fd < 0))
		return error_fail(err, -EINVAL,
				  disk->path ? "disk: either a path or fd, not both"
					     : "disk: no path");
	if (disk->path && !disk->path[0])
		return error_fail(err, -EINVAL, "disk: path: expected a file's, not \"\"");
	snprintf(descriptor, DESCRIPTOR_SIZE, "descriptor %d", disk->fd);
	*cfg = (struct blk_config){.path = disk->path ? disk->path : descriptor,
				   .given = disk->fd >= 0,
				   .fd = disk->fd,
				   .id = disk->id,
				   .readonly = disk->readonly,
				   .direct = disk->direct,
				   .no_lock = disk->no_lock,
				   .raw = disk->format == CATNAP_DISK_RAW,
				   .block_size = disk->block_size};
	ret = vm_rate_limits(&cfg->limits, "disk", &disk->limit, err);
	if (ret < 0)
		return ret;
	if (disk->format > CATNAP_DISK_RAW)
		return error_fail(err, -EINVAL, "disk: format: %u is none", disk->format);
	if (disk->block_size && disk->block_size != 512 && disk->block_size != 4096)
		return error_fail(err, -EINVAL,
				  "disk: block-size: %u is none: expected 512 or 4096",
				  disk->block_size);
	return 0;
}

/* Returns what a snapshot keeps of it; the place stays @disk's. */
static struct vm_made made_of(const struct catnap_disk *disk)
{
	struct vm_made made = {.disk = *disk, .place = (char *)disk->path};

	snprintf(made.id, sizeof(made.id), "%s", disk->id ? disk->id : "");
	made.disk.path = made.disk.id = NULL;
	made.disk.fd = -1;
	return made;
}

/* Adds what to do about an image that may not be opened: the sandbox may be why. */
static int refused(struct catnap_vm *vm, int ret, const struct catnap_disk *disk, struct error *err)
{
	bool started;

	pthread_mutex_lock(&vm->lock);
	started = vm->started;
	pthread_mutex_unlock(&vm->lock);
	if (ret != -EACCES || !started || !vm->cfg.sandbox || !disk->path)
		return ret;
	return error_fail(err, ret,
			  "disk: %s: %s: expected a descriptor (fd), if the sandbox keeps the "
			  "caller from opening files",
			  disk->path, strerror(-ret));
}

static int add(struct catnap_vm *vm, const struct catnap_disk *given, struct error *err)
{
	struct catnap_disk disk = {.fd = -1};
	char descriptor[DESCRIPTOR_SIZE];
	struct blk_config cfg;
	struct virtio_device *dev;
	struct vm_made made;
	int ret = vm_may_plug(vm, "disk", &disk, sizeof(disk), given,
			      offsetof(struct catnap_disk, limit), err);

	if (ret == 0)
		ret = take(&disk, descriptor, &cfg, err);
	if (ret < 0)
		return ret;
	/* Too many are for blk_create() to refuse. */
	cfg.queues = disk.queues > UINT16_MAX ? UINT16_MAX : (uint16_t)disk.queues;
	if (!disk.queues)
		cfg.queues =
			(uint16_t)(vm->cfg.vcpus < BLK_QUEUES_MAX ? vm->cfg.vcpus : BLK_QUEUES_MAX);
	ret = blk_create(&cfg, &vm->dma, &dev, err);
	if (ret < 0)
		return refused(vm, ret, &disk, err);
	made = made_of(&disk);
	ret = vm_add_virtio(vm, dev, blk_destroy, &made, err);
	if (ret < 0) {
		blk_destroy(dev);
		return ret;
	}
	if (disk.fd >= 0)
		close(disk.fd); /* taken: the device has its duplicate */
	return ret;
}

int catnap_vm_add_disk(struct catnap_vm *vm, const struct catnap_disk *disk)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "disk"))
		return -EPERM;
	return vm_added(vm, "disk", add(vm, disk, &err), &err);
}

/* Returns disk @n, for vm_put(); NULL, with a sentence: there is none. */
static struct vm_virtio *get(struct catnap_vm *vm, uint32_t n, struct error *err)
{
	struct vm_virtio *v = vm_get(vm, VIRTIO_ID_BLOCK, n);

	if (!v)
		error_set(err, "disk: there is none of number %u", n);
	return v;
}

int catnap_vm_update_disk(struct catnap_vm *vm, uint32_t disk, uint64_t *bytes)
{
	struct error err = {.text = ""};
	struct vm_virtio *v;
	int ret = -ENOENT;
	uint64_t now = 0;

	if (vm_in_child(vm, "update_disk"))
		return -EPERM;
	v = get(vm, disk, &err);
	if (v) {
		ret = blk_update(v->dev, &now, &err);
		vm_put(v);
	}
	if (ret == 0 && bytes)
		*bytes = now;
	return vm_added(vm, "disk", ret, &err);
}

static int set_limit(struct catnap_vm *vm, uint32_t disk, const struct catnap_rate_limit *limit,
		     struct error *err)
{
	struct vm_virtio *v = get(vm, disk, err);
	struct rate_limits limits;
	int ret;

	if (!v)
		return -ENOENT;
	if (!limit) {
		vm_put(v);
		return error_fail(err, -EINVAL, "disk: limit: expected a structure, not NULL");
	}
	ret = vm_rate_limits(&limits, "disk", limit, err);
	if (ret == 0)
		ret = blk_set_limits(v->dev, &limits);
	if (ret == 0)
		v->made.disk.limit = *limit;
	vm_put(v);
	return ret;
}

int catnap_vm_set_disk_limit(struct catnap_vm *vm, uint32_t disk,
			     const struct catnap_rate_limit *limit)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "set_disk_limit"))
		return -EPERM;
	return vm_added(vm, "disk", set_limit(vm, disk, limit, &err), &err);
}

/* Returns how long to wait until requests end: those of a VM that stands still do not. */
static uint64_t how_long(struct catnap_vm *vm)
{
	return catnap_vm_get_state(vm) == CATNAP_VM_RUNNING ? CATNAP_STOP_LIMIT_NS : 0;
}

/* Puts the image of @disk in the place of @v's, and notes where it is. */
static int exchange(struct catnap_vm *vm, struct vm_virtio *v, const struct catnap_disk *disk,
		    uint64_t *bytes, struct error *err)
{
	char descriptor[DESCRIPTOR_SIZE], *place;
	struct blk_config cfg;
	int ret = take(disk, descriptor, &cfg, err);

	if (ret < 0)
		return ret;
	place = disk->path ? strdup(disk->path) : NULL;
	if (disk->path && !place)
		return -ENOMEM;
	ret = blk_change(v->dev, &cfg, how_long(vm), bytes, err);
	if (ret < 0) {
		free(place);
		return ret;
	}
	pthread_mutex_lock(&vm->lock);
	free(v->made.place);
	v->made.place = place;
	v->made.disk.direct = disk->direct;
	v->made.disk.no_lock = disk->no_lock;
	v->made.disk.format = disk->format;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

static int change(struct catnap_vm *vm, uint32_t n, const struct catnap_disk *given,
		  uint64_t *bytes, struct error *err)
{
	struct catnap_disk disk = {.fd = -1};
	struct vm_virtio *v;
	int ret;

	if (!given)
		return error_fail(err, -EINVAL, "disk: expected a structure, not NULL");
	if (sized_in(&disk, sizeof(disk), given, offsetof(struct catnap_disk, limit)) < 0)
		return error_fail(err, -EINVAL, "disk: the structure's size is not this library's");
	v = get(vm, n, err);
	if (!v)
		return -ENOENT;
	ret = exchange(vm, v, &disk, bytes, err);
	vm_put(v);
	if (ret == 0 && disk.fd >= 0)
		close(disk.fd); /* taken: the device has its duplicate */
	return refused(vm, ret, &disk, err);
}

int catnap_vm_change_disk(struct catnap_vm *vm, uint32_t disk, const struct catnap_disk *image,
			  uint64_t *bytes)
{
	struct error err = {.text = ""};
	uint64_t now = 0;
	int ret;

	if (vm_in_child(vm, "change_disk"))
		return -EPERM;
	if (vm_from_inside(vm, "change_disk"))
		return -EDEADLK;
	ret = change(vm, disk, image, &now, &err);
	if (ret == 0 && bytes)
		*bytes = now;
	return vm_added(vm, "disk", ret, &err);
}
