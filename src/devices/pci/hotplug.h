/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers by which ACPI tells a guest of PCI devices that have come and that are to go (ACPI
 * 6.5, 5.6.6, 6.3.3 and 6.3.5). Three are of 32 bits with a bit for each slot of the root bus:
 *
 *	0  read   slots with a new device; reading clears those that were read
 *	4  read   slots whose device is to go; reading clears those that were read
 *	8  write  slots whose device the guest has let go of (_EJ0)
 *
 * Behind them each slot has one of 32 bits, which is written: what the guest says of a device that is
 * to go (_OST), as a status code.
 *
 * Their interrupt is a level: up while the guest has not read all. So nothing is lost on a guest
 * that begins to listen late.
 *
 * Threads: any; the lock is held around set_line(), and never around eject() and
 * answered().
 */
#ifndef DEVICES_PCI_HOTPLUG_H
#define DEVICES_PCI_HOTPLUG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/bus.h"
#include "errors.h"
#include "state.h"

#define PCI_HOTPLUG_PORT  0xae00
#define PCI_HOTPLUG_PORTS 140
#define PCI_HOTPLUG_UP	  0
#define PCI_HOTPLUG_DOWN  4
#define PCI_HOTPLUG_EJECT 8
#define PCI_HOTPLUG_OST	  12 /* of slot 0 */
#define PCI_HOTPLUG_GSI	  10

struct pci_hotplug {
	/* Set before pci_hotplug_add(). */
	void (*set_line)(void *ctx, bool level); /* drives the interrupt line */
	/* The guest has let go of the devices in @slots, whatever is there; on the vCPU's thread that
	 * wrote. */
	void (*eject)(void *ctx, uint32_t slots);
	/* The guest has answered with @status for the device in @slot, whatever is there; on the same. */
	void (*answered)(void *ctx, unsigned int slot, uint32_t status);
	void *ctx;

	pthread_mutex_t lock; /* nothing to free */
	uint32_t up, down;    /* under the lock: what the guest has not read */
};

/* Adds the registers to @pio. 0, or -EEXIST: the ports are taken. */
int pci_hotplug_add(struct pci_hotplug *h, struct bus *pio);
/* Tells the guest of a new device in @slot, and of no removal there that it has not read of. */
void pci_hotplug_came(struct pci_hotplug *h, unsigned int slot);
/* Tells the guest that the device in @slot is to go. */
void pci_hotplug_ask(struct pci_hotplug *h, unsigned int slot);
/* Forgets what the guest has not read of @slot, whose device is gone. */
void pci_hotplug_gone(struct pci_hotplug *h, unsigned int slot);
/* Forgets all that the guest has not read: a guest that begins anew finds what is there. */
void pci_hotplug_reset(struct pci_hotplug *h);

#define PCI_HOTPLUG_STATE_VERSION 1
/* Writes what the guest has not read, in an open section. */
void pci_hotplug_save(struct pci_hotplug *h, struct state_writer *w);
/* Reads that section whole, checks it, and takes it over, before the vCPUs run; the line is as it
 * was. 0, or -EINVAL with a sentence. */
int pci_hotplug_load(struct pci_hotplug *h, struct state_in *in, struct error *err);
/* Drives the line as it is to be. */
void pci_hotplug_drive(struct pci_hotplug *h);

#endif
