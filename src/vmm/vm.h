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
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "vcpu/vcpu.h"
#include "vmm/acpi.h"
#include "vmm/image.h"
#include "vmm/memory.h"

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
	struct budget poll_budget; /* of all vCPUs' failed polls */
	int32_t affinity[CATNAP_MAX_VCPUS];
	struct acpi acpi;
	void *dtb;
	size_t dtb_len;
	char *linux_args; /* added to the command line of Linux images */
	int end_fd;	  /* eventfd: readable once the VM has ended */

	/* Devices lock themselves. */
	struct serial com1;
	struct ioapic ioapic;
	struct control control;
	struct power power;
	struct pvpanic pvpanic;
	bool com1_made, ioapic_made, locks_made;

	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* on CLOCK_MONOTONIC */
	bool started, ended, paused;
	uint32_t running;  /* threads that have not left */
	uint32_t standing; /* vCPUs that wait in a pause */
	struct catnap_exit exit;
	struct kvm_error error; /* of the last call that failed */
};

/* hardware.c: the devices by which a guest finds and switches its machine, and their descriptions.
 */
int hardware_add(struct catnap_vm *vm, struct kvm_error *err);
int hardware_describe(struct catnap_vm *vm, struct kvm_error *err);
void hardware_fini(struct catnap_vm *vm);
/* Drives an input pin of the I/O APIC, whoever has it. Any thread. */
void vm_set_pin(struct catnap_vm *vm, unsigned int pin, bool level);

/* Records why the VM ends, once, and sends the vCPUs home. Any thread. */
void vm_end(struct catnap_vm *vm, const struct catnap_exit *exit);
/* Under the lock, after a change of ended or running: tells end_fd if the VM is at rest now. */
void vm_tell_rest(struct catnap_vm *vm);

#endif
