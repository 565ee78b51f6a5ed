/* SPDX-License-Identifier: Apache-2.0 */
/* One virtual machine: what it is made of, and its life. The public face is catnap/catnap.h. */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <catnap/catnap.h>
#include "devices/bus.h"
#include "devices/control.h"
#include "devices/genid.h"
#include "devices/ioapic.h"
#include "devices/log_limit.h"
#include "devices/pci/bus.h"
#include "devices/pci/hotplug.h"
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/pci.h"
#include "vcpu/vcpu.h"
#include "vmm/acpi.h"
#include "vmm/fork.h"
#include "vmm/history.h"
#include "vmm/kernel_poll.h"
#include "vmm/load.h"
#include "vmm/io.h"
#include "vmm/last_error.h"
#include "vmm/log.h"
#include "vmm/memory.h"
#include "vmm/snapshot.h"
#include "vmm/uffd.h"

/* On virtio-mmio: as many windows as there are pins. */
#define VM_VIRTIO_MAX	    16
#define VM_VIRTIO_MMIO_BASE UINT64_C(0xc0000000)

/*
 * bells.c: the doorbells of a device with a back end of its own, at which KVM signals that. Written
 * by one thread at a time: before the start, and with the lock of its PCI function.
 */
struct vm_bells {
	struct catnap_vm *vm;
	const int *fds; /* NULL: the device is told of doorbells, as all others are */
	unsigned int count;
	uint64_t base; /* of the transport's registers; VM_BELLS_OFF: nowhere */
	uint64_t up;   /* those that KVM has; a bit each */
};

#define VM_BELLS_OFF UINT64_MAX

/* What a device was added with, or has been changed to since: a snapshot has it, so that it can be
 * added again. Texts are owned. */
struct vm_made {
	char *place; /* an image, a TAP, a socket; NULL: none, or only a descriptor */
	char id[CATNAP_MAX_DISK_ID + 1]; /* of a disk; "": none */
	union {
		struct catnap_disk disk;
		struct catnap_net net;
		struct catnap_vsock vsock;
		struct catnap_console console;
		struct catnap_balloon balloon;
		struct catnap_pmem pmem;
		struct catnap_rate_limit rng;
	};
};

struct vm_virtio {
	struct catnap_vm *vm;
	struct vm_made made;
	struct virtio_device *dev;
	void (*destroy)(struct virtio_device *dev);
	uint32_t number; /* its place among the VM's devices */
	uint32_t nth;	 /* its number among those of its type, as calls count them */
	struct virtio_mmio mmio;
	struct virtio_mmio_place place;
	struct vm_bells bells;
	struct vm_calls *calls; /* calls.c; NULL: there are none */
	struct virtio_pci *pci; /* NULL: it is on virtio-mmio */
	unsigned int slot;	/* then: of the bus */

	/* hotplug.c. Under the VM's lock. */
	uint32_t users; /* the VM, while it is in its place, and calls under way */
	bool asked;	/* the guest is to let go of it */
	bool leaving;	/* the guest has: when all threads stand, it is taken off the bus */
	bool off;	/* it was; calls find it no more */
	struct halter_task farewell; /* nobody uses it: it goes from thread to thread, ... */
	uint32_t farewells;	     /* ... and has been at so many */
};

#define VM_KVM_CHIPS 3 /* two PICs and the I/O APIC */
#define VM_EVENTS    32
#define VM_DOORBELLS 32
#define VM_ROUTES    (VM_EVENTS + 1024) /* of events, and of calls of back ends */

/* events.c. Written under the VM's lock and the event's, so read under either. */
struct vm_event {
	struct ring_handler handler;
	struct catnap_vm *vm;
	pthread_mutex_t lock;
	int fd; /* -1: a free place */
	uint64_t address;
	uint32_t data;
	struct catnap_halter *home;
};

struct vm_doorbell {
	int fd; /* -1: a free place */
	struct catnap_doorbell bell;
};

enum vm_gate { VM_GATE_CLOSED, VM_GATE_OPEN, VM_GATE_GIVEN_UP };

/* start.c. Under the VM's lock. */
struct vm_start {
	bool under_way; /* catnap_vm_start() has not returned */
	enum vm_gate gate;
	uint32_t ready; /* threads that wait at the gate */
	/* Why it is given up: the first that was not ready. */
	int error;
	char who[24];
	const char *what;
	int odd; /* the result of its thread_start, if that is no errno value; error is -EINVAL */
};

struct catnap_vm {
	/* Constant between create and destroy. */
	struct catnap_vm_config cfg;	/* pointers to the caller's strings are not kept */
	char name[CATNAP_MAX_NAME + 1]; /* "": none */
	struct kvm kvm;
	struct clock clock;
	struct spin spin; /* of this host */
	struct memory memory;
	struct uffd uffd;
	struct bus pio, mmio;
	struct lapic_bus lapics;
	struct lapic *lapic_by_id[CATNAP_MAX_VCPUS];
	struct vcpu_host host;
	struct vcpu **vcpus;
	uint32_t vcpu_count;
	struct budget poll_budget;	/* for failed polls of all vCPUs and of the I/O thread */
	struct wake_group group;	/* of those with group set */
	struct pressure pressure;	/* irqchip user: they look at it */
	struct kernel_poll kernel_poll; /* irqchip kernel */
	int32_t affinity[CATNAP_MAX_VCPUS];
	/* Copies of what the configuration's pointers led to; freed with the VM. */
	struct catnap_cpuid_modifier *cpuid_modifiers;
	struct catnap_msr_modifier *msr_modifiers;
	uint32_t *kvm_dropped;
	struct catnap_node *nodes;
	/* To load again, unless on_reset is END: open files, or copies. */
	struct image kernel, initramfs;
	void *kernel_copy, *initramfs_copy;
	struct kvm_irqchip chips[VM_KVM_CHIPS]; /* irq.c: as at power-on */
	struct acpi acpi;
	void *dtb;
	size_t dtb_len;
	char *cmdline, *linux_given; /* as the configuration had them */
	char *linux_args;	     /* added to the command line of Linux images */
	char *bootargs;		     /* the whole of it, for the device tree */
	struct load_places places;
	struct dma dma;
	struct io_thread *io; /* NULL: vCPUs run the devices */
	struct vm_virtio *virtio[VM_VIRTIO_MAX];
	/* Up to the last that is there. With cfg.hotplug there may be none in a place before that,
	 * and from the start on both are under the lock. */
	unsigned int virtio_count;
	int end_fd;	    /* eventfd: readable once the VM has ended */
	int stopping_fd;    /* eventfd: readable once it is to end; -1: nobody has asked for it */
	struct vm_own *own; /* by which a child of fork(2) is known */
	uint64_t born;	    /* when it was made, in ns: with its address that is no other VM */
	int trace_fd;	    /* our own description of cfg.halt_trace_fd; -1: that itself serves */
	bool trace_begun;   /* it has its header: a start's, the first */
	struct vm_event events[VM_EVENTS];
	struct vm_doorbell doorbells[VM_DOORBELLS];
	struct vm_routes *routes; /* routes.c; owned; NULL: none was needed */
	pthread_mutex_t routes_lock;
	uint32_t call_slots; /* calls.c: those taken, a bit for each device */
	/* SANDBOX_BIT()s: each device that is added before the start names what it needs. */
	uint32_t sandbox_features;
	struct catnap_keeper *keeper; /* NULL: nobody needs one */
	bool keeper_own;	      /* not the caller's */
	bool rings_made;	      /* or what there is instead: rings.c */

	const struct vm_source *source; /* restore.c; NULL: it begins with an image */
	struct memory_chain chain;	/* of its last snapshot, or of what it was restored from */
	int pagemap_fd; /* restore.c: tells which pages were touched; -1: nobody asks */
	uint8_t restored_from[MEMORY_ID]; /* with it: the id of the snapshot */
	/* The time that a snapshot has for now, in ticks: of what is being saved, or loaded. Below 0: a
	 * guest that goes on with the time of now was put down before this host was started. */
	int64_t instant;
	uint64_t
		*written; /* snapshot.c: pages that the diff under way has taken from the account */

	/* Devices lock themselves. */
	struct serial com1;
	struct ioapic ioapic;
	struct control control;
	struct power power;
	struct pvpanic pvpanic;
	struct genid genid;
	struct log_limit panic_limit;
	struct vm_log log;
	struct history history;
	struct pci_bus pci;	    /* if pci_made */
	struct pci_hotplug hotplug; /* with cfg.hotplug */
	bool com1_made, ioapic_made, pci_made, locks_made;

	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* on CLOCK_MONOTONIC */
	bool started, ended, paused;
	bool starts_paused; /* restore.c: start leaves it in a pause */
	bool held;	    /* snapshot.c: it is looked at, and stands whatever is asked of it */
	uint32_t resumes;   /* how often it was resumed; wraps around */
	uint32_t running;   /* threads that have not left */
	uint32_t standing;  /* threads that wait in a pause */
	bool io_runs;	    /* the I/O thread is one of them */
	struct vm_start start;
	/* reset.c */
	struct {
		bool wanted; /* all threads are to stand */
		bool runs;   /* one that does sees to it, or to leaving, without the lock */
		uint64_t done;
	} reset;
	bool leaving;	  /* hotplug.c: devices are to be taken off, and all threads to stand */
	int paused_fd;	  /* eventfd: readable while it stands still; -1: nobody has asked for it */
	bool doomed;	  /* the thread that leaves last takes it apart */
	bool told_paused; /* the history has that it stands still */
	/* vm.c: frees everything, and tells gone_fd. On the last thread that has anything to do
	 * with it, which may be one of the VM's own. Constant. */
	void (*take_apart)(struct catnap_vm *vm);
	/* reset.c: takes devices off that leave, and resets the VM, as is wanted, under the lock,
	 * which it leaves meanwhile. All threads stand; on a vCPU's. Constant. */
	void (*run_reset)(struct catnap_vm *vm);
	int gone_fd; /* the caller's eventfd: told then; -1: none */
	struct catnap_exit exit;
};

/* power.c: adds the devices by which a guest ends. */
int power_devices_add(struct catnap_vm *vm, struct error *err);

/* hardware.c: describes the machine to its guest, before load(), and again whenever a device was
 * added, until the VM starts. */
int hardware_describe(struct catnap_vm *vm, struct error *err);
void hardware_fini(struct catnap_vm *vm);

/* pci.c: adds the PCI root bus, if the transport is PCI. */
int pci_add(struct catnap_vm *vm, struct error *err);
void pci_fini(struct catnap_vm *vm);
/*
 * Puts @v's device, made by virtio_init(), on the bus, and has its bells follow it. @late: vCPUs run,
 * or may. One at a time. Returns 0, or -errno with a sentence.
 */
int pci_attach(struct catnap_vm *vm, struct vm_virtio *v, bool late, struct error *err);
/* Takes it off the bus again, reset. No vCPU runs. */
void pci_detach(struct catnap_vm *vm, struct vm_virtio *v);
/* Frees its PCI function, if it has one, which nobody uses any more. */
void pci_release(struct vm_virtio *v);

/* hotplug.c */
/* Adds the registers of PCI hotplug, with cfg.hotplug. Returns 0, or -errno with a sentence. */
int hotplug_add(struct catnap_vm *vm, struct error *err);
/* Prepares for devices that may come, once there are rings. Returns 0, or -errno with a sentence. */
int hotplug_prepare(struct catnap_vm *vm, struct error *err);
/* Takes off the devices that leave, and for a reset all that the guest was asked to let go of. All
 * threads stand; no lock held. */
void hotplug_let_go(struct catnap_vm *vm, bool reset);
/* Has @v, of a VM that runs, leave as if the guest had let go of it. */
void hotplug_take_back(struct catnap_vm *vm, struct vm_virtio *v);
/* Checks that a restored VM would have its devices where this one has them, and that none is about to
 * go. The VM is held. Returns 0, or with a sentence -EBUSY and -ENOTSUP. */
int hotplug_check_saved(struct catnap_vm *vm, struct error *err);

/* device.c */
/* Returns the @n-th device with this number of virtio's, as vm_nth_virtio() does, for a call that
 * uses it and then gives it back by vm_put(): it stays until then. NULL: there is none. */
struct vm_virtio *vm_get(struct catnap_vm *vm, uint16_t id, uint32_t n);
/* Does the same by its place among the VM's devices. */
struct vm_virtio *vm_get_device(struct catnap_vm *vm, uint32_t number);
void vm_put(struct vm_virtio *v);
/* Returns the device in place @i, which stays while all threads stand; NULL: none. */
struct vm_virtio *vm_standing(struct catnap_vm *vm, unsigned int i);
/* Takes back what waits for the device's limits. */
void vm_detach_limits(struct virtio_device *dev);
/* Frees @v with its device. */
void vm_destroy_virtio(struct vm_virtio *v);
/* Frees @v, whose device is the caller's. */
void vm_free_virtio(struct vm_virtio *v);
/* Ends a call that is about a device: makes @err the thread's last error if @ret is one. Returns
 * @ret. */
int vm_added(struct catnap_vm *vm, const char *what, int ret, const struct error *err);

/* bells.c: makes the doorbells of @dev, nowhere so far. */
void vm_bells_init(struct vm_bells *b, struct catnap_vm *vm, struct virtio_device *dev);
/* Moves the bells: its registers are at @base now. Writes that KVM does not take there come to the
 * device itself. */
void vm_bells_move(struct vm_bells *b, uint64_t base);

/*
 * routes.c, with irqchip kernel: route @route, below VM_ROUTES, is to stand for the message @m. Returns
 * 0 or -errno: there is none. routes_drop() lets it go. Any thread; locks of devices may be held.
 */
int routes_put(struct catnap_vm *vm, unsigned int route, const struct msix_message *m);
/* Gives KVM its table, where the one that it begins with does not serve. 0 or -errno. */
int routes_begin(struct catnap_vm *vm);
void routes_drop(struct catnap_vm *vm, unsigned int route);
/* Has the interrupt of a route follow the eventfd @fd, or not any more. Returns 0 or -errno. */
int routes_follow(struct catnap_vm *vm, unsigned int route, int fd, bool on);

/*
 * calls.c: has KVM take the calls of the back end of @dev, which is on the bus, where it can. Before
 * the vCPUs run. Returns NULL if it does not: calls come to the device then. For vm_calls_end(), before
 * the device is destroyed.
 */
struct vm_calls *vm_calls_begin(struct catnap_vm *vm, struct virtio_device *dev);
void vm_calls_end(struct vm_calls *c);

/* events.c: begins eventfds as interrupts, and as doorbells. */
void events_init(struct catnap_vm *vm);
void events_fini(struct catnap_vm *vm);

/* disown.c: takes, the first step of destroying a copy, off it what is the parent's. */
void vm_disown(struct catnap_vm *vm);

/*
 * vm.c: makes a VM as catnap_vm_create() does. @source: NULL, or what it is restored from; then an
 * image is needed for resets only. Returns 0, or a negative errno value, mostly with a sentence.
 */
int vm_create(const struct catnap_vm_config *given, const struct vm_source *source,
	      struct catnap_vm **out, struct error *err);

/*
 * rings.c: makes the rings, or what there is instead, which may be an I/O thread: in
 * catnap_vm_create(), unless the configuration says that there are to be none. Says so to the log,
 * so no lock is held. Returns 0 or -errno.
 */
int vm_make_rings(struct catnap_vm *vm);
/* Checks that there are rings, before the start, for @what, which waits by one. Returns 0, or
 * -EINVAL with a sentence: there are none. */
int vm_use_rings(struct catnap_vm *vm, const char *what, struct error *err);

/* virtio_mem.c: unplugs all memory that the guest has plugged, for a reset. Its driver is reset. */
void vm_unplug(struct catnap_vm *vm);

/* virtio.c */
/* Makes the devices that the configuration asks for. */
int vm_make_virtio(struct catnap_vm *vm, struct error *err);
/*
 * Gives @dev, which was made with vm->dma, its transport, and from the start on tells the guest. On
 * success it is the VM's, which calls destroy() when no thread runs it any more; on failure it is
 * the caller's.
 * @made is what it was made with, which a snapshot needs: it is copied, with its place. NULL: none.
 */
int vm_add_virtio(struct catnap_vm *vm, struct virtio_device *dev,
		  void (*destroy)(struct virtio_device *dev), const struct vm_made *made,
		  struct error *err);
/* Does the same, and takes it for the caller in *@held, who gives it back by vm_put(). */
int vm_add_and_hold(struct catnap_vm *vm, struct virtio_device *dev,
		    void (*destroy)(struct virtio_device *dev), const struct vm_made *made,
		    struct vm_virtio **held, struct error *err);
void vm_fini_virtio(struct catnap_vm *vm);
/*
 * Copies what the caller gave to @to, which has the defaults (sized_in()), before the public call
 * for @what adds a device. Returns 0, or with a sentence: -EINVAL (the structure is too short, the
 * VM was started or has ended), -EDEADLK (by a callback).
 */
int vm_may_add(struct catnap_vm *vm, const char *what, void *to, size_t own, const void *given,
	       size_t least, struct error *err);
/* Does the same for a device that may also come after the start, if the VM was made for that. */
int vm_may_plug(struct catnap_vm *vm, const char *what, void *to, size_t own, const void *given,
		size_t least, struct error *err);
/* Makes all that a limit of the entropy device needs, before the start; after it checks that it is
 * there. Returns 0, or -EINVAL and -ENOTSUP with a sentence. */
int vm_prepare_rng_limit(struct catnap_vm *vm, struct error *err);
/* A device's limits as it takes them. -EINVAL with a sentence: a bucket takes too long to fill. */
struct rate_limits;
int vm_rate_limits(struct rate_limits *to, const char *what, const struct catnap_rate_limit *from,
		   struct error *err);
/* Returns what the @n-th device with this number of virtio's was made with; NULL: there are not so many. */
struct vm_made *vm_nth_made(struct catnap_vm *vm, uint16_t id, uint32_t n);
/* Makes vm->keeper, which does what the sandbox forbids, unless there is one, or no sandbox. 0 or
 * -errno. */
int vm_need_keeper(struct catnap_vm *vm);
/* Returns the @n-th device with this number of virtio's and no back end elsewhere, as they were
 * added; NULL: there are not so many. */
struct virtio_device *vm_nth_virtio(struct catnap_vm *vm, uint16_t id, uint32_t n);
/* Returns the first device with this number of virtio's; NULL: there is none. */
struct virtio_device *vm_find_virtio(struct catnap_vm *vm, uint16_t id);

/* threads.c */
/* Returns the halter that waits for input: that of this vCPU, or of the I/O thread if there is
 * one. */
struct catnap_halter *vm_home(struct catnap_vm *vm, uint32_t vcpu);
/* Returns whether @h, a thread's own halter, is that of one of the VM's threads. */
bool vm_owns(struct catnap_vm *vm, const struct catnap_halter *h);
bool vm_is_own_thread(struct catnap_vm *vm);
/* Returns the vCPU whose thread this is; UINT32_MAX: none of the VM's. */
uint32_t vm_current_vcpu(struct catnap_vm *vm);
/* Returns why a call that waits is not to be made here: on one of the VM's threads, or in its log
 * callback. NULL: it may be. */
const char *vm_inside(struct catnap_vm *vm);
/* Returns whether @what is not to be called here (vm_inside()), then with a sentence. */
bool vm_from_inside(struct catnap_vm *vm, const char *what);
/*
 * Blocks a thread of the VM, @who, which could run guest or devices, until all of them could.
 * @error: 0, or the -errno of @what, for which it cannot. Returns false if the start is given up,
 * and it is to end.
 */
bool vm_ready(struct catnap_vm *vm, const char *who, const char *what, int error);
/* Blocks a thread of the VM, which found that it is to pause, until it may go on. Nothing of it is
 * in flight. */
void vm_stand(struct catnap_vm *vm);
/* Takes note that a thread of the VM is about to end. The VM may be gone when it returns. */
void vm_left(struct catnap_vm *vm);
/* Returns how many threads run between start and end. Under the lock. */
static inline uint32_t vm_threads(const struct catnap_vm *vm)
{
	return vm->vcpu_count + vm->io_runs;
}
/* Tells end_fd if the VM is at rest now, after a change of ended or running. Under the lock. */
void vm_tell_rest(struct catnap_vm *vm);
/* Returns whether the VM stands still, or is to end, for paused_fd. Under the lock. */
bool vm_stands(const struct catnap_vm *vm);
/* Tells paused_fd and the history, after what may have made it stand still. Under the lock. */
void vm_tell_stands(struct catnap_vm *vm);
/* Calls all threads to where they stand, if they are to (vm_stand()). Any thread. */
void vm_call_together(struct catnap_vm *vm);
/* images.c: opens what the configuration names, loads it into guest memory with the first vCPU at its
 * entry, and keeps it for a reset, or gives it back. 0, or -errno with a sentence. */
int vm_open_images(struct catnap_vm *vm, struct error *err);
int vm_load(struct catnap_vm *vm, struct error *err);
int vm_keep_images(struct catnap_vm *vm);
/* Writes the generation's data to guest memory, where there is firmware's. */
void vm_write_genid(struct catnap_vm *vm);
void vm_close_images(struct catnap_vm *vm);
/* reset.c: does the reset, for run_reset. */
void vm_run_reset(struct catnap_vm *vm);

/* ---- memory_lost.c ---- */

/* Returns whether memory has lost a page that is a file's; then @err says so. */
bool vm_memory_is_lost(struct catnap_vm *vm, struct error *err);
/* Says that it may, and that it would end the process, whose SIGBUS nobody handles. */
void vm_memory_say(struct catnap_vm *vm);
/* See struct vcpu_host, lost. */
bool vm_memory_lost(struct catnap_vm *vm, struct vcpu *v, uint64_t gpa, bool write);
/* Takes the guest's request for a reset, on a vCPU's thread. Returns false if the VM ends. */
bool vm_guest_resets(struct catnap_vm *vm);
/* Makes paused_fd if it is not there, and returns it. -errno of eventfd(2). */
int vm_make_paused_fd(struct catnap_vm *vm);
/* Makes stopping_fd, the same. */
int vm_make_stopping_fd(struct catnap_vm *vm);
/* Makes an eventfd readable. */
void vm_tell(int eventfd);
/* Returns whether the thread that is about to let it go is the one to take it apart. Under the
 * lock. */
static inline bool vm_is_left(const struct catnap_vm *vm)
{
	return vm->doomed && vm->running == 0 && !vm->start.under_way && !vm->held;
}
/* Records why the VM ends, once, and sends the vCPUs home. Any thread. */
void vm_end(struct catnap_vm *vm, const struct catnap_exit *exit);
/* Calls the caller's thread_start in a new thread, before it is confined. Returns what that does,
 * which vm_ready() judges. */
int vm_begin_thread(struct catnap_vm *vm, uint32_t vcpu);
/* Installs the filter of a thread, before it runs guest or devices. */
int vm_confine(struct catnap_vm *vm, const struct sandbox_filter *f);
/* Returns the descriptor that the halt trace is written to. */
static inline int vm_trace_fd(const struct catnap_vm *vm)
{
	return vm->trace_fd >= 0 ? vm->trace_fd : vm->cfg.halt_trace_fd;
}

#endif
