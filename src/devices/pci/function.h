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
#include "state.h"

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
	uint64_t home;	       /* where firmware puts it, the bus's choice; 0: it has none so far */
	/* It answers at @base from now on. The function's lock is held, once vCPUs run. NULL: nobody
	 * wants to know. */
	void (*moved)(void *ctx, uint64_t base);
	void *moved_ctx;
};

/* Registers whose accesses mean more than what is stored. */
struct pci_watch {
	uint8_t start, len; /* at most PCI_WATCHED_SIZE */
	void *ctx;
	/* After a write that touched them; the lock is held. NULL: nothing to do. */
	void (*written)(void *ctx);
	/*
	 * An access to [start + offset, start + offset + len), once the lock is free again, so that
	 * it may wait. @regs is a copy of the registers, as they are after it. The guest reads
	 * @data as read() leaves it. NULL: nothing to do.
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
	/* Returns whether it wants the pin now. With the function's lock held; NULL: it has no
	 * pin. */
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
	uint8_t config[PCI_CONFIG_SIZE];   /* under the lock */
	uint8_t power_on[PCI_CONFIG_SIZE]; /* constant: as firmware leaves it */
	bool intx_up;			   /* under the lock: what was last driven */
	_Atomic bool master;		   /* bus master enable; any thread reads */
};

/* Returns 0 or -errno of pthread_mutex_init(). */
int pci_function_init(struct pci_function *f, const struct pci_id *id);
void pci_function_fini(struct pci_function *f);
/*
 * Adds a memory BAR of @size bytes, rounded up to a power of two. @wide: of 64 bits, so that it
 * takes BAR @index + 1 as well. Accesses are those of bus_ops. The device ignores those beyond a
 * @size that was no power of two. Returns 0, or -EINVAL: no such BAR, taken, or a size out of
 * range.
 */
int pci_function_add_bar(struct pci_function *f, unsigned int index, uint64_t size, bool wide,
			 const struct bus_ops *ops, void *dev);
/*
 * Adds a capability of @len bytes, which begin with its id and the link to the next (filled in
 * here). @writable: the bits of each byte that a guest can change; NULL: none. Returns where it is,
 * or -ENOSPC.
 */
int pci_function_add_capability(struct pci_function *f, const void *bytes, const void *writable,
				unsigned int len);
/* Adds a watch. Returns 0 or -ENOSPC. */
int pci_function_watch(struct pci_function *f, const struct pci_watch *watch);
/* Asks intx.wanted() again, whose answer may have changed. Any thread, the lock not held. */
void pci_function_update_intx(struct pci_function *f);
/* Remembers the present state as the one that a reset brings back, but with the BARs at their
 * homes, and decoded there. Before anybody finds the function on its bus. */
void pci_function_remember(struct pci_function *f);
/* Resets the function to its state at power-on, with the BARs where firmware has placed them. Any
 * thread. */
void pci_function_reset(struct pci_function *f);
/* The state of a function in a snapshot. */
struct pci_function_state {
	uint8_t config[PCI_CONFIG_SIZE];
};

/* Writes configuration space, in an open section. Any thread. */
void pci_function_save(struct pci_function *f, struct state_writer *w);
/* Reads what pci_function_save() has written. Notes in @in what this function cannot be: bits that
 * no guest can change are to be what they are here. */
void pci_function_read_state(const struct pci_function *f, struct pci_function_state *s,
			     struct state_in *in);
/* Takes it over, before the threads start. The pin is as it was: pci_function_update_intx() drives
 * it. */
void pci_function_load(struct pci_function *f, const struct pci_function_state *s);
/* Takes it off its bus: no BAR answers any more, and the pin is down. No vCPU runs. */
void pci_function_unplug(struct pci_function *f);

/*
 * Reads or writes configuration space, with @reg up to 4095 and any @len up to 8. There is nothing
 * above 255, or across it: all ones, ignored. Any vCPU.
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
