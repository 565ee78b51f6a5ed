/* SPDX-License-Identifier: Apache-2.0 */
/* The devices' part of a snapshot. docs/snapshot-format.md has the bytes of their sections. */
#ifndef VMM_SNAPSHOT_DEVICES_H
#define VMM_SNAPSHOT_DEVICES_H

#include "errors.h"
#include "state.h"

struct catnap_vm;

/* There if the VM has cfg.hotplug. */
#define HOTPLUG_SECTION STATE_ID('h', 'p', 'l', 'g')

/*
 * Writes the sections of all devices; with irqchip user, of the interrupt controllers, too. All
 * threads stand, and vm->instant is now. 0, or -errno with a sentence: -ENOMEM, -ENOTSUP (a device
 * that cannot be saved), -EBUSY, and what fdatasync(2) gives.
 */
int vm_save_devices(struct catnap_vm *vm, struct state_writer *w, struct error *err);
/*
 * Gives a VM that has the same devices, and was not started, their state. Guest memory is there, and
 * so are the vCPUs' TSCs and, with irqchip kernel, KVM's interrupt controllers. vm->instant is the
 * moment that stands for the snapshot's. Devices may write to guest memory and raise interrupts. 0,
 * or -errno with a sentence; then the VM is good for its destruction only.
 */
int vm_load_devices(struct catnap_vm *vm, struct state_reader *r, struct error *err);

#endif
