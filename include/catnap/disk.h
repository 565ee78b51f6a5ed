/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/disk.h - disks.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_DISK_H
#define CATNAP_DISK_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/limit.h>
#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

#define CATNAP_MAX_DISK_QUEUES 16
/** Bytes of a disk's id. */
#define CATNAP_MAX_DISK_ID 20

/** How an image is taken: always as a raw one, whose bytes are the disk's. */
enum catnap_disk_format {
	CATNAP_DISK_GUARDED, /**< refused if it looks like qcow2, VMDK, VHDX, VDI or such */
	CATNAP_DISK_RAW,     /**< never refused for what is in it */
};

/** A disk; catnap_disk_init() first, so that what a later version adds has its default. */
struct catnap_disk {
	uint32_t size;	 /**< set by catnap_disk_init() */
	uint32_t queues; /**< 1 to CATNAP_MAX_DISK_QUEUES; 0: one for each vCPU, up to that */
	/** A file, or a block device; a multiple of block_size long. NULL with fd. */
	const char *path;
	const char *id;	   /**< the guest's serial, CATNAP_MAX_DISK_ID bytes; NULL: none */
	uint32_t readonly; /**< not 0: the guest cannot write, and the image is opened so */
	uint32_t direct;   /**< not 0: O_DIRECT, around the host's page cache */
	/** Of bytes read, written and zeroed, and of all requests. */
	struct catnap_rate_limit limit;
	uint32_t no_lock; /**< not 0: the image is not locked; the caller knows who else uses it */
	uint32_t format;  /**< enum catnap_disk_format */
	/**
	 * The logical block size in bytes, 512 or 4096: the guest is told it, and requests that are
	 * not aligned to it are errors (virtio 1.2, 5.2.4 and 5.2.6). 0: 512 for a file, and for a
	 * block device its own.
	 */
	uint32_t block_size;
	uint32_t reserved; /**< 0 */
	/** The image as a descriptor instead of path, see "Given descriptors" in catnap/catnap.h;
	 * -1: none. Open to read, and to write unless readonly, without O_APPEND and O_DIRECT; not
	 * with direct. The lock is the open file description's (fcntl(2), F_OFD_SETLK), so that two
	 * duplicates of one descriptor are not kept apart. */
	int32_t fd;
	int32_t reserved2;
};

/** Sets the defaults: no path, one queue for each vCPU, to be written to, through the page cache,
 * locked, guarded, no limit, the image's own block size. */
CATNAP_API void catnap_disk_init(struct catnap_disk *disk);
CATNAP_API void catnap_disk_init_sized(struct catnap_disk *disk, size_t size);
#define catnap_disk_init(disk) catnap_disk_init_sized((disk), sizeof(struct catnap_disk))

/**
 * Adds a virtio block device, between create and start, or with hotplug at any time until the end;
 * the order is that in which guests count them. It gets the lowest number that no disk has, and the
 * lowest that no device has. A guest that runs is told, and finds it in a PCI slot that is free; one
 * that does not listen finds it after its next reset. In a pause it is told when it goes on. All
 * that @disk points to is copied. The image is locked until the disk is removed or the VM destroyed: no other disk, of this VM or another, can be on it, unless all of them only read. A child of fork(2) does
 * not keep it locked. A guest that may write to a raw image may write another format's first bytes
 * on it: give such images with CATNAP_DISK_RAW, or the next start is refused. Formats are never
 * looked into. After an error catnap_vm_last_error() has the sentence, and the VM is as before.
 * Errors:
 *   -EINVAL  size, queues, id, format, block_size, limit; a path that is none; both path and fd; a
 *            descriptor that is not open as it has to be; an image that is empty, in a format of
 *            its own, or not a multiple of its block size; started already, without hotplug
 *   -EBADF   fd is not open
 *   -EISDIR
 *   -EBUSY   locked; a snapshot is being made
 *   -ENOSPC  16 devices
 *   -ENOMEM
 *   others   those of open(2), and those of fcntl(2)'s F_OFD_SETLK, such as -ENOLCK: then there is
 *            no_lock
 */
CATNAP_API int catnap_vm_add_disk(struct catnap_vm *vm, const struct catnap_disk *disk);
/**
 * Asks the guest of a VM with hotplug to let go of a disk, as if somebody had pressed the button at
 * its slot. @disk is its number among the disks. Returns when the guest is asked. What it uses it
 * may keep for as long as it likes: the disk stays, and can be asked for again. When the guest has
 * let go of it, the disk is gone, with all that it had of the host's, and CATNAP_EVENT_DEVICE_REMOVED
 * tells; then its numbers are free for the next one. A guest that is reset lets go of it by that.
 * Nothing takes a disk away from a guest that keeps it. Any thread, any callback. After an error
 * nothing is asked.
 * Errors:
 *   -ENOENT   no such disk
 *   -ENOTSUP  the VM was made without hotplug
 *   -ENXIO    the guest does not listen: it has no driver for that, or has not come so far
 *   -EINVAL   the VM does not run
 */
CATNAP_API int catnap_vm_remove_disk(struct catnap_vm *vm, uint32_t disk);
/**
 * Looks again at how long the image of a disk is, a file or a block device, and tells the guest if
 * that has changed: its driver gets a configuration interrupt, and Linux has the new capacity at
 * once (it does not resize what is on the disk). @disk counts the disks from 0, in the order in
 * which they were added. *@bytes, unless @bytes is NULL, is the capacity then. Requests beyond the
 * end of an image that has become shorter fail. Any thread, from the disk's addition to destroy; a
 * guest that is paused learns of it later. After an error the capacity stays what it was.
 * Errors:
 *   -ENOENT  no such disk
 *   -EINVAL  the image is empty now, or not a multiple of its block size long
 *   others   those of fstat(2) and ioctl(2)
 */
CATNAP_API int catnap_vm_update_disk(struct catnap_vm *vm, uint32_t disk, uint64_t *bytes);

/**
 * Puts another image in the place of a disk's, while the VM runs or not. @disk counts the disks
 * from 0, in the order in which they were added. Of @image path or fd, direct, no_lock and format
 * count, as for catnap_vm_add_disk(); readonly is to be as it was added, block_size as it is or 0;
 * the rest stays the disk's. *@bytes, unless @bytes is NULL, is the capacity then.
 *
 * Requests that the guest has begun end first, on the image that they were made to; what it has
 * written is made durable there. Requests that come meanwhile wait in its queues and are made to
 * the new image; no vCPU waits with them. The lock goes to the new image. The guest's driver gets a
 * configuration interrupt, and Linux has the new capacity at once. The guest's cache of the old
 * image is its own affair: it unmounts first. All that it was told of the disk but the capacity
 * stays, and so does the disk's name in messages and statistics. An image that is the same file as
 * before is only looked at again, as by catnap_vm_update_disk().
 *
 * Any thread but the VM's, from the disk's addition to destroy. It waits for the host's disk, and
 * for requests for CATNAP_STOP_LIMIT_NS at most; in a pause for none, of which a long one may be
 * half done. After an error the disk is as it was.
 * Errors:
 *   -ENOENT     no such disk
 *   -EINVAL     readonly, block_size
 *   -EACCES     also a path, where the sandbox keeps the caller from opening files: a descriptor is
 *               taken there
 *   -ETIMEDOUT  requests do not end
 *   -EDEADLK    by a callback
 *   others      those of catnap_vm_add_disk() that are of an image, and those of fdatasync(2) on
 *               the old image; the guest's next flush fails then, too
 */
CATNAP_API int catnap_vm_change_disk(struct catnap_vm *vm, uint32_t disk,
				     const struct catnap_disk *image, uint64_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
