/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/hotplug.h - memory that the guest plugs and unplugs.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_HOTPLUG_H
#define CATNAP_HOTPLUG_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** Memory that the guest plugs and unplugs; catnap_hotplug_init() first. */
struct catnap_hotplug {
	uint32_t size; /**< set by catnap_hotplug_init() */
	uint32_t reserved;
	uint64_t max;	/**< bytes that it may have, beyond the VM's memory; a multiple of block */
	uint64_t block; /**< bytes that come and go at once: a power of two, 2 MiB to 1 GiB */
	uint64_t requested; /**< bytes that the guest is asked to have; a multiple of block */
};

/** Defaults: blocks of 2 MiB, of which none is asked for; no max. */
CATNAP_API void catnap_hotplug_init(struct catnap_hotplug *hotplug);
CATNAP_API void catnap_hotplug_init_sized(struct catnap_hotplug *hotplug, size_t size);
#define catnap_hotplug_init(hotplug) \
	catnap_hotplug_init_sized((hotplug), sizeof(struct catnap_hotplug))

/**
 * Adds a virtio memory device, between create and start, once: a region of the guest's addresses
 * behind its memory, of which it plugs as much as it is asked for, block by block. What it unplugs
 * goes back to the host. A guest that does otherwise may have all of max. A VM with it cannot be
 * saved in a snapshot.
 * Errors:
 *   -EINVAL  size, max, block, requested, started already; memory that is shared, locked or of huge
 *            pages
 *   -EEXIST
 *   -ENOSPC  there are too many devices, or the processor has no addresses for it
 *   -ENOMEM  also: this host has not so much
 *   others   those of mmap(2), and of ioctls on /dev/kvm
 */
CATNAP_API int catnap_vm_set_hotplug(struct catnap_vm *vm, const struct catnap_hotplug *hotplug);
/**
 * Asks the guest for another size, in bytes, while the VM runs or not. It is its driver's to see to
 * that, and may take its time: memory that is in use is not unplugged. Any thread.
 * Errors:
 *   -EINVAL  no multiple of block, or more than max
 *   -ENOENT  there is no such memory
 */
CATNAP_API int catnap_vm_set_hotplug_size(struct catnap_vm *vm, uint64_t bytes);

/** The state of it, in bytes. */
struct catnap_hotplug_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_hotplug_stats) */
	uint32_t reserved;
	uint64_t max, block; /**< as it was made */
	uint64_t requested;  /**< that the guest is asked to have */
	uint64_t plugged;    /**< that it has */
};

/**
 * Fills *@stats. Any thread, any time between create and destroy.
 * Errors:
 *   -ENOENT  there is no such memory
 *   -EINVAL  size
 */
CATNAP_API int catnap_vm_get_hotplug_stats(struct catnap_vm *vm,
					   struct catnap_hotplug_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
