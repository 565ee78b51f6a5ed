/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/pmem.h - files of the host that a guest has in its address space.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_PMEM_H
#define CATNAP_PMEM_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/disk.h>
#include <catnap/limit.h>
#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** Persistent memory; catnap_pmem_init() first. */
struct catnap_pmem {
	uint32_t size;	   /**< set by catnap_pmem_init() */
	uint32_t readonly; /**< not 0: the file is opened so, and what the guest writes is lost */
	/** A file, or a block device; a multiple of 2 MiB long, or of 512 bytes if readonly. NULL with
	 * fd. */
	const char *path;
	/** Of flushes. Each counts as one operation, and as many bytes as the file has. */
	struct catnap_rate_limit limit;
	uint32_t no_lock; /**< not 0: the file is not locked; the caller knows who else uses it */
	uint32_t format;  /**< enum catnap_disk_format */
	/** The file as a descriptor instead of path, as that of struct catnap_disk; -1: none. */
	int32_t fd;
	int32_t reserved;
};

/** Defaults: no path, to be written to, locked, guarded, no limit. */
CATNAP_API void catnap_pmem_init(struct catnap_pmem *pmem);
CATNAP_API void catnap_pmem_init_sized(struct catnap_pmem *pmem, size_t size);
#define catnap_pmem_init(pmem) catnap_pmem_init_sized((pmem), sizeof(struct catnap_pmem))

/**
 * Adds a virtio persistent memory device, between create and start: the file is mapped, shared with
 * whoever else uses it, and the guest has it in its address space behind its own memory (Linux:
 * /dev/pmem0, with no page cache of its own if mounted with dax). What the guest writes is durable
 * once it has flushed, by an fdatasync(2). All that @pmem points to is copied. The file is locked
 * and guarded as a disk's is. While the VM runs nobody makes it shorter, and its file system has
 * room for its holes: else the VM ends when it gets there.
 * Errors:
 *   -EINVAL  size, format, limit; a path that is none; both path and fd; a descriptor that is not
 *            open as it has to be; a file that is empty, in a format of its own, or of a length that
 *            is not as it has to be; started already; no_rings
 *   -EBADF   fd is not open
 *   -EISDIR
 *   -EBUSY   in use by another disk or VM, and still after a quarter of a second
 *   -ENOSPC  there are too many devices, or the processor has no addresses for it
 *   -ENOMEM
 *   others   those of open(2), mmap(2), and of ioctls on /dev/kvm
 */
CATNAP_API int catnap_vm_add_pmem(struct catnap_vm *vm, const struct catnap_pmem *pmem);
/**
 * Changes the limit of device @pmem, counted from 0 among those of its kind. Any thread, any time
 * between create and destroy.
 * Errors:
 *   -ENOENT  there is no such device
 *   -EINVAL  limit
 *   -ENOSPC  nothing is left to wait by
 */
CATNAP_API int catnap_vm_set_pmem_limit(struct catnap_vm *vm, uint32_t pmem,
					const struct catnap_rate_limit *limit);

#ifdef __cplusplus
}
#endif
#endif
