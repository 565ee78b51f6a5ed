/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/snapshot.h - a VM put down in files, and going on from them: in another process, on another
 * host, many times.
 *
 *	catnap_vm_pause(vm);
 *	catnap_snapshot_request_init(&rq);    rq.state_fd, rq.memory_fd: files, open to write
 *	catnap_vm_snapshot(vm, &rq);
 *	catnap_vm_resume(vm);
 *
 *	catnap_snapshot_open(state_fd, &s);
 *	catnap_restore_init(&how);            how.memory_fds: files, open to read
 *	catnap_vm_restore(&cfg, s, &how, &vm);
 *	catnap_snapshot_close(&s);
 *	catnap_vm_start(vm);
 *
 * A snapshot is a state file and one or more memory files. The state file has the VM's configuration
 * and the state of its vCPUs and devices; it names the memory files that belong to it. The first of
 * those has all of the guest's memory; each that follows is a diff, which has what had changed since
 * the one before. snapshot-format.md describes both. What a disk's image has is in neither:
 * images are the caller's to copy while the VM is paused.
 *
 * Files may come from anybody. What is wrong with them is one sentence, and no VM is left; a guest
 * that was tampered with can do no more than any other guest.
 *
 * Errors: 0 or a negative errno value; catnap_vm_last_error() has the sentence, with NULL unless the
 * call is on a VM. Since: everything here is in version 0.2.
 */
#ifndef CATNAP_SNAPSHOT_H
#define CATNAP_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/catnap.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of a snapshot's id, which is random. */
#define CATNAP_SNAPSHOT_ID 16
/** Bytes of a memory file's name. */
#define CATNAP_SNAPSHOT_NAME 255
/** Memory files of one snapshot: a full one and its diffs. */
#define CATNAP_SNAPSHOT_MEMORIES 1024

enum catnap_snapshot_kind {
	CATNAP_SNAPSHOT_FULL = 0, /**< all of memory */
	/** What has been written since the last snapshot of this VM, or since it was restored. */
	CATNAP_SNAPSHOT_DIFF = 1,
};

/** A state file that has been read; opaque. One thread at a time may use it. */
struct catnap_snapshot;

/** What a snapshot is to be, and where it goes. */
struct catnap_snapshot_request {
	uint32_t size; /**< set by catnap_snapshot_request_init() */
	uint32_t kind; /**< enum catnap_snapshot_kind */
	/** Files, open to write; what they have is lost. They stay the caller's. */
	int32_t state_fd, memory_fd;
	/** What the state file calls the memory file: a name, not a path. */
	const char *memory_name;
	/**
	 * Called once both files are written, while the VM still stands: to make them durable
	 * (fsync(2)) and give them their names. 0, or a negative errno value, with which the call
	 * fails, and the next diff has what this snapshot would have had. NULL: none.
	 */
	int (*commit)(void *ctx);
	void *commit_ctx;
	/**
	 * Of a diff: the snapshot that it is laid behind, if the caller keeps the files of one
	 * together. Its memory has to be that of this VM's last snapshot; it may have been merged
	 * since. The new state names its memory files, and then this one. It stays the caller's.
	 * NULL: the memory files under the names that this VM has given them.
	 */
	struct catnap_snapshot *base;
};

/** Sets the defaults: full, no descriptors, the name "memory". */
CATNAP_API void catnap_snapshot_request_init(struct catnap_snapshot_request *rq);
CATNAP_API void catnap_snapshot_request_init_sized(struct catnap_snapshot_request *rq, size_t size);
#define catnap_snapshot_request_init(rq) \
	catnap_snapshot_request_init_sized((rq), sizeof(struct catnap_snapshot_request))

/**
 * Makes a snapshot of a VM that stands still in a pause. It goes on standing while the call runs: a
 * resume that comes meanwhile takes effect at its end. What guests and devices have begun has ended
 * before (catnap_vm_pause()). After a failure the VM is as before, and so is what the next diff will
 * have; of the files nothing is to be used.
 *
 * A diff needs track_dirty in the configuration, and an earlier snapshot, or a restore. Memory that
 * was handed out by catnap_vm_guest_memory() is in every diff.
 *
 * Any thread but the VM's. Errors:
 *   -EINVAL   @rq is NULL, its size, kind or memory_name; the VM is not paused
 *   -ENOTSUP  a diff without track_dirty; a device whose back end is another process
 *   -ENOENT   a diff of nothing
 *   -ESTALE   base is another snapshot than this VM's last one
 *   -ENOSPC   too many diffs, or no room on the disk
 *   -EBUSY    another snapshot is being made
 *   -EDEADLK  by a callback
 *   others    -EBADF, -ENOMEM, what commit returned, and those of write(2), ftruncate(2) and KVM's
 *             ioctls
 */
CATNAP_API int catnap_vm_snapshot(struct catnap_vm *vm, const struct catnap_snapshot_request *rq);

/**
 * Reads the state file @fd, which stays the caller's, from its beginning. All of its checksums and
 * lengths are right when it returns 0. Errors: -EINVAL (no state file, or one that is damaged),
 * -ENOTSUP (of another version), -EFBIG, -ENOMEM, and those of pread(2).
 */
CATNAP_API int catnap_snapshot_open(int fd, struct catnap_snapshot **s);
/** Frees it, and sets *@s to NULL; NULL is fine. */
CATNAP_API void catnap_snapshot_close(struct catnap_snapshot **s);

struct catnap_snapshot_info {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_snapshot_info) */
	uint32_t vcpus;
	uint64_t memory_size;
	uint64_t taken_ns;		 /**< when it was made, CLOCK_REALTIME */
	uint32_t irqchip, hw, transport; /**< enum catnap_irqchip, catnap_hw, catnap_transport */
	uint32_t tsc_khz;		 /**< of the guest's TSC; 0: not known */
	uint32_t memories;		 /**< how many memory files it needs */
	uint32_t devices;
	int32_t debug_exit_port; /**< -1: none */
	uint32_t reserved;
	char version[32];		/**< of the catnap that made it */
	char name[CATNAP_MAX_NAME + 1]; /**< of the VM; "": none */
};

/** Fills @info. Errors: -EINVAL (size). */
CATNAP_API int catnap_snapshot_get_info(struct catnap_snapshot *s,
					struct catnap_snapshot_info *info);

/** One of its memory files. */
struct catnap_snapshot_memory {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_snapshot_memory) */
	uint32_t kind; /**< enum catnap_snapshot_kind: the first is full, all others are diffs */
	uint8_t id[CATNAP_SNAPSHOT_ID];
	char name[CATNAP_SNAPSHOT_NAME + 1]; /**< without a '/' */
};

/** Fills @memory with what is known of memory file @n. Errors: -ENOENT (there are not so many),
 * -EINVAL (size). */
CATNAP_API int catnap_snapshot_get_memory(struct catnap_snapshot *s, uint32_t n,
					  struct catnap_snapshot_memory *memory);

/** One of its devices, by the order in which they were added. */
struct catnap_snapshot_device {
	uint32_t size;	 /**< set by the caller to sizeof(struct catnap_snapshot_device) */
	uint32_t type;	 /**< virtio's number: 1 network, 2 block, 4 entropy, ... */
	uint32_t number; /**< among those of its type */
	uint32_t readonly;
	uint8_t mac[6];
	uint8_t reserved[2];
	uint32_t cid;
	char place[4096]; /**< an image, a TAP, a socket; "": none that has a name */
};

/** Fills @device with device @n. Errors: -ENOENT (there are not so many), -EINVAL (size). */
CATNAP_API int catnap_snapshot_get_device(struct catnap_snapshot *s, uint32_t n,
					  struct catnap_snapshot_device *device);

/**
 * Compares memory file @n, which is open to be read at @fd, with what the state says of it, and reads
 * all of it for its checksums. Errors: -ENOENT (there are not so many), -EINVAL (another file, or one
 * that is damaged), -ENOTSUP, -ENOMEM, and those of pread(2).
 */
CATNAP_API int catnap_snapshot_verify_memory(struct catnap_snapshot *s, uint32_t n, int fd);

/**
 * Writes the snapshot as one that needs a single, full memory file: its own with the diffs on top.
 * @memory_fds: all of its memory files, open to be read. @to: where it goes; of it kind and base do not
 * count. The next diff of a VM whose last snapshot it was can be laid behind it (base).
 * Errors: those of catnap_snapshot_verify_memory() and of catnap_vm_snapshot() that are of files.
 */
CATNAP_API int catnap_snapshot_merge(struct catnap_snapshot *s, const int32_t *memory_fds,
				     uint32_t memory_count,
				     const struct catnap_snapshot_request *to);

enum catnap_memory_mode {
	/** A private mapping of the file: pages come when they are touched, and those that are not
	 * written are shared with whoever else has the file. Nobody may change the file, or shorten
	 * it, while the VM is there. */
	CATNAP_MEMORY_MAP = 0,
	CATNAP_MEMORY_COPY = 1, /**< all is read now, and the file is not needed any more */
	/** Another process serves each page that is touched, see handler. */
	CATNAP_MEMORY_UFFD = 2,
	/**
	 * As MAP, and the pages that working_set_fd names are brought into the page cache ahead,
	 * all at once. Without it the VM can be asked which pages its guest touches:
	 * catnap_vm_write_working_set(). For that the file leaves the page cache first, as far as
	 * nobody has it mapped, and its pages come one by one.
	 */
	CATNAP_MEMORY_WORKING_SET = 3,
};

/** How a VM goes on from a snapshot. */
struct catnap_restore {
	uint32_t size;	      /**< set by catnap_restore_init() */
	uint32_t memory_mode; /**< enum catnap_memory_mode; diffs are always read */
	/** The memory files, in the order of catnap_snapshot_get_memory(), open to be read. They
	 * stay the caller's, and may be closed when the call returns. */
	const int32_t *memory_fds;
	uint32_t memory_count;
	uint32_t paused; /**< not 0: catnap_vm_start() leaves it in a pause */
	/** Not 0: the guest's clocks, the TSC and kvmclock, go on as if it had run meanwhile, by the
	 * host's CLOCK_REALTIME. 0: they go on where they were. */
	uint32_t clock_realtime;
	/** Not 0: what halt polling had learned is left behind. */
	uint32_t forget;
	/**
	 * Other places than those that the snapshot has, by number among the disks; NULL: none. Of
	 * an element path or fd, direct, no_lock, format and limit count; one with neither path nor
	 * fd changes nothing. disk_size is the size of an element.
	 */
	const struct catnap_disk *disks;
	uint32_t disk_count, disk_size;
	/** The same for interfaces: tap, tap_fds, stream or stream_fd; a stream that was one must be
	 * given. A MAC that is not all zeroes is the interface's new one. */
	const struct catnap_net *nets;
	uint32_t net_count, net_size;
	/** Path or fd of the socket device; NULL: as it was. */
	const struct catnap_vsock *vsock;
	/** Where a console's output goes, and its size if that is not 0; NULL: it is lost. */
	const struct catnap_console *console;
	/**
	 * With CATNAP_MEMORY_UFFD: the Unix socket at which the one who serves memory listens. It
	 * gets a userfaultfd(2) by SCM_RIGHTS, and as JSON an array with base_host_virt_addr, size
	 * and offset of each region, as Firecracker's handlers do; offset is the place in the memory
	 * file. memory_fds are not needed then. It keeps the connection as long as it serves, see
	 * catnap_vm_get_memory_handler_fd().
	 */
	const char *handler;
	/** With CATNAP_MEMORY_WORKING_SET: what catnap_vm_write_working_set() has written, open to
	 * be read. It stays the caller's. -1: none so far. */
	int32_t working_set_fd;
	int32_t reserved; /**< 0 */
};

/** Sets the defaults: by mapping, running, clocks as they were, with what was learned, nothing
 * changed. */
CATNAP_API void catnap_restore_init(struct catnap_restore *how);
CATNAP_API void catnap_restore_init_sized(struct catnap_restore *how, size_t size);
#define catnap_restore_init(how) catnap_restore_init_sized((how), sizeof(struct catnap_restore))

/**
 * Makes a VM of @s, with its devices, as it was: catnap_vm_start() lets it go on. @cfg is as for
 * catnap_vm_create(), but these members are the snapshot's, whatever @cfg has: vcpus, memory_size,
 * irqchip, hw, transport, rng, realtime, guest_hlt, debug_exit_port, cmdline, linux_cmdline, and the
 * modifiers. An image (kernel, initramfs) is needed only if on_reset is to begin from one. Between
 * this and the start interrupt events and doorbells may be added, and no devices.
 *
 * On failure *vm is NULL, and nothing is left behind. Errors: those of catnap_vm_create(), of
 * catnap_vm_add_disk() and the like for devices' places, of catnap_snapshot_verify_memory() but for
 * the pages' checksums, which are not looked at; -EINVAL (how, @s is damaged), -ENOTSUP (this host
 * lacks what the guest was told of, such as a feature of the processor; the sentence names it).
 */
CATNAP_API int catnap_vm_restore(const struct catnap_vm_config *cfg, struct catnap_snapshot *s,
				 const struct catnap_restore *how, struct catnap_vm **vm);

/**
 * Returns a file descriptor that is readable, see poll(2), once nobody serves the VM's memory any
 * more (CATNAP_MEMORY_UFFD): then catnap_vm_check_memory_handler() is to be called. It stays the
 * VM's. Any thread. -ENOTSUP: memory is not served.
 */
CATNAP_API int catnap_vm_get_memory_handler_fd(struct catnap_vm *vm);
/**
 * Ends the VM if nobody serves its memory any more (CATNAP_EXIT_HOST_ERROR): its vCPUs may wait for a
 * page for ever. Any thread that does not wait for a page itself. -ENOTSUP as above.
 */
CATNAP_API int catnap_vm_check_memory_handler(struct catnap_vm *vm);

/**
 * Writes to @fd, a file that is emptied, which pages of the guest's memory have been touched since
 * the VM was restored, with CATNAP_MEMORY_WORKING_SET and no working_set_fd. A second after the
 * start is a good moment. To make the file durable, and give it its name, is the caller's. Any
 * thread. Errors:
 *   -ENOTSUP  the VM was not restored so, or it was reset since
 *   others    -ENOMEM, and those of write(2) and ftruncate(2)
 */
CATNAP_API int catnap_vm_write_working_set(struct catnap_vm *vm, int fd);
/**
 * Reads @fd, which catnap_vm_write_working_set() has written, and compares it with @s. Errors:
 *   -EINVAL   it is no such file, or damaged
 *   -ENOTSUP  it has another format
 *   -ESTALE   it is of another snapshot
 *   others    -ENOMEM, and those of pread(2)
 */
CATNAP_API int catnap_snapshot_verify_working_set(struct catnap_snapshot *s, int fd);

#ifdef __cplusplus
}
#endif
#endif
