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
 * here prints, exits, or changes a signal's disposition, but for the one kick signal (see "The kick
 * signal" below). Threads: a VM may be used by several threads at once unless a function says
 * otherwise; destroy is the last call. Any number of VMs may live in one process. Since: the manual
 * (section 3, VERSIONS) says which version a function came with. Documents (embedding.md,
 * sandbox.md) are installed with the library, in share/doc/catnap.
 *
 * The kick signal. A vCPU's thread is brought out of the guest by a signal, kick_signal. The first
 * catnap_vm_start() of the process installs the library's handler for it, once. A handler that the
 * program has for that signal is never replaced: create and start return -EBUSY. Before the start
 * the program may ignore or block the signal; from then on it leaves the signal's disposition
 * alone. A signal that comes to a thread without a vCPU does nothing. The shared library stays in
 * memory after dlclose(3), and the handler with it; a plugin that is linked with the static library
 * is to be linked with -z nodelete for that. Two copies of the library in one process need two
 * signals.
 *
 * fork(2). A VM belongs to the process that made it. A child has no copy of the guest's memory
 * (MADV_DONTFORK), nor the VM's threads. It may give back what else it has by catnap_vm_destroy().
 * That frees it and closes the child's descriptors. It waits for nobody, and touches nothing that
 * the parent goes on with: files, sockets, the halt trace. Every other call returns -EPERM with a
 * sentence there (a call that returns a number of bytes: 0), but for catnap_vm_last_error(),
 * _get_name() and _get_vcpu_count(). Pointers into guest memory are not valid in a child. The child
 * may make VMs of its own. A child that only calls execve(2) need not do anything: no descriptor of
 * a VM outlives that. The child of vfork(2) may do nothing else.
 *
 * Callbacks (serial_output, log, thread_start, a console's output) are called with no lock held, on
 * the VM's threads; log also on a thread of the caller's, from within catnap_vm_create(), the
 * functions that add something, a start that fails, and destroy. From each of them all functions
 * may be called, of this VM and of others, but for these on the callback's own VM, which return
 * -EDEADLK with a sentence, as they would wait for the calling thread or free what it uses:
 *
 *	catnap_vm_start(), _stop(), _pause(), _reset(), _destroy(), _sandbox_thread(); _wait() with
 *	a time;
 *	catnap_vm_change_disk();
 *	catnap_vm_add_disk(), _add_net(), _add_pmem(), _add_vhost(), _set_vsock(),
 *	_set_console(), _set_balloon(), _set_hotplug();
 *	from log on a thread of the caller's also _request_destroy().
 *
 * To end, pause, reset or destroy from there: catnap_vm_request_stop(), _request_pause(),
 * _request_reset(), _request_destroy(). A callback may block. The vCPU on whose thread it is stands
 * still meanwhile, and no other. catnap_vm_stop(), _pause() and _destroy() wait for that thread,
 * for CATNAP_STOP_LIMIT_NS at most. So a callback that waits for something waits for
 * catnap_vm_get_stopping_fd() as well, and comes back once that is readable. Two VMs whose
 * callbacks wait for each other's end wait until that limit.
 *
 * States (and embedding.md). A VM is made by catnap_vm_create(), runs once catnap_vm_start() has
 * succeeded, may be paused while it runs, is ending from its end on, whoever asked for it, until
 * its threads have left, and has ended then. Stopped before its start, it has ended. Each call
 * returns:
 *
 *	                            made        runs        paused      ending      has ended
 *	add_disk, add_net, add_pmem,
 *	add_vhost, set_vsock,
 *	set_console, set_balloon,
 *	set_hotplug                 0           -EINVAL     -EINVAL     -EINVAL     -EINVAL
 *	add_disk, add_net, hotplug  0           0           0           -EINVAL     -EINVAL
 *	remove_disk, _net, hotplug  -EINVAL     0, -ENXIO   0, -ENXIO   -EINVAL     -EINVAL
 *	... without hotplug         -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP
 *	start                       0           -EALREADY   -EALREADY   -EALREADY   -EALREADY
 *	... stopped before                                                          -ECANCELED
 *	sandbox_thread              -EINVAL     0           0           0           0
 *	... stopped before                                                          -EINVAL
 *	pause, request_pause        -EINVAL     0           0           -EINVAL     -EINVAL
 *	resume                      -EINVAL     0           0           -EINVAL     -EINVAL
 *	reset, request_reset        -EINVAL     0           0           -EINVAL     -EINVAL
 *	... on_reset END            -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP    -ENOTSUP
 *	power_button                -EINVAL     0, -ENXIO   0, -ENXIO   -EINVAL     -EINVAL
 *	wait                        -ETIMEDOUT  -ETIMEDOUT  -ETIMEDOUT  -ETIMEDOUT  0
 *	flush_halt_trace            -EBUSY      -EBUSY      -EBUSY      -EBUSY      0
 *	get_vcpu_tid, get_io_tid    -ESRCH      the id      the id      the id      -ESRCH
 *	next_event                  -EAGAIN     0 while there are events, then -EAGAIN
 *	request_stop, stop,
 *	request_destroy, destroy    0           0           0           0           0
 *
 * All others do the same in every state. A message, input or setting that comes before the start
 * is there when the guest begins; in a pause the guest finds it when it goes on; after the end
 * nobody looks at it, and statistics stay what they were.
 *
 * Structures begin with their own size, set by their _init function (a macro, which passes on how
 * large they are where the caller was built), and may grow at the end: see "Structs and their
 * sizes" in catnap/poll.h. A function that is given NULL for a structure, or for where a result
 * goes that it does not call optional, returns -EINVAL.
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

/** Returns the library's version, "0.2.0"; CATNAP_VERSION_STRING is that of the headers. Any
 * thread. */
CATNAP_API const char *catnap_version(void);

/** Opaque. Thread-safe. */
struct catnap_vm;

#define CATNAP_MAX_VCPUS 64
/** Bytes of a VM's name. */
#define CATNAP_MAX_NAME 63
/** vCPU number of the I/O thread. */
#define CATNAP_IO_THREAD_VCPU UINT32_MAX

/** The handler of the local APIC, and with it of HLT. */
enum catnap_irqchip {
	CATNAP_IRQCHIP_USER = 0, /**< catnap: HLT comes to user space and catnaps */
	CATNAP_IRQCHIP_KERNEL =
		1, /**< KVM: HLT stays in the kernel, halt polling is the kernel's */
};

/** The kind of a kernel image; CATNAP_IMAGE_AUTO looks at its contents, and takes none for flat. */
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

/** The transport that virtio devices are found behind. */
enum catnap_transport {
	CATNAP_TRANSPORT_PCI = 0,  /**< virtio-pci on a PCI root bus */
	CATNAP_TRANSPORT_MMIO = 1, /**< virtio-mmio; there is no PCI bus */
};

/**
 * The threads that run the devices. Where there is no io_uring for each vCPU when the VM is made, a
 * thread of its own does in any case, and CATNAP_LOG_WARN says so: without any io_uring by poll(2)
 * and plain reads and writes. See also no_rings.
 */
enum catnap_io {
	CATNAP_IO_VCPU = 0, /**< the vCPU that kicks them, on its own ring */
	CATNAP_IO_THREAD =
		1, /**< one thread of the VM's, which polls and sleeps as halt_poll says */
};

enum catnap_log_level { CATNAP_LOG_ERROR, CATNAP_LOG_WARN, CATNAP_LOG_INFO, CATNAP_LOG_DEBUG };

/**
 * How the host treats a halt of a vCPU whose guest polls by itself. Such a guest has switched off
 * its host's polling (MSR_KVM_POLL_CONTROL).
 */
enum catnap_after_guest {
	/** The vCPU sleeps at once, by the kernel's rule. Callers that were built with older headers
	 * have this. */
	CATNAP_AFTER_GUEST_NEVER = 0,
	/** The host polls, for no longer than one sleep is worth (as measured; before that 50 us),
	 * and no longer than halt_poll allows (policy off: not at all). */
	CATNAP_AFTER_GUEST_BREAK_EVEN = 1,
	/** The default. The vCPU's policy is asked, as for every halt. Policy adaptive learns what
	 * guests leave of halts, apart from whole ones. Policy kernel keeps the kernel's rule. */
	CATNAP_AFTER_GUEST_LEARNED = 2,
};

/** The end of a guest that asks for a reset, or its new beginning. A triple fault is no such
 * request: it ends the VM. */
enum catnap_on_reset {
	CATNAP_ON_RESET_END = 0, /**< it ends, CATNAP_EXIT_RESET */
	/**
	 * It begins anew, in the same VM, as by catnap_vm_reset(). For that the VM keeps the image
	 * and the initramfs: the files open, or the bytes copied.
	 */
	CATNAP_ON_RESET_RESTART = 1,
};

/** Of which pages the guest's memory is. */
enum catnap_memory_pages {
	CATNAP_PAGES_HOST = 0, /**< as the host has it (/sys/kernel/mm/transparent_hugepage) */
	CATNAP_PAGES_TRANSPARENT = 1, /**< transparent huge pages wherever the host has some */
	CATNAP_PAGES_SMALL = 2,	      /**< no transparent huge pages */
	CATNAP_PAGES_2M = 3,	      /**< pages of 2 MiB that the host has set aside (hugetlbfs) */
	CATNAP_PAGES_1G = 4,	      /**< the same of 1 GiB */
};

enum catnap_cpuid_register {
	CATNAP_CPUID_EAX = 0,
	CATNAP_CPUID_EBX = 1,
	CATNAP_CPUID_ECX = 2,
	CATNAP_CPUID_EDX = 3,
};

/**
 * A change of what CPUID tells the guest, after all that KVM and the library have to say: the bits
 * of mask become those of value. An element of an array, which does not grow.
 */
struct catnap_cpuid_modifier {
	uint32_t leaf, subleaf; /**< subleaf 0 where the leaf has none */
	uint32_t reg;		/**< enum catnap_cpuid_register */
	uint32_t mask, value;
	uint32_t reserved; /**< 0 */
};

/** A change of an MSR as the guest finds it: the bits of mask become those of value. */
struct catnap_msr_modifier {
	uint32_t index;
	uint32_t reserved; /**< 0 */
	uint64_t mask, value;
};

/** How many there may be of each of these. */
#define CATNAP_MAX_CPU_MODIFIERS 1024

#define CATNAP_MAX_NODES 16

/**
 * A NUMA node of the guest: vCPUs, and memory that is near them. Memory goes to the nodes in their
 * order, from address 0 on. A node has vCPUs, memory or both.
 */
struct catnap_node {
	uint64_t vcpus;	      /**< bit n: vCPU n is in it; a vCPU is in one node */
	uint64_t memory_size; /**< bytes, a multiple of the pages of memory_pages; 0: none */
	/** The NUMA nodes of the host that its memory may come from: bit n is node n. 0: those of
	 * memory_host_nodes. */
	uint64_t host_nodes;
	/** How far its vCPUs are from the memory of each node, as in ACPI's SLIT: 10 from its own, 11
	 * to 254 from another's, 255: not to be reached. All 0: 20 from each other one's. */
	uint8_t distances[CATNAP_MAX_NODES];
};

struct catnap_vm_config {
	uint32_t size;	      /**< set by catnap_vm_config_init() */
	uint32_t vcpus;	      /**< 1 to CATNAP_MAX_VCPUS */
	uint64_t memory_size; /**< bytes, a multiple of 4096, 1 MiB to 64 TiB */
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
	/** The signal with which vCPU threads are kicked out of the guest: SIGRTMIN, the default, to
	 * SIGRTMAX. See "The kick signal" above. */
	int32_t kick_signal;
	/**
	 * File descriptor to which a header line and then a line for each halt is written, for
	 * catnap replay; -1: none. Open for writing, or catnap_vm_create() refuses it; with O_APPEND
	 * if something else writes to the file as well. Stays the caller's. irqchip user only.
	 * A vCPU never waits for the reader of a pipe. Lines for which the pipe has no room are lost
	 * in the end, see catnap_vm_flush_halt_trace().
	 */
	int32_t halt_trace_fd;
	/** Processors for the vCPU threads: vcpu_affinity[i] is that of vCPU i, -1 for any of the
	 * process, see catnap_vm_start(). NULL: any. One that the process may not use (a cpuset)
	 * is refused by catnap_vm_create(). */
	const int32_t *vcpu_affinity;
	/** Takes what the guest writes to its serial port; one call at a time, in order, on the
	 * thread of the vCPU that wrote, which goes on when it returns. It may block, and call all
	 * that "Callbacks" above does not except. NULL: lost. */
	void (*serial_output)(void *ctx, const void *data, size_t len);
	void *serial_ctx;
	/** Takes a message: any thread, one line without newline. A message that a guest can cause
	 * comes once a second from each of its devices at most; the next says how many were left
	 * out. The text may have parts that a guest or a file's name has chosen. During
	 * catnap_vm_create() there is no VM to call yet; later it may block, and call all that
	 * "Callbacks" above does not except. NULL: none. */
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
	/** enum catnap_after_guest. With irqchip kernel the halts are KVM's: the default has no
	 * effect then, and BREAK_EVEN is an error. */
	uint32_t poll_after_guest;
	uint32_t transport; /**< enum catnap_transport */
	uint32_t io;	    /**< enum catnap_io */
	uint32_t rng;	    /**< not 0: a virtio entropy device */
	/**
	 * enum catnap_sandbox_mode, off by default: each vCPU thread gets a filter of system calls
	 * before it enters the guest. The callbacks above run under it, and may then read, write
	 * and poll what is open, lock, and allocate; the list is in sandbox.md. The rest of
	 * the sandbox is in catnap/sandbox.h.
	 */
	uint32_t sandbox;
	/** Does for the VM what its threads may not do in the sandbox, see catnap/sandbox.h; stays
	 * the caller's, until the VM is destroyed. NULL: the VM makes one if it needs one. */
	struct catnap_keeper *keeper;
	/**
	 * The VM's name: 1 to CATNAP_MAX_NAME letters, digits, '.', '_' and '-'. Messages to log
	 * and sentences of calls on the VM begin with it, and so do its threads' names: NAME-vcpu0,
	 * NAME-io. Those have 15 bytes, so of a long name there is only the beginning, and the role
	 * is whole. Copied. NULL: none, and the threads are catnap-vcpu0, catnap-io.
	 */
	const char *name;
	/**
	 * Called by each new thread of the VM: to join a control group, to choose a scheduler or
	 * a NUMA policy. @vcpu is the number of its vCPU, or CATNAP_IO_THREAD_VCPU. Nothing of the
	 * guest has run, and the sandbox's filter is not there yet. 0, or a negative errno value:
	 * then catnap_vm_start() fails with that and a sentence, and each thread is gone. Anything
	 * else it returns counts as -EINVAL, and the sentence has it. A start that is tried again
	 * makes new threads, which call it again. It may block, which holds up the start, and call
	 * all that "Callbacks" above does not except. NULL: none.
	 */
	int (*thread_start)(void *ctx, uint32_t vcpu);
	void *thread_ctx;
	/**
	 * /dev/kvm, open to read and write, for a process that may not open it any more; used by
	 * catnap_vm_create() only, and stays the caller's. -1: it is opened.
	 */
	int32_t kvm_fd;
	int32_t reserved;
	/**
	 * Where the VM's threads are short of processor time, if thread_start brings them to
	 * another control group than the process's (cgroup v2). Either cgroup, that group's folder,
	 * which is read for cpu.pressure and cpu.stat, and its parents' folders for cpu.stat; or
	 * those two files themselves, open to read, either of which may be -1. The descriptors stay
	 * the caller's, and open until the VM is destroyed: several VMs may share them. NULL and
	 * -1: those of the process's own group. No effect with irqchip kernel.
	 */
	const char *cgroup;
	int32_t pressure_fd, throttle_fd;
	/** Not 0: the guest's memory is part of the process' core dumps (core(5)), which are then as
	 * large as that. 0: it is not (MADV_DONTDUMP). */
	uint32_t dump_memory;
	/**
	 * Not 0: HLT stays in the guest (KVM_CAP_X86_DISABLE_EXITS), so that a vCPU keeps its
	 * processor while it is idle, and wakes up without any exit. For vCPUs that have processors
	 * of their own. Nobody polls then, and halts are not counted. irqchip kernel only, and
	 * -ENOTSUP from catnap_vm_create() where KVM cannot do it.
	 */
	uint32_t guest_hlt;
	/**
	 * Not 0: neither a disk, nor persistent memory, nor a network interface, nor a vhost or
	 * vsock device will be added, nor an eventfd as an interrupt (irqchip user), nor a limit
	 * of the entropy device: each of these calls is -EINVAL then. The VM is without the
	 * io_uring for each vCPU, or for the I/O thread, by which those wait, and which
	 * catnap_vm_create() makes otherwise: one descriptor less for each.
	 */
	uint32_t no_rings;
	/**
	 * The guest's processor: for every vCPU the same, in this order, the later ones on top of
	 * the earlier. Copied. A leaf or an MSR that this KVM has not is -EINVAL, and so is a change
	 * of what the VM itself depends on. Of CPUID these are: APIC ids; the APIC itself; what is
	 * switched off since HLT would not come to user space (MONITOR/MWAIT), since it cannot be
	 * served (VMX, SVM, performance monitoring), or since KVM's own local APIC would have to
	 * (TSC deadline where it is not seen; paravirtual features, with irqchip user). Of MSRs
	 * these are: those of the local APIC, EFER, the time stamp counter's, and the paravirtual
	 * ones (0x11, 0x12, 0x4b564d00 and what follows). They are set again by each reset.
	 */
	const struct catnap_cpuid_modifier *cpuid_modifiers;
	const struct catnap_msr_modifier *msr_modifiers;
	uint32_t cpuid_modifier_count, msr_modifier_count;
	/** Capabilities of KVM (KVM_CAP_..., by number) without which catnap_vm_create() returns
	 * -ENOTSUP. Copied, as the next. */
	const uint32_t *kvm_required;
	/** The capabilities that are not used even where they are there. One that the library
	 * cannot do without is -EINVAL; one that it does not know changes nothing. */
	const uint32_t *kvm_dropped;
	uint32_t kvm_required_count, kvm_dropped_count;
	uint32_t on_reset; /**< enum catnap_on_reset */
	/** Not 0: an account is kept of the memory that is written, so that a snapshot can be made of
	 * what has changed since the last one (catnap/snapshot.h). It costs the guest an exit for each
	 * page that it writes to first after one. */
	uint32_t track_dirty;
	/** The guest's memory: enum catnap_memory_pages. Pages of 2 MiB and 1 GiB are reserved when the
	 * VM is made, and memory_size is a multiple of them. */
	uint32_t memory_pages;
	/** Not 0: it is a memory file (memfd_create(2)) that is mapped shared, and that can neither
	 * shrink nor grow: for back ends in other processes, see catnap_vm_get_memory_fd(). */
	uint32_t memory_shared;
	uint32_t memory_prefault; /**< not 0: all of it is there when the VM has been made */
	/** Not 0: what is there of it stays in memory, and is never swapped out (mlock2(2)). */
	uint32_t memory_lock;
	/** The NUMA nodes of the host that it may come from: bit n is node n. 0: any. */
	uint64_t memory_host_nodes;
	/** The guest's NUMA nodes, at most CATNAP_MAX_NODES. Together they have each vCPU once, and
	 * memory_size bytes. Copied. None: the guest is told of no nodes. With hw MPTABLE there can be
	 * none. Memory that is plugged later, and persistent memory, are in none of them. */
	const struct catnap_node *nodes;
	uint32_t node_count;
	/** Not 0: disks and network interfaces may be added while the VM runs, and removed
	 * (catnap_vm_remove_disk()). The guest is told by ACPI of its PCI slots, so it needs transport
	 * PCI and hw ACPI; the threads' filters let through what such devices need, whether there are
	 * any or not. Not with no_rings. */
	uint32_t hotplug;
};

/** Sets the defaults: 1 vCPU, 256 MiB, irqchip user, no image, halt polling as
 * catnap_halt_poll_init(). */
CATNAP_API void catnap_vm_config_init(struct catnap_vm_config *cfg);
CATNAP_API void catnap_vm_config_init_sized(struct catnap_vm_config *cfg, size_t size);
#define catnap_vm_config_init(cfg) \
	catnap_vm_config_init_sized((cfg), sizeof(struct catnap_vm_config))

/**
 * Makes a VM: checks the configuration and the image, opens /dev/kvm, allocates memory and vCPUs.
 * All that cfg points to is copied or used up, but for file descriptors, contexts and callbacks. On
 * success *vm is the caller's, for catnap_vm_destroy(). On failure *vm is NULL, nothing is left
 * behind, and catnap_vm_last_error(NULL) on this thread has the sentence.
 * Errors:
 *   -EINVAL   configuration; @cfg or @vm is NULL
 *   -EBUSY    the program has a handler for kick_signal
 *   -EBADF    a descriptor in the configuration is not open
 *   -ENOEXEC  not an image that can be started
 *   -ENOENT, -EACCES, ...  image file, /dev/kvm
 *   -ENOMEM
 *   -ENOTSUP  this KVM lacks something that is needed
 *   others    those of ioctls on /dev/kvm
 */
CATNAP_API int catnap_vm_create(const struct catnap_vm_config *cfg, struct catnap_vm **vm);

/** The longest time in which a bucket fills, in ns: 36 years. */
#define CATNAP_MAX_REFILL_NS (UINT64_C(1) << 60)

/**
 * A token bucket, as Firecracker's API has them. It begins full, and fills at size / refill_ns, up
 * to its size. Each operation takes tokens out of it, but first those of the one-time burst, which
 * do not come back. With size or refill_ns 0 there is no limit, and the other members do not count.
 */
struct catnap_bucket {
	/** The time in which it fills from empty, in ns; at most CATNAP_MAX_REFILL_NS. */
	uint64_t refill_ns;
	uint64_t size;		 /**< tokens: bytes, or operations */
	uint64_t one_time_burst; /**< tokens beside those, once */
};

/**
 * How much a device may do. All zeroes: no limit. While a bucket is empty, requests wait in the
 * guest's queue and hold nobody up. A request begins with the first token. One that takes more than
 * there are goes through, however large the bucket is, and those after it wait until what it owes
 * is paid. So in the long run no more than size / refill_ns is done. A guest's reset of the device
 * gives nothing back.
 */
struct catnap_rate_limit {
	struct catnap_bucket bw;  /**< bytes */
	struct catnap_bucket ops; /**< requests, packets */
};

#define CATNAP_MAX_DISK_QUEUES 16
/** Bytes of a disk's id. */
#define CATNAP_MAX_DISK_ID 20

/** How an image is taken: always as a raw one, whose bytes are the disk's. */
enum catnap_disk_format {
	CATNAP_DISK_GUARDED, /**< refused if it looks like qcow2, VMDK, VHDX, VDI or such */
	CATNAP_DISK_RAW,     /**< never refused for what is in it */
};

/*
 * Given descriptors. A disk, an interface's queues and a listening socket may be given as
 * descriptors, where the process may not open them (catnap_sandbox_enter()), or another has opened
 * them for it. They are taken: when the call succeeds they are the VM's, which closes them at its
 * end, and their numbers are closed; when it fails they are the caller's, as before. O_NONBLOCK and
 * the like change the open file description, which duplicates share.
 */

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
	/** The image as a descriptor instead of path, see "Given descriptors" below; -1: none. Open
	 * to read, and to write unless readonly, without O_APPEND and O_DIRECT; not with direct.
	 * The lock is the open file description's (fcntl(2), F_OFD_SETLK), so that two duplicates
	 * of one descriptor are not kept apart. */
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
/**
 * Changes the limit of a disk, while the VM runs or not. @disk counts the disks from 0, in the
 * order in which they were added. A bucket of which a number has changed begins anew, full and with
 * its one-time burst; one that is as before goes on with what it has. Requests that begin after the
 * call follow the new limit, and those that wait for the old one look again at once. Any thread,
 * any callback, from the disk's addition to destroy. After an error the limit is as before.
 * Errors:
 *   -ENOENT  no such disk
 *   -EINVAL  @limit is NULL, refill_ns
 *   -ENOSPC  the thread that runs the disk waits for too many things, as a VM with 32 interrupt
 *            events and several limits may
 */
CATNAP_API int catnap_vm_set_disk_limit(struct catnap_vm *vm, uint32_t disk,
					const struct catnap_rate_limit *limit);

/** Queues of a device whose back end is another process. */
#define CATNAP_MAX_VHOST_QUEUES 64
/** Bytes of a folder's tag. */
#define CATNAP_MAX_TAG 36

/**
 * A virtio device whose back end is another process, by the vhost-user protocol; catnap_vhost_init()
 * first. The back end has all of the guest's memory, and what it does is not limited by the sandbox.
 */
struct catnap_vhost {
	uint32_t size; /**< set by catnap_vhost_init() */
	/** virtio's number of the type: 1 a network interface, 2 a disk, 26 a folder; or another one,
	 * of which the library knows nothing. */
	uint32_t type;
	/** Queues for requests: of a disk at most 16, of a network interface pairs, of a folder
	 * without the one for urgent ones, of others all. 0: 1, of a disk one for each vCPU as far as
	 * the back end has so many. */
	uint32_t queues;
	/** Bytes of the configuration space, which the back end tells, of a type that is not named
	 * above; at most 256. 0: it has none. */
	uint32_t config_size;
	const char *socket; /**< where the back end listens; NULL with fd */
	/** A connected socket instead, see "Given descriptors" above; -1: none. A back end that has
	 * gone is not taken back then. */
	int32_t fd;
	/** Not 0: a back end that has gone is not taken back, and the device needs a reset. */
	uint32_t no_reconnect;
	const char
		*tag; /**< of a folder: the name that its guest mounts; 1 to CATNAP_MAX_TAG bytes */
	uint8_t mac[6];	   /**< of a network interface, as in struct catnap_net */
	uint16_t mtu;	   /**< the same */
	uint64_t reserved; /**< 0 */
};

/** Sets the defaults: no type, no socket, taken back. */
CATNAP_API void catnap_vhost_init(struct catnap_vhost *vhost);
CATNAP_API void catnap_vhost_init_sized(struct catnap_vhost *vhost, size_t size);
#define catnap_vhost_init(vhost) catnap_vhost_init_sized((vhost), sizeof(struct catnap_vhost))

/**
 * Adds such a device, between create and start, to a VM with memory_shared. All that @vhost points
 * to is copied. It connects, and agrees with the back end on what that can do; that takes 5 s at
 * most.
 *
 * While the guest runs, its doorbells reach the back end without leaving the kernel, and the back
 * end's calls are seen by the vCPU whose queue it is; with irqchip kernel, on PCI, KVM makes interrupts
 * of them, unless a back end that keeps no list is to be taken back. A back end that has gone, breaks the protocol
 * or does not answer within 5 s is given up, with a message; the guest's requests wait, and the
 * library connects to the socket again until there is one. That one is given the requests that were
 * in flight, if its predecessor kept a list (INFLIGHT_SHMFD), or had used the requests in order.
 * Otherwise the device needs a reset (CATNAP_EVENT_DEVICE_NEEDS_RESET). Such disks and interfaces
 * do not count in calls that name a disk or an interface by its number.
 * Errors:
 *   -EINVAL        size, type, queues, tag, mac, mtu; neither or both of socket and fd; private
 *                  memory; started already
 *   -ENOTSUP       the back end lacks something
 *   -EPROTO        it does not speak the protocol
 *   -EPIPE         it has closed the socket
 *   -ETIMEDOUT     it does not answer
 *   -ENOSPC        16 devices
 *   -ENAMETOOLONG
 *   -EBADF
 *   -ENOMEM
 *   -EMFILE
 *   others         those of connect(2)
 */
CATNAP_API int catnap_vm_add_vhost(struct catnap_vm *vm, const struct catnap_vhost *vhost);

#define CATNAP_MAX_NET_QUEUES 32
/** The smallest MTU that IPv4 knows (RFC 791). */
#define CATNAP_MIN_MTU 68

/** A network interface; catnap_net_init() first. */
struct catnap_net {
	uint32_t size;	 /**< set by catnap_net_init() */
	uint32_t queues; /**< pairs of queues, 1 to CATNAP_MAX_NET_QUEUES; 0: 1 */
	const char *tap; /**< a TAP interface of the host's, which exists and is free */
	uint8_t mac[6];	 /**< not a multicast address; all zeroes: a random one */
	uint16_t mtu;	 /**< told to the guest, CATNAP_MIN_MTU or more; 0: not told */
	/** Of packets, which may have segments to be: those that the guest receives, and those that
	 * it sends. */
	struct catnap_rate_limit rx_limit, tx_limit;
	/** Instead of tap: one descriptor for each pair of queues, of one interface's queues, see
	 * "Given descriptors" above. Made with IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, and
	 * IFF_MULTI_QUEUE if they are several. NULL: none. */
	const int32_t *tap_fds;
	/** Instead of both: where somebody listens with whom packets are exchanged over a stream
	 * socket, each after its length in 32 bits, in network order, as QEMU's stream sockets and
	 * passt(1) do. One pair of queues; nothing is left to the other end, neither checksums nor
	 * segments. When that has gone, the guest's link is down. NULL: nowhere. */
	const char *stream;
	/** The same as a connected socket, see "Given descriptors" above; -1: none. */
	int32_t stream_fd;
	int32_t reserved;
};

/** Sets the defaults: no TAP, one pair of queues, a random address, the guest's own MTU, no
 * limit. */
CATNAP_API void catnap_net_init(struct catnap_net *net);
CATNAP_API void catnap_net_init_sized(struct catnap_net *net, size_t size);
#define catnap_net_init(net) catnap_net_init_sized((net), sizeof(struct catnap_net))

/**
 * Adds a virtio network device, between create and start, or with hotplug at any time until the end,
 * as catnap_vm_add_disk() does. All that @net points to is copied.
 * Packets for queue pair i are received by vCPU i (modulo the number of vCPUs), or by the I/O
 * thread. Errors:
 *   -EINVAL        size, queues, mac, mtu, a limit; not a TAP; one that was not made for several
 *                  queues; more than one of tap, tap_fds, stream and stream_fd; started already,
 *                  without hotplug
 *   -EBADF         one of tap_fds, or stream_fd, is not open
 *   -ENODEV        no such interface
 *   -EBUSY         another program has it, and still after a quarter of a second: what a process
 *                  that was killed had is free some time after it was waited for
 *   -ENAMETOOLONG
 *   -ENOSPC        16 devices
 *   -ENOMEM
 *   others         those of open(2) for /dev/net/tun, and those of connect(2) for stream
 */
CATNAP_API int catnap_vm_add_net(struct catnap_vm *vm, const struct catnap_net *net);
/** Asks the guest to let go of a network interface, @net among them, as catnap_vm_remove_disk() does
 * of a disk, with the same errors. */
CATNAP_API int catnap_vm_remove_net(struct catnap_vm *vm, uint32_t net);

/**
 * Changes the limits of a network interface, of what the guest receives (@rx) and of what it sends
 * (@tx); NULL: that one stays. @net counts the interfaces from 0, in the order in which they were
 * added. Otherwise as catnap_vm_set_disk_limit(). After an error both are as before.
 * Errors:
 *   -ENOENT  no such interface
 *   -EINVAL  refill_ns
 *   -ENOSPC  as catnap_vm_set_disk_limit()
 */
CATNAP_API int catnap_vm_set_net_limit(struct catnap_vm *vm, uint32_t net,
				       const struct catnap_rate_limit *rx,
				       const struct catnap_rate_limit *tx);

/**
 * Plugs the cable of device number @device (see catnap_vm_get_device_stats()) in or out (@up 0),
 * while the VM runs or not. One whose interface was deleted stays unplugged.
 * Errors:
 *   -EINVAL  it is no network device
 */
CATNAP_API int catnap_vm_set_link(struct catnap_vm *vm, uint32_t device, int up);

/**
 * Limits the entropy device (rng in the configuration), in bytes and in buffers that the guest has
 * filled; there is no limit at first. While the VM runs or not, as catnap_vm_set_disk_limit().
 * Errors:
 *   -ENOENT   there is no such device
 *   -EINVAL   @limit is NULL, refill_ns; no_rings
 *   -ENOTSUP  the VM was started with nothing that waits for devices: neither disk nor interface,
 *             nor a limit here
 *   -ENOSPC   as catnap_vm_set_disk_limit()
 */
CATNAP_API int catnap_vm_set_rng_limit(struct catnap_vm *vm, const struct catnap_rate_limit *limit);

/** Sockets between guest and host; catnap_vsock_init() first. */
struct catnap_vsock {
	uint32_t size;	  /**< set by catnap_vsock_init() */
	uint32_t cid;	  /**< of the guest, 3 to 0xfffffffe */
	const char *path; /**< of the Unix socket to be made; at most 96 bytes */
	/** A Unix stream socket that listens, instead of one that is made at path, see "Given
	 * descriptors" above; -1: none. path is then only what path_P begins with; NULL: the guest
	 * reaches no program on the host. Nobody removes the socket but the caller. */
	int32_t fd;
	int32_t reserved;
};

/** Sets the defaults: none; cid and path are to be set. */
CATNAP_API void catnap_vsock_init(struct catnap_vsock *vsock);
CATNAP_API void catnap_vsock_init_sized(struct catnap_vsock *vsock, size_t size);
#define catnap_vsock_init(vsock) catnap_vsock_init_sized((vsock), sizeof(struct catnap_vsock))

/**
 * Adds the virtio socket device, between create and start, once. A program on the host reaches port
 * P of the guest by connecting to the socket at path and writing "CONNECT P\n"; "OK N\n" comes back
 * first. The guest reaches port P of CID 2 where a program listens at path_P. The socket has mode
 * 0600, and is removed when the VM is destroyed, if it is still this one. Connections take no more
 * descriptors than leave the process 64, or a quarter, of its limit at this call (RLIMIT_NOFILE).
 * Data that guests have sent by the end reaches the programs on the host that read it:
 * catnap_vm_destroy() waits for that, 250 ms at most. With a sandbox a keeper removes it, and
 * connects to path_P, which may not be a symbolic link then (catnap/sandbox.h); one is made here if
 * the configuration names none.
 * Errors:
 *   -EINVAL        size, cid, fd is no such socket, started already
 *   -EBADF         fd is not open
 *   -EEXIST        there is one
 *   -ENAMETOOLONG
 *   -EADDRINUSE    something is at path
 *   -ENOSPC        16 devices
 *   -ENOMEM
 *   others         those of bind(2), and, where there is a keeper, those of catnap_keeper_start()
 *                  and catnap_keeper_add_socket()
 */
CATNAP_API int catnap_vm_set_vsock(struct catnap_vm *vm, const struct catnap_vsock *vsock);

/** A console beside the serial port; catnap_console_init() first. */
struct catnap_console {
	uint32_t size;	     /**< set by catnap_console_init() */
	uint16_t cols, rows; /**< 0: not known */
	/** Takes what the guest writes, in pieces; one call at a time, on the VM's thread that runs
	 * the device. It may block, and call all that "Callbacks" above does not except. NULL:
	 * lost. */
	void (*output)(void *ctx, const void *data, size_t len);
	void *ctx;
};

/** Sets the defaults: output is lost, and the size is not known. */
CATNAP_API void catnap_console_init(struct catnap_console *console);
CATNAP_API void catnap_console_init_sized(struct catnap_console *console, size_t size);
#define catnap_console_init(console) \
	catnap_console_init_sized((console), sizeof(struct catnap_console))

/**
 * Adds a virtio console (hvc0), between create and start, once.
 * Errors:
 *   -EINVAL  size, started already
 *   -EEXIST
 *   -ENOSPC
 *   -ENOMEM
 */
CATNAP_API int catnap_vm_set_console(struct catnap_vm *vm, const struct catnap_console *console);
/** Gives input to the console. Returns how many bytes it took: none while no driver uses it. Any
 * thread. */
CATNAP_API size_t catnap_vm_console_input(struct catnap_vm *vm, const void *data, size_t len);
/**
 * Tells the guest its console's size. Any thread.
 * Errors:
 *   -ENOENT  there is no console
 */
CATNAP_API int catnap_vm_console_resize(struct catnap_vm *vm, uint16_t cols, uint16_t rows);

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

/**
 * Starts the VM: makes its threads, one for each vCPU, and lets them go when all are there. So it
 * is all or nothing: on failure no thread is left, nothing of the guest has run, and it can be
 * tried again. It succeeds once.
 *
 * The threads have all signals blocked but the kick signal. If the calling thread is in SCHED_FIFO
 * or SCHED_RR they are in SCHED_RR, one below its priority, or at 1: no guest keeps a processor
 * from what ends it. A thread that is not tied to a processor (vcpu_affinity) may run on those of
 * the process, not only on those of the calling thread: on what the process had when the library
 * was loaded (taskset(1), a cpuset), and what its main thread has now.
 * Errors:
 *   -EALREADY   started before
 *   -ECANCELED  stopped before it was started
 *   -EAGAIN     no thread, no timer
 *   -ENOMEM
 *   -EINVAL     a processor that is not there any more
 *   -EBUSY      the program has a handler for kick_signal
 *   -EDEADLK    by a callback
 */
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
	uint32_t vcpu; /**< where it happened */
	/** lines for people: what failed, the registers, the instruction; or "" */
	char report[2048];
};

/**
 * Waits until the VM has ended and its threads have left: at most @timeout_ns (UINT64_MAX: for
 * ever, 0: just looks). Fills @exit, if not NULL; also with -ETIMEDOUT, when reason is
 * CATNAP_EXIT_NONE, or why it is to end while threads have not left yet; the sentence names them.
 * Any thread.
 * Errors:
 *   -ETIMEDOUT
 *   -EINVAL     size
 *   -EDEADLK    by a callback, with a time
 */
CATNAP_API int catnap_vm_wait(struct catnap_vm *vm, uint64_t timeout_ns, struct catnap_exit *exit);
/**
 * Writes what the vCPUs have gathered of the halt trace and not written. catnap_vm_destroy() does
 * so as well, but reports no error. *@lost: the lines that are not in the file.
 * Errors:
 *   -EBUSY   it has not ended
 *   -EAGAIN  some wait for the reader of a pipe, see poll(2), and may be tried again
 *   others   those of write(2), from the first of which on nothing was written
 */
CATNAP_API int catnap_vm_flush_halt_trace(struct catnap_vm *vm, uint64_t *lost);
/** Returns a file descriptor that is readable once the VM has ended; it stays the VM's. Any
 * thread. */
CATNAP_API int catnap_vm_get_fd(struct catnap_vm *vm);
/**
 * Returns a file descriptor that is readable as soon as the VM is to end, whoever says so, while
 * its threads are on their way: for callbacks that wait for something else. It stays the VM's, who
 * alone reads it. Made by the first call, or with a sandbox by catnap_vm_create(). Any thread, any
 * callback. Errors: those of eventfd(2).
 */
CATNAP_API int catnap_vm_get_stopping_fd(struct catnap_vm *vm);
/**
 * Ends the VM as by pulling the plug, and does not wait; catnap_vm_wait() does. Of several causes
 * of an end the first counts. Any thread, any callback. No errors.
 */
CATNAP_API int catnap_vm_request_stop(struct catnap_vm *vm);
/**
 * For how long catnap_vm_stop(), _pause() and _destroy() wait at most, in ns, for threads that do
 * not come: a callback has not returned, or the host holds a request up. Other limits:
 * catnap_vm_request_stop() and then catnap_vm_wait().
 */
#define CATNAP_STOP_LIMIT_NS UINT64_C(10000000000)
/**
 * Does the same as catnap_vm_request_stop(), and waits until the VM's threads have left.
 * Errors:
 *   -ETIMEDOUT  they have not after CATNAP_STOP_LIMIT_NS; the sentence names them, they leave as
 *               soon as they can, and any call may wait for that again
 *   -EDEADLK    by a callback
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
 * process was stopped (SIGSTOP), or had no processor, for a second or more.
 * Errors:
 *   -EINVAL     not started, or ended
 *   -ECANCELED
 *   -EDEADLK    pause, by a callback
 *   -ETIMEDOUT  pause: not all vCPUs stand still after CATNAP_STOP_LIMIT_NS; they will as soon as
 *               they can, until a resume
 */
CATNAP_API int catnap_vm_pause(struct catnap_vm *vm);
CATNAP_API int catnap_vm_resume(struct catnap_vm *vm);
/**
 * Begins a pause, and does not wait until all vCPUs stand still: catnap_vm_get_paused_fd() tells,
 * catnap_vm_pause() waits. Any thread, any callback; the vCPU of a callback's own thread stands
 * still once that has returned.
 * Errors:
 *   -EINVAL  not started, or ended
 */
CATNAP_API int catnap_vm_request_pause(struct catnap_vm *vm);
/**
 * Returns a file descriptor that is readable while the VM stands still, from when its last vCPU
 * does until a resume, and for good as soon as the VM is to end, so that nobody waits for it in
 * vain. It stays the VM's, who alone reads it. Made by the first call, or with a sandbox by
 * catnap_vm_create(). Any thread, any callback. Errors: those of eventfd(2).
 */
CATNAP_API int catnap_vm_get_paused_fd(struct catnap_vm *vm);
/**
 * Resets the VM in place, and waits until that is done: the guest begins anew from its image, as
 * after a power-on, in a VM that is running or paused, and stays so. Its memory is empty but for
 * the image, which is read again from the file that was open, or the bytes that were copied, by
 * catnap_vm_create(): what was written into the file since is read as well. All that is the host's
 * stays: the VM, its threads and descriptors; disks, TAPs, the vsock socket; eventfds and
 * doorbells; links, limits, sizes and targets that were changed; statistics and the state of halt
 * polling, with what it has learned. Connections of vsock end, input that was not read is gone,
 * requests in flight end before. The clocks go on: kvmclock, and the TSC with the offset that it
 * had at the start.
 *
 * The same happens when the guest asks for a reset and on_reset is CATNAP_ON_RESET_RESTART. If the
 * image cannot be loaded any more the VM ends, CATNAP_EXIT_HOST_ERROR. CATNAP_EVENT_RESTARTED
 * follows; several that are asked for at once are one. Any thread.
 * Errors:
 *   -ENOTSUP    on_reset is END
 *   -EINVAL     the VM was not started, or has ended
 *   -EDEADLK    by a callback
 *   -ETIMEDOUT  not all threads stand after CATNAP_STOP_LIMIT_NS; it comes as soon as they do
 */
CATNAP_API int catnap_vm_reset(struct catnap_vm *vm);
/**
 * Asks for the same, and does not wait. Any thread, any callback.
 * Errors:
 *   -ENOTSUP  as catnap_vm_reset()
 *   -EINVAL   the same
 */
CATNAP_API int catnap_vm_request_reset(struct catnap_vm *vm);
/**
 * Presses the power button: a guest with ACPI is asked to shut down. Whether and when it does is
 * its own affair.
 * Errors:
 *   -ENXIO   nobody in the guest listens to the button
 *   -EINVAL  the VM does not run
 */
CATNAP_API int catnap_vm_power_button(struct catnap_vm *vm);
/**
 * Stops the VM if it runs, frees everything, sets *vm to NULL. Nothing if *vm is NULL. In a child
 * of fork(2) it frees the copy: see "fork(2)" above.
 * Errors:
 *   -EDEADLK    by a callback; nothing was done
 *   -ETIMEDOUT  as catnap_vm_stop(); the VM was told to end, nothing was freed, and destroy may be
 *               called again
 */
CATNAP_API int catnap_vm_destroy(struct catnap_vm **vm);
/**
 * Does the same without waiting: ends the VM as catnap_vm_request_stop() does, and has the last of
 * its threads free everything as it leaves. A VM whose threads have left, or that was not started,
 * is freed by this call. @eventfd, unless it is -1, is an eventfd of the caller's, which is written
 * to once all is freed and no callback will come any more; it stays open until then.
 *
 * It is the last call: only callbacks of the VM may still use it, and a catnap_vm_start() that has
 * not returned. Any thread, any callback, but for log within another call on the VM. After an error
 * nothing was done.
 * Errors:
 *   -EDEADLK   log, within another call
 *   -EBADF     @eventfd is not open, or no eventfd
 *   -EALREADY  a callback, of a VM whose destroy was asked for before; the first eventfd is written
 *              to
 */
CATNAP_API int catnap_vm_request_destroy(struct catnap_vm *vm, int eventfd);

/**
 * Returns the sentence of the calling thread's last failed call, if that was a call on @vm, and ""
 * if it was not; with @vm NULL whatever it was on, as for catnap_vm_create(), which leaves no VM.
 * Each call that is given a VM leaves one when it fails, and changes nothing when it succeeds, so
 * ask right after a failure, on the thread that met it. Threads that use one VM do not see each
 * other's sentences.
 *
 * Never NULL. The text belongs to the thread: it is valid until the thread's next failed call, or
 * its end, and outlives @vm. Any thread, any callback.
 */
CATNAP_API const char *catnap_vm_last_error(const struct catnap_vm *vm);

/** The events of a VM that are told of; see catnap_vm_next_event(). */
enum catnap_event_type {
	CATNAP_EVENT_STARTED = 1, /**< its threads are let go */
	CATNAP_EVENT_PAUSED = 2,  /**< it stands still: the last of its vCPUs does */
	/** It goes on after that. A pause that a resume overtakes tells neither. */
	CATNAP_EVENT_RESUMED = 3,
	/** The cable of device was plugged in (value 1) or out (0), by catnap_vm_set_link(), or since
	 * its interface was deleted. */
	CATNAP_EVENT_LINK = 4,
	/** The guest, on vcpu, asked for a reset: it ends, or RESTARTED follows. */
	CATNAP_EVENT_RESET = 5,
	/** The guest, on vcpu, said that it panicked (pvpanic). value 0: it is dead; 1: a crash kernel
	 * of its own takes over. */
	CATNAP_EVENT_PANIC = 6,
	/** The driver of device did what no driver may, and has to reset it: each time that the
	 * device comes into that state. text says what it did. */
	CATNAP_EVENT_DEVICE_NEEDS_RESET = 7,
	/**
	 * The guest is short of memory, as the balloon, device, can see it: the driver took pages
	 * back that the host had asked for (deflate_on_oom), told once until it has given them
	 * again or the target is changed; or its statistics say that it has ended more programs
	 * for want of memory (Linux 6.12), told when statistics come that say so.
	 */
	CATNAP_EVENT_GUEST_OUT_OF_MEMORY = 8,
	/** It has ended, and its threads have left. value is the enum catnap_exit_reason, with code
	 * and vcpu as in struct catnap_exit; text is the first line of the report. The last. */
	CATNAP_EVENT_ENDED = 9,
	/** Events were not taken in time: value of them, up to this number, are not known any more. */
	CATNAP_EVENT_LOST = 10,
	/** The guest begins anew, after a reset in place. */
	CATNAP_EVENT_RESTARTED = 11,
	/** The guest has let go of device, which it was asked to (catnap_vm_remove_disk()), and the
	 * device is gone. value is the number that it had among the disks, or interfaces; code is
	 * virtio's number of its type, 1 an interface, 2 a disk; text has its name. */
	CATNAP_EVENT_DEVICE_REMOVED = 12,
};

/** Something that happened to a VM. */
struct catnap_event {
	uint32_t size;	  /**< set by the caller to sizeof(struct catnap_event) */
	uint32_t type;	  /**< enum catnap_event_type; a later version may have others */
	uint64_t number;  /**< from 1, without gaps but for CATNAP_EVENT_LOST */
	uint64_t time_ns; /**< when, CLOCK_REALTIME */
	uint32_t device;  /**< its number, see catnap_vm_get_device_stats(); UINT32_MAX: none */
	uint32_t vcpu;	  /**< UINT32_MAX: none, or not known */
	uint32_t value;	  /**< as the type says */
	int32_t code;	  /**< of CATNAP_EVENT_ENDED and _DEVICE_REMOVED; 0 */
	/** For people, one line, or "". Parts of it may be what a guest or a file's name has chosen. */
	char text[256];
};

/**
 * Takes the oldest event that was not taken yet. Each is taken once: two who ask share them. The
 * last 64 are kept, from catnap_vm_create() on, whether anybody asks or not; a guest can cause any
 * number. Nobody calls back: the library has no thread for that. Any thread, any callback.
 * Errors:
 *   -EAGAIN  there is none now
 *   -EINVAL  @event is NULL, or its size
 */
CATNAP_API int catnap_vm_next_event(struct catnap_vm *vm, struct catnap_event *event);
/**
 * Returns a file descriptor that is readable while catnap_vm_next_event() has an event. It stays
 * the VM's, who alone reads it. Made by the first call, or with a sandbox by catnap_vm_create().
 * Any thread, any callback. Errors: those of eventfd(2).
 */
CATNAP_API int catnap_vm_get_event_fd(struct catnap_vm *vm);

/** Where a VM stands in its life; see "States" above. */
enum catnap_vm_state {
	CATNAP_VM_MADE = 0,
	CATNAP_VM_RUNNING = 1, /**< also while catnap_vm_start() is under way */
	CATNAP_VM_PAUSED = 2,  /**< it stands still, or will once all vCPUs have come out */
	CATNAP_VM_ENDING = 3,
	CATNAP_VM_ENDED = 4,
};

/** Returns the enum catnap_vm_state of this moment. Any thread, any callback. No errors but that of
 * a child of fork(2). */
CATNAP_API int catnap_vm_get_state(struct catnap_vm *vm);
/** Returns the VM's name, or "" if it has none. It is the VM's, and constant. Any thread. */
CATNAP_API const char *catnap_vm_get_name(const struct catnap_vm *vm);
/** Returns how many vCPUs the VM has. Any thread. */
CATNAP_API uint32_t catnap_vm_get_vcpu_count(const struct catnap_vm *vm);
/**
 * Fills @cfg with the configuration that the VM was made with. Set size before. name,
 * vcpu_affinity, the modifiers, kvm_dropped and nodes are the VM's own copies; kernel, initramfs,
 * command lines, kvm_required and cgroup, of which it keeps none, are NULL. Halt polling is that of
 * the start; catnap_vm_get_halt_poll() has the present values. Any thread, any callback.
 * Errors:
 *   -EINVAL  size
 */
CATNAP_API int catnap_vm_get_config(struct catnap_vm *vm, struct catnap_vm_config *cfg);
/**
 * Returns the thread id (gettid(2)) of vCPU @vcpu, from the call of thread_start on until the
 * thread leaves. Any thread, any callback.
 * Errors:
 *   -EINVAL  no such vCPU
 *   -ESRCH   it has no thread now: the VM was not started, or has ended
 */
CATNAP_API int catnap_vm_get_vcpu_tid(struct catnap_vm *vm, uint32_t vcpu);
/**
 * Does the same for the I/O thread.
 * Errors:
 *   -ENOENT  this VM has none
 *   -ESRCH   not now
 */
CATNAP_API int catnap_vm_get_io_tid(struct catnap_vm *vm);

/** Gives input to the guest's serial port. Returns how many bytes it took, as a FIFO takes them.
 * Any thread, also while output is under way. */
CATNAP_API size_t catnap_vm_serial_input(struct catnap_vm *vm, const void *data, size_t len);

/**
 * Sends a message-signalled interrupt, as a device would write it. @address is 0xfee00000 | APIC id
 * << 12 and the mode of the destination; @data is the vector and the delivery mode. To a polling
 * vCPU it costs no system call (irqchip user). Any thread.
 * Errors:
 *   -EINVAL  no such destination, or its local APIC is off
 *   others   -errno of KVM_SIGNAL_MSI
 */
CATNAP_API int catnap_vm_signal_msi(struct catnap_vm *vm, uint64_t address, uint32_t data);

/**
 * Makes an eventfd an interrupt: each time it is signalled, the guest gets the message (@address,
 * @data), see catnap_vm_signal_msi(). It is what KVM_IRQFD is to KVM's irqchip. With irqchip user
 * the vCPU that the message names waits for it itself, in its own ring, with no thread in between;
 * or the I/O thread does, if there is one. Signals that come faster than they are taken become one
 * interrupt. The descriptor stays the caller's, who must not read it, and must outlive the VM or
 * its removal. Any thread, between create and destroy; after the start only without sandbox.
 * Errors:
 *   -EINVAL  no such address
 *   -EBADF
 *   -EEXIST  it is one already
 *   -ENOSPC  32
 *   -EPERM   sandbox
 *   others   those of KVM_IRQFD
 */
CATNAP_API int catnap_vm_add_interrupt_event(struct catnap_vm *vm, int fd, uint64_t address,
					     uint32_t data);
/**
 * Ends an interrupt's event: nobody reads @fd once it returns; an interrupt that was taken before
 * may still come.
 * Errors:
 *   -ENOENT  @fd is no such interrupt
 */
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

/** Sets the defaults: any length, any value, not a port. */
CATNAP_API void catnap_doorbell_init(struct catnap_doorbell *bell);
CATNAP_API void catnap_doorbell_init_sized(struct catnap_doorbell *bell, size_t size);
#define catnap_doorbell_init(bell) \
	catnap_doorbell_init_sized((bell), sizeof(struct catnap_doorbell))
/**
 * Hands out an eventfd (*@fd, non-blocking) that is signalled by each such write, in the kernel,
 * which then goes on in the guest at once. It does what KVM_IOEVENTFD does. The descriptor is the
 * VM's, until catnap_vm_del_doorbell() or destroy closes it. A doorbell comes before a device at
 * its place. Any thread, between create and destroy.
 * Errors:
 *   -EINVAL  size, len, address, match
 *   -EEXIST  there is one
 *   -ENOSPC  32
 *   -EMFILE
 *   others   those of KVM_IOEVENTFD
 */
CATNAP_API int catnap_vm_add_doorbell(struct catnap_vm *vm, const struct catnap_doorbell *bell,
				      int *fd);
/** Removes a doorbell, and closes its descriptor. -ENOENT: not one of this VM's. */
CATNAP_API int catnap_vm_del_doorbell(struct catnap_vm *vm, int fd);

/**
 * Finds @len bytes of guest memory at guest-physical @gpa, shared with the guest; valid until the
 * VM is destroyed. -EFAULT if not all of it is guest memory.
 */
CATNAP_API int catnap_vm_guest_memory(struct catnap_vm *vm, uint64_t gpa, size_t len, void **ptr);

/**
 * Returns the descriptor of the file that the guest's memory is (memory_shared), for another
 * process that maps it: what the guest has below 3 GiB is at the same place of the file, and what
 * it has from 4 GiB on follows there without a gap. It stays the VM's, until destroy closes it. Any
 * thread.
 * Errors:
 *   -ENOTSUP  the memory is private
 */
CATNAP_API int catnap_vm_get_memory_fd(struct catnap_vm *vm);
/**
 * For a handler of SIGBUS, with its si_addr, if si_code is positive. Memory of a guest may be a
 * file's: persistent memory, or that of a snapshot with memory_mode MAP or WORKING_SET. Where the file
 * has become shorter, or its file system is full or fails, a page of it cannot be had, and whoever
 * touches it gets that signal. If @address is in such memory of @vm, the page is all zeroes from now
 * on, and no file's. The access goes on when the handler returns, and the VM ends: CATNAP_EXIT_HOST_ERROR,
 * with a sentence. A start, a restore or a snapshot that this happens to fails with -EIO; disks are
 * not written any more. A guest that touches such a page itself ends so without any signal.
 *
 * The library has no such handler, and without one the signal ends the process. It comes on the thread
 * that has touched the page, which may be one of the VM's; they run no other handler of yours.
 * Async-signal-safe; any thread, from create to destroy. Returns 1: done; 0: the address is not in such
 * memory.
 * Errors: those of mmap(2); the page is as before
 */
CATNAP_API int catnap_vm_memory_fault(struct catnap_vm *vm, const void *address);

/**
 * Finds the ACPI table number @index: its name ("DSDT"; "RSDP" is the first), and the bytes, which
 * are the VM's, and constant once no more devices are added. They are made for every VM, whatever
 * its guest is told.
 * Errors:
 *   -ENOENT  there are not so many
 */
CATNAP_API int catnap_vm_get_acpi_table(struct catnap_vm *vm, uint32_t index, const char **name,
					const void **data, size_t *len);
/** Does the same for the flattened device tree. No errors. */
CATNAP_API int catnap_vm_get_device_tree(struct catnap_vm *vm, const void **data, size_t *len);

/**
 * Changes halt polling of one vCPU, or of all (@vcpu -1), while it runs. -EINVAL. With irqchip
 * kernel KVM has one setting for all: max_ns (policy off: 0). With policy adaptive that is learned,
 * see catnap_vm_learn_poll_limit(); until then it is CATNAP_KERNEL_MAX_NS at most. Then also
 * -ENOTSUP, without KVM_CAP_HALT_POLL, and -errno of ioctl(2).
 */
CATNAP_API int catnap_vm_set_halt_poll(struct catnap_vm *vm, int32_t vcpu,
				       const struct catnap_halt_poll *params);

/**
 * Fills @params with the halt polling that was asked for of vCPU @vcpu: at the start, or by the
 * last catnap_vm_set_halt_poll(). Set size before. It does not show what a guest that polls by
 * itself makes of it (poll_after_guest). With irqchip kernel it is the same for every vCPU. Any
 * thread, any time between create and destroy.
 * Errors:
 *   -EINVAL  no such vCPU, or size
 */
CATNAP_API int catnap_vm_get_halt_poll(struct catnap_vm *vm, uint32_t vcpu,
				       struct catnap_halt_poll *params);

/**
 * Returns a file descriptor that becomes readable, see poll(2), when catnap_vm_learn_poll_limit()
 * is due: with irqchip kernel and policy adaptive each 10 to 250 ms while the VM is there, else
 * never. It stays the VM's, who alone reads it. Any thread.
 * Errors:
 *   -ENOTSUP  irqchip user; guest_hlt; KVM has no KVM_CAP_HALT_POLL, or no histograms of halts in
 *             its binary statistics, Linux 5.15
 */
CATNAP_API int catnap_vm_get_poll_limit_fd(struct catnap_vm *vm);
/**
 * Learns, with irqchip kernel and policy adaptive: sees in KVM's statistics how long the halts of
 * all vCPUs were, and sets the limit of KVM's own polling for this VM to what costs least, by the
 * price, the bias and the cpu_max of halt_poll, max_ns at most (catnap/poll.h, "A limit for
 * somebody else's polling"). The price is what was given, or 50 us: with irqchip kernel nobody
 * measures it. A call that is not due does no harm, and one that is late only learns later. With
 * another policy it does nothing. It takes a system call for each vCPU, and one to set a limit. Any
 * thread, any callback; with a sandbox the thread of catnap_vm_sandbox_thread() only. Errors: as
 * catnap_vm_get_poll_limit_fd(), and -errno of ioctl(2).
 */
CATNAP_API int catnap_vm_learn_poll_limit(struct catnap_vm *vm);

/** KVM's limit for polling. */
struct catnap_poll_limit_stats {
	uint32_t size;	      /**< set by the caller to sizeof(struct catnap_poll_limit_stats) */
	uint32_t limit_ns;    /**< as it is in force */
	uint32_t learned;     /**< 1: by catnap_vm_learn_poll_limit(); 0: as halt_poll has it */
	uint32_t worth_ns;    /**< the worth of a sleep, in ns of polling */
	uint64_t looks;	      /**< at KVM's statistics */
	uint64_t changes;     /**< how often the limit was set to another one for that */
	uint64_t interval_ns; /**< how long after the last look the next one is due */
};

/** Fills *@stats. Any thread. Errors: as catnap_vm_get_poll_limit_fd(), and -EINVAL (size). */
CATNAP_API int catnap_vm_get_poll_limit_stats(struct catnap_vm *vm,
					      struct catnap_poll_limit_stats *stats);

/** Statistics of one vCPU. */
struct catnap_vcpu_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_vcpu_stats) */
	uint32_t vcpu;
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
	/** Halts of a guest that polls by itself, at which others wanted the processor, or the
	 * control group's time was short: it polls all the same, for it cannot see that. */
	uint64_t after_guest_contended;
	uint64_t reserved[8];
	/** irqchip kernel: KVM's own figures, where it tells them. halt.size is what is filled of
	 * it, up to the caller's size. */
	struct catnap_halt_stats halt;
};

/** Reads the statistics of a vCPU. -EINVAL: no such vCPU, or size. Any time between create and
 * destroy. */
CATNAP_API int catnap_vm_get_stats(struct catnap_vm *vm, uint32_t vcpu,
				   struct catnap_vcpu_stats *stats);

/**
 * Copies what the halt polling of a vCPU, or of the I/O thread (CATNAP_IO_THREAD_VCPU), has
 * learned; see catnap_policy_get_stats(). Any thread, any time between create and destroy.
 * Errors:
 *   -EINVAL   no such vCPU, or size
 *   -ENOENT   no I/O thread
 *   -ENOTSUP  irqchip kernel: KVM does not tell
 */
CATNAP_API int catnap_vm_get_policy_stats(struct catnap_vm *vm, uint32_t vcpu,
					  struct catnap_policy_stats *stats);

/** The traffic of one pair of queues of a network interface since the start. */
struct catnap_net_queue_stats {
	uint64_t rx_packets; /**< that the guest has received */
	uint64_t rx_bytes;   /**< of these */
	uint64_t
		rx_dropped; /**< lost, since they did not fit in the buffers that its driver gave */
	uint64_t rx_unwanted; /**< passed over: for no address that its driver has asked for */
	uint64_t rx_starved;  /**< times that reading stopped for want of buffers of its driver */
	uint64_t tx_packets;  /**< that the guest has sent */
	uint64_t tx_bytes;    /**< of these */
	uint64_t tx_dropped;  /**< malformed, or refused by the interface */
	uint64_t tx_blocked;  /**< times that sending stopped since the interface was full */
};

/** Statistics of one virtio device. */
struct catnap_device_stats {
	uint32_t size;	     /**< set by the caller to sizeof(struct catnap_device_stats) */
	uint32_t type;	     /**< virtio's number: 1 network, 2 block, 4 entropy, ... */
	char name[64];	     /**< "disk root.img" */
	uint64_t requests;   /**< that the guest has made */
	uint64_t errors;     /**< of them, those that ended with an error */
	uint64_t read_bytes; /**< from the device, by the guest */
	uint64_t written_bytes;
	uint64_t faults; /**< acts of its driver that no driver may do */
	uint32_t inflight;
	uint32_t status;	/**< the virtio status register */
	uint64_t limit_waits;	/**< how often a queue had to wait for the rate limit */
	uint64_t limit_wait_ns; /**< for how long some queue did */
	uint32_t net_queues;	/**< how many there are; 0: no network interface */
	/** Set by the caller to sizeof(struct catnap_net_queue_stats): an entry of net_queue is
	 * written up to that, if all of it has room. 0: none is. */
	uint32_t net_queue_size;
	uint64_t reserved[4];
	struct catnap_net_queue_stats net_queue[CATNAP_MAX_NET_QUEUES]; /**< last; may grow */
};

/**
 * Reads the statistics of the device number @device, in the order in which they were added. Any
 * time between create and destroy.
 * Errors:
 *   -ENOENT  there are not so many
 *   -ENODEV  it was removed, and there are others behind it
 *   -EINVAL  size
 */
CATNAP_API int catnap_vm_get_device_stats(struct catnap_vm *vm, uint32_t device,
					  struct catnap_device_stats *stats);

/** Statistics of the I/O thread. */
struct catnap_io_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_io_stats) */
	uint32_t unused;
	uint64_t cpu_ns; /**< processor time of the thread */
	uint64_t reserved[4];
	struct catnap_halt_stats halt; /**< halt.size is what is filled of it */
};

/** Reads the statistics of the I/O thread. -ENOENT: there is none. -EINVAL: size. Any time between
 * create and destroy. */
CATNAP_API int catnap_vm_get_io_stats(struct catnap_vm *vm, struct catnap_io_stats *stats);

/* A check of this host. */

enum catnap_check_state { CATNAP_CHECK_OK, CATNAP_CHECK_DEGRADED, CATNAP_CHECK_MISSING };

struct catnap_check {
	const char *name; /**< the thing that was looked at; static */
	enum catnap_check_state state;
	char found[128];  /**< the finding */
	char advice[256]; /**< the cost of its absence, and the remedy; "" if nothing */
};

/** Returns the memory of this host in bytes, swap space included: no VM may have more. UINT64_MAX:
 * not known. Any thread. */
CATNAP_API uint64_t catnap_host_memory(void);

/** Returns the frequency of this host's TSC in kHz; 0: it is not invariant, and so no clock. */
CATNAP_API uint32_t catnap_host_tsc_khz(void);

/**
 * Returns the cost of a KVM_RUN that does not enter the guest, on this host, in ns (a median); 0:
 * not known. A wake-up by user space pays it, and one inside the kernel does not. Makes a small VM
 * for a moment.
 */
CATNAP_API uint64_t catnap_host_kvm_run_ns(void);

/**
 * Looks at the host: fills up to @max entries of @checks and returns how many there are in all.
 * Makes a small VM for a moment where /dev/kvm can be opened. It has no errors: a feature that is
 * missing is an entry. The macro passes on how large an entry is where the caller was built; no
 * more of it than @entry_size is written.
 */
CATNAP_API size_t catnap_check_host(struct catnap_check *checks, size_t max);
CATNAP_API size_t catnap_check_host_sized(struct catnap_check *checks, size_t max,
					  size_t entry_size);
#define catnap_check_host(checks, max) \
	catnap_check_host_sized((checks), (max), sizeof(struct catnap_check))

#ifdef __cplusplus
}
#endif
#endif
