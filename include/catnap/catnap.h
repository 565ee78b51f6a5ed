/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/catnap.h - a virtual machine as a library.
 *
 *	catnap_vm_config_init(&cfg);          fill in cfg: kernel, memory, vCPUs, halt polling, ...
 *	catnap_vm_create(&cfg, &vm);          everything that can fail early fails here
 *	catnap_vm_start(vm);                  loads the image, one thread per vCPU
 *	catnap_vm_wait(vm, timeout_ns, &exit);
 *	catnap_vm_destroy(&vm);
 *
 * Errors: 0 or a negative errno value; catnap_vm_last_error() has the sentence for people. Nothing
 * here prints, exits, or changes a signal's disposition, but for the one kick signal (kick_signal),
 * whose handler is installed by the first catnap_vm_start() of the process. Threads: a VM may be
 * used by several threads at once unless a function says otherwise; destroy is the last call. Any
 * number of VMs may live in one process. Since: everything here is in version 0.1.
 *
 * Callbacks (serial_output, log, a console's output) are called on threads of the VM, with no lock
 * held. From each of them every function may be called that says "Any thread", and those of
 * statistics and settings: catnap_vm_serial_input(), _console_input(), _console_resize(),
 * _signal_msi(), _set_halt_poll(), _set_link(), _set_balloon_target(), _power_button(),
 * _add/_del_interrupt_event(), _add/_del_doorbell(), all that begin with _get_, _resume(), and
 * catnap_vm_request_stop(). What would wait for the calling thread returns -EDEADLK, with a
 * sentence: catnap_vm_stop(), _pause(), _wait() with a time, _destroy(). A callback may block; the
 * vCPU on whose thread it is stands still meanwhile, a pause waits for it, and so do
 * catnap_vm_stop() and destroy, which have no limit. So one that waits for something waits for
 * catnap_vm_get_stopping_fd(), too, and comes back once that is readable.
 *
 * Structures begin with their own size, set by their _init function (a macro, which passes on how
 * large they are where the caller was built), and may grow at the end: see "Structs and their
 * sizes" in catnap/poll.h.
 */
#ifndef CATNAP_CATNAP_H
#define CATNAP_CATNAP_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>
#include <catnap/sandbox.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The library's version, "0.1.0". Any thread. */
CATNAP_API const char *catnap_version(void);

/** Opaque. Thread-safe. */
struct catnap_vm;

#define CATNAP_MAX_VCPUS 64

/** Who handles the local APIC, and with it HLT. */
enum catnap_irqchip {
	CATNAP_IRQCHIP_USER = 0, /**< catnap: HLT comes to user space and catnaps */
	CATNAP_IRQCHIP_KERNEL =
		1, /**< KVM: HLT stays in the kernel, halt polling is the kernel's */
};

/** What a kernel image is; CATNAP_IMAGE_AUTO looks at its contents, and takes none for flat. */
enum catnap_image_kind {
	CATNAP_IMAGE_AUTO = 0,
	CATNAP_IMAGE_PVH = 1,	    /**< ELF with a PVH note: 32-bit entry, hvm_start_info in EBX */
	CATNAP_IMAGE_MULTIBOOT = 2, /**< Multiboot 1: 32-bit entry, multiboot_info in EBX */
	CATNAP_IMAGE_FLAT = 3,	    /**< no format: loaded at 0x7c00, started there in real mode */
	CATNAP_IMAGE_BZIMAGE = 4,   /**< Linux bzImage, boot protocol 2.12 or later: 64-bit entry */
	CATNAP_IMAGE_LINUX64 = 5,   /**< Linux vmlinux (64-bit ELF) by its 64-bit entry */
};

/** How the guest is told of its hardware. */
enum catnap_hw {
	CATNAP_HW_ACPI = 0, /**< ACPI tables, hardware-reduced */
	CATNAP_HW_FDT =
		1, /**< a flattened device tree; bzImage and vmlinux by their 64-bit entry only */
	/** An Intel MultiProcessor table, and virtio-mmio devices on the command line of Linux: for
	 * kernels with neither; by their 64-bit entry only. */
	CATNAP_HW_MPTABLE = 2,
};

/** What virtio devices are found behind. */
enum catnap_transport {
	CATNAP_TRANSPORT_PCI = 0,  /**< virtio-pci on a PCI root bus */
	CATNAP_TRANSPORT_MMIO = 1, /**< virtio-mmio; there is no PCI bus */
};

/**
 * Who runs the devices. Where there is no io_uring for each vCPU when the first device is added
 * that needs one, a thread does in any case, and CATNAP_LOG_WARN says so: without any io_uring by
 * poll(2) and plain reads and writes.
 */
enum catnap_io {
	CATNAP_IO_VCPU = 0, /**< the vCPU that kicks them, on its own ring */
	CATNAP_IO_THREAD =
		1, /**< one thread of the VM's, which polls and sleeps as halt_poll says */
};

enum catnap_log_level { CATNAP_LOG_ERROR, CATNAP_LOG_WARN, CATNAP_LOG_INFO, CATNAP_LOG_DEBUG };

/**
 * What is done for a vCPU whose guest polls by itself, and has therefore switched off its host's
 * polling (MSR_KVM_POLL_CONTROL), when it halts all the same.
 */
enum catnap_after_guest {
	/** The kernel's rule: it sleeps at once. */
	CATNAP_AFTER_GUEST_NEVER = 0,
	/** It is polled for, but for no longer than one sleep is worth (as measured; before that 50
	 * us), and no longer than halt_poll allows (policy off: not at all). */
	CATNAP_AFTER_GUEST_BREAK_EVEN = 1,
	/** Its policy is asked, as for every halt: adaptive learns what guests leave of halts,
	 * apart from whole ones. Policy kernel keeps the kernel's rule. */
	CATNAP_AFTER_GUEST_LEARNED = 2,
};

struct catnap_vm_config {
	uint32_t size;	      /**< set by catnap_vm_config_init() */
	uint32_t vcpus;	      /**< 1 to CATNAP_MAX_VCPUS */
	uint64_t memory_size; /**< bytes, a multiple of 4096, at least 1 MiB */
	uint32_t irqchip;     /**< enum catnap_irqchip */
	uint32_t image_kind;  /**< enum catnap_image_kind */
	/** The image: a file, or kernel_size bytes at kernel_data, which are read by
	 * catnap_vm_create(). */
	const char *kernel_path;
	const void *kernel_data;
	size_t kernel_size;
	const char *cmdline;		   /**< NULL: empty */
	struct catnap_halt_poll halt_poll; /**< for every vCPU, at the start */
	/** I/O port at which a guest write ends the VM (the value is the exit's code); -1: none. */
	int32_t debug_exit_port;
	/** The signal with which vCPU threads are kicked out of the guest; default SIGRTMIN. */
	int32_t kick_signal;
	/**
	 * File descriptor to which a header line and then a line for each halt is written, for
	 * catnap replay; -1: none. Opened with O_APPEND. Stays the caller's. irqchip user only.
	 * A vCPU never waits for the reader of a pipe: what that leaves no room for is lost in the
	 * end, see catnap_vm_flush_halt_trace().
	 */
	int32_t halt_trace_fd;
	/** Processors for the vCPU threads: vcpu_affinity[i] is that of vCPU i, -1 for any. NULL:
	 * any. */
	const int32_t *vcpu_affinity;
	/** What the guest writes to its serial port; one call at a time, in order, on the thread of
	 * the vCPU that wrote, which goes on when it returns. See "Callbacks" above. NULL: lost. */
	void (*serial_output)(void *ctx, const void *data, size_t len);
	void *serial_ctx;
	/** Messages; any thread, one line without newline. What a guest can cause comes once a
	 * second from each of its devices at most; the next says how many were left out. The text
	 * may have parts that a guest or a file's name has chosen. See "Callbacks" above. NULL:
	 * none. */
	void (*log)(void *ctx, enum catnap_log_level level, const char *message);
	void *log_ctx;
	/** The initramfs: a file, or initramfs_size bytes at initramfs_data, as for the kernel.
	 * Neither: none. */
	const char *initramfs_path;
	const void *initramfs_data;
	size_t initramfs_size;
	/** Added to cmdline if the image is Linux, before a "--"; NULL: nothing. */
	const char *linux_cmdline;
	uint32_t hw; /**< enum catnap_hw */
	/**
	 * Not 0: the guest is told that its vCPUs have processors of their own
	 * (KVM_HINTS_REALTIME). Linux then loads its halt polling driver, and does without
	 * paravirtual spinlocks and TLB flushes.
	 */
	uint32_t realtime;
	/** enum catnap_after_guest; but for NEVER, irqchip user only. */
	uint32_t poll_after_guest;
	uint32_t transport; /**< enum catnap_transport */
	uint32_t io;	    /**< enum catnap_io */
	uint32_t rng;	    /**< not 0: a virtio entropy device */
	/**
	 * enum catnap_sandbox_mode, off by default: each vCPU thread gets a filter of system calls
	 * before it enters the guest. The callbacks above run under it, and may then read, write
	 * and poll what is open, lock, and allocate; the list is in docs/sandbox.md. The rest of
	 * the sandbox is in catnap/sandbox.h.
	 */
	uint32_t sandbox;
	/** Does for the VM what its threads may not do in the sandbox, see catnap/sandbox.h; stays
	 * the caller's, until the VM is destroyed. NULL: the VM makes one if it needs one. */
	struct catnap_keeper *keeper;
};

/** Defaults: 1 vCPU, 256 MiB, irqchip user, no image, halt polling as catnap_halt_poll_init(). */
CATNAP_API void catnap_vm_config_init(struct catnap_vm_config *cfg);
CATNAP_API void catnap_vm_config_init_sized(struct catnap_vm_config *cfg, size_t size);
#define catnap_vm_config_init(cfg) \
	catnap_vm_config_init_sized((cfg), sizeof(struct catnap_vm_config))

/**
 * Makes a VM: checks the configuration and the image, opens /dev/kvm, allocates memory and vCPUs.
 * All that cfg points to is copied or used up, but for file descriptors, contexts and callbacks. On
 * success *vm is the caller's, for catnap_vm_destroy(). On failure *vm is NULL, nothing is left
 * behind, and catnap_vm_last_error(NULL) on this thread has the sentence. Errors: -EINVAL
 * (configuration), -ENOEXEC (not an image that can be started), -ENOENT, -EACCES, ... (image file,
 * /dev/kvm), -ENOMEM, -ENOTSUP (this KVM lacks something that is needed), and what ioctls on
 * /dev/kvm return.
 */
CATNAP_API int catnap_vm_create(const struct catnap_vm_config *cfg, struct catnap_vm **vm);

/**
 * How much a device may do in a second. 0: no limit, or the default. While there is nothing left of
 * a burst, requests wait in the guest's queue and hold nobody up; one that is longer than what is
 * left goes through, and those after it wait the longer. A guest's reset of the device gives
 * nothing back.
 */
struct catnap_rate_limit {
	uint64_t bw;	    /**< bytes a second */
	uint64_t bw_burst;  /**< bytes that may be done at once after a rest; 0: a tenth of bw */
	uint64_t ops;	    /**< requests or packets a second */
	uint64_t ops_burst; /**< the same for them; 0: a tenth of ops, and 1 at least */
};

#define CATNAP_MAX_DISK_QUEUES 16

/** How an image is taken: always as a raw one, whose bytes are the disk's. */
enum catnap_disk_format {
	CATNAP_DISK_GUARDED, /**< refused if it looks like qcow2, VMDK, VHDX, VDI or such */
	CATNAP_DISK_RAW,     /**< never refused for what is in it */
};

/** A disk; catnap_disk_init() first, so that what a later version adds has its default. */
struct catnap_disk {
	uint32_t size;	   /**< set by catnap_disk_init() */
	uint32_t queues;   /**< 1 to CATNAP_MAX_DISK_QUEUES; 0: one for each vCPU, up to that */
	const char *path;  /**< a file, or a block device; a multiple of 512 bytes long */
	const char *id;	   /**< what the guest reads as its serial, 20 bytes; NULL: nothing */
	uint32_t readonly; /**< not 0: the guest cannot write, and the image is opened so */
	uint32_t direct;   /**< not 0: O_DIRECT, around the host's page cache */
	/** Of bytes read, written and zeroed, and of all requests. */
	struct catnap_rate_limit limit;
	uint32_t no_lock; /**< not 0: the image is not locked; the caller knows who else uses it */
	uint32_t format;  /**< enum catnap_disk_format */
};

/** Defaults: no path, one queue for each vCPU, to be written to, through the page cache, locked,
 * guarded, no limit. */
CATNAP_API void catnap_disk_init(struct catnap_disk *disk);
CATNAP_API void catnap_disk_init_sized(struct catnap_disk *disk, size_t size);
#define catnap_disk_init(disk) catnap_disk_init_sized((disk), sizeof(struct catnap_disk))

/**
 * Adds a virtio block device, between create and start; the order is that in which guests count
 * them. What @disk points to is copied. The image is locked until the VM is destroyed: no other
 * disk, of this VM or another, can be on it, unless all of them only read. A child of fork(2) does
 * not keep it locked.
 * A guest that may write to a raw image may write another format's first bytes on it: give such
 * images with CATNAP_DISK_RAW, or the next start is refused. Formats are never looked into.
 * Errors: -EINVAL (size, queues, id, format, a burst without its rate, a path that is none, an
 * image that is empty, in a format of its own, or not a multiple of 512 bytes, started already),
 * -EISDIR, -EBUSY (locked), -ENOSPC (16 devices), -ENOMEM, those of open(2), and those of
 * fcntl(2)'s F_OFD_SETLK, such as -ENOLCK: then there is no_lock. catnap_vm_last_error() has the
 * sentence; the VM is as before.
 */
CATNAP_API int catnap_vm_add_disk(struct catnap_vm *vm, const struct catnap_disk *disk);
/**
 * Looks again at how long the image of a disk is, a file or a block device, and tells the guest if
 * that has changed: its driver gets a configuration interrupt, and Linux has the new capacity at
 * once (it does not resize what is on the disk). @disk counts the disks from 0, in the order in
 * which they were added. *@bytes, unless @bytes is NULL, is the capacity then. Requests beyond the
 * end of an image that has become shorter fail. Any thread, from the disk's addition to destroy;
 * a guest that is paused learns of it later.
 * Errors: -ENOENT (no such disk), -EINVAL (the image is empty now, or not a multiple of 512 bytes
 * long), and those of fstat(2) and ioctl(2): the capacity stays what it was.
 */
CATNAP_API int catnap_vm_update_disk(struct catnap_vm *vm, uint32_t disk, uint64_t *bytes);

#define CATNAP_MAX_NET_QUEUES 32

/** A network interface; catnap_net_init() first. */
struct catnap_net {
	uint32_t size;	 /**< set by catnap_net_init() */
	uint32_t queues; /**< pairs of queues, 1 to CATNAP_MAX_NET_QUEUES; 0: 1 */
	const char *tap; /**< a TAP interface of the host's, which exists and is free */
	uint8_t mac[6];	 /**< not a multicast address; all zeroes: a random one */
	uint16_t mtu;	 /**< told to the guest, 68 or more; 0: not told */
	/** Of packets, which may have segments to be, for each direction by itself. */
	struct catnap_rate_limit limit;
};

/** Defaults: no TAP, one pair of queues, a random address, the guest's own MTU, no limit. */
CATNAP_API void catnap_net_init(struct catnap_net *net);
CATNAP_API void catnap_net_init_sized(struct catnap_net *net, size_t size);
#define catnap_net_init(net) catnap_net_init_sized((net), sizeof(struct catnap_net))

/**
 * Adds a virtio network device, between create and start. What @net points to is copied. Packets
 * for queue pair i are received by vCPU i (round and round), or by the I/O thread.
 * Errors: -EINVAL (size, queues, mac, mtu, a burst without its rate, not a TAP, one that was not
 * made for several queues, started already), -ENODEV (no such interface), -EBUSY (another program
 * has it), -ENAMETOOLONG, -ENOSPC (16 devices), -ENOMEM, and those of open(2) for /dev/net/tun.
 */
CATNAP_API int catnap_vm_add_net(struct catnap_vm *vm, const struct catnap_net *net);

/**
 * Plugs the cable of device number @device (see catnap_vm_get_device_stats()) in or out (@up 0),
 * while the VM runs or not. One whose interface was deleted stays unplugged. -EINVAL: it is no
 * network device.
 */
CATNAP_API int catnap_vm_set_link(struct catnap_vm *vm, uint32_t device, int up);

/** Sockets between guest and host; catnap_vsock_init() first. */
struct catnap_vsock {
	uint32_t size;	  /**< set by catnap_vsock_init() */
	uint32_t cid;	  /**< of the guest, 3 to 0xfffffffe */
	const char *path; /**< of the Unix socket to be made; at most 96 bytes */
};

/** Defaults: none; cid and path are to be set. */
CATNAP_API void catnap_vsock_init(struct catnap_vsock *vsock);
CATNAP_API void catnap_vsock_init_sized(struct catnap_vsock *vsock, size_t size);
#define catnap_vsock_init(vsock) catnap_vsock_init_sized((vsock), sizeof(struct catnap_vsock))

/**
 * Adds the virtio socket device, between create and start, once. A program on the host reaches port
 * P of the guest by connecting to the socket at path and writing "CONNECT P\n"; "OK N\n" comes back
 * first. The guest reaches port P of CID 2 where a program listens at path_P. The socket has mode
 * 0600, and is removed when the VM is destroyed, if it is still this one. Connections take no more
 * descriptors than leave the process 64, or a quarter, of its limit at this call (RLIMIT_NOFILE).
 * What guests have sent by the end and programs on the host are about to read reaches them:
 * catnap_vm_destroy() waits for that, 250 ms at most.
 * With a sandbox a keeper removes it, and connects to path_P, which may not be a symbolic link then
 * (catnap/sandbox.h); one is made here if the configuration names none.
 * Errors: -EINVAL (size, cid, started already), -EEXIST (there is one), -ENAMETOOLONG, -EADDRINUSE
 * (something is at path), -ENOSPC (16 devices), -ENOMEM, those of bind(2), and, where there is a
 * keeper, those of catnap_keeper_start() and catnap_keeper_add_socket().
 */
CATNAP_API int catnap_vm_set_vsock(struct catnap_vm *vm, const struct catnap_vsock *vsock);

/** A console beside the serial port; catnap_console_init() first. */
struct catnap_console {
	uint32_t size;	     /**< set by catnap_console_init() */
	uint16_t cols, rows; /**< 0: not known */
	/** What the guest writes, in pieces; one call at a time, on a thread that runs the device.
	 * See "Callbacks" above. NULL: lost. */
	void (*output)(void *ctx, const void *data, size_t len);
	void *ctx;
};

/** Defaults: output is lost, and the size is not known. */
CATNAP_API void catnap_console_init(struct catnap_console *console);
CATNAP_API void catnap_console_init_sized(struct catnap_console *console, size_t size);
#define catnap_console_init(console) \
	catnap_console_init_sized((console), sizeof(struct catnap_console))

/** Adds a virtio console (hvc0), between create and start, once. -EINVAL (size, started already),
 * -EEXIST, -ENOSPC, -ENOMEM. */
CATNAP_API int catnap_vm_set_console(struct catnap_vm *vm, const struct catnap_console *console);
/** Gives input to the console. Returns how many bytes it took: none while no driver uses it. Any
 * thread. */
CATNAP_API size_t catnap_vm_console_input(struct catnap_vm *vm, const void *data, size_t len);
/** Tells the guest its console's size. -ENOENT: there is no console. Any thread. */
CATNAP_API int catnap_vm_console_resize(struct catnap_vm *vm, uint16_t cols, uint16_t rows);

/** A memory balloon; catnap_balloon_init() first. */
struct catnap_balloon {
	uint32_t size;		 /**< set by catnap_balloon_init() */
	uint32_t deflate_on_oom; /**< not 0: a guest that runs out of memory takes from it */
	uint64_t target; /**< bytes that the guest is to give away; a multiple of 4096, less than
			    its memory */
};

/** Defaults: nothing is asked of the guest; deflate_on_oom. */
CATNAP_API void catnap_balloon_init(struct catnap_balloon *balloon);
CATNAP_API void catnap_balloon_init_sized(struct catnap_balloon *balloon, size_t size);
#define catnap_balloon_init(balloon) \
	catnap_balloon_init_sized((balloon), sizeof(struct catnap_balloon))

/**
 * Adds a virtio balloon, between create and start, once. Memory that the guest gives away, and
 * memory that it reports to be free, goes back to the host. -EINVAL (size, target, started
 * already), -EEXIST, -ENOSPC, -ENOMEM.
 */
CATNAP_API int catnap_vm_set_balloon(struct catnap_vm *vm, const struct catnap_balloon *balloon);
/** Changes the target, in bytes, while the VM runs or not. -EINVAL (see target), -ENOENT: there is
 * no balloon. Any thread. */
CATNAP_API int catnap_vm_set_balloon_target(struct catnap_vm *vm, uint64_t target);

/** What the balloon holds, and what the guest says of its memory. UINT64_MAX: it does not say. */
struct catnap_balloon_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_balloon_stats) */
	uint32_t reserved;
	uint64_t target, actual; /**< bytes asked for, and given, as the guest says */
	uint64_t released;	 /**< bytes given back to the host since the start */
	uint64_t reported;	 /**< of them, those that were reported to be free */
	uint64_t swap_in, swap_out, major_faults, minor_faults;
	uint64_t free, total, available, caches; /**< bytes */
};

/** Fills @stats, and asks the guest for newer ones. -ENOENT: there is no balloon; -EINVAL: size.
 * Any thread. */
CATNAP_API int catnap_vm_get_balloon_stats(struct catnap_vm *vm,
					   struct catnap_balloon_stats *stats);

/** Starts the vCPU threads. Once. If the calling thread is in SCHED_FIFO or SCHED_RR they are in
 * SCHED_RR, one below its priority, or at 1: no guest keeps a processor from what ends it. Errors:
 * -EALREADY, -EAGAIN (no thread), -EINVAL (kick signal). */
CATNAP_API int catnap_vm_start(struct catnap_vm *vm);

/** Why a VM ended. */
enum catnap_exit_reason {
	CATNAP_EXIT_NONE = 0,	      /**< it has not */
	CATNAP_EXIT_POWEROFF = 1,     /**< the guest powered off */
	CATNAP_EXIT_RESET = 2,	      /**< the guest asked for a reset */
	CATNAP_EXIT_TRIPLE_FAULT = 3, /**< see report */
	CATNAP_EXIT_KVM_ERROR = 4,    /**< KVM could not go on; see report */
	CATNAP_EXIT_DEBUG = 5,	      /**< a write to debug_exit_port; code is the value */
	CATNAP_EXIT_STOPPED = 6,      /**< catnap_vm_stop() */
	CATNAP_EXIT_HOST_ERROR = 7,   /**< code is a negative errno value; see report */
	CATNAP_EXIT_PANIC = 8,	      /**< the guest said that it panicked */
};

struct catnap_exit {
	uint32_t size;	 /**< set by the caller to sizeof(struct catnap_exit) */
	uint32_t reason; /**< enum catnap_exit_reason */
	int32_t code;
	uint32_t vcpu;	   /**< where it happened */
	char report[2048]; /**< lines for people: what failed, the registers, the instruction; or ""
			    */
};

/**
 * Waits until the VM has ended and its threads have left: at most @timeout_ns (UINT64_MAX: for
 * ever, 0: just looks). Fills @exit, if not NULL; also with -ETIMEDOUT, when reason is
 * CATNAP_EXIT_NONE, or why it is to end while threads have not left yet. Errors: -ETIMEDOUT,
 * -EINVAL (size), -EDEADLK (by a callback, with a time).
 */
CATNAP_API int catnap_vm_wait(struct catnap_vm *vm, uint64_t timeout_ns, struct catnap_exit *exit);
/**
 * After catnap_vm_wait(): writes what the vCPUs have gathered of the halt trace and not written;
 * catnap_vm_destroy() does so, too, but cannot tell. *@lost: the lines that are not in the file.
 * -EBUSY: it has not ended. -EAGAIN: some wait for the reader of a pipe, see poll(2), and may be
 * tried again; other errors are those of write(2), from the first of which on nothing was written.
 */
CATNAP_API int catnap_vm_flush_halt_trace(struct catnap_vm *vm, uint64_t *lost);
/** A file descriptor that is readable once the VM has ended; it stays the VM's. Any thread. */
CATNAP_API int catnap_vm_get_fd(struct catnap_vm *vm);
/**
 * A file descriptor that is readable as soon as the VM is to end, whoever says so, while its
 * threads are on their way: for callbacks that wait for something else. It stays the VM's, who
 * alone reads it. Any thread.
 */
CATNAP_API int catnap_vm_get_stopping_fd(struct catnap_vm *vm);
/**
 * Ends the VM as by pulling the plug, and does not wait; catnap_vm_wait() does. Of several causes
 * of an end the first counts. Any thread, any callback. No errors.
 */
CATNAP_API int catnap_vm_request_stop(struct catnap_vm *vm);
/**
 * The same, and waits until its vCPUs have left the guest, which takes as long as a callback does
 * not return, or the host holds a request up. -EDEADLK: called by a callback.
 */
CATNAP_API int catnap_vm_stop(struct catnap_vm *vm);
/**
 * Stops all vCPUs, and waits until they stand still; resume lets them go on. Pauses are not
 * counted: a VM is paused or it is not, whoever said so, and one resume ends any number of pauses.
 *
 *	calls, one after the other     the VM then     returns
 *	pause, pause                   stands still    0, 0
 *	pause, pause, resume           runs            0, 0, 0
 *	pause, resume, resume          runs            0, 0, 0
 *	resume                         runs            0
 *	pause, stop                    has ended       0, 0
 *
 * A pause that another thread's resume overtakes, before all vCPUs stood still, is -ECANCELED. Time
 * goes on meanwhile, for the guest too; a guest with kvmclock is told that it was stopped
 * (KVM_KVMCLOCK_CTRL), so that its watchdogs do not take it for stuck. It is told as well when the
 * process was stopped (SIGSTOP), or had no processor, for a second or more. Errors: -EINVAL (not
 * started, or ended), -ECANCELED, -EDEADLK (pause, called by a callback).
 */
CATNAP_API int catnap_vm_pause(struct catnap_vm *vm);
CATNAP_API int catnap_vm_resume(struct catnap_vm *vm);
/**
 * Presses the power button: a guest with ACPI is asked to shut down. Whether and when it does is
 * its own affair. -ENXIO: nobody in the guest listens to the button; -EINVAL: the VM does not run.
 */
CATNAP_API int catnap_vm_power_button(struct catnap_vm *vm);
/**
 * Stops the VM if it runs, frees everything, sets *vm to NULL. Nothing if *vm is NULL. In a child
 * of fork(2), whose copy has no threads, it frees that: the parent's VM goes on, its disks stay
 * locked. -EDEADLK: called by a callback; then nothing was done.
 */
CATNAP_API int catnap_vm_destroy(struct catnap_vm **vm);

/**
 * The sentence that belongs to the last error of @vm, or with NULL of this thread's last failed
 * catnap_vm_create(). Never NULL. The text is valid until the next call on the same VM or thread.
 */
CATNAP_API const char *catnap_vm_last_error(const struct catnap_vm *vm);

/** Gives input to the guest's serial port. Returns how many bytes it took, as a FIFO takes them.
 * Any thread, also while output is under way. */
CATNAP_API size_t catnap_vm_serial_input(struct catnap_vm *vm, const void *data, size_t len);

/**
 * A message-signalled interrupt, as a device would write it: @address 0xfee00000 | APIC id << 12 |
 * ...,
 * @data vector and delivery mode. Any thread. To a polling vCPU it costs no system call (irqchip
 * user). Errors: -EINVAL (no such destination).
 */
CATNAP_API int catnap_vm_signal_msi(struct catnap_vm *vm, uint64_t address, uint32_t data);

/**
 * An eventfd as an interrupt: each time it is signalled, the guest gets the message (@address,
 * @data), see catnap_vm_signal_msi(). What KVM_IRQFD is to KVM's irqchip. With irqchip user the
 * vCPU that the message names waits for it itself, in its own ring, with no thread in between; or
 * the I/O thread does, if there is one. Signals that come faster than they are taken become one
 * interrupt. The descriptor stays the caller's, who must not read it, and must outlive the VM or
 * its removal. Any thread, between create and destroy; after the start only without sandbox.
 * Errors: -EINVAL (no such address), -EBADF, -EEXIST (it is one already), -ENOSPC (32), -EPERM
 * (sandbox), and what KVM_IRQFD returns.
 */
CATNAP_API int catnap_vm_add_interrupt_event(struct catnap_vm *vm, int fd, uint64_t address,
					     uint32_t data);
/** -ENOENT. Nobody reads @fd once it returns; an interrupt that was taken before may still come. */
CATNAP_API int catnap_vm_del_interrupt_event(struct catnap_vm *vm, int fd);

/** A place that the guest writes to, to tell somebody of something. */
struct catnap_doorbell {
	uint32_t size;	  /**< set by catnap_doorbell_init() */
	uint32_t len;	  /**< of the write: 1, 2, 4 or 8 bytes; 0: any */
	uint64_t address; /**< guest-physical, where no memory is; or the I/O port */
	uint32_t port;	  /**< not 0: address is an I/O port */
	uint32_t match;	  /**< not 0: only writes of value count */
	uint64_t value;
};

/** Defaults: any length, any value, not a port. */
CATNAP_API void catnap_doorbell_init(struct catnap_doorbell *bell);
CATNAP_API void catnap_doorbell_init_sized(struct catnap_doorbell *bell, size_t size);
#define catnap_doorbell_init(bell) \
	catnap_doorbell_init_sized((bell), sizeof(struct catnap_doorbell))
/**
 * Hands out an eventfd (*@fd, non-blocking) that is signalled by each such write, in the kernel,
 * which then goes on in the guest at once. What KVM_IOEVENTFD is. The descriptor is the VM's, until
 * catnap_vm_del_doorbell() or destroy closes it. A doorbell comes before a device at its place. Any
 * thread, between create and destroy. Errors: -EINVAL (size, len, address, match), -EEXIST (there
 * is one), -ENOSPC (32), -EMFILE, and what KVM_IOEVENTFD returns.
 */
CATNAP_API int catnap_vm_add_doorbell(struct catnap_vm *vm, const struct catnap_doorbell *bell,
				      int *fd);
/** -ENOENT: not the descriptor of a doorbell of this VM. */
CATNAP_API int catnap_vm_del_doorbell(struct catnap_vm *vm, int fd);

/**
 * A pointer to @len bytes of guest memory at guest-physical @gpa, shared with the guest; valid
 * until the VM is destroyed. -EFAULT if not all of it is guest memory.
 */
CATNAP_API int catnap_vm_guest_memory(struct catnap_vm *vm, uint64_t gpa, size_t len, void **ptr);

/**
 * The ACPI table number @index: its name ("DSDT"; "RSDP" is the first), and the bytes, which are
 * the VM's, and constant once no more devices are added. They are made for every VM, whatever its
 * guest is told. -ENOENT: there are not so many.
 */
CATNAP_API int catnap_vm_get_acpi_table(struct catnap_vm *vm, uint32_t index, const char **name,
					const void **data, size_t *len);
/** The same for the flattened device tree. No errors. */
CATNAP_API int catnap_vm_get_device_tree(struct catnap_vm *vm, const void **data, size_t *len);

/**
 * Changes halt polling of one vCPU, or of all (@vcpu -1), while it runs. -EINVAL. With irqchip
 * kernel KVM has one setting for all: max_ns (policy off: 0; what adaptive has by default counts
 * as CATNAP_KERNEL_MAX_NS). Then also -ENOTSUP, without KVM_CAP_HALT_POLL, and -errno of ioctl(2).
 */
CATNAP_API int catnap_vm_set_halt_poll(struct catnap_vm *vm, int32_t vcpu,
				       const struct catnap_halt_poll *params);

/** Statistics of one vCPU. */
struct catnap_vcpu_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_vcpu_stats) */
	uint32_t vcpu;
	struct catnap_halt_stats
		halt;	/**< irqchip kernel: KVM's own figures, where it tells them */
	uint64_t exits; /**< returns of KVM_RUN */
	uint64_t exits_io, exits_mmio, exits_msr, exits_hlt, exits_window, exits_signal;
	uint64_t injected;    /**< interrupts injected */
	uint64_t pv_eoi;      /**< end-of-interrupts that cost no exit */
	uint64_t timer_armed; /**< times a kernel timer was set for the APIC timer */
	uint64_t unclaimed;   /**< accesses that no device answered */
	uint64_t cpu_ns;      /**< processor time of the vCPU's thread */
	uint64_t tsc_offset;  /**< guest TSC minus host TSC */
	/** Halts that were polled for though the guest had switched polling off (poll_after_guest).
	 * They are part of halt.halt_attempted_poll. */
	uint64_t after_guest_attempted;
	uint64_t after_guest_successful; /**< of those, the ones that did not sleep */
};

/** -EINVAL: no such vCPU, or size. Any time between create and destroy. */
CATNAP_API int catnap_vm_get_stats(struct catnap_vm *vm, uint32_t vcpu,
				   struct catnap_vcpu_stats *stats);

/** vCPU number of the I/O thread. */
#define CATNAP_IO_THREAD_VCPU UINT32_MAX

/**
 * What the halt polling of a vCPU, or of the I/O thread (CATNAP_IO_THREAD_VCPU), has learned; see
 * catnap_policy_get_stats(). Any thread, any time between create and destroy. Errors: -EINVAL (no
 * such vCPU, size), -ENOENT (no I/O thread), -ENOTSUP (irqchip kernel: KVM does not tell).
 */
CATNAP_API int catnap_vm_get_policy_stats(struct catnap_vm *vm, uint32_t vcpu,
					  struct catnap_policy_stats *stats);

/** Statistics of one virtio device. */
struct catnap_device_stats {
	uint32_t size;	     /**< set by the caller to sizeof(struct catnap_device_stats) */
	uint32_t type;	     /**< virtio's number: 1 network, 2 block, 4 entropy, ... */
	char name[64];	     /**< "disk root.img" */
	uint64_t requests;   /**< that the guest has made */
	uint64_t errors;     /**< of them, those that ended with an error */
	uint64_t read_bytes; /**< from the device, by the guest */
	uint64_t written_bytes;
	uint64_t faults; /**< what its driver did that no driver may do */
	uint32_t inflight;
	uint32_t status;	/**< the virtio status register */
	uint64_t limit_waits;	/**< how often a queue had to wait for the rate limit */
	uint64_t limit_wait_ns; /**< for how long some queue did */
};

/** Of the device number @device, in the order in which they were added. -ENOENT: there are not so
 * many. -EINVAL: size. Any time between create and destroy. */
CATNAP_API int catnap_vm_get_device_stats(struct catnap_vm *vm, uint32_t device,
					  struct catnap_device_stats *stats);

/** Statistics of the I/O thread. */
struct catnap_io_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_io_stats) */
	uint32_t reserved;
	struct catnap_halt_stats halt;
	uint64_t cpu_ns; /**< processor time of the thread */
};

/** -ENOENT: there is no I/O thread. -EINVAL: size. Any time between create and destroy. */
CATNAP_API int catnap_vm_get_io_stats(struct catnap_vm *vm, struct catnap_io_stats *stats);

/* What this host offers. */

enum catnap_check_state { CATNAP_CHECK_OK, CATNAP_CHECK_DEGRADED, CATNAP_CHECK_MISSING };

struct catnap_check {
	const char *name; /**< what was looked at; static */
	enum catnap_check_state state;
	char found[128];  /**< what was found */
	char advice[256]; /**< what its absence costs, what to do about it; "" if nothing */
};

/** The frequency of this host's TSC in kHz; 0 if it is not invariant, so that it is no clock. */
CATNAP_API uint32_t catnap_host_tsc_khz(void);

/**
 * What one KVM_RUN costs on this host that does not enter the guest, in ns (a median); 0 if it
 * cannot be told. A wake-up by user space pays it and one inside the kernel does not. Makes a small
 * VM for a moment.
 */
CATNAP_API uint64_t catnap_host_kvm_run_ns(void);

/**
 * Looks at the host: fills up to @max entries of @checks and returns how many there are in all.
 * Makes a small VM for a moment where /dev/kvm can be opened. No errors: what is missing is an
 * entry.
 */
CATNAP_API size_t catnap_check_host(struct catnap_check *checks, size_t max);

#ifdef __cplusplus
}
#endif
#endif
