/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root bus, number 0: up to 32 devices with function 0 only, the host bridge the first of them.
 * Configuration space is reached by ECAM (PCI Firmware Specification 3.3, 4.1; PCI Express 5.0,
 * 7.2.2) and by the ports 0xcf8 and 0xcfc (PCI Local Bus Specification 3.0, 3.2.2.3.2); memory BARs
 * by one window of the MMIO bus, which asks this one who answers there just now.
 *
 * Interrupt pins (2.2.6) are wired as usual: each slot's INTA# to one of eight inputs of the
 * interrupt controller, slots that are eight apart to the same.
 *
 * Threads: any vCPU: slots, the address register and the places of BARs are atomic words, functions
 * lock themselves, and nothing is locked on the way to a BAR. Devices are plugged by one thread at a
 * time, also while vCPUs run, and unplugged while none of them does.
 */
#ifndef DEVICES_PCI_BUS_H
#define DEVICES_PCI_BUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/bus.h"
#include "devices/pci/function.h"

#define PCI_SLOTS	32
#define PCI_WINDOW_BASE UINT64_C(0xd0000000) /* for BARs, of 32 bits and of 64 */
#define PCI_WINDOW_SIZE UINT64_C(0x10000000)
#define PCI_ECAM_BASE	UINT64_C(0xe0000000)
#define PCI_ECAM_SIZE	UINT64_C(0x100000) /* one bus */
#define PCI_PORTS_BASE	0xcf8
#define PCI_PORTS	8
#define PCI_INTX_FIRST	16 /* of the I/O APIC's inputs, which are for this bus alone */
#define PCI_INTX_INPUTS 8

struct pci_bus {
	struct pci_function *_Atomic slots[PCI_SLOTS]; /* NULL: nobody is seen there */
	_Atomic uint32_t taken; /* slots, a bit each: plugged, and not unplugged */
	/* Those that there are, up to bar_count; NULL: free. */
	const struct pci_bar *_Atomic bars[PCI_SLOTS * PCI_BARS];
	_Atomic uint32_t bar_count;
	struct pci_function bridge;
	void (*set_input)(void *ctx, unsigned int input, bool level);
	void *input_ctx;
	pthread_mutex_t inputs_lock;	   /* held around set_input(); nothing to free */
	uint32_t intx_up[PCI_INTX_INPUTS]; /* under that lock: slots, a bit each */
	_Atomic uint32_t address;	   /* CONFIG_ADDRESS */
};

/*
 * Makes the bus with its bridge, and puts it on the buses. The ports leave to others what others
 * have there already: the reset control register is a byte in the middle of CONFIG_ADDRESS. 0 or
 * -errno.
 */
int pci_bus_init(struct pci_bus *bus, struct bus *pio, struct bus *mmio);
void pci_bus_fini(struct pci_bus *bus);
/* Resets the bus and its bridge to their state at power-on; whoever has what is plugged resets
 * that. Any thread. */
void pci_bus_reset(struct pci_bus *bus);
/* Writes the address register and the bridge, in an open section. */
void pci_bus_save(struct pci_bus *bus, struct state_writer *w);
/* Reads that section whole, checks it, and takes it over, before the threads start. 0, or -EINVAL
 * with a sentence. */
int pci_bus_load(struct pci_bus *bus, struct state_in *in, struct error *err);
/*
 * Says where interrupt pins lead to, before anything is plugged. Without it functions have none.
 * @set_input is called by any thread, with locks held; it must not come back here.
 */
void pci_bus_route_intx(struct pci_bus *bus,
			void (*set_input)(void *ctx, unsigned int input, bool level), void *ctx);
/* Returns the input that the INTA# of @slot leads to. */
static inline unsigned int pci_intx_input(unsigned int slot)
{
	return PCI_INTX_FIRST + slot % PCI_INTX_INPUTS;
}
/*
 * Gives @f the first free slot, and places for its BARs, as firmware would: a guest that does not
 * assign addresses finds them assigned and decoded. @f stays the caller's. Returns the slot, or
 * -ENOSPC.
 */
int pci_bus_plug(struct pci_bus *bus, struct pci_function *f);
/* Does the same while vCPUs run. The guest finds no address assigned; after a reset it does. */
int pci_bus_plug_late(struct pci_bus *bus, struct pci_function *f);
/* Hides what is in @slot: accesses that begin later find nobody there. Those that are under way go
 * on. Any vCPU. */
void pci_bus_hide(struct pci_bus *bus, unsigned int slot);
/* Takes @f, which is in @slot, off the bus, its pin down. No vCPU runs. */
void pci_bus_unplug(struct pci_bus *bus, unsigned int slot, struct pci_function *f);

#endif
