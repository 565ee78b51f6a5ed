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
#include "devices/ioapic.h"
#include "devices/log_limit.h"
#include "devices/pci/bus.h"
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/pci.h"
#include "sandbox/filter.h"
#include "vcpu/vcpu.h"
#include "vmm/acpi.h"
#include "vmm/image.h"
#include "vmm/io.h"
#include "vmm/log.h"
#include "vmm/memory.h"

/* On virtio-mmio: as many windows as there are pins. */
#define VM_VIRTIO_MAX	    16
#define VM_VIRTIO_MMIO_BASE UINT64_C(0xc0000000)

struct vm_virtio {
	struct catnap_vm *vm;
	struct virtio_device *dev;
	void (*destroy)(struct virtio_device *dev);
	struct virtio_mmio mmio;
	struct virtio_mmio_place place;
};

#define VM_EVENTS    32
#define VM_DOORBELLS 32

/* events.c. Written under the VM's lock and the event's, so read under either. */
struct vm_event {
	struct ring_watch watch; /* first: ready() gets back to the whole */
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

struct catnap_vm {
	/* Constant between create and destroy. */
	struct catnap_vm_config cfg; /* pointers to the caller's strings are not kept */
	struct kvm kvm;
	struct clock clock;
	struct memory memory;
	struct bus pio, mmio;
	struct lapic_bus lapics;
	struct lapic *lapic_by_id[CATNAP_MAX_VCPUS];
	struct vcpu_host host;
	struct vcpu **vcpus;
	uint32_t vcpu_count;
	struct budget poll_budget; /* for failed polls of all vCPUs and of the I/O thread */
	struct halter_group group; /* of those with group set */
	struct pressure pressure;  /* irqchip user: they look at it */
	int32_t affinity[CATNAP_MAX_VCPUS];
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
	unsigned int virtio_count;
	int end_fd;	 /* eventfd: readable once the VM has ended */
	int stopping_fd; /* eventfd: readable once it is to end */
	pid_t pid;	 /* a child of fork(2) has a copy without threads */
	int trace_fd;	 /* our own description of cfg.halt_trace_fd; -1: that itself serves */
	/* SANDBOX_BIT()s: each device that is added before the start names what it needs. */
	struct vm_event events[VM_EVENTS];
	struct vm_doorbell doorbells[VM_DOORBELLS];
	uint32_t sandbox_features;
	struct catnap_keeper *keeper; /* NULL: nobody needs one */
	bool keeper_own;	      /* not the caller's */
	/* From the start on, unless cfg.sandbox is off. */
	struct sandbox_filter vcpu_filter, io_filter;

	/* Devices lock themselves. */
	struct serial com1;
	struct ioapic ioapic;
	struct control control;
	struct power power;
	struct pvpanic pvpanic;
	struct log_limit panic_limit;
	struct vm_log log;
	struct pci_bus pci; /* if pci_made */
	struct virtio_pci *pci_devices[PCI_SLOTS];
	unsigned int pci_device_count;
	bool com1_made, ioapic_made, pci_made, locks_made;

	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* on CLOCK_MONOTONIC */
	bool started, ended, paused;
	uint32_t resumes;  /* how often it was resumed; wraps around */
	uint32_t running;  /* threads that have not left */
	uint32_t standing; /* threads that wait in a pause */
	bool io_runs;	   /* the I/O thread is one of them */
	struct catnap_exit exit;
	struct kvm_error error; /* of the last call that failed */
};

/* hardware.c: the devices by which a guest finds and switches its machine, and their descriptions.
 */
int hardware_add(struct catnap_vm *vm, struct kvm_error *err);
/* Before load(), and again whenever a device was added, until the VM starts. */
int hardware_describe(struct catnap_vm *vm, struct kvm_error *err);
void hardware_fini(struct catnap_vm *vm);
/* Drives an input pin of the I/O APIC, whoever has it. Any thread. */
void vm_set_pin(struct catnap_vm *vm, unsigned int pin, bool level);

/* pci.c: the PCI root bus, if the transport is PCI. */
int pci_add(struct catnap_vm *vm, struct kvm_error *err);
void pci_fini(struct catnap_vm *vm);
/*
 * Before the vCPUs run: puts @dev, made by virtio_init(), on the bus. It stays the caller's, and
 * lives longer than the VM's threads. 0, or -errno with a sentence.
 */
int pci_attach(struct catnap_vm *vm, struct virtio_device *dev, struct kvm_error *err);
/* A message-signalled interrupt, for msix_init(); @vm is the VM. Any thread. */
void pci_send_message(void *vm, uint64_t address, uint32_t data);

/* events.c: eventfds as interrupts, and as doorbells. */
void events_init(struct catnap_vm *vm);
void events_fini(struct catnap_vm *vm);

/*
 * rings.c: before start, when something is added that needs a ring: makes them, or what there is
 * instead, which may be an I/O thread; homes are asked for after that. Says so to the log, so no
 * lock is held. 0 or -errno.
 */
int vm_prepare_rings(struct catnap_vm *vm);

/* virtio.c */
/* Where input is waited for: in the ring of this vCPU, or of the I/O thread if there is one. */
struct catnap_halter *vm_home(struct catnap_vm *vm, uint32_t vcpu);
void vm_init_virtio(struct catnap_vm *vm);
/* The devices that the configuration asks for. */
int vm_make_virtio(struct catnap_vm *vm, struct kvm_error *err);
/*
 * Before start: gives @dev, which was made with vm->dma, its transport. On success it is the VM's,
 * which calls destroy() at its end, when no thread runs any more; on failure it is the caller's.
 */
int vm_add_virtio(struct catnap_vm *vm, struct virtio_device *dev,
		  void (*destroy)(struct virtio_device *dev), struct kvm_error *err);
void vm_fini_virtio(struct catnap_vm *vm);
/* Before a device is added by the public call for @what: is @size, the caller's, at least @least,
 * and has the VM not been started? 0 or -EINVAL with a sentence. */
int vm_may_add(struct catnap_vm *vm, const char *what, uint32_t size, size_t least,
	       struct kvm_error *err);
/* A device's limits as it takes them. -EINVAL with a sentence: a burst without a rate. */
struct rate_limits;
int vm_rate_limits(struct rate_limits *to, const char *what, const struct catnap_rate_limit *from,
		   struct kvm_error *err);
/* The first device with this number of virtio's; NULL: there is none. */
struct virtio_device *vm_find_virtio(struct catnap_vm *vm, uint16_t id);
/* The end of such a call: @err becomes the VM's last error if @ret is one. Returns @ret. */
int vm_added(struct catnap_vm *vm, const char *what, int ret, const struct kvm_error *err);

/* Is @h, a thread's own halter, that of one of the VM's threads? */
bool vm_owns(struct catnap_vm *vm, const struct catnap_halter *h);
/* Is this one of the VM's threads, which @what would wait for? Then with a sentence. */
bool vm_from_inside(struct catnap_vm *vm, const char *what);
/* A thread of the VM found that it is to pause: blocks until it may go on. Nothing of it is in
 * flight. */
void vm_stand(struct catnap_vm *vm);
/* @count threads of the VM are about to end, or never began. */
void vm_left(struct catnap_vm *vm, uint32_t count);
/* Records why the VM ends, once, and sends the vCPUs home. Any thread. */
void vm_end(struct catnap_vm *vm, const struct catnap_exit *exit);
/* A thread that runs guest or devices, before it does: its filter. */
int vm_confine(struct catnap_vm *vm, const struct sandbox_filter *f);
/* What the halt trace is written to. */
static inline int vm_trace_fd(const struct catnap_vm *vm)
{
	return vm->trace_fd >= 0 ? vm->trace_fd : vm->cfg.halt_trace_fd;
}

/* Under the lock, after a change of ended or running: tells end_fd if the VM is at rest now. */
void vm_tell_rest(struct catnap_vm *vm);

#endif
