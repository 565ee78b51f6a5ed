/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon in a VM: what the guest gives away goes back to the host. */
#include <errno.h>
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

/* Releases memory. It is zeroes when it is touched again, or what a snapshot's file has there: a page
 * of a file of its own is taken out of that. */
static void release(void *ctx, void *host, uint64_t len)
{
	struct catnap_vm *vm = ctx;
	uint8_t *at = host;

	madvise(host, len, vm->cfg.memory_shared ? MADV_REMOVE : MADV_DONTNEED);
	for (unsigned int i = 0; i < vm->memory.count; i++) {
		const struct memory_region *r = &vm->memory.regions[i];

		if (at >= r->host && at < r->host + r->size)
			memory_wrote(&vm->memory, r->gpa + (uint64_t)(at - r->host), len, false);
	}
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

static int check_target(struct catnap_vm *vm, uint64_t target, struct error *err)
{
	if (target % BALLOON_PAGE == 0 && target < vm->memory.size)
		return 0;
	return error_fail(
		err, -EINVAL,
		"balloon: %llu bytes: expected a multiple of %u, less than the guest's memory",
		(unsigned long long)target, BALLOON_PAGE);
}

/* Checks that pages that a guest gives away can go back to the host. */
static int check_memory(const struct catnap_vm *vm, struct error *err)
{
	if (vm->cfg.memory_lock)
		return error_fail(err, -EINVAL,
				  "balloon: memory that is locked is not given back: expected a VM "
				  "without memory_lock");
	if (memory_page_size(vm->cfg.memory_pages) > BALLOON_PAGE)
		return error_fail(err, -EINVAL,
				  "balloon: pages of 2 MiB and 1 GiB are not given back in pieces: "
				  "expected a VM without them");
	return 0;
}

static int add(struct catnap_vm *vm, const struct catnap_balloon *given, struct error *err)
{
	struct balloon_config cfg = {.release = release, .release_ctx = vm, .dma = &vm->dma};
	struct vm_made made = {.place = NULL};
	struct catnap_balloon balloon;
	struct balloon *b;
	int ret = vm_may_add(vm, "balloon", &balloon, sizeof(balloon), given, sizeof(balloon), err);

	if (ret == 0)
		ret = check_memory(vm, err);
	if (ret == 0)
		ret = check_target(vm, balloon.target, err);
	if (ret < 0)
		return ret;
	cfg.target = balloon.target;
	cfg.deflate_on_oom = balloon.deflate_on_oom;
	if (find(vm))
		return error_fail(err, -EEXIST, "balloon: there is one already");
	ret = balloon_create(&cfg, &b);
	if (ret < 0)
		return ret;
	made.balloon = balloon;
	ret = vm_add_virtio(vm, balloon_device(b), destroy, &made, err);
	if (ret < 0)
		balloon_destroy(&b);
	return ret;
}

int catnap_vm_set_balloon(struct catnap_vm *vm, const struct catnap_balloon *balloon)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "balloon"))
		return -EPERM;
	return vm_added(vm, "balloon", add(vm, balloon, &err), &err);
}

int catnap_vm_set_balloon_target(struct catnap_vm *vm, uint64_t target)
{
	struct error err = {.text = ""};
	struct balloon *b = find(vm);
	int ret;

	if (vm_in_child(vm, "set_balloon_target"))
		return -EPERM;
	if (!b)
		return vm_fail(vm, -ENOENT, "set_balloon_target: there is no balloon");
	ret = check_target(vm, target, &err);
	if (ret == 0)
		ret = balloon_set_target(b, target);
	if (ret == 0)
		vm_nth_made(vm, VIRTIO_ID_BALLOON, 0)->balloon.target = target;
	return vm_added(vm, "balloon", ret, &err);
}

int catnap_vm_get_balloon_stats(struct catnap_vm *vm, struct catnap_balloon_stats *stats)
{
	struct catnap_balloon_stats s = {.size = sizeof(s)};
	struct balloon *b = find(vm);
	struct balloon_state now;

	if (vm_in_child(vm, "get_balloon_stats"))
		return -EPERM;
	if (!stats || stats->size < offsetof(struct catnap_balloon_stats, swap_in))
		return vm_wrong_size(vm, "get_balloon_stats");
	if (!b)
		return vm_fail(vm, -ENOENT, "get_balloon_stats: there is no balloon");
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
	return sized_out(stats, &s, sizeof(s), sizeof(s.size));
}
