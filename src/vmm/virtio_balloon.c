/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon in a VM: what the guest gives away goes back to the host. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/virtio/balloon.h"
#include "sized.h"
#include "vmm/vm.h"

void catnap_balloon_init_sized(struct catnap_balloon *balloon, size_t size)
{
	static const struct catnap_balloon defaults = {.deflate_on_oom = 1};

	sized_init(balloon, size, &defaults, sizeof(defaults));
}

void(catnap_balloon_init)(struct catnap_balloon *balloon)
{
	catnap_balloon_init_sized(balloon, sizeof(*balloon));
}

/* Private anonymous memory: it is zeroes when it is touched again. */
static void release(void *ctx, void *host, uint64_t len)
{
	madvise(host, len, MADV_DONTNEED);
}

static void destroy(struct virtio_device *dev)
{
	struct balloon *b = balloon_of(dev);

	balloon_destroy(&b);
}

static struct balloon *find(struct catnap_vm *vm)
{
	struct virtio_device *dev = vm_find_virtio(vm, VIRTIO_ID_BALLOON);

	return dev ? balloon_of(dev) : NULL;
}

static int check_target(struct catnap_vm *vm, uint64_t target, struct kvm_error *err)
{
	if (target % BALLOON_PAGE == 0 && target < vm->memory.size)
		return 0;
	snprintf(err->text, sizeof(err->text),
		 "balloon: %llu bytes: expected a multiple of %u, less than the guest's memory",
		 (unsigned long long)target, BALLOON_PAGE);
	return -EINVAL;
}

static int add(struct catnap_vm *vm, const struct catnap_balloon *balloon, struct kvm_error *err)
{
	struct balloon_config cfg = {.target = balloon->target,
				     .deflate_on_oom = balloon->deflate_on_oom,
				     .release = release,
				     .dma = &vm->dma};
	struct balloon *b;
	int ret = vm_may_add(vm, "balloon", balloon->size, sizeof(*balloon), err);

	if (ret == 0)
		ret = check_target(vm, balloon->target, err);
	if (ret < 0)
		return ret;
	if (find(vm))
		return -EEXIST;
	ret = balloon_create(&cfg, &b);
	if (ret < 0)
		return ret;
	ret = vm_add_virtio(vm, balloon_device(b), destroy, err);
	if (ret < 0)
		balloon_destroy(&b);
	return ret;
}

int catnap_vm_set_balloon(struct catnap_vm *vm, const struct catnap_balloon *balloon)
{
	struct kvm_error err = {.text = ""};

	return vm_added(vm, "balloon", add(vm, balloon, &err), &err);
}

int catnap_vm_set_balloon_target(struct catnap_vm *vm, uint64_t target)
{
	struct kvm_error err = {.text = ""};
	struct balloon *b = find(vm);
	int ret = b ? check_target(vm, target, &err) : -ENOENT;

	if (ret == 0)
		ret = balloon_set_target(b, target);
	return vm_added(vm, "balloon", ret, &err);
}

int catnap_vm_get_balloon_stats(struct catnap_vm *vm, struct catnap_balloon_stats *stats)
{
	struct catnap_balloon_stats s = {.size = stats->size};
	struct balloon *b = find(vm);
	struct balloon_state now;

	if (stats->size < offsetof(struct catnap_balloon_stats, swap_in))
		return -EINVAL;
	if (!b)
		return -ENOENT;
	balloon_get_state(b, &now);
	s.target = now.target;
	s.actual = now.actual;
	s.released = now.released;
	s.reported = now.reported;
	s.swap_in = now.stats[BALLOON_SWAP_IN];
	s.swap_out = now.stats[BALLOON_SWAP_OUT];
	s.major_faults = now.stats[BALLOON_MAJOR_FAULTS];
	s.minor_faults = now.stats[BALLOON_MINOR_FAULTS];
	s.free = now.stats[BALLOON_FREE];
	s.total = now.stats[BALLOON_TOTAL];
	s.available = now.stats[BALLOON_AVAILABLE];
	s.caches = now.stats[BALLOON_CACHES];
	if (s.size > sizeof(s))
		s.size = sizeof(s);
	memcpy(stats, &s, s.size);
	return 0;
}
