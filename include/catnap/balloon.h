/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/balloon.h - memory that the guest gives back.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_BALLOON_H
#define CATNAP_BALLOON_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** A memory balloon; catnap_balloon_init() first. */
struct catnap_balloon {
	uint32_t size;		 /**< set by catnap_balloon_init() */
	uint32_t deflate_on_oom; /**< not 0: a guest that runs out of memory takes from it */
	uint64_t target; /**< bytes that the guest is to give away; a multiple of 4096, less than
			    its memory */
};

/** Sets the defaults: nothing is asked of the guest; deflate_on_oom. */
CATNAP_API void catnap_balloon_init(struct catnap_balloon *balloon);
CATNAP_API void catnap_balloon_init_sized(struct catnap_balloon *balloon, size_t size);
#define catnap_balloon_init(balloon) \
	catnap_balloon_init_sized((balloon), sizeof(struct catnap_balloon))

/**
 * Adds a virtio balloon, between create and start, once. Memory that the guest gives away, and
 * memory that it reports to be free, goes back to the host.
 * Errors:
 *   -EINVAL  size, target, started already
 *   -EEXIST
 *   -ENOSPC
 *   -ENOMEM
 */
CATNAP_API int catnap_vm_set_balloon(struct catnap_vm *vm, const struct catnap_balloon *balloon);
/**
 * Changes the target, in bytes, while the VM runs or not. Any thread.
 * Errors:
 *   -EINVAL  see target
 *   -ENOENT  there is no balloon
 */
CATNAP_API int catnap_vm_set_balloon_target(struct catnap_vm *vm, uint64_t target);

/** The state of the balloon, and the guest's own figures of its memory. UINT64_MAX: it does not
 * say. */
struct catnap_balloon_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_balloon_stats) */
	uint32_t reserved;
	uint64_t target, actual; /**< bytes asked for, and given, as the guest says */
	uint64_t released;	 /**< bytes given back to the host since the start */
	uint64_t reported;	 /**< of them, those that were reported to be free */
	uint64_t swap_in, swap_out, major_faults, minor_faults;
	uint64_t free, total, available, caches; /**< bytes */
};

/**
 * Fills @stats, and asks the guest for newer ones. Any thread.
 * Errors:
 *   -ENOENT  there is no balloon
 *   -EINVAL  size
 */
CATNAP_API int catnap_vm_get_balloon_stats(struct catnap_vm *vm,
					   struct catnap_balloon_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
