/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/config.h - what a VM is made of.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_CONFIG_H
#define CATNAP_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>
#include <catnap/sandbox.h>

#ifdef __cplusplus
extern "C" {
#endif

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
	 * SIGRTMAX. See "The kick signal" in catnap/catnap.h. */
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
	 * that "Callbacks" in catnap/catnap.h does not except. NULL: lost. */
	void (*serial_output)(void *ctx, const void *data, size_t len);
	void *serial_ctx;
	/** Takes a message: any thread, one line without newline. A message that a guest can cause
	 * comes once a second from each of its devices at most; the next says how many were left
	 * out. The text may have parts that a guest or a file's name has chosen. During
	 * catnap_vm_create() there is no VM to call yet; later it may block, and call all that
	 * "Callbacks" does not except. NULL: none. */
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
	 * all that "Callbacks" does not except. NULL: none.
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
	/** Not 0: disks, network interfaces and devices with a back end of their own may be added while
	 * the VM runs, and removed (catnap_vm_remove_disk()). The guest is told by ACPI of its PCI slots, so it needs transport
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

#ifdef __cplusplus
}
#endif
#endif
