/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One PCI function: its configuration space of 256 bytes with a type 0 header, its BARs, its
 * capabilities (PCI Local Bus Specification 3.0, chapter 6). Conventional PCI: there is no extended
 * configuration space. Memory BARs only, no I/O ports, no expansion ROM; one interrupt pin, INTA#,
 * for a device that asks for it and a bus that has somewhere to lead it.
 *
 * Threads: made by one, before the vCPUs start; configuration accesses by any vCPU, under the
 * function's lock. Where a BAR answers is one atomic word, read without a lock by whoever looks for
 * the owner of an address: an access that races with the move of its BAR goes to the old place or
 * to the new one, as on a real bus.
 */
#ifndef DEVICES_PCI_FUNCTION_H
#define DEVICES_PCI_FUNCTION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/bus.h"

#define PCI_CONFIG_SIZE	 256u
#define PCI_BARS	 6
#define PCI_WATCHES	 4
#define PCI_WATCHED_SIZE 24 /* bytes; the longest capability that anybody watches */
#define PCI_BAR_OFF	 UINT64_MAX
#define PCI_BAR_MIN	 16u

struct pci_bar {
	uint64_t size; /* a power of two; 0: not there, or the upper half of the one before */
	bool wide;     /* of 64 bits */
	const struct bus_ops *ops;
	void *dev;
	_Atomic uint64_t base; /* where it answers; PCI_BAR_OFF: nowhere */
};

/* Registers whose accesses mean more than what is stored. */
struct pci_watch {
	uint8_t start, len; /* at most PCI_WATCHED_SIZE */
	void *ctx;
	/* After a write that touched them; the lock is held. NULL: nothing to do. */
	void (*written)(void *ctx);
	/*
	 * An access to [start + offset, start + offset + len), once the lock is free again, so that
	 * it may wait. @regs is a copy of the registers, as they are after it. What read() changes
	 * of @data is what the guest reads. NULL: nothing to do.
	 */
	void (*read)(void *ctx, const uint8_t *regs, unsigned int offset, void *data,
		     unsigned int len);
	void (*write)(void *ctx, const uint8_t *regs, unsigned int offset, const void *data,
		      unsigned int len);
};

struct pci_id {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class_code; /* 24 bits: base class, sub-class, programming interface */
};

/* INTA#: a level, as long as the device wants to interrupt, and may. */
struct pci_intx {
	/* Does it now? With the function's lock held; NULL: it has no pin. */
	bool (*wanted)(void *ctx);
	void *ctx;
	/* The bus's end, likewise; NULL: there is none. */
	void (*drive)(void *bus, unsigned int slot, bool level);
	void *bus;
	unsigned int slot;
};

struct pci_function {
	/* Constant once the vCPUs run. */
	struct pci_intx intx;
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that a guest can change */
	struct pci_bar bars[PCI_BARS];
	struct pci_watch watches[PCI_WATCHES];
	unsigned int watch_count;
	unsigned int cap_last, cap_end; /* the last capability; where the next one goes */

	pthread_mutex_t lock;
	uint8_t config[PCI_CONFIG_SIZE]; /* under the lock */
	bool intx_up;			 /* under the lock: what was last driven */
	_Atomic bool master;		 /* bus master enable; any thread reads */
};

/* 0 or -errno of pthread_mutex_init(). */
int pci_function_init(struct pci_function *f, const struct pci_id *id);
void pci_function_fini(struct pci_function *f);
/*
 * A memory BAR of @size bytes, rounded up to a power of two; @wide: of 64 bits, so that it takes
 * BAR @index + 1, too. Accesses are those of bus_ops; what is beyond a size that was no power of
 * two is the device's to ignore. -EINVAL: no such BAR, taken, or a size out of range.
 */
int pci_function_add_bar(struct pci_function *f, unsigned int index, uint64_t size, bool wide,
			 const struct bus_ops *ops, void *dev);
/*
 * A capability of @len bytes, which begin with its id and the link to the next (filled in here).
 * @writable: the bits of each byte that a guest can change; NULL: none. Returns where it is;
 * -ENOSPC.
 */
int pci_function_add_capability(struct pci_function *f, const void *bytes, const void *writable,
				unsigned int len);
/* -ENOSPC. */
int pci_function_watch(struct pci_function *f, const struct pci_watch *watch);
/* What intx.wanted() says has changed, or may have: any thread, the lock not held. */
void pci_function_update_intx(struct pci_function *f);
/* Firmware's part: BAR @index is at @address, and decoded from now on. */
void pci_function_place_bar(struct pci_function *f, unsigned int index, uint64_t address);

/*
 * Any vCPU. @reg up to 4095 and any @len up to 8; there is nothing above 255, or across it: all
 * ones, ignored.
 */
void pci_function_read(struct pci_function *f, unsigned int reg, void *data, unsigned int len);
void pci_function_write(struct pci_function *f, unsigned int reg, const void *data,
			unsigned int len);
/* Reads or writes BAR @index at @offset, wherever the BAR is. False: no such place. */
bool pci_function_bar_read(const struct pci_function *f, unsigned int index, uint64_t offset,
			   void *data, unsigned int len);
bool pci_function_bar_write(const struct pci_function *f, unsigned int index, uint64_t offset,
			    const void *data, unsigned int len);

#endif
